//! WASI preview 1 with nothing behind it, for language runtimes that don't start without it. There are no
//! arguments, environment, files or sockets. Output is swallowed. Clocks stand still. Random bytes are always
//! the same. A policy is pure, so it misses nothing.
//!
//! The module is made for one importing module: it has only the functions that this one imports, with its
//! types.

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    InstructionSink, MemArg, MemoryType, Module, TypeSection, ValType,
};
use wasmparser::FuncType;

/// The module's name in imports.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// `errno` of preview 1.
const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const NOSYS: i32 = 52;
/// The time on every clock, in nanoseconds: a second, for runtimes that take zero for a fault.
const NOW: i64 = 1_000_000_000;
const RANDOM_BYTE: i32 = 0x5a;

/// An adapter with these functions, for `wit_component::ComponentEncoder::adapter`.
pub(crate) fn adapter(functions: &[(String, FuncType)]) -> Vec<u8> {
    let (mut types, mut indices) = (TypeSection::new(), FunctionSection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    for (index, (name, ty)) in (0_u32..).zip(functions) {
        types.ty().function(values(ty.params()), values(ty.results()));
        indices.function(index);
        exports.export(name, ExportKind::Func, index);
        code.function(&body(name, ty));
    }
    let mut imports = ImportSection::new();
    let memory =
        MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    imports.import("env", "memory", EntityType::Memory(memory));
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&indices).section(&exports).section(&code);
    module.finish()
}

fn values(types: &[wasmparser::ValType]) -> Vec<ValType> {
    let value = |ty: &wasmparser::ValType| match ty {
        wasmparser::ValType::I64 => ValType::I64,
        wasmparser::ValType::F32 => ValType::F32,
        wasmparser::ValType::F64 => ValType::F64,
        // Preview 1 has only numbers.
        wasmparser::ValType::I32 | wasmparser::ValType::V128 | wasmparser::ValType::Ref(_) => ValType::I32,
    };
    types.iter().map(value).collect()
}

fn body(name: &str, ty: &FuncType) -> Function {
    let locals = u32::try_from(ty.params().len()).unwrap_or(u32::MAX);
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    let errno = match name {
        "clock_time_get" => {
            code.local_get(2).i64_const(NOW).i64_store(at(0, 3));
            SUCCESS
        }
        "clock_res_get" => {
            code.local_get(1).i64_const(1).i64_store(at(0, 3));
            SUCCESS
        }
        "random_get" => {
            code.local_get(0).i32_const(RANDOM_BYTE).local_get(1).memory_fill(0);
            SUCCESS
        }
        "args_sizes_get" | "environ_sizes_get" => {
            code.local_get(0).i32_const(0).i32_store(at(0, 2));
            code.local_get(1).i32_const(0).i32_store(at(0, 2));
            SUCCESS
        }
        "fd_write" => {
            swallow(&mut code, locals);
            SUCCESS
        }
        // The result has as many events as there were subscriptions: a sleep is over at once.
        "poll_oneoff" => {
            code.local_get(3).local_get(2).i32_store(at(0, 2));
            SUCCESS
        }
        "args_get" | "environ_get" | "sched_yield" => SUCCESS,
        "proc_exit" => {
            code.unreachable().end();
            return function;
        }
        _ if name.starts_with("fd_") => BADF,
        _ => NOSYS,
    };
    if ty.results().is_empty() {
        code.end();
    } else {
        code.i32_const(errno).end();
    }
    function
}

/// `fd_write(fd, iovs, count, written)`: reports that all bytes were written. `free` is the first of two
/// locals beside the parameters.
fn swallow(code: &mut InstructionSink<'_>, free: u32) {
    const IOV_BYTES: i32 = 8;
    let (index, sum) = (free, free + 1);
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(index).local_get(2).i32_ge_u().br_if(1);
    code.local_get(sum).local_get(1).local_get(index).i32_const(IOV_BYTES).i32_mul().i32_add();
    code.i32_load(at(4, 2)).i32_add().local_set(sum);
    code.local_get(index).i32_const(1).i32_add().local_set(index).br(0);
    code.end().end();
    code.local_get(3).local_get(sum).i32_store(at(0, 2));
}

fn at(offset: u64, align: u32) -> MemArg {
    MemArg { offset, align, memory_index: 0 }
}
