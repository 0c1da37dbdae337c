//! Policies that are compiled into the binary.

/// The component of this name.
pub fn component(_name: &str) -> Option<&'static [u8]> {
    None
}

/// The names that there are.
pub fn names() -> &'static [&'static str] {
    &[]
}
