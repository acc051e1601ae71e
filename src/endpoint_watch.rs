//! Looks at Stripe's list of webhook endpoints now and then, and tells operators when it is not what we need.
//!
//! Stripe disables an endpoint that fails for days, people delete and edit endpoints, and nothing then arrives
//! that could say so.
//!
//! Invariants: one GET an hour, through the read port; each change is told once; a Stripe that does not answer
//! changes nothing that was found before.
//! Not here: what is wrong with a list (`stripe::endpoints`); readiness, which this never touches.
//! Failure: the state `unknown`, with the reason in the log, and a look again after minutes.

use crate::mail::alerts::Digests;
use crate::stripe::endpoints::{
    Audience, Expected, Finding, LIST_PATH, State, Verdict, judge, read_list,
};
use bursar_actors::clock::Clock;
use bursar_actors::outbound::alert;
use bursar_actors::ports::{ReadError, StripeRead};
use bursar_domain::effect::Alert;
use bursar_domain::ids::Scope;
use bursar_domain::rows::RowKind;
use bursar_store::api::Store;
use bursar_store::query::RowQuery;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(3_600);
/// After a look that found no answer.
const AGAIN: Duration = Duration::from_secs(300);
/// The series of this watch.
pub const METRIC: &str = "bursar_webhook_endpoint_state";

/// What is watched.
pub struct EndpointWatch {
    stripe: Arc<dyn StripeRead>,
    store: Arc<dyn Store>,
    base_url: String,
    version: String,
    known: [Option<Vec<Finding>>; 2],
    unanswered: Option<String>,
    mail: Option<(Digests, Arc<dyn Clock>)>,
    /// Told to the log, and not yet in the digest.
    unmailed: Vec<(String, String)>,
}

impl EndpointWatch {
    /// A watch over the endpoints that should send to `base_url` in `version`.
    pub fn new(
        stripe: Arc<dyn StripeRead>,
        store: Arc<dyn Store>,
        base_url: String,
        version: String,
    ) -> Self {
        Self {
            stripe,
            store,
            base_url,
            version,
            known: [None, None],
            unanswered: None,
            mail: None,
            unmailed: Vec::new(),
        }
    }

    /// Its alerts go to operators by mail as well.
    #[must_use]
    pub fn mailing(self, digests: Digests, clock: Arc<dyn Clock>) -> Self {
        Self {
            mail: Some((digests, clock)),
            ..self
        }
    }

    async fn mail(&mut self) {
        let Some((digests, clock)) = &self.mail else {
            self.unmailed.clear();
            return;
        };
        let now = clock.now();
        for (endpoint, text) in std::mem::take(&mut self.unmailed) {
            let id = format!("webhook_endpoint:{endpoint}:{}", now.0);
            let alert = Alert {
                code: "webhook_endpoint".to_owned(),
                tenant: None,
                object_id: endpoint,
                text,
            };
            if let Err(error) = digests.add(&id, &alert, now, now).await {
                tracing::warn!(%error, "an alert that nobody is mailed");
            }
        }
    }

    /// Looks at the start and then hourly, until the process stops.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        for audience in Audience::ALL {
            publish(audience, State::Unknown);
        }
        loop {
            let look_and_wait = async {
                let pause = if self.look().await { EVERY } else { AGAIN };
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                biased;
                // Stopped, or dropped without a word: either way the process ends.
                _ = stop.wait_for(|stop| *stop) => return,
                () = look_and_wait => {}
            }
        }
    }

    /// One look; whether there was an answer.
    pub async fn look(&mut self) -> bool {
        match self.verdicts().await {
            Ok((verdicts, expected)) => {
                self.unanswered = None;
                for (index, verdict) in verdicts.into_iter().enumerate() {
                    publish(verdict.audience, verdict.state);
                    self.tell(index, verdict, &expected);
                }
                self.mail().await;
                true
            }
            Err(reason) => {
                for audience in Audience::ALL {
                    publish(audience, State::Unknown);
                }
                if self.unanswered.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "the webhook endpoints cannot be looked at");
                    self.unanswered = Some(reason);
                }
                false
            }
        }
    }

    async fn verdicts(&self) -> Result<([Verdict; 2], Expected), String> {
        let expected = Expected {
            base_url: self.base_url.clone(),
            version: self.version.clone(),
            has_merchants: self.has_merchants().await?,
        };
        let answer = self.stripe.get(Scope::PLATFORM, LIST_PATH.to_owned()).await;
        let answer = answer.map_err(|error| match error {
            ReadError::Auth(403) => {
                "the key may not read webhook endpoints (403): allow it, or look at them yourself"
                    .to_owned()
            }
            other => other.to_string(),
        })?;
        if answer.status != 200 {
            return Err(format!("Stripe answered {}", answer.status));
        }
        let endpoints = read_list(&answer.body)?;
        Ok((judge(&endpoints, &expected), expected))
    }

    async fn has_merchants(&self) -> Result<bool, String> {
        let query = RowQuery {
            kind: RowKind::Merchant,
            tenant: None,
            status: None,
            created_after: None,
            created_before: None,
            hidden: true,
            after: None,
            limit: 1,
        };
        let rows = self.store.rows(query).await;
        rows.map(|page| !page.items.is_empty())
            .map_err(|_| "the store does not answer".to_owned())
    }

    /// Tells what was not there at the last look.
    fn tell(&mut self, index: usize, verdict: Verdict, expected: &Expected) {
        let Verdict {
            audience,
            state,
            findings,
            ..
        } = verdict;
        let Some(known) = self.known.get_mut(index) else {
            return;
        };
        let before = known.replace(findings.clone());
        let was_wrong = before.as_ref().is_some_and(|before| !before.is_empty());
        if findings.is_empty() && was_wrong {
            let endpoint = audience.as_str();
            tracing::info!(endpoint, "the webhook endpoint is as it should be again");
        }
        let before = before.unwrap_or_default();
        for finding in findings.iter().filter(|finding| !before.contains(finding)) {
            let (text, next) = (
                finding.text(audience, expected),
                finding.remedy(audience, expected),
            );
            if finding.is_grave(audience, expected) {
                let text = format!("{text}; {next}");
                alert::tell("webhook_endpoint", finding.endpoint_id(), &text);
                self.unmailed.push((finding.endpoint_id().to_owned(), text));
            } else {
                tracing::warn!(
                    endpoint = audience.as_str(),
                    state = state.as_str(),
                    next,
                    "{text}"
                );
            }
        }
    }
}

fn publish(audience: Audience, present: State) {
    for state in State::ALL {
        let value = f64::from(u8::from(state == present));
        metrics::gauge!(METRIC, "endpoint" => audience.as_str(), "state" => state.as_str())
            .set(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_actors::ports::{PortFuture, ReadAnswer};
    use bursar_store::MemStore;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
    use serde_json::{Value, json};
    use std::sync::Mutex;

    /// Answers with the list it holds, or not at all.
    struct Listed(Mutex<Option<Value>>);
    impl StripeRead for Listed {
        fn get(&self, _: Scope, path: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
            assert_eq!(path, LIST_PATH);
            let list = self.0.lock().unwrap().clone();
            let answer = list.map(|list| ReadAnswer {
                status: 200,
                date_unix: 0,
                body: json!({"object": "list", "data": list})
                    .to_string()
                    .into_bytes(),
                request_id: String::new(),
            });
            Box::pin(std::future::ready(answer.ok_or(ReadError::Timeout)))
        }
    }

    fn endpoint(status: &str) -> Value {
        json!([{"id": "we_1", "url": "https://pay.example.com/webhook", "status": status,
            "enabled_events": ["*"], "api_version": "2025-04-30.basil", "application": null}])
    }

    /// The present state of the account's endpoint, and the alerts since the last look.
    fn seen(snapshotter: &Snapshotter) -> (String, u64) {
        let (mut present, mut alerts) = (String::new(), 0);
        for (key, _, _, value) in snapshotter.snapshot().into_vec() {
            let label = |name: &str| {
                let label = key.key().labels().find(|label| label.key() == name);
                label
                    .map(|label| label.value().to_owned())
                    .unwrap_or_default()
            };
            match (key.key().name(), value) {
                (METRIC, DebugValue::Gauge(value))
                    if value.0 > 0.5 && label("endpoint") == "account" =>
                {
                    present = label("state");
                }
                ("bursar_alerts_total", DebugValue::Counter(count)) => alerts = count,
                _ => {}
            }
        }
        (present, alerts)
    }

    #[test]
    fn the_catalogue_names_every_state_and_endpoint() {
        let mut catalogue = crate::telemetry::catalogue::CATALOGUE.iter();
        let metric = catalogue.find(|metric| metric.name == METRIC).unwrap();
        let words = |index: usize| metric.labels[index].1.to_vec();
        assert_eq!(words(0), Audience::ALL.map(Audience::as_str));
        assert_eq!(words(1), State::ALL.map(State::as_str));
    }

    #[tokio::test]
    async fn each_change_is_told_once_and_an_outage_of_stripe_is_no_change() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let stripe = Arc::new(Listed(Mutex::new(None)));
        let mut watch = EndpointWatch::new(
            Arc::clone(&stripe) as _,
            MemStore::new().unwrap(),
            "https://pay.example.com".to_owned(),
            "2025-04-30.basil".to_owned(),
        );
        let steps = [
            (None, "unknown", 0),
            (Some(endpoint("enabled")), "ok", 0),
            (Some(endpoint("disabled")), "disabled", 1),
            (Some(endpoint("disabled")), "disabled", 0),
            (None, "unknown", 0),
            (Some(endpoint("disabled")), "disabled", 0),
            (Some(json!([])), "missing", 1),
            (Some(endpoint("enabled")), "ok", 0),
            (Some(endpoint("disabled")), "disabled", 1),
        ];
        for (step, (list, state, alerts)) in steps.into_iter().enumerate() {
            let answers = list.is_some();
            *stripe.0.lock().unwrap() = list;
            assert_eq!(watch.look().await, answers, "step {step}");
            assert_eq!(
                seen(&snapshotter),
                (state.to_owned(), alerts),
                "step {step}"
            );
        }
    }
}
