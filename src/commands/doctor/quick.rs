//! `bursar doctor --quick`: whether the process that holds the store is ready, asked over its own socket.
//!
//! Invariants: needs no secret, no network and no shell; bounded by [`ANSWER_WAIT`].

use super::{ANSWER_WAIT, DoctorArgs, Findings};
use crate::cli::{CliError, Exit, GlobalArgs};
use crate::commands::reach::block_on;
use crate::control::Control;
use bursar_config::{ProcessEnv, load_for_tool};
use std::path::Path;

/// Asks, and notes the answer.
pub(super) fn look(
    args: &DoctorArgs,
    global: &GlobalArgs,
    found: &mut Findings,
) -> Result<(), CliError> {
    let tool = load_for_tool(&args.config.load_args(global), &ProcessEnv)?.config;
    let folder = tool.store.data_dir().to_owned();
    block_on(async {
        let asked = tokio::time::timeout(ANSWER_WAIT, ready(&folder));
        match asked.await {
            Ok(Ok(())) => found.ok("ready", "the process that holds the store takes requests"),
            Ok(Err(why)) => found.unreachable("ready", why, "see its log and `/readyz?verbose`"),
            Err(_) => found.unreachable("ready", "no answer in time", "see its log"),
        }
        Ok(Exit::Success)
    })?;
    Ok(())
}

async fn ready(folder: &Path) -> Result<(), String> {
    let control = Control::over_socket(folder).await;
    let control = control.map_err(|error| format!("it does not answer: {error}"))?;
    let Some(mut control) = control else {
        return Err(format!(
            "no process serves the store in {}",
            folder.display()
        ));
    };
    let answer = control.get("/readyz").await;
    let answer = answer.map_err(|error| format!("it does not answer: {error}"))?;
    if answer.status == 200 {
        return Ok(());
    }
    let checks = answer.json["checks"].as_array().into_iter().flatten();
    let failed = checks.filter(|check| check["ok"] == false);
    let failed: Vec<&str> = failed.filter_map(|check| check["name"].as_str()).collect();
    Err(format!(
        "not ready ({}): {}",
        answer.status,
        failed.join(", ")
    ))
}
