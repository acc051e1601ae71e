//! Every operation of an opening, and of a stop, fails in turn: not a few drawn ones.

use crate::faults::wrong;
use crate::load::Load;
use crate::server::{Server, run};
use crate::{Random, mounted, number};
use bursar_disk::{Errno, Plan, PowerDisk};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// More operations than an opening or a stop has.
const OPERATIONS_MAX: u64 = 400;

/// What processes ended with.
type Codes = BTreeMap<Option<i32>, u32>;

/// Sends until this many are acknowledged.
async fn acknowledged(load: &Load, server: &Server, wanted: usize) {
    let running = load.run(server);
    while load.acked() < wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop().await;
}

/// All that was acknowledged is there, once; the process then stops well.
async fn nothing_lost(folder: &Path, load: &Load, swept: &str) {
    let mut server = Server::start(folder).await.expect("it opens");
    let counted = load.count(&server).await;
    println!(
        "{swept} acked={} lost={} double={}",
        load.acked(),
        counted.lost,
        counted.double
    );
    assert_eq!((counted.lost, counted.double), (0, 0));
    assert_eq!(server.terminate(), Some(0), "a clean stop after it all");
}

/// From one operation on all fail; in turns one alone fails, or there is no more room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_fails_anywhere_says_why_and_loses_nothing() {
    let (folder, disk) = mounted();
    let load = Load::default();
    let mut server = Server::start(folder.path()).await.expect("it opens");
    acknowledged(&load, &server, 300).await;
    // A clean stop, so that there are rows to be read, too.
    assert_eq!(server.terminate(), Some(0));
    let (mut failed, mut codes, mut wrongs) = (0, Codes::new(), Vec::new());
    let mut at = 0;
    let mut is_within = true;
    while is_within {
        at += 1;
        assert!(at < OPERATIONS_MAX, "an opening does not end");
        is_within = false;
        let in_turns = [(Errno::Eio, false), (Errno::Enospc, true)][(at % 2) as usize];
        for (errno, lasting) in [(Errno::Eio, true), in_turns] {
            let plan = Plan::Fail { at, errno, lasting };
            disk.plan(Some(plan));
            match Server::start(folder.path()).await {
                Ok(mut server) => server.kill(),
                Err(why) => {
                    *codes.entry(why.code).or_default() += 1;
                    if let Some(what) = wrong(&disk, &why) {
                        wrongs.push(format!("{plan:?}: {what}: {why:?}"));
                    }
                }
            }
            is_within |= end_of(&disk, &mut failed);
        }
    }
    let swept = format!("opening_operations={at} failed={failed} refused_by_code={codes:?}");
    nothing_lost(folder.path(), &load, &swept).await;
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    assert!(!codes.is_empty(), "some operation of an opening is needed");
}

/// Takes the plan back; answers whether anything failed, and counts it.
fn end_of(disk: &PowerDisk, failed: &mut u32) -> bool {
    let has_failed = disk.failed() > 0;
    *failed += u32::from(has_failed);
    disk.plan(None);
    has_failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_fails_anywhere_says_why_and_loses_nothing() {
    let (folder, disk) = mounted();
    let load = Load::default();
    let (mut failed, mut codes, mut wrongs) = (0, Codes::new(), Vec::new());
    let mut at = 0;
    let mut is_within = true;
    while is_within {
        at += 1;
        assert!(at < OPERATIONS_MAX, "a stop does not end");
        let mut server = Server::start(folder.path()).await.expect("it opens");
        acknowledged(&load, &server, load.acked() + 20).await;
        let plan = Plan::Fail {
            at,
            errno: Errno::Eio,
            lasting: true,
        };
        disk.plan(Some(plan));
        let code = server.terminate();
        *codes.entry(code).or_default() += 1;
        let told = server.told();
        // The last operations are of rows already put below: a stop may be over before they matter.
        let is_told = code == Some(0) || told.contains("bursar: ");
        if !matches!(code, Some(0 | 74)) || !is_told {
            wrongs.push(format!("{plan:?}: {code:?}: {told}"));
        }
        is_within = end_of(&disk, &mut failed);
    }
    let swept = format!("stop_operations={at} failed={failed} ended_by_code={codes:?}");
    nothing_lost(folder.path(), &load, &swept).await;
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    let well = codes.get(&Some(0)).copied().unwrap_or_default();
    assert!(
        well * 2 < codes.values().sum(),
        "most failures are told: {codes:?}"
    );
}

/// What a command prints of the store; how many records its own start and end added is of no interest.
fn facts(said: &str) -> Vec<&str> {
    let of_records = ["journal_records=", "chainHead="];
    let is_fact = |line: &&str| !of_records.iter().any(|name| line.starts_with(name));
    said.lines().filter(is_fact).collect()
}

/// A backup becomes a store, on a disk that works.
fn is_whole(folder: &Path, backup: &str) -> bool {
    let made = tempfile::tempdir().unwrap();
    let into = made.path().join("made").display().to_string();
    let (code, said) = run(folder, "restore", &[backup, "--data-dir", &into]);
    if code != Some(0) {
        println!("{said}");
    }
    code == Some(0)
}

/// `verify` and `backup` on a store nobody serves: what they say is right, or they end with a code and a sentence.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_on_a_failing_disk_says_why_or_is_right() {
    let (folder, disk) = mounted();
    let load = Load::default();
    let mut server = Server::start(folder.path()).await.expect("it opens");
    acknowledged(&load, &server, 100).await;
    load.count(&server).await;
    assert_eq!(server.terminate(), Some(0));
    let every = number("BURSAR_SWEEP_EVERY", 5);
    let mut random = Random::from_env();
    let (mut failed, mut codes, mut wrongs) = (0, Codes::new(), Vec::new());
    let backup = folder.path().join("backup.tar").display().to_string();
    for (argument, further) in [("verify", vec![]), ("backup", vec![backup.as_str()])] {
        let (code, right) = run(folder.path(), argument, &further);
        assert_eq!(code, Some(0), "{right}");
        let mut at = 1 + random.below(every);
        let mut is_within = true;
        while is_within {
            assert!(at < OPERATIONS_MAX, "{argument} does not end");
            let plan = Plan::Fail {
                at,
                errno: Errno::Eio,
                lasting: random.below(2) == 0,
            };
            std::fs::remove_file(&backup).ok();
            disk.plan(Some(plan));
            let (code, said) = run(folder.path(), argument, &further);
            *codes.entry(code).or_default() += 1;
            let is_right = match code {
                Some(0) if argument == "backup" => is_whole(folder.path(), &backup),
                Some(0) => facts(&said) == facts(&right),
                Some(65 | 73 | 74) => said.contains("bursar: ") && !said.contains("panicked"),
                _ => false,
            };
            if !is_right {
                wrongs.push(format!("{argument} {plan:?}: {code:?}: {said}"));
            }
            is_within = end_of(&disk, &mut failed);
            at += every;
        }
        std::fs::remove_file(&backup).ok();
    }
    let swept = format!("command_operations failed={failed} ended_by_code={codes:?}");
    nothing_lost(folder.path(), &load, &swept).await;
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}
