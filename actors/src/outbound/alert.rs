//! The lane that tells operators: one error line per alert, and a count.
//!
//! Invariants: only what the reducer wrote for operators is logged (code, object, one sentence without
//! personal data), never another effect's payload.

use crate::metrics;
use crate::ports::{Outcome, Performer, PortFuture};
use bursar_domain::effect::Effect;
use bursar_store::api::DueEffect;

/// Logs alerts.
#[derive(Debug)]
pub struct LogAlerts;

impl Performer for LogAlerts {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(std::future::ready(log(&effect)))
    }
}

/// Tells operators of what no aggregate decided: an error line like an alert's, and the same count. The
/// caller tells each change once.
pub fn tell(code: &'static str, object_id: &str, text: &str) {
    tracing::error!(alert = code, object.id = object_id, "{text}");
    metrics::alert_logged();
}

fn log(effect: &DueEffect) -> Outcome {
    let payload = effect.payload.as_deref().unwrap_or_default();
    let alert = match Effect::from_payload(payload) {
        Ok(Effect::Alert(alert)) => alert,
        Ok(_) => {
            return Outcome::Failed {
                note: format!("{} is no alert", effect.kind),
            };
        }
        Err(error) => {
            return Outcome::Failed {
                note: format!("not an effect of this version: {error}"),
            };
        }
    };
    tracing::error!(
        alert = alert.code,
        tenant.id = alert.tenant.as_ref().map(|tenant| tenant.as_str()),
        object.id = alert.object_id,
        aggregate.id = %effect.aggregate,
        effect.id = effect.id.0,
        decided_at = %effect.decided_at,
        "{}",
        alert.text
    );
    metrics::alert_logged();
    Outcome::Done {
        note: format!("logged {}", alert.code),
        result: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::aggregate::AggregateKey;
    use bursar_domain::decision::{EffectId, Lane};
    use bursar_domain::effect::Alert;
    use bursar_domain::ids::Timestamp;

    fn due(payload: Vec<u8>) -> DueEffect {
        DueEffect {
            id: EffectId("e1".into()),
            aggregate: AggregateKey::parse("tenant:acme").unwrap(),
            lane: Lane::Alert,
            kind: "alert.dispute".into(),
            attempts: 0,
            decided_at: Timestamp(0),
            payload: Some(payload),
        }
    }

    #[test]
    fn an_alert_is_logged_once_and_what_is_none_fails_with_a_reason() {
        let alert = Effect::Alert(Alert {
            code: "dispute".into(),
            tenant: None,
            object_id: "du_1".into(),
            text: "a dispute was opened".into(),
        });
        let outcome = log(&due(serde_json::to_vec(&alert).unwrap()));
        let done = Outcome::Done {
            note: "logged dispute".into(),
            result: None,
        };
        assert_eq!(outcome, done);
        assert!(matches!(log(&due(b"{}".to_vec())), Outcome::Failed { .. }));
    }
}
