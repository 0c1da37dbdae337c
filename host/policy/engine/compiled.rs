//! A compiled component, as the engine keeps it and generations share it.

use crate::load::inspect::Inspected;
use wasmtime::component::Component;

/// A component that was compiled, with the findings about its file.
pub(crate) struct Compiled {
    pub(crate) digest: [u8; 32],
    pub(crate) component: Component,
    pub(crate) inspected: Inspected,
    pub(crate) size: usize,
}
