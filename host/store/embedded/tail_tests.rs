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

fn damaged_behind(mut last: Option<u64>, bytes: &[u8]) -> Option<usize> {
    let (at, is_damaged) = read_through(bytes, &mut last);
    is_damaged.then_some(at)
}

fn damaged(bytes: &[u8]) -> Option<usize> {
    damaged_behind(None, bytes)
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
            let next = &torn[head..];
            assert_eq!(damaged_behind(Some(8), next), None, "in a journal of its own, {lost} to {end}");
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
                assert_eq!(damaged_behind(Some(8), &torn[head..]), None, "in a journal of its own");
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

/// The database cuts such an end off, and opens without what was acknowledged there.
#[test]
fn only_the_newest_journal_has_a_torn_tail() {
    use crate::conformance::{completed, id, on_a_runtime, put};
    use crate::embedded::Embedded;
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("db");
    let open = || Embedded::open(folder.path(), Durability::Sync);
    let (store, _) = open().expect("it opens");
    on_a_runtime(async {
        for n in 0..4 {
            put(&store, id(n), None, Some(completed(2_000, 700))).await;
        }
    });
    drop(store);
    // As after a rotation: the last change is in a journal of its own.
    let (number, older) = journals(&database).expect("it can be listed").pop().expect("there is one");
    let newer = database.join(format!("{}.jnl", number + 1));
    let bytes = fs::read(&older).expect("it can be read");
    let mut ends = vec![0];
    while let Some(batch) = JournalBatch::read(&bytes[ends[ends.len() - 1]..]) {
        ends.push(ends[ends.len() - 1] + batch.length);
    }
    let [.., begin, sealed, end] = ends[..] else { panic!("{ends:?}") };
    let zeros = vec![0; 4096];
    let write = |first: &[u8], second: &[u8]| {
        fs::write(&older, [first, &zeros].concat()).expect("it can be written");
        fs::write(&newer, [second, &zeros].concat()).expect("it can be written");
    };
    let records = || open().map(|(_, recovered)| recovered.records);
    let rot = |at: usize| {
        let mut rotten = bytes[..sealed].to_vec();
        rotten[at] ^= 0x55;
        rotten
    };
    for at in [begin, begin + 3, begin + 14, sealed - 400, sealed - 10, sealed - 1] {
        for behind in [&bytes[sealed..end], &bytes[sealed..end - 30]] {
            write(&rot(at), behind);
            let damage = damage(&database).expect("it can be read").expect("there is damage");
            let words = [format!("byte {begin} of its journal {number}.jnl"), format!("{}.jnl", number + 1)];
            assert!(words.iter().all(|word| damage.contains(word)), "{at}: {damage}");
            records().expect_err("it is damaged");
        }
    }
    // After a failed write: nothing was acknowledged.
    write(&bytes[..sealed - 30], &[]);
    assert_eq!(records().expect("it opens"), 2);
    write(&bytes[..sealed], &bytes[sealed..end - 30]);
    assert_eq!(records().expect("it opens"), 3, "the newest has a torn tail");
    write(&bytes[..sealed], &bytes[sealed..end]);
    assert_eq!(records().expect("it opens"), 4);
}
