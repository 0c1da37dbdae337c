//! The imports that the host offers to components: `log` and `digest`, both versions 0.1.x.

use crate::engine::limits::LOG_LINE_BYTES_MAX;
use crate::engine::state::InstanceState;
use crate::view::document;
use sha2::{Digest, Sha256};
use wasmtime::component::{ComponentType, Lift, Linker, WasmList, WasmStr};
use wasmtime::{Engine, StoreContextMut};

/// `log.level`.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "some are made by lifting only, never by name")]
pub(crate) enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A linker with every import that a policy may have.
///
/// wasmtime itself sees to it that no import is called from `cabi_realloc` or a post-return: the
/// canonical ABI forbids leaving the instance there. The store's state tells start functions from hooks.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<InstanceState>> {
    let mut linker = Linker::new(engine);
    linker.instance("oncegate:policy/log@0.1.0")?.func_wrap("emit", emit)?;
    let mut digest = linker.instance("oncegate:policy/digest@0.1.0")?;
    digest.func_wrap("sha256", sha256)?;
    digest.func_wrap("canonical-json", canonical_json)?;
    Ok(linker)
}

fn charge(
    store: &mut StoreContextMut<'_, InstanceState>,
    import: &'static str,
    bytes: usize,
) -> wasmtime::Result<()> {
    let left = store.data_mut().charge(import, bytes)?;
    store.set_hostcall_fuel(left);
    Ok(())
}

fn emit(
    mut store: StoreContextMut<'_, InstanceState>,
    (level, message): (Level, WasmStr),
) -> wasmtime::Result<()> {
    let length = message.to_str(&store)?.len();
    charge(&mut store, "log.emit", length)?;
    if store.data_mut().take_line() {
        let message = message.to_str(&store)?;
        let message = &message[..message.floor_char_boundary(LOG_LINE_BYTES_MAX)];
        if store.data().collects_log() {
            let message = message.to_owned();
            tell(&mut store, level, &message);
        } else {
            say(store.data().policy(), level, message);
        }
    }
    Ok(())
}

/// Writes a line to the operator's log, or to the lines that this instance collects.
pub(crate) fn tell(store: &mut StoreContextMut<'_, InstanceState>, level: Level, message: &str) {
    if store.data().collects_log() {
        store.data_mut().add_line(format!("{}: {}", level.word(), message.escape_debug()));
    } else {
        say(store.data().policy(), level, message);
    }
}

fn say(policy: &str, level: Level, message: &str) {
    // One line stays one line, whatever text a request made the policy log.
    let escaped = message.contains(char::is_control).then(|| message.escape_debug().to_string());
    let message = escaped.as_deref().unwrap_or(message);
    match level {
        Level::Debug => tracing::debug!(target: "oncegate_policy::guest", policy, "a policy says: {message}"),
        Level::Info => tracing::info!(target: "oncegate_policy::guest", policy, "a policy says: {message}"),
        Level::Warn => tracing::warn!(target: "oncegate_policy::guest", policy, "a policy says: {message}"),
        Level::Error => tracing::error!(target: "oncegate_policy::guest", policy, "a policy says: {message}"),
    }
}

fn sha256(
    mut store: StoreContextMut<'_, InstanceState>,
    (data,): (WasmList<u8>,),
) -> wasmtime::Result<(Vec<u8>,)> {
    charge(&mut store, "digest.sha256", data.len())?;
    Ok((Sha256::digest(data.as_le_slice(&store)).to_vec(),))
}

type Canonical = Result<Vec<u8>, String>;

fn canonical_json(
    mut store: StoreContextMut<'_, InstanceState>,
    (document,): (WasmList<u8>,),
) -> wasmtime::Result<(Canonical,)> {
    charge(&mut store, "digest.canonical-json", document.len())?;
    Ok((document::canonical_json(document.as_le_slice(&store)),))
}
