//! `bursar recover`: says what a damaged store lost, mends it, and gets the rest from Stripe.
//!
//! Invariants: without `--apply` nothing changes, and what is told was rehearsed, not guessed; what was there is kept
//! beside the mended store; what could not be had is named.
//! Exit codes: 0 nothing is damaged, or nothing is missing any more; 1 damage was found and is still there, or
//! something could not be had; 65 nothing can be made of it; 69 Stripe does not answer; 73 a process holds the store.

use super::reach::{block_on, reach, reach_with_stripe};
use super::reconcile::to_the_end;
use super::serve::explain_start;
use crate::app::AppError;
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use bursar_config::{ProcessEnv, load, load_for_tool};
use bursar_domain::ids::Timestamp;
use bursar_store::OpenOptions;
use bursar_store::error::StoreError;
use bursar_store::recover::{Recovery, recover};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

/// Events are asked for from this long before the last record: they arrive late.
const BEFORE_MS: i64 = 60 * 60 * 1_000;
/// How long Stripe keeps events.
const STRIPE_KEEPS_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// Ids on one line of a terminal.
const SHOWN: usize = 20;

/// Arguments of `bursar recover`.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Example: bursar recover --data-dir ./data        (then again with --apply)"
)]
pub struct RecoverArgs {
    /// Put the mended store in place and ask Stripe for the rest; without this it is only told.
    #[arg(long)]
    pub apply: bool,
    /// Take what is damaged from this backup where it has it.
    #[arg(long, value_name = "FILE")]
    pub backup: Option<PathBuf>,
    /// Do not ask Stripe; `bursar reconcile --repair` can do it later.
    #[arg(long)]
    pub without_stripe: bool,
    /// For machines: one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which store.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the command.
///
/// # Errors
/// The store is held, or nothing can be made of it; with `--apply`, a configuration Stripe cannot be asked with.
pub fn run(
    args: &RecoverArgs,
    global: &GlobalArgs,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let load_args = args.config.load_args(global);
    let folder = load_for_tool(&load_args, &ProcessEnv)?
        .config
        .store
        .data_dir()
        .to_owned();
    if !folder.exists() {
        let text = format!("there is no store in {}", folder.display());
        return Err(
            CliError::new(Exit::Unavailable, text).or_try("give its folder with --data-dir")
        );
    }
    let asks_stripe = args.apply && !args.without_stripe;
    if asks_stripe {
        // Before anything is changed.
        load(&load_args, &ProcessEnv)?;
    }
    let now = Timestamp(jiff::Timestamp::now().as_millisecond());
    block_on(async {
        let options = OpenOptions::default();
        let recovered = recover(&folder, args.backup.as_deref(), args.apply, options, now).await;
        let recovery = recovered.map_err(refused)?;
        let mut report = report(&recovery, args, now);
        if asks_stripe && !recovery.is_whole && !recovery.is_complete() {
            ask_stripe(args, global, &recovery, &mut report).await?;
        }
        if args.json {
            writeln!(out, "{report}")?;
        } else {
            out.write_all(render(&report).as_bytes())?;
        }
        Ok(exit(&report))
    })
}

fn refused(error: StoreError) -> CliError {
    match error {
        // Not the advice to call this command.
        StoreError::Damaged { .. } => CliError::new(Exit::Data, error.to_string()),
        other => explain_start(AppError::Store(other)),
    }
}

fn report(recovery: &Recovery, args: &RecoverArgs, now: Timestamp) -> Value {
    let lost = recovery
        .lost()
        .map(|(first, last)| json!({"first": first, "last": last}));
    let since = since(recovery);
    json!({
        "whole": recovery.is_whole,
        "applied": recovery.set_aside.is_some(),
        "damages": recovery.damages,
        "keptRecord": recovery.kept_record,
        "keptUntil": recovery.kept_until.map(told),
        "markedRecord": recovery.marked_record,
        "lostRecords": lost,
        "complete": recovery.is_whole || recovery.is_complete(),
        "fromBackup": recovery.from_backup,
        "backup": args.backup,
        "keysFromBackup": recovery.keys_from_backup,
        "readableBehind": recovery.behind.iter().map(|(first, last)| json!({"first": first, "last": last}))
            .collect::<Vec<_>>(),
        "eventsBehind": recovery.events_behind.0,
        "eventsBehindCount": recovery.events_behind.1,
        "ordersBehind": recovery.orders_behind.0,
        "ordersBehindCount": recovery.orders_behind.1,
        "smallRecordsBehind": recovery.kept_behind,
        "stateDigest": recovery.state_digest,
        "heldBack": recovery.held_back.iter().map(|(lane, count)| (lane.as_str().to_owned(), json!(count)))
            .collect::<serde_json::Map<_, _>>(),
        "setAside": recovery.set_aside,
        "since": since.map(told),
        "olderThanStripeKeeps": since.is_some_and(|since| since.0 < now.0 - STRIPE_KEEPS_MS),
    })
}

fn since(recovery: &Recovery) -> Option<Timestamp> {
    let until = recovery.kept_until?;
    (!recovery.is_whole && !recovery.is_complete()).then_some(Timestamp(until.0 - BEFORE_MS))
}

fn told(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.to_string()
}

/// Takes in what Stripe still has, on a delivery's path, then looks which events nobody gave back.
async fn ask_stripe(
    args: &RecoverArgs,
    global: &GlobalArgs,
    recovery: &Recovery,
    report: &mut Value,
) -> Result<(), CliError> {
    let mut order = json!({"repair": true, "import": false});
    order["since"] = report["since"].clone();
    let mut bursar = reach_with_stripe(&args.config, global, false).await?;
    let ended = to_the_end(&mut bursar, &order, global.quiet).await;
    report["stripe"] = bursar.close(ended).await?;
    // The store is closed and opened again: what was taken in is applied by now or at work.
    let mut bursar = reach(&args.config, global).await?;
    let mut missing = BTreeSet::new();
    for id in &recovery.events_behind.0 {
        if bursar
            .get(&format!("/api/v1/webhook-events/{id}"))
            .await
            .is_err()
        {
            missing.insert(id.clone());
        }
    }
    bursar.close(Ok(())).await?;
    report["eventsMissing"] = json!(missing);
    Ok(())
}

fn exit(report: &Value) -> Exit {
    if report["whole"] == true {
        return Exit::Success;
    }
    if report["applied"] != true {
        return Exit::Differences;
    }
    if report["stripe"]["stripeFailed"] == true {
        return Exit::Unavailable;
    }
    // Whatever is not known to be there again may be missing: orders and small records come from nowhere else.
    if report["complete"] == true && report["keysFromBackup"] != true {
        Exit::Success
    } else {
        Exit::Differences
    }
}

fn render(report: &Value) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if report["whole"] == true {
        say(format!(
            "nothing is damaged: records={}",
            report["keptRecord"]
        ));
        return text;
    }
    for damage in report["damages"].as_array().into_iter().flatten() {
        say(format!("damaged: {}", damage.as_str().unwrap_or("-")));
    }
    for line in found(report) {
        say(line);
    }
    for line in outcome(report) {
        say(line);
    }
    text
}

/// What is there and what is not.
fn found(report: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let word = |field: &str| report[field].as_str().unwrap_or("-").to_owned();
    lines.push(format!(
        "kept: records 1 to {}, the last of {}, stateDigest={}",
        report["keptRecord"],
        word("keptUntil"),
        word("stateDigest")
    ));
    match &report["lostRecords"] {
        Value::Null if report["markedRecord"].is_null() => lines.push(
            "lost: nobody knows; the mark that says how far the journal went is damaged".to_owned(),
        ),
        Value::Null => lines.push("lost: no record".to_owned()),
        lost => lines.push(format!(
            "lost: records {} to {}",
            lost["first"], lost["last"]
        )),
    }
    for one in report["fromBackup"].as_array().into_iter().flatten() {
        lines.push(format!(
            "from the backup: journal/{}",
            one.as_str().unwrap_or("-")
        ));
    }
    if report["keysFromBackup"] == true {
        lines.push(
            "from the backup: keys and journal; what came later is sealed under keys that are gone"
                .to_owned(),
        );
    }
    for stretch in report["readableBehind"].as_array().into_iter().flatten() {
        lines.push(format!(
            "readable behind the damage, and not done again: records {} to {}",
            stretch["first"], stretch["last"]
        ));
    }
    lines.extend(named(report, "events in them", "eventsBehind"));
    lines.extend(named(report, "orders in them", "ordersBehind"));
    if report["smallRecordsBehind"].as_u64() > Some(0) {
        lines.push(format!(
            "changes of people, keys or settings in them: {}",
            report["smallRecordsBehind"]
        ));
    }
    lines
}

fn named(report: &Value, what: &str, field: &str) -> Option<String> {
    let count = report[format!("{field}Count")].as_u64().unwrap_or(0);
    let ids = report[field].as_array()?;
    (count > 0).then(|| {
        let shown: Vec<&str> = ids.iter().take(SHOWN).filter_map(Value::as_str).collect();
        let more = if count > shown.len() as u64 {
            " …"
        } else {
            ""
        };
        format!("{what}: {count}: {}{more}", shown.join(" "))
    })
}

/// What was done, or would be.
fn outcome(report: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let held: Vec<String> = report["heldBack"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(lane, count)| format!("{lane}={count}"))
        .collect();
    if !held.is_empty() {
        lines.push(format!(
            "held back, because it may have been done since: {}",
            held.join(" ")
        ));
    }
    let since = report["since"].as_str();
    if report["applied"] != true {
        lines.push(
            "nothing was changed; with --apply the mended store takes this one's place".to_owned(),
        );
        if let Some(since) = since {
            lines.push(format!(
                "and Stripe is asked for everything since {since}, as `bursar reconcile --repair` does"
            ));
        }
    } else {
        lines.push(format!(
            "mended; what was there before, keys of personal data among it: {} (remove it when nobody needs it)",
            report["setAside"].as_str().unwrap_or("-")
        ));
        match (&report["stripe"], since) {
            (Value::Null, Some(since)) => lines.push(format!(
                "Stripe was not asked: bursar reconcile --repair --since {since}"
            )),
            (Value::Null, None) => {}
            (stripe, _) => lines.push(format!(
                "from Stripe: looked_at={} missing={} repaired={} failed={}",
                stripe["lookedAt"], stripe["missing"], stripe["repaired"], stripe["failed"]
            )),
        }
        for id in report["eventsMissing"].as_array().into_iter().flatten() {
            lines.push(format!(
                "could not be had: event {}",
                id.as_str().unwrap_or("-")
            ));
        }
    }
    if report["olderThanStripeKeeps"] == true {
        lines.push(
            "Stripe keeps events for 30 days: what is older comes back as the state of its object alone"
                .to_owned(),
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged() -> Value {
        json!({"whole": false, "applied": false, "damages": ["journal/1 at byte 7: is missing"], "keptRecord": 10,
            "keptUntil": "2025-05-12T10:00:00Z", "markedRecord": 30, "lostRecords": {"first": 11, "last": 30},
            "complete": false, "fromBackup": [], "keysFromBackup": false,
            "readableBehind": [{"first": 14, "last": 30}], "eventsBehind": ["evt_1"], "eventsBehindCount": 1,
            "ordersBehind": [], "ordersBehindCount": 0, "smallRecordsBehind": 2, "stateDigest": "ab",
            "heldBack": {"mail": 3}, "setAside": null, "since": "2025-05-12T09:00:00Z",
            "olderThanStripeKeeps": false})
    }

    #[test]
    fn a_rehearsal_says_what_is_lost_and_what_would_be_done() {
        let text = render(&damaged());
        assert!(
            text.starts_with("damaged: journal/1 at byte 7: is missing\nkept: records 1 to 10")
        );
        assert!(text.contains("lost: records 11 to 30\n"), "{text}");
        assert!(text.contains("events in them: 1: evt_1\n") && text.contains("mail=3"));
        assert!(
            text.contains("nothing was changed") && text.contains("since 2025-05-12T09:00:00Z")
        );
        assert_eq!(exit(&damaged()), Exit::Differences);
    }

    #[test]
    fn success_means_that_nothing_is_missing() {
        let mut report = damaged();
        report["applied"] = true.into();
        assert_eq!(exit(&report), Exit::Differences, "orders come from nowhere");
        report["stripe"] = json!({"stripeFailed": true});
        assert_eq!(exit(&report), Exit::Unavailable);
        report["complete"] = true.into();
        report["stripe"] = Value::Null;
        assert_eq!(exit(&report), Exit::Success);
        assert_eq!(exit(&json!({"whole": true})), Exit::Success);
    }
}
