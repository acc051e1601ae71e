//! Records of the journal, changed at random: read or refused, and what was read says the same when it is written again.
//!
//! The corpus holds real records of a store, one of each kind it wrote, and damaged ones (`damaged-…`). A record has no checksum of
//! its own; `journal::tests::fuzz` changes the groups that have it.

use crate::error::StoreError;
use crate::fuzz_engine::fuzz;
use crate::record::{Body, Entry, body_of, decode, encode};
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus")
}

/// The pieces of the tail a record speaks of.
fn bodies_of(entry: &Entry) -> Vec<Body> {
    match entry {
        Entry::Accepted(inputs) => inputs.iter().map(|input| input.body).collect(),
        Entry::Applied(apply) => apply.messages.iter().map(|input| input.body).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_record_is_read_as_what_was_written_or_refused() {
    fuzz("record", &corpus(), |input| {
        let (entry, bodies) = match decode(input) {
            Ok(read) => read,
            Err(StoreError::Damaged { .. } | StoreError::Incompatible(_)) => return,
            Err(other) => panic!("neither damaged nor of another format: {other}"),
        };
        for body in bodies_of(&entry) {
            if let Ok(found) = body_of(input, body) {
                assert_eq!(found.len(), body.len as usize);
            }
        }
        let written = encode(&entry, &[bodies]).expect("what was read can be written");
        let (again, rest) = decode(&written).expect("and read again");
        assert_eq!((again, rest), (entry, bodies));
    });
}

#[test]
fn real_records_are_written_as_they_were_read_and_damaged_ones_are_refused() {
    let (mut real, mut damaged) = (0, 0);
    for file in std::fs::read_dir(corpus().join("record")).unwrap() {
        let path = file.unwrap().path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let bytes = std::fs::read(&path).unwrap();
        if name.starts_with("damaged-") {
            assert!(decode(&bytes).is_err(), "{name}");
            damaged += 1;
            continue;
        }
        let (entry, bodies) = decode(&bytes).unwrap();
        assert_eq!(encode(&entry, &[bodies]).unwrap(), bytes, "{name}");
        for body in bodies_of(&entry) {
            body_of(&bytes, body).unwrap();
        }
        real += 1;
    }
    assert!(real >= 8 && damaged >= 4, "{real} real, {damaged} damaged");
}
