//! `bursar serve`: the service, until it is told to stop.
//!
//! Exit codes: 0 after a clean stop, 65 a damaged store or one of another mode or account, 69 an address that is
//! taken, 70 the actors gave up, 73 the store is held by another process or its folder takes no control socket, 74 the
//! store failed, 78 the configuration.

use crate::app::{Addresses, App, AppError};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use crate::http::server::asked_to_stop;
use crate::telemetry;
use crate::telemetry::exporter::{self, Exporter};
use bursar_actors::clock::{Clock, SystemClock};
use bursar_actors::{EXIT_ACCOUNT, EXIT_ESCALATED, EXIT_STORE, Exit as End};
use bursar_config::{Config, LoadArgs, ProcessEnv, load, reload_webhook_secrets};
use bursar_store::error::StoreError;
use std::io::Write;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the service.
///
/// # Errors
/// Everything that keeps it from starting.
pub fn run(args: &ConfigArgs, global: &GlobalArgs) -> Result<Exit, CliError> {
    let load_args = args.load_args(global);
    let loaded = load(&load_args, &ProcessEnv)?;
    telemetry::log::install(&loaded.config.log)
        .map_err(|error| CliError::new(Exit::Config, error.to_string()))?;
    crate::mail::check(&loaded.config)?;
    for note in loaded.report.notes() {
        tracing::info!("{note}");
    }
    let runtime = crate::background::edge()?;
    let ended = runtime.block_on(serve(&loaded.config, &load_args));
    #[cfg(feature = "otel")]
    telemetry::otel::flush();
    ended
}

async fn serve(config: &Config, load_args: &LoadArgs) -> Result<Exit, CliError> {
    let page = metrics_page(config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut app = App::start(config, clock).await.map_err(explain_start)?;
    let addresses = app.listen(config, page).await.map_err(explain_start)?;
    print_banner(config, addresses)?;
    let version = config.stripe.api_version.clone();
    app.watch_endpoints(config.addresses.app.to_string(), version);
    app.watch_account();
    let ended = until_stopped(&app, load_args).await;
    let drained = app.drain(config.drain).await;
    match (ended, drained.failed) {
        (Ended::GaveUp(end), _) => Err(CliError::new(exit_of(end.code), end.reason)),
        (Ended::Asked, Some(why)) => Err(store_failed(&why)),
        (Ended::Asked, None) if drained.unfinished.is_empty() => Ok(Exit::Success),
        (Ended::Asked, None) => Err(CliError::new(
            Exit::TryAgain,
            format!("stopped, not all ended in time: {:?}", drained.unfinished),
        )),
    }
}

enum Ended {
    Asked,
    GaveUp(End),
}

impl Ended {
    fn gave_up(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::GaveUp(End {
            code: EXIT_ESCALATED,
            reason,
        })
    }
}

/// The exit code for what the tree says; every other one is a bug.
fn exit_of(code: u8) -> Exit {
    match code {
        EXIT_ACCOUNT => Exit::Data,
        EXIT_STORE => Exit::Io,
        _ => Exit::Internal,
    }
}

/// Waits for a signal to stop or for the actors to give up; SIGHUP swaps the webhook secrets.
async fn until_stopped(app: &App, load_args: &LoadArgs) -> Ended {
    let mut exit = app.exit();
    let stop = asked_to_stop();
    tokio::pin!(stop);
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return Ended::gave_up(format!("signals cannot be received: {error}")),
    };
    loop {
        tokio::select! {
            biased;
            asked = &mut stop => return match asked {
                Ok(()) => Ended::Asked,
                Err(error) => Ended::gave_up(format!("signals cannot be received: {error}")),
            },
            _ = hangup.recv() => reload(app, load_args),
            gave_up = exit.wait_for(Option::is_some) => {
                let end = gave_up.ok().and_then(|end| end.clone());
                return end.map_or_else(|| Ended::gave_up("the actors are gone"), Ended::GaveUp);
            }
        }
    }
}

fn reload(app: &App, load_args: &LoadArgs) {
    match reload_webhook_secrets(load_args, &ProcessEnv) {
        Ok(secrets) => {
            app.swap_secrets(&secrets);
            tracing::info!(secrets = secrets.0.len(), "webhook secrets read again");
        }
        Err(problems) => tracing::error!(%problems, "the webhook secrets stay as they were"),
    }
}

/// Installs the process's recorder and keeps it tidy.
pub fn metrics_page(config: &Config) -> Result<Exporter, CliError> {
    let handle = exporter::install(env!("CARGO_PKG_VERSION")).map_err(|error| {
        CliError::new(Exit::Internal, format!("metrics cannot be set up: {error}"))
    })?;
    telemetry::facts::configured(config);
    tokio::spawn(exporter::upkeep(handle.clone()));
    Ok(Exporter::new(handle, config.metrics_token.clone()))
}

fn print_banner(config: &Config, addresses: Addresses) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "Bursar {}  serve", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  webhooks in   http://{}/webhook", addresses.public)?;
    writeln!(out, "  API           http://{}/docs", addresses.public)?;
    writeln!(out, "  metrics       http://{}/metrics", addresses.metrics)?;
    writeln!(out, "  data          {}", config.store.data_dir().display())?;
    writeln!(
        out,
        "  mode          {}",
        if config.stripe.mode.is_live() {
            "live"
        } else {
            "test"
        }
    )?;
    out.flush()
}

/// The store failed while it was used or closed.
pub fn store_failed(why: &str) -> CliError {
    CliError::new(Exit::Io, format!("the store failed: {why}")).or_try(
        "look at the disk; what was acknowledged is in the journal, and the next start goes on from there",
    )
}

/// What to tell the person at the terminal, and what to try.
pub fn explain_start(error: AppError) -> CliError {
    let chain = with_sources(&error);
    match error {
        AppError::Store(StoreError::Locked { pid }) => CliError::new(Exit::CannotCreate, chain)
            .or_try(format!("stop process {pid}, or give another --data-dir")),
        AppError::Store(StoreError::Damaged { .. }) => CliError::new(Exit::Data, chain)
            .or_try("bursar recover: it says what is lost and what can be had again"),
        AppError::Store(StoreError::Incompatible(_)) => CliError::new(Exit::Data, chain),
        AppError::Store(_) => CliError::new(Exit::Io, chain),
        AppError::Listen { .. } => CliError::new(Exit::Unavailable, chain)
            .or_try("use --listen 127.0.0.1:0 for any free port"),
        // The system says so itself if the path is too long for a socket.
        AppError::Control { .. } => CliError::new(Exit::CannotCreate, chain).or_try(
            "a --data-dir on a disk that can be written, with a path of less than 90 characters",
        ),
        AppError::Mail(_) => CliError::new(Exit::Config, chain),
        AppError::Actors(_) | AppError::Setup { .. } => CliError::new(Exit::Internal, chain),
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
