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
    while let Some(batch) = JournalBatch::read(&bytes[at..]).filter(JournalBatch::is_whole) {
        *last = Some(batch.head.number);
        at += batch.length;
    }
    // Where nothing comes before it, the head of what can't be read tells its number, if anything does.
    let before = last.or_else(|| Some(JournalBatch::head(&bytes[at..])?.number)).unwrap_or(0);
    has_later(bytes.get(reach(bytes, at)..)?, before).then_some(at)
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
mod tests {
    use super::*;

    fn item(key: &[u8], value: &[u8]) -> Vec<u8> {
        let length = u32::try_from(value.len()).expect("it is small").to_le_bytes();
        let of_key = u16::try_from(key.len()).expect("it is small").to_le_bytes();
        [&[ITEM, 0, 0], &1u64.to_le_bytes()[..], &of_key, &length, &length, key, value].concat()
    }

    fn of_items(number: u64, items: &[Vec<u8>]) -> Vec<u8> {
        let (count, items) = (u32::try_from(items.len()).expect("they are few"), items.concat());
        let end = [&[END], &xxh3_64(&items).to_le_bytes()[..], TRAILER].concat();
        [&[START], &count.to_le_bytes()[..], &number.to_le_bytes(), &items, &end].concat()
    }

    fn batch(number: u64, value: &[u8]) -> Vec<u8> {
        of_items(number, &[item(b"key", value)])
    }

    /// A batch as the store writes it: a record, its entry in an index, the store's own document.
    fn of_record(number: u64, value: &[u8]) -> Vec<u8> {
        let (due, own) = (item(&[7; 40], &[0, 0, 0, 0, 0, 0, 1, 5, 2]), item(b"own", &[0, 3].repeat(32)));
        of_items(number, &[item(&[0xa5; 32], value), due, item(&[0xa5; 32], b""), own])
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
            // The batch's own number is not in its checksum.
            if !(5..13).contains(&rotten) {
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

    /// A service may answer with batches of any number, and make them from what is known here.
    #[test]
    fn a_forged_batch_in_a_torn_value_follows_nothing() {
        let (one, two, zeros) = (of_record(7, b"first"), of_record(8, &[9; 700]), vec![0; 600]);
        let head = one.len() + two.len();
        for forged in
            [of_items(u64::MAX, &[]), of_items(9, &[]), batch(1 << 40, b"forged"), of_record(10, b"forged")]
        {
            // To the end of the value, which is where a sector ends and where none does.
            for filling in [0, 40, 1_000, 1_500 - 2 * forged.len()] {
                let value = [&[0, 7].repeat(9)[..], &forged, &vec![9; filling], &forged].concat();
                let whole = [&one[..], &two, &of_record(9, &value)].concat();
                let looks = |torn: &[u8]| [damaged(&[torn, &zeros].concat()), damaged(torn)];
                let value_at = head + HEAD + ItemHead::BYTES + 32;
                for end in 0..=whole.len() - head {
                    let torn = &whole[..head + end];
                    assert_eq!(looks(torn), [None; 2], "{filling}: all behind {end} is lost");
                    assert_eq!(super::damaged(&torn[head..], &mut Some(8)), None, "in a journal of its own");
                }
                // A sector that did not arrive, and had nothing of the head of the value.
                for sector in value_at.div_ceil(512)..=whole.len() / 512 {
                    let mut torn = whole.clone();
                    let end = whole.len().min((sector + 1) * 512);
                    torn[sector * 512..end].fill(0);
                    assert_eq!(looks(&torn), [None; 2], "{filling}: sector {sector} is lost");
                    let rotten = [&torn[..], &of_record(10, b"fourth")].concat();
                    assert_eq!(damaged(&rotten), Some(head), "{filling}: sector {sector} is rotten");
                }
            }
        }
    }

    /// What is behind a rotten length was acknowledged.
    #[test]
    fn a_rotten_length_hides_no_batch() {
        let (one, three, zeros) = (of_record(7, b"first"), of_record(9, b"third"), vec![0; 600]);
        for two in [of_record(8, &[0, 1, 2, 3, 4].repeat(10)), of_record(8, &[0; 900]), batch(8, &[2; 30])] {
            let is_rotten = |bad: &[u8], how: &str| {
                for behind in [&[&three[..], &zeros].concat(), &three] {
                    assert_eq!(damaged(&[&one[..], bad, behind].concat()), Some(one.len()), "{how}");
                }
            };
            // All that a byte may become, in the shorter ones.
            let step = if two.len() < 400 { 1 } else { 37 };
            for (at, by) in (0..two.len()).flat_map(|at| (1..=255).step_by(step).map(move |by| (at, by))) {
                let mut bad = two.clone();
                bad[at] ^= by;
                if !(5..13).contains(&at) {
                    is_rotten(&bad, &format!("byte {at} by {by}"));
                }
            }
            let noise: Vec<u8> = (0..512_u32).map(|n| (n * n * 7 + n * 3 + 0x5a) as u8).collect();
            for (at, with) in
                (13..two.len()).flat_map(|at| [&[0; 512], &[0xff; 512], &noise[..]].map(|with| (at, with)))
            {
                for length in [2, 4, 8, 20, 512] {
                    let (mut bad, length) = (two.clone(), length.min(two.len() - at));
                    bad[at..at + length].copy_from_slice(&with[..length]);
                    if bad != two {
                        is_rotten(&bad, &format!("{length} bytes at {at} are {with:?}"));
                    }
                }
            }
        }
    }

    /// The look for damage takes time in proportion to the journal, whatever stands in it.
    #[test]
    fn a_long_chain_of_items_is_walked_once() {
        let one = batch(7, b"first");
        let chain = [CLEAR, 9, 8, 7, 6, START, 5, 4, 3].repeat(2 << 17);
        let mut items = vec![item(b"key", b"last")];
        // Each value has the head of a batch that goes on with the next item.
        for count in 1..1 << 14 {
            let head = [&[START], &u32::to_le_bytes(count)[..], &u64::MAX.to_le_bytes()].concat();
            items.push(item(b"key", &head));
        }
        items.reverse();
        let mut forged = of_items(8, &items);
        let checksum = forged.len() - TRAILER.len() - 1;
        forged[checksum] ^= 1;
        let last = batch(8, &chain);
        // The heads of what has the value are lost, so that it is looked through.
        for (value, sees) in [(&chain, false), (&forged, true)] {
            assert_eq!(damaged(&[&one[..], &[0; 40], value].concat()).is_some(), sees);
            assert_eq!(damaged(&[&one[..], &[0; 40], value, &batch(9, b"later")].concat()), Some(one.len()));
        }
        assert_eq!(damaged(&[&one[..], &last[..last.len() - 1]].concat()), None);
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
