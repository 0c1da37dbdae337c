//! Keys: the keys that the policies of a run derive, by each of their ways of making keys.

use crate::faults::Ways;
use crate::gateway::{Asked, SimLedger};
use crate::world::World;
use oncegate_core::keyspaces::list::Deriver;
use oncegate_core::{
    Claim, Fingerprint, Framer, Key, KeySpace, OperationId, Origin, PartKind, PrincipalId, Recipe, Record,
    Rules, Secret, SpaceNumber, Times, Timestamp,
};
use oncegate_keyspaces::{ActiveSpaces, SpacePin};
use oncegate_ledger::{Derived, Identity, RouteEntry, RouteKeys, RouteRetention, RouteTable};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// The policy of the only route.
pub const POLICY: &str = "payments";
/// The only route.
const ROUTE: &str = "charges";

const SECRET: Secret = Secret::new([7; 32]);

/// The name of a way of making keys.
pub fn key_schema(way: u32) -> String {
    format!("simulated/{way}")
}

/// A way of making keys, as it stands on a list.
pub fn deriver(way: u32) -> Deriver {
    let text = Arc::<str>::from;
    Deriver {
        key_schema: key_schema(way).into(),
        key_epoch: 0,
        component: text("component"),
        settings: text("settings"),
    }
}

/// The way of this deriver on a list.
pub fn way_of(world: &World, deriver: &Deriver) -> u32 {
    ways(world).find(|way| *deriver.key_schema == key_schema(*way)).expect("there are no others")
}

/// The ways of making keys in a run.
pub fn ways(world: &World) -> RangeInclusive<u32> {
    1..=world.setting.changes.as_ref().map_or(1, |changes| changes.ways)
}

/// How the gateway's ledger is told to take principals from this source.
pub fn identity(source: u32) -> Identity {
    let keys = RouteKeys { policy: POLICY.into(), principal: format!("source {source}"), by_name: false };
    let (name, path) = (ROUTE.to_owned(), String::new());
    let route = RouteEntry { name, host: None, path, methods: Vec::new(), keys: Some(keys) };
    Identity { routes: RouteTable::new([route]), normalisation: 1, ..Identity::default() }
}

/// The route's memory, as the ledger notes it.
pub fn memory(memory: Duration) -> BTreeMap<String, RouteRetention> {
    [(ROUTE.to_owned(), RouteRetention { policy: POLICY.into(), memory })].into()
}

fn principal(operation: usize, source: u32) -> PrincipalId {
    let mut framer = Framer::principal(&SECRET);
    framer.part(PartKind::Text, &source.to_le_bytes());
    framer.part(PartKind::SourceValue, if operation.is_multiple_of(2) { b"alice" } else { b"bob" });
    framer.into_principal()
}

/// The id of an operation by a way of making keys. Each two operations have a key in common and differ in the
/// principal only; by a way that merges, all operations of one principal have one id.
pub fn operation_id(world: &World, (operation, source): (usize, u32), way: u32) -> OperationId {
    let space = KeySpace { policy: POLICY, key_schema: &key_schema(way), key_epoch: 0 };
    let mut framer = Framer::operation(&SECRET, "default", &principal(operation, source), &space);
    let merges = world.setting.changes.as_ref().is_some_and(|changes| changes.merging.has(way));
    let number = if merges { 0 } else { operation / 2 };
    framer.part(PartKind::Text, format!("key-{number}").as_bytes());
    framer.into_operation()
}

/// The key without the principal, which two operations have in common where their contents are alike. Their
/// answers must differ, so contents differ in the simulation, and this key is made as if they didn't.
fn common_id(operation: usize, content: u32, way: u32) -> OperationId {
    let space = KeySpace { policy: POLICY, key_schema: &key_schema(way), key_epoch: 0 };
    let alike = fingerprint(content % 10, way);
    let mut framer = Framer::common(&SECRET, "default", &space, &alike);
    framer.part(PartKind::Text, format!("key-{}", operation / 2).as_bytes());
    framer.into_operation()
}

/// Whether a way of making keys guards an operation: alike for all principals.
pub fn guards(world: &World, operation: usize, way: u32) -> bool {
    let blind = world.setting.changes.as_ref().is_some_and(|changes| changes.blind.has(way));
    !(blind && (operation / 2 + way as usize).is_multiple_of(2))
}

/// All ids of the operation.
pub fn ids(world: &World, operation: usize) -> impl Iterator<Item = OperationId> {
    let sources = 0..world.setting.sources;
    sources.flat_map(move |source| ways(world).map(move |way| operation_id(world, (operation, source), way)))
}

/// The operation whose record this is.
pub fn operation_of(world: &World, id: OperationId, record: &Record) -> usize {
    let is_its = |operation: &usize| {
        ways(world).any(|way| {
            let prints = [false, true].map(|reused| fingerprint(content(*operation, reused), way));
            let is_id = |source| operation_id(world, (*operation, source), way) == id;
            (0..world.setting.sources).any(is_id) && prints.contains(&record.fingerprint)
        })
    };
    (0..world.setting.operations).find(is_its).expect("there are no others")
}

/// The content of a request for this operation. `reused`: the key comes with another request.
pub fn content(operation: usize, reused: bool) -> u32 {
    u32::try_from(operation).expect("they are few") * 10 + u32::from(reused)
}

/// The fingerprint of a content. Each way has fingerprints of its own.
fn fingerprint(content: u32, way: u32) -> Fingerprint {
    let mut framer = Framer::fingerprint(&SECRET);
    framer.part(PartKind::Body, &content.to_le_bytes());
    if way > 1 {
        framer.part(PartKind::Text, &way.to_le_bytes());
    }
    framer.into_fingerprint(Recipe::Request)
}

/// The spaces in which a gateway derives keys of an operation, with the way of each.
pub fn spaces(
    world: &World,
    operation: usize,
    (way, active): (u32, &ActiveSpaces<u32>),
) -> Vec<(SpaceNumber, u32)> {
    let older = active.older.iter().map(|older| (older.number, older.generation));
    let all = std::iter::once((active.guard.number, way)).chain(older);
    let mut spaces: Vec<_> = all.filter(|(_, way)| guards(world, operation, *way)).collect();
    spaces.sort_by_key(|(number, _)| *number);
    spaces
}

/// The ways of these spaces.
pub fn ways_of(spaces: &[(SpaceNumber, u32)]) -> Ways {
    spaces.iter().map(|(_, way)| *way).collect()
}

/// A client's request as it came, by the configuration of then.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub asked: Asked,
    pub came: Timestamp,
    /// Where the principal was taken from.
    pub source: u32,
    pub times: Times,
}

/// A client's request, as a request to the ledger with its keys in these spaces.
pub fn request(
    world: &World,
    ledger: &SimLedger,
    arrived: &Arrived,
    (spaces, term): (&[(SpaceNumber, u32)], u64),
    pin: Option<SpacePin>,
) -> oncegate_ledger::Request {
    let Arrived { asked: Asked { operation, content, .. }, came, source, times } = *arrived;
    let setting = &world.setting;
    let clock = ledger.clock().now().max(world.wall());
    let first_sent = setting.first_sent.then(|| world.first_sent());
    let text = Arc::<str>::from;
    let key = |id, (space, way): (SpaceNumber, u32)| Key {
        space,
        id,
        fingerprint: fingerprint(content, way),
        key_schema: key_schema(way).into(),
        key_epoch: 0,
    };
    let own = spaces.iter().map(|at| key(operation_id(world, (operation, source), at.1), *at));
    let keys: Vec<Key> = own.collect();
    let common = spaces.iter().map(|at| key(common_id(operation, content, at.1), *at));
    let common = if setting.refuses_changed { common.collect() } else { Vec::new() };
    let own = keys.first().expect("there is always one").clone();
    let sent = Timestamp::from_secs(first_sent.unwrap_or(0).into());
    let request = oncegate_ledger::Request {
        id: own.id,
        claim: Claim {
            fingerprint: own.fingerprint,
            execution: ledger.execution_id(),
            times,
            origin: Origin {
                route: text(ROUTE),
                policy: text(POLICY),
                key_schema: own.key_schema,
                key_epoch: own.key_epoch,
                normalisation: 1,
                method: text("POST"),
                authority: text("api.example.com"),
                path: text("/v1/charges"),
                principal: principal(operation, source),
                first_sent,
            },
            memo: None,
            clock,
            remembered_since: ledger.remembered_since((ROUTE, POLICY), times.memory, sent, clock),
            came,
        },
        rules: Rules { while_running: setting.while_running, when_unknown: setting.when_unknown },
        wait: setting.wait,
        waiting_room: None,
        derived: Derived { term, common, pin: pin.map(Arc::new), ..Derived::default() },
    };
    request.with_keys(keys)
}
