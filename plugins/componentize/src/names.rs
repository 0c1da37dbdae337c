//! The plain names of hooks, and the names by which a component's encoder knows them.

use crate::{Error, preview1};
use wasm_encoder::{ExportKind, ExportSection, Module, RawSection};
use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef};

/// The interfaces with their hooks; the first is the one that every policy has.
const INTERFACES: [(&str, &[&str]); 4] = [
    ("policy", &["configure", "decide"]),
    ("outcome", &["settle"]),
    ("resolution", &["question", "reading"]),
    ("presentation", &["present", "explain"]),
];

/// The findings in a core module.
#[derive(Default)]
pub(crate) struct Found {
    /// A bindings generator has put the types in.
    pub(crate) prepared: bool,
    /// The functions of WASI preview 1 that it imports.
    pub(crate) preview1: Vec<(String, FuncType)>,
    exports: Vec<String>,
}

impl Found {
    pub(crate) fn of(module: &[u8]) -> Result<Self, Error> {
        let mut found = Self::default();
        let mut types = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            #[expect(clippy::wildcard_enum_match_arm, reason = "other sections say nothing of this")]
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section.into_iter_err_on_gc_types() {
                        types.push(group?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let TypeRef::Func(index) = import.ty else { continue };
                        let Some(ty) = types.get(index as usize) else { continue };
                        if import.module == preview1::MODULE
                            && !found.preview1.iter().any(|(name, _)| name == import.name)
                        {
                            found.preview1.push((import.name.into(), ty.clone()));
                        }
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        found.exports.push(export?.name.into());
                    }
                    // `_initialize` of a library is called before anything else.
                    if found.exports.iter().any(|export| export == "_start") {
                        return Err(Error::Program);
                    }
                }
                Payload::CustomSection(section) => {
                    found.prepared |= section.name().starts_with("component-type");
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The interfaces, beside `policy`, whose hooks are exported.
    pub(crate) fn interfaces(&self) -> Result<Vec<&'static str>, Error> {
        let has = |hook: &str| self.exports.iter().any(|export| export == hook);
        let mut interfaces = Vec::new();
        for (at, &(interface, hooks)) in INTERFACES.iter().enumerate() {
            let there = hooks.iter().find(|hook| has(hook)).copied();
            let missing = hooks.iter().find(|hook| !has(hook)).copied();
            match (there, missing) {
                (_, Some(missing)) if at == 0 => {
                    let plain = self.exports.iter().filter(|name| !name.starts_with("cabi_"));
                    let found = plain.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                    return Err(Error::NoHooks { missing, found });
                }
                (Some(there), Some(missing)) => {
                    return Err(Error::HalfAnInterface { interface, there, missing });
                }
                (Some(_), None) if at > 0 => interfaces.push(interface),
                (Some(_) | None, _) => {}
            }
        }
        Ok(interfaces)
    }

    /// The module with its hooks under the names that the encoder knows.
    pub(crate) fn renamed(&self, module: &[u8]) -> Result<Vec<u8>, Error> {
        let mut renamed = Module::new();
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload?;
            if let Payload::ExportSection(section) = payload {
                let mut exports = ExportSection::new();
                for export in section {
                    let export = export?;
                    exports.export(&full_name(export.name), kind(export.kind), export.index);
                }
                renamed.section(&exports);
            } else if let Some((id, range)) = payload.as_section() {
                let data = module.get(range).unwrap_or_default();
                renamed.section(&RawSection { id, data });
            }
        }
        Ok(renamed.finish())
    }
}

fn full_name(export: &str) -> String {
    let (prefix, hook) = match export.strip_prefix("cabi_post_") {
        Some(hook) => ("cabi_post_", hook),
        None => ("", export),
    };
    match INTERFACES.iter().find(|(_, hooks)| hooks.contains(&hook)) {
        Some((interface, _)) => format!("{prefix}oncegate:policy/{interface}@0.1.0#{hook}"),
        None => export.into(),
    }
}

fn kind(kind: ExternalKind) -> ExportKind {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        ExternalKind::Tag => ExportKind::Tag,
    }
}
