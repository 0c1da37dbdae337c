//! The policies that are compiled into the gateway. Each is also an example in `plugins/`, with its source,
//! its vectors and its settings' schema.

/// The component behind `builtin:NAME`.
pub fn component(name: &str) -> Option<&'static [u8]> {
    match name {
        "content" => Some(include_bytes!("../../../plugins/content/content.wasm")),
        "idempotency-key" => Some(include_bytes!("../../../plugins/idempotency-key/idempotency-key.wasm")),
        "webhook" => Some(include_bytes!("../../../plugins/webhook/webhook.wasm")),
        _ => None,
    }
}

/// The names that [`component`] knows, for an error that lists them.
pub fn names() -> &'static [&'static str] {
    &["content", "idempotency-key", "webhook"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_component_with_vectors_and_a_schema() {
        for name in names() {
            let bytes = component(name).expect(name);
            // These bytes are the layer of a component; a core module has 1 there.
            assert_eq!(&bytes[..8], b"\0asm\x0d\0\x01\0", "{name}");
            for section in ["oncegate:vectors", "oncegate:settings"] {
                assert!(
                    bytes.windows(section.len()).any(|window| window == section.as_bytes()),
                    "{name} {section}"
                );
            }
        }
        assert!(component("idempotency_key").is_none());
    }
}
