//! `bursar replay`: does stored events again; a dry run first, with a diff.

use super::reach::{block_on, reach};
use super::set_aside::checked_time;
use super::sum::Sum;
use super::table::{cell, change_words};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use serde_json::{Value, json};
use std::io::Write;

/// Arguments of `bursar replay`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar replay --dead        (then again with --yes)")]
#[group(id = "what", required = true, multiple = true)]
pub struct ReplayArgs {
    /// One event.
    #[arg(long, group = "what")]
    pub event: Option<String>,
    /// Every dead event.
    #[arg(long, group = "what")]
    pub dead: bool,
    /// Every parked event: those that would go on by now, as after a change of the configuration.
    #[arg(long, group = "what", conflicts_with = "dead")]
    pub parked: bool,
    /// Every event of this tenant.
    #[arg(long, group = "what")]
    pub tenant: Option<String>,
    /// Every event received since then (RFC 3339).
    #[arg(long, group = "what")]
    pub since: Option<String>,
    /// Do it; without this only what would change is shown.
    #[arg(long)]
    pub yes: bool,
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
/// The store cannot be reached, or the server refuses.
pub fn run(args: &ReplayArgs, global: &GlobalArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let (path, mut order) = request(args)?;
    order["dryRun"] = (!args.yes).into();
    block_on(async {
        let mut bursar = reach(&args.config, global).await?;
        let mut sum = sum();
        let ended = loop {
            let report = match bursar.post(&path, &order).await {
                Ok(report) => report,
                Err(error) => break Err(error),
            };
            if !args.json {
                out.write_all(lines(&report).as_bytes())?;
            }
            order["cursor"] = sum.add(&report);
            if order["cursor"].is_null() {
                break Ok(());
            }
            if !global.quiet {
                eprintln!("{} events looked at, going on", sum.count("matched"));
            }
        };
        let ended = bursar.close(ended).await;
        // What was done before an error was done.
        if args.json {
            writeln!(out, "{}", sum.report(!args.yes, ended.is_err()))?;
        } else {
            out.write_all(sum.text(args.yes).as_bytes())?;
        }
        ended.map(|()| Exit::Success)
    })
}

fn sum() -> Sum {
    Sum::of(&["matched", "replayed", "unchanged", "skipped"], "diff")
}

fn request(args: &ReplayArgs) -> Result<(String, Value), CliError> {
    if let Some(event) = &args.event {
        let id: String = form_urlencoded::byte_serialize(event.as_bytes()).collect();
        return Ok((format!("/api/v1/webhook-events/{id}/replay"), json!({})));
    }
    let mut filter = json!({});
    if args.dead {
        filter["status"] = "dead".into();
    }
    if args.parked {
        filter["status"] = "parked".into();
    }
    if let Some(tenant) = &args.tenant {
        filter["tenantId"] = tenant.as_str().into();
    }
    if let Some(since) = &args.since {
        filter["receivedAfter"] = checked_time("--since", since)?.into();
    }
    Ok(("/api/v1/webhook-events/replay".to_owned(), filter))
}

/// The events of an answer, each with what it changes.
fn lines(report: &Value) -> String {
    let mut text = String::new();
    for line in report["diff"].as_array().into_iter().flatten() {
        let (id, kind) = (cell(&line["id"]), cell(&line["type"]));
        let (status, outcome) = (cell(&line["status"]), cell(&line["outcome"]));
        text.push_str(&format!("  {id} {kind} ({status}): {outcome}"));
        if line["reason"].as_str().is_some_and(|why| !why.is_empty()) {
            text.push_str(&format!(", {}", cell(&line["reason"])));
        }
        text.push('\n');
        for change in line["changed"].as_array().into_iter().flatten() {
            text.push_str(&format!("      {}\n", change_words(change)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplayArgs,
    }
    fn asked(arguments: &[&str]) -> Result<(String, Value), CliError> {
        let line = Line::parse_from([&["replay"], arguments].concat());
        request(&line.args)
    }

    #[test]
    fn a_time_that_is_none_is_said_of_the_flag_that_gave_it() {
        let error = asked(&["--since", "yesterday"]).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        let text = error.message;
        assert!(text.contains("--since takes a time"), "{text}");
        let (_, filter) = asked(&["--since", "2025-05-12T10:00:00Z", "--dead"]).unwrap();
        let expected = json!({"status": "dead", "receivedAfter": "2025-05-12T10:00:00Z"});
        assert_eq!(filter, expected);
    }

    #[test]
    fn answers_are_summed_and_each_change_is_told_in_words() {
        let answer = |id: &str, next: Value| {
            json!({"matched": 3, "replayed": 1, "unchanged": 1, "skipped": 1, "dryRun": true,
                "hasMore": true, "nextCursor": next, "diff": [
                {"id": id, "type": "invoice.paid", "outcome": "replayed", "reason": "",
                 "status": "dead", "changed": [
                    {"field": "status", "from": "open", "to": "paid"},
                    {"field": "paidAt", "from": null, "to": "2025-05-12"},
                    {"field": "lines", "from": [{"a": 1}], "to": []}]}]})
        };
        let mut sum = sum();
        assert_eq!(sum.add(&answer("evt_1", "c".into())), "c");
        assert_eq!(sum.add(&answer("evt_2", Value::Null)), Value::Null);
        assert_eq!(
            lines(&answer("evt_1", Value::Null)),
            "  evt_1 invoice.paid (dead): replayed\n      status: open -> paid\n      \
             paidAt: nothing -> 2025-05-12\n      lines changed\n"
        );
        assert_eq!(
            sum.text(false),
            "matched=6 replayed=2 unchanged=2 skipped=2\n2 of them are not listed above\n\
             nothing was changed; run it again with --yes to do it\n"
        );
        let report = sum.report(true, false);
        assert_eq!(report["matched"], 6);
        assert_eq!(report["diff"].as_array().map(Vec::len), Some(2));
    }
}
