//! `bursar doctor`: looks at a whole set-up and says what to do, before anybody has to ask.
//!
//! Invariants: changes nothing, sends mail only to `--mail-to`, but sends one signed event of a type nobody handles (`--no-event` leaves it
//! out); reads at Stripe only; every wait is bounded; no secret is printed.
//! Not here: whether a list of endpoints is right (`stripe::endpoints`), whether the state is (`verify`).
//! Failure: exit 1 if something does not work, 69 if something needed does not answer and all else is well.

mod disk;
mod event;
mod finding;
mod mail;
mod quick;
mod server;
mod stripe;

use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use crate::http::edge::Checklist;
use crate::http::server::BoxFuture;
use bursar_config::{Config, ProcessEnv, load};
use finding::Findings;
use serde_json::Value;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for one answer of Bursar's or of the public address.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Arguments of `bursar doctor`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar doctor --config bursar.toml")]
pub struct DoctorArgs {
    /// For machines: one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Only ask the process that holds the store whether it is ready: what a container's health check needs.
    #[arg(long, conflicts_with_all = ["no_event", "mail_to"])]
    pub quick: bool,
    /// Send no signed test event through the public address.
    #[arg(long)]
    pub no_event: bool,
    /// Send every mail text with sample values to this address.
    #[arg(long, value_name = "ADDRESS")]
    pub mail_to: Option<String>,
    /// The set-up to look at: what `serve` is given.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the command.
///
/// # Errors
/// The output cannot be written, or no HTTP client can be made.
pub fn run(args: &DoctorArgs, global: &GlobalArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let mut found = Findings::default();
    if args.quick {
        quick::look(args, global, &mut found)?;
        return written(args, &found, out);
    }
    match load(&args.config.load_args(global), &ProcessEnv) {
        Ok(loaded) => {
            found.ok(
                "configuration",
                format!("valid, {} mode", loaded.report.mode),
            );
            for warning in &loaded.report.warnings {
                found.warn("configuration", warning, "see `bursar check-config`");
            }
            super::reach::block_on(async {
                look(args, "--no-event was given", &loaded.config, &mut found).await?;
                Ok(Exit::Success)
            })?;
        }
        Err(problems) => {
            for problem in &problems.0 {
                found.fail(
                    "configuration",
                    problem.to_string(),
                    "correct it; `bursar check-config` looks again",
                );
            }
            found.skip("everything else", "the configuration says where to look");
        }
    }
    written(args, &found, out)
}

fn written(args: &DoctorArgs, found: &Findings, out: &mut impl Write) -> Result<Exit, CliError> {
    if args.json {
        writeln!(out, "{:#}", found.json())?;
    } else {
        out.write_all(found.lines().as_bytes())?;
    }
    out.flush()?;
    Ok(found.exit())
}

/// The doctor within the process it looks at: for the console.
pub(crate) struct Doctor(Arc<Config>);

impl Doctor {
    /// Over the configuration of the process.
    pub(crate) fn new(config: Config) -> Self {
        Self(Arc::new(config))
    }
}

impl Checklist for Doctor {
    fn look(&self) -> BoxFuture<Value> {
        let config = Arc::clone(&self.0);
        Box::pin(async move {
            let args = DoctorArgs {
                quick: false,
                json: true,
                no_event: true,
                mail_to: None,
                config: ConfigArgs::default(),
            };
            let mut found = Findings::default();
            let quiet = "from here no test event is sent; `bursar doctor` sends one";
            if let Err(error) = look(&args, quiet, &config, &mut found).await {
                found.fail("doctor", error.message, "run `bursar doctor`");
            }
            found.json()
        })
    }
}

async fn look(
    args: &DoctorArgs,
    no_event: &str,
    config: &Config,
    found: &mut Findings,
) -> Result<(), CliError> {
    disk::look(config, found);
    mail::look(config, args.mail_to.as_deref(), found).await;
    let http = reqwest::Client::builder()
        .timeout(ANSWER_WAIT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| CliError::new(Exit::Internal, format!("no HTTP client: {error}")))?;
    let mut server = server::Running::look(config, &http, found).await;
    stripe::look(config, server.has_merchants, found).await?;
    server.arrivals(found).await;
    if args.no_event {
        found.skip("public address", no_event);
    } else {
        event::send(config, &http, &mut server, found).await;
    }
    Ok(())
}
