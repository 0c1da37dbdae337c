//! `[ledger]`: the store of records, and the times of records unless a route says otherwise.

use super::reading::units::{is_name, parse_hex};
use super::reading::{Item, NAME_HELP, PlainKey, Section, Unset, read_named};
use super::remembering::{self, Bounds, Remembering};
use super::server::{SIZE_MAX, Server};
use oncegate_core::Durability;
use std::path::PathBuf;
use std::sync::Arc;

/// `[ledger]` without the times, which routes have.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerConfig {
    /// The kind of store.
    pub store: StoreKind,
    /// The deployment's name, which is part of every key.
    pub deployment: Arc<str>,
    /// Whether an answer's end waits for the disk.
    pub durability: Durability,
    /// The bytes of the in-memory cache, or of all records if the store is memory.
    pub memory: usize,
    /// The file of the embedded store's mark.
    pub mark_file: Option<PathBuf>,
    /// The secret from `secret_file`, 32 bytes.
    pub secret: Option<[u8; 32]>,
}

/// `ledger.store`, with the store's folder if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory: records are lost with the process.
    Memory,
    /// In this folder.
    Embedded(PathBuf),
}

const MIB: usize = 1 << 20;

const STORE: PlainKey<StoreName> = PlainKey::new(
    "store",
    Unset::Value("\"embedded\""),
    store,
    "`\"embedded\"`: durable, in a folder of this machine. `\"memory\"`: forgotten when the process ends.",
)
.fixed();
const PATH: PlainKey<PathBuf> = PlainKey::new(
    "path",
    Unset::Value("\"oncegate-data\""),
    |item| item.path("the path of a folder"),
    "The folder of the embedded store, with compiled policies in it (`oncegate.code`); one process at a time. With less than 16 MiB free on its disk, or after a failed write, new operations are refused until that is over; no restart is needed.",
)
.fixed();
const SECRET_FILE: PlainKey<[u8; 32]> = PlainKey::new(
    "secret_file",
    Unset::Nothing(""),
    secret,
    "64 hexadecimal digits or 32 bytes, with which operation ids are made; without it the store makes one and keeps it. Another one is refused while records live (`--accept-duplicates`).",
)
.fixed();
const MARK_FILE: PlainKey<PathBuf> = PlainKey::new(
    "mark_file",
    Unset::Nothing(""),
    |item| item.path("the path of a file on another disk than the data folder"),
    "A file outside of the data folder, on another disk, with a mark of the last acknowledged change. A folder that is behind it, as one that was put back from a copy, is refused at the start (`--accept-duplicates`). It is written at most once a second, and no request waits for it. Only with the embedded store.",
)
.fixed();
const DEPLOYMENT: PlainKey<String> = PlainKey::new(
    "deployment",
    Unset::Value("\"default\""),
    |item| item.parsed(NAME_HELP, |text| is_name(text).then(|| text.to_owned())),
    "Part of every key: deployments on one store don't meet. Another one is refused while records live (`--accept-duplicates`).",
)
.fixed();
const DURABILITY: PlainKey<Durability> = PlainKey::new(
    "durability",
    Unset::Value("\"sync\""),
    |item| item.choice(&[("sync", Durability::Sync), ("async", Durability::Async)]),
    "`\"async\"`: answers don't wait for the disk, and the last ones before a power loss may run again.",
);
const MEMORY: PlainKey<usize> = PlainKey::new(
    "memory",
    Unset::Value("\"256MiB\""),
    |item| item.size(&(MIB..=SIZE_MAX)),
    "The cache in memory; with the memory store everything: when it is full new operations are refused, and answers of those under way may take a quarter more before they are consumed.",
);

/// Reads the section, and the values that routes inherit from it.
pub(super) fn read(mut section: Section<'_>, server: &Server) -> (LedgerConfig, Remembering) {
    section.later(&["url", "url_file"]);
    for key in ["path", "mark_file", "secret_file"] {
        if let Some(set_by) = section.set_by(key) {
            section.reading.setting(&format!("ledger.{key}"), set_by);
        }
    }
    let (store, path) = (section.get(&STORE), section.get(&PATH));
    let mark_file = section.find(&MARK_FILE);
    if let (StoreName::Memory, Some(set_by)) = (store, section.set_by("mark_file")) {
        section.reading.fault(
            set_by,
            "ledger.mark_file",
            "`ledger.mark_file` is set, and `ledger.store = \"memory\"` keeps nothing that could fall behind it",
            "remove it, or choose `ledger.store = \"embedded\"`",
        );
    }
    let ledger = LedgerConfig {
        store: match store {
            StoreName::Memory => StoreKind::Memory,
            StoreName::Embedded => StoreKind::Embedded(path),
        },
        mark_file,
        secret: section.find(&SECRET_FILE),
        deployment: section.get(&DEPLOYMENT).into(),
        durability: section.get(&DURABILITY),
        memory: section.get(&MEMORY),
    };
    let defaults = remembering::read(&mut section, &bounds(&ledger, server));
    warn(&section, &ledger);
    section.close();
    (ledger, defaults)
}

/// The bounds of a kept answer.
pub(super) fn bounds(ledger: &LedgerConfig, server: &Server) -> Bounds {
    Bounds { buffers: server.limits.buffers / 2, memory: ledger.memory }
}

/// `ledger.store`.
#[derive(Clone, Copy)]
enum StoreName {
    Memory,
    Embedded,
}

fn store(item: &Item<'_>) -> Option<StoreName> {
    let help = "\"embedded\" (a folder of this machine) or \"memory\" (forgotten when the process ends)";
    let text = item.text(help)?;
    match text.split_once("://").map_or(text.as_str(), |(scheme, _)| scheme) {
        name @ ("redis" | "rediss" | "postgres" | "postgresql") => {
            // Only the scheme is shown, because the rest of such a URL may hold a password.
            let problem = format!("`ledger.store` is {name:?}, which is not in this version yet");
            item.reading.fault_unshown(&item.node.set_by, &item.path, &problem, help);
            None
        }
        _ => item.choice(&[("memory", StoreName::Memory), ("embedded", StoreName::Embedded)]),
    }
}

fn secret(item: &Item<'_>) -> Option<[u8; 32]> {
    let path = item.path("the path of a file that holds the secret")?;
    let help = "64 hexadecimal digits (openssl rand -hex 32), or exactly 32 bytes";
    let refuse = |words: String| {
        let problem = format!("`{}`: {}: {words}", item.path, path.display());
        item.fault(problem, help);
    };
    let bytes = read_named(&path).map_err(refuse).ok()?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let digits = std::str::from_utf8(line).ok().and_then(parse_hex::<32>);
    let secret = digits.or_else(|| bytes.as_slice().try_into().ok()).or_else(|| line.try_into().ok());
    if secret.is_none() {
        refuse(format!("it holds {} bytes that are no secret", bytes.len()));
    }
    secret
}

fn warn(section: &Section<'_>, ledger: &LedgerConfig) {
    match (&ledger.store, ledger.durability) {
        (StoreKind::Memory, _) => section.reading.warn(
            "`ledger.store = \"memory\"`: every operation is forgotten when the process ends, and a retry after that runs again",
        ),
        (StoreKind::Embedded(_), Durability::Async) => section.reading.warn(
            "`ledger.durability = \"async\"`: operations answered just before a power loss may be forgotten, and a retry after that runs again",
        ),
        (StoreKind::Embedded(_), Durability::Sync) => {}
    }
}
