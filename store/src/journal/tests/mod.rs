//! What the journal promises, tried on a simulated disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::vfs::{SimVfs, Vfs};

mod basics;
mod damage;
mod flips;
mod fuzz;
mod golden;
mod power_cut;

/// A simulated disk with a lock on the data directory.
struct Site {
    vfs: SimVfs,
    lock: DirLock,
}

const ID: InstallationId = InstallationId(*b"installation-one");

fn dir() -> PathBuf {
    PathBuf::from("/data/journal")
}

fn small() -> JournalSettings {
    JournalSettings {
        segment_bytes: 4096,
        zero_chunk_bytes: 1024,
        room_ahead_bytes: 512,
        installation: Some(ID),
        read_bytes: u64::MAX,
    }
}

impl Site {
    fn new() -> Self {
        Self::on(SimVfs::new())
    }

    fn on(vfs: SimVfs) -> Self {
        let lock =
            DirLock::acquire(&vfs, Path::new("/data"), 1, Path::new("/data/socket")).unwrap();
        Self { vfs, lock }
    }

    fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::new(self.vfs.clone())
    }

    fn open(&self) -> Result<(Journal, OpenReport), JournalError> {
        Journal::open(self.vfs(), &dir(), &self.lock, small())
    }
}

fn all(journal: &Journal) -> Vec<Vec<u8>> {
    try_all(journal).unwrap()
}

fn try_all(journal: &Journal) -> Result<Vec<Vec<u8>>, JournalError> {
    let (first, _) = journal.reads().bounds();
    journal
        .reads()
        .records_from(first)?
        .map(|record| Ok(record?.payload))
        .collect()
}

fn write_checkpoint(
    journal: &Journal,
    head: Head,
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> Result<PathBuf, JournalError> {
    let checkpoints = journal.checkpoints();
    let mut writer = checkpoints.begin()?;
    for piece in pieces {
        writer.piece(&piece)?;
    }
    checkpoints.finish(writer, head)
}

/// Drops what the newest checkpoint covers.
fn drop_before(journal: &mut Journal, record: u64) -> Result<Vec<PathBuf>, JournalError> {
    let covered = journal.checkpoints().covered(1)?;
    journal.drop_segments_before(record, &covered)
}

/// The newest checkpoint that can be used, and the damage to newer ones.
fn latest(journal: &Journal) -> (Option<Checkpoint>, Vec<Damage>) {
    let checkpoints = journal.checkpoints();
    let mut damaged = Vec::new();
    for record in checkpoints.records().unwrap() {
        match checkpoints.open(record) {
            Ok(found) => return (found, damaged),
            Err(JournalError::Damage(damage)) => damaged.push(damage),
            Err(error) => panic!("not a damage: {error}"),
        }
    }
    (None, damaged)
}
