//! The position mark: which record was synced last, kept beside the journal so that a lost tail is noticed.
//!
//! **Invariants**
//! - The file has two slots. Between two syncs only one of them is written, the other holds the last synced mark,
//!   so a power cut never takes both.
//! - Of two whole slots the one with the higher generation counts.
//! - After opening and after a clean close both slots say the same: damage to one cannot bring back an older truth.
//!
//! **Not here**: comparing the mark with the journal (`recover`).
//!
//! **Failure**: an I/O error goes to the journal, which is then poisoned.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::{Damage, DamageKind, JournalError, damage, io_error};
use super::format::{
    Chain, FORMAT_VERSION, InstallationId, array_at, check_preamble, crc, u32_at, u64_at,
};
use crate::vfs::{self, Access, Vfs, VfsFile};

pub(super) const MARK_FILE: &str = "mark";
const MAGIC: &[u8; 8] = b"BURSARMK";
// One sector, so that a disk writes a slot whole or not at all.
const SLOT_BYTES: usize = 512;
// Slots lie a page apart: rewriting one can tear nothing of the other on a disk with 4 KiB sectors.
const SLOT_EVERY: usize = 4096;
pub(super) const MARK_BYTES: usize = SLOT_EVERY + SLOT_BYTES;
const CLEAN: u32 = 1;

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub installation: InstallationId,
    pub generation: u64,
    /// The highest synced record, 0 for none, with its chain and the place where its group ends.
    pub record: u64,
    pub chain: Chain,
    pub segment: u64,
    pub end: u64,
    /// The first segment that retention has kept, and the chain it continues from.
    pub first_segment: u64,
    pub first_chain: Chain,
    /// Whether the journal was closed with everything synced.
    pub clean: bool,
}

impl Mark {
    pub(super) fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        out[0..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&(if self.clean { CLEAN } else { 0 }).to_le_bytes());
        out[16..32].copy_from_slice(&self.installation.0);
        out[32..40].copy_from_slice(&self.generation.to_le_bytes());
        out[40..48].copy_from_slice(&self.record.to_le_bytes());
        out[48..80].copy_from_slice(&self.chain);
        out[80..88].copy_from_slice(&self.segment.to_le_bytes());
        out[88..96].copy_from_slice(&self.end.to_le_bytes());
        out[96..104].copy_from_slice(&self.first_segment.to_le_bytes());
        out[104..136].copy_from_slice(&self.first_chain);
        let sum = crc(&[&out[..SLOT_BYTES - 4]]);
        out[SLOT_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, (u64, DamageKind)> {
        check_preamble(bytes, MAGIC, SLOT_BYTES)?;
        Ok(Self {
            installation: InstallationId(array_at(bytes, 16)),
            generation: u64_at(bytes, 32),
            record: u64_at(bytes, 40),
            chain: array_at(bytes, 48),
            segment: u64_at(bytes, 80),
            end: u64_at(bytes, 88),
            first_segment: u64_at(bytes, 96),
            first_chain: array_at(bytes, 104),
            clean: u32_at(bytes, 12) & CLEAN != 0,
        })
    }
}

/// The whole file with the same mark in both slots.
pub(super) fn file_of(mark: Mark) -> Vec<u8> {
    let slot = mark.encode();
    [&slot[..], &[0; SLOT_EVERY - SLOT_BYTES], &slot].concat()
}

/// A mark as found on disk.
#[derive(Debug)]
pub(super) struct Found {
    pub mark: Mark,
    slot: usize,
    /// The other slot, when it cannot be read.
    pub damaged_slot: Option<Damage>,
}

/// Reads the mark; `None` when there is no such file.
pub(super) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Found>, JournalError> {
    let path = dir.join(MARK_FILE);
    let file = match vfs.open(&path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("opening", &path)(error)),
    };
    let len = file.size().map_err(io_error("measuring", &path))?;
    if len != MARK_BYTES as u64 {
        return Err(damage(&path, len, DamageKind::Length { found: len }));
    }
    let mut bytes = vec![0; MARK_BYTES];
    vfs::read_full(&*file, &mut bytes, 0).map_err(io_error("reading", &path))?;
    let gap = bytes[SLOT_BYTES..SLOT_EVERY]
        .iter()
        .position(|byte| *byte != 0);
    if let Some(at) = gap {
        return Err(damage(&path, (SLOT_BYTES + at) as u64, DamageKind::NotZero));
    }
    let slots = [
        Mark::decode(&bytes[..SLOT_BYTES]),
        Mark::decode(&bytes[SLOT_EVERY..]),
    ];
    let place = |slot: usize, (offset, kind)| Damage {
        file: path.clone(),
        offset: offset + (slot * SLOT_EVERY) as u64,
        kind,
    };
    for (slot, found) in slots.iter().enumerate() {
        if let Err(bad @ (_, DamageKind::NewerFormat { .. })) = *found {
            return Err(place(slot, bad).into());
        }
    }
    let (slot, mark, damaged_slot) = match slots {
        [Ok(a), Ok(b)] if a.generation >= b.generation => (0, a, None),
        [Ok(_), Ok(b)] => (1, b, None),
        [Ok(a), Err(bad)] => (0, a, Some(place(1, bad))),
        [Err(bad), Ok(b)] => (1, b, Some(place(0, bad))),
        [Err((offset, _)), Err((other, _))] => {
            let other_offset = other + SLOT_EVERY as u64;
            return Err(damage(
                &path,
                offset,
                DamageKind::BothCopies { other_offset },
            ));
        }
    };
    Ok(Some(Found {
        mark,
        slot,
        damaged_slot,
    }))
}

/// The mark file, open for writing.
#[derive(Debug)]
pub(super) struct MarkFile {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    pub mark: Mark,
    durable_slot: usize,
    unsynced: bool,
}

impl MarkFile {
    /// Creates the file with the same mark in both slots, durable.
    pub(super) fn create(vfs: &dyn Vfs, dir: &Path, mark: Mark) -> Result<Self, JournalError> {
        let path = dir.join(MARK_FILE);
        vfs::replace(vfs, dir, MARK_FILE, &file_of(mark)).map_err(io_error("creating", &path))?;
        let file = vfs
            .open(&path, Access::Write)
            .map_err(io_error("opening", &path))?;
        Ok(Self {
            path,
            file,
            mark,
            durable_slot: 0,
            unsynced: false,
        })
    }

    /// Opens the file that [`read`] found.
    pub(super) fn open(vfs: &dyn Vfs, dir: &Path, found: &Found) -> Result<Self, JournalError> {
        let path = dir.join(MARK_FILE);
        let file = vfs
            .open(&path, Access::Write)
            .map_err(io_error("opening", &path))?;
        Ok(Self {
            path,
            file,
            mark: found.mark,
            durable_slot: found.slot,
            unsynced: false,
        })
    }

    /// Writes a mark into the slot that is not the last synced one. Durable after [`Self::sync`].
    pub(super) fn write(&mut self, mark: Mark) -> Result<(), JournalError> {
        let mark = Mark {
            generation: self.mark.generation + 1,
            ..mark
        };
        let offset = ((1 - self.durable_slot) * SLOT_EVERY) as u64;
        self.file
            .write_at(&mark.encode(), offset)
            .map_err(io_error("writing", &self.path))?;
        self.mark = mark;
        self.unsynced = true;
        Ok(())
    }

    /// Whether the last written mark is not durable.
    pub(super) fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// Makes the last written mark durable.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.unsynced {
            self.file
                .sync_data()
                .map_err(io_error("syncing", &self.path))?;
            self.durable_slot = 1 - self.durable_slot;
            self.unsynced = false;
        }
        Ok(())
    }

    /// Makes a mark durable in both slots, one after the other.
    pub(super) fn write_both(&mut self, mark: Mark) -> Result<(), JournalError> {
        for _ in 0..2 {
            self.write(mark)?;
            self.sync()?;
        }
        Ok(())
    }
}
