//! Walks the groups of one segment, checking as it goes. Recovery and readers use the same walk.
//!
//! **Invariants**: memory is bounded by one group ([`super::GROUP_BYTES_MAX`]); a length is believed only after the
//! checksum over it matched and only up to the end of the file.
//!
//! **Not here**: what a bad group means (`recover`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::{DamageKind, JournalError, damage, io_error};
use super::format::{
    ALIGN, Chain, GROUP_HEADER_BYTES, GroupHeader, InstallationId, Place, SEGMENT_HEADER_BYTES,
    SegmentHeader, check_body, next_chain,
};
use crate::vfs::{self, VfsFile};

const CHUNK_BYTES: usize = 64 << 10;

/// An open segment with its name, number and owner.
#[derive(Clone, Debug)]
pub(super) struct SegmentFile {
    pub file: Arc<dyn VfsFile>,
    pub path: PathBuf,
    pub installation: InstallationId,
    pub segment: u64,
}

/// What the walk met.
#[derive(Debug)]
pub(super) enum Step {
    /// A group; its body is in [`Walk::body`].
    Group(GroupHeader),
    /// A header of zeros, or the end of the file.
    End,
    /// Something that is no group, at this offset.
    Bad(u64, DamageKind),
}

/// A position between two groups, and the chain up to there.
#[derive(Debug)]
pub(super) struct Walk {
    segment: SegmentFile,
    limit: u64,
    pub offset: u64,
    pub chain: Chain,
    pub next_record: u64,
    /// The body of the last group met, and where that group begins.
    pub body: Vec<u8>,
    pub group_offset: u64,
}

impl Walk {
    /// Starts behind a segment's header; `limit` is the file's length or the end of what is synced.
    pub(super) fn new(segment: SegmentFile, header: &SegmentHeader, limit: u64) -> Self {
        Self {
            segment,
            limit,
            offset: SEGMENT_HEADER_BYTES as u64,
            chain: header.previous_chain,
            next_record: header.first_record,
            body: Vec::new(),
            group_offset: 0,
        }
    }

    /// Reads the next group whole and checks its sums, numbers and chain.
    pub(super) fn next(&mut self) -> Result<Step, JournalError> {
        let (header, raw) = match self.header()? {
            Ok(found) => found,
            Err(stop) => return Ok(stop),
        };
        let body_at = self.offset + GROUP_HEADER_BYTES as u64;
        self.body.resize(header.body_bytes as usize, 0);
        let read = vfs::read_full(&*self.segment.file, &mut self.body, body_at)
            .map_err(io_error("reading", &self.segment.path))?;
        if read < self.body.len() {
            return Ok(Step::Bad(body_at + read as u64, DamageKind::Truncated));
        }
        if let Err((at, kind)) = check_body(&header, &self.body) {
            return Ok(Step::Bad(body_at + at, kind));
        }
        if next_chain(&self.chain, &raw[8..32], &self.body) != header.chain {
            return Ok(Step::Bad(self.offset, DamageKind::Chain));
        }
        Ok(self.pass(header))
    }

    /// Passes over the next group, believing its checksummed header and not reading its body.
    pub(super) fn skip(&mut self) -> Result<Step, JournalError> {
        match self.header()? {
            Ok((header, _)) => Ok(self.pass(header)),
            Err(stop) => Ok(stop),
        }
    }

    fn pass(&mut self, header: GroupHeader) -> Step {
        self.group_offset = self.offset;
        self.offset += header.total_bytes();
        self.chain = header.chain;
        self.next_record = header.last_record() + 1;
        Step::Group(header)
    }

    /// Reads and checks the next group's header without moving.
    #[allow(clippy::type_complexity)]
    fn header(
        &self,
    ) -> Result<Result<(GroupHeader, [u8; GROUP_HEADER_BYTES]), Step>, JournalError> {
        let mut raw = [0; GROUP_HEADER_BYTES];
        let room = usize::try_from(self.limit.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let want = room.min(GROUP_HEADER_BYTES);
        let read = vfs::read_full(&*self.segment.file, &mut raw[..want], self.offset)
            .map_err(io_error("reading", &self.segment.path))?;
        if raw.iter().all(|byte| *byte == 0) {
            return Ok(Err(Step::End));
        }
        let bad = |at, kind| Ok(Err(Step::Bad(at, kind)));
        if read < GROUP_HEADER_BYTES {
            return bad(self.offset, DamageKind::Truncated);
        }
        let header = match GroupHeader::decode(&raw, self.segment.place(self.offset)) {
            Ok(header) => header,
            Err(kind) => return bad(self.offset, kind),
        };
        if header.total_bytes() > self.limit - self.offset {
            return bad(
                self.offset + 8,
                DamageKind::Length {
                    found: header.total_bytes(),
                },
            );
        }
        if header.first_record != self.next_record {
            let kind = DamageKind::RecordNumber {
                found: header.first_record,
                expected: self.next_record,
            };
            return bad(self.offset + 16, kind);
        }
        Ok(Ok((header, raw)))
    }
}

impl SegmentFile {
    fn place(&self, offset: u64) -> Place {
        Place {
            installation: self.installation,
            segment: self.segment,
            offset,
        }
    }

    /// Reads and checks the header: ours, this number, this installation.
    pub(super) fn header(&self) -> Result<SegmentHeader, JournalError> {
        let mut raw = [0; SEGMENT_HEADER_BYTES];
        let read =
            vfs::read_full(&*self.file, &mut raw, 0).map_err(io_error("reading", &self.path))?;
        let header = SegmentHeader::decode(&raw[..read])
            .map_err(|(offset, kind)| damage(&self.path, offset, kind))?;
        if header.installation != self.installation {
            return Err(damage(&self.path, 16, DamageKind::ForeignInstallation));
        }
        if header.segment != self.segment {
            return Err(damage(
                &self.path,
                32,
                DamageKind::Renamed {
                    found: header.segment,
                },
            ));
        }
        Ok(header)
    }

    /// Walks a segment that has a successor, which begins with that record: it must be whole, with nothing but zeros
    /// after its last group. Gives the record that must be next, and the chain before it.
    pub(super) fn closed(
        &self,
        header: &SegmentHeader,
        len: u64,
        next_first_record: u64,
        mut see: impl FnMut(&GroupHeader) -> Result<(), JournalError>,
    ) -> Result<(u64, Chain), JournalError> {
        let mut walk = Walk::new(self.clone(), header, len);
        loop {
            match walk.next()? {
                Step::Group(group) => see(&group)?,
                Step::Bad(offset, kind) => return Err(damage(&self.path, offset, kind)),
                Step::End => break,
            }
        }
        if let Some((offset, _)) = self.not_zero(walk.offset, len)? {
            return Err(damage(&self.path, offset, DamageKind::NotZero));
        }
        if walk.next_record < next_first_record {
            let kind = DamageKind::EndsEarly {
                found: walk.next_record - 1,
                next: next_first_record,
            };
            return Err(damage(&self.path, walk.offset, kind));
        }
        Ok((walk.next_record, walk.chain))
    }

    /// Finds the first and the last byte in a range that are not zero.
    pub(super) fn not_zero(&self, from: u64, to: u64) -> Result<Option<(u64, u64)>, JournalError> {
        let mut found: Option<(u64, u64)> = None;
        self.chunks(from, to, 0, |at, chunk| {
            if chunk.iter().all(|byte| *byte == 0) {
                return;
            }
            for (i, _) in chunk.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                let here = at + i as u64;
                found = Some((found.map_or(here, |(first, _)| first), here));
            }
        })?;
        Ok(found)
    }

    /// Tells whether a group in a range was written when `record` was already synced.
    ///
    /// Every possible place is looked at, because what lies before it cannot be read.
    pub(super) fn later_group_knows(
        &self,
        from: u64,
        to: u64,
        record: u64,
    ) -> Result<bool, JournalError> {
        let mut knows = false;
        self.chunks(
            from.next_multiple_of(ALIGN as u64),
            to,
            GROUP_HEADER_BYTES,
            |at, chunk| {
                for (i, window) in chunk.windows(GROUP_HEADER_BYTES).enumerate().step_by(ALIGN) {
                    let raw = window.try_into().expect("a window has the size asked for");
                    let header = GroupHeader::decode(raw, self.place(at + i as u64));
                    knows |= header.is_ok_and(|header| header.synced_record >= record);
                }
            },
        )?;
        Ok(knows)
    }

    /// Finds the first place in a range where a group's header can be believed by itself.
    pub(super) fn next_header(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Option<(u64, GroupHeader)>, JournalError> {
        let mut at = from;
        while at + GROUP_HEADER_BYTES as u64 <= to {
            let end = to.min(at + CHUNK_BYTES as u64);
            let mut found = None;
            self.chunks(at, end, 0, |at, chunk| {
                for (i, window) in chunk.windows(GROUP_HEADER_BYTES).enumerate().step_by(ALIGN) {
                    if found.is_some() {
                        return;
                    }
                    let raw = window.try_into().expect("a window has the size asked for");
                    let here = at + i as u64;
                    let header = GroupHeader::decode(raw, self.place(here));
                    found = header.ok().map(|header| (here, header));
                }
            })?;
            if found.is_some() || end == to {
                return Ok(found);
            }
            // The last places looked at had no whole header in this piece.
            at = (end - GROUP_HEADER_BYTES as u64 + 1).next_multiple_of(ALIGN as u64);
        }
        Ok(None)
    }

    /// Calls `see` with pieces of a range, each repeating the last `overlap` bytes of the one before.
    fn chunks(
        &self,
        from: u64,
        to: u64,
        overlap: usize,
        mut see: impl FnMut(u64, &[u8]),
    ) -> Result<(), JournalError> {
        let mut buffer = vec![0; CHUNK_BYTES + overlap];
        let mut at = from;
        while at < to {
            let want = usize::try_from(to - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let read = vfs::read_full(&*self.file, &mut buffer[..want], at)
                .map_err(io_error("reading", &self.path))?;
            see(at, &buffer[..read]);
            if read < want || at + want as u64 == to {
                break;
            }
            at += (want - overlap) as u64;
        }
        Ok(())
    }
}

/// The file name of a segment.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:010}{SEGMENT_ENDING}")
}

pub(super) const SEGMENT_ENDING: &str = ".segment";

/// Reads a segment's number from its file name; only the exact name written by [`segment_name`] counts.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SEGMENT_ENDING)?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The path of a segment.
pub(super) fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(segment_name(segment))
}
