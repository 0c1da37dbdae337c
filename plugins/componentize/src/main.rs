//! `componentize CORE.wasm OUT.wasm [SECTION=FILE]...`: see the library.

use std::process::ExitCode;

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
    let component = oncegate_componentize::component(&read(core)?);
    let mut component = component.map_err(|error| format!("{core} can't become a policy: {error}"))?;
    for argument in sections {
        let (name, file) = argument.split_once('=').ok_or(USAGE)?;
        oncegate_componentize::append_section(&mut component, name, &read(file)?);
    }
    std::fs::write(out, component).map_err(|error| format!("can't write {out}: {error}"))
}

fn read(file: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("can't read {file}: {error}"))
}
