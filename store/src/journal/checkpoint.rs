//! Checkpoints: the whole state at one record, in a file of its own with its digest.
//!
//! **Invariants**
//! - A checkpoint has its final name only when it is complete and durable (temporary name, sync, rename, directory
//!   sync). Half-written ones are removed when the journal is opened.
//! - It names the record it stands after and the chain there, so it can be held against the journal.
//! - It is read twice: once for its SHA-256, then piece by piece. Memory is bounded by one piece.
//!
//! **Not here**: what the pieces hold (`export`), when to write one (`committer`).
//!
//! **Failure**: a damaged checkpoint is passed over and reported by [`read_latest`]; the caller decides whether an
//! older one and a longer journal will do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::Head;
use super::damage::{Damage, DamageKind, JournalError, damage, io_error};
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

fn checkpoint_name(record: u64) -> String {
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

/// Writes a checkpoint for the state after `head` and gives its path once it is durable.
///
/// # Errors
/// [`JournalError::GroupSize`] for a piece over [`CHECKPOINT_PIECE_BYTES_MAX`] or empty, the pieces' own error, or
/// [`JournalError::Io`]; the checkpoint then does not exist.
pub fn write_checkpoint(
    vfs: &dyn Vfs,
    dir: &Path,
    installation: InstallationId,
    head: Head,
    pieces: impl Iterator<Item = Vec<u8>>,
) -> Result<PathBuf, JournalError> {
    let name = checkpoint_name(head.record);
    let path = dir.join(&name);
    let temporary = dir.join(format!("{name}{TEMPORARY}"));
    let file = vfs::create_over(vfs, &temporary).map_err(io_error("creating", &temporary))?;
    let mut digest = Context::new(&SHA256);
    let mut at = 0;
    let mut put = |parts: &[&[u8]]| -> std::io::Result<()> {
        let bytes = parts.concat();
        digest.update(&bytes);
        file.write_at(&bytes, at)?;
        at += bytes.len() as u64;
        Ok(())
    };
    put(&[&header(installation, head)]).map_err(io_error("writing", &temporary))?;
    let mut count = 0_u64;
    for piece in pieces {
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
        let sum = crc(&[&count.to_le_bytes(), &len, &piece]).to_le_bytes();
        put(&[&len, &sum, &piece]).map_err(io_error("writing", &temporary))?;
        count += 1;
    }
    put(&[&END.to_le_bytes(), &[0; 4], &count.to_le_bytes()])
        .map_err(io_error("writing", &temporary))?;
    let seal = digest.finish();
    file.write_at(seal.as_ref(), at)
        .and_then(|()| file.sync_data())
        .map_err(io_error("writing", &temporary))?;
    vfs.rename(&temporary, &path)
        .map_err(io_error("renaming", &path))?;
    vfs.sync_dir(dir).map_err(io_error("syncing", dir))?;
    Ok(path)
}

/// What [`read_latest`] found.
#[derive(Debug)]
pub struct Latest {
    /// The newest checkpoint that is whole.
    pub found: Option<Checkpoint>,
    /// Newer ones that are not, newest first.
    pub damaged: Vec<Damage>,
}

/// Finds the newest checkpoint whose every byte is as it was written and whose head `fits` the journal.
///
/// # Errors
/// [`JournalError::Io`]; [`JournalError::Damage`] only for a newer format or a foreign installation.
pub fn read_latest(
    vfs: &dyn Vfs,
    dir: &Path,
    installation: InstallationId,
    fits: impl Fn(Head) -> Result<bool, JournalError>,
) -> Result<Latest, JournalError> {
    let names = vfs.list(dir).map_err(io_error("listing", dir))?;
    let mut damaged = Vec::new();
    let mut records: Vec<u64> = names
        .iter()
        .filter_map(|name| checkpoint_number(name))
        .collect();
    records.sort_unstable();
    for record in records.into_iter().rev() {
        match Checkpoint::open(vfs, dir, installation, record) {
            Ok(found) if fits(found.head)? => {
                return Ok(Latest {
                    found: Some(found),
                    damaged,
                });
            }
            Ok(Checkpoint { path, .. }) => {
                damaged.push(Damage {
                    file: path,
                    offset: 40,
                    kind: DamageKind::Chain,
                });
            }
            Err(JournalError::Damage(damage)) if !is_not_ours(&damage) => damaged.push(damage),
            Err(error) => return Err(error),
        }
    }
    Ok(Latest {
        found: None,
        damaged,
    })
}

fn is_not_ours(damage: &Damage) -> bool {
    matches!(
        damage.kind,
        DamageKind::NewerFormat { .. } | DamageKind::ForeignInstallation
    )
}

/// Removes all checkpoints but the newest `keep`; gives the removed names.
///
/// # Errors
/// [`JournalError::Io`].
pub fn drop_old_checkpoints(
    vfs: &dyn Vfs,
    dir: &Path,
    keep: usize,
) -> Result<Vec<PathBuf>, JournalError> {
    let mut names = vfs.list(dir).map_err(io_error("listing", dir))?;
    names.retain(|name| checkpoint_number(name).is_some());
    names.truncate(names.len().saturating_sub(keep));
    let paths: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
    for path in &paths {
        vfs.remove(path).map_err(io_error("removing", path))?;
    }
    vfs.sync_dir(dir).map_err(io_error("syncing", dir))?;
    Ok(paths)
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
        let pieces = check_digest(&*file, &path)?;
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

/// Reads the file once, compares its last 32 bytes with the SHA-256 of the rest, and gives the piece count.
fn check_digest(file: &dyn VfsFile, path: &Path) -> Result<u64, JournalError> {
    let len = file.size().map_err(io_error("measuring", path))?;
    if len < (HEADER_BYTES + TRAILER_BYTES) as u64 {
        return Err(damage(path, len, DamageKind::Truncated));
    }
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    let mut at = 0;
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
