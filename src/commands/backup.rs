//! `bursar backup` and `bursar restore`.
//!
//! Invariants: a backup is taken by the process that holds the store, or by this one if nobody does; a restoration
//! writes nothing where something is, and says what it held back.
//! Failure: 73 where something stands in the way, 65 for a backup that is not what was written.

use super::reach::{block_on, reach};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use bursar_config::{ProcessEnv, load_for_tool};
use bursar_domain::ids::Timestamp;
use bursar_store::OpenOptions;
use bursar_store::backup::{Restored, restore};
use bursar_store::error::StoreError;
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// Arguments of `bursar backup`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar backup /backups/bursar-$(date +%F).backup")]
pub struct BackupArgs {
    /// The file to write; it must not exist. It holds the keys of all personal data: keep it as safe as the store.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// For machines: one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which store.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `bursar restore`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar restore bursar.backup --data-dir ./data")]
pub struct RestoreArgs {
    /// A file that `bursar backup` wrote.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// For machines: one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Where to; the folder must not exist or be empty.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs `bursar backup`.
///
/// # Errors
/// The store cannot be reached, or the file cannot be written.
pub fn run_backup(
    args: &BackupArgs,
    global: &GlobalArgs,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    // The process that writes it may stand in another folder.
    let path = std::path::absolute(&args.file)?;
    if path.exists() {
        let text = format!(
            "{} exists, and a backup is never written over",
            path.display()
        );
        return Err(CliError::new(Exit::CannotCreate, text));
    }
    block_on(async {
        let mut bursar = reach(&args.config, global).await?;
        let answer = bursar.post("/api/v1/backup", &json!({"path": path})).await;
        let report = bursar.close(answer).await?;
        if args.json {
            writeln!(out, "{report}")?;
        } else {
            writeln!(out, "{}", told(&report))?;
        }
        Ok(Exit::Success)
    })
}

fn told(report: &Value) -> String {
    format!(
        "backup: {} records={} files={} bytes={} chainHead={}\n\
         It holds the keys of all personal data: keep it as safe as the store itself.",
        report["path"].as_str().unwrap_or("-"),
        report["record"],
        report["files"],
        report["bytes"],
        report["chainHead"].as_str().unwrap_or("-"),
    )
}

/// Runs `bursar restore`.
///
/// # Errors
/// Something is where it should go, or the backup is not what was written.
pub fn run_restore(
    args: &RestoreArgs,
    global: &GlobalArgs,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let tool = load_for_tool(&args.config.load_args(global), &ProcessEnv)?.config;
    let folder = tool.store.data_dir().to_owned();
    let now = Timestamp(jiff::Timestamp::now().as_millisecond());
    block_on(async {
        let restored = restore(&args.file, &folder, OpenOptions::default(), now);
        let restored = restored.await.map_err(refused)?;
        let report = json!({
            "dataDir": folder, "record": restored.manifest.record,
            "chainHead": format!("{}:{}", restored.manifest.record, restored.manifest.chain_head),
            "stateDigest": restored.state_digest,
            "heldBack": restored.held_back.iter().map(|(lane, count)| (lane.as_str().to_owned(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
        });
        if args.json {
            writeln!(out, "{report}")?;
        } else {
            out.write_all(render(&restored, &folder.display().to_string()).as_bytes())?;
        }
        Ok(Exit::Success)
    })
}

fn render(restored: &Restored, folder: &str) -> String {
    let held: Vec<String> = restored
        .held_back
        .iter()
        .map(|(lane, count)| format!("{}={count}", lane.as_str()))
        .collect();
    let held = if held.is_empty() {
        "nothing".to_owned()
    } else {
        held.join(" ")
    };
    format!(
        "restored: {folder} records={} stateDigest={}\n\
         held back, because it was due when the backup was taken: {held}\n\
         What happened since is at Stripe: start it, then run `bursar reconcile --repair`.\n",
        restored.manifest.record, restored.state_digest,
    )
}

fn refused(error: StoreError) -> CliError {
    let exit = match &error {
        StoreError::Io { cause, .. } if cause.kind() == ErrorKind::AlreadyExists => {
            Exit::CannotCreate
        }
        StoreError::Io { cause, .. } if cause.kind() == ErrorKind::NotFound => Exit::Unavailable,
        StoreError::Io { .. } => Exit::Io,
        _ => Exit::Data,
    };
    let told = CliError::new(exit, error.to_string());
    match exit {
        Exit::CannotCreate => {
            told.or_try("give a folder that is empty or not there with --data-dir")
        }
        _ => told,
    }
}
