//! Clients that ask, ask again and leave; an operator; and at the end one patient look at each
//! operation.

use crate::exchange::answer;
use crate::faults::Changes;
use crate::gateway::{Asked, Gateway};
use crate::keys::{content, ids, operation_of};
use crate::place::TEND_EVERY;
use crate::store::Disk;
use crate::upstream::Upstream;
use crate::world::{Event, Reply, World};
use oncegate_core::{OperationId, Outcome, Record, State, Times};
use oncegate_store::Versioned;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

/// How often a client asks at most, however it is answered.
const ASKS_MAX: usize = 12;
/// How long reading the list takes at most when nothing goes wrong.
const SLACK: Duration = Duration::from_millis(100);
/// The longest time between two changes of the configuration that change no keys.
const MAINTAINED: Duration = Duration::from_millis(800);
/// The longest time for which records are kept, once that is changed.
const KEPT: Duration = Duration::from_secs(2);
/// How long the operator waits for a call; its gateway may have ended.
const PATIENCE: Duration = Duration::from_secs(3);

/// Everyone's part, from the first request to the last answer.
pub async fn live(
    world: &Arc<World>,
    gateways: &[Rc<Gateway>],
    disk: &Arc<Disk>,
    upstream: &Arc<Upstream>,
    trouble: Duration,
) {
    if world.setting.operator {
        spawn_local(operator(world.clone(), gateways.to_vec(), disk.clone(), upstream.clone()));
    }
    if let Some(changes) = world.setting.changes.clone() {
        spawn_local(deployer(world.clone(), gateways.to_vec(), changes, trouble));
    }
    spawn_local(maintainer(world.clone(), gateways.to_vec(), trouble));
    let mut clients = JoinSet::new();
    for operation in 0..world.setting.operations {
        for _ in 0..world.setting.clients {
            clients.spawn_local(client(world.clone(), gateways.to_vec(), operation, trouble));
        }
    }
    sleep(trouble).await;
    world.calm_down();
    clients.join_all().await;
    // The wait lasts until every lease that nobody renews any more has lapsed, and every overdue settlement
    // has been tried again.
    let executing = world.setting.response_timeout * world.setting.attempts;
    let settling = world.setting.times.lease + world.faults.settle_after();
    sleep(executing + settling + Duration::from_secs(2)).await;
    for operation in 0..world.setting.operations {
        for gateway in gateways {
            look(world, gateway, operation).await;
        }
    }
}

/// A patient look at an operation. Where a space leaves just now, its gateway may have to read the list
/// first.
async fn look(world: &World, gateway: &Gateway, operation: usize) {
    let content = content(operation, false);
    let mut request = world.request();
    let mut reply = gateway.ask(Asked { request, operation, content }).await;
    if reply == Reply::Unavailable
        && let Some(changes) = &world.setting.changes
    {
        sleep(changes.tend_every.max(TEND_EVERY) + SLACK).await;
        request = world.request();
        reply = gateway.ask(Asked { request, operation, content }).await;
    }
    world.say(|| format!("in the end: {reply:?}"));
    world.note(Event::Last { request });
}

/// One client of one operation. The client asks until it has an answer that stays, and then once in a while.
async fn client(world: Arc<World>, gateways: Vec<Rc<Gateway>>, operation: usize, trouble: Duration) {
    sleep(world.up_to(trouble / 2)).await;
    for _ in 0..ASKS_MAX {
        if crate::world::elapsed() >= trouble {
            return;
        }
        let gateway = &gateways[world.pick(0..gateways.len())];
        let content = content(operation, world.happens(world.faults.reused));
        let reply = gateway.ask(Asked { request: world.request(), operation, content }).await;
        let pause = match reply {
            Reply::Cut => Duration::from_millis(50),
            reply if reply.is_for_now() => Duration::from_millis(200),
            _ => trouble / 2,
        };
        sleep(world.up_to(pause)).await;
    }
}

/// Looks at unknown outcomes and resolves them, and has what is over forgotten.
async fn operator(world: Arc<World>, gateways: Vec<Rc<Gateway>>, disk: Arc<Disk>, upstream: Arc<Upstream>) {
    loop {
        sleep(world.up_to(Duration::from_millis(1_500))).await;
        let operation = world.pick(0..world.setting.operations);
        let gateway = &gateways[world.pick(0..gateways.len())];
        if world.setting.forgets && world.coin() {
            forget(&world, gateway, &disk, operation).await;
        } else {
            resolve(&world, gateway, (&disk, &upstream), operation).await;
        }
    }
}

/// The first record of the operation that is so.
fn find(
    world: &World,
    disk: &Disk,
    operation: usize,
    is: impl Fn(&Record) -> bool,
) -> Option<(OperationId, Versioned)> {
    ids(world, operation).find_map(|id| {
        let shown = disk.load(id).filter(|shown| is(&shown.record))?;
        (operation_of(world, id, &shown.record) == operation).then_some((id, shown))
    })
}

/// Resolves an unknown outcome. The operator sees an effect at once, and believes that there was none when no
/// effect can come any more.
async fn resolve(world: &World, gateway: &Gateway, (disk, upstream): (&Disk, &Upstream), operation: usize) {
    let Some(ledger) = gateway.ledger() else { return };
    let found = find(world, disk, operation, |record| record.unknown_since().is_some());
    let Some((id, shown)) = found else { return };
    let since = shown.record.unknown_since().expect("it was looked for");
    let outcome = match upstream.looked_up(operation, shown.record.first_attempt) {
        Some((content, token)) => {
            world.note(Event::Found { operation });
            Outcome::Completed(answer(content, token, false))
        }
        None if ledger.clock().now() < since.plus(world.faults.settle_after()) => return,
        None => Outcome::NotApplied,
    };
    let resolve = ledger.resolve(id, shown.version, &outcome, "told");
    // A call that fails is made again another time.
    let _ = timeout(PATIENCE, ledger.store().freeing(id, &outcome, resolve)).await;
}

/// Has an operation forgotten that is over.
async fn forget(world: &World, gateway: &Gateway, disk: &Disk, operation: usize) {
    let Some(ledger) = gateway.ledger() else { return };
    let is_over = |record: &Record| matches!(record.state, State::Completed { .. } | State::Consumed { .. });
    let Some((id, shown)) = find(world, disk, operation, is_over) else { return };
    let forget = ledger.forget(id, shown.version);
    let _ = timeout(PATIENCE, ledger.store().forgetting(id, forget)).await;
}

/// Changes the configuration in other things than keys: where principals are taken from, and how long records
/// are kept.
async fn maintainer(world: Arc<World>, gateways: Vec<Rc<Gateway>>, trouble: Duration) {
    let (sources, retimes) = (world.setting.sources, world.setting.retimes);
    if sources == 1 && !retimes {
        return;
    }
    loop {
        sleep(world.up_to(MAINTAINED)).await;
        if crate::world::elapsed() >= trouble {
            return;
        }
        if sources > 1 {
            let source = u32::try_from(world.pick(0..sources as usize)).expect("they are few");
            gateways[0].reroute(source);
        }
        if retimes && world.coin() {
            let (retention, tombstone) = (world.up_to(KEPT), world.up_to(KEPT));
            let (lease, unknown_retention) = (world.setting.times.lease, world.up_to(KEPT));
            let memory = retention + tombstone;
            let times = Times { lease, retention, tombstone, unknown_retention, memory };
            gateways.iter().for_each(|gateway| gateway.retime(times));
        }
    }
}

/// Changes how keys are made, one gateway after the other: by a new way, by an earlier way, and often before
/// the last change is everywhere.
async fn deployer(world: Arc<World>, gateways: Vec<Rc<Gateway>>, changes: Changes, trouble: Duration) {
    let mut newest = 1;
    loop {
        let hurry = world.coin();
        sleep(world.up_to(if hurry { changes.spread_max } else { changes.pause_max })).await;
        if crate::world::elapsed() >= trouble {
            return;
        }
        let way = match world.coin() {
            true => (newest + 1).min(changes.ways),
            false => 1 + u32::try_from(world.pick(0..newest as usize)).expect("they are few"),
        };
        newest = newest.max(way);
        for gateway in &gateways {
            // Some gateways come to the change only with the next one.
            if world.coin() || world.coin() {
                let (gateway, late) = (gateway.clone(), world.up_to(changes.spread_max));
                spawn_local(async move {
                    sleep(late).await;
                    gateway.configure(way);
                });
            }
        }
    }
}
