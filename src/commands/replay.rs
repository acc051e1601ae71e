//! `bursar replay`: does stored events again; a dry run first, with a diff.

use super::reach::{block_on, reach};
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
    block_on(async {
        let mut bursar = reach(&args.config, global).await?;
        let (path, mut order) = request(args);
        order["dryRun"] = (!args.yes).into();
        let answer = bursar.post(&path, &order).await;
        bursar.close().await;
        let report = answer?;
        if args.json {
            writeln!(out, "{report}")?;
        } else {
            out.write_all(render(&report, args.yes).as_bytes())?;
        }
        Ok(Exit::Success)
    })
}

fn request(args: &ReplayArgs) -> (String, Value) {
    if let Some(event) = &args.event {
        let id: String = form_urlencoded::byte_serialize(event.as_bytes()).collect();
        return (format!("/api/v1/webhook-events/{id}/replay"), json!({}));
    }
    let mut filter = json!({});
    if args.dead {
        filter["status"] = "dead".into();
    }
    if let Some(tenant) = &args.tenant {
        filter["tenantId"] = tenant.as_str().into();
    }
    if let Some(since) = &args.since {
        filter["receivedAfter"] = since.as_str().into();
    }
    ("/api/v1/webhook-events/replay".to_owned(), filter)
}

fn render(report: &Value, done: bool) -> String {
    let mut text = String::new();
    for line in report["diff"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {line}\n"));
    }
    let (matched, replayed) = (&report["matched"], &report["replayed"]);
    let (unchanged, skipped) = (&report["unchanged"], &report["skipped"]);
    text.push_str(&format!(
        "matched={matched} replayed={replayed} unchanged={unchanged} skipped={skipped}\n"
    ));
    if !done {
        text.push_str("nothing was changed; run it again with --yes to do it\n");
    }
    text
}
