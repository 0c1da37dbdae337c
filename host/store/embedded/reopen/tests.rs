#![allow(clippy::unwrap_used, reason = "a test")]

use super::super::Embedded;
use super::super::folder::Folder;
use super::*;
use oncegate_core::{Durability, Timestamp};

#[test]
fn a_journal_that_is_written_again_is_the_same() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, length) in
        [("0.jnl", 0, 0), ("1.jnl", 100_000, 64 << 20), ("2.jnl", 70_000, 70_010), ("3.jnl", 65_536, 65_536)]
    {
        let path = folder.path().join(name);
        fs::write(&path, (0..bytes).map(|n: u32| (n % 251) as u8 + 1).collect::<Vec<_>>()).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        let (before, file) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
        write_again(&path).unwrap();
        assert!(fs::read(&path).unwrap() == before, "{name}");
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.blocks()), (file.ino(), file.blocks()), "{name}");
    }
}

#[test]
fn what_an_interrupted_reopening_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, database) = (folder.path(), folder.path().join("db"));
    let strays = || ["oncegate.trial", "db/0.renewed", "db/17.renewed"].map(|name| path.join(name));
    // A new folder, one with a ledger, and one that a later reopening finds.
    for opened in ["made", "opened", "opened again"] {
        let (store, _) = Embedded::open(path, Durability::Sync).unwrap();
        assert_eq!(strays().map(|stray| stray.exists()), [false; 3], "{opened}");
        drop(store);
        let before = fs::read_dir(&database).unwrap().count();
        strays().iter().for_each(|stray| fs::write(stray, [1; 5_000]).unwrap());
        if opened == "opened" {
            clear(path, &database);
            assert_eq!(fs::read_dir(&database).unwrap().count(), before);
            assert_eq!(strays().map(|stray| stray.exists()), [false; 3]);
        }
    }
}

/// The reopening of a new folder at this path, whose tables nobody else has.
fn reopening(path: &Path) -> Reopening {
    let (folder, _) = Folder::take(path).unwrap();
    let (database, lock) = (folder.database(), folder.lock());
    let tables = Tables::open(&database, false, path, Durability::Sync).unwrap();
    let own = begin(&tables, 1).unwrap();
    Reopening { folder: path.into(), database, lock, shared: Arc::new(StoreState::new(1, &own, 0, tables)) }
}

#[test]
fn another_folder_in_its_place_is_not_opened() {
    let above = tempfile::tempdir().unwrap();
    let [data, copy, bad] = ["data", "copy", "bad"].map(|name| above.path().join(name));
    let reopening = reopening(&data);
    let opens = |expected: bool, what: &str| {
        let opened = reopening.attempt().map(drop);
        assert_eq!(opened.is_ok(), expected, "{what}: {opened:?}");
        opened.is_err_and(|why| why.contains("put the folder back"))
    };
    opens(true, "as it was");
    let done = std::process::Command::new("cp").arg("-a").args([&data, &copy]).status().unwrap();
    assert!(done.success());
    fs::rename(&data, &bad).unwrap();
    assert!(opens(false, "taken away"));
    fs::write(&data, "a file").unwrap();
    assert!(opens(false, "a file"));
    fs::remove_file(&data).unwrap();
    fs::rename(&copy, &data).unwrap();
    fs::write(data.join(TRIAL), "").unwrap();
    assert!(opens(false, "a copy"));
    assert!(data.join(TRIAL).exists(), "nothing is touched there");
    assert!(reopening.exchange(&Own::default()).is_err());
    fs::rename(&data, &copy).unwrap();
    std::os::unix::fs::symlink(&bad, &data).unwrap();
    opens(true, "the same by another way");
    fs::remove_file(&data).unwrap();
    fs::rename(&bad, &data).unwrap();
    opens(true, "put back");
    fs::remove_file(data.join("oncegate.lock")).unwrap();
    assert!(opens(false, "another may lock it"));
}

#[test]
fn what_was_on_disk_must_be_there() {
    let above = tempfile::tempdir().unwrap();
    let reopening = reopening(&above.path().join("data"));
    let (tables, own) = reopening.attempt().unwrap();
    let later = Own { clock: Timestamp::from_secs(5), ..own };
    drop(tables);
    reopening.shared.committed(&later, [].into_iter());
    let (tables, _) = reopening.attempt().expect("it may have been lost");
    drop(tables);
    reopening.shared.kept();
    for _ in 0..2 {
        let refused = reopening.attempt().map(drop).unwrap_err();
        assert!(
            refused.contains("ends at 1970-01-01T00:00:00Z, and was on disk until 1970-01-01T00:00:05Z"),
            "{refused}"
        );
    }
    let tables = Tables::open(&reopening.database, true, &reopening.folder, Durability::Sync).unwrap();
    let mut batch = tables.batch(1, PersistMode::SyncAll);
    tables.put_own(&mut batch, later);
    batch.commit().unwrap();
    drop(tables);
    reopening.attempt().map(drop).unwrap();
}

#[test]
fn only_a_copy_of_the_database_takes_its_place() {
    let above = tempfile::tempdir().unwrap();
    let data = above.path().join("data");
    let reopening = reopening(&data);
    let (tables, own) = reopening.attempt().unwrap();
    drop(tables);
    let spare = data.join(copy::COPY);
    let exchanged = |what: &str| {
        let (tables, is_given_back) = reopening.exchange(&own).unwrap();
        assert_eq!(tables.own().unwrap().unwrap().versions_reserved, own.versions_reserved, "{what}");
        is_given_back
    };
    assert!(!exchanged("none is there"));
    let other = Tables::open(&spare, false, &data, Durability::Sync).unwrap();
    begin(&other, own.versions_reserved).unwrap();
    drop(other);
    assert!(!exchanged("another database"));
    fs::remove_dir_all(&spare).unwrap();
    fs::write(&spare, "").unwrap();
    assert!(!exchanged("a file"));
    fs::remove_file(&spare).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").args([&reopening.database, &spare]).status();
    assert!(copied.unwrap().success());
    assert!(exchanged("a copy"));
    assert!(copy::can_be_replaced(&data, &reopening.database));
    let elsewhere = above.path().join("elsewhere");
    fs::rename(&reopening.database, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &reopening.database).unwrap();
    assert!(!copy::can_be_replaced(&data, &reopening.database));
}

#[test]
fn there_is_room_for_the_largest_copy_only() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("journals");
    fs::create_dir(&database).unwrap();
    let reopening = Reopening { database, ..reopening(&folder.path().join("data")) };
    let block = BLOCK as u64;
    for (name, bytes, largest) in
        [("0.jnl", 100, 100), ("1.jnl", 5_000, 5_000), ("2.jnl", 300, 5_000), ("3.jnl", BLOCK, block)]
    {
        fs::write(reopening.database.join(name), vec![1; bytes]).unwrap();
        assert_eq!(reopening.largest_copy().unwrap(), largest, "{name}");
    }
}

#[test]
fn a_copied_journal_keeps_all_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, length) in [("0.jnl", 0, 0), ("1.jnl", 100_000, 64 << 20), ("2.jnl", 70_000, 70_010)] {
        let content: Vec<u8> = (0..bytes).map(|n: u32| (n % 251) as u8 + 1).collect();
        fs::write(folder.path().join(name), &content).unwrap();
        File::options().write(true).open(folder.path().join(name)).unwrap().set_len(length).unwrap();
        renew_journals(folder.path()).unwrap();
        let renewed = fs::read(folder.path().join(name)).unwrap();
        assert!(renewed.starts_with(&content), "{name}");
        assert!(renewed[content.len()..].iter().all(|byte| *byte == 0), "{name}");
        assert!(renewed.len() as u64 <= length, "{name}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}
