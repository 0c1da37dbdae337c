//! A store that several gateways share, or that one has to itself, behind a network or disk that is slow,
//! refuses, or leaves the result of a write open.

use crate::keys::operation_of;
use crate::process::Process;
use crate::world::{Event, World, locked};
use bytes::Bytes;
use oncegate_core::{OperationId, Outcome, Record, State, Timestamp};
use oncegate_store::{Kind, Said, ScanScope, Size, Store, StoreError, Swap, Version, Versioned};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// The data that outlives every process.
#[derive(Debug, Default)]
pub struct Disk {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    records: BTreeMap<OperationId, Versioned>,
    documents: BTreeMap<&'static str, (Version, Bytes)>,
    versions: u64,
    last_time: Timestamp,
}

impl Disk {
    /// Operations that were executing, and the latest ledger time that was seen: an embedded store tells
    /// these when it is opened.
    pub fn recovered(&self) -> (Vec<OperationId>, Timestamp) {
        let tables = locked(&self.tables);
        let running = |versioned: &Versioned| matches!(versioned.record.state, State::Executing { .. });
        let orphans = tables.records.iter().filter(|(_, versioned)| running(versioned));
        (orphans.map(|(id, _)| *id).collect(), tables.last_time)
    }

    /// The record of an operation, as a reader of the store sees it.
    pub fn load(&self, id: OperationId) -> Option<Versioned> {
        locked(&self.tables).records.get(&id).cloned()
    }

    fn swap(&self, write: Write) -> Swap<Versioned> {
        let Write { id, expected, next, now, .. } = write;
        let mut tables = locked(&self.tables);
        let current = tables.records.get(&id);
        if current.map(|current| current.version) != expected {
            return Swap::Conflict(current.cloned());
        }
        tables.versions += 1;
        tables.last_time = tables.last_time.max(now);
        let version = Version(tables.versions);
        match next {
            Some(record) => tables.records.insert(id, Versioned { version, record }),
            None => tables.records.remove(&id),
        };
        Swap::Done(version)
    }

    fn swap_document(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Swap<(Version, Bytes)> {
        let mut tables = locked(&self.tables);
        let current = tables.documents.get(name).cloned();
        if current.as_ref().map(|(version, _)| *version) != expected {
            return Swap::Conflict(current);
        }
        tables.versions += 1;
        let version = Version(tables.versions);
        tables.documents.insert(name, (version, next));
        Swap::Done(version)
    }
}

/// A swap on its way.
#[derive(Clone)]
struct Write {
    id: OperationId,
    expected: Option<Version>,
    next: Option<Arc<Record>>,
    now: Timestamp,
    /// The write removes a record because somebody found *not applied*.
    frees: bool,
}

/// One gateway's way to the store.
#[derive(Debug)]
pub struct SimStore {
    world: Arc<World>,
    disk: Arc<Disk>,
    process: Arc<Process>,
    /// Operations that somebody is resolving as *not applied*.
    freeing: Mutex<BTreeSet<OperationId>>,
}

/// What happens to a write.
enum Fate {
    Written,
    Refused,
    /// Nobody is told; the write takes effect after so long, or never.
    Unclear(Option<Duration>),
}

impl SimStore {
    /// A way to `disk` for this process.
    pub fn new(world: &Arc<World>, disk: &Arc<Disk>, process: &Arc<Process>) -> Self {
        Self { world: world.clone(), disk: disk.clone(), process: process.clone(), freeing: Mutex::default() }
    }

    /// While `saying` runs, a removal of this record means that somebody's finding frees the operation, if
    /// the outcome is *not applied*.
    pub async fn freeing<T>(&self, id: OperationId, outcome: &Outcome, saying: impl Future<Output = T>) -> T {
        if !matches!(outcome, Outcome::NotApplied) {
            return saying.await;
        }
        locked(&self.freeing).insert(id);
        let said = saying.await;
        locked(&self.freeing).remove(&id);
        said
    }

    /// The way to the store, or the way back.
    async fn travel(&self) {
        let slow = self.world.happens(self.world.faults.slow);
        if slow {
            self.hindered();
        }
        self.pass(slow).await;
    }

    async fn pass(&self, slow: bool) {
        let span = if slow {
            self.world.up_to(self.world.faults.slow_max)
        } else if self.world.coin() {
            Duration::from_millis(1)
        } else {
            Duration::ZERO
        };
        if !span.is_zero() {
            sleep(span).await;
        }
    }

    /// The way of the ledger's own documents. Trouble on it excuses no operation's outcome, so nobody is
    /// told.
    async fn travel_apart(&self) {
        let slow = self.world.happens(self.world.faults.slow);
        self.pass(slow).await;
    }

    fn hindered(&self) {
        self.world.note(Event::Hindered { gateway: self.process.gateway() });
    }

    /// A call that only reads.
    async fn read<T>(&self, read: impl FnOnce(&Disk) -> T) -> Result<T, StoreError> {
        self.travel().await;
        if self.world.happens(self.world.faults.refused) {
            self.hindered();
            return Err(refused());
        }
        let read = read(&self.disk);
        self.travel().await;
        Ok(read)
    }

    fn fate(&self) -> Fate {
        let faults = &self.world.faults;
        if self.world.happens(faults.refused) {
            return Fate::Refused;
        }
        if self.world.happens(faults.unclear) {
            let lands = self.world.coin();
            return Fate::Unclear(lands.then(|| self.world.up_to(faults.slow_max)));
        }
        Fate::Written
    }

    /// Puts the write on the disk after `span`, whatever the caller does meanwhile. An embedded store ends
    /// with its process.
    fn land(&self, write: Write, span: Duration) -> oneshot::Receiver<Swap<Versioned>> {
        let (done, swapped) = oneshot::channel();
        let (world, disk, process) = (self.world.clone(), self.disk.clone(), self.process.clone());
        tokio::spawn(async move {
            sleep(span).await;
            if process.is_alive() || !world.setting.embedded() {
                let _ = done.send(apply(&world, &disk, write));
            }
        });
        swapped
    }
}

impl Store for SimStore {
    async fn load(&self, id: OperationId) -> Said<Option<Versioned>> {
        Ok(self.read(|disk| disk.load(id)).await?.into())
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Said<Swap<Versioned>> {
        let frees = next.is_none() && locked(&self.freeing).contains(&id);
        let write = Write { id, expected, next, now, frees };
        self.process.step("about to write").await;
        match self.fate() {
            Fate::Refused => {
                self.hindered();
                self.travel().await;
                return Err(refused());
            }
            Fate::Unclear(lands) => {
                self.hindered();
                if let Some(span) = lands {
                    drop(self.land(write, span));
                }
                // The call fails sometimes before the write lands, sometimes after.
                sleep(self.world.up_to(self.world.faults.slow_max)).await;
                return Err(StoreError::Indeterminate("nobody knows".into()));
            }
            Fate::Written => {}
        }
        let slow = self.world.happens(self.world.faults.slow);
        let swapped = match slow {
            true => {
                self.hindered();
                let span = self.world.up_to(self.world.faults.slow_max);
                self.land(write, span).await.map_err(|_| refused())?
            }
            false => apply(&self.world, &self.disk, write),
        };
        self.process.step("written").await;
        self.travel().await;
        Ok(swapped.into())
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Said<Vec<OperationId>> {
        let read = self.read(|disk| {
            let tables = locked(&disk.tables);
            let due = tables.records.iter().map(|(id, versioned)| (versioned.record.due_at(), *id));
            let mut due: Vec<_> = due.filter(|(at, _)| *at <= until).collect();
            due.sort_unstable();
            due.into_iter().take(limit).map(|(_, id)| id).collect::<Vec<_>>()
        });
        Ok(read.await?.into())
    }

    async fn scan(
        &self,
        of: ScanScope,
        after: Option<OperationId>,
        limit: usize,
    ) -> Said<Vec<(OperationId, Versioned)>> {
        let read = self.read(|disk| {
            let tables = locked(&disk.tables);
            let behind = tables.records.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
            let kind = of.kind();
            let behind = behind.filter(|(_, found)| kind.is_none_or(|kind| Kind::of(&found.record) == kind));
            behind.take(limit).map(|(id, versioned)| (*id, versioned.clone())).collect::<Vec<_>>()
        });
        Ok(read.await?.into())
    }

    async fn load_meta(&self, name: &'static str) -> Said<Option<(Version, Bytes)>> {
        self.travel_apart().await;
        if self.world.happens(self.world.faults.refused) {
            return Err(refused());
        }
        let read = locked(&self.disk.tables).documents.get(name).cloned();
        self.travel_apart().await;
        Ok(read.into())
    }

    async fn swap_meta(
        &self,
        name: &'static str,
        expected: Option<Version>,
        next: Bytes,
    ) -> Said<Swap<(Version, Bytes)>> {
        self.process.step("about to change a document").await;
        self.travel_apart().await;
        match self.fate() {
            Fate::Refused => return Err(refused()),
            Fate::Unclear(lands) => {
                if let Some(span) = lands {
                    let (world, disk, process) =
                        (self.world.clone(), self.disk.clone(), self.process.clone());
                    tokio::spawn(async move {
                        sleep(span).await;
                        if process.is_alive() || !world.setting.embedded() {
                            disk.swap_document(name, expected, next);
                        }
                    });
                }
                sleep(self.world.up_to(self.world.faults.slow_max)).await;
                return Err(StoreError::Indeterminate("nobody knows".into()));
            }
            Fate::Written => {}
        }
        let swapped = self.disk.swap_document(name, expected, next);
        self.process.step("a document is changed").await;
        self.travel_apart().await;
        Ok(swapped.into())
    }

    fn size(&self) -> Size {
        Size { records: locked(&self.disk.tables).records.len() as u64, ..Size::default() }
    }
}

fn apply(world: &World, disk: &Disk, write: Write) -> Swap<Versioned> {
    let freed = disk.load(write.id).filter(|_| write.frees);
    let freed = freed.map(|freed| operation_of(world, write.id, &freed.record));
    world.say(|| {
        let next = write.next.as_ref().map(|next| (next.execution, &next.state));
        format!("{} over {:?} becomes {next:?}", write.id, write.expected)
    });
    let swapped = disk.swap(write);
    if let (Swap::Done(_), Some(operation)) = (&swapped, freed) {
        world.note(Event::Freed { operation });
    }
    swapped
}

fn refused() -> StoreError {
    StoreError::Unavailable("it says no".into())
}
