//! Reads records back: one by its position, or many in order. Any number of threads, beside the writer.
//!
//! **Invariants**
//! - Only synced records are shown.
//! - Every record's checksum and number are checked on every read; reading in order checks the chain as well.
//! - Memory is bounded by one group, handles by [`HANDLES_MAX`].
//!
//! **Failure**: [`JournalError::Damage`] for bytes that changed under us, [`JournalError::Dropped`] for records whose
//! retention ended, [`JournalError::NotYet`] for records that are not synced.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::damage::{DamageKind, JournalError, damage, io_error};
use super::format::{
    GROUP_HEADER_BYTES, InstallationId, Position, RECORD_HEADER_BYTES, SegmentHeader, record_at,
};
use super::recover::SegmentSpan;
use super::scan::{SegmentFile, Step, Walk, segment_path};
use super::{GROUP_BYTES_MAX, Head};
use crate::vfs::{self, Access, Vfs, VfsFile};

// Reads cluster in the newest segments; a few handles serve them.
const HANDLES_MAX: usize = 8;

/// What the writer and the readers of a journal share.
#[derive(Debug)]
pub(super) struct Shared {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    installation: InstallationId,
    state: Mutex<State>,
    handles: Mutex<VecDeque<(u64, Arc<dyn VfsFile>)>>,
}

#[derive(Debug)]
struct State {
    spans: Vec<SegmentSpan>,
    synced: Head,
}

impl Shared {
    pub(super) fn new(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        installation: InstallationId,
        spans: Vec<SegmentSpan>,
        synced: Head,
    ) -> Self {
        let state = Mutex::new(State { spans, synced });
        Self {
            vfs,
            dir: dir.to_path_buf(),
            installation,
            state,
            handles: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn spans(&self) -> Vec<SegmentSpan> {
        self.state().spans.clone()
    }

    /// How many segments begin after this record.
    pub(super) fn segments_after(&self, record: u64) -> u64 {
        let state = self.state();
        let later = state.spans.iter().rev();
        later.take_while(|span| span.first_record > record).count() as u64
    }

    pub(super) fn push(&self, span: SegmentSpan) {
        self.state().spans.push(span);
    }

    pub(super) fn drop_first(&self, count: usize) {
        self.state().spans.drain(..count);
        self.handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    pub(super) fn synced(&self, head: Head) {
        self.state().synced = head;
    }

    pub(super) fn header(&self, segment: u64) -> Result<SegmentHeader, JournalError> {
        self.segment(segment)?.header()
    }

    fn segment(&self, segment: u64) -> Result<SegmentFile, JournalError> {
        let path = segment_path(&self.dir, segment);
        let file = self.handle(segment, &path)?;
        Ok(SegmentFile {
            file,
            path,
            installation: self.installation,
            segment,
        })
    }

    fn handle(&self, segment: u64, path: &Path) -> Result<Arc<dyn VfsFile>, JournalError> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = handles.iter().find(|(number, _)| *number == segment) {
            return Ok(Arc::clone(file));
        }
        let file = match self.vfs.open(path, Access::Read) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(self.gone(segment, path));
            }
            opened => opened.map_err(io_error("opening", path))?,
        };
        if handles.len() == HANDLES_MAX {
            handles.pop_front();
        }
        handles.push_back((segment, Arc::clone(&file)));
        Ok(file)
    }

    /// Says why a segment is not there: its retention ended meanwhile, or somebody took it.
    fn gone(&self, segment: u64, path: &Path) -> JournalError {
        let state = self.state();
        match state.spans.first() {
            Some(first) if segment < first.segment => {
                let (record, first) = (first.first_record - 1, first.first_record);
                JournalError::Dropped { record, first }
            }
            _ => damage(path, 0, DamageKind::Missing),
        }
    }

    /// Checks that a record is synced and still there.
    fn check_there(&self, record: u64) -> Result<(), JournalError> {
        let state = self.state();
        let first = state.spans.first().map_or(1, |span| span.first_record);
        let last = state.synced.record;
        match record {
            record if record < first => Err(JournalError::Dropped { record, first }),
            record if record > last => Err(JournalError::NotYet { record, last }),
            _ => Ok(()),
        }
    }
}

/// Reads a journal that somebody else may be writing; clones are cheap and share handles.
#[derive(Clone, Debug)]
pub struct Reads {
    shared: Arc<Shared>,
}

/// A record as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, counted from 1.
    pub number: u64,
    /// Where it lies.
    pub position: Position,
    /// What was appended.
    pub payload: Vec<u8>,
}

impl Reads {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Gives the first record still there and the last synced head.
    #[must_use]
    pub fn bounds(&self) -> (u64, Head) {
        let state = self.shared.state();
        (
            state.spans.first().map_or(1, |span| span.first_record),
            state.synced,
        )
    }

    /// Gives the first record of each segment, oldest first.
    #[must_use]
    pub fn segment_starts(&self) -> Vec<u64> {
        let spans = self.shared.spans();
        spans.iter().map(|span| span.first_record).collect()
    }

    /// Walks every group that is kept, from the first segment's chain to the last synced record, and asks `passes` for
    /// the chain that is to be found after a record, if it must be a certain one. Gives the number of records walked.
    ///
    /// # Errors
    /// [`JournalError::Damage`] where the chain does not hold; [`JournalError::Dropped`] when retention dropped a
    /// segment meanwhile; [`JournalError::Io`].
    pub fn audit(&self, passes: impl Fn(u64) -> Option<super::Chain>) -> Result<u64, JournalError> {
        let (spans, synced) = {
            let state = self.shared.state();
            (state.spans.clone(), state.synced)
        };
        let first = spans.first().map_or(1, |span| span.first_record);
        let mut before: Option<(u64, super::Chain)> = None;
        for span in &spans {
            let segment = self.shared.segment(span.segment)?;
            let header = segment.header()?;
            if let Some(before) = before {
                super::recover::check_continues(&segment, &header, before)?;
            }
            let len = segment
                .file
                .size()
                .map_err(io_error("measuring", &segment.path))?;
            let mut walk = Walk::new(segment.clone(), &header, len);
            loop {
                let last = walk.next_record - 1;
                let expected = match passes(last) {
                    None if last == synced.record => Some(synced.chain),
                    expected => expected,
                };
                if expected.is_some_and(|chain| chain != walk.chain) {
                    return Err(damage(&segment.path, walk.offset, DamageKind::Chain));
                }
                if last >= synced.record {
                    break;
                }
                match walk.next()? {
                    Step::Group(_) => {}
                    Step::Bad(offset, kind) => return Err(damage(&segment.path, offset, kind)),
                    Step::End => break,
                }
            }
            before = Some((walk.next_record, walk.chain));
        }
        match before {
            Some((next, _)) if next > synced.record => Ok(next - first),
            _ => {
                let kind = DamageKind::EndsBeforeMark {
                    found: before.map_or(0, |(next, _)| next - 1),
                    marked: synced.record,
                };
                Err(damage(&self.shared.dir, 0, kind))
            }
        }
    }

    /// Gives the numbers of the oldest segments, as many.
    #[must_use]
    pub fn oldest_segments(&self, count: usize) -> Vec<u64> {
        let spans = self.shared.spans();
        spans.iter().take(count).map(|span| span.segment).collect()
    }

    /// Reads a segment that has a successor, as opening does, and gives how many records it holds; 0 when retention
    /// dropped it meanwhile.
    ///
    /// # Errors
    /// [`JournalError::Damage`] when it is not as it was written or does not lead to its successor; [`JournalError::Io`].
    pub fn closed(&self, segment: u64) -> Result<u64, JournalError> {
        match self.read_closed(segment) {
            Err(JournalError::Dropped { .. }) => Ok(0),
            read => read,
        }
    }

    fn read_closed(&self, segment: u64) -> Result<u64, JournalError> {
        let (this, next) = (
            self.shared.segment(segment)?,
            self.shared.segment(segment + 1)?,
        );
        let (header, following) = (this.header()?, next.header()?);
        let len = this
            .file
            .size()
            .map_err(io_error("measuring", &this.path))?;
        let mut records = 0;
        let end = this.closed(&header, len, following.first_record, |group| {
            records += u64::from(group.records);
            Ok(())
        })?;
        super::recover::check_continues(&next, &following, end)?;
        Ok(records)
    }

    /// Reads one record by its position.
    ///
    /// # Errors
    /// [`JournalError::Damage`] when what lies there is not that record, [`JournalError::Dropped`],
    /// [`JournalError::NotYet`], [`JournalError::Io`].
    pub fn read_at(&self, position: &Position) -> Result<Vec<u8>, JournalError> {
        self.shared.check_there(position.record)?;
        let path = segment_path(&self.shared.dir, position.segment);
        if u64::from(position.len) > GROUP_BYTES_MAX {
            let kind = DamageKind::Length {
                found: u64::from(position.len),
            };
            return Err(damage(&path, position.offset, kind));
        }
        let file = self.shared.handle(position.segment, &path)?;
        let mut bytes = vec![0; RECORD_HEADER_BYTES + position.len as usize];
        let read = vfs::read_full(&*file, &mut bytes, position.offset)
            .map_err(io_error("reading", &path))?;
        let record = record_at(&bytes[..read], 0, position.record)
            .map_err(|(at, kind)| damage(&path, position.offset + at, kind))?;
        if record.payload.len() != position.len as usize {
            let kind = DamageKind::Length {
                found: record.payload.len() as u64,
            };
            return Err(damage(&path, position.offset, kind));
        }
        bytes.drain(..RECORD_HEADER_BYTES);
        Ok(bytes)
    }

    /// Reads records in order from `record` up to what is synced now.
    ///
    /// # Errors
    /// [`JournalError::Dropped`] when `record` lies before the first one kept; [`JournalError::Io`].
    pub fn records_from(&self, record: u64) -> Result<Records, JournalError> {
        let state = self.shared.state();
        let first = state.spans.first().map_or(1, |span| span.first_record);
        if record < first {
            return Err(JournalError::Dropped { record, first });
        }
        let last = state.synced.record;
        let start = state
            .spans
            .iter()
            .rposition(|span| span.first_record <= record)
            .unwrap_or(0);
        let spans = state.spans[start..]
            .iter()
            .map(|span| span.segment)
            .collect();
        drop(state);
        Ok(Records {
            shared: Arc::clone(&self.shared),
            spans,
            walk: None,
            next: record,
            last,
            at: None,
            failed: false,
        })
    }

    /// Finds the chain right after a record, if a group ends there.
    ///
    /// # Errors
    /// As [`Reads::records_from`].
    pub fn chain_after(&self, record: u64) -> Result<Option<super::Chain>, JournalError> {
        let spans = self.shared.spans();
        let Some(span) = spans.iter().rfind(|span| span.first_record <= record + 1) else {
            let first = spans.first().map_or(1, |span| span.first_record);
            return Err(JournalError::Dropped { record, first });
        };
        let segment = self.shared.segment(span.segment)?;
        let len = segment
            .file
            .size()
            .map_err(io_error("measuring", &segment.path))?;
        let mut walk = Walk::new(segment.clone(), &segment.header()?, len);
        while walk.next_record <= record {
            match walk.skip()? {
                Step::Group(_) => {}
                Step::Bad(offset, kind) => return Err(damage(&segment.path, offset, kind)),
                Step::End => return Ok(None),
            }
        }
        Ok((walk.next_record == record + 1).then_some(walk.chain))
    }
}

/// Records in order; ends after the last one that was synced when the reading began, or after an error.
#[derive(Debug)]
pub struct Records {
    shared: Arc<Shared>,
    spans: VecDeque<u64>,
    walk: Option<(SegmentFile, Walk)>,
    next: u64,
    last: u64,
    /// Offset in the group's body of the record to give next, and that record's number.
    at: Option<(usize, u64)>,
    failed: bool,
}

impl Iterator for Records {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.next > self.last {
            return None;
        }
        let record = self.read();
        self.failed = record.is_err();
        Some(record)
    }
}

impl Records {
    fn read(&mut self) -> Result<Record, JournalError> {
        loop {
            if let Some(record) = self.in_hand()? {
                return Ok(record);
            }
            self.next_group()?;
        }
    }

    /// Gives the wanted record from the group in hand, passing over earlier ones.
    fn in_hand(&mut self) -> Result<Option<Record>, JournalError> {
        let Some((segment, walk)) = &self.walk else {
            return Ok(None);
        };
        let body_at = walk.group_offset + GROUP_HEADER_BYTES as u64;
        while let Some((at, number)) = self.at {
            let record = record_at(&walk.body, at, number)
                .map_err(|(at, kind)| damage(&segment.path, body_at + at, kind))?;
            let after = record.next_at();
            self.at = (number + 1 < walk.next_record).then_some((after, number + 1));
            if number == self.next {
                self.next += 1;
                let position = Position {
                    segment: segment.segment,
                    record: number,
                    offset: body_at + at as u64,
                    len: u32::try_from(record.payload.len()).expect("a group is at most 16 MiB"),
                };
                return Ok(Some(Record {
                    number,
                    position,
                    payload: record.payload.to_vec(),
                }));
            }
        }
        Ok(None)
    }

    fn next_group(&mut self) -> Result<(), JournalError> {
        let Some((segment, walk)) = &mut self.walk else {
            return self.next_segment();
        };
        // Groups before the wanted one are passed by their checksummed headers alone.
        let before = (walk.offset, walk.chain, walk.next_record);
        let step = match walk.skip()? {
            Step::Group(group) if group.last_record() >= self.next => {
                (walk.offset, walk.chain, walk.next_record) = before;
                walk.next()?
            }
            other => other,
        };
        match step {
            Step::Group(group) if group.last_record() >= self.next => {
                self.at = Some((0, group.first_record));
            }
            Step::Group(_) => {}
            Step::Bad(offset, kind) => return Err(damage(&segment.path, offset, kind)),
            Step::End => self.walk = None,
        }
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), JournalError> {
        let Some(number) = self.spans.pop_front() else {
            let kind = DamageKind::EndsBeforeMark {
                found: self.next - 1,
                marked: self.last,
            };
            return Err(damage(&self.shared.dir, 0, kind));
        };
        let segment = self.shared.segment(number)?;
        let len = segment
            .file
            .size()
            .map_err(io_error("measuring", &segment.path))?;
        let header = segment.header()?;
        self.walk = Some((segment.clone(), Walk::new(segment, &header, len)));
        Ok(())
    }
}
