//! The catalogue of bad journals: each is refused with its file and place, or mended and told.

use super::*;
use crate::vfs::{RealVfs, Vfs};

fn path(name: &str) -> PathBuf {
    dir().join(name)
}

/// A closed journal with four segments.
fn long() -> SimVfs {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    for i in 0..24_u8 {
        journal.append_group(&[&[i; 500]]).unwrap();
        journal.sync(0).unwrap();
    }
    journal.close().unwrap();
    assert!(site.vfs.bytes(&path("0000000004.segment")).is_some());
    site.vfs.clone()
}

fn refused(disk: &SimVfs) -> Damage {
    match Site::on(disk.clone()).open() {
        Err(JournalError::Damage(damage)) => damage,
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
}

fn changed(disk: &SimVfs, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> SimVfs {
    let copy = disk.copy();
    let mut bytes = copy.bytes(&path(name)).unwrap();
    change(&mut bytes);
    copy.plant(&path(name), &bytes);
    copy
}

#[test]
fn a_missing_renamed_or_copied_segment_is_named() {
    for number in 1..=4 {
        let copy = long();
        let name = format!("000000000{number}.segment");
        copy.remove(&path(&name)).unwrap();
        let damage = refused(&copy);
        assert_eq!(
            (damage.file, damage.kind),
            (path(&name), DamageKind::Missing)
        );
    }
    let copy = long();
    let second = copy.bytes(&path("0000000002.segment")).unwrap();
    copy.plant(&path("0000000003.segment"), &second);
    let damage = refused(&copy);
    assert_eq!(damage.kind, DamageKind::Renamed { found: 2 });
    assert_eq!(
        (damage.file, damage.offset),
        (path("0000000003.segment"), 32)
    );
    let copy = long();
    copy.plant(&path("copy of 2.segment"), &second);
    assert_eq!(refused(&copy).kind, DamageKind::Unexpected);
}

#[test]
fn an_older_copy_of_a_segment_is_refused_wherever_it_lies() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    let mut older = Vec::new();
    for i in 0..14_u8 {
        journal.append_group(&[&[i; 500]]).unwrap();
        journal.sync(0).unwrap();
        older.push(site.vfs.copy());
    }
    drop(journal);
    for (step, old) in older.iter().enumerate().take(13) {
        for name in [
            "0000000001.segment",
            "0000000002.segment",
            "0000000003.segment",
        ] {
            let Some(bytes) = old.bytes(&path(name)) else {
                continue;
            };
            if Some(&bytes) != site.vfs.bytes(&path(name)).as_ref() {
                let copy = site.vfs.copy();
                copy.plant(&path(name), &bytes);
                let damage = refused(&copy);
                assert_eq!(damage.file, path(name), "step {step}: {damage}");
            }
        }
    }
}

#[test]
fn absurd_lengths_are_refused_without_believing_them() {
    let disk = long();
    for length in [u32::MAX, 0, 7, i32::MIN.cast_unsigned()] {
        let copy = changed(&disk, "0000000002.segment", |bytes| {
            bytes[512 + 8..512 + 12].copy_from_slice(&length.to_le_bytes());
        });
        assert_eq!(refused(&copy).offset, 512);
        let copy = changed(&disk, "0000000002.segment", |bytes| {
            bytes[512 + 64..512 + 68].copy_from_slice(&length.to_le_bytes());
        });
        assert_eq!(refused(&copy).offset, 512 + 64);
    }
}

#[test]
fn a_lost_journal_a_lost_mark_and_an_old_mark_are_told_apart() {
    let disk = long();
    for number in 1..=4 {
        disk.remove(&path(&format!("000000000{number}.segment")))
            .unwrap();
    }
    assert_eq!(refused(&disk).kind, DamageKind::Missing);
    let disk = long();
    disk.remove(&path("mark")).unwrap();
    let damage = refused(&disk);
    assert_eq!(
        (damage.file, damage.kind),
        (path("mark"), DamageKind::Missing)
    );
    // The journal goes back to an earlier day while the mark stays.
    let disk = long();
    let site = Site::new();
    let (journal, _) = site.open().unwrap();
    journal.close().unwrap();
    site.vfs
        .plant(&path("mark"), &disk.bytes(&path("mark")).unwrap());
    assert_eq!(refused(&site.vfs.copy()).file, path("0000000002.segment"));
}

#[test]
fn another_installation_and_a_newer_format_are_refused() {
    let disk = long();
    let site = Site::on(disk.copy());
    let settings = JournalSettings {
        installation: Some(InstallationId([9; 16])),
        ..small()
    };
    let opened = Journal::open(site.vfs(), &dir(), &site.lock, settings);
    let Err(JournalError::Damage(damage)) = opened else {
        panic!("was opened")
    };
    assert_eq!(
        (damage.file, damage.kind),
        (path("mark"), DamageKind::ForeignInstallation)
    );
    let newer = changed(&disk, "0000000002.segment", |bytes| {
        bytes[8] = 2;
        let sum = crc(&[&bytes[..508]]);
        bytes[508..512].copy_from_slice(&sum.to_le_bytes());
    });
    let damage = refused(&newer);
    assert_eq!(damage.kind, DamageKind::NewerFormat { found: 2, known: 1 });
    assert_eq!(
        (damage.file, damage.offset),
        (path("0000000002.segment"), 8)
    );
}

#[test]
fn half_written_files_are_removed_and_strange_ones_left_and_both_are_told() {
    let disk = long();
    disk.plant(&path("0000000005.segment.tmp"), b"half");
    disk.plant(&path("00000000000000000024.checkpoint.tmp"), b"half");
    disk.plant(&path("notes.txt"), b"mine");
    let (_, report) = Site::on(disk.clone()).open().unwrap();
    assert_eq!(report.removed.len(), 2);
    assert_eq!(report.unknown, [path("notes.txt")]);
    assert_eq!(disk.bytes(&path("0000000005.segment.tmp")), None);
}

#[test]
fn retention_drops_only_what_a_checkpoint_covers_and_the_rest_stays_verifiable() {
    let site = Site::on(long());
    let (mut journal, _) = site.open().unwrap();
    let refusal = drop_before(&mut journal, 20);
    assert!(matches!(
        refusal,
        Err(JournalError::NotCovered { covered: 0, .. })
    ));
    // A reader that began before the drop is told, too.
    let mut slow = journal.reads().records_from(1).unwrap();
    let position = journal
        .reads()
        .records_from(1)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .position;
    write_checkpoint(&journal, journal.head(), [vec![1]]).unwrap();
    let dropped = drop_before(&mut journal, 14).unwrap();
    assert_eq!(
        dropped,
        [path("0000000001.segment"), path("0000000002.segment")]
    );
    let (first, _) = journal.reads().bounds();
    assert!(first > 6 && first <= 14);
    for gone in [
        journal.reads().read_at(&position).map(|_| ()),
        journal.reads().records_from(1).map(|_| ()),
    ] {
        assert!(matches!(gone, Err(JournalError::Dropped { .. })));
    }
    assert!(matches!(
        slow.next(),
        Some(Err(JournalError::Dropped { .. }))
    ));
    assert!(slow.next().is_none());
    journal.close().unwrap();
    let (journal, report) = site.open().unwrap();
    assert_eq!((report.first_record, report.last_record), (first, 24));
    assert_eq!(all(&journal).len() as u64, 25 - first);
    drop(journal);
    // An interrupted drop is finished; a segment too many gone is noticed.
    site.vfs.plant(&path("0000000002.segment"), b"left over");
    assert_eq!(site.open().unwrap().1.removed, [path("0000000002.segment")]);
    site.vfs.remove(&path("0000000003.segment")).unwrap();
    assert_eq!(refused(&site.vfs.copy()).file, path("0000000003.segment"));
}

/// Opens reading no more than the newest segment, then reads the others; gives what is wrong, and how many were read.
fn read_later(disk: SimVfs) -> (Option<Damage>, usize) {
    let site = Site::on(disk);
    let settings = JournalSettings {
        read_bytes: 4096,
        ..small()
    };
    let found = match Journal::open(site.vfs(), &dir(), &site.lock, settings) {
        Err(JournalError::Damage(damage)) => return (Some(damage), 0),
        other => other.unwrap(),
    };
    let (journal, report) = found;
    let (reads, mut read) = (journal.reads(), 0);
    let mut records = report.checked_records;
    for segment in 1..=report.unread_segments as u64 {
        read += 1;
        match reads.closed(segment) {
            Ok(of_it) => records += of_it,
            Err(JournalError::Damage(damage)) => return (Some(damage), read),
            Err(error) => panic!("not a damage: {error}"),
        }
    }
    assert_eq!(records, 24, "none twice and none left out");
    (None, read)
}

#[test]
fn what_is_read_after_opening_is_judged_as_if_it_were_read_before() {
    let disk = long();
    assert_eq!(read_later(disk.copy()), (None, 3));
    let (mut at_once, mut later) = (0, 0);
    for segment in 1..=3 {
        let name = format!("000000000{segment}.segment");
        for at in 0..4096 {
            let hurt = changed(&disk, &name, |bytes| bytes[at] ^= 1 << (at % 8));
            let (damage, read) = read_later(hurt.copy());
            assert_eq!(damage, Some(refused(&hurt)), "{name} {at}");
            *if read == 0 { &mut at_once } else { &mut later } += 1;
        }
    }
    // Headers are read before, what they head after.
    assert_eq!((at_once, later), (3 * 512, 3 * (4096 - 512)));
}

#[test]
fn a_segment_that_is_not_read_before_opening_is_still_missed() {
    let disk = long();
    disk.remove(&path("0000000002.segment")).unwrap();
    let (damage, read) = read_later(disk);
    assert_eq!(damage.unwrap().file, path("0000000002.segment"));
    assert_eq!(read, 0);
}

#[test]
fn the_segment_of_the_mark_is_read_before_opening_whatever_else_is() {
    let disk = long();
    let settings = JournalSettings {
        read_bytes: 0,
        ..small()
    };
    let site = Site::on(disk);
    let (_, report) = Journal::open(site.vfs(), &dir(), &site.lock, settings).unwrap();
    assert_eq!((report.segments, report.unread_segments), (4, 3));
    assert!(report.checked_records > 0 && report.checked_records < 24);
}

#[test]
fn a_checkpoint_that_does_not_fit_the_journal_is_not_used() {
    let site = Site::on(long());
    let (journal, _) = site.open().unwrap();
    write_checkpoint(&journal, journal.head(), [vec![1]]).unwrap();
    let forged = Head {
        chain: [1; 32],
        ..journal.head()
    };
    assert_eq!(latest(&journal).0.unwrap().head(), journal.head());
    write_checkpoint(&journal, forged, [vec![1]]).unwrap();
    let (found, damaged) = latest(&journal);
    assert!(found.is_none());
    assert_eq!(damaged[0].kind, DamageKind::Chain);
}

#[test]
fn links_devices_and_held_directories_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let journal_dir = data.join("journal");
    let real: Arc<dyn Vfs> = Arc::new(RealVfs);
    let lock = DirLock::acquire(&RealVfs, &data, 4711, Path::new("/run/b.sock")).unwrap();
    match DirLock::acquire(&RealVfs, &data, 2, Path::new("/x")) {
        Err(JournalError::Locked {
            process_id, holder, ..
        }) => {
            assert_eq!(process_id, 4711);
            assert!(holder.contains("/run/b.sock"));
        }
        other => panic!("{other:?}"),
    }
    let open = || Journal::open(Arc::clone(&real), &journal_dir, &lock, small());
    let (mut journal, _) = open().unwrap();
    journal.append_group(&[b"kept"]).unwrap();
    journal.close().unwrap();
    let segment = journal_dir.join("0000000001.segment");
    let mode = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(&segment), mode(&journal_dir)), (0o600, 0o700));
    let kind = || match open() {
        Err(JournalError::Damage(damage)) => damage.kind,
        other => panic!("{:?}", other.map(|(_, report)| report)),
    };
    let aside = temp.path().join("aside");
    std::fs::hard_link(&segment, &aside).unwrap();
    assert_eq!(kind(), DamageKind::Refused(crate::vfs::Refused::HardLink));
    std::fs::remove_file(&segment).unwrap();
    std::os::unix::fs::symlink(&aside, &segment).unwrap();
    assert_eq!(
        kind(),
        DamageKind::Refused(crate::vfs::Refused::SymbolicLink)
    );
    std::fs::remove_file(&segment).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &segment).unwrap();
    assert_eq!(
        kind(),
        DamageKind::Refused(crate::vfs::Refused::SymbolicLink)
    );
    std::fs::remove_file(&segment).unwrap();
    std::fs::create_dir(&segment).unwrap();
    assert_eq!(kind(), DamageKind::Refused(crate::vfs::Refused::NotAFile));
    std::fs::remove_dir(&segment).unwrap();
    std::fs::rename(&aside, &segment).unwrap();
    let (journal, _) = open().unwrap();
    assert_eq!(all(&journal), [b"kept"]);
    drop(lock);
    DirLock::acquire(&RealVfs, &data, 2, Path::new("/x")).unwrap();
}

#[test]
fn a_sparse_segment_of_a_tebibyte_is_refused_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(&RealVfs, temp.path(), 1, Path::new("/s")).unwrap();
    let open = || Journal::open(Arc::new(RealVfs), &temp.path().join("j"), &lock, small());
    open().unwrap().0.close().unwrap();
    let segment = temp.path().join("j/0000000001.segment");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let Err(JournalError::Damage(damage)) = open().map(|_| ()) else {
        panic!("was opened")
    };
    assert_eq!(damage.kind, DamageKind::Length { found: 1 << 40 });
}
