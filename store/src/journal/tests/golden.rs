//! The bytes on disk, written out: a change here is a change of format and needs a new version.

use super::*;

/// Bytes as hex, with runs of zeros of 8 and more shortened to `[n]`.
fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        if zeros >= 8 {
            out.push_str(&format!("[{zeros}]"));
            rest = &rest[zeros..];
        } else {
            out.push_str(&format!("{first:02x}"));
            rest = &rest[1..];
        }
    }
    out
}

#[test]
fn the_bytes_of_segment_group_record_mark_and_checkpoint_stay_as_they_are() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    journal.append_group(&[b"accepted", b"x"]).unwrap();
    journal.sync(0).unwrap();
    let checkpoint = write_checkpoint(&journal, journal.head(), [b"rows".to_vec()]);
    let checkpoint = site.vfs.bytes(&checkpoint.unwrap()).unwrap();
    journal.close().unwrap();
    let segment = site.vfs.bytes(&dir().join("0000000001.segment")).unwrap();
    let mark = site.vfs.bytes(&dir().join("mark")).unwrap();
    let golden = include_str!("golden.txt");
    let found = format!(
        "segment {}\ngroup {}\nmark {}\nmark {}\ncheckpoint {}\n",
        hex(&segment[..512]),
        hex(&segment[512..]),
        hex(&mark[..4096]),
        hex(&mark[4096..]),
        hex(&checkpoint),
    );
    assert_eq!(found, golden, "found:\n{found}");
}

#[test]
fn the_chain_can_be_computed_from_the_documented_rule_alone() {
    let site = Site::new();
    let (mut journal, _) = site.open().unwrap();
    journal.append_group(&[b"accepted"]).unwrap();
    let head = journal.sync(0).unwrap();
    let bytes = site.vfs.bytes(&dir().join("0000000001.segment")).unwrap();
    let before = sha256(&[b"bursar journal", &ID.0]);
    assert_eq!(bytes[48..80], before);
    let group = &bytes[512..512 + 64 + 24];
    assert_eq!(head.chain, sha256(&[&before, &group[8..32], &group[64..]]));
    let sum = crc(&[
        &ID.0,
        &1_u64.to_le_bytes(),
        &512_u64.to_le_bytes(),
        &group[8..64],
    ]);
    assert_eq!(group[4..8], sum.to_le_bytes());
    let record = crc(&[&1_u64.to_le_bytes(), &8_u64.to_le_bytes(), b"accepted"]);
    assert_eq!(group[68..72], record.to_le_bytes());
}
