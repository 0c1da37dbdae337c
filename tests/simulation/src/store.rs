//! A store that several gateways share, or that one has to itself, behind a network or disk that is slow,
//! refuses, or leaves the result of a write open.

use crate::keys::operation_of;
use crate::process::Process;
use crate::world::{Event, World, locked};
use bytes::Bytes;
use oncegate_core::{OperationId, Outcome, Record, State, Timestamp};
use oncegate_store::{
    Kind, Orphans, Said, ScanScope, Scanned, Size, Store, StoreError, Swap, Version, Versioned,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// The data that outlives every process.
#[derive(Debug, Default)]
pub struct Disk {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    records: BTreeMap<OperationId, Versioned>,
    documents: BTreeMap<&'static str, (Version, Bytes)>,
    /// Records that can't be read.
    damaged: BTreeSet<OperationId>,
    versions: u64,
    last_time: Timestamp,
}

impl Disk {
    /// What the last process left executing, and the latest ledger time that was seen: an embedded store
    /// tells these when it is opened.
    pub fn recovered(&self) -> (Orphans, Timestamp) {
        let tables = locked(&self.tables);
        let running = |versioned: &Versioned| matches!(versioned.record.state, State::Executing { .. });
        let ids = tables.records.iter().filter(|(_, versioned)| running(versioned)).map(|(id, _)| *id);
        let before = Version(tables.versions + 1);
        (Orphans { ids: ids.collect(), before }, tables.last_time)
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
    /// Why the write removes a record, where somebody wants that.
    why: Option<Removal>,
    /// The write takes effect when its caller has been told that nobody knows.
    late: bool,
}

/// Why somebody removes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    /// The operation was found to be not applied.
    Found,
    /// An operator has it forgotten.
    Forgotten,
}

/// One gateway's way to the store.
#[derive(Debug)]
pub struct SimStore {
    world: Arc<World>,
    disk: Arc<Disk>,
    process: Arc<Process>,
    /// Operations whose records somebody is removing.
    removing: Mutex<BTreeMap<OperationId, Removal>>,
    /// Until when the store, which has failed, is closed.
    closed_until: Mutex<Option<Instant>>,
    /// How often the store was opened. A write from before that never takes effect.
    openings: Arc<AtomicU64>,
}

/// What happens to a write.
enum Fate {
    Written,
    Refused,
    /// There is no room.
    Full,
    /// Nobody is told; the write takes effect after so long, or never.
    Unclear(Option<Duration>),
}

impl SimStore {
    /// A way to `disk` for this process.
    pub fn new(world: &Arc<World>, disk: &Arc<Disk>, process: &Arc<Process>) -> Self {
        Self {
            world: world.clone(),
            disk: disk.clone(),
            process: process.clone(),
            removing: Mutex::default(),
            closed_until: Mutex::default(),
            openings: Arc::default(),
        }
    }

    /// While `saying` runs, a removal of this record means that somebody's finding frees the operation, if
    /// the outcome is *not applied*.
    pub async fn freeing<T>(&self, id: OperationId, outcome: &Outcome, saying: impl Future<Output = T>) -> T {
        match outcome {
            Outcome::NotApplied => self.removing(id, Removal::Found, saying).await,
            _ => saying.await,
        }
    }

    /// While `saying` runs, a removal of this record means that an operator has the operation forgotten.
    pub async fn forgetting<T>(&self, id: OperationId, saying: impl Future<Output = T>) -> T {
        self.removing(id, Removal::Forgotten, saying).await
    }

    async fn removing<T>(&self, id: OperationId, why: Removal, saying: impl Future<Output = T>) -> T {
        locked(&self.removing).insert(id, why);
        let said = saying.await;
        locked(&self.removing).remove(&id);
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
        if self.refuses() {
            self.hindered();
            return Err(refused());
        }
        let read = read(&self.disk);
        self.travel().await;
        Ok(read)
    }

    /// Whether the store is closed, or says no this time.
    fn refuses(&self) -> bool {
        let closed = locked(&self.closed_until).is_some_and(|until| Instant::now() < until);
        closed || self.world.happens(self.world.faults.refused)
    }

    /// The store fails: it is closed, and opened anew after a while.
    fn fail(&self) {
        let span = self.world.up_to(self.world.faults.slow_max);
        self.world.say(|| format!("the store of gateway {} has failed for {span:?}", self.process.gateway()));
        self.openings.fetch_add(1, Ordering::Relaxed);
        *locked(&self.closed_until) = Some(Instant::now() + span);
    }

    /// The error of a record that can't be read.
    fn readable(&self, id: OperationId) -> Result<(), StoreError> {
        let damaged = !self.world.is_calm() && locked(&self.disk.tables).damaged.contains(&id);
        if damaged {
            self.hindered();
            return Err(StoreError::Corrupt("its bytes are rotten".into()));
        }
        Ok(())
    }

    /// `grows`: the write takes room that wasn't taken.
    fn fate(&self, grows: bool) -> Fate {
        let faults = &self.world.faults;
        if self.refuses() {
            return Fate::Refused;
        }
        if grows && self.world.happens(faults.full) {
            return Fate::Full;
        }
        if self.world.setting.embedded() && self.world.happens(faults.fails) {
            self.fail();
            return Fate::Unclear(self.world.coin().then_some(Duration::ZERO));
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
        let lands = self.lands();
        let (world, disk) = (self.world.clone(), self.disk.clone());
        tokio::spawn(async move {
            sleep(span).await;
            if lands() {
                let _ = done.send(apply(&world, &disk, write));
            }
        });
        swapped
    }

    /// Whether what is written now still takes effect when that is asked.
    fn lands(&self) -> impl Fn() -> bool + Send + 'static {
        let (process, openings) = (self.process.clone(), self.openings.clone());
        let (shared, opening) = (!self.world.setting.embedded(), openings.load(Ordering::Relaxed));
        move || shared || (process.is_alive() && openings.load(Ordering::Relaxed) == opening)
    }

    /// Refuses a write for want of room.
    async fn has_no_room(&self, id: OperationId, next: Option<&Record>) -> StoreError {
        if let Some(record) = next
            && matches!(record.state, State::Completed { .. })
        {
            self.world.note(Event::NoRoom { operation: operation_of(&self.world, id, record) });
        }
        self.hindered();
        self.travel().await;
        StoreError::Full("there is no room".into())
    }
}

impl Store for SimStore {
    async fn load(&self, id: OperationId) -> Said<Option<Versioned>> {
        self.readable(id)?;
        Ok(self.read(|disk| disk.load(id)).await?.into())
    }

    async fn swap(
        &self,
        id: OperationId,
        expected: Option<Version>,
        next: Option<Arc<Record>>,
        now: Timestamp,
    ) -> Said<Swap<Versioned>> {
        let why = locked(&self.removing).get(&id).copied().filter(|_| next.is_none());
        let grows = next
            .as_ref()
            .is_some_and(|next| expected.is_none() || matches!(next.state, State::Completed { .. }));
        let mut write = Write { id, expected, next, now, why, late: false };
        self.process.step("about to write").await;
        self.readable(id)?;
        match self.fate(grows) {
            Fate::Full => return Err(self.has_no_room(id, write.next.as_deref()).await),
            Fate::Refused => {
                self.hindered();
                self.travel().await;
                return Err(refused());
            }
            Fate::Unclear(lands) => {
                self.hindered();
                // The call fails sometimes before the write lands, sometimes after.
                let fails = self.world.up_to(self.world.faults.slow_max);
                if let Some(span) = lands {
                    write.late = span >= fails;
                    drop(self.land(write, span));
                }
                sleep(fails).await;
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

    async fn scan(&self, of: ScanScope, after: Option<OperationId>, limit: usize) -> Said<Vec<Scanned>> {
        let read = self.read(|disk| {
            let tables = locked(&disk.tables);
            let behind = tables.records.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
            let kind = of.kind();
            let behind = behind.filter(|(_, found)| kind.is_none_or(|kind| Kind::of(&found.record) == kind));
            behind.take(limit).map(|(id, versioned)| (*id, versioned.clone())).collect::<Vec<_>>()
        });
        let page = read.await?.into_iter();
        Ok(page.map(|(id, found)| (id, self.readable(id).map(|()| found))).collect::<Vec<_>>().into())
    }

    async fn load_meta(&self, name: &'static str) -> Said<Option<(Version, Bytes)>> {
        self.travel_apart().await;
        if self.refuses() {
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
        match self.fate(false) {
            Fate::Refused | Fate::Full => return Err(refused()),
            Fate::Unclear(span) => {
                if let Some(span) = span {
                    let (disk, lands) = (self.disk.clone(), self.lands());
                    tokio::spawn(async move {
                        sleep(span).await;
                        if lands() {
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
    let (id, why, puts) = (write.id, write.why, write.next.is_some());
    let is_claim = |next: &&Arc<Record>| matches!(next.state, State::Executing { .. });
    let late = write.next.as_ref().filter(|_| write.late).filter(is_claim);
    let late = late.map(|next| operation_of(world, id, next));
    let removed = disk.load(id).filter(|_| why.is_some());
    let removed = removed.map(|removed| operation_of(world, id, &removed.record));
    world.say(|| {
        let next = write.next.as_ref().map(|next| (next.execution, &next.state));
        format!("{id} over {:?} becomes {next:?}", write.expected)
    });
    let swapped = disk.swap(write);
    if let (Swap::Done(_), Some(operation), Some(why)) = (&swapped, removed, why) {
        world.note(match why {
            Removal::Found => Event::Freed { operation },
            Removal::Forgotten => Event::Forgotten { operation },
        });
    }
    if let (Swap::Done(_), Some(operation)) = (&swapped, late) {
        world.note(Event::ClaimedLate { operation });
    }
    if puts && matches!(swapped, Swap::Done(_)) && world.happens(world.faults.damaged) {
        world.say(|| format!("{id} can't be read any more"));
        locked(&disk.tables).damaged.insert(id);
    }
    swapped
}

fn refused() -> StoreError {
    StoreError::Unavailable("it says no".into())
}
