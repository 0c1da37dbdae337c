//! Makes a component of a core module that `wit-bindgen` has prepared, and puts a policy's test
//! vectors and the schema of its settings into it as custom sections.
//!
//! Knows nothing of policies: it doesn't look into what it appends.

use std::process::ExitCode;
use wasm_encoder::{ComponentSection, CustomSection};
use wit_component::ComponentEncoder;

const USAGE: &str = "usage: componentize CORE.wasm OUT.wasm [SECTION=FILE]...";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("componentize: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [core, out, sections @ ..] = arguments else { return Err(USAGE.into()) };
    let mut component = ComponentEncoder::default()
        .module(&read(core)?)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| format!("{core} can't become a component: {error:?}"))?;
    for argument in sections {
        let (name, file) = argument.split_once('=').ok_or(USAGE)?;
        let data = read(file)?;
        CustomSection { name: name.into(), data: data.as_slice().into() }.append_to_component(&mut component);
    }
    std::fs::write(out, component).map_err(|error| format!("can't write {out}: {error}"))
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("can't read {file}: {error}"))
}
