//! The journal: everything that must not be lost, in order, in files of our own.
//!
//! One directory holds `0000000001.segment`, `0000000002.segment`, …, the file `mark`, and checkpoints
//! (`<record, 20 digits>.checkpoint`). All numbers are little-endian; CRC is CRC-32 (IEEE 802.3).
//!
//! ```text
//! segment   0    8  magic "BURSARJL"          group      0   4  magic "BGRP"
//!           8    4  format version = 1                   4   4  CRC of installation id, segment u64,
//!           12   4  zero                                        offset u64, bytes 8..64
//!           16  16  installation id                      8   4  body length, a multiple of 8
//!           32   8  segment number, from 1               12  4  records in the body, at least 1
//!           40   8  first record number                  16  8  first record number
//!           48  32  chain before that record             24  8  highest record synced when written
//!           80 428  zero                                 32 32  chain after this group
//!           508  4  CRC of bytes 0..508                  64  …  body: records
//!           512  …  groups, then zeros
//!
//! record    0    4  payload length            mark       two slots, at 0 and 4096, zeros between:
//!           4    4  CRC of number u64,                   0   8  magic "BURSARMK"
//!                   length u64, payload                  8   4  format version = 1
//!           8    8  record number                        12  4  bit 0: closed cleanly
//!           16   …  payload, zeros up to a               16 16  installation id
//!                   multiple of 8                        32  8  generation; the higher slot counts
//!                                                        40  8  highest synced record
//! checkpoint                                             48 32  chain after it
//!           0    8  magic "BURSARCP"                     80  8  segment, 88 8 offset where it ends
//!           8    4  format version = 1                   96  8  first segment kept by retention
//!           16  16  installation id                      104 32 chain before that segment
//!           32   8  record, 40 32 chain after it         136 …  zero
//!           88   4  CRC of bytes 0..88                   508 4  CRC of bytes 0..508
//!           92   …  pieces: length u32, CRC of piece number u64 + length u32 + bytes, bytes
//!           end 48  0xFFFFFFFF, zero u32, pieces u64, SHA-256 of bytes 92.. up to here, then of bytes 0..92
//! ```
//!
//! The chain is `SHA-256(chain before ‖ group bytes 8..32 ‖ body)`; before record 1 it is
//! `SHA-256("bursar journal" ‖ installation id)`. One hash per group: every byte is covered and small records do not
//! pay for a hash each.
//!
//! **Invariants**
//! - Records are numbered from 1 without gaps, across segments. A group is whole or it is not there.
//! - A segment is created whole under a temporary name (header and zeros, synced), renamed, and its directory synced.
//!   Groups are written over zeros that were written before, so `fdatasync` has no metadata to store.
//! - After the last group of a segment every byte up to the end of the file is zero. In a segment that has a
//!   successor, and in any segment after a clean close, anything else is damage. In the last segment after an
//!   unclean stop it is a torn tail: cut, zeroed, synced, reported.
//! - The tail is not torn but damaged, and the journal is refused, when it begins before the mark, or when a later
//!   group was written knowing the unreadable one as synced (bytes 24..32).
//! - The mark is written after every synced group and synced every 100 ms: exact after a kill, at most 100 ms old
//!   after a power cut. Damage inside those last 100 ms, in the very last group, cannot be told from a torn write.
//!
//! **Not here**: what records mean, who may append (`committer`), the keys of what is encrypted in them (`vault`).
//!
//! **Failure**: [`JournalError::Damage`] names file and offset and is never worked around in silence. A failed write
//! or sync poisons the writer; what was answered before stays durable, what was not may be there or not after the
//! next open. Disk full is noticed before a group is written and leaves the journal usable.
//!
//! **Source**: `fdatasync(2)`; LWN "PostgreSQL's fsync() surprise" (2018) on failed syncs losing dirty pages.

use std::path::Path;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

mod checkpoint;
pub(crate) mod cut;
mod damage;
mod format;
mod lock;
mod mark;
mod probe;
mod read;
mod recover;
mod retain;
mod scan;
pub(crate) mod survey;
#[cfg(test)]
mod tests;
mod writer;

pub use checkpoint::{CHECKPOINT_PIECE_BYTES_MAX, Checkpoint, CheckpointWriter, Pieces};
pub use damage::{Damage, DamageKind, JournalError};
pub(crate) use damage::{damage, io_error};
pub use format::{Chain, InstallationId, Position};
pub(crate) use format::{array_at, check_preamble, crc, sha256, u32_at, u64_at};
pub use lock::DirLock;
pub use probe::{Probe, probe};
pub use read::{Reads, Record, Records};
pub use recover::{Cut, OpenReport};
pub use retain::{Checkpoints, Covered};
pub use writer::{Head, Journal};

/// The most a group may take on disk; also what a reader holds in memory at most.
pub const GROUP_BYTES_MAX: u64 = 16 << 20;
/// The largest segment that is ever written; a larger file is not one of ours.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The most segments one directory may hold; their list is kept in memory.
pub const SEGMENTS_MAX: usize = 1_000_000;
/// How old the mark on disk may become after a power cut.
pub const MARK_SYNC_INTERVAL_MS: u64 = 100;

/// How a journal is laid out and opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// Size of a segment in bytes, within 4 KiB and 1 GiB.
    pub segment_bytes: u64,
    /// How much is filled with zeros at a time.
    pub zero_chunk_bytes: u64,
    /// How much of the segment is filled ahead of the last group in quiet moments.
    pub room_ahead_bytes: u64,
    /// The installation whose journal this must be; `None` takes what is there, or a random one for a new journal.
    pub installation: Option<InstallationId>,
    /// How much is read before the journal opens, from its end back; older segments are believed by their headers until
    /// [`Reads::closed`] has read them. `u64::MAX`: all of it.
    pub read_bytes: u64,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            // 64 MiB: some 20,000 events, few files, and cheap to drop or copy whole.
            segment_bytes: 64 << 20,
            // 128 KiB: about twice a sync's time, which is what a group may have to wait for its room.
            zero_chunk_bytes: 128 << 10,
            // 4 MiB: a burst of a thousand events, and a fresh directory stays small.
            room_ahead_bytes: 4 << 20,
            installation: None,
            read_bytes: u64::MAX,
        }
    }
}

impl JournalSettings {
    fn within_limits(self) -> Self {
        Self {
            segment_bytes: self.segment_bytes.clamp(4096, SEGMENT_BYTES_MAX),
            zero_chunk_bytes: self.zero_chunk_bytes.clamp(512, SEGMENT_BYTES_MAX),
            ..self
        }
    }
}

fn random_installation(dir: &Path) -> Result<InstallationId, JournalError> {
    let mut id = [0; 16];
    SystemRandom::new().fill(&mut id).map_err(|_| {
        io_error("drawing random bytes for", dir)(std::io::Error::other("no randomness"))
    })?;
    Ok(InstallationId(id))
}
