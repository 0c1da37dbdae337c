//! A virtual WASI 0.2 with nothing in it, for language runtimes that bring WASI imports along.
//!
//! There are no files, environment, arguments or sockets. Clocks stand still. Random numbers come from a
//! fixed seed, started anew for each call. Output goes to the log. A function that is not in this file traps
//! when it is called, and only then: most of a runtime's imports are never called. So a policy stays pure
//! whatever its language brings (`design/policies.md`).

use crate::engine::limits::{LOG_LINE_BYTES_MAX, NotThere};
use crate::engine::state::InstanceState;
use crate::interface::imports::{Level, tell};
use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentExtern, ComponentItem};
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType, WasmList,
};

/// The time at which the clocks stand: not zero, which some runtimes take for a broken clock.
const STILL_SECONDS: u64 = 1_000_000_000;
const STILL_NANOSECONDS: u64 = 1_000_000_000;
/// Bytes that a stream takes at a time.
const WRITE_BYTES_MAX: u64 = 4096;
/// The numbers of the two standard streams among resources.
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

struct InputStream;
struct OutputStream;
struct IoError;
struct Pollable;
struct Descriptor;
struct TerminalInput;
struct TerminalOutput;

type Context<'a> = StoreContextMut<'a, InstanceState>;
type Returned<T> = wasmtime::Result<(T,)>;
type WriteResult = Result<(), StreamError>;
type ReadResult = Result<Vec<u8>, StreamError>;
/// A stream and the bytes to write to it.
type WriteArguments = (Resource<OutputStream>, WasmList<u8>);

#[derive(ComponentType, Lower, Lift)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// True if an import of this name has the version that is offered.
pub(crate) fn is_offered(import: &str) -> bool {
    import.starts_with("wasi:")
        && import
            .split_once('@')
            .and_then(|(_, version)| version.strip_prefix("0.2."))
            .is_some_and(|patch| patch.parse::<u32>().is_ok())
}

/// A linker that adds the imports of WASI that `component` has to those of `linker`; none if it imports
/// nothing of WASI.
pub(crate) fn linker_for(
    linker: &Linker<InstanceState>,
    component: &Component,
) -> wasmtime::Result<Option<Linker<InstanceState>>> {
    let engine = component.engine();
    let mut with_wasi = None;
    for (import, ComponentExtern { ty, .. }) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = ty else { continue };
        if !import.starts_with("wasi:") {
            continue;
        }
        let linker = with_wasi.get_or_insert_with(|| {
            let mut linker = linker.clone();
            linker.allow_shadowing(true);
            linker
        });
        let mut to = linker.instance(import)?;
        for (name, ComponentExtern { ty, .. }) in interface.exports(engine) {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "an instance of WASI has nothing else to define"
            )]
            match ty {
                ComponentItem::Resource(_) => to.resource(name, resource_type(name), |_, _| Ok(()))?,
                ComponentItem::ComponentFunc(_) => {
                    let absent = NotThere(format!("{import}#{name}"));
                    to.func_new(name, move |_, _, _, _| Err(absent.clone().into()))?;
                }
                _ => {}
            }
        }
        define(import.split_once('@').map_or(import, |(interface, _)| interface), &mut to)?;
    }
    Ok(with_wasi)
}

/// Interfaces that use a resource of another export it again by the same name.
fn resource_type(name: &str) -> ResourceType {
    match name {
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "error" => ResourceType::host::<IoError>(),
        "pollable" => ResourceType::host::<Pollable>(),
        "descriptor" => ResourceType::host::<Descriptor>(),
        "terminal-input" => ResourceType::host::<TerminalInput>(),
        "terminal-output" => ResourceType::host::<TerminalOutput>(),
        // No guest ever gets a resource of this type.
        _ => ResourceType::host::<()>(),
    }
}

fn define(interface: &str, to: &mut LinkerInstance<'_, InstanceState>) -> wasmtime::Result<()> {
    match interface {
        "wasi:cli/environment" => environment(to),
        "wasi:cli/stdin" => to
            .func_wrap("get-stdin", |_: Context<'_>, (): ()| -> Returned<Resource<InputStream>> {
                Ok((Resource::new_own(0),))
            }),
        "wasi:cli/stdout" => standard(to, "get-stdout", STDOUT),
        "wasi:cli/stderr" => standard(to, "get-stderr", STDERR),
        "wasi:cli/terminal-stdin" => no_terminal::<TerminalInput>(to, "get-terminal-stdin"),
        "wasi:cli/terminal-stdout" => no_terminal::<TerminalOutput>(to, "get-terminal-stdout"),
        "wasi:cli/terminal-stderr" => no_terminal::<TerminalOutput>(to, "get-terminal-stderr"),
        "wasi:io/poll" => poll(to),
        "wasi:io/streams" => streams(to),
        "wasi:clocks/wall-clock" => wall_clock(to),
        "wasi:clocks/monotonic-clock" => monotonic_clock(to),
        "wasi:filesystem/preopens" => to.func_wrap(
            "get-directories",
            |_: Context<'_>, (): ()| -> Returned<Vec<(Resource<Descriptor>, String)>> { Ok((Vec::new(),)) },
        ),
        "wasi:random/random" => random(to, "get-random-bytes", "get-random-u64"),
        "wasi:random/insecure" => random(to, "get-insecure-random-bytes", "get-insecure-random-u64"),
        "wasi:random/insecure-seed" => {
            to.func_wrap("insecure-seed", |mut store: Context<'_>, (): ()| -> Returned<(u64, u64)> {
                let state = store.data_mut();
                Ok(((state.random_u64(), state.random_u64()),))
            })
        }
        _ => Ok(()),
    }
}

fn environment(to: &mut LinkerInstance<'_, InstanceState>) -> wasmtime::Result<()> {
    to.func_wrap("get-environment", |_: Context<'_>, (): ()| -> Returned<Vec<(String, String)>> {
        Ok((Vec::new(),))
    })?;
    to.func_wrap("get-arguments", |_: Context<'_>, (): ()| -> Returned<Vec<String>> { Ok((Vec::new(),)) })?;
    to.func_wrap("initial-cwd", |_: Context<'_>, (): ()| -> Returned<Option<String>> { Ok((None,)) })
}

fn standard(to: &mut LinkerInstance<'_, InstanceState>, name: &str, stream: u32) -> wasmtime::Result<()> {
    to.func_wrap(name, move |_: Context<'_>, (): ()| -> Returned<Resource<OutputStream>> {
        Ok((Resource::new_own(stream),))
    })
}

fn no_terminal<T: 'static>(to: &mut LinkerInstance<'_, InstanceState>, name: &str) -> wasmtime::Result<()> {
    to.func_wrap(name, |_: Context<'_>, (): ()| -> Returned<Option<Resource<T>>> { Ok((None,)) })
}

/// Everything is ready, so a guest never waits.
fn poll(to: &mut LinkerInstance<'_, InstanceState>) -> wasmtime::Result<()> {
    to.func_wrap(
        "[method]pollable.ready",
        |_: Context<'_>, (_,): (Resource<Pollable>,)| -> Returned<bool> { Ok((true,)) },
    )?;
    to.func_wrap(
        "[method]pollable.block",
        |_: Context<'_>, (_,): (Resource<Pollable>,)| -> wasmtime::Result<()> { Ok(()) },
    )?;
    to.func_wrap("poll", |_: Context<'_>, (asked,): (Vec<Resource<Pollable>>,)| -> Returned<Vec<u32>> {
        Ok(((0..u32::try_from(asked.len())?).collect(),))
    })
}

fn ready(_: Context<'_>) -> Returned<Resource<Pollable>> {
    Ok((Resource::new_own(0),))
}

fn streams(to: &mut LinkerInstance<'_, InstanceState>) -> wasmtime::Result<()> {
    for name in ["read", "blocking-read"] {
        to.func_wrap(
            &format!("[method]input-stream.{name}"),
            |_: Context<'_>, (_, _): (Resource<InputStream>, u64)| -> Returned<ReadResult> {
                Ok((Err(StreamError::Closed),))
            },
        )?;
    }
    to.func_wrap("[method]input-stream.subscribe", |store: Context<'_>, (_,): (Resource<InputStream>,)| {
        ready(store)
    })?;
    to.func_wrap(
        "[method]output-stream.check-write",
        |_: Context<'_>, (_,): (Resource<OutputStream>,)| -> Returned<Result<u64, StreamError>> {
            Ok((Ok(WRITE_BYTES_MAX),))
        },
    )?;
    for name in ["write", "blocking-write-and-flush"] {
        to.func_wrap(&format!("[method]output-stream.{name}"), write)?;
    }
    for name in ["flush", "blocking-flush"] {
        to.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Context<'_>, (_,): (Resource<OutputStream>,)| -> Returned<WriteResult> { Ok((Ok(()),)) },
        )?;
    }
    to.func_wrap("[method]output-stream.subscribe", |store: Context<'_>, (_,): (Resource<OutputStream>,)| {
        ready(store)
    })
}

/// Each write is a line or more of the log, within the bounds of `log.emit`.
fn write(mut store: Context<'_>, (stream, bytes): WriteArguments) -> Returned<WriteResult> {
    let left = store.data_mut().charge_runtime(bytes.len())?;
    store.set_hostcall_fuel(left);
    let level = if stream.rep() == STDERR { Level::Warn } else { Level::Info };
    let text = String::from_utf8_lossy(bytes.as_le_slice(&store)).into_owned();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if store.data_mut().take_line() {
            tell(&mut store, level, &line[..line.floor_char_boundary(LOG_LINE_BYTES_MAX)]);
        }
    }
    Ok((Ok(()),))
}

fn wall_clock(to: &mut LinkerInstance<'_, InstanceState>) -> wasmtime::Result<()> {
    to.func_wrap("now", |_: Context<'_>, (): ()| -> Returned<Datetime> {
        Ok((Datetime { seconds: STILL_SECONDS, nanoseconds: 0 },))
    })?;
    to.func_wrap("resolution", |_: Context<'_>, (): ()| -> Returned<Datetime> {
        Ok((Datetime { seconds: 1, nanoseconds: 0 },))
    })
}

fn monotonic_clock(to: &mut LinkerInstance<'_, InstanceState>) -> wasmtime::Result<()> {
    to.func_wrap("now", |_: Context<'_>, (): ()| -> Returned<u64> { Ok((STILL_NANOSECONDS,)) })?;
    to.func_wrap("resolution", |_: Context<'_>, (): ()| -> Returned<u64> { Ok((1,)) })?;
    for name in ["subscribe-instant", "subscribe-duration"] {
        to.func_wrap(name, |store: Context<'_>, (_,): (u64,)| ready(store))?;
    }
    Ok(())
}

fn random(to: &mut LinkerInstance<'_, InstanceState>, bytes: &str, number: &str) -> wasmtime::Result<()> {
    to.func_wrap(bytes, |mut store: Context<'_>, (length,): (u64,)| -> Returned<Vec<u8>> {
        let length = usize::try_from(length)?;
        let left = store.data_mut().charge_runtime(length)?;
        store.set_hostcall_fuel(left);
        Ok((store.data_mut().random_bytes(length),))
    })?;
    to.func_wrap(number, |mut store: Context<'_>, (): ()| -> Returned<u64> {
        Ok((store.data_mut().random_u64(),))
    })
}

#[cfg(test)]
#[path = "wasi_tests.rs"]
mod tests;
