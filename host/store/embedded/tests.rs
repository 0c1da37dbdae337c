//! Promises of the embedded store beyond the suite of all stores: it keeps its records, it refuses files that
//! it can't read, and it grows no further than its live records.
//!
//! Long because it is one suite, and what it sets up is shared.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::conformance::{self, NOW, assert_holds, completed, executing, id, on_a_runtime, put, record};
use oncegate_core::{State, UnknownReason};
use soak::eventually;
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command as Process, Stdio};
use std::time::Instant;
use tempfile::{TempDir, tempdir};

const BOTH: [Durability; 2] = [Durability::Sync, Durability::Async];

fn open(folder: &TempDir) -> (Embedded, Recovered) {
    Embedded::open(folder.path(), Durability::Sync).unwrap()
}

fn refused(path: &Path) -> OpenError {
    match Embedded::open(path, Durability::Sync) {
        Ok(_) => panic!("{} must not open", path.display()),
        Err(e) => e,
    }
}

#[test]
fn conforms() {
    for durability in BOTH {
        let folder = tempdir().unwrap();
        let (store, recovered) = Embedded::open(folder.path(), durability).unwrap();
        assert_eq!((recovered.orphans.ids, recovered.records), (vec![], 0));
        let store = Arc::new(store);
        on_a_runtime(conformance::all(&store));
        Arc::into_inner(store).unwrap().close().unwrap();
    }
}

#[test]
fn everything_is_there_when_it_is_opened_again() {
    for durability in BOTH {
        let folder = tempdir().unwrap();
        let later = Timestamp::from_secs(2_500);
        let (store, _) = Embedded::open(folder.path(), durability).unwrap();
        let (versions, secret) = on_a_runtime(async {
            let mut versions = Vec::new();
            for n in 0..5 {
                versions.push(put(&store, id(n), None, Some(executing(3_000 + n))).await);
            }
            versions[0] = put(&store, id(0), Some(versions[0]), Some(completed(2_000, 1 << 20))).await;
            let unknown = record(State::Unknown { since: NOW, reason: UnknownReason::Broken });
            versions[1] = put(&store, id(1), Some(versions[1]), Some(unknown)).await;
            put(&store, id(2), Some(versions[2]), None).await;
            let Swap::Done(secret) = store.swap_meta("secret", None, "word".into()).await.unwrap().value
            else {
                panic!()
            };
            store.swap(id(9), Some(Version(1)), None, later).await.unwrap();
            versions.push(put(&store, id(5), None, Some(executing(3_005))).await);
            (versions, secret)
        });
        store.close().unwrap();

        let (store, recovered) = Embedded::open(folder.path(), durability).unwrap();
        let Orphans { ids, before } = recovered.orphans;
        assert_eq!((ids.iter().copied().collect(), ids.len()), (HashSet::from([id(3), id(4), id(5)]), 3));
        assert!(versions.iter().all(|version| *version < before), "{versions:?} {before:?}");
        assert_eq!((recovered.last_time, recovered.records), (later, 5));
        on_a_runtime(async {
            assert_holds(&store, id(0), versions[0], &completed(2_000, 1 << 20)).await;
            assert_eq!(store.load(id(1)).await.unwrap().value.unwrap().version, versions[1]);
            assert!(store.load(id(2)).await.unwrap().value.is_none());
            assert_holds(&store, id(3), versions[3], &executing(3_003)).await;
            assert_eq!(store.load_meta("secret").await.unwrap().value, Some((secret, "word".into())));
            let due = store.due(Timestamp::from_secs(3_004), 10).await.unwrap().value;
            assert_eq!(due, [id(0), id(3), id(4)]);
            let own = put(&store, id(3), Some(versions[3]), Some(completed(2_600, 0))).await;
            assert!(own >= before);
        });
        assert_eq!(store.size().records, 5);
    }
}

#[test]
fn versions_stay_unique_over_openings() {
    let folder = tempdir().unwrap();
    let mut seen = HashSet::new();
    for _ in 0..4 {
        let (store, _) = open(&folder);
        on_a_runtime(async {
            for n in 0..10 {
                let version = put(&store, id(n), None, Some(executing(3_000))).await;
                assert!(seen.insert(version));
                assert!(seen.insert(put(&store, id(n), Some(version), None).await));
            }
        });
    }
}

#[test]
fn reserved_versions_are_renewed_before_they_run_out() {
    let folder = tempdir().unwrap();
    let (store, _) = open(&folder);
    // The store has versions as if it had run for years.
    let far = VERSIONS_RESERVED_AT_ONCE * 3 / 4;
    store.shared.skip_versions(far);
    let last = on_a_runtime(put(&store, id(1), None, Some(executing(3_000))));
    store.shared.skip_versions(VERSIONS_RESERVED_AT_ONCE + 5);
    let over = on_a_runtime(put(&store, id(2), None, Some(executing(3_000))));
    assert!(over > last);
    store.close().unwrap();
    let (store, _) = open(&folder);
    let next = on_a_runtime(put(&store, id(3), None, Some(executing(3_000))));
    assert!(next > over, "{next:?} may have been handed out before {over:?}");
}

#[test]
fn a_second_opening_is_refused_and_says_who_holds_it() {
    let folder = tempdir().unwrap();
    let (store, _) = open(&folder);
    let refusal = refused(folder.path());
    let OpenError::Locked { holder, .. } = &refusal else { panic!("{refusal}") };
    assert_eq!(*holder, Some(std::process::id()));
    assert!(refusal.to_string().contains(&folder.path().display().to_string()), "{refusal}");
    store.close().unwrap();
    open(&folder);
}

#[test]
fn what_is_no_ledger_is_refused_and_left_alone() {
    let outer = tempdir().unwrap();
    let file = outer.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(refused(&file), OpenError::NotAFolder(_)));
    assert!(matches!(refused(&file.join("data")), OpenError::Io { .. }));
    // This folder holds "file", so it is somebody else's.
    assert!(matches!(refused(outer.path()), OpenError::Foreign(_)));
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "nothing was put there");
    // So is a link that leads nowhere.
    let link = outer.path().join("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    assert!(matches!(refused(&link), OpenError::Io { .. }));
}

/// What is made is for its owner alone, and what was there is left as it is.
#[test]
fn a_folder_that_is_made_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempdir().unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let before = outer.path().join("before");
    fs::create_dir(&before).unwrap();
    for (path, given, found, open) in [
        ("new", None, 0o700, false),
        ("before/new", None, 0o700, false),
        ("mid/new", None, 0o700, false),
        ("group", Some(0o750), 0o750, false),
        ("others", Some(0o755), 0o755, true),
        ("by-name", Some(0o701), 0o701, true),
    ] {
        let path = outer.path().join(path);
        if let Some(given) = given {
            fs::create_dir(&path).unwrap();
            set(&path, given);
        }
        for _ in 0..2 {
            drop(Embedded::open(&path, Durability::Sync).unwrap());
            assert_eq!((mode(&path), Embedded::is_open_to_others(&path)), (found, open), "{path:?}");
        }
    }
    assert_eq!(mode(&outer.path().join("mid")), mode(&before), "only the ledger's own folder");
}

#[test]
fn a_later_format_is_refused_by_name() {
    let folder = tempdir().unwrap();
    drop(open(&folder));
    fs::write(folder.path().join("oncegate.format"), "oncegate ledger, format 7\n").unwrap();
    assert!(matches!(refused(folder.path()), OpenError::Later { found: 7, .. }));
    fs::write(folder.path().join("oncegate.format"), "something else").unwrap();
    assert!(matches!(refused(folder.path()), OpenError::Damaged { .. }));
}

#[test]
fn an_interrupted_creation_is_begun_anew() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("oncegate.creating"), "").unwrap();
    fs::create_dir(folder.path().join("db")).unwrap();
    fs::write(folder.path().join("db/0.jnl"), "half").unwrap();
    let (store, _) = open(&folder);
    on_a_runtime(put(&store, id(1), None, Some(executing(3_000))));
    drop(store);
    // The folder looks as if its creation had been interrupted between its last two steps.
    fs::write(folder.path().join("oncegate.creating"), "").unwrap();
    assert_eq!(open(&folder).1.records, 1);
}

/// All files below a folder.
fn files(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// A ledger with records in tables, in blob files and in the journal.
pub(super) fn a_ledger_with_tables() -> TempDir {
    let folder = tempdir().unwrap();
    let (store, _) = open(&folder);
    on_a_runtime(async {
        for n in 0..200 {
            put(&store, id(n), None, Some(completed(2_000 + n, if n % 10 == 0 { 20_000 } else { 200 })))
                .await;
        }
    });
    drop(store);
    let tables = Tables::open(&folder.path().join("db"), true, folder.path(), Durability::Sync).unwrap();
    for keyspace in [&tables.records, &tables.due, &tables.meta] {
        keyspace.rotate_memtable_and_wait().unwrap();
    }
    drop(tables);
    let (store, _) = open(&folder);
    on_a_runtime(async {
        for n in 200..250 {
            put(&store, id(n), None, Some(completed(2_000 + n, 200))).await;
        }
    });
    drop(store);
    folder
}

/// Damage is an error, at opening or at reading, and never a panic. (A missing end of the journal can't be
/// told from a crash in the midst of a write.)
#[test]
fn damage_is_an_error_and_never_a_panic() {
    let sound = a_ledger_with_tables();
    let mut noticed = 0;
    let mut damages = 0;
    for file in files(sound.path()) {
        let name = file.strip_prefix(sound.path()).unwrap();
        // There is nothing in it.
        if name == Path::new("oncegate.ballast") {
            continue;
        }
        let content = fs::read(&file).unwrap();
        // Only the beginning of a journal is written yet.
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let spots = [0, used / 4, used / 2, used * 3 / 4, used.saturating_sub(5)];
        let garbled = spots.iter().map(|spot| {
            let mut bytes = content.clone();
            bytes.iter_mut().skip(*spot).take(16).for_each(|byte| *byte ^= 0xa5);
            Some(bytes)
        });
        let cut = [0, used / 2, used.saturating_sub(1)].map(|length| Some(content[..length].to_vec()));
        for damaged in garbled.chain(cut).chain([None]) {
            let copy = tempdir().unwrap();
            let path = copy.path().join("data");
            copy_folder(sound.path(), &path);
            match &damaged {
                Some(bytes) => fs::write(path.join(name), bytes).unwrap(),
                None => fs::remove_file(path.join(name)).unwrap(),
            }
            damages += 1;
            noticed += u32::from(!reads_as_ever(&path, &name.display().to_string()));
        }
    }
    assert!(noticed * 2 > damages, "of {damages} damages only {noticed} were noticed");
}

/// The machine lost power while the last batch was being written: one sector of the batch did not arrive. The
/// database took that for damage, and the ledger would not open again.
#[test]
fn a_batch_torn_by_a_power_loss_is_no_damage() {
    for copies_its_journal in [false, true] {
        let folder = tempdir().unwrap();
        let journal = folder.path().join("db/0.jnl");
        let used = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let (store, _) = open(&folder);
        on_a_runtime(async {
            put(&store, id(1), None, Some(completed(2_000, 9_000))).await;
            let mut last = (*completed(2_000, 9_000)).clone();
            if copies_its_journal {
                let State::Completed { answer, .. } = &mut last.state else { panic!() };
                let bytes = fs::read(&journal).unwrap();
                Arc::make_mut(answer).body = [&bytes[..used(&bytes)], &[1; 9_000]].concat().into();
            }
            put(&store, id(2), None, Some(Arc::new(last))).await;
        });
        store.close().unwrap();
        let mut bytes = fs::read(&journal).unwrap();
        let sector = (used(&bytes) - 4_001) / 512 * 512;
        bytes[sector..sector + 512].fill(0);
        fs::write(&journal, bytes).unwrap();
        let (store, _) = open(&folder);
        on_a_runtime(async {
            assert_eq!(store.load(id(1)).await.unwrap().value.unwrap().record, completed(2_000, 9_000));
            assert!(store.load(id(2)).await.unwrap().value.is_none());
            put(&store, id(2), None, Some(completed(2_000, 100))).await;
        });
        store.close().unwrap();
        let (store, _) = open(&folder);
        on_a_runtime(async { assert!(store.load(id(2)).await.unwrap().value.is_some()) });
    }
}

/// Whether the ledger opens and every record in it reads as it was written.
fn reads_as_ever(path: &Path, damaged_file: &str) -> bool {
    let store = match Embedded::open(path, Durability::Sync) {
        Ok((store, _)) => store,
        Err(OpenError::Damaged { .. } | OpenError::Foreign(_) | OpenError::Later { .. }) => return false,
        Err(e) => panic!("{damaged_file}: {e}"),
    };
    on_a_runtime(async {
        let mut whole = true;
        for n in 0..250 {
            match store.load(id(n)).await.map(|said| said.value) {
                Ok(Some(found)) => {
                    let written = completed(2_000 + n, if n < 200 && n % 10 == 0 { 20_000 } else { 200 });
                    assert_eq!(found.record, written, "{damaged_file}: another record was read");
                }
                Ok(None) | Err(StoreError::Corrupt(_)) => whole = false,
                Err(e) => panic!("{damaged_file}: {e}"),
            }
        }
        whole
    })
}

#[test]
fn a_lost_folder_of_the_database_is_noticed() {
    for n in 1..=4 {
        let folder = a_ledger_with_tables();
        fs::remove_dir_all(folder.path().join(format!("db/keyspaces/{n}"))).unwrap();
        assert!(matches!(refused(folder.path()), OpenError::Damaged { .. }), "{n}");
    }
    let folder = a_ledger_with_tables();
    fs::remove_dir_all(folder.path().join("db")).unwrap();
    assert!(matches!(refused(folder.path()), OpenError::Damaged { .. }));
}

/// Bytes on disk, as allocated: a journal is as large as it may become from the start.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // A file may go meanwhile.
    files(path).iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.blocks() * 512).sum()
}

/// Puts and removes in waves, each task one record at a time.
fn waves(store: &Arc<Embedded>, waves: u64, records: u64, body_bytes: usize) {
    on_a_runtime(async {
        for wave in 0..waves {
            let tasks: Vec<_> = (0..250)
                .map(|task| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        for n in (task..records).step_by(250) {
                            let id = id(wave * records + n);
                            let claimed = put(&*store, id, None, Some(executing(3_000 + wave))).await;
                            let done = completed(2_000 + wave, body_bytes);
                            let settled = put(&*store, id, Some(claimed), Some(done)).await;
                            put(&*store, id, Some(settled), None).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(store.due(Timestamp::MAX, 10).await.unwrap().value, []);
        }
    });
}

/// What the folder of a store takes beside what lives: ballast, what is not worth a copy, and what is new in the journal.
const BESIDE: u64 = 16 << 20;

/// The disk of what was removed goes once nobody writes, however fast the database's worker was.
#[test]
fn large_bodies_that_are_removed_go_from_the_disk() {
    for (count, records, body_bytes) in [(8, 25_000, 300), (8, 750, 200_000)] {
        let folder = tempdir().unwrap();
        let (store, _) = Embedded::open(folder.path(), Durability::Async).unwrap();
        let store = Arc::new(store);
        waves(&store, count, records, body_bytes);
        assert_eq!(store.size().records, 0);
        eventually("its disk is not given back", || disk_bytes(folder.path()) < BESIDE);
    }
}

/// Not a test by itself: [`what_was_acknowledged_survives_a_kill`] runs it in a process of its own.
#[test]
fn writes_until_it_is_killed() {
    let Ok(folder) = std::env::var("ONCEGATE_TEST_FOLDER") else { return };
    let durability = if std::env::var("ONCEGATE_TEST_ASYNC").is_ok() { BOTH[1] } else { BOTH[0] };
    let (store, recovered) = Embedded::open(Path::new(&folder), durability).unwrap();
    let (store, first) = (Arc::new(store), recovered.records * 1_000);
    on_a_runtime(async {
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for n in (first + task..).step_by(16) {
                        let claimed = put(&*store, id(n), None, Some(executing(3_000))).await;
                        say(&format!("claimed {n} {}", claimed.0));
                        let body = if n % 64 == 0 { 100_000 } else { 100 };
                        let settled = put(&*store, id(n), Some(claimed), Some(completed(n, body))).await;
                        say(&format!("settled {n} {} {body}", settled.0));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The listener may be gone.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut child = Process::new(std::env::current_exe().unwrap());
        child.args(["--exact", "embedded::tests::writes_until_it_is_killed", "--nocapture"]);
        child.env("ONCEGATE_TEST_FOLDER", folder.path()).stdout(Stdio::piped());
        if round % 2 == 1 {
            child.env("ONCEGATE_TEST_ASYNC", "1");
        }
        let mut child = child.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = |line: &String| line.starts_with("claimed") || line.starts_with("settled");
        acknowledged.extend(lines.by_ref().filter(said).take(300 + 97 * round));
        let OpenError::Locked { holder, .. } = refused(folder.path()) else {
            panic!("it is open over there")
        };
        assert_eq!(holder, Some(child.id()));
        child.kill().unwrap();
        // Lines that the process wrote before it died count, too; its last line may be cut.
        acknowledged.extend(lines.filter(|line| said(line) && line.split(' ').count() >= 3));
        child.wait().unwrap();
        check_acknowledged(&folder, &acknowledged);
    }
}

fn check_acknowledged(folder: &TempDir, acknowledged: &[String]) {
    let (store, recovered) = open(folder);
    let orphans: HashSet<_> = recovered.orphans.ids.iter().copied().collect();
    let mut last = std::collections::HashMap::new();
    let mut versions = HashSet::new();
    for line in acknowledged {
        let words: Vec<_> = line.split(' ').collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap();
        let body = (words.len() == 4).then(|| number(3));
        assert!(versions.insert(number(2)), "version {} was handed out twice", number(2));
        last.insert(number(1), (Version(number(2)), body));
    }
    on_a_runtime(async {
        for (n, (version, body)) in last {
            let found = store.load(id(n)).await.unwrap().value.unwrap_or_else(|| panic!("{n} is lost"));
            match (body, &found.record.state) {
                (Some(body), _) => {
                    assert_eq!((found.version, found.record), (version, completed(n, body as usize)));
                    assert!(!orphans.contains(&id(n)));
                }
                (None, State::Executing { .. }) => {
                    assert_eq!(found.version, version);
                    assert!(orphans.contains(&id(n)), "{n} was executing");
                }
                // The settlement was durable and not yet reported.
                (None, _) => assert!(!orphans.contains(&id(n))),
            }
        }
    });
    assert!(recovered.last_time == NOW && recovered.records > 0);
}

/// Not a test by itself: [`after_a_failed_write_it_can_be_read_and_is_opened_again_once_there_is_room`] runs it in a process of its
/// own, because its limit on the disk holds for the whole process.
#[test]
fn writes_until_the_disk_is_full() {
    let Ok(folder) = std::env::var("ONCEGATE_TEST_FULL") else { return };
    let (store, _) = Embedded::open(Path::new(&folder), Durability::Sync).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // A file that grows past its limit brings a signal along, which ends a process that has no
        // handler for it.
        let too_large = tokio::signal::unix::SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
        let _handled = tokio::signal::unix::signal(too_large).unwrap();
        let limit = rustix::process::Rlimit { current: Some(1 << 20), maximum: Some(1 << 30) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
        let mut last = 0;
        for n in 0.. {
            match store.swap(id(n), None, Some(completed(n, 5_000)), NOW).await.map(|said| said.value) {
                Ok(Swap::Done(version)) => {
                    say(&format!("settled {n} {} 5000", version.0));
                    last = n;
                }
                Err(StoreError::Indeterminate(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        let after_the_last = last + 1;
        assert!(store.has_failed() && store.trouble().is_some());
        let swapped = store.swap(id(9_999), None, Some(executing(1)), NOW).await;
        assert!(matches!(swapped, Err(StoreError::Unavailable(_))), "{swapped:?}");
        // Acknowledged records can be read, and unclear ones give no answer.
        for n in 0..after_the_last {
            assert_eq!(store.load(id(n)).await.unwrap().value.unwrap().record, completed(n, 5_000));
        }
        let unclear = store.load(id(after_the_last)).await;
        assert!(matches!(unclear, Err(StoreError::Unavailable(_))), "{unclear:?}");
        assert!(store.load(id(9_999)).await.unwrap().value.is_none());
        // The folder stays locked by its store meanwhile.
        assert!(matches!(refused(Path::new(&folder)), OpenError::Locked { .. }));
        // Once there is room the store goes on by itself, with all its records.
        let room = rustix::process::Rlimit { current: Some(1 << 30), maximum: Some(1 << 30) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, room).unwrap();
        let patience = Instant::now() + std::time::Duration::from_secs(60);
        while store.has_failed() {
            assert!(Instant::now() < patience, "it is not open again");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(store.trouble().is_none());
        for n in 0..after_the_last {
            assert_eq!(store.load(id(n)).await.unwrap().value.unwrap().record, completed(n, 5_000));
        }
        // The unclear record is there whole or not at all, and its key can be used.
        let version = match store.load(id(after_the_last)).await.unwrap().value {
            Some(standing) => {
                assert_eq!(standing.record, completed(after_the_last, 5_000));
                standing.version
            }
            None => put(&store, id(after_the_last), None, Some(completed(after_the_last, 5_000))).await,
        };
        say(&format!("settled {after_the_last} {} 5000", version.0));
        for n in after_the_last + 1..after_the_last + 50 {
            let version = put(&store, id(n), None, Some(completed(n, 5_000))).await;
            say(&format!("settled {n} {} 5000", version.0));
        }
        let due = store.due(Timestamp::MAX, 10_000).await.unwrap().value;
        assert_eq!((due.len() as u64, store.size().records), (after_the_last + 50, after_the_last + 50));
        store.close().unwrap();
        say("settled everything");
    });
}

#[test]
fn after_a_failed_write_it_can_be_read_and_is_opened_again_once_there_is_room() {
    let folder = tempdir().unwrap();
    let child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::writes_until_the_disk_is_full", "--nocapture"])
        .env("ONCEGATE_TEST_FULL", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    let mut lines: Vec<_> = said.lines().filter(|l| l.starts_with("settled")).map(String::from).collect();
    assert_eq!(lines.pop().unwrap(), "settled everything");
    assert!(lines.len() > 100, "{}", lines.len());
    check_acknowledged(&folder, &lines);
}
