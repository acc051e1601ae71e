//! Segments changed at random, under both kinds of mark: what is served is what was written, up to where it was cut.

use super::*;
use crate::fuzz_engine::fuzz;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus")
}

fn segment() -> PathBuf {
    dir().join("0000000001.segment")
}

/// The journal the corpus was made of, and what it holds: five groups in one segment, closed.
fn history() -> (SimVfs, Vec<Vec<u8>>) {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    for i in 0..5_u8 {
        let (one, other) = (vec![b'a' + i; 90], vec![b'A' + i; 7]);
        journal.append_group(&[&one, &other]).unwrap();
        journal.sync(0).unwrap();
    }
    let payloads = all(&journal);
    journal.close().unwrap();
    (site.vfs.clone(), payloads)
}

/// The same journal's mark after its first group.
fn early_mark() -> Vec<u8> {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    let (one, other) = (vec![b'a'; 90], vec![b'A'; 7]);
    journal.append_group(&[&one, &other]).unwrap();
    journal.sync(0).unwrap();
    drop(journal);
    site.vfs.bytes(&dir().join("mark")).unwrap()
}

#[test]
fn a_segment_is_served_as_it_was_written_or_refused() {
    let (closed, written) = history();
    let whole = closed.bytes(&segment()).unwrap();
    let kept = std::fs::read(corpus().join("segment/whole")).unwrap();
    assert_eq!(kept, whole, "the corpus is of another history");
    let running = closed.copy();
    running.plant(&dir().join("mark"), &early_mark());
    fuzz("segment", &corpus(), |input| {
        // All of it was synced, says the first mark; the first group, says the second.
        for (disk, synced) in [(&closed, written.len()), (&running, 2)] {
            let disk = disk.copy();
            disk.plant(&segment(), input);
            let journal = match Site::on(disk).open() {
                Ok((journal, _)) => journal,
                Err(JournalError::Damage(_)) => continue,
                Err(other) => panic!("no damage: {other}"),
            };
            let served = all(&journal);
            assert!(served.len() >= synced, "{} records", served.len());
            assert!(written.starts_with(&served), "believed: {served:?}");
        }
    });
}
