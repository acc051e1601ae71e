//! Opens a store of every released format, and refuses newer ones with words (promise P26).
//!
//! Method: `tests/corpus/stores` holds a backup per format, made once by the release that wrote it, and what `verify` said
//! then. The binary restores it, verifies it with the same configuration and must find the same state. Then single parts
//! claim to be of a newer format, with right checksums, and the binary must end with 65, name the part, and
//! change no record and no key.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/stores")
}

fn bursar(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    command
        .env_clear()
        .env("BURSAR_STORE", format!("sled:{}", data.display()))
        .env("BURSAR_PLANS_FILE", stores().join("plans.toml"))
        .env("BURSAR_LOG", "off")
        .args(arguments);
    command.output().expect("the binary runs")
}

fn restored(version: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let file = stores().join(format!("{version}.backup"));
    let done = bursar(
        &dir.path().join("data"),
        &["restore", &file.to_string_lossy()],
    );
    assert!(done.status.success(), "{version}: {done:?}");
    dir
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn versions() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(stores()).expect("the folder is there") {
        let name = entry.expect("it can be read").file_name();
        if let Some(version) = name.to_string_lossy().strip_suffix(".backup") {
            found.push(version.to_owned());
        }
    }
    assert!(!found.is_empty(), "no store of a released format");
    found
}

#[test]
fn a_store_of_every_released_format_is_read_as_it_was() {
    for version in versions() {
        let dir = restored(&version);
        let data = dir.path().join("data");
        let said = fs::read(stores().join(format!("{version}.json"))).expect("what verify said");
        let then: Value = serde_json::from_slice(&said).expect("JSON");
        let done = bursar(&data, &["verify", "--json"]);
        assert!(done.status.success(), "{version}: {done:?}");
        let now = json(&done);
        for same in [
            "stateDigest",
            "aggregates",
            "applies",
            "inputs",
            "ledgerEntries",
            "mismatches",
        ] {
            assert_eq!(now[same], then[same], "{version}: {same}: {now}");
        }
        let shown = json(&bursar(
            &data,
            &["admin", "tenant", "show", "acme", "--json"],
        ));
        assert_eq!(
            shown["name"], "Acme Inc",
            "{version}: personal fields are read: {shown}"
        );
        assert_eq!(shown["planId"], "pro", "{version}: {shown}");
        println!("formats read={version} records={}", now["journalRecords"]);
    }
}

/// The files of a folder and what is in them, but for the journal's mark: who opens a journal of a known format notes
/// that there.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != "mark") {
            let bytes = fs::read(&path).expect("the file can be read");
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

/// Says in the first `header` bytes of a file that its format is 2, under a right checksum.
fn claim_newer(path: &Path, header: usize) {
    let mut bytes = fs::read(path).expect("the file can be read");
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..header - 4]);
    bytes[header - 4..header].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, bytes).expect("the file can be written");
}

fn refused(data: &Path, named: &str) {
    let kept = ["journal", "keys"].map(|part| contents(&data.join(part)));
    let done = bursar(data, &["verify"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(65), "{named}: {done:?}");
    assert!(
        said.contains("format version 2 is newer"),
        "{named}: {said}"
    );
    assert!(said.contains(named), "{named} is not named: {said}");
    let after = ["journal", "keys"].map(|part| contents(&data.join(part)));
    for (kept, after) in kept.iter().zip(&after) {
        let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<(PathBuf, usize)> {
            let sizes = files
                .iter()
                .map(|(path, bytes)| (path.clone(), bytes.len()));
            sizes.collect()
        };
        assert_eq!(names(kept), names(after), "{named}: files came or went");
        assert!(kept == after, "{named}: a file was changed");
    }
}

#[test]
fn a_newer_format_of_a_part_is_refused_with_words_and_nothing_is_changed() {
    let segment = restored("0.1.0");
    let data = segment.path().join("data");
    claim_newer(&data.join("journal/0000000001.segment"), 512);
    refused(&data, "0000000001.segment");
    let keys = restored("0.1.0");
    let data = keys.path().join("data");
    for entry in fs::read_dir(data.join("keys")).expect("keys are there") {
        claim_newer(&entry.expect("it can be read").path(), 64);
    }
    refused(&data, "keys");
    println!("formats refused_newer=yes parts=journal,keys");
}

/// Starts the service and ends it once it listens: what it exited with if it did not get so far, and what it said.
fn serve(data: &Path, key: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    command
        .env_clear()
        .env("BURSAR_STORE", format!("sled:{}", data.display()))
        .env("BURSAR_LISTEN", "127.0.0.1:0")
        .env("BURSAR_METRICS_LISTEN", "127.0.0.1:0")
        .env("BURSAR_ADMIN_KEY", "formats-operator-key-0123456789abcdef")
        .env("BURSAR_JWT_SECRET", "formats-token-secret-0123456789abcdef")
        .env("APP_BASE_URL", "https://billing.example.com")
        .env("STRIPE_API_KEY", key)
        .env("STRIPE_WEBHOOK_SECRET", "whsec_formats_0123456789abcdefgh")
        .env("BURSAR_LOG", "off")
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if key.starts_with("sk_test_") {
        command.env("STRIPE_API_BASE", "http://127.0.0.1:9");
    }
    let mut child = command.spawn().expect("the binary runs");
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let listens = out
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("webhooks in"));
    if listens {
        child.kill().expect("it can be ended");
    }
    let done = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code().filter(|_| !listens), said)
}

#[test]
fn a_store_of_test_mode_is_not_opened_with_a_live_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    assert_eq!(serve(&data, "sk_test_formats_0123456789").0, None);
    let (exit, said) = serve(&data, "sk_live_formats_0123456789");
    assert_eq!(exit, Some(65), "{said}");
    assert!(
        said.contains("test mode, and the key is a live one"),
        "{said}"
    );
    assert_eq!(serve(&data, "sk_test_formats_0123456789").0, None);
}
