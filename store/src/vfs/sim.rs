//! A disk in memory that forgets what was not synced, tears what was being written, and fails on request.
//!
//! **Model**
//! - A file has volatile bytes (what the process reads) and durable bytes (what survives). Writing marks 512-byte
//!   sectors dirty; `sync_data` copies the dirty sectors and the length over.
//! - A failed `sync_data` forgets which sectors were dirty *without* making them durable, as Linux does: they stay
//!   readable until the power cut and no later sync brings them back, only writing them again.
//! - Creates, renames and removes queue up per directory until `sync_dir`.
//! - [`SimVfs::power_cut`] keeps an arbitrary seeded subset of dirty sectors, of pending lengths and of pending names.
//!
//! **Not here**: directories themselves; creating one is durable at once. Links and devices cannot be expressed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Vfs, VfsFile};

const SECTOR: usize = 512;

/// An in-memory disk; clones share it.
#[derive(Clone, Default)]
pub struct SimVfs(Arc<Mutex<Disk>>);

/// An error code a simulated disk can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// No space left; a write may have been done in part.
    Enospc,
    /// The device failed; a write may have been done in part.
    Eio,
    /// The file system has become read-only; nothing was done.
    Erofs,
}

impl Errno {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Enospc => 28,
            Self::Eio => 5,
            Self::Erofs => 30,
        })
    }
}

/// A failure to come.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The operation that fails, counted as in [`SimVfs::operations`]; the first is 0.
    pub at: u64,
    /// How it fails.
    pub errno: Errno,
    /// Whether every changing operation after it fails as well, until [`SimVfs::heal`].
    pub lasting: bool,
}

#[derive(Default)]
struct Disk {
    files: BTreeMap<u64, SimFile>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<NameChange>,
    dirs: BTreeSet<PathBuf>,
    next_file: u64,
    next_handle: u64,
    boot: u64,
    operations: u64,
    fault: Option<Fault>,
}

#[derive(Default)]
struct SimFile {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    locked_by: Option<u64>,
}

#[derive(Clone)]
enum NameChange {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

impl NameChange {
    fn is_in(&self, dir: &Path) -> bool {
        let path = match self {
            Self::Create(path, _) | Self::Remove(path) | Self::Rename(_, path, _) => path,
        };
        path.parent() == Some(dir)
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path, file);
            }
            Self::Rename(from, to, file) => {
                names.remove(&from);
                names.insert(to, file);
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
        }
    }
}

/// What an operation does to the disk, for the fault plan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Looks,
    Changes,
}

impl Disk {
    /// Whoever still runs changes nothing any more.
    fn cut_off(&mut self) {
        self.fault = Some(Fault {
            at: self.operations,
            errno: Errno::Erofs,
            lasting: true,
        });
    }

    /// Counts an operation and says how it is to fail, if it is.
    fn step(&mut self, kind: Kind) -> Option<Errno> {
        let at = self.operations;
        self.operations += 1;
        let fault = self.fault?;
        let due = at == fault.at || (fault.lasting && at > fault.at && kind == Kind::Changes);
        due.then_some(fault.errno)
    }

    fn file_at(&self, path: &Path) -> io::Result<u64> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl SimFile {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(offset / SECTOR..=(end - 1) / SECTOR);
        }
    }

    fn sync(&mut self) {
        self.durable.resize(self.bytes.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector);
        }
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

    fn power_cut(&mut self, random: &mut SplitMix) {
        if random.coin() {
            self.durable.resize(self.bytes.len(), 0);
        }
        // Sometimes everything arrived, sometimes nothing, mostly a part: the edges are where the bugs are.
        let keep_of_8 = random.below(9);
        for sector in std::mem::take(&mut self.dirty) {
            if random.below(8) < keep_of_8 {
                self.keep(sector);
            }
        }
        self.bytes = self.durable.clone();
        self.locked_by = None;
    }
}

impl fmt::Debug for SimVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimVfs")
    }
}

impl SimVfs {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the power away and gives it back: what was not synced survives in part, decided by `seed`.
    ///
    /// Open handles fail from here on.
    pub fn power_cut(&self, seed: u64) {
        let mut random = SplitMix(seed);
        let disk = &mut *self.disk();
        for change in std::mem::take(&mut disk.pending) {
            if random.coin() {
                change.apply(&mut disk.durable_names);
            }
        }
        disk.names = disk.durable_names.clone();
        let live: BTreeSet<u64> = disk.names.values().copied().collect();
        disk.files.retain(|id, _| live.contains(id));
        for file in disk.files.values_mut() {
            file.power_cut(&mut random);
        }
        disk.boot += 1;
        disk.fault = None;
    }

    /// Ends the process and nothing else: what was written stays as it is, synced or not. Open handles fail from
    /// here on, and so does every change until [`SimVfs::heal`].
    pub fn process_end(&self) {
        let disk = &mut *self.disk();
        for file in disk.files.values_mut() {
            file.locked_by = None;
        }
        disk.boot += 1;
        disk.cut_off();
    }

    /// As [`SimVfs::power_cut`]; and nothing changes until [`SimVfs::heal`].
    pub fn power_cut_for_good(&self, seed: u64) {
        self.power_cut(seed);
        self.disk().cut_off();
    }

    /// Plans a failure.
    pub fn fail(&self, fault: Fault) {
        self.disk().fault = Some(fault);
    }

    /// Ends the planned failure.
    pub fn heal(&self) {
        self.disk().fault = None;
    }

    /// Gives the number of operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Reads a file's volatile bytes past the fault plan.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        let id = disk.names.get(path)?;
        Some(disk.files[id].bytes.clone())
    }

    /// Puts bytes under a name, durable at once, past the fault plan: damage done from outside.
    pub fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut disk = self.disk();
        let id = disk.next_file;
        disk.next_file += 1;
        let file = SimFile {
            bytes: bytes.to_vec(),
            durable: bytes.to_vec(),
            ..SimFile::default()
        };
        disk.files.insert(id, file);
        disk.names.insert(path.to_path_buf(), id);
        disk.durable_names.insert(path.to_path_buf(), id);
    }

    /// Makes a disk of its own with the same durable content.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        let disk = self.disk();
        for (path, id) in &disk.names {
            copy.plant(path, &disk.files[id].bytes);
        }
        copy.disk().dirs.clone_from(&disk.dirs);
        drop(disk);
        copy
    }

    fn handle(&self, disk: &mut Disk, file: u64, access: Access) -> Arc<dyn VfsFile> {
        let handle = disk.next_handle;
        disk.next_handle += 1;
        Arc::new(SimHandle {
            disk: self.clone(),
            file,
            handle,
            boot: disk.boot,
            access,
        })
    }
}

impl Vfs for SimVfs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn VfsFile>> {
        let disk = &mut *self.disk();
        if let Some(errno) = disk.step(Kind::Changes) {
            return Err(errno.error());
        }
        if disk.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !path.parent().is_some_and(|dir| disk.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let id = disk.next_file;
        disk.next_file += 1;
        disk.files.insert(id, SimFile::default());
        disk.names.insert(path.to_path_buf(), id);
        disk.pending
            .push(NameChange::Create(path.to_path_buf(), id));
        Ok(self.handle(disk, id, Access::Write))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>> {
        let disk = &mut *self.disk();
        if let Some(errno) = disk.step(Kind::Looks) {
            return Err(errno.error());
        }
        let id = disk.file_at(path)?;
        Ok(self.handle(disk, id, access))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let disk = &mut *self.disk();
        if let Some(errno) = disk.step(Kind::Changes) {
            return Err(errno.error());
        }
        let id = disk.file_at(from)?;
        let change = NameChange::Rename(from.to_path_buf(), to.to_path_buf(), id);
        change.clone().apply(&mut disk.names);
        disk.pending.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let disk = &mut *self.disk();
        if let Some(errno) = disk.step(Kind::Changes) {
            return Err(errno.error());
        }
        disk.file_at(path)?;
        let change = NameChange::Remove(path.to_path_buf());
        change.clone().apply(&mut disk.names);
        disk.pending.push(change);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = &mut *self.disk();
        if let Some(errno) = disk.step(Kind::Looks) {
            return Err(errno.error());
        }
        if !disk.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let disk = &mut *self.disk();
        if let Some(errno) = disk.step(Kind::Changes) {
            return Err(errno.error());
        }
        let (inside, outside) = std::mem::take(&mut disk.pending)
            .into_iter()
            .partition(|change| change.is_in(dir));
        disk.pending = outside;
        let inside: Vec<NameChange> = inside;
        for change in inside {
            change.apply(&mut disk.durable_names);
        }
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let disk = &mut *self.disk();
        if let Some(errno) = disk.step(Kind::Changes) {
            return Err(errno.error());
        }
        disk.dirs.extend(dir.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        match self.disk().step(Kind::Looks) {
            Some(errno) => Err(errno.error()),
            None => Ok(1 << 40),
        }
    }
}

#[derive(Debug)]
struct SimHandle {
    disk: SimVfs,
    file: u64,
    handle: u64,
    boot: u64,
    access: Access,
}

impl SimHandle {
    fn with<T>(
        &self,
        kind: Kind,
        act: impl FnOnce(&mut SimFile, Option<Errno>) -> io::Result<T>,
    ) -> io::Result<T> {
        let disk = &mut *self.disk.disk();
        if disk.boot != self.boot {
            return Err(Errno::Eio.error());
        }
        if kind == Kind::Changes && self.access == Access::Read {
            return Err(io::Error::from_raw_os_error(9));
        }
        let errno = disk.step(kind);
        let file = disk
            .files
            .get_mut(&self.file)
            .ok_or_else(|| Errno::Eio.error())?;
        act(file, errno)
    }
}

impl VfsFile for SimHandle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(Kind::Looks, |file, errno| {
            if let Some(errno) = errno {
                return Err(errno.error());
            }
            let start = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(file.bytes.len());
            let n = buf.len().min(file.bytes.len() - start);
            buf[..n].copy_from_slice(&file.bytes[start..start + n]);
            Ok(n)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset =
            usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.with(Kind::Changes, |file, errno| {
            let written = match errno {
                None => bytes.len(),
                Some(Errno::Erofs) => 0,
                Some(_) => bytes.len() / 2,
            };
            file.write(&bytes[..written], offset);
            errno.map_or(Ok(()), |errno| Err(errno.error()))
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(Kind::Changes, |file, errno| {
            if let Some(errno) = errno {
                file.dirty.clear();
                return Err(errno.error());
            }
            file.sync();
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.with(Kind::Changes, |file, errno| {
            if let Some(errno) = errno {
                return Err(errno.error());
            }
            let changed = file.bytes.len().min(len)..file.bytes.len().max(len);
            file.bytes.resize(len, 0);
            file.dirty
                .extend(changed.start / SECTOR..changed.end.div_ceil(SECTOR));
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(Kind::Looks, |file, errno| match errno {
            Some(errno) => Err(errno.error()),
            None => Ok(file.bytes.len() as u64),
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        let handle = self.handle;
        self.with(Kind::Looks, |file, errno| match errno {
            Some(errno) => Err(errno.error()),
            None => Ok(*file.locked_by.get_or_insert(handle) == handle),
        })
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        let disk = &mut *self.disk.disk();
        if let Some(file) = disk.files.get_mut(&self.file)
            && file.locked_by == Some(self.handle)
        {
            file.locked_by = None;
        }
    }
}

/// Sebastiano Vigna's SplitMix64: small, seeded, and the same on every machine.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
