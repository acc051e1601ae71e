//! `bursar verify`: folds the stored inputs again and compares with the live state.

use super::reach::{block_on, reach};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use serde_json::{Value, json};
use std::io::Write;

/// Arguments of `bursar verify`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar verify --data-dir ./data")]
pub struct VerifyArgs {
    /// For machines: one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which store.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the command; exit 1 on any difference.
///
/// # Errors
/// The store cannot be reached or read.
pub fn run(args: &VerifyArgs, global: &GlobalArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    block_on(async {
        let mut bursar = reach(&args.config, global).await?;
        let answer = bursar.post("/api/v1/verify", &json!({})).await;
        let report = bursar.close(answer).await?;
        if args.json {
            writeln!(out, "{report}")?;
        } else {
            out.write_all(render(&report).as_bytes())?;
        }
        Ok(if report["mismatches"] == 0 {
            Exit::Success
        } else {
            Exit::Differences
        })
    })
}

fn render(report: &Value) -> String {
    let mut text = String::new();
    for finding in report["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        text.push_str(&format!("  {finding}\n"));
    }
    let count = |field: &str| report[field].to_string();
    if report["firstRecord"].as_u64() > Some(1) {
        text.push_str(&format!(
            "  not compared: {} commits and {} bodies dropped by retention; the journal is kept from record {} on\n",
            count("droppedCommits"),
            count("droppedBodies"),
            count("firstRecord"),
        ));
    }
    text.push_str(&format!(
        "inputs={} commits={} compared={} not_compared={} erased={} aggregates={} ledger_entries={} mismatches={}\n\
         journal_records={} checkpoints={}\n\
         stateDigest={}\nchainHead={}\n",
        count("inputs"),
        count("applies"),
        count("compared"),
        count("notCompared"),
        count("erased"),
        count("aggregates"),
        count("ledgerEntries"),
        count("mismatches"),
        count("journalRecords"),
        count("checkpoints"),
        report["stateDigest"].as_str().unwrap_or("-"),
        report["chainHead"].as_str().unwrap_or("-"),
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retention_dropped_is_said_and_nothing_is_said_of_a_whole_journal() {
        let whole = json!({"inputs": 3, "firstRecord": 1, "mismatches": 0});
        assert!(!render(&whole).contains("retention"));
        let short = json!({"inputs": 3, "firstRecord": 900, "droppedCommits": 250, "droppedBodies": 1,
            "notCompared": 251, "findings": ["the journal is damaged: x"]});
        let text = render(&short);
        assert!(text.contains(
            "not compared: 250 commits and 1 bodies dropped by retention; the journal is kept from record 900 on"
        ));
        assert!(
            text.contains("not_compared=251") && text.contains("  the journal is damaged: x\n")
        );
    }
}
