//! Power cuts and failing disks at every step: what was acknowledged stays, opening never fails.

use super::*;
use crate::vfs::{Errno, Fault};

/// SplitMix64, so that a printed seed repeats a case anywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn cases(default: u64) -> u64 {
    std::env::var("BURSAR_CASES").map_or(default, |cases| cases.parse().unwrap())
}

/// What a client of the journal believes.
#[derive(Default)]
struct Beliefs {
    /// Every payload ever appended, by record number from 1; later appends replace those that were cut.
    written: Vec<Vec<u8>>,
    /// How many of them are synced: those must stay.
    acknowledged: usize,
    clock_ms: u64,
    cuts: u64,
}

impl Beliefs {
    /// Appends and syncs at random until `steps` are done or the disk fails.
    fn work(
        &mut self,
        journal: &mut Journal,
        random: &mut Random,
        steps: u64,
    ) -> Option<JournalError> {
        for _ in 0..steps {
            self.clock_ms += random.below(60);
            let done = match random.below(10) {
                0 => journal.prepare_room(),
                1..=5 => self.append(journal, random),
                6 => self.checkpoint_and_drop(journal, random),
                _ => journal.sync(self.clock_ms).map(|head| {
                    self.acknowledged = usize::try_from(head.record).unwrap();
                }),
            };
            if let Err(error) = done {
                return Some(error);
            }
        }
        None
    }

    fn append(&mut self, journal: &mut Journal, random: &mut Random) -> Result<(), JournalError> {
        let group: Vec<Vec<u8>> = (0..=random.below(3))
            .map(|_| {
                let len = usize::try_from(random.below(700)).unwrap();
                let fill = u8::try_from(random.below(256)).unwrap();
                vec![fill; len]
            })
            .collect();
        let parts: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
        // Even a failed append may have left bytes that the next open finds whole.
        let before = self.written.len();
        self.written.extend(group.iter().cloned());
        let positions = journal.append_group(&parts)?;
        let numbers: Vec<u64> = positions.iter().map(|position| position.record).collect();
        let expected: Vec<u64> = (before as u64 + 1..=self.written.len() as u64).collect();
        assert_eq!(numbers, expected);
        Ok(())
    }

    fn checkpoint_and_drop(
        &mut self,
        journal: &mut Journal,
        random: &mut Random,
    ) -> Result<(), JournalError> {
        if random.below(4) > 0 {
            return Ok(());
        }
        let pieces = (0..3_u8).map(|i| vec![i; 40]);
        write_checkpoint(journal, journal.head(), pieces)?;
        let before = journal.head().record + 1;
        drop_before(journal, before)?;
        Ok(())
    }

    /// Compares a freshly opened journal with what was promised, and accepts what survived beyond it.
    ///
    /// Gives the disk's error when the comparison itself met the planned failure.
    fn check(&mut self, journal: &Journal, report: &OpenReport, seed: u64) -> Option<JournalError> {
        let found = match try_all(journal) {
            Ok(found) => found,
            Err(error) => return Some(error),
        };
        let (first, head) = journal.reads().bounds();
        let (first, last) = (
            usize::try_from(first).unwrap(),
            usize::try_from(head.record).unwrap(),
        );
        assert!(
            last >= self.acknowledged,
            "seed {seed}: {last} < {}",
            self.acknowledged
        );
        assert!(
            last <= self.written.len(),
            "seed {seed}: records nobody wrote"
        );
        assert_eq!(found, self.written[first - 1..last], "seed {seed}");
        self.cuts += u64::from(report.cut.is_some());
        self.written.truncate(last);
        self.acknowledged = last;
        None
    }
}

#[test]
fn no_power_cut_takes_an_acknowledged_record_or_keeps_the_journal_shut() {
    let runs = cases(300);
    let (mut cut_tails, mut power_cuts) = (0, 0);
    for seed in 0..runs {
        let mut random = Random(seed);
        let mut beliefs = Beliefs::default();
        let disk = SimVfs::new();
        for round in 0..5 {
            let site = Site::on(disk.clone());
            let (mut journal, report) = site
                .open()
                .unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            assert!(beliefs.check(&journal, &report, seed).is_none());
            assert!(report.repaired.is_empty(), "seed {seed}: {report:?}");
            let steps = random.below(25);
            assert!(
                beliefs.work(&mut journal, &mut random, steps).is_none(),
                "seed {seed}"
            );
            match random.below(8) {
                0 => {
                    journal.close().unwrap();
                    beliefs.acknowledged = beliefs.written.len();
                }
                // A kill: the process goes, the page cache stays.
                1 => drop(journal),
                _ => {
                    drop(journal);
                    power_cuts += 1;
                    disk.power_cut(seed * 31 + round);
                }
            }
        }
        cut_tails += beliefs.cuts;
    }
    println!("seeds=0..{runs} power_cuts={power_cuts} cut_tails={cut_tails} lost=0");
    assert!(
        cut_tails * 20 > power_cuts,
        "the cuts must tear something to mean anything"
    );
}

#[test]
fn a_power_cut_in_the_middle_of_any_operation_loses_nothing_acknowledged() {
    let mut points = 0;
    for seed in 0..cases(300).div_ceil(60) {
        for at in 0.. {
            let disk = SimVfs::new();
            let (mut random, mut beliefs) = (Random(seed), Beliefs::default());
            // Everything from operation `at` on fails, then the power goes: a crash at exactly that step.
            disk.fail(Fault {
                at,
                errno: Errno::Eio,
                lasting: true,
            });
            let done = session(&disk, &mut random, &mut beliefs, seed);
            disk.power_cut(seed * 1_000 + at);
            let site = Site::on(disk.clone());
            let opened = site.open();
            let (journal, report) = opened.unwrap_or_else(|e| panic!("seed {seed} at {at}: {e}"));
            assert!(beliefs.check(&journal, &report, seed).is_none());
            points += 1;
            if done.is_none() {
                break;
            }
        }
    }
    println!("crash_points={points} lost=0");
    assert!(points > 100);
}

/// Opens, works, opens again and works: the failing step may be in recovery, too.
fn session(
    disk: &SimVfs,
    random: &mut Random,
    beliefs: &mut Beliefs,
    seed: u64,
) -> Option<JournalError> {
    let lock = |disk: &SimVfs| DirLock::acquire(disk, Path::new("/data"), 1, Path::new("/s"));
    for _ in 0..2 {
        let lock = match lock(disk) {
            Ok(lock) => lock,
            Err(error) => return Some(error),
        };
        let site = Site {
            vfs: disk.clone(),
            lock,
        };
        let (mut journal, report) = match site.open() {
            Ok(opened) => opened,
            Err(error) => return Some(error),
        };
        if let Some(error) = beliefs.check(&journal, &report, seed) {
            return Some(error);
        }
        if let Some(error) = beliefs.work(&mut journal, random, 30) {
            return Some(error);
        }
    }
    None
}

#[test]
fn a_disk_that_fails_at_any_step_is_heard_and_loses_nothing() {
    let (mut faults, mut recovered) = (0, 0);
    for errno in [Errno::Enospc, Errno::Eio, Errno::Erofs] {
        for lasting in [false, true] {
            for at in 0.. {
                let disk = SimVfs::new();
                let (mut random, mut beliefs) = (Random(7), Beliefs::default());
                disk.fail(Fault { at, errno, lasting });
                let failed = session(&disk, &mut random, &mut beliefs, 7);
                let Some(error) = failed else { break };
                assert!(
                    matches!(error, JournalError::Io { .. }),
                    "{errno:?} at {at}: {error} instead of the disk's own error"
                );
                faults += 1;
                disk.heal();
                // The same machine goes on: nothing but opening again may be needed.
                let opened = Site::on(disk.clone()).open();
                let (mut journal, report) =
                    opened.unwrap_or_else(|e| panic!("{errno:?} {lasting} at {at}: {e}"));
                assert!(beliefs.check(&journal, &report, at).is_none());
                assert!(beliefs.work(&mut journal, &mut random, 5).is_none());
                // And then the power goes: what a failed sync left in memory must not have been believed.
                drop(journal);
                disk.power_cut(at);
                let (journal, report) = Site::on(disk.clone()).open().unwrap();
                assert!(beliefs.check(&journal, &report, at).is_none());
                recovered += 1;
            }
        }
    }
    println!("io_faults={faults} recovered={recovered} lost=0");
    assert!(faults > 200 && faults == recovered);
}

#[test]
fn after_a_failed_sync_the_journal_is_poisoned_and_a_full_disk_is_not() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    let filler = vec![1; 1000];
    // The zeros ahead do not suffice, so room must be made first, and there is none.
    site.vfs.fail(Fault {
        at: site.vfs.operations(),
        errno: Errno::Enospc,
        lasting: true,
    });
    assert!(matches!(
        journal.append_group(&[&filler]),
        Err(JournalError::Io { .. })
    ));
    site.vfs.heal();
    journal.append_group(&[&filler]).unwrap();
    journal.sync(0).unwrap();
    journal.append_group(&[b"doomed"]).unwrap();
    site.vfs.fail(Fault {
        at: site.vfs.operations(),
        errno: Errno::Eio,
        lasting: false,
    });
    assert!(matches!(journal.sync(0), Err(JournalError::Io { .. })));
    for _ in 0..2 {
        assert!(matches!(
            journal.sync(0),
            Err(JournalError::Poisoned { .. })
        ));
        assert!(matches!(
            journal.append_group(&[b"x"]),
            Err(JournalError::Poisoned { .. })
        ));
    }
    assert_eq!(journal.head().record, 1);
    assert!(matches!(
        journal.close(),
        Err(JournalError::Poisoned { .. })
    ));
}
