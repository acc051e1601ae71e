//! Environment and configuration files (BE): refused before anything starts, with one code and in words, without a secret.

use super::{Tally, World};
use crate::child::Settings;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// `EX_CONFIG`.
const CONFIG: i32 = 78;

/// Runs a command to its end; one that does not end is killed, and has no code.
pub(super) fn ended(mut command: Command) -> (Option<i32>, String) {
    let spawned = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// A start that has to end so, naming this, and no secret.
fn refused(
    tally: &mut Tally,
    row: &str,
    settings: &Settings,
    args: &[&str],
    codes: &[i32],
    says: &str,
) {
    let mut command = settings.command();
    command.arg("serve").args(args);
    let (code, text) = ended(command);
    let is_right = code.is_some_and(|code| codes.contains(&code)) && text.contains(says);
    tally.case(row, is_right, || {
        format!("{code:?} without {says:?}: {text}")
    });
    let leaks = settings.leaks(&text);
    tally.case(row, leaks.is_empty(), || format!("printed: {leaks:?}"));
    tally.panics += text.matches("panicked at").count();
}

pub(super) async fn rows(world: &World, tally: &mut Tally) {
    let folder = tempfile::tempdir().unwrap();
    let base = Settings::in_folder(folder.path());
    let taken = world.server.address().to_string();
    tokio::task::block_in_place(|| {
        variables(&base, tally);
        addresses(&base, &taken, tally);
        files(&base, folder.path(), tally);
    });
}

fn variables(base: &Settings, tally: &mut Tally) {
    let required = [
        "BURSAR_ADMIN_KEY",
        "BURSAR_JWT_SECRET",
        "APP_BASE_URL",
        "STRIPE_API_KEY",
        "STRIPE_WEBHOOK_SECRET",
    ];
    let mut none = base.clone();
    for name in required {
        refused(
            tally,
            "BE1",
            &base.clone().unset(name),
            &[],
            &[CONFIG],
            name,
        );
        refused(
            tally,
            "BE1",
            &base.clone().env(name, "   "),
            &[],
            &[CONFIG],
            name,
        );
        none = none.unset(name);
    }
    for name in required {
        refused(tally, "BE1", &none, &[], &[CONFIG], name);
    }
    for (row, name, value) in [
        ("BE2", "STRIPE_API_KEY", "pk_test_0123456789abcdefghij"),
        ("BE2", "STRIPE_API_KEY", "sk_test_0123\n456789abcdefghij"),
        ("BE2", "STRIPE_API_KEY", "a key"),
        ("BE3", "STRIPE_WEBHOOK_SECRET", "not-a-webhook-secret-0123"),
        ("BE4", "BURSAR_JWT_SECRET", "CANARY-short-secret"),
        ("BE4", "BURSAR_ADMIN_KEY", "CANARY-short-key"),
        ("BE9", "BURSAR_DRAIN_SECONDS", "5 min"),
        ("BE9", "BURSAR_DRAIN_SECONDS", "-1"),
        ("BE9", "BURSAR_DRAIN_SECONDS", "1e9"),
        ("BE9", "BURSAR_DRAIN_SECONDS", "99999999999999999999"),
        ("BE10", "BURSAR_LIMITS_CONNECTIONS", "0"),
        ("BE10", "BURSAR_LIMITS_CONNECTIONS", "many"),
        ("BE6", "STRIPE_API_BASE", "http://stripe.example.com"),
        (
            "BE6",
            "STRIPE_API_BASE",
            "https://user:CANARYpassword0@stripe.example.com",
        ),
        ("BE6", "STRIPE_API_BASE", "ftp://127.0.0.1"),
        ("BE6", "STRIPE_API_BASE", "127.0.0.1:9"),
        ("BE6", "APP_BASE_URL", "not a url"),
        ("BE1", "BURSAR_SIGNUP", "everybody"),
        ("BE1", "MAIL_TRANSPORT", "pigeon"),
        ("BE1", "TENANT_METADATA_KEYS", " , "),
    ] {
        // What is no secret may be repeated in the words that refuse it.
        let is_secret = row != "BE9" && row != "BE10" && row != "BE1";
        let with = if is_secret {
            base.clone().secret(name, value)
        } else {
            base.clone().env(name, value)
        };
        refused(tally, row, &with, &[], &[CONFIG], name);
    }
    let equal = base
        .clone()
        .env("BURSAR_JWT_SECRET", crate::child::ADMIN_KEY);
    let (code, text) = {
        let mut command = equal.command();
        command.arg("check-config");
        ended(command)
    };
    tally.case("BE4", text.contains("BURSAR_JWT_SECRET"), || {
        format!("{code:?} {text}")
    });
    // A misspelt name is told of, whether it ends the start or not.
    let misspelt = base.clone().env("BURSAR_LISTNE", "127.0.0.1:0");
    let mut command = misspelt.command();
    command.arg("check-config");
    let (_, text) = ended(command);
    tally.case("BE5", text.contains("BURSAR_LISTNE"), || text.clone());
    let store = "postgres://user:CANARYpassword1@db.example.com/bursar";
    let other = base.clone().env("BURSAR_STORE", store);
    refused(
        tally,
        "BE12",
        &other,
        &[],
        &[CONFIG],
        "store_not_in_this_build",
    );
    let mut command = other.command();
    command.arg("serve");
    let (_, text) = ended(command);
    tally.case("BE12", !text.contains("CANARYpassword1"), || text.clone());
    let both = base.clone().env("STRIPE_API_KEY_FILE", "/nowhere");
    refused(tally, "BE1", &both, &[], &[CONFIG], "STRIPE_API_KEY");
}

fn addresses(base: &Settings, taken: &str, tally: &mut Tally) {
    for bad in ["127.0.0.1:70000", "127.0.0.1:-1", "nowhere", ""] {
        let settings = base.clone().env("BURSAR_LISTEN", bad);
        if !bad.is_empty() {
            refused(tally, "BE7", &settings, &[], &[CONFIG], "BURSAR_LISTEN");
        }
        refused(
            tally,
            "BE7",
            base,
            &["--listen", bad],
            &[64, CONFIG],
            "listen",
        );
    }
    let busy = base.clone().env("BURSAR_LISTEN", taken);
    refused(tally, "BE7", &busy, &[], &[69, 75, CONFIG], taken);
}

/// Configuration files that are none, each within the time of a start.
fn files(base: &Settings, folder: &Path, tally: &mut Tally) {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let huge = folder.join("huge.toml");
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let pipe = folder.join("pipe.toml");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for (path, says) in [
        (write("syntax.toml", b"listen = \n"), "syntax.toml"),
        (write("unknown.toml", b"lisen = \"127.0.0.1:0\"\n"), "lisen"),
        (
            write(
                "twice.toml",
                b"listen = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"\n",
            ),
            "twice.toml:2",
        ),
        (
            write("type.toml", b"drain_seconds = \"soon\"\n"),
            "drain_seconds",
        ),
        (write("binary.toml", b"\xff\xfe\x00\x01"), "binary.toml"),
        (folder.join("absent.toml"), "absent.toml"),
        (folder.to_owned(), folder.to_str().unwrap()),
        (huge, "huge.toml"),
        (pipe, "pipe.toml"),
    ] {
        let path = path.display().to_string();
        refused(tally, "BE11", base, &["--config", &path], &[CONFIG], says);
    }
}
