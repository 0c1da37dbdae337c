//! Keys: the keys that the policies of a run derive, by each of their ways of making keys.

use crate::faults::Ways;
use crate::gateway::{Asked, SimLedger};
use crate::world::World;
use oncegate_core::keyspaces::list::Deriver;
use oncegate_core::{
    Claim, Fingerprint, Framer, Key, KeySpace, OperationId, Origin, PartKind, PrincipalId, Recipe, Record,
    Rules, Secret, SpaceNumber, Timestamp,
};
use oncegate_keyspaces::{ActiveSpaces, SpacePin};
use oncegate_ledger::Derived;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The policy of the only route.
pub const POLICY: &str = "payments";

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

fn principal(operation: usize) -> PrincipalId {
    let mut framer = Framer::principal(&SECRET);
    framer.part(PartKind::SourceValue, if operation.is_multiple_of(2) { b"alice" } else { b"bob" });
    framer.into_principal()
}

/// The id of an operation by a way of making keys. Each two operations have a key in common and differ in the
/// principal only; by a way that merges, all operations of one principal have one id.
pub fn operation_id(world: &World, operation: usize, way: u32) -> OperationId {
    let space = KeySpace { policy: POLICY, key_schema: &key_schema(way), key_epoch: 0 };
    let mut framer = Framer::operation(&SECRET, "default", &principal(operation), &space);
    let merges = world.setting.changes.as_ref().is_some_and(|changes| changes.merging.has(way));
    let number = if merges { 0 } else { operation / 2 };
    framer.part(PartKind::Text, format!("key-{number}").as_bytes());
    framer.into_operation()
}

/// Whether a way of making keys guards an operation.
pub fn guards(world: &World, operation: usize, way: u32) -> bool {
    let blind = world.setting.changes.as_ref().is_some_and(|changes| changes.blind.has(way));
    !(blind && (operation + way as usize).is_multiple_of(2))
}

/// All ids of the operation.
pub fn ids(world: &World, operation: usize) -> impl Iterator<Item = OperationId> {
    ways(world).map(move |way| operation_id(world, operation, way))
}

/// The operation whose record this is.
pub fn operation_of(world: &World, id: OperationId, record: &Record) -> usize {
    let is_its = |operation: &usize| {
        ways(world).any(|way| {
            let prints = [false, true].map(|reused| fingerprint(content(*operation, reused), way));
            operation_id(world, *operation, way) == id && prints.contains(&record.fingerprint)
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

/// A client's request that came then, as a request to the ledger with its keys in these spaces.
pub fn request(
    world: &World,
    ledger: &SimLedger,
    (asked, came): (Asked, Timestamp),
    (spaces, term): (&[(SpaceNumber, u32)], u64),
    pin: Option<SpacePin>,
) -> oncegate_ledger::Request {
    let Asked { operation, content, .. } = asked;
    let setting = &world.setting;
    let clock = ledger.clock().now().max(world.wall());
    let text = Arc::<str>::from;
    let key = |(space, way): &(SpaceNumber, u32)| Key {
        space: *space,
        id: operation_id(world, operation, *way),
        fingerprint: fingerprint(content, *way),
        key_schema: key_schema(*way).into(),
        key_epoch: 0,
    };
    let keys: Vec<Key> = spaces.iter().map(key).collect();
    let own = keys.first().expect("there is always one").clone();
    let request = oncegate_ledger::Request {
        id: own.id,
        claim: Claim {
            fingerprint: own.fingerprint,
            execution: ledger.execution_id(),
            times: setting.times,
            origin: Origin {
                route: text("charges"),
                policy: text(POLICY),
                key_schema: own.key_schema,
                key_epoch: own.key_epoch,
                normalisation: 1,
                method: text("POST"),
                authority: text("api.example.com"),
                path: text("/v1/charges"),
                principal: principal(operation),
                first_sent: setting.first_sent.then(|| world.first_sent()),
            },
            memo: None,
            clock,
            remembered_since: clock.minus(setting.times.memory),
            came,
        },
        rules: Rules { while_running: setting.while_running, when_unknown: setting.when_unknown },
        wait: setting.wait,
        waiting_room: None,
        derived: Derived { term, pin: pin.map(Arc::new), ..Derived::default() },
    };
    request.with_keys(keys)
}
