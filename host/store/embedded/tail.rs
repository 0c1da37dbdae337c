//! The torn tail of the database's journal. Where the machine loses power while a batch is being written, any
//! sectors of the batch may be on disk and others not. The database cuts off a tail that it can't read. It
//! takes a batch that reads well but for its checksum for damage, and no longer opens.
//!
//! Nobody was told of such a batch, as long as nothing whole follows it: a batch is synced before it is
//! answered, and before the next one is written. With [`Durability::Async`] other unsynced batches may follow
//! it, and that setting gives up the answers given for them.
//!
//! A value may hold anything, copies of batches included: a service may answer with a journal. Such a copy is
//! told from a batch of this journal by its number, which grows from batch to batch.
//!
//! The format is that of fjall 3's `journal/entry.rs`; numbers are little-endian.

use oncegate_core::Durability;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// The mark at the end of a batch.
const TRAILER: &[u8] = b"FJL\x03";

/// Cuts the torn tail off the newest journal in `database`. Returns how many bytes that were; `None` where
/// there is no such tail.
pub(super) fn cut(database: &Path, durability: Durability) -> io::Result<Option<usize>> {
    let Some(journal) = newest(database)? else { return Ok(None) };
    let bytes = fs::read(&journal)?;
    let Some(torn) = torn(&bytes, durability) else { return Ok(None) };
    let file = OpenOptions::new().write(true).open(&journal)?;
    file.set_len(torn as u64)?;
    file.sync_all()?;
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok(Some(end - torn))
}

/// Where a journal in `database` is damaged, in words.
pub(super) fn damage(database: &Path) -> io::Result<Option<String>> {
    let mut journals = journals(database)?;
    journals.sort_unstable();
    let mut last = None;
    for (_, journal) in journals {
        if let Some(at) = damaged(&fs::read(&journal)?, &mut last) {
            let name = journal.file_name().unwrap_or_default().display();
            return Ok(Some(format!(
                "at byte {at} of its journal {name} stands what can't be read, with whole changes behind it; if a power \
                 loss under `ledger.durability = \"async\"` left it so, start once more with that"
            )));
        }
    }
    Ok(None)
}

/// Where these bytes of a journal can't be read though a whole later batch follows. `last`: the number of the
/// last batch that can be read, of an earlier journal before the call and of this one after it.
fn damaged(bytes: &[u8], last: &mut Option<u64>) -> Option<usize> {
    let mut at = 0;
    while let Some(batch) = JournalBatch::read(&bytes[at..]).filter(|batch| batch.whole) {
        *last = Some(batch.number);
        at += batch.length;
    }
    // Where nothing comes before it, the head of what can't be read tells its number, if anything does.
    let before = last.or_else(|| JournalBatch::number(&bytes[at..])).unwrap_or(0);
    let rest = bytes.get(at + 1..)?;
    let starts = rest.iter().enumerate().filter(|(_, byte)| **byte == START).map(|(start, _)| start);
    let is_later = |start: usize| {
        JournalBatch::read(&rest[start..]).is_some_and(|batch| batch.whole && batch.number > before)
    };
    starts.into_iter().any(is_later).then_some(at)
}

fn newest(database: &Path) -> io::Result<Option<PathBuf>> {
    Ok(journals(database)?.into_iter().max().map(|(_, path)| path))
}

fn journals(database: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    Ok(journals)
}

/// Where the torn tail begins, if these bytes of a journal end in one.
fn torn(bytes: &[u8], durability: Durability) -> Option<usize> {
    let mut at = 0;
    loop {
        let batch = JournalBatch::read(&bytes[at..])?;
        if !batch.whole {
            let followed = JournalBatch::read(&bytes[at + batch.length..]).is_some_and(|next| next.whole);
            return (!followed || durability == Durability::Async).then_some(at);
        }
        at += batch.length;
    }
}

/// A batch that reads well, from its start to its trailer.
struct JournalBatch {
    length: usize,
    number: u64,
    /// The batch's checksum is right, too.
    whole: bool,
}

impl JournalBatch {
    /// The number of the batch that begins at the front.
    fn number(bytes: &[u8]) -> Option<u64> {
        let number = bytes.strip_prefix(&[START])?.get(4..12)?;
        Some(u64::from_le_bytes(number.try_into().ok()?))
    }

    /// The batch at the front; `None` where the front is anything else.
    fn read(bytes: &[u8]) -> Option<Self> {
        let number = Self::number(bytes)?;
        let mut rest = &bytes[13..];
        let items = rest;
        loop {
            match *rest.split_off_first()? {
                ITEM => {
                    let _kind_compression_and_keyspace = rest.split_off(..10)?;
                    let key = u16::from_le_bytes(rest.split_off(..2)?.try_into().ok()?);
                    let _value_in_memory = rest.split_off(..4)?;
                    let value = u32::from_le_bytes(rest.split_off(..4)?.try_into().ok()?);
                    let _key_and_value = rest.split_off(..usize::from(key) + value as usize)?;
                }
                CLEAR => drop(rest.split_off(..8)?),
                END => break,
                _ => return None,
            }
        }
        let items = &items[..items.len() - rest.len() - 1];
        let checksum = u64::from_le_bytes(rest.split_off(..8)?.try_into().ok()?);
        if rest.split_off(..TRAILER.len())? != TRAILER {
            return None;
        }
        let mut hasher = Xxh3::new();
        hasher.update(items);
        Some(Self { length: bytes.len() - rest.len(), number, whole: hasher.digest() == checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u64, value: &[u8]) -> Vec<u8> {
        let length = u32::try_from(value.len()).expect("it is small").to_le_bytes();
        let item =
            [&[ITEM, 0, 0], &1u64.to_le_bytes()[..], &3u16.to_le_bytes(), &length, &length, b"key", value];
        let items = item.concat();
        let mut hasher = Xxh3::new();
        hasher.update(&items);
        let end = [&[END], &hasher.digest().to_le_bytes()[..], TRAILER].concat();
        [&[START], &1u32.to_le_bytes()[..], &number.to_le_bytes(), &items, &end].concat()
    }

    fn damaged(bytes: &[u8]) -> Option<usize> {
        super::damaged(bytes, &mut None)
    }

    #[test]
    fn what_cannot_be_read_before_a_whole_batch_is_damage() {
        let (one, two, zeros) = (batch(7, b"first"), batch(8, b"second"), vec![0; 600]);
        let three = batch(9, b"third");
        for end in 0..=two.len() {
            let sound = [&one, &two[..end], &zeros].concat();
            assert_eq!(damaged(&sound), None, "a torn tail, {end}");
        }
        for rotten in 0..two.len() {
            let mut bad = two.clone();
            bad[rotten] ^= 0x55;
            // The number of items and the batch's own number are not in its checksum.
            if !(1..13).contains(&rotten) {
                assert_eq!(damaged(&[&one[..], &bad, &three].concat()), Some(one.len()), "{rotten}");
            }
            assert_eq!(damaged(&[&one[..], &bad, &zeros].concat()), None, "{rotten}");
        }
        assert_eq!(damaged(&[&one[..], &zeros, &two].concat()), Some(one.len()), "a hole");
        assert_eq!(damaged(&[&zeros[..], &two].concat()), Some(0), "at the front");
    }

    /// A service may answer with the bytes of a journal, and the power may go while that is written.
    #[test]
    fn a_batch_within_a_value_follows_nothing() {
        let (one, two, zeros) = (batch(7, b"first"), batch(8, b"second"), vec![0; 600]);
        let copies = [&one[..], &[9; 40], &two, &one, &[0; 40]].concat();
        let three = batch(9, &copies);
        let whole = [&one[..], &two, &three].concat();
        assert_eq!(damaged(&[&whole[..], &zeros].concat()), None);
        let head = one.len() + two.len();
        for lost in 0..three.len() {
            // One piece did not arrive, or all behind a place.
            for end in [lost + 1, lost + 20, three.len()] {
                let mut torn = whole.clone();
                torn[head + lost..(head + end).min(whole.len())].fill(0);
                assert_eq!(damaged(&[&torn[..], &zeros].concat()), None, "{lost} to {end}");
                let (mut last, next) = (None, &torn[head..]);
                assert_eq!(super::damaged(&whole[..head], &mut last), None);
                assert_eq!(super::damaged(next, &mut last), None, "in a journal of its own, {lost} to {end}");
                // A later batch behind it is none within it. Some of what is lost was zero before.
                if torn != whole && !(1..13).contains(&lost) {
                    let rotten = [&torn[..], &batch(10, b"fourth")].concat();
                    assert_eq!(damaged(&rotten), Some(head), "{lost} to {end}");
                }
            }
        }
    }

    #[test]
    fn only_a_tail_is_cut_and_with_async_what_follows_it() {
        let (one, two) = (batch(7, b"first"), batch(8, b"second"));
        let mut torn_one = one.clone();
        torn_one[35] = 0;
        let both = [Durability::Sync, Durability::Async];
        let zeros = vec![0; 600];
        for (journal, expected) in [
            (vec![], [None, None]),
            (vec![&one, &two, &zeros], [None, None]),
            (vec![&one, &torn_one, &zeros], [Some(one.len()), Some(one.len())]),
            (vec![&torn_one], [Some(0), Some(0)]),
            (vec![&torn_one, &two], [None, Some(0)]),
            // The database cuts this tail off by itself; `damage` has looked before.
            (vec![&one, &zeros, &two], [None, None]),
        ] {
            let journal: Vec<u8> = journal.into_iter().flatten().copied().collect();
            assert_eq!(both.map(|durability| torn(&journal, durability)), expected);
            // A prefix of the journal is cut at the same place or not at all, and none causes a panic.
            for end in 0..journal.len() {
                let cut = torn(&journal[..end], Durability::Async);
                assert!(cut.is_none() || cut == expected[1], "{end}: {cut:?}");
            }
        }
    }
}
