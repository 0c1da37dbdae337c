//! Whether the gateway's engine runs what a compiler made: compilers offer more of WebAssembly than it has.

use crate::engine::shared::wasm_config;
use crate::interface::failure::one_line;
use wasmparser::{Parser, Payload};
use wasmtime::{Engine, Module};

/// Checks the code of a module, or of all modules of a component, by the rules of the gateway's engine. An `Err` says
/// what it doesn't take. Whether the file is whole is not its question.
pub fn takes(wasm: &[u8]) -> Result<(), String> {
    let engine = Engine::new(&wasm_config()).map_err(|error| one_line(&error))?;
    let check = |module: &[u8]| Module::validate(&engine, module).map_err(|error| one_line(&error));
    if Parser::is_core_wasm(wasm) {
        return check(wasm);
    }
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::ModuleSection { unchecked_range, .. }) => {
                check(wasm.get(unchecked_range).unwrap_or_default())?;
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ok(())
}
