//! `bursar events dismiss` and `bursar admin unclaimed …`: many waiting things at once, a dry run first.
//!
//! Invariants: without `--yes` nothing changes; all pages are gone through, and what was done before an error is told.

use super::reach::{Reached, block_on, reach};
use super::sum::Sum;
use super::table::cell;
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use crate::http::fields::parse_time;
use serde_json::{Value, json};
use std::io::Write;

/// Arguments of `bursar events dismiss`.
#[derive(Debug, clap::Args)]
pub struct DismissArgs {
    /// Which: dead or parked.
    #[arg(long, value_parser = ["dead", "parked"])]
    pub status: String,
    /// Why, for whoever reads it later.
    #[arg(long)]
    pub reason: String,
    /// Only of this tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Only of this type; several are given by repeating the flag.
    #[arg(long = "type")]
    pub types: Vec<String>,
    /// Only what was received since then (RFC 3339).
    #[arg(long)]
    pub since: Option<String>,
    /// Only what was received before then (RFC 3339).
    #[arg(long)]
    pub before: Option<String>,
    /// How it is run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What every order of this sort takes.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
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

/// Arguments of `bursar admin unclaimed claim`.
#[derive(Debug, clap::Args)]
pub struct ClaimArgs {
    /// Ids of the checkout sessions.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Whose they are.
    #[arg(long)]
    pub tenant: String,
    /// The connected account they are of.
    #[arg(long)]
    pub account: Option<String>,
    /// How it is run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments of `bursar admin unclaimed dismiss`.
#[derive(Debug, clap::Args)]
pub struct LeaveArgs {
    /// Ids of the checkout sessions; none: those of the time named.
    #[arg(value_name = "ID", required_unless_present = "before")]
    pub ids: Vec<String>,
    /// Why, for whoever reads it later.
    #[arg(long)]
    pub reason: String,
    /// What was made before then (RFC 3339).
    #[arg(long, conflicts_with = "ids")]
    pub before: Option<String>,
    /// How it is run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Runs `bursar events dismiss`.
///
/// # Errors
/// The store cannot be reached, or the server refuses.
pub fn dismiss(
    args: &DismissArgs,
    global: &GlobalArgs,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let order = dismissal(args)?;
    block_on(async {
        let mut bursar = reach(&args.run.config, global).await?;
        let path = "/api/v1/webhook-events/dismiss";
        let ended = settle(&mut bursar, path, vec![order], &args.run, out).await;
        bursar.close(ended).await.map(|()| Exit::Success)
    })
}

fn dismissal(args: &DismissArgs) -> Result<Value, CliError> {
    let mut order = json!({"status": args.status, "reason": args.reason});
    if let Some(tenant) = &args.tenant {
        order["tenantId"] = tenant.as_str().into();
    }
    if !args.types.is_empty() {
        order["types"] = json!(args.types);
    }
    let times = [
        ("--since", "receivedAfter", &args.since),
        ("--before", "receivedBefore", &args.before),
    ];
    for (flag, field, given) in times {
        if let Some(time) = given {
            order[field] = checked_time(flag, time)?.into();
        }
    }
    Ok(order)
}

/// A time a flag takes. # Errors: it is none.
pub(super) fn checked_time<'a>(flag: &str, time: &'a str) -> Result<&'a str, CliError> {
    if parse_time(time).is_some() {
        return Ok(time);
    }
    let text = format!("{flag} takes a time (RFC 3339); {time:?} is none");
    Err(CliError::new(Exit::Usage, text).or_try(format!("{flag} 2025-05-12T10:00:00Z")))
}

/// Gives them to a tenant.
///
/// # Errors
/// The server refuses.
pub async fn claim(
    bursar: &mut Reached,
    args: &ClaimArgs,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let named = |ids: &[String]| {
        let mut order = json!({"ids": ids, "tenantId": args.tenant});
        if let Some(account) = &args.account {
            order["account"] = account.as_str().into();
        }
        order
    };
    let orders = args.ids.chunks(SESSIONS_MAX).map(named).collect();
    let path = "/api/v1/unclaimed/claim";
    settle(bursar, path, orders, &args.run, out).await
}

/// Sets them aside.
///
/// # Errors
/// The server refuses.
pub async fn leave(
    bursar: &mut Reached,
    args: &LeaveArgs,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let orders = match &args.before {
        Some(before) => {
            let before = checked_time("--before", before)?;
            vec![json!({"createdBefore": before, "reason": args.reason})]
        }
        None => {
            let named = |ids: &[String]| json!({"ids": ids, "reason": args.reason});
            args.ids.chunks(SESSIONS_MAX).map(named).collect()
        }
    };
    let path = "/api/v1/unclaimed/dismiss";
    settle(bursar, path, orders, &args.run, out).await
}

fn sum() -> Sum {
    Sum::of(&["matched", "done", "skipped"], "items")
}

/// Ids of one request.
const SESSIONS_MAX: usize = crate::http::set_aside::SESSIONS_MAX;

/// Sends the orders, each over all its pages, and writes what became of each thing and the sum.
async fn settle(
    bursar: &mut Reached,
    path: &str,
    orders: Vec<Value>,
    run: &RunArgs,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let mut sum = sum();
    let mut ended = Ok(());
    'all: for mut order in orders {
        order["dryRun"] = (!run.yes).into();
        loop {
            let report = match bursar.post(path, &order).await {
                Ok(report) => report,
                Err(error) => {
                    ended = Err(error);
                    break 'all;
                }
            };
            if !run.json {
                out.write_all(lines(&report, run.yes).as_bytes())?;
            }
            order["cursor"] = sum.add(&report);
            if order["cursor"].is_null() {
                break;
            }
        }
    }
    if run.json {
        writeln!(out, "{}", sum.report(!run.yes, ended.is_err()))?;
    } else {
        out.write_all(sum.text(run.yes).as_bytes())?;
    }
    ended
}

fn lines(report: &Value, is_done: bool) -> String {
    let mut text = String::new();
    for item in report["items"].as_array().into_iter().flatten() {
        let outcome = match (item["outcome"].as_str(), is_done) {
            (Some("done"), true) => "done".to_owned(),
            (Some("done"), false) => "would be done".to_owned(),
            _ => cell(&item["outcome"]),
        };
        text.push_str(&format!("  {} {outcome}", cell(&item["id"])));
        if item["reason"].as_str().is_some_and(|why| !why.is_empty()) {
            text.push_str(&format!(": {}", cell(&item["reason"])));
        }
        text.push('\n');
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
        args: DismissArgs,
    }

    #[test]
    fn a_dismissal_says_which_and_why_and_reads_its_times() {
        let base = ["dismiss", "--status", "dead", "--reason", "tests of ours"];
        let asked = |more: &[&str]| dismissal(&Line::parse_from([&base, more].concat()).args);
        let order = asked(&["--type", "invoice.paid", "--tenant", "acme"]).unwrap();
        let expected = json!({"status": "dead", "reason": "tests of ours",
            "types": ["invoice.paid"], "tenantId": "acme"});
        assert_eq!(order, expected);
        let error = asked(&["--before", "yesterday"]).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(
            error.message.contains("--before takes"),
            "{}",
            error.message
        );
        let refused = Line::try_parse_from(["dismiss", "--status", "applied", "--reason", "x"]);
        assert!(refused.is_err());
    }

    #[test]
    fn a_dry_run_never_says_that_something_was_done() {
        let report = json!({"matched": 3, "done": 1, "skipped": 1, "nextCursor": null, "items": [
            {"id": "cs_1", "outcome": "done", "reason": "500 usd, in minor units"},
            {"id": "cs_2", "outcome": "skipped", "reason": "nothing unclaimed has this id"}]});
        let told = lines(&report, false);
        assert!(told.contains("cs_1 would be done: 500 usd"), "{told}");
        let mut sum = sum();
        assert_eq!(sum.add(&report), Value::Null);
        assert_eq!(
            sum.text(false),
            "matched=3 done=1 skipped=1\n1 of them are not listed above\n\
             nothing was changed; run it again with --yes to do it\n"
        );
    }
}
