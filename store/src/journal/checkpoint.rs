//! Checkpoints: the whole state at one record, in a file of its own with its digest.
//!
//! **Invariants**
//! - A checkpoint has its final name only when it is complete and durable (temporary name, sync, rename, directory
//!   sync). Half-written ones are removed when the journal is opened.
//! - It names the record it stands after and the chain there, so it can be held against the journal.
//! - It is read twice: once for its SHA-256, then piece by piece. Memory is bounded by one piece.
//!
//! **Not here**: what the pieces hold (`engine::export`), when to write one (`engine::keeper`), which of several is
//! used and what they allow to be dropped (`retain`).
//!
//! **Failure**: [`JournalError::Damage`] for any changed byte. A crash while one is written leaves its temporary name,
//! which the next opening of the journal removes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::Head;
use super::damage::{DamageKind, JournalError, damage, io_error};
use super::format::{
    FORMAT_VERSION, InstallationId, array_at, check_preamble, crc, u32_at, u64_at,
};
use crate::vfs::{self, Access, TEMPORARY, Vfs, VfsFile};

const MAGIC: &[u8; 8] = b"BURSARCP";
const HEADER_BYTES: usize = 92;
const TRAILER_BYTES: usize = 48;
/// The most a piece may hold; larger ones are refused when writing and when reading.
pub const CHECKPOINT_PIECE_BYTES_MAX: usize = 16 << 20;
const PIECE_HEADER_BYTES: usize = 8;
/// Stands where a piece's length would be, and begins the trailer.
const END: u32 = u32::MAX;
const ENDING: &str = ".checkpoint";
/// The name of the one being written, before its endings.
const UNFINISHED: &str = "unfinished";
/// Written bytes reach the disk this often, so that the journal's own syncs never wait for all of them.
const SYNC_EVERY_BYTES: u64 = 8 << 20;

/// The file name of a checkpoint.
pub(super) fn checkpoint_name(record: u64) -> String {
    format!("{record:020}{ENDING}")
}

/// Reads the record a checkpoint stands after from its file name.
pub(super) fn checkpoint_number(name: &str) -> Option<u64> {
    let record = name.strip_suffix(ENDING)?.parse().ok()?;
    (checkpoint_name(record) == name).then_some(record)
}

fn header(installation: InstallationId, head: Head) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[0..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    out[16..32].copy_from_slice(&installation.0);
    out[32..40].copy_from_slice(&head.record.to_le_bytes());
    out[40..72].copy_from_slice(&head.chain);
    let sum = crc(&[&out[..HEADER_BYTES - 4]]);
    out[HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// A checkpoint being written, piece by piece; the record it stands after is known at its end only.
pub struct CheckpointWriter {
    temporary: PathBuf,
    installation: InstallationId,
    file: Arc<dyn VfsFile>,
    digest: Context,
    at: u64,
    count: u64,
    synced_to: u64,
}

impl std::fmt::Debug for CheckpointWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckpointWriter")
            .field("temporary", &self.temporary)
            .field("pieces", &self.count)
            .finish_non_exhaustive()
    }
}

impl CheckpointWriter {
    /// Begins one under its temporary name, over the leftover of an earlier attempt.
    pub(super) fn begin(
        vfs: &dyn Vfs,
        dir: &Path,
        installation: InstallationId,
    ) -> Result<Self, JournalError> {
        let temporary = dir.join(format!("{UNFINISHED}{ENDING}{TEMPORARY}"));
        let file = vfs::create_over(vfs, &temporary).map_err(io_error("creating", &temporary))?;
        Ok(Self {
            temporary,
            installation,
            file,
            digest: Context::new(&SHA256),
            at: HEADER_BYTES as u64,
            count: 0,
            synced_to: 0,
        })
    }

    /// Writes the next piece.
    ///
    /// # Errors
    /// [`JournalError::GroupSize`] for a piece over [`CHECKPOINT_PIECE_BYTES_MAX`] or empty; [`JournalError::Io`].
    pub fn piece(&mut self, piece: &[u8]) -> Result<(), JournalError> {
        if piece.is_empty() || piece.len() > CHECKPOINT_PIECE_BYTES_MAX {
            let (bytes, limit) = (piece.len() as u64, CHECKPOINT_PIECE_BYTES_MAX as u64);
            return Err(JournalError::GroupSize {
                records: 1,
                bytes,
                limit,
            });
        }
        let len = u32::try_from(piece.len())
            .expect("was compared with the limit")
            .to_le_bytes();
        let sum = crc(&[&self.count.to_le_bytes(), &len, piece]).to_le_bytes();
        self.put(&[&len, &sum, piece])?;
        self.count += 1;
        if self.at - self.synced_to >= SYNC_EVERY_BYTES {
            self.file
                .sync_data()
                .map_err(io_error("syncing", &self.temporary))?;
            self.synced_to = self.at;
        }
        Ok(())
    }

    fn put(&mut self, parts: &[&[u8]]) -> Result<(), JournalError> {
        let bytes = parts.concat();
        self.digest.update(&bytes);
        self.file
            .write_at(&bytes, self.at)
            .map_err(io_error("writing", &self.temporary))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes trailer and header, makes everything durable, and gives the file its name.
    pub(super) fn finish(
        mut self,
        vfs: &dyn Vfs,
        dir: &Path,
        head: Head,
    ) -> Result<PathBuf, JournalError> {
        let count = self.count;
        self.put(&[&END.to_le_bytes(), &[0; 4], &count.to_le_bytes()])?;
        let header = header(self.installation, head);
        self.digest.update(&header);
        let (file, temporary) = (self.file, self.temporary);
        let seal = self.digest.finish();
        file.write_at(seal.as_ref(), self.at)
            .and_then(|()| file.write_at(&header, 0))
            .and_then(|()| bursar_domain::mutant!("M16", Ok(()), file.sync_data()))
            .map_err(io_error("writing", &temporary))?;
        let path = dir.join(checkpoint_name(head.record));
        bursar_domain::step!("KW15");
        vfs.rename(&temporary, &path)
            .map_err(io_error("renaming", &path))?;
        bursar_domain::step!("KW15");
        vfs.sync_dir(dir).map_err(io_error("syncing", dir))?;
        Ok(path)
    }

    /// Removes what was written so far.
    pub(super) fn abandon(self, vfs: &dyn Vfs) -> Result<(), JournalError> {
        vfs.remove(&self.temporary)
            .map_err(io_error("removing", &self.temporary))
    }
}

/// A checkpoint whose digest was checked when it was opened.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    head: Head,
    pieces: u64,
}

impl Checkpoint {
    /// Opens the checkpoint after `record` and checks all of it.
    ///
    /// # Errors
    /// [`JournalError::Damage`] when anything in it changed; [`JournalError::Io`].
    pub fn open(
        vfs: &dyn Vfs,
        dir: &Path,
        installation: InstallationId,
        record: u64,
    ) -> Result<Self, JournalError> {
        let path = dir.join(checkpoint_name(record));
        let file = vfs
            .open(&path, Access::Read)
            .map_err(io_error("opening", &path))?;
        let mut raw = [0; HEADER_BYTES];
        let read = vfs::read_full(&*file, &mut raw, 0).map_err(io_error("reading", &path))?;
        check_preamble(&raw[..read], MAGIC, HEADER_BYTES)
            .map_err(|(at, kind)| damage(&path, at, kind))?;
        if array_at(&raw, 16) != installation.0 {
            return Err(damage(&path, 16, DamageKind::ForeignInstallation));
        }
        let head = Head {
            record: u64_at(&raw, 32),
            chain: array_at(&raw, 40),
        };
        if head.record != record {
            return Err(damage(
                &path,
                32,
                DamageKind::Renamed { found: head.record },
            ));
        }
        let pieces = check_digest(&*file, &path, &raw)?;
        Ok(Self {
            path,
            file,
            head,
            pieces,
        })
    }

    /// Gives the record this checkpoint stands after, and the chain there.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Gives the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the pieces in order.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces {
            checkpoint: self,
            at: HEADER_BYTES as u64,
            next: 0,
        }
    }
}

/// Reads the file once, compares its last 32 bytes with the SHA-256 of the rest (the header comes last: it was written
/// last), and gives the piece count.
fn check_digest(
    file: &dyn VfsFile,
    path: &Path,
    header: &[u8; HEADER_BYTES],
) -> Result<u64, JournalError> {
    let len = file.size().map_err(io_error("measuring", path))?;
    if len < (HEADER_BYTES + TRAILER_BYTES) as u64 {
        return Err(damage(path, len, DamageKind::Truncated));
    }
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut at = HEADER_BYTES as u64;
    while at < len - 32 {
        let n = usize::try_from(len - 32 - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = vfs::read_full(file, &mut buffer[..n], at).map_err(io_error("reading", path))?;
        if read < n {
            return Err(damage(path, at + read as u64, DamageKind::Truncated));
        }
        digest.update(&buffer[..n]);
        at += n as u64;
    }
    digest.update(header);
    let mut trailer = [0; TRAILER_BYTES];
    vfs::read_full(file, &mut trailer, len - TRAILER_BYTES as u64)
        .map_err(io_error("reading", path))?;
    if digest.finish().as_ref() != &trailer[16..] {
        return Err(damage(path, len - 32, DamageKind::Checksum));
    }
    match u32_at(&trailer, 0) {
        END => Ok(u64_at(&trailer, 8)),
        _ => Err(damage(
            path,
            len - TRAILER_BYTES as u64,
            DamageKind::Truncated,
        )),
    }
}

/// The pieces of a checkpoint, in order.
#[derive(Debug)]
pub struct Pieces<'a> {
    checkpoint: &'a Checkpoint,
    at: u64,
    next: u64,
}

impl Iterator for Pieces<'_> {
    type Item = Result<Vec<u8>, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.checkpoint.pieces {
            return None;
        }
        let piece = self.read();
        self.next = if piece.is_ok() {
            self.next + 1
        } else {
            self.checkpoint.pieces
        };
        Some(piece)
    }
}

impl Pieces<'_> {
    fn read(&mut self) -> Result<Vec<u8>, JournalError> {
        let Checkpoint { path, file, .. } = self.checkpoint;
        let bad = |kind| damage(path, self.at, kind);
        let read = |buf: &mut [u8], at| {
            vfs::read_full(&**file, buf, at).map_err(io_error("reading", path))
        };
        let mut raw = [0; PIECE_HEADER_BYTES];
        if read(&mut raw, self.at)? < PIECE_HEADER_BYTES {
            return Err(bad(DamageKind::Truncated));
        }
        let len = u32_at(&raw, 0) as usize;
        if len == 0 || len > CHECKPOINT_PIECE_BYTES_MAX {
            return Err(bad(DamageKind::Length { found: len as u64 }));
        }
        let mut piece = vec![0; len];
        if read(&mut piece, self.at + PIECE_HEADER_BYTES as u64)? < len {
            return Err(bad(DamageKind::Truncated));
        }
        if crc(&[&self.next.to_le_bytes(), &raw[..4], &piece]) != u32_at(&raw, 4) {
            return Err(bad(DamageKind::Checksum));
        }
        self.at += (PIECE_HEADER_BYTES + len) as u64;
        Ok(piece)
    }
}
