//! The checkpoints beside a journal: which one is used, and what they allow to be dropped.
//!
//! **Invariants**
//! - A checkpoint is used only if every byte of it is as it was written and its chain is the journal's.
//! - Segments go only with a [`Covered`] in hand, and that is given only by reading whole checkpoints: as many as were
//!   asked for, so that one of them may be damaged later and the one before still finds its records.
//! - Safe beside the writer, on another thread: nothing here touches segments or the mark.
//!
//! **Not here**: the bytes of a checkpoint (`checkpoint`), removing segments (`writer`), what is old enough to go
//! (`engine::keeper`).
//!
//! **Failure**: a damaged checkpoint is [`JournalError::Damage`]; the caller decides whether an older one and a longer
//! journal will do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, CheckpointWriter, checkpoint_name, checkpoint_number};
use super::damage::{DamageKind, JournalError, damage, io_error};
use super::format::InstallationId;
use super::{Head, Reads};
use crate::vfs::{Access, Vfs};

/// Offset of the chain in a checkpoint's header.
const CHAIN_AT: u64 = 40;

/// The checkpoints of one journal.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    installation: InstallationId,
    reads: Reads,
}

/// Proof that whole checkpoints hold everything up to a record.
#[derive(Debug)]
pub struct Covered(u64);

impl Covered {
    /// Gives the last record that is covered; 0 for none.
    #[must_use]
    pub fn record(&self) -> u64 {
        self.0
    }
}

impl Checkpoints {
    pub(super) fn new(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        installation: InstallationId,
        reads: Reads,
    ) -> Self {
        let dir = dir.to_path_buf();
        Self {
            vfs,
            dir,
            installation,
            reads,
        }
    }

    /// Gives a reader of the journal they stand beside.
    #[must_use]
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Gives the records after which checkpoints stand, newest first, damaged ones too.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn records(&self) -> Result<Vec<u64>, JournalError> {
        let names = self
            .vfs
            .list(&self.dir)
            .map_err(io_error("listing", &self.dir))?;
        let numbers = names.iter().filter_map(|name| checkpoint_number(name));
        let mut records: Vec<u64> = numbers.collect();
        records.sort_unstable_by(|a, b| b.cmp(a));
        Ok(records)
    }

    /// Begins a checkpoint; there is one at a time.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn begin(&self) -> Result<CheckpointWriter, JournalError> {
        CheckpointWriter::begin(&*self.vfs, &self.dir, self.installation)
    }

    /// Makes a checkpoint of the state after `head`, a head this journal gave and synced; durable when this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`]: there may be a checkpoint or not.
    pub fn finish(&self, writer: CheckpointWriter, head: Head) -> Result<PathBuf, JournalError> {
        writer.finish(&*self.vfs, &self.dir, head)
    }

    /// Lets go of one that will not be finished.
    ///
    /// # Errors
    /// [`JournalError::Io`]; the next opening of the journal removes the file.
    pub fn abandon(&self, writer: CheckpointWriter) -> Result<(), JournalError> {
        writer.abandon(&*self.vfs)
    }

    /// Opens the checkpoint after `record`, checks all of it and holds its chain against the journal's; `None` when
    /// the records after it were dropped, so that it leads nowhere.
    ///
    /// # Errors
    /// [`JournalError::Damage`] when anything in it changed or it is of another history; [`JournalError::Io`].
    pub fn open(&self, record: u64) -> Result<Option<Checkpoint>, JournalError> {
        let found = Checkpoint::open(&*self.vfs, &self.dir, self.installation, record)?;
        let Head { record, chain } = found.head();
        match self.reads.chain_after(record) {
            Ok(Some(ours)) if ours == chain => Ok(Some(found)),
            Ok(_) => Err(damage(found.path(), CHAIN_AT, DamageKind::Chain)),
            Err(JournalError::Dropped { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the length of the checkpoint after `record`.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn size(&self, record: u64) -> Result<u64, JournalError> {
        let path = self.path(record);
        let file = self
            .vfs
            .open(&path, Access::Read)
            .map_err(io_error("opening", &path))?;
        file.size().map_err(io_error("measuring", &path))
    }

    /// Reads the newest `keep` checkpoints whole and says up to where each of them suffices.
    ///
    /// # Errors
    /// [`JournalError::Damage`] when one of them is not as it was written; [`JournalError::Io`].
    pub fn covered(&self, keep: usize) -> Result<Covered, JournalError> {
        let mut covered = 0;
        let records = self.records()?;
        if records.len() < keep {
            return Ok(Covered(0));
        }
        for record in records.into_iter().take(keep) {
            match self.open(record)? {
                Some(_) => covered = record,
                None => return Ok(Covered(0)),
            }
        }
        Ok(Covered(covered))
    }

    /// Removes all checkpoints but the newest `keep`; gives the removed names.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn drop_old(&self, keep: usize) -> Result<Vec<PathBuf>, JournalError> {
        let records = self.records()?.into_iter().skip(keep);
        let paths: Vec<PathBuf> = records.map(|record| self.path(record)).collect();
        for path in &paths {
            self.vfs.remove(path).map_err(io_error("removing", path))?;
        }
        if !paths.is_empty() {
            self.vfs
                .sync_dir(&self.dir)
                .map_err(io_error("syncing", &self.dir))?;
        }
        Ok(paths)
    }

    fn path(&self, record: u64) -> PathBuf {
        self.dir.join(checkpoint_name(record))
    }
}
