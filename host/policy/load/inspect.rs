//! Inspects a file before it is compiled: the file must be a component of this interface, with imports that a
//! policy may have.

use crate::engine::limits::VECTORS_BYTES_MAX;
use crate::interface::hooks::{Exports, Interface};
use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

/// The findings about a component's file.
pub(crate) struct Inspected {
    pub(crate) exports: Exports,
    /// All names that the component exports, even of functions that are never called.
    pub(crate) export_names: Vec<String>,
    /// All names that the component imports: its permissions, and types.
    pub(crate) import_names: Vec<String>,
    /// The section `oncegate:vectors`.
    pub(crate) vectors: Option<Vec<u8>>,
    /// The section `oncegate:settings`.
    pub(crate) settings_schema: Option<String>,
}

/// Why a file is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum Unfit {
    #[error("is empty")]
    Empty,
    #[error(
        "is not WebAssembly: it doesn't begin with `\\0asm` (what was built is made into a component by \
         `oncegate policy build`)"
    )]
    NotWasm,
    #[error(
        "is a core module, not a component: `oncegate policy build` makes the component, and so does `wasm-tools component new`"
    )]
    CoreModule,
    #[error("is cut short at {0} bytes: copy or build it again")]
    Truncated(usize),
    #[error("is damaged at byte {offset}: {message}")]
    Damaged { offset: usize, message: String },
    #[error(
        "imports `{0}`: of WASI this gateway offers version 0.2 only, with nothing in it; build the policy \
         without it (componentize-py and componentize-qjs: `--stub-wasi`; Rust: the target \
         `wasm32-unknown-unknown`)"
    )]
    Wasi(String),
    #[error("imports `{0}`, which no policy may: `oncegate:policy/log` and `digest` are all there is")]
    Import(String),
    #[error("imports `{0}`: this gateway offers version 0.1 of it; rebuild the policy with `wit/v0.1`")]
    ImportVersion(String),
    #[error("doesn't export `oncegate:policy/policy`: build it for the world `key-policy` of `wit/v0.1`")]
    NoPolicy,
    #[error("exports `{0}`: this gateway calls version 0.1 of it; rebuild the policy with `wit/v0.1`")]
    ExportVersion(String),
    #[error("exports `{0}`, which this gateway doesn't know: a newer gateway may")]
    Export(String),
    #[error("exports `{0}`, which is not an interface")]
    NotAnInterface(String),
    #[error("has the custom section `{0}` twice")]
    SectionTwice(&'static str),
    #[error("has test vectors of {0} bytes, at most {VECTORS_BYTES_MAX} are allowed")]
    VectorsTooLarge(usize),
    #[error("has a custom section `oncegate:settings` that is not JSON: {0}")]
    SettingsSchema(String),
}

/// Reads `bytes` as far as the component's own level needs: the compiler checks everything inside of it.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspected, Unfit> {
    check_preamble(bytes)?;
    let mut found = Contents::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|error| damaged(&error, bytes.len()))?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "only what nests is special here")]
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            payload => found.read(payload).map_err(|fault| fault.at(bytes.len()))?,
        }
    }
    found.finish()
}

fn check_preamble(bytes: &[u8]) -> Result<(), Unfit> {
    const MAGIC: &[u8] = b"\0asm";
    match bytes {
        [] => Err(Unfit::Empty),
        _ if !bytes.starts_with(&MAGIC[..bytes.len().min(4)]) => Err(Unfit::NotWasm),
        _ if bytes.len() < 8 => Err(Unfit::Truncated(bytes.len())),
        _ if Parser::is_core_wasm(bytes) => Err(Unfit::CoreModule),
        _ => Ok(()),
    }
}

fn damaged(error: &wasmparser::BinaryReaderError, length: usize) -> Unfit {
    // The reader says so if a section or its content ends before its time.
    if error.message().contains("unexpected end") {
        return Unfit::Truncated(length);
    }
    Unfit::Damaged { offset: error.offset(), message: error.message().into() }
}

/// A fault of a section: the file is unfit, or unreadable.
enum ReadFault {
    Unfit(Unfit),
    Reader(wasmparser::BinaryReaderError),
}

impl ReadFault {
    fn at(self, length: usize) -> Unfit {
        match self {
            Self::Unfit(unfit) => unfit,
            Self::Reader(error) => damaged(&error, length),
        }
    }
}

impl From<Unfit> for ReadFault {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

impl From<wasmparser::BinaryReaderError> for ReadFault {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Reader(error)
    }
}

#[derive(Default)]
struct Contents {
    policy: bool,
    exports: Exports,
    export_names: Vec<String>,
    import_names: Vec<String>,
    vectors: Option<Vec<u8>>,
    settings_schema: Option<String>,
}

impl Contents {
    fn read(&mut self, payload: Payload<'_>) -> Result<(), ReadFault> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "other sections are the compiler's to read")]
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } => Err(Unfit::CoreModule.into()),
            Payload::ComponentImportSection(section) => section.into_iter().try_for_each(|import| {
                let name = import?.name.name;
                self.import_names.push(name.into());
                Ok(check_import(name)?)
            }),
            Payload::ComponentExportSection(section) => section.into_iter().try_for_each(|export| {
                let export = export?;
                Ok(self.export(export.name.name, export.kind)?)
            }),
            Payload::CustomSection(section) => Ok(self.custom(section.name(), section.data())?),
            _ => Ok(()),
        }
    }

    fn export(&mut self, name: &str, kind: ComponentExternalKind) -> Result<(), Unfit> {
        self.export_names.push(name.into());
        // Some language runtimes export more than the interface asks for. The host never calls these exports.
        let Some(ours) = name.strip_prefix("oncegate:policy/") else { return Ok(()) };
        let (interface, version) = ours.split_once('@').unwrap_or((ours, ""));
        let known = Interface::ALL.into_iter().find(|known| known.name() == interface);
        if known.is_none() && interface != "policy" {
            return Err(Unfit::Export(name.into()));
        }
        if !is_version_0_1(version) {
            return Err(Unfit::ExportVersion(name.into()));
        }
        if kind != ComponentExternalKind::Instance {
            return Err(Unfit::NotAnInterface(name.into()));
        }
        match known {
            Some(interface) => self.exports.add(interface),
            None => self.policy = true,
        }
        Ok(())
    }

    fn custom(&mut self, name: &str, data: &[u8]) -> Result<(), Unfit> {
        match name {
            "oncegate:vectors" if self.vectors.is_some() => Err(Unfit::SectionTwice("oncegate:vectors")),
            "oncegate:vectors" if data.len() > VECTORS_BYTES_MAX => Err(Unfit::VectorsTooLarge(data.len())),
            "oncegate:vectors" => {
                self.vectors = Some(data.to_vec());
                Ok(())
            }
            "oncegate:settings" if self.settings_schema.is_some() => {
                Err(Unfit::SectionTwice("oncegate:settings"))
            }
            "oncegate:settings" => {
                let parsed = serde_json::from_slice::<serde_json::Value>(data);
                let schema = parsed.map_err(|error| Unfit::SettingsSchema(error.to_string()))?;
                self.settings_schema = Some(schema.to_string());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Inspected, Unfit> {
        if !self.policy {
            return Err(Unfit::NoPolicy);
        }
        let Self { exports, export_names, import_names, vectors, settings_schema, .. } = self;
        Ok(Inspected { exports, export_names, import_names, vectors, settings_schema })
    }
}

fn check_import(name: &str) -> Result<(), Unfit> {
    if crate::interface::wasi::is_offered(name) {
        return Ok(());
    }
    if name.starts_with("wasi:") {
        return Err(Unfit::Wasi(name.into()));
    }
    let Some(ours) = name.strip_prefix("oncegate:policy/") else { return Err(Unfit::Import(name.into())) };
    let (interface, version) = ours.split_once('@').unwrap_or((ours, ""));
    if !matches!(interface, "types" | "log" | "digest") {
        return Err(Unfit::Import(name.into()));
    }
    if is_version_0_1(version) { Ok(()) } else { Err(Unfit::ImportVersion(name.into())) }
}

fn is_version_0_1(version: &str) -> bool {
    version.strip_prefix("0.1.").is_some_and(|patch| patch.parse::<u32>().is_ok())
}
