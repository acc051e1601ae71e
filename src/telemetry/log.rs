//! Logs: text for people, JSON for machines; to stderr, since stdout belongs to commands.
//!
//! A line written for a request names it: `request.id`, `trace.id` and the route, in JSON under `span`.
//!
//! Invariants: no bodies, keys, addresses of people or card data are ever fields; a line's text is
//! escaped by the formatter, so nothing a caller sent can forge a line.

use bursar_config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Filters of libraries that would say more than anyone wants; the configured filter comes first.
const QUIETER: &str = "sled=warn,hyper=warn";

/// Whether this build can send traces to a collector.
pub const SENDS_TRACES: bool = cfg!(feature = "otel");

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

/// What a command that opens a store itself logs: what failed, and more when asked for once or twice.
pub fn of_a_command(verbose: u8) -> Log {
    let filter = match verbose {
        // An alert is news for operators; who runs the command reads what it says itself.
        0 => "error,bursar_actors::outbound::alert=off",
        1 => "warn",
        _ => "info",
    };
    Log {
        filter: filter.to_owned(),
        format: LogFormat::Text,
    }
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
    let lines = if as_text {
        let lines = fmt::layer().with_span_events(FmtSpan::NONE);
        lines
            .with_writer(std::io::stderr)
            .with_ansi(is_terminal)
            .boxed()
    } else {
        json(std::io::stderr).boxed()
    };
    let subscriber = tracing_subscriber::registry();
    #[cfg(not(feature = "otel"))]
    let subscriber = subscriber.with(filter).with(lines);
    // How much is logged says nothing about what is traced.
    #[cfg(feature = "otel")]
    let subscriber = subscriber
        .with(lines.with_filter(filter))
        .with(super::otel::layer());
    subscriber.try_init().map_err(|_| LogError::AlreadySet)
}

/// Lines for machines: the event's own fields, and under `span` those of the request it was written for.
fn json<S, W>(writer: W) -> impl Layer<S> + Send + Sync + 'static
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The innermost span is the request's; a list of one says no more.
    fmt::layer()
        .with_span_events(FmtSpan::NONE)
        .with_writer(writer)
        .with_ansi(false)
        .json()
        .flatten_event(true)
        .with_span_list(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_of_a_request_names_the_request_and_its_trace_and_forges_nothing() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(json(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", request.id = "req_1", trace.id = "4bf9");
            span.in_scope(|| tracing::warn!(reason = "a\n{\"level\":\"INFO\"}", "refused"));
            tracing::warn!("nobody's");
        });
        let bytes = written.0.lock().unwrap().clone();
        let lines: Vec<serde_json::Value> = String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0]["span"]["request.id"], "req_1");
        assert_eq!(lines[0]["span"]["trace.id"], "4bf9");
        assert_eq!(lines[0]["message"], "refused");
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[1].get("span"), None);
    }
}
