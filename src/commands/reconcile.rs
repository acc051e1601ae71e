//! `bursar reconcile`: compares with Stripe, and repairs if told to.
//!
//! Exit codes: 0 nothing is wrong, or all of it was repaired; 1 differences were found and are still
//! there; 69 Stripe does not answer.

use super::reach::{Reached, block_on, reach_with_stripe};
use super::table::{cell, change_words};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use crate::http::fields::parse_time;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How often a run under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks between two lines where no terminal is.
const LOOKS_A_LINE: u32 = 20;

/// Arguments of `bursar reconcile`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar reconcile        (then again with --repair)")]
pub struct ReconcileArgs {
    /// Take in what is missing or differs; without this it is only told.
    #[arg(long)]
    pub repair: bool,
    /// Fill a store without billing rows with everything Stripe has.
    #[arg(long, conflicts_with = "repair")]
    pub import: bool,
    /// Look back until then (RFC 3339); without it, until where the last one looked, at first 30 days.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
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
/// The store cannot be reached, another comparison runs, or the server refuses.
pub fn run(
    args: &ReconcileArgs,
    global: &GlobalArgs,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let order = order(args)?;
    block_on(async {
        let mut bursar = reach_with_stripe(&args.config, global, args.import).await?;
        let ended = to_the_end(&mut bursar, &order, global.quiet).await;
        let report = bursar.close(ended).await?;
        if args.json {
            writeln!(out, "{report}")?;
        } else {
            out.write_all(render(&report).as_bytes())?;
        }
        Ok(exit(&report))
    })
}

fn order(args: &ReconcileArgs) -> Result<Value, CliError> {
    let mut order = json!({"repair": args.repair, "import": args.import});
    if let Some(since) = &args.since {
        if parse_time(since).is_none() {
            let text = format!("--since takes a time (RFC 3339); {since:?} is none");
            return Err(CliError::new(Exit::Usage, text).or_try("--since 2025-05-12T10:00:00Z"));
        }
        order["since"] = since.as_str().into();
    }
    Ok(order)
}

/// Runs until there is no more, and answers the sum of all reports.
pub(super) async fn to_the_end(
    bursar: &mut Reached,
    order: &Value,
    quiet: bool,
) -> Result<Value, CliError> {
    let mut sum = Value::Null;
    loop {
        let mut report = bursar.post("/api/v1/reconcile", order).await?;
        let mut looks = 0;
        while report["status"] == "running" {
            if !quiet {
                progress(&report, looks);
            }
            looks += 1;
            tokio::time::sleep(LOOK_EVERY).await;
            report = bursar.get("/api/v1/reconcile").await?;
        }
        if !quiet {
            progress(&report, 0);
            if std::io::stderr().is_terminal() {
                eprintln!();
            }
        }
        let has_more = report["hasMore"] == true && report["status"] == "done";
        sum = added(sum, report);
        if !has_more {
            return Ok(sum);
        }
    }
}

fn progress(report: &Value, looks: u32) {
    let kinds = report["byObject"].as_object().into_iter().flatten();
    let kinds: Vec<String> = kinds
        .map(|(kind, counts)| format!("{kind} {}", counts["lookedAt"]))
        .collect();
    let line = format!("looked at: {}", kinds.join(", "));
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{line}");
    } else if looks.is_multiple_of(LOOKS_A_LINE) {
        eprintln!("{line}");
    }
}

const FIGURES: [&str; 5] = ["lookedAt", "missing", "drifted", "repaired", "failed"];

/// One report of two: the later's words, both's figures.
fn added(before: Value, mut report: Value) -> Value {
    if before.is_null() {
        return report;
    }
    let add = |into: &mut Value, from: &Value| {
        for figure in FIGURES {
            let both = into[figure].as_u64().unwrap_or(0) + from[figure].as_u64().unwrap_or(0);
            into[figure] = both.into();
        }
    };
    add(&mut report, &before);
    for (kind, counts) in before["byObject"].as_object().into_iter().flatten() {
        add(&mut report["byObject"][kind.as_str()], counts);
    }
    for list in ["drift", "errors"] {
        let mut all = before[list].as_array().cloned().unwrap_or_default();
        all.extend(report[list].as_array().into_iter().flatten().cloned());
        report[list] = all.into();
    }
    report["startedAt"] = before["startedAt"].clone();
    report
}

fn exit(report: &Value) -> Exit {
    let count = |figure: &str| report[figure].as_u64().unwrap_or(0);
    if report["stripeFailed"] == true {
        Exit::Unavailable
    } else if report["status"] != "done" || count("failed") > 0 {
        Exit::TryAgain
    } else if report["mode"] != "import" && count("missing") + count("drifted") > count("repaired")
    {
        Exit::Differences
    } else {
        Exit::Success
    }
}

fn render(report: &Value) -> String {
    let mut text = String::new();
    for line in report["drift"].as_array().into_iter().flatten() {
        let account = match line["account"].as_str() {
            Some(account) => format!(" on {}", cell(&account.into())),
            None => String::new(),
        };
        let (object, id) = (cell(&line["object"]), cell(&line["objectId"]));
        let words = match line["field"].as_str() {
            Some("unknown") => "nobody told of it".to_owned(),
            Some("ledger") => format!("money not booked: {}", cell(&line["to"])),
            Some("personal") => "a personal field differs".to_owned(),
            _ => change_words(line),
        };
        text.push_str(&format!("  {object} {id}{account}: {words}\n"));
    }
    for trouble in report["errors"].as_array().into_iter().flatten() {
        let account = trouble["account"].as_str().unwrap_or("the platform");
        let object = cell(&trouble["object"]);
        text.push_str(&format!(
            "  failed: {object} of {account}: {}\n",
            cell(&trouble["error"])
        ));
    }
    for (kind, counts) in report["byObject"].as_object().into_iter().flatten() {
        text.push_str(&format!("{kind}: {}\n", figures(counts)));
    }
    text.push_str(&format!("{}\n", figures(report)));
    let count = |figure: &str| report[figure].as_u64().unwrap_or(0);
    if report["mode"] == "check" && count("missing") + count("drifted") > 0 {
        text.push_str("nothing was changed; run it again with --repair to take it in\n");
    }
    text
}

fn figures(counts: &Value) -> String {
    let words = FIGURES.map(|figure| {
        let name = if figure == "lookedAt" {
            "looked_at"
        } else {
            figure
        };
        format!("{name}={}", counts[figure])
    });
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(mode: &str, missing: u64, repaired: u64) -> Value {
        json!({"mode": mode, "status": "done", "lookedAt": 10, "missing": missing, "drifted": 1,
            "repaired": repaired, "failed": 0, "stripeFailed": false, "hasMore": false,
            "startedAt": "2025-05-12T10:00:00Z",
            "byObject": {"event": {"lookedAt": 10, "missing": missing, "drifted": 1,
                "repaired": repaired, "failed": 0}},
            "drift": [{"objectId": "sub_1", "object": "subscription", "account": null,
                "field": "status", "from": "active", "to": "canceled"}],
            "errors": []})
    }

    #[test]
    fn the_exit_code_says_whether_something_is_left() {
        assert_eq!(exit(&report("check", 2, 0)), Exit::Differences);
        assert_eq!(exit(&report("repair", 2, 3)), Exit::Success);
        assert_eq!(exit(&report("repair", 2, 2)), Exit::Differences);
        assert_eq!(exit(&report("import", 0, 7)), Exit::Success);
        let mut away = report("repair", 0, 1);
        away["stripeFailed"] = true.into();
        assert_eq!(exit(&away), Exit::Unavailable);
        let mut odd = report("repair", 0, 1);
        odd["failed"] = 1.into();
        assert_eq!(exit(&odd), Exit::TryAgain);
    }

    #[test]
    fn a_difference_is_told_in_words_and_a_check_says_what_to_do() {
        let text = render(&report("check", 2, 0));
        assert!(
            text.contains("  subscription sub_1: status: active -> canceled\n"),
            "{text}"
        );
        assert!(text.contains("looked_at=10 missing=2 drifted=1 repaired=0 failed=0\n"));
        assert!(text.ends_with("run it again with --repair to take it in\n"));
    }

    #[test]
    fn the_reports_of_one_command_are_one() {
        let sum = added(report("repair", 2, 3), report("repair", 1, 2));
        assert_eq!((&sum["missing"], &sum["repaired"]), (&json!(3), &json!(5)));
        assert_eq!(sum["byObject"]["event"]["lookedAt"], 20);
        assert_eq!(sum["drift"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            added(Value::Null, report("check", 0, 0)),
            report("check", 0, 0)
        );
    }
}
