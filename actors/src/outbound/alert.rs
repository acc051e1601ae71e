//! The lane that tells operators: one error line per alert, and a count.
//!
//! Invariants: only the alert's code and its aggregate are logged, never the payload, which may hold
//! personal data; the timeline and `explain` have the rest.

use crate::metrics;
use crate::ports::{Outcome, Performer, PortFuture};
use bursar_store::api::DueEffect;

/// Longest code logged.
const CODE_CHARS_MAX: usize = 64;

/// Logs alerts.
#[derive(Debug)]
pub struct LogAlerts;

fn code_of(effect: &DueEffect) -> String {
    let payload = effect.payload.as_deref().unwrap_or_default();
    let value: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
    // `{"code": …}` or, as an enum of serde, `{"alert": {"code": …}}`.
    let code = value.get("code").or_else(|| {
        value
            .as_object()
            .and_then(|object| object.values().find_map(|inner| inner.get("code")))
    });
    let code = code
        .and_then(serde_json::Value::as_str)
        .unwrap_or(&effect.kind);
    code.chars().take(CODE_CHARS_MAX).collect()
}

impl Performer for LogAlerts {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        let code = code_of(&effect);
        tracing::error!(
            alert = code,
            aggregate.id = %effect.aggregate,
            effect.id = effect.id.0,
            decided_at = %effect.decided_at,
            "an operator should look"
        );
        metrics::alert_logged();
        Box::pin(std::future::ready(Outcome::Done {
            note: format!("logged {code}"),
            result: None,
        }))
    }
}
