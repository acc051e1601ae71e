//! Reads a journal from disk and says whether it is whole, torn at the end, or damaged.
//!
//! **Invariants**
//! - Looking ([`inspect`]) changes nothing on disk; only [`repair`] does, and only what the look allowed.
//! - What was synced is never cut: a cut begins after the mark, and no later group may prove the cut bytes synced.
//! - After a clean close nothing is cut at all: any byte that does not fit is damage.
//!
//! **Not here**: the walk over one segment (`scan`), writing (`writer`).
//!
//! **Failure**: [`JournalError::Damage`] with file and offset. A crash in the middle of a repair leaves a journal
//! that can be inspected and repaired again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::checkpoint_number;
use super::damage::{Damage, DamageKind, JournalError, damage, io_error};
use super::format::{Chain, InstallationId, SegmentHeader};
use super::mark::{self, Found, MARK_FILE, Mark};
use super::scan::{SEGMENT_ENDING, SegmentFile, Step, Walk, segment_number, segment_path};
use super::{SEGMENT_BYTES_MAX, SEGMENTS_MAX};
use crate::vfs::{Access, TEMPORARY, Vfs};

/// What opening a journal found and did. Everything that was changed on disk is in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Whether the journal was new.
    pub created: bool,
    /// Whether the last process closed it in order.
    pub clean: bool,
    /// The first record still there; one more than `last_record` when there is none.
    pub first_record: u64,
    /// The last record, 0 for none.
    pub last_record: u64,
    /// Segments on disk.
    pub segments: usize,
    /// Records read and checked.
    pub checked_records: u64,
    /// The oldest segments, as many, were not read: see [`super::JournalSettings::read_bytes`].
    pub unread_segments: usize,
    /// What was cut off the end, written but never synced.
    pub cut: Option<Cut>,
    /// Damage to one copy of something kept twice, repaired from the other.
    pub repaired: Vec<Damage>,
    /// Files removed: half-written ones, and segments whose retention had ended.
    pub removed: Vec<PathBuf>,
    /// Names in the directory that are not the journal's; they are left alone.
    pub unknown: Vec<PathBuf>,
}

/// Bytes after the last whole group, which a crash left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// The first byte that was cut.
    pub offset: u64,
    /// How many bytes, up to the last one that was not zero.
    pub bytes: u64,
}

/// The last segment and where its records end.
#[derive(Debug)]
pub(super) struct Tail {
    pub segment: u64,
    pub file_bytes: u64,
    pub end: u64,
    pub record: u64,
    pub chain: Chain,
}

/// A segment's number and its first record.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentSpan {
    pub segment: u64,
    pub first_record: u64,
}

/// A journal that can be opened.
#[derive(Debug)]
pub(super) struct Inspection {
    pub installation: InstallationId,
    pub mark: Option<Found>,
    pub segments: Vec<SegmentSpan>,
    pub tail: Tail,
    pub first_chain: Chain,
    pub report: OpenReport,
}

/// The names in a journal's directory, sorted by what they are.
#[derive(Debug, Default)]
pub(super) struct Names {
    segments: BTreeSet<u64>,
    checkpoints: usize,
    temporary: Vec<PathBuf>,
    unknown: Vec<PathBuf>,
}

impl Names {
    pub(super) fn segments(&self) -> &BTreeSet<u64> {
        &self.segments
    }

    pub(super) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Self, JournalError> {
        let mut names = Self::default();
        for name in vfs.list(dir).map_err(io_error("listing", dir))? {
            let path = dir.join(&name);
            if let Some(number) = segment_number(&name) {
                names.segments.insert(number);
            } else if name.ends_with(TEMPORARY) {
                names.temporary.push(path);
            } else if name.ends_with(SEGMENT_ENDING) {
                return Err(damage(&path, 0, DamageKind::Unexpected));
            } else if checkpoint_number(&name).is_some() {
                names.checkpoints += 1;
            } else if name != MARK_FILE {
                names.unknown.push(path);
            }
        }
        if names.segments.len() > SEGMENTS_MAX {
            return Err(damage(
                dir,
                0,
                DamageKind::Length {
                    found: names.segments.len() as u64,
                },
            ));
        }
        Ok(names)
    }
}

/// Reads the journal and changes nothing. `None` when there is none yet.
///
/// Of closed segments so many bytes are read, from the newest back; those before are believed by their headers.
pub(super) fn inspect(
    vfs: &dyn Vfs,
    dir: &Path,
    expected: Option<InstallationId>,
    read_bytes: u64,
) -> Result<(Names, Option<Inspection>), JournalError> {
    let names = Names::read(vfs, dir)?;
    let mark = mark::read(vfs, dir)?;
    let Some(oldest) = names.segments.first().copied() else {
        if let Some(found) = mark {
            let lost = segment_path(dir, found.mark.segment);
            return Err(damage(&lost, 0, DamageKind::Missing));
        }
        if names.checkpoints > 0 {
            return Err(damage(&dir.join(MARK_FILE), 0, DamageKind::Missing));
        }
        return Ok((names, None));
    };
    let first = mark.as_ref().map_or(1, |found| found.mark.first_segment);
    let installation = match (expected, &mark) {
        (Some(id), Some(found)) if found.mark.installation != id => {
            return Err(damage(
                &dir.join(MARK_FILE),
                16,
                DamageKind::ForeignInstallation,
            ));
        }
        (Some(id), _) => id,
        (None, Some(found)) => found.mark.installation,
        (None, None) => stated_installation(vfs, dir, oldest)?,
    };
    let scan = Scan {
        vfs,
        dir,
        installation,
        mark: mark.as_ref().map(|found| found.mark),
    };
    let (segments, tail, first_chain, mut report) = scan.run(&names, first, read_bytes)?;
    report.unknown.clone_from(&names.unknown);
    report
        .repaired
        .extend(mark.as_ref().and_then(|found| found.damaged_slot.clone()));
    Ok((
        names,
        Some(Inspection {
            installation,
            mark,
            segments,
            tail,
            first_chain,
            report,
        }),
    ))
}

/// The installation a segment says it belongs to, when nobody told us ours.
pub(super) fn stated_installation(
    vfs: &dyn Vfs,
    dir: &Path,
    segment: u64,
) -> Result<InstallationId, JournalError> {
    let path = segment_path(dir, segment);
    let file = vfs
        .open(&path, Access::Read)
        .map_err(io_error("opening", &path))?;
    let mut raw = [0; super::format::SEGMENT_HEADER_BYTES];
    let read = crate::vfs::read_full(&*file, &mut raw, 0).map_err(io_error("reading", &path))?;
    SegmentHeader::decode(&raw[..read])
        .map(|header| header.installation)
        .map_err(|(offset, kind)| damage(&path, offset, kind))
}

struct Scan<'a> {
    vfs: &'a dyn Vfs,
    dir: &'a Path,
    installation: InstallationId,
    mark: Option<Mark>,
}

impl Scan<'_> {
    fn open(&self, segment: u64) -> Result<(SegmentFile, u64), JournalError> {
        let path = segment_path(self.dir, segment);
        let file: Arc<_> = self
            .vfs
            .open(&path, Access::Read)
            .map_err(io_error("opening", &path))?;
        let len = file.size().map_err(io_error("measuring", &path))?;
        if len > SEGMENT_BYTES_MAX {
            return Err(damage(
                &path,
                SEGMENT_BYTES_MAX,
                DamageKind::Length { found: len },
            ));
        }
        Ok((
            SegmentFile {
                file,
                path,
                installation: self.installation,
                segment,
            },
            len,
        ))
    }

    fn run(
        &self,
        names: &Names,
        first: u64,
        read_bytes: u64,
    ) -> Result<(Vec<SegmentSpan>, Tail, Chain, OpenReport), JournalError> {
        let kept: Vec<u64> = names.segments.range(first..).copied().collect();
        self.check_numbers(&kept, first)?;
        let read_from = self.read_from(&kept, read_bytes)?;
        let mut report = OpenReport {
            segments: kept.len(),
            ..OpenReport::default()
        };
        report.clean = self.mark.is_some_and(|mark| mark.clean);
        let mut segments: Vec<SegmentSpan> = Vec::with_capacity(kept.len());
        let mut first_chain = super::format::genesis(self.installation);
        let mut marked = Marked {
            mark: self.mark,
            seen: false,
        };
        let mut before: Option<(u64, Chain)> = None;
        let mut headers = kept.iter().copied().peekable();
        while let Some(number) = headers.next() {
            let (segment, len) = self.open(number)?;
            let header = segment.header()?;
            match before {
                None => first_chain = self.check_first(&segment, &header)?,
                Some(before) => check_continues(&segment, &header, before)?,
            }
            segments.push(SegmentSpan {
                segment: number,
                first_record: header.first_record,
            });
            marked.look(
                &segment.path,
                header.first_record - 1,
                &header.previous_chain,
            )?;
            let Some(next) = headers.peek() else {
                let tail = self.last(segment, &header, len, &mut marked, &mut report)?;
                report.first_record = segments[0].first_record;
                report.last_record = tail.record;
                return Ok((segments, tail, first_chain, report));
            };
            let next = self.open(*next)?.0.header()?;
            if number < read_from {
                report.unread_segments += 1;
                before = Some((next.first_record, next.previous_chain));
            } else {
                let end = segment.closed(&header, len, next.first_record, |group| {
                    report.checked_records += u64::from(group.records);
                    marked.look(&segment.path, group.last_record(), &group.chain)
                })?;
                before = Some(end);
            }
        }
        Err(damage(
            &segment_path(self.dir, first),
            0,
            DamageKind::Missing,
        ))
    }

    /// The first segment that is read: with all that follow it has no more bytes than that, or the mark is in it, or
    /// it is the last.
    fn read_from(&self, kept: &[u64], bytes: u64) -> Result<u64, JournalError> {
        let (mut left, mut from) = (bytes, kept.last().copied().unwrap_or(0));
        if bytes == u64::MAX {
            return Ok(0);
        }
        for number in kept.iter().rev() {
            let (_, len) = self.open(*number)?;
            let Some(rest) = left.checked_sub(len) else {
                break;
            };
            (left, from) = (rest, *number);
        }
        Ok(self.mark.map_or(from, |mark| from.min(mark.segment)))
    }

    /// Segments are numbered without a gap from the first that retention kept to at least the marked one.
    fn check_numbers(&self, kept: &[u64], first: u64) -> Result<(), JournalError> {
        let missing = |number| {
            Err(damage(
                &segment_path(self.dir, number),
                0,
                DamageKind::Missing,
            ))
        };
        for (number, expected) in kept.iter().zip(first..) {
            if *number != expected {
                return missing(expected);
            }
        }
        let next = first + kept.len() as u64;
        match self.mark {
            Some(mark) if next <= mark.segment => missing(next),
            // Only the very first start can be interrupted between segment 1 and the mark.
            None if kept.len() != 1 => {
                Err(damage(&self.dir.join(MARK_FILE), 0, DamageKind::Missing))
            }
            _ => Ok(()),
        }
    }

    fn check_first(
        &self,
        segment: &SegmentFile,
        header: &SegmentHeader,
    ) -> Result<Chain, JournalError> {
        let genesis = super::format::genesis(self.installation);
        let expected = self.mark.map_or(genesis, |mark| mark.first_chain);
        if header.previous_chain != expected {
            return Err(damage(&segment.path, 48, DamageKind::Chain));
        }
        if header.first_record == 0 || (header.segment == 1 && header.first_record != 1) {
            let kind = DamageKind::RecordNumber {
                found: header.first_record,
                expected: 1,
            };
            return Err(damage(&segment.path, 40, kind));
        }
        Ok(expected)
    }

    /// Walks the last segment, whose end a crash may have torn.
    fn last(
        &self,
        segment: SegmentFile,
        header: &SegmentHeader,
        len: u64,
        marked: &mut Marked,
        report: &mut OpenReport,
    ) -> Result<Tail, JournalError> {
        let mut walk = Walk::new(segment.clone(), header, len);
        let stop = loop {
            match walk.next()? {
                Step::Group(group) => {
                    report.checked_records += u64::from(group.records);
                    marked.look(&segment.path, group.last_record(), &group.chain)?;
                }
                Step::Bad(offset, kind) => break Some((offset, kind)),
                Step::End => break None,
            }
        };
        let record = walk.next_record - 1;
        let garbage = segment.not_zero(walk.offset, len)?;
        let wrong = stop.or(garbage.map(|(first, _)| (first, DamageKind::NotZero)));
        self.judge_end(&segment, &walk, len, record, marked, wrong)?;
        report.cut = garbage.map(|(_, last)| Cut {
            file: segment.path.clone(),
            offset: walk.offset,
            bytes: last + 1 - walk.offset,
        });
        let (end, chain) = (walk.offset, walk.chain);
        Ok(Tail {
            segment: segment.segment,
            file_bytes: len,
            end,
            record,
            chain,
        })
    }

    /// Decides whether the journal may end where it does, and whether what follows may be cut.
    fn judge_end(
        &self,
        segment: &SegmentFile,
        walk: &Walk,
        len: u64,
        record: u64,
        marked: &Marked,
        wrong: Option<(u64, DamageKind)>,
    ) -> Result<(), JournalError> {
        let as_found = |(offset, kind)| Err(damage(&segment.path, offset, kind));
        let Some(mark) = self.mark else {
            // No mark was ever written, so no record can have been synced.
            return match record == 0 && wrong.is_none() {
                true => Ok(()),
                false => Err(damage(&self.dir.join(MARK_FILE), 0, DamageKind::Missing)),
            };
        };
        if record < mark.record {
            let kind = DamageKind::EndsBeforeMark {
                found: record,
                marked: mark.record,
            };
            return as_found(wrong.unwrap_or((walk.offset, kind)));
        }
        if !marked.seen {
            return Err(damage(&self.dir.join(MARK_FILE), 48, DamageKind::Chain));
        }
        if mark.clean {
            if record > mark.record {
                let kind = DamageKind::AfterCleanMark {
                    found: record,
                    marked: mark.record,
                };
                return as_found((walk.offset, kind));
            }
            return wrong.map_or(Ok(()), as_found);
        }
        match wrong {
            Some(wrong) if segment.later_group_knows(walk.offset, len, record + 1)? => {
                as_found(wrong)
            }
            _ => Ok(()),
        }
    }
}

/// Watches the walk pass the marked record.
struct Marked {
    mark: Option<Mark>,
    seen: bool,
}

impl Marked {
    fn look(&mut self, path: &Path, record: u64, chain: &Chain) -> Result<(), JournalError> {
        if let Some(mark) = self.mark
            && mark.record == record
        {
            if mark.chain != *chain {
                return Err(damage(path, 0, DamageKind::Chain));
            }
            self.seen = true;
        }
        Ok(())
    }
}

/// A segment begins where the one before it ended.
pub(super) fn check_continues(
    segment: &SegmentFile,
    header: &SegmentHeader,
    (next_record, chain): (u64, Chain),
) -> Result<(), JournalError> {
    if header.first_record != next_record {
        let kind = DamageKind::RecordNumber {
            found: header.first_record,
            expected: next_record,
        };
        return Err(damage(&segment.path, 40, kind));
    }
    if header.previous_chain != chain {
        return Err(damage(&segment.path, 48, DamageKind::Chain));
    }
    Ok(())
}

/// Removes leftovers, zeroes what was cut, and makes durable again what a dead process may not have synced.
pub(super) fn repair(
    vfs: &dyn Vfs,
    dir: &Path,
    names: &Names,
    found: &mut Inspection,
) -> Result<(), JournalError> {
    let first = found.segments[0].segment;
    let old = names
        .segments
        .range(..first)
        .map(|number| segment_path(dir, *number));
    for path in names.temporary.iter().cloned().chain(old) {
        vfs.remove(&path).map_err(io_error("removing", &path))?;
        found.report.removed.push(path);
    }
    // A name may be there only in memory: the rename worked and the sync after it did not.
    vfs.sync_dir(dir).map_err(io_error("syncing", dir))?;
    if found.report.clean {
        return Ok(());
    }
    let path = segment_path(dir, found.tail.segment);
    let file = vfs
        .open(&path, Access::Write)
        .map_err(io_error("opening", &path))?;
    // The page cache may show bytes whose sync failed or never came. They are about to be believed, so they are
    // written again: a sync alone would not touch pages the kernel has already given up on.
    let marked = found.mark.as_ref().map(|found| found.mark);
    let from = marked
        .filter(|mark| mark.segment == found.tail.segment)
        .map_or(0, |mark| mark.end);
    rewrite(&*file, from.min(found.tail.end), found.tail.end)
        .map_err(io_error("writing", &path))?;
    if let Some(cut) = &found.report.cut {
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = cut.offset;
        let end = cut.offset + cut.bytes;
        while at < end {
            let n = (end - at).min(ZEROS_BYTES as u64);
            file.write_at(&zeros[..n as usize], at)
                .map_err(io_error("writing", &path))?;
            at += n;
        }
    }
    file.sync_data().map_err(io_error("syncing", &path))
}

const ZEROS_BYTES: usize = 64 << 10;

fn rewrite(file: &dyn crate::vfs::VfsFile, from: u64, to: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; ZEROS_BYTES];
    let mut at = from;
    while at < to {
        let n = usize::try_from(to - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = crate::vfs::read_full(file, &mut buffer[..n], at)?;
        if read < n {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(&buffer[..n], at)?;
        at += n as u64;
    }
    Ok(())
}
