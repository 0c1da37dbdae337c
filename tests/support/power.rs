//! The power cut: turns the data folder as the system showed it to the gateway into the data folder that a
//! disk would hold. `tests/faults/layer/journal.c` journals every change, and has the rules of durability.
//!
//! The dice say which unsynced changes each file keeps: none, all, the first changes up to one that is torn
//! at a sector's border, or sectors here and there. Each folder has its names as they were at some moment
//! since the folder's last sync.

use super::Dice;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SECTOR: u64 = 512;

/// The rule for which unsynced changes survive.
pub(crate) enum Keep {
    /// No change survives: the worst case for a change that was acknowledged too early.
    Nothing,
    /// The changes survive that dice with this seed choose.
    Seeded(u64),
}

/// The loss by a power cut.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    /// Changes of files that no sync covered.
    pub(crate) unsynced: usize,
    /// Unsynced changes that were taken back, wholly or in part.
    pub(crate) lost: usize,
    /// Folders whose names went back to an earlier moment.
    pub(crate) folders: usize,
}

impl Loss {
    pub(crate) fn add(&mut self, other: Self) {
        self.unsynced += other.unsynced;
        self.lost += other.lost;
        self.folders += other.folders;
    }
}

/// One start of the gateway, journalled.
pub(crate) struct Session {
    folder: PathBuf,
    data: PathBuf,
}

impl Session {
    pub(super) fn new(folder: PathBuf, data: PathBuf) -> Self {
        let session = Self { folder, data };
        fs::create_dir_all(session.kept()).expect("a folder of the test's own");
        File::create(session.journal()).expect("a folder of the test's own");
        session
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    pub(super) fn kept(&self) -> PathBuf {
        self.folder.join("kept")
    }

    /// Makes the data folder what the disk would hold, once the process is dead.
    pub(crate) fn cut(self, keep: &Keep) -> Loss {
        let bytes = fs::read(self.journal()).expect("the gateway ran");
        let mut disk = Disk::read(&bytes);
        let mut dice = match keep {
            Keep::Nothing => None,
            Keep::Seeded(seed) => Some(Dice::of(*seed)),
        };
        let mut loss = Loss::default();
        let names = disk.names(dice.as_mut(), &mut loss);
        fs::remove_dir_all(&self.data).expect("the process is gone");
        let data = self.data.canonicalize().unwrap_or_else(|_| {
            let parent = self.data.parent().expect("it is in the test's folder");
            parent.canonicalize().expect("it is there").join(self.data.file_name().expect("it has a name"))
        });
        let root = disk.folders[&data];
        self.build(&self.data, root, &names, &mut disk, dice.as_mut(), &mut loss);
        fs::remove_dir_all(&self.folder).expect("a folder of the test's own");
        loss
    }

    fn build(
        &self,
        path: &Path,
        folder: u64,
        names: &HashMap<u64, Names>,
        disk: &mut Disk<'_>,
        mut dice: Option<&mut Dice>,
        loss: &mut Loss,
    ) {
        fs::create_dir(path).expect("a folder of the test's own");
        for (name, (inode, is_folder)) in &names[&folder] {
            let path = path.join(name);
            if *is_folder {
                self.build(&path, *inode, names, disk, dice.as_deref_mut(), loss);
                continue;
            }
            let seen = fs::read(self.kept().join(inode.to_string())).expect("every file was kept");
            let changes = disk.changes.remove(inode).unwrap_or_default();
            image(seen, &changes, dice.as_deref_mut(), loss).write(&path);
        }
    }
}

/// Names of a folder: inode, and whether it is a folder.
type Names<'a> = BTreeMap<&'a str, (u64, bool)>;

/// A change of a file.
struct Change<'a> {
    at: u64,
    kind: Kind<'a>,
    durable: bool,
    /// Whether a sync after the change failed. No later sync makes such a change durable.
    doomed: bool,
}

enum Kind<'a> {
    Write { offset: u64, before: u64, old: &'a [u8], new: &'a [u8] },
    Resize { size: u64, before: u64, old: &'a [u8] },
}

/// The journal in memory.
#[derive(Default)]
struct Disk<'a> {
    changes: HashMap<u64, Vec<Change<'a>>>,
    /// Each folder's names at each moment when they may have changed.
    moments: HashMap<u64, Vec<(u64, Names<'a>)>>,
    /// Each folder's durable moment.
    durable: HashMap<u64, u64>,
    /// Single names that became durable: the moment, the folder, the name, and the inode it names.
    single: Vec<(u64, u64, &'a str, (u64, bool))>,
    /// Folders by their path.
    folders: HashMap<PathBuf, u64>,
}

impl<'a> Disk<'a> {
    fn read(mut bytes: &'a [u8]) -> Self {
        let mut disk = Self::default();
        for at in 0.. {
            let Some((head, rest)) = bytes.split_first_chunk::<40>() else { break };
            let number = |i: usize| u64::from_le_bytes(head[i..i + 8].try_into().expect("eight bytes"));
            let (kind, length) = (head[0], (number(0) >> 32) as usize);
            // The kill may have cut the last entry. The change of such an entry did not happen.
            let Some((payload, rest)) = rest.split_at_checked(length) else { break };
            bytes = rest;
            let (inode, a, b, c) = (number(8), number(16), number(24), number(32));
            match kind {
                b'W' => {
                    let (old, new) = payload.split_at(length - b as usize);
                    disk.change(inode, at, Kind::Write { offset: a, before: c, old, new });
                }
                b'T' => disk.change(inode, at, Kind::Resize { size: a, before: c, old: payload }),
                b'D' => disk.listed(inode, at, a == 1, payload),
                b'S' => disk.synced(inode, a, text(payload)),
                b'E' => disk.unsynced_before(inode, a).for_each(|change| change.doomed = true),
                other => panic!("{other} is no kind of entry"),
            }
        }
        disk
    }

    fn change(&mut self, inode: u64, at: u64, kind: Kind<'a>) {
        let change = Change { at, kind, durable: false, doomed: false };
        self.changes.entry(inode).or_default().push(change);
    }

    fn unsynced_before(&mut self, inode: u64, mark: u64) -> impl Iterator<Item = &mut Change<'a>> {
        let changes = self.changes.get_mut(&inode).map(Vec::as_mut_slice).unwrap_or_default();
        changes.iter_mut().filter(move |change| change.at < mark && !change.durable && !change.doomed)
    }

    fn listed(&mut self, folder: u64, at: u64, durable: bool, payload: &'a [u8]) {
        let end = payload.iter().position(|byte| *byte == 0).expect("a path ends");
        let (path, mut rest) = (text(&payload[..end]), &payload[end + 1..]);
        let mut names = Names::new();
        while let Some((inode, more)) = rest.split_first_chunk() {
            let end = 1 + more[1..].iter().position(|byte| *byte == 0).expect("a name ends");
            names.insert(text(&more[1..end]), (u64::from_le_bytes(*inode), more[0] == b'd'));
            rest = &more[end + 1..];
        }
        self.folders.insert(path.into(), folder);
        let moments = self.moments.entry(folder).or_default();
        if durable {
            moments.clear();
            self.durable.insert(folder, at);
        }
        moments.push((at, names));
    }

    fn synced(&mut self, inode: u64, mark: u64, path: &'a str) {
        self.unsynced_before(inode, mark).for_each(|change| change.durable = true);
        if let Some(moments) = self.moments.get(&inode) {
            let (at, _) = moments.iter().rev().find(|(at, _)| *at < mark).expect("listed before the sync");
            self.durable.insert(inode, *at);
        }
        // A sync makes the file's own name durable, and the names of the folders around it.
        let mut path = Path::new(path);
        while let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            let Some(id) = self.folders.get(folder) else { return };
            let listing = self.moments[id].iter().rev().find(|(at, _)| *at < mark);
            let name = listing.and_then(|(_, names)| names.get_key_value(name.to_str()?));
            if let Some((name, target)) = name {
                self.single.push((mark, *id, name, *target));
            }
            path = folder;
        }
    }

    /// The names that each folder has on disk.
    fn names(&self, mut dice: Option<&mut Dice>, loss: &mut Loss) -> HashMap<u64, Names<'a>> {
        let mut chosen = HashMap::new();
        let mut folders: Vec<_> = self.moments.iter().collect();
        folders.sort_by_key(|(folder, _)| **folder);
        for (folder, moments) in folders {
            let durable = self.durable.get(folder).copied().unwrap_or_default();
            let since: Vec<_> = moments.iter().filter(|(at, _)| *at >= durable).collect();
            let pick = dice.as_mut().map_or(0, |dice| dice.roll(since.len() as u64) as usize);
            let (at, mut names) = since[pick].clone();
            for (mark, _, name, target) in self.single.iter().filter(|(m, f, ..)| f == folder && *m > at) {
                debug_assert!(*mark > at);
                names.retain(|_, standing| standing != target);
                names.insert(name, *target);
            }
            loss.folders += usize::from(moments.last().is_some_and(|(_, last)| *last != names));
            chosen.insert(*folder, names);
        }
        chosen
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("plain names")
}

/// The content of a file: these bytes, and zeros up to its size.
struct Image {
    bytes: Vec<u8>,
    size: u64,
}

/// A file as it is on disk, made of the content that the gateway saw and of the file's changes.
fn image(seen: Vec<u8>, changes: &[Change<'_>], dice: Option<&mut Dice>, loss: &mut Loss) -> Image {
    let mut image = Image { size: seen.len() as u64, bytes: seen };
    image.trim();
    for change in changes.iter().rev() {
        match change.kind {
            Kind::Write { offset, before, old, new } => {
                image.put(offset, &vec![0; new.len()]);
                image.put(offset, old);
                image.resize(before);
            }
            Kind::Resize { size, before, old } => {
                image.resize(size.min(before));
                image.resize(before);
                image.put(size, old);
            }
        }
    }
    let unsynced = changes.iter().filter(|change| !change.durable).count();
    let mut fate = Fate::of(unsynced, dice);
    loss.unsynced += unsynced;
    for change in changes {
        if change.durable {
            image.apply(&change.kind, |_| true);
            continue;
        }
        let mut whole = true;
        image.apply(&change.kind, |sector| {
            let stays = fate.spares(sector);
            whole &= stays;
            stays
        });
        fate.next();
        loss.lost += usize::from(!whole);
    }
    image
}

impl Image {
    /// Applies a change in the sectors that stay.
    fn apply(&mut self, kind: &Kind<'_>, mut stays: impl FnMut(u64) -> bool) {
        match *kind {
            Kind::Resize { size, .. } => {
                if stays(0) {
                    self.resize(size);
                }
            }
            Kind::Write { offset, new, .. } => {
                let end = offset + new.len() as u64;
                let mut at = offset;
                while at < end {
                    let next = ((at / SECTOR + 1) * SECTOR).min(end);
                    if stays(at / SECTOR) {
                        self.put(at, &new[(at - offset) as usize..(next - offset) as usize]);
                    }
                    at = next;
                }
            }
        }
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        self.size = self.size.max(end as u64);
    }

    fn resize(&mut self, size: u64) {
        self.bytes.truncate(size as usize);
        self.size = size;
    }

    fn trim(&mut self) {
        let last = self.bytes.iter().rposition(|byte| *byte != 0);
        self.bytes.truncate(last.map_or(0, |last| last + 1));
    }

    fn write(&self, path: &Path) {
        let file = File::create(path).expect("a folder of the test's own");
        file.write_all_at(&self.bytes, 0).expect("there is room");
        file.set_len(self.size).expect("there is room");
    }
}

/// The fate of a file's unsynced changes, in order.
enum Fate<'a> {
    Lost,
    Kept,
    /// The first `whole` changes stay, and the first `sectors` sectors of the next change.
    Torn {
        whole: u64,
        sectors: u64,
    },
    /// Sectors here and there stay.
    Scattered(&'a mut Dice),
}

impl<'a> Fate<'a> {
    fn of(unsynced: usize, dice: Option<&'a mut Dice>) -> Self {
        let Some(dice) = dice else { return Self::Lost };
        if unsynced == 0 {
            return Self::Kept;
        }
        match dice.roll(4) {
            0 => Self::Lost,
            1 => Self::Kept,
            2 => Self::Torn { whole: dice.roll(unsynced as u64), sectors: dice.roll(4) },
            _ => Self::Scattered(dice),
        }
    }

    /// Whether the next sector of the present change stays.
    fn spares(&mut self, _sector: u64) -> bool {
        match self {
            Self::Lost => false,
            Self::Kept => true,
            Self::Torn { whole: 1.., .. } => true,
            Self::Torn { sectors, .. } if *sectors > 0 => {
                *sectors -= 1;
                true
            }
            Self::Torn { .. } => false,
            Self::Scattered(dice) => dice.roll(2) == 0,
        }
    }

    /// Goes on to the next change.
    fn next(&mut self) {
        if let Self::Torn { whole, sectors } = self {
            match whole.checked_sub(1) {
                Some(left) => *whole = left,
                None => *sectors = 0,
            }
        }
    }
}
