//! Logs: text for people, JSON for machines; to stderr, since stdout belongs to commands.
//!
//! Invariants: no bodies, keys, addresses of people or card data are ever fields; a line's text is
//! escaped by the formatter, so nothing a caller sent can forge a line.

use bursar_config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Filters of libraries that would say more than anyone wants; the configured filter comes first.
const QUIETER: &str = "sled=warn,hyper=warn";

/// Why logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("the log filter {0:?} cannot be read")]
    Filter(String),
    /// Somebody was first.
    #[error("logs are set up already")]
    AlreadySet,
}

/// Sets up the process's logs. Once per process. # Errors: see [`LogError`].
pub fn install(settings: &Log) -> Result<(), LogError> {
    let text = format!("{QUIETER},{}", settings.filter);
    let filter =
        EnvFilter::try_new(&text).map_err(|_| LogError::Filter(settings.filter.clone()))?;
    let is_terminal = std::io::stderr().is_terminal();
    let as_text = match settings.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => is_terminal,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal && as_text);
    let outcome = if as_text {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    outcome.map_err(|_| LogError::AlreadySet)
}
