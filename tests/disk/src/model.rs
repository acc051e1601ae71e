//! What is on the disk, what of it is durable, and what the next operations will do.
//!
//! Invariants
//! - A file has bytes the process reads and bytes that survive. A write marks 512-byte sectors dirty; a
//!   sync of the file makes them and its length durable.
//! - A sync that fails forgets which sectors were dirty without making them durable, as Linux does.
//! - A new, moved or removed name waits for the sync of its directory, whatever happens to the file.
//! - A cut computes what survives at once; every operation after it fails, so nothing that the process
//!   says later can rest on this disk.
//!
//! Not here: FUSE (`mount`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

const SECTOR: usize = 512;
/// The number of the root.
pub(crate) const ROOT: u64 = 1;

/// How an operation is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// No space left on the device.
    Enospc,
    /// The file system is read-only.
    Erofs,
    /// The device failed.
    Eio,
    /// Too many open files: only where something is opened.
    Emfile,
}

/// What happens at the `at`-th operation from now that changes the disk or opens something on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The power goes. `tear`: of what was not synced, any part survives; without it, nothing does.
    Cut {
        /// Which operation, from 1.
        at: u64,
        /// Whether parts survive.
        tear: bool,
        /// Decides which.
        seed: u64,
    },
    /// It fails.
    Fail {
        /// Which operation, from 1.
        at: u64,
        /// How.
        errno: Errno,
        /// Whether all later ones fail as well.
        lasting: bool,
    },
}

/// What an operation is, for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Opens,
    Changes,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    File(File),
    Folder(BTreeMap<OsString, u64>),
    /// A socket: a name that the kernel gives its meaning.
    Special,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) body: Body,
    pub(crate) mode: u32,
    pub(crate) links: u32,
}

/// A change of names that no sync has made durable.
#[derive(Clone, Debug)]
struct NameChange {
    removed: Option<(u64, OsString)>,
    added: Option<(u64, OsString, u64)>,
}

impl NameChange {
    fn is_in(&self, folder: u64) -> bool {
        self.removed.as_ref().is_some_and(|(at, _)| *at == folder)
            || self.added.as_ref().is_some_and(|(at, _, _)| *at == folder)
    }

    fn apply(&self, names: &mut Names) {
        if let Some((folder, name)) = &self.removed {
            names.remove(&(*folder, name.clone()));
        }
        if let Some((folder, name, node)) = &self.added {
            names.insert((*folder, name.clone()), *node);
        }
    }
}

type Names = BTreeMap<(u64, OsString), u64>;

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) nodes: BTreeMap<u64, Node>,
    next: u64,
    durable_names: Names,
    pending: Vec<NameChange>,
    plan: Option<Plan>,
    pub(crate) operations: u64,
    pub(crate) failed: u64,
    pub(crate) torn: u64,
    survivor: Option<Box<Disk>>,
    pub(crate) is_cut: bool,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let root = Node {
            body: Body::Folder(BTreeMap::new()),
            mode: 0o755,
            links: 2,
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            durable_names: Names::new(),
            pending: Vec::new(),
            plan: None,
            operations: 0,
            failed: 0,
            torn: 0,
            survivor: None,
            is_cut: false,
        }
    }

    /// Orders what happens to come; operations are counted from now.
    pub(crate) fn plan(&mut self, plan: Option<Plan>) {
        (self.plan, self.operations, self.failed) = (plan, 0, 0);
    }

    /// Counts an operation and says how it fails, if it does.
    pub(crate) fn step(&mut self, kind: Kind) -> Result<(), Errno> {
        self.look()?;
        self.operations += 1;
        match self.plan {
            Some(Plan::Cut { at, tear, seed }) if self.operations >= at => {
                self.cut(tear, seed);
                Err(Errno::Eio)
            }
            Some(Plan::Fail { at, errno, lasting }) => {
                let due = self.operations == at || (lasting && self.operations > at);
                let fits = errno != Errno::Emfile || kind == Kind::Opens;
                // Opening what is there is no change.
                let fits = fits && (errno == Errno::Emfile || kind == Kind::Changes);
                if due && fits {
                    self.failed += 1;
                    return Err(errno);
                }
                if due && !fits && !lasting {
                    // The first operation from there on that can fail so.
                    self.plan = Some(Plan::Fail {
                        at: at + 1,
                        errno,
                        lasting,
                    });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether there is a disk at all.
    pub(crate) fn look(&self) -> Result<(), Errno> {
        if self.is_cut { Err(Errno::Eio) } else { Ok(()) }
    }

    /// Takes the power away now; what survives is decided here.
    pub(crate) fn cut(&mut self, tear: bool, seed: u64) {
        if self.is_cut {
            return;
        }
        self.is_cut = true;
        let mut random = Random(seed | 1);
        let mut torn = 0;
        let mut survivor = Self::new();
        survivor.next = self.next;
        let mut names = std::mem::take(&mut self.durable_names);
        // Sometimes all of it arrived, sometimes nothing, mostly a part: the edges are where bugs are.
        let kept_of_8 = random.below(9);
        for change in &self.pending {
            if tear && random.below(8) < kept_of_8 {
                change.apply(&mut names);
            }
        }
        for (number, node) in &self.nodes {
            let mut node = node.clone();
            match &mut node.body {
                Body::File(file) => torn += u64::from(file.survive(tear, &mut random)),
                Body::Folder(entries) => entries.clear(),
                Body::Special => {}
            }
            survivor.nodes.insert(*number, node);
        }
        for ((folder, name), node) in &names {
            let is_there = survivor.nodes.contains_key(node);
            let Some(Body::Folder(entries)) =
                survivor.nodes.get_mut(folder).map(|node| &mut node.body)
            else {
                continue;
            };
            if is_there {
                entries.insert(name.clone(), *node);
            }
        }
        survivor.durable_names = names;
        self.torn = torn;
        self.survivor = Some(Box::new(survivor));
    }

    /// The disk after the power is back.
    pub(crate) fn survivor(&mut self) -> Option<Disk> {
        self.survivor.take().map(|disk| *disk)
    }

    pub(crate) fn entries(&self, folder: u64) -> Option<&BTreeMap<OsString, u64>> {
        match &self.nodes.get(&folder)?.body {
            Body::Folder(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.entries(folder)?.get(name).copied()
    }

    pub(crate) fn file(&mut self, number: u64) -> Option<&mut File> {
        match &mut self.nodes.get_mut(&number)?.body {
            Body::File(file) => Some(file),
            _ => None,
        }
    }

    fn folder(&mut self, number: u64) -> Option<&mut BTreeMap<OsString, u64>> {
        match &mut self.nodes.get_mut(&number)?.body {
            Body::Folder(entries) => Some(entries),
            _ => None,
        }
    }

    /// Makes a node with a name.
    pub(crate) fn make(&mut self, folder: u64, name: &OsStr, body: Body, mode: u32) -> Option<u64> {
        let number = self.next;
        self.folder(folder)?.insert(name.to_owned(), number);
        self.next += 1;
        let links = if matches!(body, Body::Folder(_)) {
            2
        } else {
            1
        };
        self.nodes.insert(number, Node { body, mode, links });
        self.pending.push(NameChange {
            removed: None,
            added: Some((folder, name.to_owned(), number)),
        });
        Some(number)
    }

    /// Removes a name. What it named stays: somebody may have it open, and it may come back at a cut.
    pub(crate) fn unmake(&mut self, folder: u64, name: &OsStr) -> Option<u64> {
        let number = self.folder(folder)?.remove(name)?;
        if let Some(node) = self.nodes.get_mut(&number) {
            node.links = node.links.saturating_sub(1);
        }
        self.pending.push(NameChange {
            removed: Some((folder, name.to_owned())),
            added: None,
        });
        Some(number)
    }

    /// Gives something another name.
    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<u64> {
        let number = self.folder(from.0)?.remove(from.1)?;
        let over = self.folder(to.0)?.insert(to.1.to_owned(), number);
        if let Some(node) = over.and_then(|over| self.nodes.get_mut(&over)) {
            node.links = node.links.saturating_sub(1);
        }
        self.pending.push(NameChange {
            removed: Some((from.0, from.1.to_owned())),
            added: Some((to.0, to.1.to_owned(), number)),
        });
        Some(number)
    }

    /// Makes a folder's names durable.
    pub(crate) fn sync_folder(&mut self, folder: u64) {
        let pending = std::mem::take(&mut self.pending);
        for change in pending {
            if change.is_in(folder) {
                change.apply(&mut self.durable_names);
            } else {
                self.pending.push(change);
            }
        }
    }
}

impl File {
    pub(crate) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(offset / SECTOR..=(end - 1) / SECTOR);
        }
    }

    pub(crate) fn set_len(&mut self, len: usize) {
        let old = self.bytes.len();
        self.bytes.resize(len, 0);
        let (from, to) = (old.min(len), old.max(len));
        if from < to {
            self.dirty.extend(from / SECTOR..=(to - 1) / SECTOR);
        }
    }

    pub(crate) fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector);
        }
    }

    /// A sync that failed: the pages are clean and on no disk.
    pub(crate) fn forget(&mut self) {
        self.dirty.clear();
    }

    fn keep(&mut self, sector: usize) {
        let start = sector * SECTOR;
        let end = (start + SECTOR)
            .min(self.bytes.len())
            .min(self.durable.len());
        if start < end {
            self.durable[start..end].copy_from_slice(&self.bytes[start..end]);
        }
    }

    /// Becomes what the cut left; answers whether a part of something unsynced was kept.
    fn survive(&mut self, tear: bool, random: &mut Random) -> bool {
        let dirty = std::mem::take(&mut self.dirty);
        let mut kept = 0;
        if tear {
            if random.below(2) == 0 {
                self.durable.resize(self.bytes.len(), 0);
            }
            let kept_of_8 = random.below(9);
            for sector in &dirty {
                if random.below(8) < kept_of_8 {
                    self.keep(*sector);
                    kept += 1;
                }
            }
        }
        self.bytes = self.durable.clone();
        kept > 0 && kept < dirty.len()
    }
}

/// xorshift64*: a seed repeats a cut.
struct Random(u64);
impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &mut Disk, name: &str) -> u64 {
        let body = Body::File(File::default());
        disk.make(ROOT, OsStr::new(name), body, 0o600).unwrap()
    }

    #[test]
    fn a_cut_leaves_what_was_synced_and_only_that() {
        let mut disk = Disk::new();
        let kept = file(&mut disk, "kept");
        disk.file(kept).unwrap().write(b"old", 0);
        disk.file(kept).unwrap().sync();
        disk.sync_folder(ROOT);
        disk.file(kept).unwrap().write(b"new", 0);
        let nameless = file(&mut disk, "nameless");
        disk.file(nameless).unwrap().write(b"synced", 0);
        disk.file(nameless).unwrap().sync();
        disk.cut(false, 1);
        assert_eq!(disk.step(Kind::Changes), Err(Errno::Eio), "nothing after");
        let mut after = disk.survivor().unwrap();
        assert_eq!(after.file(kept).unwrap().bytes, b"old");
        assert_eq!(after.find(ROOT, OsStr::new("nameless")), None);
    }

    #[test]
    fn a_failed_sync_makes_the_bytes_lost_for_later_syncs_too() {
        let mut disk = Disk::new();
        let one = file(&mut disk, "one");
        disk.sync_folder(ROOT);
        disk.file(one).unwrap().write(b"lost", 0);
        disk.file(one).unwrap().forget();
        disk.file(one).unwrap().sync();
        disk.cut(false, 1);
        let mut after = disk.survivor().unwrap();
        assert_eq!(after.file(one).unwrap().bytes, [0; 4]);
    }

    #[test]
    fn a_torn_cut_keeps_whole_sectors_of_either_time() {
        let mut torn = 0;
        for seed in 0..200 {
            let mut disk = Disk::new();
            let one = file(&mut disk, "one");
            disk.sync_folder(ROOT);
            disk.file(one).unwrap().write(&[1; 8 * SECTOR], 0);
            disk.file(one).unwrap().sync();
            disk.file(one).unwrap().write(&[2; 8 * SECTOR], 0);
            disk.cut(true, seed);
            torn += disk.torn;
            let mut after = disk.survivor().unwrap();
            let bytes = &after.file(one).unwrap().bytes;
            for sector in bytes.chunks(SECTOR) {
                assert!(sector.iter().all(|byte| *byte == sector[0]));
            }
        }
        assert!(torn > 50, "{torn} of 200 were torn");
    }
}
