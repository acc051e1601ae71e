//! Writing and reading back.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::vfs::RealVfs;

#[test]
fn what_was_synced_is_read_back_in_order_and_by_position() {
    let site = Site::new();
    let (mut journal, report) = site.open().unwrap();
    assert!(report.created);
    let payloads: Vec<Vec<u8>> = (0..100_u8).map(|i| vec![i; usize::from(i) * 3]).collect();
    let mut positions = Vec::new();
    for group in payloads.chunks(3) {
        let group: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
        positions.extend(journal.append_group(&group).unwrap());
        journal.sync(0).unwrap();
    }
    assert_eq!(all(&journal), payloads);
    for (position, payload) in positions.iter().zip(&payloads) {
        assert_eq!(journal.reads().read_at(position).unwrap(), *payload);
        assert_eq!(Position::from_bytes(&position.to_bytes()), *position);
    }
    let head = journal.close().unwrap();
    let (journal, report) = site.open().unwrap();
    assert!(report.clean && report.cut.is_none() && report.repaired.is_empty());
    assert!(report.segments > 3, "{report:?}");
    assert_eq!((journal.head(), report.checked_records), (head, 100));
    assert_eq!(all(&journal), payloads);
    let from_50: Vec<u64> = journal
        .reads()
        .records_from(50)
        .unwrap()
        .map(|record| record.unwrap().number)
        .collect();
    assert_eq!(from_50, (50..=100).collect::<Vec<_>>());
}

#[test]
fn readers_beside_the_writer_see_only_synced_records_and_all_of_them() {
    let temp = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(&RealVfs, temp.path(), 1, Path::new("/s")).unwrap();
    let settings = JournalSettings {
        segment_bytes: 64 << 10,
        ..small()
    };
    let open = || Journal::open(Arc::new(RealVfs), &temp.path().join("j"), &lock, settings);
    let (mut journal, _) = open().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (reads, done) = (journal.reads(), &done);
            scope.spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Acquire) || seen < reads.bounds().1.record {
                    for record in reads.records_from(seen + 1).unwrap() {
                        let record = record.unwrap();
                        seen += 1;
                        assert_eq!(record.number, seen);
                        assert_eq!(record.payload, seen.to_le_bytes());
                        assert_eq!(reads.read_at(&record.position).unwrap(), record.payload);
                    }
                }
                assert_eq!(seen, 600);
            });
        }
        for group in 0..200_u64 {
            let payloads = [1, 2, 3].map(|i| (group * 3 + i).to_le_bytes());
            let positions = journal
                .append_group(&payloads.each_ref().map(|p| &p[..]))
                .unwrap();
            let early = journal.reads().read_at(&positions[0]);
            assert!(matches!(early, Err(JournalError::NotYet { .. })));
            journal.sync(group).unwrap();
        }
        done.store(true, Ordering::Release);
    });
    journal.close().unwrap();
    assert_eq!(open().unwrap().1.checked_records, 600);
}

#[test]
fn the_probe_writes_what_it_says_and_leaves_a_clean_journal() {
    let temp = tempfile::tempdir().unwrap();
    let probe = probe(temp.path(), 3).unwrap();
    assert!(probe.raw_p50_us <= probe.raw_p99_us && probe.journal_p50_us <= probe.journal_p99_us);
    let settings = JournalSettings::default();
    let report = Journal::check(&RealVfs, &temp.path().join("journal"), settings).unwrap();
    assert_eq!((report.clean, report.checked_records), (true, 3 * 65));
}

#[test]
fn a_group_must_hold_something_and_fit_a_segment() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    let most = 4096 - 512 - 64 - 16;
    for (payloads, fits) in [
        (&[][..], false),
        (&[&vec![1; most + 1][..]][..], false),
        (&[&vec![1; most][..]][..], true),
        (&[&[][..]][..], true),
    ] {
        let appended = journal.append_group(payloads);
        assert_eq!(appended.is_ok(), fits);
        assert!(fits || matches!(appended, Err(JournalError::GroupSize { .. })));
    }
    journal.close().unwrap();
    let (journal, report) = site.open().unwrap();
    assert_eq!(
        (all(&journal), report.segments),
        (vec![vec![1; most], vec![]], 2)
    );
}

#[test]
fn a_group_finds_the_room_that_quiet_moments_made_and_waits_for_none() {
    let site = Site::new();
    let settings = JournalSettings {
        segment_bytes: 64 << 10,
        zero_chunk_bytes: 1024,
        room_ahead_bytes: 8 << 10,
        ..small()
    };
    let (mut journal, _) = Journal::open(site.vfs(), &dir(), &site.lock, settings).unwrap();
    let operations = |journal: &mut Journal| {
        let before = site.vfs.operations();
        journal.append_group(&[&[7; 500]]).unwrap();
        journal.sync(0).unwrap();
        site.vfs.operations() - before
    };
    let mut chunks = 0;
    while journal.wants_room() {
        journal.prepare_room().unwrap();
        chunks += 1;
    }
    // One came with the segment.
    assert_eq!(chunks, 7, "a chunk at a time: nobody waits for more");
    journal.prepare_room().unwrap();
    let prepared = operations(&mut journal);
    assert!((0..10).all(|_| operations(&mut journal) == prepared));
    assert!(journal.wants_room());
    // Without a quiet moment it goes on, and a group makes what it lacks.
    let own = (0..10).filter(|_| operations(&mut journal) > prepared);
    assert!(own.count() > 0);
    assert_eq!(all(&journal).len(), 21);
}

#[test]
fn the_mark_is_synced_in_a_quiet_moment_before_a_group_must_do_it() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    let group = |journal: &mut Journal, now_ms| {
        let before = site.vfs.operations();
        journal.append_group(&[b"x"]).unwrap();
        journal.sync(now_ms).unwrap();
        site.vfs.operations() - before
    };
    let usual = group(&mut journal, 1);
    assert!(!journal.wants_mark(49));
    assert!(journal.wants_mark(50));
    journal.sync_mark_early(60).unwrap();
    assert!(!journal.wants_mark(1_000), "nothing was written since");
    assert_eq!(group(&mut journal, 120), usual);
    assert_eq!(group(&mut journal, 170), usual + 1, "no quiet moment came");
}
