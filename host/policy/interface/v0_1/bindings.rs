//! The generated bindings: the only file that has them.

#[allow(missing_docs, unreachable_pub, dead_code, reason = "generated, from the frozen interface")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        inline: "
            package oncegate:host;
            world host {
                export oncegate:policy/policy@0.1.0;
                export oncegate:policy/outcome@0.1.0;
                export oncegate:policy/resolution@0.1.0;
                export oncegate:policy/presentation@0.1.0;
            }",
        ownership: Borrowing { duplicate_if_necessary: true },
        additional_derives: [PartialEq],
    });
}
pub(super) use generated::exports::oncegate::policy as hooks;
pub(super) use generated::oncegate::policy::types as wit;
pub use wit::{Attribute, Part, Shape};

/// The whole document.
impl Default for Shape {
    fn default() -> Self {
        Self { keep: Vec::new(), drop: Vec::new() }
    }
}
