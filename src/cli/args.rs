//! The command line's grammar.
//!
//! Invariants: only commands that work in this build are listed; every level's help starts with an
//! example; a flag never carries a secret, because other users of the machine can read it.
//! Not here: doing anything.
//! Failure: clap's errors, which end with code 64.

use std::path::PathBuf;

use crate::bench::BenchArgs;
use crate::commands::{
    admin::AdminArgs, backup::BackupArgs, backup::RestoreArgs, demo::DemoArgs, doctor::DoctorArgs,
    explain::ExplainArgs, export::ExportArgs, reconcile::ReconcileArgs, recover::RecoverArgs,
    replay::ReplayArgs, sandbox::SandboxArgs, tail::EventsArgs, trigger::TriggerArgs,
    verify::VerifyArgs,
};
use bursar_config::{LoadArgs, Override};
use clap::{ArgAction, Args, Parser, Subcommand};

/// Payment back office between Stripe and your product.
#[derive(Debug, Parser)]
#[command(
    name = "bursar",
    before_help = "Example: bursar init && bursar check-config --config bursar.toml",
    disable_version_flag = true,
    subcommand_precedence_over_arg = true
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// Print the version; with --verbose also what it was built from.
    #[arg(short = 'V', long)]
    pub version: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// The configuration file (TOML). Without it, BURSAR_CONFIG, else environment and defaults alone.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say less: errors and results only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Every command of this build.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented configuration, a plans file and a file of generated secrets.
    Init(InitArgs),
    /// Check the configuration and show where each value comes from, secrets redacted.
    CheckConfig(CheckConfigArgs),
    /// Look at the whole set-up, Stripe's side included, and say what to do.
    Doctor(DoctorArgs),
    /// Play one tenant's whole life in front of you; needs no account and no configuration.
    Demo(DemoArgs),
    /// Run the service.
    #[command(before_help = "Example: bursar serve --config bursar.toml")]
    Serve(ConfigArgs),
    /// Run only the Stripe sandbox, for a team's own tests.
    Sandbox(SandboxArgs),
    /// Say why the object with this id is in the state it is in.
    Explain(ExplainArgs),
    /// Do stored events again; without --yes only show what would change.
    Replay(ReplayArgs),
    /// Compare with Stripe: events that never came, objects that differ.
    Reconcile(ReconcileArgs),
    /// Fold the stored inputs again and compare with the live state.
    Verify(VerifyArgs),
    /// Write a consistent copy of the store into one file, also while it serves.
    Backup(BackupArgs),
    /// Make a store of a backup.
    Restore(RestoreArgs),
    /// Mend a damaged store: say what is lost, and get it from a backup and from Stripe.
    Recover(RecoverArgs),
    /// Print ledger, payments, subscriptions or the audit trail, for accounting.
    Export(ExportArgs),
    /// Manage tenants and keys.
    Admin(AdminArgs),
    /// Send a signed example event to a running server.
    Trigger(TriggerArgs),
    /// Watch what arrives.
    Events(EventsArgs),
    /// Print the OpenAPI document.
    #[command(before_help = "Example: bursar openapi > openapi.json")]
    Openapi,
    /// Measure, against what cannot be beaten.
    Bench(BenchArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
    /// Write the manual pages: this program's, and one of each command.
    Man(ManArgs),
}

/// Settings that have a flag; each beats the environment and the file.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Address of the public HTTP server, such as 127.0.0.1:8087; port 0 for any.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address of the metrics server.
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<String>,
    /// Where state is kept: sled:PATH.
    #[arg(long, value_name = "STORE", conflicts_with = "data_dir")]
    pub store: Option<String>,
    /// Folder of the embedded store; the same as --store sled:DIR.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The plan catalogue (TOML).
    #[arg(long, value_name = "FILE")]
    pub plans_file: Option<String>,
    /// What is logged, such as info or info,bursar_store=debug.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Form of the log lines: auto, text or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl ConfigArgs {
    /// What `bursar_config::load` needs to know of the command line.
    pub fn load_args(&self, global: &GlobalArgs) -> LoadArgs {
        let data_dir = self.data_dir.as_ref().map(|dir| format!("sled:{dir}"));
        let flags = [
            ("listen", "--listen", self.listen.clone()),
            (
                "metrics_listen",
                "--metrics-listen",
                self.metrics_listen.clone(),
            ),
            ("store", "--store", self.store.clone()),
            ("store", "--data-dir", data_dir),
            ("plans_file", "--plans-file", self.plans_file.clone()),
            ("log", "--log", self.log.clone()),
            ("log_format", "--log-format", self.log_format.clone()),
        ];
        let overrides = flags
            .into_iter()
            .filter_map(|(path, flag, value)| value.map(|value| Override { path, flag, value }));
        LoadArgs {
            config_path: global.config.clone(),
            overrides: overrides.collect(),
        }
    }
}

/// `bursar init`
#[derive(Debug, Clone, Args)]
#[command(before_help = "Example: bursar init ./billing")]
pub struct InitArgs {
    /// Folder to write into; made if it does not exist. Nothing in it is ever overwritten.
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// `bursar check-config`
#[derive(Debug, Clone, Args)]
#[command(before_help = "Example: bursar check-config --config bursar.toml")]
pub struct CheckConfigArgs {
    /// Settings that have a flag.
    #[command(flatten)]
    pub settings: ConfigArgs,
    /// For machines: one JSON object on stdout, problems included.
    #[arg(long)]
    pub json: bool,
}

/// `bursar completions`
#[derive(Debug, Clone, Args)]
#[command(before_help = "Example: bursar completions bash > /etc/bash_completion.d/bursar")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// `bursar man`
#[derive(Debug, Clone, Args)]
#[command(before_help = "Example: bursar man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Folder to write into; made if it does not exist, and pages of ours in it are written again.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
