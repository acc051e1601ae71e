//! Reads a journal that may be damaged as far as it can be believed, and beyond, to say what is lost.
//!
//! **Invariants**
//! - What is *kept* is what an undamaged journal of that length would be: every group from the first record that is
//!   there, with checksums, numbers and chain. Nothing after the first doubt is ever part of it.
//! - Groups behind the damage are only named. A group stands for itself (checksums over its place and every record);
//!   the decisions in it rest on what is lost, so they are not done again.
//! - Nothing is changed on disk.
//!
//! **Not here**: what is done about it (`crate::recover`).
//!
//! **Failure**: I/O errors; damage is the answer.

use std::path::Path;

use super::damage::{Damage, DamageKind, JournalError, damage, io_error};
use super::format::{
    ALIGN, Chain, GROUP_HEADER_BYTES, GroupHeader, InstallationId, SEGMENT_HEADER_BYTES,
    check_body, genesis, record_at,
};
use super::mark::{self, MARK_FILE, Mark};
use super::recover::{Names, check_continues, inspect, stated_installation};
use super::scan::{SegmentFile, Step, Walk, segment_path};
use crate::vfs::{self, Access, Vfs};

/// A journal as it was found.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) installation: InstallationId,
    /// Everything that is not what was written; empty for a journal that opens.
    pub(crate) damages: Vec<Damage>,
    /// The last record that can be believed, and where it ends.
    pub(crate) kept: Kept,
    /// The last record that was synced, if the mark still says it.
    pub(crate) marked: Option<u64>,
    /// Records that can be read behind the damage: first and last of each stretch.
    pub(crate) behind: Vec<(u64, u64)>,
}

/// The end of what can be believed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) first_segment: u64,
    pub(crate) first_chain: Chain,
    /// 0: nothing.
    pub(crate) record: u64,
    pub(crate) chain: Chain,
    pub(crate) segment: u64,
    pub(crate) end: u64,
}

impl Kept {
    /// The mark's file of a journal that ends here, closed in order.
    pub(crate) fn mark_bytes(&self, installation: InstallationId) -> Vec<u8> {
        mark::file_of(Mark {
            installation,
            generation: 1,
            record: self.record,
            chain: self.chain,
            segment: self.segment,
            end: self.end,
            first_segment: self.first_segment,
            first_chain: self.first_chain,
            clean: true,
        })
    }
}

/// A record met on the way: its number, whether it can be believed, its payload.
pub(crate) type Each<'a> = &'a mut dyn FnMut(u64, bool, &[u8]);

/// Looks at the journal in `dir`. `None`: there is none.
pub(crate) fn survey(
    vfs: &dyn Vfs,
    dir: &Path,
    each: Each<'_>,
) -> Result<Option<Survey>, JournalError> {
    let verdict = match inspect(vfs, dir, None, u64::MAX) {
        Ok((_, None)) => return Ok(None),
        Ok((_, Some(found))) => Ok(found.tail.record),
        // Nothing is wrong with what a newer program wrote, and this one must not cut it.
        Err(JournalError::Damage(found)) if !is_newer(&found) => Err(found),
        Err(error) => return Err(error),
    };
    let names = Names::read(vfs, dir)?;
    let mark = match mark::read(vfs, dir) {
        Ok(found) => found.map(|found| found.mark),
        Err(JournalError::Damage(_)) => None,
        Err(error) => return Err(error),
    };
    let numbers = names.segments();
    let (Some(oldest), Some(last)) = (numbers.first(), numbers.last()) else {
        // A mark without segments: nothing is left to look at.
        return match verdict {
            Err(found) => Err(found.into()),
            Ok(_) => Ok(None),
        };
    };
    let installation = match &mark {
        Some(mark) => mark.installation,
        None => installation_of(vfs, dir, numbers.iter().copied())?,
    };
    let first_segment = mark.map_or(*oldest, |mark| mark.first_segment.max(1));
    let first_chain = mark.map_or(genesis(installation), |mark| mark.first_chain);
    let mut looking = Looking {
        vfs,
        dir,
        installation,
        each,
        expected: Some((None, first_chain)),
        survey: Survey {
            installation,
            damages: Vec::new(),
            kept: Kept {
                first_segment,
                first_chain,
                record: 0,
                chain: first_chain,
                segment: first_segment,
                end: SEGMENT_HEADER_BYTES as u64,
            },
            marked: mark.map(|mark| mark.record),
            behind: Vec::new(),
        },
    };
    let last = mark.map_or(*last, |mark| mark.segment.max(*last));
    for number in first_segment..=last {
        looking.segment(number, number == last)?;
    }
    let mut survey = looking.survey;
    match verdict {
        // What a crash left behind the last group is no damage.
        Ok(_) => survey.damages.clear(),
        Err(found) if !survey.damages.contains(&found) => survey.damages.insert(0, found),
        Err(_) => {}
    }
    Ok(Some(survey))
}

/// Whose journal it is, by the first segment that says so.
fn installation_of(
    vfs: &dyn Vfs,
    dir: &Path,
    numbers: impl Iterator<Item = u64>,
) -> Result<InstallationId, JournalError> {
    let mut error = damage(&dir.join(MARK_FILE), 0, DamageKind::Missing);
    for number in numbers {
        match stated_installation(vfs, dir, number) {
            Ok(installation) => return Ok(installation),
            Err(found) => error = found,
        }
    }
    Err(error)
}

struct Looking<'a> {
    vfs: &'a dyn Vfs,
    dir: &'a Path,
    installation: InstallationId,
    each: Each<'a>,
    /// What the next segment must continue: the next record (`None`: whatever it says) and the chain. `None`: there
    /// was damage before.
    expected: Option<(Option<u64>, Chain)>,
    survey: Survey,
}

impl Looking<'_> {
    fn segment(&mut self, number: u64, is_last: bool) -> Result<(), JournalError> {
        let path = segment_path(self.dir, number);
        let opened = self.vfs.open(&path, Access::Read);
        let file = match opened.map_err(io_error("opening", &path)) {
            Ok(file) => file,
            Err(JournalError::Damage(found)) => return self.lose(found),
            Err(JournalError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                return self.lose(missing(&path));
            }
            Err(error) => return Err(error),
        };
        let len = file.size().map_err(io_error("measuring", &path))?;
        let segment = SegmentFile {
            file,
            path,
            installation: self.installation,
            segment: number,
        };
        let mut from = SEGMENT_HEADER_BYTES as u64;
        match segment.header() {
            Err(JournalError::Damage(found)) => self.lose(found)?,
            Err(error) => return Err(error),
            Ok(header) => {
                let expected = self.expected;
                if let Some((record, chain)) = expected {
                    let record = record.unwrap_or(header.first_record);
                    match check_continues(&segment, &header, (record, chain)) {
                        Ok(()) => from = self.believe(&segment, &header, len, is_last)?,
                        Err(JournalError::Damage(found)) => self.lose(found)?,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        if self.expected.is_none() {
            self.beyond(&segment, from, len)?;
        }
        Ok(())
    }

    fn lose(&mut self, found: Damage) -> Result<(), JournalError> {
        if is_newer(&found) {
            return Err(found.into());
        }
        self.expected = None;
        self.survey.damages.push(found);
        Ok(())
    }

    /// Walks a segment that continues what can be believed; answers where that ends.
    fn believe(
        &mut self,
        segment: &SegmentFile,
        header: &super::format::SegmentHeader,
        len: u64,
        is_last: bool,
    ) -> Result<u64, JournalError> {
        let mut walk = Walk::new(segment.clone(), header, len);
        let stop = loop {
            match walk.next()? {
                Step::Group(group) => self.show(&walk.body, group.first_record, true),
                Step::Bad(offset, kind) => break Some((offset, kind)),
                Step::End => break None,
            }
        };
        let kept = &mut self.survey.kept;
        kept.record = walk.next_record - 1;
        (kept.chain, kept.segment, kept.end) = (walk.chain, segment.segment, walk.offset);
        let garbage = segment.not_zero(walk.offset, len)?;
        let wrong = stop.or(garbage.map(|(at, _)| (at, DamageKind::NotZero)));
        self.expected = Some((Some(walk.next_record), walk.chain));
        if let Some((offset, kind)) = wrong {
            self.lose(Damage {
                file: segment.path.clone(),
                offset,
                kind,
            })?;
        } else if is_last
            && let Some(marked) = self
                .survey
                .marked
                .filter(|marked| *marked > kept_record(&walk))
        {
            self.lose(Damage {
                file: segment.path.clone(),
                offset: walk.offset,
                kind: DamageKind::EndsBeforeMark {
                    found: kept_record(&walk),
                    marked,
                },
            })?;
        }
        Ok(walk.offset)
    }

    /// Looks for groups behind damage, each standing for itself.
    fn beyond(&mut self, segment: &SegmentFile, from: u64, len: u64) -> Result<(), JournalError> {
        let mut at = from.next_multiple_of(ALIGN as u64);
        while let Some((offset, header)) = segment.next_header(at, len)? {
            at = offset + ALIGN as u64;
            let end = offset.saturating_add(header.total_bytes());
            if header.first_record <= self.survey.kept.record || end > len {
                continue;
            }
            let mut body = vec![0; header.body_bytes as usize];
            let body_at = offset + GROUP_HEADER_BYTES as u64;
            let read = vfs::read_full(&*segment.file, &mut body, body_at);
            let read = read.map_err(io_error("reading", &segment.path))?;
            if read == body.len() && check_body(&header, &body).is_ok() {
                self.show(&body, header.first_record, false);
                self.note(&header);
                at = end;
            }
        }
        Ok(())
    }

    fn note(&mut self, header: &GroupHeader) {
        match self.survey.behind.last_mut() {
            Some((_, last)) if *last + 1 == header.first_record => *last = header.last_record(),
            _ => {
                let stretch = (header.first_record, header.last_record());
                self.survey.behind.push(stretch);
            }
        }
    }

    fn show(&mut self, body: &[u8], first: u64, is_kept: bool) {
        let (mut at, mut number) = (0, first);
        while at < body.len()
            && let Ok(record) = record_at(body, at, number)
        {
            (self.each)(number, is_kept, record.payload);
            (at, number) = (record.next_at(), number + 1);
        }
    }
}

fn is_newer(found: &Damage) -> bool {
    matches!(found.kind, DamageKind::NewerFormat { .. })
}

fn kept_record(walk: &Walk) -> u64 {
    walk.next_record - 1
}

fn missing(path: &Path) -> Damage {
    Damage {
        file: path.to_owned(),
        offset: 0,
        kind: DamageKind::Missing,
    }
}
