//! The lock that keeps a second process out of a data directory.
//!
//! **Invariants**: the operating system holds the lock, not the file's existence, so a killed process leaves nothing
//! that must be removed by hand. The file's text only tells people who holds it.
//!
//! **Failure**: [`JournalError::Locked`] with what the holder wrote.

use std::path::Path;
use std::sync::Arc;

use super::damage::{JournalError, io_error};
use crate::vfs::{self, Access, Vfs, VfsFile};

const LOCK_FILE: &str = "lock";
const HOLDER_PREFIX: &str = "process ";
// Enough for a process id and the longest socket path Linux allows (108 bytes).
const HOLDER_BYTES_MAX: usize = 256;

/// The exclusive right to a data directory, given back when dropped or when the process dies.
#[derive(Debug)]
pub struct DirLock {
    _file: Arc<dyn VfsFile>,
}

impl DirLock {
    /// Takes the lock of `dir` (which is created when missing) and writes who holds it.
    ///
    /// # Errors
    /// [`JournalError::Locked`] when another process has it; [`JournalError::Io`].
    pub fn acquire(
        vfs: &dyn Vfs,
        dir: &Path,
        process_id: u32,
        socket: &Path,
    ) -> Result<Self, JournalError> {
        vfs.create_dir(dir).map_err(io_error("creating", dir))?;
        let path = dir.join(LOCK_FILE);
        let file = match vfs.open(&path, Access::Write) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => vfs.create(&path),
            other => other,
        };
        let file = file.map_err(io_error("opening", &path))?;
        if !file.try_lock().map_err(io_error("locking", &path))? {
            let mut text = vec![0; HOLDER_BYTES_MAX];
            let read = vfs::read_full(&*file, &mut text, 0).map_err(io_error("reading", &path))?;
            let holder = String::from_utf8_lossy(&text[..read]).trim().to_owned();
            let process_id = holder
                .strip_prefix(HOLDER_PREFIX)
                .and_then(|rest| rest.split(',').next()?.parse().ok())
                .unwrap_or(0);
            return Err(JournalError::Locked {
                file: path,
                process_id,
                holder,
            });
        }
        let mut holder = format!("{HOLDER_PREFIX}{process_id}, socket {}\n", socket.display());
        let cut = holder.floor_char_boundary(HOLDER_BYTES_MAX);
        holder.truncate(cut);
        file.set_len(0)
            .and_then(|()| file.write_at(holder.as_bytes(), 0))
            .map_err(io_error("writing", &path))?;
        Ok(Self { _file: file })
    }
}
