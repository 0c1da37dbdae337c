//! A deterministic simulation of everything that promises 1, 2 and 4 of design/promises.md rest on. Clients,
//! gateways with the real ledger, a store and an upstream run in one thread, on a clock that stands still but
//! for their waiting. All is drawn from one seed. README.md has the model and its reasons.
//!
//! - [`faults`]: the setting of a run and its faults; [`focus`]: what directed runs are directed at.
//! - [`world`]: time, dice, history.
//! - [`process`], [`store`], [`upstream`], [`gateway`], [`exchange`], [`people`]: the parties; [`keys`], [`place`]: the keys
//!   of operations.
//! - [`checker`]: the promises, over effects, answers and announcements of doubt.
#![allow(missing_docs, reason = "a test's own types; the modules and the fields that need words have them")]

pub mod checker;
pub mod exchange;
pub mod faults;
pub mod focus;
pub mod gateway;
pub mod keys;
pub mod people;
pub mod place;
pub mod process;
pub mod store;
pub mod upstream;
pub mod world;

use checker::Violation;
use faults::Setting;
use gateway::Gateway;
use std::sync::Arc;
use std::time::Duration;
use store::Disk;
use tokio::task::LocalSet;
use upstream::Upstream;
use world::{Entry, World};

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(5);

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// All events of the run.
    pub history: Vec<Entry>,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
}

/// Runs the world of a seed. `trace`: prints what happens.
pub fn run(seed: u64, trace: bool) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let history = LocalSet::new().block_on(&runtime, live(seed, trace));
    // What may be forgotten by the shortest times may be forgotten.
    let setting = Setting { times: history.0.shortest(), ..history.0.setting.clone() };
    let faults = history.0.faults.clone();
    let history = history.0.history();
    let violation = checker::check(&setting, &faults, &history).err();
    Run { history, violation }
}

async fn live(seed: u64, trace: bool) -> (Arc<World>,) {
    let world = Arc::new(World::new(seed, trace));
    let (disk, upstream) = (Arc::new(Disk::default()), Upstream::new(&world));
    let gateways: Vec<_> =
        (0..world.setting.gateways).map(|n| Gateway::new(n, &world, &disk, &upstream)).collect();
    for gateway in &gateways {
        tokio::task::spawn_local(gateway.clone().run());
    }
    people::live(&world, &gateways, &disk, &upstream, TROUBLE).await;
    (world,)
}
