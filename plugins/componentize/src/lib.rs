//! Makes a policy component of a compiler's output. The output may be:
//!
//! - a core module that a bindings generator has prepared;
//! - a core module that merely exports `configure` and `decide` by the canonical ABI, so that a language
//!   without a generator needs no other tool;
//! - a core module that wants WASI preview 1, which a module made here answers.
//!
//! A file that is a component already stays as it is.
//!
//! This crate knows only the names of the interface: it calls and judges no policy.

mod names;
mod preview1;

use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The interface, version 0.1, as text.
pub const WIT: &str = include_str!("../../../wit/v0.1/policy.wit");

/// Why a file can't become a policy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not WebAssembly, or is damaged.
    #[error("it is not WebAssembly, or damaged: {0}")]
    Damaged(#[from] wasmparser::BinaryReaderError),
    /// The module has neither types nor the hooks by their plain names.
    #[error(
        "it exports no `{missing}`, and no bindings generator has prepared it: export `configure` and `decide` \
         (there is: {found})"
    )]
    NoHooks {
        /// The hook that is missing.
        missing: &'static str,
        /// The exports that are there.
        found: String,
    },
    /// The module is a program: nobody would run its `_start`, which sets its languages' variables up.
    #[error(
        "it is a program: it exports `_start`, which nobody runs, so that its variables would not be set up. Build a \
         library: `-mexec-model=reactor` (C, C++, Zig; without a C library `-Wl,--no-entry`), `-buildmode=c-shared` \
         (Go), `crate-type = [\"cdylib\"]` (Rust)"
    )]
    Program,
    /// The module exports one hook of an interface with two.
    #[error("it exports `{there}` without `{missing}`: the interface `{interface}` has both")]
    HalfAnInterface {
        /// The interface.
        interface: &'static str,
        /// The hook that is there.
        there: &'static str,
        /// The hook that isn't.
        missing: &'static str,
    },
    /// The component's own rules are broken.
    #[error("{0}")]
    Encoding(String),
}

/// Makes a component of `wasm`.
pub fn component(wasm: &[u8]) -> Result<Vec<u8>, Error> {
    if Parser::is_component(wasm) {
        return Ok(wasm.to_vec());
    }
    let found = names::Found::of(wasm)?;
    let module = if found.prepared {
        wasm.to_vec()
    } else {
        let mut module = found.renamed(wasm)?;
        embed_types(&mut module, &found.interfaces()?)?;
        module
    };
    let mut encoder = ComponentEncoder::default().module(&module).map_err(encoding)?;
    if !found.preview1.is_empty() {
        let adapter = preview1::adapter(&found.preview1);
        encoder = encoder.adapter(preview1::MODULE, &adapter).map_err(encoding)?;
    }
    encoder.validate(true).encode().map_err(encoding)
}

/// Appends a custom section to a component.
pub fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection { name: name.into(), data: data.into() }.append_to_component(component);
}

/// True if a component has a custom section of this name, on its own level.
pub fn has_section(component: &[u8], name: &str) -> Result<bool, Error> {
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only what nests is special here")]
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == name => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

/// Tells the encoder what the module exports: the world `key-policy` with these interfaces more.
fn embed_types(module: &mut Vec<u8>, interfaces: &[&str]) -> Result<(), Error> {
    let mut resolve = Resolve::default();
    resolve.push_source("policy.wit", WIT).map_err(encoding)?;
    let exports: String =
        interfaces.iter().map(|name| format!("export oncegate:policy/{name}@0.1.0;")).collect();
    let world = format!(
        "package oncegate:built; world policy {{ include oncegate:policy/key-policy@0.1.0; {exports} }}"
    );
    let package = resolve.push_source("built.wit", &world).map_err(encoding)?;
    let world = resolve.select_world(&[package], Some("policy")).map_err(encoding)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).map_err(encoding)
}

fn encoding(error: impl std::fmt::Debug) -> Error {
    // The causes, without the frames that follow them.
    let text = format!("{error:?}");
    let text = text.split("\n\nStack backtrace").next().unwrap_or_default();
    Error::Encoding(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests;
