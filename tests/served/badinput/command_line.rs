//! The command line (BL).

use super::environment::ended;
use super::{Tally, World};
use std::io::Read;
use std::process::Stdio;

pub(super) async fn rows(world: &World, tally: &mut Tally) {
    tokio::task::block_in_place(|| {
        usage(world, tally);
        stores(world, tally);
        closed_pipe(world, tally);
    });
}

fn run(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let mut command = world.settings.command();
    command.args(args);
    ended(command)
}

fn usage(world: &World, tally: &mut Tally) {
    for args in [
        &["sing"][..],
        &["explain"],
        &[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "127.0.0.1:0",
        ],
        &["serve", "--no-such-flag"],
        &["admin", "tenant", "create"],
        &["replay", "--since", "yesterday-ish"],
        &["restore"],
    ] {
        let (code, text) = run(world, args);
        let is_right = code == Some(64) && (text.contains("--help") || text.contains("try: "));
        tally.case("BL1", is_right, || format!("{args:?}: {code:?} {text}"));
        tally.panics += text.matches("panicked at").count();
    }
    let long = "t".repeat(10 << 10);
    for id in ["a\nb", long.as_str(), "   ", "t/1", "\u{202e}t1", ""] {
        let (code, text) = run(world, &["admin", "tenant", "create", id]);
        let is_right = matches!(code, Some(1 | 64 | 65)) && !text.is_empty();
        tally.case("BL4", is_right, || format!("{id:.20}: {code:?} {text}"));
        tally.panics += text.matches("panicked at").count();
    }
}

fn stores(world: &World, tally: &mut Tally) {
    let backup = world.settings.folder().join("copy.backup");
    let backup = backup.to_str().unwrap();
    let (code, text) = run(world, &["backup", backup]);
    tally.case("BL2", code == Some(0), || {
        format!("backup: {code:?} {text}")
    });
    // Where a server works, and where somebody else's files are.
    let (code, text) = run(world, &["restore", backup]);
    tally.case("BL2", code == Some(73), || format!("{code:?} {text}"));
    let other = world.settings.folder().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter"), "mine").unwrap();
    let (code, text) = run(
        world,
        &["restore", backup, "--data-dir", other.to_str().unwrap()],
    );
    tally.case("BL2", code == Some(73), || format!("{code:?} {text}"));
    let files = std::fs::read_dir(&other).unwrap().count();
    tally.case("BL2", files == 1, || format!("{files} files where one was"));
    let (code, text) = run(world, &["serve"]);
    let pid = world.server.pid().to_string();
    let is_right = code == Some(73) && text.contains(&pid);
    tally.case("BL5", is_right, || {
        format!("{code:?} without {pid}: {text}")
    });
    // A key that is made is shown once, and nowhere else: the search at the end knows it by its beginning.
    let key = [
        "admin",
        "service-key",
        "create",
        "--name",
        "b",
        "--scope",
        "billing",
    ];
    let (code, text) = run(world, &key);
    let shown = text.matches("sk_bursar_").count();
    tally.case("BL3", (code, shown) == (Some(0), 1), || {
        format!("{code:?} {shown}")
    });
    tally.panics += text.matches("panicked at").count();
}

/// Whoever reads stops reading.
fn closed_pipe(world: &World, tally: &mut Tally) {
    for args in [
        &["openapi"][..],
        &["completions", "bash"],
        &["--help"],
        &["check-config"],
    ] {
        let mut command = world.settings.command();
        command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let mut text = String::new();
        let mut errors = child.stderr.take().unwrap();
        errors.read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        let panics = text.matches("panicked at").count();
        tally.case("BL7", panics == 0, || format!("{args:?}: {text}"));
        tally.panics += panics;
    }
}
