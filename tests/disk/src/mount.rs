//! The disk as the kernel sees it.

use crate::model::{Body, Disk, Errno, File, Kind, Node, Plan, ROOT};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nobody else changes this file system.
const TTL: Duration = Duration::from_secs(3_600);
const SOCKET: u32 = 0o140_000;
const KIND_BITS: u32 = 0o170_000;
const BLOCK: u32 = 4_096;
/// 64 GiB, all free: fullness is a plan, not a state.
const BLOCKS: u64 = 16 << 20;

/// A mounted disk; unmounted when dropped.
pub struct PowerDisk {
    disk: Arc<Mutex<Disk>>,
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl PowerDisk {
    /// Mounts an empty disk at a folder.
    ///
    /// # Errors
    /// Nothing can be mounted here.
    pub fn mount(at: &Path) -> io::Result<Self> {
        let mut disk = Self {
            disk: Arc::new(Mutex::new(Disk::new())),
            at: at.to_owned(),
            session: None,
        };
        disk.attach()?;
        Ok(disk)
    }

    fn attach(&mut self) -> io::Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("powerdisk".to_owned())];
        let mounted = Mounted(Arc::clone(&self.disk));
        self.session = Some(fuser::spawn_mount(mounted, &self.at, &config)?);
        Ok(())
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders what happens to come, or nothing.
    pub fn plan(&self, plan: Option<Plan>) {
        self.disk().plan(plan);
    }

    /// Operations since the last plan that changed the disk or opened something.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Operations that were made to fail since the last plan.
    pub fn failed(&self) -> u64 {
        self.disk().failed
    }

    /// Whether the power is gone.
    pub fn is_cut(&self) -> bool {
        self.disk().is_cut
    }

    /// Takes the power away, if the plan did not.
    pub fn cut(&self, tear: bool, seed: u64) {
        self.disk().cut(tear, seed);
    }

    /// Unmounts and mounts what survived, caches gone. The process must have ended. Answers how many files
    /// kept a part of what was not synced.
    ///
    /// # Errors
    /// Somebody still uses it, or the power was never gone.
    pub fn power_on(&mut self) -> io::Result<u64> {
        if let Some(session) = self.session.take() {
            session.umount_and_join()?;
        }
        let (survivor, torn) = {
            let mut disk = self.disk();
            (disk.survivor(), disk.torn)
        };
        let survivor = survivor.ok_or_else(|| io::Error::other("the power was never gone"))?;
        self.disk = Arc::new(Mutex::new(survivor));
        self.attach()?;
        Ok(torn)
    }
}

struct Mounted(Arc<Mutex<Disk>>);

impl Mounted {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn code(errno: Errno) -> fuser::Errno {
    match errno {
        Errno::Enospc => fuser::Errno::ENOSPC,
        Errno::Erofs => fuser::Errno::EROFS,
        Errno::Eio => fuser::Errno::EIO,
        Errno::Emfile => fuser::Errno::EMFILE,
    }
}

fn attr(number: u64, node: &Node) -> FileAttr {
    let (kind, size) = match &node.body {
        Body::File(file) => (FileType::RegularFile, file.bytes.len() as u64),
        Body::Folder(_) => (FileType::Directory, 0),
        Body::Special => (FileType::Socket, 0),
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: u16::try_from(node.mode & 0o7777).unwrap_or(0o600),
        nlink: node.links,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// Answers an entry: the number it has, or why not.
fn entry(disk: &Disk, found: Result<Option<u64>, Errno>, reply: ReplyEntry) {
    match found.map(|number| Some((number?, disk.nodes.get(&number?)?))) {
        Ok(Some((number, node))) => reply.entry(&TTL, &attr(number, node), Generation(0)),
        Ok(None) => reply.error(fuser::Errno::ENOENT),
        Err(errno) => reply.error(code(errno)),
    }
}

fn empty(done: Result<Option<u64>, Errno>, reply: ReplyEmpty) {
    match done {
        Ok(Some(_)) => reply.ok(),
        Ok(None) => reply.error(fuser::Errno::ENOENT),
        Err(errno) => reply.error(code(errno)),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let disk = self.disk();
        let found = disk.look().map(|()| disk.find(parent.0, name));
        entry(&disk, found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let disk = self.disk();
        match (disk.look(), disk.nodes.get(&ino.0)) {
            (Err(errno), _) if ino.0 != ROOT => reply.error(code(errno)),
            (_, Some(node)) => reply.attr(&TTL, &attr(ino.0, node)),
            _ => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.disk();
        if let Err(errno) = disk.step(Kind::Changes) {
            return reply.error(code(errno));
        }
        if let (Some(size), Some(file)) = (size, disk.file(ino.0)) {
            file.set_len(usize::try_from(size).unwrap_or(usize::MAX));
        }
        let Some(node) = disk.nodes.get_mut(&ino.0) else {
            return reply.error(fuser::Errno::ENOENT);
        };
        node.mode = mode.unwrap_or(node.mode);
        reply.attr(&TTL, &attr(ino.0, node));
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let mut disk = self.disk();
        let body = match mode & KIND_BITS {
            SOCKET => Body::Special,
            _ => Body::File(File::default()),
        };
        let made = disk.step(Kind::Changes);
        let made = made.map(|()| disk.make(parent.0, name, body, mode));
        entry(&disk, made, reply);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let mut disk = self.disk();
        let body = Body::Folder(BTreeMap::new());
        let made = disk.step(Kind::Changes);
        let made = made.map(|()| disk.make(parent.0, name, body, mode));
        entry(&disk, made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut disk = self.disk();
        let done = disk.step(Kind::Changes);
        empty(done.map(|()| disk.unmake(parent.0, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut disk = self.disk();
        let number = disk.find(parent.0, name);
        let is_full = number.and_then(|number| disk.entries(number));
        if is_full.is_some_and(|entries| !entries.is_empty()) {
            return reply.error(fuser::Errno::ENOTEMPTY);
        }
        let done = disk.step(Kind::Changes);
        empty(done.map(|()| disk.unmake(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(fuser::Errno::EINVAL);
        }
        let mut disk = self.disk();
        let done = disk.step(Kind::Changes);
        let done = done.map(|()| disk.rename((parent.0, name), (newparent.0, newname)));
        empty(done, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk().step(Kind::Opens) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = self.disk();
        let made = disk
            .step(Kind::Opens)
            .and_then(|()| disk.step(Kind::Changes));
        if let Err(errno) = made {
            return reply.error(code(errno));
        }
        let body = Body::File(File::default());
        let made = disk.make(parent.0, name, body, mode);
        match made.and_then(|number| Some((number, disk.nodes.get(&number)?))) {
            Some((number, node)) => reply.created(
                &TTL,
                &attr(number, node),
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut disk = self.disk();
        if let Err(errno) = disk.look() {
            return reply.error(code(errno));
        }
        let Some(file) = disk.file(ino.0) else {
            return reply.error(fuser::Errno::ENOENT);
        };
        let end = file.bytes.len();
        let from = usize::try_from(offset).unwrap_or(end).min(end);
        let to = from.saturating_add(size as usize).min(end);
        reply.data(&file.bytes[from..to]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut disk = self.disk();
        if let Err(errno) = disk.step(Kind::Changes) {
            return reply.error(code(errno));
        }
        let Some(file) = disk.file(ino.0) else {
            return reply.error(fuser::Errno::ENOENT);
        };
        file.write(data, usize::try_from(offset).unwrap_or(usize::MAX));
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut disk = self.disk();
        let step = disk.step(Kind::Changes);
        let Some(file) = disk.file(ino.0) else {
            return reply.error(fuser::Errno::ENOENT);
        };
        match step {
            Ok(()) => {
                file.sync();
                reply.ok();
            }
            Err(errno) => {
                file.forget();
                reply.error(code(errno));
            }
        }
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk().step(Kind::Opens) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let disk = self.disk();
        if let Err(errno) = disk.look() {
            return reply.error(code(errno));
        }
        let Some(entries) = disk.entries(ino.0) else {
            return reply.error(fuser::Errno::ENOTDIR);
        };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, (name, number)) in entries.iter().enumerate().skip(skip) {
            let kind = disk.nodes.get(number).map(|node| attr(*number, node).kind);
            let kind = kind.unwrap_or(FileType::RegularFile);
            if reply.add(INodeNo(*number), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut disk = self.disk();
        match disk.step(Kind::Changes) {
            Ok(()) => {
                disk.sync_folder(ino.0);
                reply.ok();
            }
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }
}
