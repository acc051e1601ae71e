//! Loading: gather, check, report; and the reload of webhook secrets.
//!
//! Invariants: a configuration is returned only when nothing was wrong with it, and otherwise every
//! problem is. A reload changes webhook secrets and nothing else.
//! Not here: reacting to a signal, printing.
//! Failure: [`Problems`]; a failed reload leaves the caller's old set in force.

use std::path::PathBuf;

use secrecy::ExposeSecret;

use crate::config::{Config, ToolConfig, WebhookSecrets};
use crate::env::Env;
use crate::gather;
use crate::problem::Problems;
use crate::report::Report;
use crate::validate::{self, Checker};

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default)]
pub struct LoadArgs {
    /// `--config`.
    pub config_path: Option<PathBuf>,
    /// Values given by flags.
    pub overrides: Vec<Override>,
}

/// A value given by a flag.
#[derive(Debug, Clone)]
pub struct Override {
    /// The key, as in the file.
    pub path: &'static str,
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// What was given.
    pub value: String,
}

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    /// Origins, notes and warnings.
    pub report: Report,
}

/// Loads what `serve` needs.
///
/// # Errors
/// Everything that is wrong, required values that are missing included.
pub fn load(args: &LoadArgs, env: &dyn Env) -> Result<Loaded<Config>, Problems> {
    load_as(args, env, true)
}

/// Loads what a command needs that works on a store or asks a running server. Values that only
/// `serve` requires may be missing; those that are present are checked all the same.
///
/// # Errors
/// Everything that is wrong.
pub fn load_for_tool(args: &LoadArgs, env: &dyn Env) -> Result<Loaded<ToolConfig>, Problems> {
    let Loaded { config, report } = load_as(args, env, false)?;
    let known =
        |secret: secrecy::SecretString| (!secret.expose_secret().is_empty()).then_some(secret);
    let config = ToolConfig {
        store: config.store,
        listen: config.listen,
        log: config.log,
        admin_key: known(config.access.admin_key),
        webhook_secrets: config.stripe.webhook_secrets,
        plans: config.plans,
        events: config.events,
        receipts: config.mail.receipts,
        mode: known(config.stripe.api_key).map(|_| config.stripe.mode),
    };
    Ok(Loaded { config, report })
}

fn load_as(args: &LoadArgs, env: &dyn Env, required: bool) -> Result<Loaded<Config>, Problems> {
    let mut problems = Problems::default();
    let mut gathered = gather::gather(args, env, &mut problems);
    let mut warnings = std::mem::take(&mut gathered.warnings);
    let mut checker = Checker::new(&gathered, &mut problems, &mut warnings, required);
    let config = validate::check(&mut checker, env);
    if !problems.is_empty() {
        return Err(problems);
    }
    let report = Report::of(&gathered, &config, warnings);
    Ok(Loaded { config, report })
}

/// Reads the webhook secrets again, from the configuration file and from every `_FILE`, as SIGHUP asks.
/// A secret that stands in the environment itself cannot change while the process runs.
///
/// # Errors
/// Everything that is wrong with the files or the secrets; keep the old set then.
pub fn reload_webhook_secrets(args: &LoadArgs, env: &dyn Env) -> Result<WebhookSecrets, Problems> {
    let mut problems = Problems::default();
    let gathered = gather::gather(args, env, &mut problems);
    let mut warnings = Vec::new();
    let mut checker = Checker::new(&gathered, &mut problems, &mut warnings, true);
    let secrets = validate::webhook_secrets(&mut checker);
    if secrets.0.is_empty() && problems.is_empty() {
        problems.add(
            "STRIPE_WEBHOOK_SECRET",
            "is gone; without it no webhook could be accepted",
        );
    }
    if problems.is_empty() {
        Ok(secrets)
    } else {
        Err(problems)
    }
}
