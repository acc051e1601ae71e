//! What can be wrong with a journal, named so that an operator knows which file and where.
//!
//! **Not here**: deciding what is damage and what is a torn tail (`recover`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::vfs::Refused;

/// A place in a file whose content cannot be what was written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The first byte that cannot be trusted.
    pub offset: u64,
    /// What is wrong there.
    pub kind: DamageKind,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at byte {}: {}",
            self.file.display(),
            self.offset,
            self.kind
        )
    }
}

impl std::error::Error for Damage {}

/// What is wrong at the place a [`Damage`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// The file does not begin as such a file does.
    #[error("not a file of this kind")]
    Magic,
    /// A newer program wrote the file.
    #[error("format version {found} is newer than this program's {known}; start the newer program")]
    NewerFormat {
        /// The version in the file.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// The file belongs to another installation.
    #[error("belongs to another installation")]
    ForeignInstallation,
    /// A checksum does not match.
    #[error("checksum does not match")]
    Checksum,
    /// A length cannot be right: larger than the limit, than the file, or than what encloses it.
    #[error("a length of {found} bytes cannot be right")]
    Length {
        /// The length that was read.
        found: u64,
    },
    /// The hash chain does not continue from what lies before.
    #[error("the hash chain breaks")]
    Chain,
    /// A record has another number than its place asks for.
    #[error("record number {found} where {expected} belongs")]
    RecordNumber {
        /// The number that was read.
        found: u64,
        /// The number that belongs there.
        expected: u64,
    },
    /// A file has another number inside than in its name.
    #[error("is number {found} inside: renamed or copied")]
    Renamed {
        /// The number inside.
        found: u64,
    },
    /// Bytes that should still be zero are not.
    #[error("bytes that were never written are not zero")]
    NotZero,
    /// The journal ends before the position mark: synced records are gone.
    #[error("the journal ends at record {found}, but record {marked} was synced")]
    EndsBeforeMark {
        /// The last record found.
        found: u64,
        /// The last record known to have been synced.
        marked: u64,
    },
    /// A segment ends before its successor begins: it was cut, or an older copy took its place.
    #[error("ends at record {found}, but the next segment begins at {next}")]
    EndsEarly {
        /// The last record found.
        found: u64,
        /// The first record of the next segment.
        next: u64,
    },
    /// There are records after the mark of a clean close.
    #[error("record {found} lies after the clean close at record {marked}")]
    AfterCleanMark {
        /// The last record found.
        found: u64,
        /// The last record at the close.
        marked: u64,
    },
    /// A file that must be there is not.
    #[error("is missing")]
    Missing,
    /// Both copies of something kept twice are unusable; the offset is in the first.
    #[error("both copies are damaged, the second at byte {other_offset}")]
    BothCopies {
        /// The first bad byte of the second copy.
        other_offset: u64,
    },
    /// The name leads to something that is never opened.
    #[error("{0}")]
    Refused(Refused),
    /// A file ends in the middle of something.
    #[error("ends too early")]
    Truncated,
    /// A name in the directory that does not belong to the journal, or more files than are ever written.
    #[error("does not belong here")]
    Unexpected,
}

/// Why a journal operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The operating system refused.
    #[error("{operation} {}: {source}", file.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        file: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The files on disk are not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// Another process works on this directory.
    #[error("{} is held by {holder}", file.display())]
    Locked {
        /// The lock file.
        file: PathBuf,
        /// The holder's process id, 0 when the file does not say.
        process_id: u32,
        /// What the holder wrote into it: its process id and socket.
        holder: String,
    },
    /// An earlier write or sync failed: what the disk holds is in doubt until the journal is opened again.
    #[error("an earlier write to the journal failed ({cause}); it must be opened again")]
    Poisoned {
        /// The earlier failure.
        cause: String,
    },
    /// A group is larger than a segment or than [`super::GROUP_BYTES_MAX`], or empty.
    #[error(
        "a group of {records} records and {bytes} bytes cannot be written; the limit is {limit} bytes"
    )]
    GroupSize {
        /// Records in the group.
        records: usize,
        /// Bytes it would take.
        bytes: u64,
        /// The most that fits.
        limit: u64,
    },
    /// The record was dropped when its retention ended.
    #[error("record {record} was dropped when its retention ended; the journal begins at {first}")]
    Dropped {
        /// The record asked for.
        record: u64,
        /// The first record still there.
        first: u64,
    },
    /// The record is not synced yet, or never was written.
    #[error("record {record} is not in the journal, which ends at {last}")]
    NotYet {
        /// The record asked for.
        record: u64,
        /// The last synced record.
        last: u64,
    },
    /// Segments may go only when a checkpoint covers them.
    #[error("records before {before} cannot be dropped: checkpoints cover up to {covered}")]
    NotCovered {
        /// The first record that was to stay.
        before: u64,
        /// The last record a checkpoint covers; 0 for none.
        covered: u64,
    },
}

/// Adds the operation and the file to an I/O error, and turns a refusal to open into damage.
pub(crate) fn io_error(
    operation: &'static str,
    file: &Path,
) -> impl FnOnce(io::Error) -> JournalError {
    let file = file.to_path_buf();
    move |source| match Refused::of(&source) {
        Some(refused) => Damage {
            file,
            offset: 0,
            kind: DamageKind::Refused(refused),
        }
        .into(),
        None => JournalError::Io {
            operation,
            file,
            source,
        },
    }
}

/// Makes a [`JournalError::Damage`].
pub(crate) fn damage(file: &Path, offset: u64, kind: DamageKind) -> JournalError {
    Damage {
        file: file.to_path_buf(),
        offset,
        kind,
    }
    .into()
}
