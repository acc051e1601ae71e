//! What of the dependency tree can be checked without a tool or a network: where crates come from, and what the default
//! build leaves out. Licences and the whole tree are cargo-deny's, by `deny.toml` (`.ci/supply`).
//!
//! Method: `Cargo.lock` as text, and the tree as cargo resolves it; each check is tried on something planted, too.

use std::fs;
use std::path::Path;
use std::process::Command;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// How the names begin of what only a feature may bring: databases, AWS, OpenTelemetry. aws-lc is the provider of
/// cryptography.
const OPTIONAL: [&str; 11] = [
    "sqlx",
    "postgres",
    "tokio-postgres",
    "rusqlite",
    "libsqlite",
    "diesel",
    "aws-sig",
    "aws-smithy",
    "aws-cred",
    "opentelemetry",
    "tracing-opentelemetry",
];

fn text_of(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a file of ours")
}

/// The names of what the default build links in. Needs nothing but what that build has downloaded.
fn linked() -> Vec<String> {
    let said = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let error = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{error}");
    let text = String::from_utf8(said.stdout).expect("names");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The value of a key in a package of `Cargo.lock`.
fn value(package: &str, key: &str) -> Option<String> {
    let line = package.lines().find(|line| line.starts_with(key))?;
    Some(line.split('"').nth(1)?.to_owned())
}

/// Packages that are neither ours nor from crates.io with a checksum.
fn from_elsewhere(lock: &str) -> Vec<String> {
    let packages = lock.split("[[package]]").skip(1);
    let foreign = packages.filter(|package| {
        let name = value(package, "name = ").unwrap_or_default();
        let is_ours = name == "bursar" || name.starts_with("bursar-");
        let is_checked = value(package, "source = ").as_deref() == Some(CRATES_IO)
            && value(package, "checksum = ").is_some_and(|sum| sum.len() == 64);
        is_ours == is_checked
    });
    foreign
        .map(|package| value(package, "name = ").unwrap_or_default())
        .collect()
}

fn begins_as_optional(name: &str) -> bool {
    OPTIONAL.iter().any(|start| name.starts_with(start))
}

#[test]
fn every_crate_is_ours_or_from_crates_io_with_a_checksum() {
    let lock = text_of("Cargo.lock");
    assert!(lock.matches("[[package]]").count() > 300);
    assert_eq!(from_elsewhere(&lock), Vec::<String>::new());
    let planted = "[[package]]\nname = \"serde\"\nsource = \"git+https://example.org/serde\"\n\
        [[package]]\nname = \"hex\"\nversion = \"1.0.0\"\n\
        [[package]]\nname = \"bursar-hex\"\nversion = \"1.0.0\"\n";
    assert_eq!(from_elsewhere(planted), ["serde", "hex"]);
}

/// That the names are still the right ones shows in the lock, which knows the crates of every feature.
#[test]
fn the_default_build_links_no_database_nor_cloud_nor_collector() {
    let linked = linked();
    let optional: Vec<&String> = linked
        .iter()
        .filter(|name| begins_as_optional(name))
        .collect();
    assert_eq!(optional, Vec::<&String>::new());
    assert!(linked.iter().any(|name| name == "aws-lc-rs"));
    let lock = text_of("Cargo.lock");
    let locked: Vec<String> = lock
        .split("[[package]]")
        .filter_map(|package| value(package, "name = "))
        .collect();
    for known in ["aws-sigv4", "opentelemetry_sdk", "tracing-opentelemetry"] {
        assert!(locked.iter().any(|name| name == known), "{known}");
        assert!(begins_as_optional(known), "{known}");
    }
}

#[test]
fn the_default_build_links_nothing_that_deny_toml_bans() {
    let policy = text_of("deny.toml");
    let banned: Vec<&str> = policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next())
        .collect();
    for known in ["ring", "openssl-sys", "native-tls", "rsa"] {
        assert!(banned.contains(&known), "{known} is not in {banned:?}");
    }
    let linked = linked();
    assert!(linked.len() > 100, "{linked:?}");
    let found: Vec<&String> = linked
        .iter()
        .filter(|name| banned.contains(&name.as_str()))
        .collect();
    assert_eq!(found, Vec::<&String>::new());
}
