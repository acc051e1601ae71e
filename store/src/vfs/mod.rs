//! The few file operations the durable parts are built on, so that a test can stand where the disk stands.
//!
//! **Invariants**
//! - Files are created with mode 0600, directories with 0700.
//! - A symbolic link, a device, a pipe or a hard-linked file is never opened: [`Refused`] says which it was.
//! - Nothing here retries. A failed `sync_data` means the bytes since the last good one are in doubt, for ever.
//! - A new name (create, rename, remove) is durable only after [`Vfs::sync_dir`] on its directory.
//!
//! **Not here**: what the bytes mean (`journal`, `vault`).
//!
//! **Failure**: plain [`io::Error`]; callers add the file's name and the operation.
//!
//! **Source**: POSIX.1-2017 `fdatasync`, `rename`; Linux `open(2)` on `O_NOFOLLOW`.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

mod real;
mod sim;
#[cfg(test)]
mod tests;

pub use real::RealVfs;
pub use sim::{Errno, Fault, SimVfs};

/// A directory tree that can be made durable piece by piece.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Creates a new file (mode 0600) for reading and writing; fails when the name exists.
    ///
    /// # Errors
    /// Any I/O error; `AlreadyExists` when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn VfsFile>>;

    /// Opens an existing regular file for reading, and for writing too when asked.
    ///
    /// # Errors
    /// Any I/O error; an error wrapping [`Refused`] for links, devices and hard-linked files.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn VfsFile>>;

    /// Renames a file over whatever has the new name.
    ///
    /// # Errors
    /// Any I/O error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// Any I/O error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Lists the names in a directory, sorted.
    ///
    /// # Errors
    /// Any I/O error; `InvalidData` for a name that is not UTF-8.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Any I/O error.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Creates a directory (mode 0700) with its missing parents, names durable; one that exists is fine.
    ///
    /// # Errors
    /// Any I/O error, also when the name is not a directory.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Gives the bytes an unprivileged process may still write on the directory's file system.
    ///
    /// # Errors
    /// Any I/O error.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. Reads and writes name their offset, so a handle may be shared between threads.
pub trait VfsFile: Send + Sync + fmt::Debug {
    /// Reads up to `buf.len()` bytes; 0 means the end of the file.
    ///
    /// # Errors
    /// Any I/O error.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes`; after an error any part of them may have been written.
    ///
    /// # Errors
    /// Any I/O error.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the content and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// Any I/O error, after which nothing written since the last success may be believed.
    fn sync_data(&self) -> io::Result<()>;

    /// Sets the length; new bytes are zero.
    ///
    /// # Errors
    /// Any I/O error.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Gives the length in bytes.
    ///
    /// # Errors
    /// Any I/O error.
    fn size(&self) -> io::Result<u64>;

    /// Tries to take the exclusive lock that lives as long as this handle; false when another has it.
    ///
    /// # Errors
    /// Any I/O error.
    fn try_lock(&self) -> io::Result<bool>;
}

/// What an opened file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// Why a name was not opened although it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A symbolic link: it may point out of the data directory.
    #[error("is a symbolic link")]
    SymbolicLink,
    /// More than one name leads to the file: a second writer may exist.
    #[error("has more than one hard link")]
    HardLink,
    /// A directory, device, pipe or socket.
    #[error("is not a regular file")]
    NotAFile,
}

impl Refused {
    /// Finds the refusal inside an I/O error of [`Vfs::open`].
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(io::ErrorKind::InvalidInput, refused)
    }
}

/// Reads exactly `buf.len()` bytes, or as many as the file has from `offset` on.
///
/// # Errors
/// Any I/O error.
pub fn read_full(file: &dyn VfsFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Writes a whole new file under a temporary name, makes it durable, and puts it in place of `name`.
///
/// A crash leaves the old file or the new one, and perhaps `<name>.tmp`, which readers ignore and remove.
///
/// # Errors
/// Any I/O error; the old file is then still in place unless the last directory sync was what failed.
pub fn replace(vfs: &dyn Vfs, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}{TEMPORARY}"));
    let file = create_over(vfs, &temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    vfs.rename(&temporary, &dir.join(name))?;
    vfs.sync_dir(dir)
}

/// Creates a file, removing the leftover of an earlier attempt if there is one.
///
/// # Errors
/// Any I/O error.
pub fn create_over(vfs: &dyn Vfs, path: &Path) -> io::Result<Arc<dyn VfsFile>> {
    match vfs.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            vfs.remove(path)?;
            vfs.create(path)
        }
        other => other,
    }
}

/// The ending of a file that is still being written.
pub const TEMPORARY: &str = ".tmp";
