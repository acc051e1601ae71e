//! The one writer of a journal: append a group, sync it, move the mark.
//!
//! **Invariants**
//! - One thread, one buffer: a group costs one `pwrite` and one `fdatasync` into space that was written before.
//! - Readers and callers see a record as synced only after its `fdatasync` returned without an error.
//! - After a failed write or sync every further call fails ([`JournalError::Poisoned`]); the way on is to open again.
//!   Room that cannot be had (disk full) is found before the group is written and poisons nothing.
//!
//! **Not here**: deciding what a group holds (`committer`), reading (`read`), recovery (`recover`).
//!
//! **Failure**: a crash at any point leaves what [`super::recover`] accepts; records appended and not synced may be lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::{JournalError, io_error};
use super::format::{
    Chain, GroupBuffer, InstallationId, Place, Position, SEGMENT_HEADER_BYTES, SegmentHeader,
    genesis,
};
use super::lock::DirLock;
use super::mark::{Mark, MarkFile};
use super::read::{Reads, Shared};
use super::recover::{self, OpenReport, SegmentSpan, Tail};
use super::retain::{Checkpoints, Covered};
use super::scan::segment_path;
use super::{GROUP_BYTES_MAX, JournalSettings, MARK_SYNC_INTERVAL_MS};
use crate::vfs::{self, Access, TEMPORARY, Vfs, VfsFile};

/// A point between two groups: the last record before it and the chain up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last record, 0 for none.
    pub record: u64,
    /// SHA-256 chain over everything up to and including that record's group.
    pub chain: Chain,
}

/// The journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    settings: JournalSettings,
    installation: InstallationId,
    shared: Arc<Shared>,
    file: Arc<dyn VfsFile>,
    segment: u64,
    /// Where the next group goes.
    end: u64,
    /// Up to where the segment has been filled with zeros.
    zeroed_to: u64,
    /// The last group written, and the last one known to be durable.
    appended: Head,
    synced: Head,
    mark: MarkFile,
    mark_synced_at_ms: u64,
    buffer: GroupBuffer,
    poison: Option<String>,
}

impl Journal {
    /// Opens the journal in `dir`, creating it when there is none, after checking what it holds.
    ///
    /// The lock is that of the data directory; passing it proves that nobody else writes.
    ///
    /// # Errors
    /// [`JournalError::Damage`] when what is on disk cannot be what was written; [`JournalError::Io`].
    pub fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        _lock: &DirLock,
        settings: JournalSettings,
    ) -> Result<(Self, OpenReport), JournalError> {
        vfs.create_dir(dir).map_err(io_error("creating", dir))?;
        if let Some(parent) = dir.parent() {
            vfs.sync_dir(parent).map_err(io_error("syncing", parent))?;
        }
        let settings = settings.within_limits();
        let (names, found) =
            recover::inspect(&*vfs, dir, settings.installation, settings.read_bytes)?;
        let Some(mut found) = found else {
            return Self::create(vfs, dir, settings);
        };
        recover::repair(&*vfs, dir, &names, &mut found)?;
        let mark = Mark {
            installation: found.installation,
            generation: 0,
            record: found.tail.record,
            chain: found.tail.chain,
            segment: found.tail.segment,
            end: found.tail.end,
            first_segment: found.segments[0].segment,
            first_chain: found.first_chain,
            clean: false,
        };
        let mark = match &found.mark {
            Some(on_disk) => {
                let mut file = MarkFile::open(&*vfs, dir, on_disk)?;
                file.write_both(mark)?;
                file
            }
            None => MarkFile::create(&*vfs, dir, mark)?,
        };
        let journal = Self::start(vfs, dir, settings, mark, &found.tail, found.segments)?;
        Ok((journal, found.report))
    }

    /// Checks the journal in `dir` and changes nothing; the report says what opening would cut or repair.
    ///
    /// Nobody may write meanwhile: a group on its way would look like a torn tail.
    ///
    /// # Errors
    /// As [`Journal::open`]; [`JournalError::Damage`] of kind `Missing` when there is no journal.
    pub fn check(
        vfs: &dyn Vfs,
        dir: &Path,
        settings: JournalSettings,
    ) -> Result<OpenReport, JournalError> {
        let (_, found) = recover::inspect(vfs, dir, settings.installation, settings.read_bytes)?;
        match found {
            Some(found) => Ok(found.report),
            None => {
                let path = segment_path(dir, 1);
                Err(super::damage::damage(&path, 0, super::DamageKind::Missing))
            }
        }
    }

    fn create(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        settings: JournalSettings,
    ) -> Result<(Self, OpenReport), JournalError> {
        let installation = match settings.installation {
            Some(id) => id,
            None => super::random_installation(dir)?,
        };
        let chain = genesis(installation);
        let header = SegmentHeader {
            installation,
            segment: 1,
            first_record: 1,
            previous_chain: chain,
        };
        let zeroed_to = write_segment(&*vfs, dir, &header, &settings)?;
        publish_segment(&*vfs, dir, 1)?;
        let mark = Mark {
            installation,
            generation: 1,
            record: 0,
            chain,
            segment: 1,
            end: SEGMENT_HEADER_BYTES as u64,
            first_segment: 1,
            first_chain: chain,
            clean: false,
        };
        let mark = MarkFile::create(&*vfs, dir, mark)?;
        let tail = Tail {
            segment: 1,
            file_bytes: zeroed_to,
            end: SEGMENT_HEADER_BYTES as u64,
            record: 0,
            chain,
        };
        let spans = vec![SegmentSpan {
            segment: 1,
            first_record: 1,
        }];
        let journal = Self::start(vfs, dir, settings, mark, &tail, spans)?;
        let report = OpenReport {
            created: true,
            first_record: 1,
            segments: 1,
            ..OpenReport::default()
        };
        Ok((journal, report))
    }

    fn start(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        settings: JournalSettings,
        mark: MarkFile,
        tail: &Tail,
        spans: Vec<SegmentSpan>,
    ) -> Result<Self, JournalError> {
        let path = segment_path(dir, tail.segment);
        let file = vfs
            .open(&path, Access::Write)
            .map_err(io_error("opening", &path))?;
        let head = Head {
            record: tail.record,
            chain: tail.chain,
        };
        let installation = mark.mark.installation;
        let shared = Shared::new(Arc::clone(&vfs), dir, installation, spans, head);
        Ok(Self {
            vfs,
            dir: dir.to_path_buf(),
            settings,
            installation,
            shared: Arc::new(shared),
            file,
            segment: tail.segment,
            end: tail.end,
            zeroed_to: tail.file_bytes,
            appended: head,
            synced: head,
            mark,
            mark_synced_at_ms: 0,
            buffer: GroupBuffer::default(),
            poison: None,
        })
    }

    /// Appends a group of records; they are durable only after the next [`Journal::sync`].
    ///
    /// Gives each record's position, in order.
    ///
    /// # Errors
    /// [`JournalError::GroupSize`], or [`JournalError::Io`] from making room, and nothing has changed;
    /// any other error poisons the journal.
    pub fn append_group(&mut self, payloads: &[&[u8]]) -> Result<Vec<Position>, JournalError> {
        self.check_poison()?;
        let size = GroupBuffer::size(payloads);
        let limit = GROUP_BYTES_MAX.min(self.settings.segment_bytes - SEGMENT_HEADER_BYTES as u64);
        if payloads.is_empty() || size > limit {
            return Err(JournalError::GroupSize {
                records: payloads.len(),
                bytes: size,
                limit,
            });
        }
        if self.end + size > self.settings.segment_bytes {
            self.roll()?;
        }
        if self.end + size > self.zeroed_to {
            self.extend_zeros(self.end + size)?;
        }
        let first_record = self.appended.record + 1;
        let (segment, mut record) = (self.segment, self.appended.record);
        let mut positions = Vec::with_capacity(payloads.len());
        let place = Place {
            installation: self.installation,
            segment,
            offset: self.end,
        };
        let (bytes, chain) = self.buffer.encode(
            place,
            &self.appended.chain,
            first_record,
            self.synced.record,
            payloads,
            |offset, len| {
                record += 1;
                positions.push(Position {
                    segment,
                    record,
                    offset,
                    len,
                });
            },
        );
        let written = self.file.write_at(bytes, self.end);
        if let Err(error) = written {
            return Err(self.poisoned("writing", error));
        }
        self.end += size;
        self.appended = Head { record, chain };
        Ok(positions)
    }

    /// Makes everything appended so far durable, moves the mark, and gives the new synced head.
    ///
    /// `now_ms` is any monotonic clock in milliseconds; the mark is synced when 100 ms passed since the last time.
    /// Called with nothing appended it only does that, so an idle caller should call once more after 100 ms.
    ///
    /// # Errors
    /// [`JournalError::Io`]: whether the records are durable is unknown, and the journal is poisoned.
    pub fn sync(&mut self, now_ms: u64) -> Result<Head, JournalError> {
        self.check_poison()?;
        if self.synced != self.appended {
            self.sync_segment()?;
            self.write_mark(false)?;
        }
        if now_ms.saturating_sub(self.mark_synced_at_ms) >= MARK_SYNC_INTERVAL_MS {
            self.sync_mark()?;
            self.mark_synced_at_ms = now_ms;
        }
        Ok(self.synced)
    }

    /// Whether there is less room ahead than there should be before a burst.
    #[must_use]
    pub fn wants_room(&self) -> bool {
        let ahead = self.end + self.settings.room_ahead_bytes;
        self.zeroed_to < ahead.min(self.settings.segment_bytes) && self.poison.is_none()
    }

    /// Whether the mark had better be synced in the next quiet moment: a little later a group waits for it.
    #[must_use]
    pub fn wants_mark(&self, now_ms: u64) -> bool {
        let age = now_ms.saturating_sub(self.mark_synced_at_ms);
        self.mark.is_unsynced() && age >= MARK_SYNC_INTERVAL_MS / 2 && self.poison.is_none()
    }

    /// Syncs the mark if it is wanted. For moments when nobody waits.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn sync_mark_early(&mut self, now_ms: u64) -> Result<(), JournalError> {
        self.check_poison()?;
        if self.wants_mark(now_ms) {
            self.sync_mark()?;
            self.mark_synced_at_ms = now_ms;
        }
        Ok(())
    }

    /// Fills one more chunk ahead with zeros and syncs it, if it is wanted. For moments when nobody waits: the group
    /// that would otherwise find no room waits for a chunk of its own to be written and synced.
    ///
    /// # Errors
    /// [`JournalError::Io`] from making room, and nothing has changed; from syncing it, and the journal is poisoned.
    pub fn prepare_room(&mut self) -> Result<(), JournalError> {
        self.check_poison()?;
        if !self.wants_room() {
            return Ok(());
        }
        self.extend_zeros(self.zeroed_to)?;
        self.sync_segment()
    }

    /// Syncs everything and marks the close as clean: from here on any changed byte is damage.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn close(mut self) -> Result<Head, JournalError> {
        self.check_poison()?;
        self.sync_segment()?;
        for _ in 0..2 {
            self.write_mark(true)?;
            self.sync_mark()?;
        }
        Ok(self.synced)
    }

    /// Gives the last synced record and the chain up to it.
    #[must_use]
    pub fn head(&self) -> Head {
        self.synced
    }

    /// Gives the id every file of this journal carries.
    #[must_use]
    pub fn installation(&self) -> InstallationId {
        self.installation
    }

    /// Gives a handle for reading, to be cloned and sent to other threads.
    #[must_use]
    pub fn reads(&self) -> Reads {
        Reads::new(Arc::clone(&self.shared))
    }

    /// Gives the checkpoints beside this journal, to be used on a thread of their own.
    #[must_use]
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(
            Arc::clone(&self.vfs),
            &self.dir,
            self.installation,
            self.reads(),
        )
    }

    /// Drops the segments that hold only records before `record`, and only what the checkpoints cover.
    ///
    /// Gives the names of the dropped files. The segment being written always stays.
    ///
    /// # Errors
    /// [`JournalError::NotCovered`] when the checkpoints do not reach that far; [`JournalError::Io`].
    pub fn drop_segments_before(
        &mut self,
        record: u64,
        covered: &Covered,
    ) -> Result<Vec<PathBuf>, JournalError> {
        self.check_poison()?;
        let spans = self.shared.spans();
        let keep = spans
            .iter()
            .rposition(|span| span.first_record <= record)
            .unwrap_or(0);
        if keep == 0 {
            return Ok(Vec::new());
        }
        if covered.record() < spans[keep].first_record - 1 {
            return Err(JournalError::NotCovered {
                before: record,
                covered: covered.record(),
            });
        }
        // The checkpoints' own names must be durable before anything is dropped on their account.
        self.vfs
            .sync_dir(&self.dir)
            .map_err(io_error("syncing", &self.dir))?;
        let first_chain = self.shared.header(spans[keep].segment)?.previous_chain;
        let mark = Mark {
            first_segment: spans[keep].segment,
            first_chain,
            ..self.mark.mark
        };
        // The floor is durable before the first file goes: a crash in between is finished by the next open.
        if let Err(error) = self.mark.write_both(mark) {
            return Err(self.poisoned_by(error));
        }
        self.shared.drop_first(keep);
        let mut dropped = Vec::with_capacity(keep);
        for span in &spans[..keep] {
            let path = segment_path(&self.dir, span.segment);
            self.vfs
                .remove(&path)
                .map_err(io_error("removing", &path))?;
            bursar_domain::step!("KW15");
            dropped.push(path);
        }
        self.vfs
            .sync_dir(&self.dir)
            .map_err(io_error("syncing", &self.dir))?;
        Ok(dropped)
    }

    /// Gives about how many bytes were appended after this record; 0 is the beginning.
    #[must_use]
    pub fn bytes_after(&self, record: u64) -> u64 {
        let later = self.shared.segments_after(record);
        match later.checked_sub(1) {
            Some(closed) => closed * self.settings.segment_bytes + self.end,
            None => 0,
        }
    }

    fn check_poison(&self) -> Result<(), JournalError> {
        match &self.poison {
            Some(cause) => Err(JournalError::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    fn poisoned(&mut self, operation: &'static str, error: std::io::Error) -> JournalError {
        let path = segment_path(&self.dir, self.segment);
        self.poisoned_by(io_error(operation, &path)(error))
    }

    fn poisoned_by(&mut self, error: JournalError) -> JournalError {
        self.poison = Some(error.to_string());
        error
    }

    fn sync_segment(&mut self) -> Result<(), JournalError> {
        let synced = bursar_domain::mutant!("M2", Ok(()), self.file.sync_data());
        if let Err(error) = synced {
            return Err(self.poisoned("syncing", error));
        }
        self.synced = self.appended;
        self.shared.synced(self.synced);
        Ok(())
    }

    fn write_mark(&mut self, clean: bool) -> Result<(), JournalError> {
        let Head { record, chain } = self.synced;
        let (segment, end) = (self.segment, self.end);
        let mark = Mark {
            record,
            chain,
            segment,
            end,
            clean,
            ..self.mark.mark
        };
        self.mark
            .write(mark)
            .map_err(|error| self.poisoned_by(error))
    }

    fn sync_mark(&mut self) -> Result<(), JournalError> {
        self.mark.sync().map_err(|error| self.poisoned_by(error))
    }

    /// Writes zeros so that the segment reaches `least`, a chunk at a time.
    fn extend_zeros(&mut self, least: u64) -> Result<(), JournalError> {
        let to = zero_target(least, self.zeroed_to, &self.settings);
        let path = segment_path(&self.dir, self.segment);
        write_zeros(&*self.file, self.zeroed_to, to).map_err(io_error("making room in", &path))?;
        self.zeroed_to = to;
        Ok(())
    }

    /// Starts the next segment; the old one is synced first, so only the last can ever be torn.
    fn roll(&mut self) -> Result<(), JournalError> {
        let header = SegmentHeader {
            installation: self.installation,
            segment: self.segment + 1,
            first_record: self.appended.record + 1,
            previous_chain: self.appended.chain,
        };
        let zeroed_to = write_segment(&*self.vfs, &self.dir, &header, &self.settings)?;
        self.sync_segment()?;
        self.write_mark(false)?;
        let path = segment_path(&self.dir, header.segment);
        let published = publish_segment(&*self.vfs, &self.dir, header.segment).and_then(|()| {
            self.vfs
                .open(&path, Access::Write)
                .map_err(io_error("opening", &path))
        });
        self.file = published.map_err(|error| self.poisoned_by(error))?;
        self.segment = header.segment;
        self.end = SEGMENT_HEADER_BYTES as u64;
        self.zeroed_to = zeroed_to;
        let span = SegmentSpan {
            segment: header.segment,
            first_record: header.first_record,
        };
        self.shared.push(span);
        Ok(())
    }
}

fn zero_target(least: u64, zeroed_to: u64, settings: &JournalSettings) -> u64 {
    least
        .max(zeroed_to + settings.zero_chunk_bytes)
        .min(settings.segment_bytes)
}

/// Writes a segment's header and its first zeros under a temporary name, durable; gives its length.
fn write_segment(
    vfs: &dyn Vfs,
    dir: &Path,
    header: &SegmentHeader,
    settings: &JournalSettings,
) -> Result<u64, JournalError> {
    let path = temporary(dir, header.segment);
    let to = zero_target(0, SEGMENT_HEADER_BYTES as u64, settings);
    let write = || {
        let file = vfs::create_over(vfs, &path)?;
        file.write_at(&header.encode(), 0)?;
        write_zeros(&*file, SEGMENT_HEADER_BYTES as u64, to)?;
        file.sync_data()
    };
    write().map_err(io_error("making room in", &path))?;
    Ok(to)
}

fn publish_segment(vfs: &dyn Vfs, dir: &Path, segment: u64) -> Result<(), JournalError> {
    let path = segment_path(dir, segment);
    vfs.rename(&temporary(dir, segment), &path)
        .map_err(io_error("renaming", &path))?;
    vfs.sync_dir(dir).map_err(io_error("syncing", dir))
}

fn temporary(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{}{TEMPORARY}", super::scan::segment_name(segment)))
}

fn write_zeros(file: &dyn VfsFile, from: u64, to: u64) -> std::io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = from;
    while at < to {
        let n = usize::try_from(to - at)
            .unwrap_or(usize::MAX)
            .min(ZEROS.len());
        file.write_at(&ZEROS[..n], at)?;
        at += n as u64;
    }
    Ok(())
}
