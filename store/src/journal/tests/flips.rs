//! Every byte of a closed journal, changed once: nothing passes in silence.

use super::*;
use crate::vfs::Vfs;

/// A closed journal over two segments, with a checkpoint.
fn closed() -> (SimVfs, Vec<Vec<u8>>) {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    for i in 0..9_u8 {
        let (a, b) = (vec![i; 300], vec![i; 131]);
        journal.append_group(&[&a, &b]).unwrap();
        journal.sync(0).unwrap();
    }
    write_checkpoint(&journal, journal.head(), [vec![7; 100], vec![8; 50]]).unwrap();
    let payloads = all(&journal);
    journal.close().unwrap();
    (site.vfs.clone(), payloads)
}

/// Opens a journal and its newest checkpoint; gives an error or a report that tells of the damage.
fn complaint(disk: &SimVfs, expected: &[Vec<u8>]) -> Option<String> {
    let site = Site::on(disk.clone());
    let (journal, report) = match site.open() {
        Ok(opened) => opened,
        Err(JournalError::Damage(damage)) => return Some(damage.to_string()),
        Err(error) => panic!("not a damage: {error}"),
    };
    assert_eq!(all(&journal), expected, "wrong content was believed");
    if !report.repaired.is_empty() || report.cut.is_some() {
        return Some(format!("{report:?}"));
    }
    let (found, damaged) = latest(&journal);
    if let Some(damage) = damaged.first() {
        return Some(damage.to_string());
    }
    let checkpoint = found.expect("one was written");
    let pieces: Result<Vec<_>, _> = checkpoint.pieces().collect();
    assert_eq!(pieces.unwrap(), [vec![7; 100], vec![8; 50]]);
    None
}

#[test]
fn every_byte_of_a_closed_journal_matters() {
    let (disk, expected) = closed();
    assert_eq!(complaint(&disk.copy(), &expected), None);
    let (mut flips, mut silent) = (0, 0);
    for name in disk.list(&dir()).unwrap() {
        let path = dir().join(&name);
        let whole = disk.bytes(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let copy = disk.copy();
            copy.plant(&path, &bytes);
            flips += 1;
            match complaint(&copy, &expected) {
                Some(text) => assert!(text.contains(&name), "{name} {at}: {text}"),
                None => silent += 1,
            }
        }
    }
    println!("flips={flips} silent={silent}");
    assert!(flips > 10_000);
    assert_eq!(silent, 0);
}

#[test]
fn a_flip_before_the_mark_of_an_unclean_journal_is_damage_not_a_torn_tail() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    for i in 0..3_u8 {
        journal.append_group(&[&[i; 200]]).unwrap();
        journal.sync(u64::from(i) * 200).unwrap();
    }
    drop(journal);
    let path = dir().join("0000000001.segment");
    let whole = site.vfs.bytes(&path).unwrap();
    let written = 512 + 3 * (64 + 16 + 200);
    assert!(whole[written - 8] != 0 && whole[written..].iter().all(|byte| *byte == 0));
    for at in 0..written {
        let copy = site.vfs.copy();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        copy.plant(&path, &bytes);
        let opened = Site::on(copy).open();
        assert!(
            matches!(opened, Err(JournalError::Damage(_))),
            "byte {at} was cut"
        );
    }
}

#[test]
fn a_flip_after_an_old_mark_is_damage_when_a_later_group_knew_the_record_as_synced() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    journal.append_group(&[b"before the mark"]).unwrap();
    journal.sync(1_000).unwrap();
    let old_mark = site.vfs.bytes(&dir().join("mark")).unwrap();
    for text in [
        &b"synced after the mark"[..],
        b"written knowing that",
        b"and one more",
    ] {
        journal.append_group(&[text]).unwrap();
        journal.sync(1_001).unwrap();
    }
    drop(journal);
    // After a power cut the mark may be this old.
    site.vfs.plant(&dir().join("mark"), &old_mark);
    let path = dir().join("0000000001.segment");
    let whole = site.vfs.bytes(&path).unwrap();
    let find = |text: &[u8]| {
        whole
            .windows(text.len())
            .position(|window| window == text)
            .unwrap()
    };
    let flipped = |text: &[u8]| {
        let copy = site.vfs.copy();
        let mut bytes = whole.clone();
        bytes[find(text)] ^= 1;
        copy.plant(&path, &bytes);
        Site::on(copy).open()
    };
    for text in [&b"synced after"[..], b"written knowing"] {
        assert!(matches!(flipped(text), Err(JournalError::Damage(_))));
    }
    // Nothing proves the very last group synced: it is cut, and that is said.
    let (journal, report) = flipped(b"and one more").unwrap();
    assert_eq!(journal.head().record, 3);
    assert!(report.cut.is_some_and(|cut| cut.bytes > 64));
}

#[test]
fn the_slot_that_was_synced_last_is_not_the_one_being_rewritten() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    let path = dir().join("mark");
    let mut now_ms = 0;
    for round in 0..6_u8 {
        now_ms += 1_000;
        journal.append_group(&[&[round; 20]]).unwrap();
        journal.sync(now_ms).unwrap();
        let synced = site.vfs.bytes(&path).unwrap();
        for _ in 0..3 {
            journal.append_group(&[&[round; 20]]).unwrap();
            journal.sync(now_ms + 1).unwrap();
        }
        let rewritten = site.vfs.bytes(&path).unwrap();
        let differs = |range: std::ops::Range<usize>| synced[range.clone()] != rewritten[range];
        assert!(
            differs(0..512) != differs(4096..4608),
            "exactly one slot was written"
        );
        // However that slot is torn, the other one still holds the mark that was synced.
        let slot = if differs(0..512) { 0 } else { 4096 };
        let mut torn = rewritten.clone();
        torn[slot + 100..slot + 512].fill(0xEE);
        let copy = site.vfs.copy();
        copy.plant(&path, &torn);
        let (journal, report) = Site::on(copy).open().unwrap();
        assert_eq!(journal.head().record, (u64::from(round) + 1) * 4);
        assert_eq!(report.repaired.len(), 1);
    }
}

#[test]
fn a_group_from_another_history_breaks_the_chain() {
    let history = |first: &[u8]| {
        let site = Site::new();
        let (mut journal, _) = site.open().unwrap();
        for payload in [first, b"the same", b"in both"] {
            journal.append_group(&[payload]).unwrap();
            journal.sync(0).unwrap();
        }
        journal.close().unwrap();
        site.vfs.clone()
    };
    let (ours, other) = (history(b"10 EUR"), history(b"99 EUR"));
    let path = dir().join("0000000001.segment");
    let mut bytes = ours.bytes(&path).unwrap();
    let group = 512..512 + 64 + 16 + 8;
    // Same place, same number, every checksum right: only what follows can tell.
    bytes[group.clone()].copy_from_slice(&other.bytes(&path).unwrap()[group.clone()]);
    ours.plant(&path, &bytes);
    let Err(JournalError::Damage(damage)) = Site::on(ours).open() else {
        panic!("was opened")
    };
    assert_eq!(
        (damage.offset, damage.kind),
        (group.end as u64, DamageKind::Chain)
    );
}
