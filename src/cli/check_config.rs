//! `bursar check-config`: what `serve` would be given, or everything that keeps it from starting.
//!
//! Invariants: uses the very loader `serve` uses, and tries the mail texts as it does; no secret is printed.
//! Not here: looking at Stripe, ports or disks.
//! Failure: code 78 with every problem.

use std::io::Write;

use bursar_config::{Env, Problems};

use super::args::CheckConfigArgs;
use super::{CliError, Exit, GlobalArgs};

/// Loads, reports, and says whether `serve` would start.
pub(super) fn run(
    args: &CheckConfigArgs,
    global: &GlobalArgs,
    env: &dyn Env,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let load_args = args.settings.load_args(global);
    let checked = bursar_config::load(&load_args, env).and_then(|loaded| {
        crate::mail::check(&loaded.config)?;
        Ok(loaded)
    });
    let loaded = match checked {
        Ok(loaded) => loaded,
        Err(problems) if args.json => {
            writeln!(out, "{}", problems_json(&problems))?;
            return Ok(Exit::Config);
        }
        Err(problems) => return Err(problems.into()),
    };
    let report = loaded.report;
    if args.json {
        let mut json = report.to_json();
        json["ok"] = true.into();
        writeln!(out, "{json}")?;
    } else if !global.quiet {
        write!(out, "{report}")?;
        writeln!(
            out,
            "ok       {} mode, {} warnings",
            report.mode,
            report.warnings.len()
        )?;
    }
    out.flush()?;
    Ok(Exit::Success)
}

fn problems_json(problems: &Problems) -> serde_json::Value {
    let list: Vec<_> = problems
        .0
        .iter()
        .map(|problem| {
            serde_json::json!({
                "subject": problem.subject,
                "text": problem.text,
                "code": problem.code,
            })
        })
        .collect();
    serde_json::json!({ "ok": false, "problems": list })
}
