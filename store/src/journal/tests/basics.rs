//! Writing and reading back.

use super::*;

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
