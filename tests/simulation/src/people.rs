//! Clients that ask, ask again and leave; an operator; and at the end one patient look at each
//! operation.

use crate::faults::Changes;
use crate::gateway::{Asked, Gateway, answer};
use crate::keys::{content, ids, operation_of};
use crate::place::TEND_EVERY;
use crate::store::Disk;
use crate::upstream::Upstream;
use crate::world::{Event, Reply, World};
use oncegate_core::Outcome;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

/// How often a client asks at most, however it is answered.
const ASKS_MAX: usize = 12;
/// How long reading the list takes at most when nothing goes wrong.
const SLACK: Duration = Duration::from_millis(100);
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

/// Looks at unknown outcomes and resolves them. The operator sees an effect at once, and believes that there
/// was none when no effect can come any more.
async fn operator(world: Arc<World>, gateways: Vec<Rc<Gateway>>, disk: Arc<Disk>, upstream: Arc<Upstream>) {
    loop {
        sleep(world.up_to(Duration::from_millis(1_500))).await;
        let operation = world.pick(0..world.setting.operations);
        let Some(ledger) = gateways[world.pick(0..gateways.len())].ledger() else { continue };
        let shown = ids(&world, operation).find_map(|id| {
            let shown = disk.load(id)?;
            let since = shown.record.unknown_since()?;
            (operation_of(&world, id, &shown.record) == operation).then_some((id, since, shown))
        });
        let Some((id, since, shown)) = shown else { continue };
        let outcome = match upstream.looked_up(operation, shown.record.first_attempt) {
            Some((content, token)) => {
                world.note(Event::Found { operation });
                Outcome::Completed(answer(content, token))
            }
            None if ledger.clock().now() < since.plus(world.faults.settle_after()) => continue,
            None => Outcome::NotApplied,
        };
        let resolve = ledger.resolve(id, shown.version, &outcome);
        // A call that fails is made again another time.
        let _ = timeout(PATIENCE, ledger.store().freeing(id, &outcome, resolve)).await;
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
