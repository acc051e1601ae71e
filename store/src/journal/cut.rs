//! A consistent cut of a journal that goes on being written: which files, and how many of their bytes count.
//!
//! **Invariants**
//! - The cut ends where the position mark says: everything up to there was synced, and nothing of it is written again.
//!   What lies behind it, a group half written among it, is left out.
//! - Segments that retention drops meanwhile are missed when they are opened, never silently: the cut is made again.
//!
//! **Not here**: what is done with the files (`backup`).
//!
//! **Failure**: [`JournalError`] as when opening.

use std::path::Path;

use super::JournalError;
use super::checkpoint::checkpoint_number;
use super::damage::io_error;
use super::mark::{self, MARK_FILE, Mark};
use super::scan::{segment_name, segment_number};
use super::{Chain, InstallationId};
use crate::vfs::{Access, Vfs};

/// One file of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CutFile {
    /// Its name in the journal's folder.
    pub(crate) name: String,
    /// How many of its bytes count.
    pub(crate) bytes: u64,
    /// Its length; everything behind `bytes` is zero.
    pub(crate) size: u64,
}

/// A journal up to a record.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) installation: InstallationId,
    /// The last record, and the chain after it.
    pub(crate) record: u64,
    pub(crate) chain: Chain,
    /// Segments and checkpoints.
    pub(crate) files: Vec<CutFile>,
    /// The mark that belongs to them: [`mark_bytes`](Self::mark_bytes).
    mark: Mark,
}

/// The name of the mark's file.
pub(crate) const MARK_NAME: &str = MARK_FILE;

/// Whether a file of this name may lie in a journal's folder.
pub(crate) fn is_journal_file(name: &str) -> bool {
    name == MARK_FILE || segment_number(name).is_some() || checkpoint_number(name).is_some()
}

/// Whether a file of a journal holds only what comes after a record, or was never finished.
pub(crate) fn comes_after(name: &str, last_segment: u64, last_record: u64) -> bool {
    segment_number(name).is_some_and(|number| number > last_segment)
        || checkpoint_number(name).is_some_and(|record| record > last_record)
}

/// Whether a name is a segment's.
pub(crate) fn is_segment(name: &str) -> bool {
    segment_number(name).is_some()
}

/// The name of a segment's file.
pub(crate) fn segment_file(number: u64) -> String {
    segment_name(number)
}

impl Cut {
    /// How many bytes of a segment are in the cut, if it is in it.
    pub(crate) fn end_of(&self, name: &str) -> Option<u64> {
        let one = self.files.iter().find(|one| one.name == name)?;
        segment_number(name).map(|_| one.bytes)
    }

    /// Looks at a journal, open or not.
    ///
    /// # Errors
    /// There is no mark (no journal was ever written here), or a file cannot be measured.
    pub(crate) fn of(vfs: &dyn Vfs, dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(MARK_FILE);
        let missing = || io_error("opening", &path)(std::io::ErrorKind::NotFound.into());
        let mark = mark::read(vfs, dir)?.ok_or_else(missing)?.mark;
        let size = |name: &str| {
            let path = dir.join(name);
            let file = vfs.open(&path, Access::Read);
            let file = file.map_err(io_error("opening", &path))?;
            file.size().map_err(io_error("measuring", &path))
        };
        let mut files = Vec::new();
        // Checkpoints first: one that is dropped meanwhile is only missed.
        for name in vfs.list(dir).map_err(io_error("listing", dir))? {
            if checkpoint_number(&name).is_some_and(|record| record <= mark.record) {
                let size = size(&name)?;
                files.push(CutFile {
                    name,
                    bytes: size,
                    size,
                });
            }
        }
        for segment in mark.first_segment.max(1)..=mark.segment {
            let name = segment_name(segment);
            let size = size(&name)?;
            let bytes = if segment == mark.segment {
                mark.end.min(size)
            } else {
                size
            };
            files.push(CutFile { name, bytes, size });
        }
        Ok(Self {
            installation: mark.installation,
            record: mark.record,
            chain: mark.chain,
            files,
            mark,
        })
    }

    /// The mark's file for a journal that holds exactly this cut, as after a clean close.
    pub(crate) fn mark_bytes(&self) -> Vec<u8> {
        mark::file_of(Mark {
            clean: true,
            ..self.mark
        })
    }
}
