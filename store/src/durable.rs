//! The engine's ports on the real journal and vault.
//!
//! Not here: their bytes (`journal`, `vault`). Here only errors are translated and calls put in the
//! order the engine's words promise.

use crate::engine::port::{ChainAudit, EachRecord, Log, Place, Records, Sealer};
use crate::engine::{Doubt, Unread};
use crate::error::StoreError;
use crate::journal::{Chain, Checkpoints, Covered, Journal, JournalError, Position, Reads};
use crate::vault::{UnsealError, Vault};
use bursar_domain::rows::Subject;
use std::collections::BTreeMap;
use tokio::time::Instant;

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io {
                operation,
                file,
                source,
            } => Self::Io {
                operation,
                file: Some(file),
                cause: source,
            },
            JournalError::Damage(damage) => Self::Damaged {
                file: damage.file.display().to_string(),
                offset: damage.offset,
                kind: damage.kind.to_string(),
            },
            JournalError::Locked { process_id, .. } => Self::Locked { pid: process_id },
            JournalError::GroupSize { .. } => Self::Invalid(error.to_string()),
            other => Self::Damaged {
                file: "journal".to_owned(),
                offset: 0,
                kind: other.to_string(),
            },
        }
    }
}

/// Walks over the chain that are begun before one must succeed.
const AUDITS_MAX: usize = 3;

/// The journal as the committer writes it.
pub(crate) struct JournalLog {
    /// `None` once closed.
    journal: Option<Journal>,
    started: Instant,
    /// Room could not be made ahead the last time: it is not tried again at once.
    has_no_room: bool,
}

impl JournalLog {
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal: Some(journal),
            started: Instant::now(),
            has_no_room: false,
        }
    }

    fn journal(&mut self) -> Result<&mut Journal, StoreError> {
        self.journal.as_mut().ok_or(StoreError::Closed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Log for JournalLog {
    fn append(&mut self, records: &[Vec<u8>]) -> Result<Vec<Place>, StoreError> {
        let now_ms = self.now_ms();
        let journal = self.journal()?;
        let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        let places = match journal.append_group(&records) {
            Ok(places) => places,
            // No room was noticed before anything was written: the journal goes on if it says so.
            Err(JournalError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::StorageFull
                    && journal.sync(now_ms).is_ok() =>
            {
                return Err(StoreError::Full { free_bytes: 0 });
            }
            Err(error) => return Err(error.into()),
        };
        #[cfg(feature = "crashpoints")]
        pass_written(&records);
        journal.sync(now_ms)?;
        Ok(places
            .iter()
            .map(|place| place.to_bytes().to_vec())
            .collect())
    }

    fn wants_idle(&self) -> bool {
        let now_ms = self.now_ms();
        self.journal.as_ref().is_some_and(|journal| {
            journal.wants_mark(now_ms) || (journal.wants_room() && !self.has_no_room)
        })
    }

    fn idle(&mut self) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let journal = self.journal()?;
        journal.sync(now_ms)?;
        journal.sync_mark_early(now_ms)?;
        let prepared = journal.prepare_room();
        self.has_no_room = prepared.is_err();
        // A failure to write changes nothing and comes back when room is needed.
        if let Err(error) = prepared {
            tracing::warn!(%error, "no room could be made ahead");
        }
        Ok(())
    }

    fn bytes_after(&self, record: u64) -> u64 {
        let journal = self.journal.as_ref();
        journal.map_or(0, |journal| journal.bytes_after(record))
    }

    fn drop_before(&mut self, record: u64, covered: &Covered) -> Result<u64, StoreError> {
        let journal = self.journal()?;
        match journal.drop_segments_before(record, covered) {
            Ok(dropped) => {
                for path in dropped {
                    tracing::info!(file = %path.display(), "a segment past its retention was dropped");
                }
            }
            // A file that cannot be removed is removed by the next opening.
            Err(error @ JournalError::Io { .. }) => {
                tracing::error!(%error, "a segment past its retention could not be dropped");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(journal.reads().bounds().0)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if let Some(journal) = self.journal.take() {
            journal.close()?;
        }
        Ok(())
    }
}

/// The journal as everybody reads it.
pub(crate) struct JournalRecords {
    reads: Reads,
    checkpoints: Checkpoints,
}

impl JournalRecords {
    pub(crate) fn new(checkpoints: Checkpoints) -> Self {
        Self {
            reads: checkpoints.reads().clone(),
            checkpoints,
        }
    }

    /// The chains of the checkpoints that are whole; what is wrong with the others.
    fn checkpoints(&self, out: &mut ChainAudit) -> Result<BTreeMap<u64, Chain>, StoreError> {
        let mut chains = BTreeMap::new();
        for record in self.checkpoints.records()? {
            match self.checkpoints.open(record) {
                Ok(Some(found)) => {
                    out.checkpoints += 1;
                    chains.insert(record, found.head().chain);
                }
                Ok(None) => {}
                // The next one was written, and this one removed, meanwhile.
                Err(JournalError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(JournalError::Damage(damage)) => out.damage.push(damage.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(chains)
    }
}

impl Records for JournalRecords {
    fn read(&self, place: &Place) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes: &[u8; Position::BYTES] = place
            .as_slice()
            .try_into()
            .map_err(|_| crate::engine::fold::broken("a place cannot be read".to_owned()))?;
        match self.reads.read_at(&Position::from_bytes(bytes)) {
            Ok(record) => Ok(Some(record)),
            Err(JournalError::Dropped { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn first(&self) -> u64 {
        self.reads.bounds().0
    }

    fn audit(&self) -> Result<ChainAudit, StoreError> {
        let mut out = ChainAudit::default();
        let chains = self.checkpoints(&mut out)?;
        // A segment may be dropped under the walk; the next walk begins behind it.
        for _ in 0..AUDITS_MAX {
            match self.reads.audit(|record| chains.get(&record).copied()) {
                Ok(records) => {
                    out.records = records;
                    return Ok(out);
                }
                Err(JournalError::Dropped { .. }) => {}
                Err(JournalError::Damage(damage)) => {
                    out.damage.push(damage.to_string());
                    return Ok(out);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Busy)
    }

    fn head(&self) -> (u64, String) {
        let (_, head) = self.reads.bounds();
        (head.record, hex::encode(head.chain))
    }

    fn scan(&self, from: u64, each: &mut EachRecord<'_>) -> Result<(), StoreError> {
        for record in self.reads.records_from(from)? {
            let record = record?;
            let place = record.position.to_bytes().to_vec();
            each(record.number, place, &record.payload)?;
        }
        Ok(())
    }
}

/// What opening left unread of a journal, its oldest segments, as many; `None`: nothing.
pub(crate) fn unread_of(reads: &Reads, segments: usize, doubt: Doubt) -> Option<Unread> {
    let reads = reads.clone();
    (segments > 0).then(|| Unread {
        segments: reads.oldest_segments(segments),
        read: Box::new(move |segment| Ok(reads.closed(segment)?)),
        doubt,
    })
}

/// The points between a group's write and its sync, by what the group holds.
#[cfg(feature = "crashpoints")]
fn pass_written(records: &[&[u8]]) {
    use crate::record::{Entry, decode};
    let holds = |is: fn(&Entry) -> bool| {
        let mut entries = records.iter().filter_map(|bytes| decode(bytes).ok());
        entries.any(|(entry, _)| is(&entry))
    };
    if holds(|entry| matches!(entry, Entry::Accepted(_))) {
        bursar_domain::step!("KW4");
    }
    if holds(|entry| matches!(entry, Entry::Applied(_))) {
        bursar_domain::step!("KW8");
    }
}

fn unsealed(error: UnsealError) -> StoreError {
    match error {
        UnsealError::TooLarge { .. } => StoreError::Invalid(error.to_string()),
        UnsealError::Version { .. } => StoreError::Incompatible(error.to_string()),
        other => StoreError::Damaged {
            file: "keys".to_owned(),
            offset: 0,
            kind: other.to_string(),
        },
    }
}

impl Sealer for Vault {
    fn seal(&self, subject: &Subject, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        Self::seal(self, &subject.0, subject.0.as_bytes(), plain).map_err(unsealed)
    }

    fn open(&self, subject: &Subject, sealed: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.unseal(subject.0.as_bytes(), sealed) {
            Ok(plain) => Ok(Some(plain)),
            Err(UnsealError::Erased) => Ok(None),
            Err(error) => Err(unsealed(error)),
        }
    }

    fn sync_new_keys(&self) -> Result<(), StoreError> {
        Ok(Self::sync_new_keys(self)?)
    }

    fn erase(&self, subjects: &[Subject]) -> Result<u64, StoreError> {
        let names = subjects.iter().map(|subject| subject.0.as_str());
        Ok(self.erase_all(names)? as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{DirLock, JournalSettings};
    use crate::vfs::{Errno, Fault, SimVfs, Vfs};
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn a_full_disk_refuses_a_group_and_goes_on_once_there_is_room() {
        let disk = SimVfs::new();
        let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
        let dir = Path::new("/data");
        let lock = DirLock::acquire(&*vfs, dir, 1, dir).unwrap();
        let settings = JournalSettings {
            zero_chunk_bytes: 64 << 10,
            ..JournalSettings::default()
        };
        let (journal, _) = Journal::open(vfs, &dir.join("journal"), &lock, settings).unwrap();
        let reads = JournalRecords::new(journal.checkpoints());
        let mut log = JournalLog::new(journal);
        log.append(&[vec![1; 60_000]]).unwrap();
        let before = reads.head();
        disk.fail(Fault {
            at: disk.operations(),
            errno: Errno::Enospc,
            lasting: true,
        });
        // The next group needs room that is not there: noticed before a byte of it is written.
        for _ in 0..3 {
            let refused = log.append(&[vec![2; 60_000]]);
            assert!(
                matches!(refused, Err(StoreError::Full { .. })),
                "{refused:?}"
            );
        }
        disk.heal();
        assert_eq!(reads.head(), before);
        let places = log.append(&[vec![3; 60_000]]).unwrap();
        assert_eq!(reads.read(&places[0]).unwrap(), Some(vec![3; 60_000]));
        assert_eq!(reads.head().0, before.0 + 1);
    }
}
