//! `bursar events`: what arrives and what became of it, live; setting events aside is `set_aside`.

use super::reach::{block_on, reach};
use super::set_aside::{DismissArgs, dismiss};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Events one look can show; more in that time are counted, not shown.
const LOOK_MAX: usize = 100;
/// Ids remembered as shown.
const SHOWN_MAX: usize = 10_000;

/// Arguments of `bursar events`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar events tail --data-dir ./data")]
pub struct EventsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub what: EventsCommand,
}

/// `bursar events …`
#[derive(Debug, clap::Subcommand)]
pub enum EventsCommand {
    /// Print events as they come, with what became of them.
    #[command(before_help = "Example: bursar events tail --last 20")]
    Tail(TailArgs),
    /// Set dead or parked events aside, many at once; without --yes only show which.
    #[command(
        before_help = "Example: bursar events dismiss --status dead --type payout.paid --reason \"of the old shop\""
    )]
    Dismiss(DismissArgs),
}

/// Arguments of `bursar events tail`.
#[derive(Debug, clap::Args)]
pub struct TailArgs {
    /// Begin with this many of the past.
    #[arg(long, default_value_t = 10)]
    pub last: usize,
    /// Stop after the past instead of waiting for more.
    #[arg(long)]
    pub once: bool,
    /// For machines: one JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Which store.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the command until it is interrupted.
///
/// # Errors
/// The store cannot be reached, or the output ends.
pub fn run(args: &EventsArgs, global: &GlobalArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let args = match &args.what {
        EventsCommand::Tail(args) => args,
        EventsCommand::Dismiss(args) => return dismiss(args, global, out),
    };
    block_on(async {
        let mut bursar = reach(&args.config, global).await?;
        let mut shown: BTreeSet<(String, String)> = BTreeSet::new();
        let mut limit = args.last.clamp(1, LOOK_MAX);
        loop {
            let page = bursar
                .get(&format!("/api/v1/webhook-events?limit={limit}"))
                .await?;
            let events = page["data"].as_array().cloned().unwrap_or_default();
            for event in events
                .iter()
                .rev()
                .filter(|event| event["status"] != "received")
            {
                if shown.insert((text(event, "receivedAt"), text(event, "id"))) {
                    let line = if args.json {
                        event.to_string()
                    } else {
                        arrow(event)
                    };
                    writeln!(out, "{line}")?;
                    out.flush()?;
                }
            }
            while shown.len() > SHOWN_MAX {
                shown.pop_first();
            }
            if args.once {
                return bursar.close(Ok(Exit::Success)).await;
            }
            limit = LOOK_MAX;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

fn text(event: &Value, field: &str) -> String {
    event[field].as_str().unwrap_or("").to_owned()
}

/// `--> invoice.paid evt_1  applied  tenant acme`.
pub fn arrow(event: &Value) -> String {
    let tenant = event["tenantId"]
        .as_str()
        .map(|tenant| format!("  tenant {tenant}"))
        .unwrap_or_default();
    let reason = Some(text(event, "reason")).filter(|reason| !reason.is_empty());
    let reason = reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let fate = event["disposition"]
        .as_str()
        .or(event["status"].as_str())
        .unwrap_or("?");
    format!(
        "--> {:<40} {:<34} {fate}{reason}{tenant}",
        text(event, "type"),
        text(event, "id")
    )
}
