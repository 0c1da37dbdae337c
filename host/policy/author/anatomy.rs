//! The contents of a component's file.

use crate::engine::digest::{digest, hex};
use crate::interface::hooks::{Exports, Hook};
use crate::load::inspect::inspect;
use crate::load::pipeline::{self, LoadFault};
use crate::load::vectors::{self, VectorFault, Vectors};
use oncegate_config as config;
use serde_json::Value;

/// The facts that a component's file states.
#[derive(Clone, Debug)]
pub struct Anatomy {
    /// Bytes of the file.
    pub size: usize,
    /// The file's SHA-256, in hexadecimal.
    pub sha256: String,
    /// All names that the component exports.
    pub exports: Vec<String>,
    /// All names that the component imports.
    pub imports: Vec<String>,
    /// The number of test vectors that it carries; none: it carries no section of them.
    pub vectors: Option<Result<usize, VectorFault>>,
    /// Its hooks, each with the number of test vectors that are about it. `configure` is listed only if some
    /// vectors are about it alone.
    pub hooks: Vec<(&'static str, usize)>,
    /// The JSON Schema of its settings that it carries.
    pub settings_schema: Option<Value>,
}

/// Reads a component without compiling it.
pub fn anatomy(source: &config::ComponentSource) -> Result<Anatomy, LoadFault> {
    let bytes = pipeline::component_bytes(source)?;
    let inspected = inspect(&bytes)?;
    let vectors = inspected.vectors.as_deref().map(vectors::read);
    let none = Vectors::default();
    let hooks =
        counts(inspected.exports, vectors.as_ref().and_then(|read| read.as_ref().ok()).unwrap_or(&none));
    Ok(Anatomy {
        size: bytes.len(),
        sha256: hex(&digest(&bytes)),
        exports: inspected.export_names,
        imports: inspected.import_names,
        vectors: vectors.map(|read| read.map(|vectors| vectors.cases.len())),
        hooks,
        settings_schema: inspected
            .settings_schema
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok()),
    })
}

/// The exported hooks, each with the number of cases about it. Every case configures, so `configure` counts
/// only if some cases are about it alone.
pub(super) fn counts(exports: Exports, vectors: &Vectors) -> Vec<(&'static str, usize)> {
    let exported = Hook::ALL.into_iter().filter(|hook| hook.is_in(exports)).map(Hook::name);
    let count = |hook| vectors.cases.iter().filter(|case| case.hook_name() == hook).count();
    let all = ["configure", "decide"].into_iter().chain(exported).map(|hook| (hook, count(hook)));
    all.filter(|count| *count != ("configure", 0)).collect()
}
