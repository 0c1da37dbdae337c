//! The torn tail of the database's journal. Where the machine loses power while a batch is being written, any
//! sectors of the batch may be on disk and others not. The database cuts off a tail that it can't read. It
//! takes a batch that reads well but for its checksum for damage, and no longer opens.
//!
//! Nobody was told of such a batch, as long as nothing whole follows it: a batch is synced before it is
//! answered, and before the next one is written. With [`Durability::Async`] other unsynced batches may follow
//! it, and that setting gives up the answers given for them.
//!
//! A value may hold anything, batches of any number included: a service may answer with a journal, or with what
//! was made to look like one. So what surely is a part of the torn batch is not looked into (`reach`). Behind
//! that a copy is told from a later batch of this journal by its number, which grows from batch to batch.
//!
//! Only the newest journal may have a torn tail. The database syncs a journal before it begins the next one, and
//! cuts off torn tails as it opens, before it writes. (After a failed write it may begin one more journal with
//! nothing in it.) So what can't be read at the end of an older journal has rotted. The database would cut that
//! off, too, and say nothing. What has become zeros there looks like room that nobody has written to.
//!
//! The format is that of fjall 3's `journal/entry.rs`; numbers are little-endian.

use oncegate_core::Durability;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// The bytes before the items of a batch: mark, number of items, number of the batch.
const HEAD: usize = 13;
/// The mark at the end of a batch.
const TRAILER: &[u8] = b"FJL\x03";
/// Bounds for what the store writes.
const KEY_MAX: usize = 64;
const VALUE_MAX: usize = i32::MAX as usize;
/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

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
    let (mut last, mut torn) = (None, None);
    for (_, journal) in journals {
        let bytes = fs::read(&journal)?;
        let name = journal.file_name().unwrap_or_default().display();
        let is_empty = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if let Some(before) = torn.filter(|_| !is_empty(&bytes)) {
            return Ok(Some(format!(
                "{before}, and the later journal {name} was begun when all of it was on disk"
            )));
        }
        let (end, is_damaged) = read_through(&bytes, &mut last);
        if is_damaged {
            return Ok(Some(format!(
                "at byte {end} of its journal {name} stands what can't be read, with whole changes behind it; if a power \
                 loss under `ledger.durability = \"async\"` left it so, start once more with that"
            )));
        }
        torn = (!is_empty(&bytes[end..]))
            .then(|| format!("at byte {end} of its journal {name} stands what can't be read"));
    }
    Ok(None)
}

/// Where the whole batches at the front of these bytes end, and whether a whole later batch follows what can't be
/// read there. `last`: the number of the last batch that can be read, of an earlier journal before the call and
/// of this one after it.
fn read_through(bytes: &[u8], last: &mut Option<u64>) -> (usize, bool) {
    let mut at = 0;
    while let Some(batch) = JournalBatch::read(&bytes[at..]).filter(JournalBatch::is_whole) {
        *last = Some(batch.head.number);
        at += batch.length;
    }
    // Where nothing comes before it, the head of what can't be read tells its number, if anything does.
    let before = last.or_else(|| Some(JournalBatch::head(&bytes[at..])?.number)).unwrap_or(0);
    (at, bytes.get(reach(bytes, at)..).is_some_and(|behind| has_later(behind, before)))
}

/// Where the batch at `at`, which can't be read, ends at the earliest. A rotten length must not hide what was
/// acknowledged behind it. So a length is believed where its two copies agree, and where the next part of the
/// batch, or nothing that arrived, stands behind its item. (A rotten key shifts that place by less than the
/// shortest batch.)
fn reach(bytes: &[u8], at: usize) -> usize {
    let Some(head) = bytes.get(at..).and_then(JournalBatch::head) else { return at + 1 };
    let mut reach = at + HEAD;
    for left in (0..head.items).rev() {
        let Some(end) = sound_item(bytes, reach) else { break };
        let goes_on = if left > 0 { sound_item(bytes, end).is_some() } else { is_end(bytes, end) };
        if !goes_on && !is_lost(bytes, end) {
            break;
        }
        reach = end;
    }
    reach
}

/// Where the item at `at` ends, if there is one whose length can be believed so far.
fn sound_item(bytes: &[u8], at: usize) -> Option<usize> {
    let head = ItemHead::read(bytes.get(at..)?)?;
    let is_sound = head.key <= KEY_MAX && head.value <= VALUE_MAX && head.value_in_memory == head.value;
    is_sound.then(|| at + head.length())
}

fn is_end(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..).is_some_and(|end| end.first() == Some(&END) && end.get(9..13) == Some(TRAILER))
}

/// Whether the part at `at` did not arrive: nothing came after its first bytes, or not its sector.
fn is_lost(bytes: &[u8], at: usize) -> bool {
    let sector = at / SECTOR * SECTOR;
    let is_zero = |from: usize, length: usize| {
        bytes.get(from..).unwrap_or_default().iter().take(length).all(|byte| *byte == 0)
    };
    is_zero(at + ItemHead::BYTES, usize::MAX) || is_zero(sector, SECTOR)
}

/// Whether a whole batch with a later number than `before` is in these bytes. The look takes time in proportion
/// to them. They may look like more batches than that is enough for: who made them so could as well have put a
/// whole one there.
fn has_later(bytes: &[u8], before: u64) -> bool {
    let mut steps = bytes.len();
    for (start, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == START) {
        let bytes = &bytes[start..];
        let Some(head) = JournalBatch::head(bytes) else { break };
        // An item has nine bytes at least.
        if head.number <= before || head.items as usize > bytes.len() / 9 {
            continue;
        }
        let batch = JournalBatch::read_within(bytes, &mut steps);
        steps = steps.saturating_sub(batch.as_ref().map_or(0, |batch| batch.items.len() / 16));
        if steps == 0 || batch.is_some_and(|batch| batch.is_whole()) {
            return true;
        }
    }
    false
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
        if !batch.is_whole() {
            let next = JournalBatch::read(&bytes[at + batch.length..]);
            let is_followed = next.is_some_and(|next| next.is_whole());
            return (!is_followed || durability == Durability::Async).then_some(at);
        }
        at += batch.length;
    }
}

/// The head of a batch.
struct BatchHead {
    /// How many items it says to have.
    items: u32,
    number: u64,
}

/// A batch that reads well, from its start to its trailer.
struct JournalBatch<'a> {
    length: usize,
    head: BatchHead,
    items_found: u32,
    items: &'a [u8],
    checksum: u64,
}

impl<'a> JournalBatch<'a> {
    /// The head of the batch that begins at the front.
    fn head(bytes: &[u8]) -> Option<BatchHead> {
        let (items, rest) = bytes.strip_prefix(&[START])?.split_first_chunk()?;
        let items = u32::from_le_bytes(*items);
        Some(BatchHead { items, number: u64::from_le_bytes(*rest.first_chunk()?) })
    }

    /// The batch at the front; `None` where the front is anything else. A batch without items is none.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        Self::read_within(bytes, &mut usize::MAX.clone())
    }

    /// The same in so many steps, an item each.
    fn read_within(bytes: &'a [u8], steps: &mut usize) -> Option<Self> {
        let head = Self::head(bytes)?;
        let items = bytes.get(HEAD..)?;
        let (mut rest, mut items_found) = (items, 0);
        loop {
            let length = match *rest.first()? {
                ITEM => ItemHead::read(rest)?.length(),
                CLEAR => 9,
                END => break,
                _ => return None,
            };
            *steps = steps.checked_sub(1)?;
            rest = rest.get(length..)?;
            items_found += 1;
        }
        let items = &items[..items.len() - rest.len()];
        let (checksum, end) = rest[1..].split_first_chunk()?;
        let rest = end.strip_prefix(TRAILER).filter(|_| items_found > 0)?;
        let length = bytes.len() - rest.len();
        let checksum = u64::from_le_bytes(*checksum);
        Some(Self { length, head, items_found, items, checksum })
    }

    /// Whether its number of items and its checksum are right, too.
    fn is_whole(&self) -> bool {
        self.items_found == self.head.items && xxh3_64(self.items) == self.checksum
    }
}

/// The head of an item, which tells lengths.
struct ItemHead {
    key: usize,
    /// The value's length, and again: it is not compressed.
    value_in_memory: usize,
    value: usize,
}

impl ItemHead {
    const BYTES: usize = 21;

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[ITEM])?;
        let _kind_compression_and_keyspace = rest.split_off(..10)?;
        let key = usize::from(u16::from_le_bytes(rest.split_off(..2)?.try_into().ok()?));
        let mut length = || Some(u32::from_le_bytes(rest.split_off(..4)?.try_into().ok()?) as usize);
        Some(Self { key, value_in_memory: length()?, value: length()? })
    }

    fn length(&self) -> usize {
        Self::BYTES + self.key + self.value
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
