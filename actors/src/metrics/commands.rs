//! Metrics of orders to Stripe: what became of them, how many are under way.
//!
//! Invariants: an end is counted where its decision was committed, from the change of the command's row, so once
//! however many requests ask for it; labels are kinds of orders, never tenants. A command that was `unknown` and
//! succeeded counts under both. The gauges are counts of rows.
//! Failure: while the store does not answer, the gauges keep their last values.

use super::metric;
use bursar_domain::command::CommandKind;
use bursar_domain::decision::Decision;
use bursar_domain::rows::{RowKind, RowWrite};
use bursar_store::api::{Step, Store};
use bursar_store::error::StoreError;
use bursar_store::metrics::{Label, Metric, MetricKind};
use bursar_store::query::{RowQuery, Stats};
use serde_json::Value;

/// Rows of one status that are counted by kind at most.
const COUNTED_MAX: usize = 1_000;
/// Rows read at a time.
const PAGE: usize = 100;
/// Statuses of a command that is not over.
const OPEN: [&str; 2] = ["initiated", "unknown"];

const COMMAND: Label = ("command", &with_names());
const OUTCOMES: &[&str] = &["succeeded", "failed", "unknown"];

const fn with_names() -> [&'static str; CommandKind::ALL.len()] {
    let mut names = [""; CommandKind::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = CommandKind::ALL[index].as_str();
        index += 1;
    }
    names
}

/// Every metric of commands.
pub const CATALOGUE: &[Metric] = &[
    metric(
        "bursar_commands_total",
        MetricKind::Counter,
        &[COMMAND, ("outcome", OUTCOMES)],
        "Orders to Stripe that succeeded, failed, or became unknown for a while.",
    ),
    metric(
        "bursar_commands_pending",
        MetricKind::Gauge,
        &[COMMAND],
        "Orders to Stripe that are not over, counted up to 1,000 of each status.",
    ),
    metric(
        "bursar_stripe_commands_unknown",
        MetricKind::Gauge,
        &[],
        "Orders to Stripe of which nobody can know yet whether they happened.",
    ),
];

fn known_kind(name: &str) -> Option<&'static str> {
    let found = CommandKind::ALL.iter().find(|kind| kind.as_str() == name);
    found.map(|kind| kind.as_str())
}

/// Ends a batch decides, read before the batch is handed over.
pub(crate) struct Ends(Vec<(&'static str, &'static str)>);

impl Ends {
    pub(crate) fn of(steps: &[Step]) -> Self {
        Self(
            steps
                .iter()
                .filter_map(|step| end(&step.decision))
                .collect(),
        )
    }
    pub(crate) fn count(self) {
        for (command, outcome) in self.0 {
            ended(command, outcome);
        }
    }
}

pub(crate) fn ended(command: &'static str, outcome: &'static str) {
    metrics::counter!("bursar_commands_total", "command" => command, "outcome" => outcome)
        .increment(1);
}

/// The kind and the status a command came to by this decision.
fn end(decision: &Decision) -> Option<(&'static str, &'static str)> {
    let row = decision.rows.iter().find_map(|write| match write {
        RowWrite::Put(row) if row.kind == RowKind::Command => Some(row),
        _ => None,
    })?;
    let mut changed = decision.timeline.iter().flat_map(|line| &line.changed);
    if !changed.any(|change| change.field == "status") {
        return None;
    }
    let outcome = OUTCOMES.iter().find(|word| **word == row.status)?;
    let value: Value = serde_json::from_slice(&row.value).ok()?;
    // Looked for in vain and sent again, it is the same doubt that goes on.
    let was_unknown = value["evidenceOfAbsence"].as_array();
    if *outcome == "unknown" && was_unknown.is_some_and(|looks| !looks.is_empty()) {
        return None;
    }
    Some((known_kind(value["kind"].as_str()?)?, outcome))
}

fn rows_of(stats: &Stats, status: &str) -> u64 {
    let rows = stats.rows.iter();
    rows.filter(|(kind, of, _)| *kind == RowKind::Command && of == status)
        .map(|(_, _, count)| *count)
        .sum()
}

/// Sets the gauges. # Errors: the store's.
pub(crate) async fn publish(store: &dyn Store, stats: &Stats) -> Result<(), StoreError> {
    super::gauge("bursar_stripe_commands_unknown", rows_of(stats, "unknown"));
    let mut pending = [0_u64; CommandKind::ALL.len()];
    for status in OPEN {
        if rows_of(stats, status) > 0 {
            count_rows(store, status, &mut pending).await?;
        }
    }
    for (kind, count) in CommandKind::ALL.iter().zip(pending) {
        super::gauge_with("bursar_commands_pending", "command", kind.as_str(), count);
    }
    Ok(())
}

/// Counts one row of a command under its kind.
fn tally(row: &[u8], pending: &mut [u64; CommandKind::ALL.len()]) {
    let value: Value = serde_json::from_slice(row).unwrap_or_default();
    let kind = value["kind"].as_str().unwrap_or_default();
    let mut kinds = CommandKind::ALL.iter();
    let place = kinds.position(|known| known.as_str() == kind);
    if let Some(count) = place.and_then(|place| pending.get_mut(place)) {
        *count += 1;
    }
}

async fn count_rows(
    store: &dyn Store,
    status: &str,
    pending: &mut [u64; CommandKind::ALL.len()],
) -> Result<(), StoreError> {
    let mut after = None;
    for _ in 0..COUNTED_MAX / PAGE {
        let query = RowQuery {
            kind: RowKind::Command,
            tenant: None,
            status: Some(status.to_owned()),
            created_after: None,
            created_before: None,
            hidden: false,
            after,
            limit: PAGE,
        };
        let page = store.rows(query).await?;
        for row in &page.items {
            tally(&row.value, pending);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::aggregate::AggregateKey;
    use bursar_domain::command::{CallResult, CommandOrder};
    use bursar_domain::decision::EffectId;
    use bursar_domain::fact::{CALL, Order};
    use bursar_domain::ids::{CommandId, Scope, TenantId, Timestamp};
    use bursar_domain::input::{Ctx, InputSource, StoredInput};
    use bursar_domain::settings::Settings;
    use bursar_domain::stripe_call::{Method, Operation, StripeCall};
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    /// A refund that hears one thing after the other; what each came to.
    #[derive(Default)]
    struct Refund {
        snapshot: Option<Vec<u8>>,
        seq: u64,
    }

    impl Refund {
        fn hear(&mut self, kind: &str, body: Vec<u8>) -> Option<(&'static str, &'static str)> {
            self.seq += 1;
            let source = match kind {
                CALL => InputSource::Effect(EffectId(self.seq.to_string())),
                _ => InputSource::Operator(self.seq.to_string()),
            };
            let input = StoredInput {
                seq: self.seq,
                source,
                kind: kind.to_owned(),
                received_at: Timestamp(1_747_044_000_000),
                body,
            };
            let settings = Settings::default();
            let ctx = Ctx {
                now: Timestamp(1_747_044_000_000),
                settings: &settings,
                links: &BTreeMap::new(),
                shown_version: None,
            };
            let key = AggregateKey::Command(CommandId::parse("cmd_1").unwrap());
            let decision = bursar_domain::decide(&key, self.snapshot.as_deref(), &input, &ctx);
            if let Some(snapshot) = &decision.snapshot {
                self.snapshot = Some(snapshot.clone());
            }
            end(&decision)
        }
        fn order(&mut self, order: &Order) -> Option<(&'static str, &'static str)> {
            self.hear(order.kind(), order.to_body())
        }
        fn begin(&mut self) -> Option<(&'static str, &'static str)> {
            self.order(&Order::CommandBegin(Box::new(CommandOrder {
                kind: CommandKind::Refund,
                tenant: TenantId::parse("acme").unwrap(),
                by: "operator".to_owned(),
                call: StripeCall {
                    operation: Operation::RefundCreate,
                    scope: Scope::PLATFORM,
                    method: Method::Post,
                    path: "/v1/refunds".to_owned(),
                    params: vec![("payment_intent".to_owned(), "pi_1".to_owned())],
                },
                objects: Vec::new(),
                awaits: None,
                after: None,
                patience_ms: None,
            })))
        }
        fn answered(&mut self, status: u16, body: &str) -> Option<(&'static str, &'static str)> {
            let result = CallResult::Answered {
                generation: 1,
                status,
                date: 1_747_044_000,
                request_id: "req_1".to_owned(),
                is_replayed: false,
                body: RawValue::from_string(body.to_owned()).ok(),
            };
            self.hear(CALL, serde_json::to_vec(&result).unwrap())
        }
    }

    fn unsure() -> Order {
        Order::CommandUnsure {
            generation: 1,
            reason: "timeout".to_owned(),
        }
    }

    #[test]
    fn an_end_counts_once_and_a_doubt_beside_it() {
        let made = r#"{"id":"re_1","object":"refund","payment_intent":"pi_1"}"#;
        let mut refund = Refund::default();
        assert_eq!(refund.begin(), None);
        assert_eq!(refund.order(&unsure()), Some(("refund", "unknown")));
        assert_eq!(refund.order(&unsure()), None);
        assert_eq!(refund.answered(200, made), Some(("refund", "succeeded")));
        assert_eq!(refund.answered(200, made), None);
        assert_eq!(refund.begin(), None);
    }

    #[test]
    fn what_is_under_way_is_counted_under_its_kind_and_status() {
        let mut pending = [0; CommandKind::ALL.len()];
        for kind in ["refund", "capture", "refund", "what"] {
            tally(format!("{{\"kind\":\"{kind}\"}}").as_bytes(), &mut pending);
        }
        let of = |kind: CommandKind| {
            CommandKind::ALL
                .iter()
                .zip(pending)
                .find(|(k, _)| **k == kind)
        };
        assert_eq!(of(CommandKind::Refund).map(|(_, count)| count), Some(2));
        assert_eq!(of(CommandKind::Capture).map(|(_, count)| count), Some(1));
        assert_eq!(pending.iter().sum::<u64>(), 3);
        let stats = Stats {
            rows: vec![
                (RowKind::Command, "unknown".to_owned(), 2),
                (RowKind::Command, "succeeded".to_owned(), 5),
                (RowKind::Payment, "unknown".to_owned(), 7),
            ],
            ..Stats::default()
        };
        assert_eq!(rows_of(&stats, "unknown"), 2);
    }

    #[test]
    fn a_refusal_counts_as_failed() {
        let mut refund = Refund::default();
        refund.begin();
        let refused = r#"{"error":{"code":"charge_already_refunded"}}"#;
        assert_eq!(refund.answered(400, refused), Some(("refund", "failed")));
        assert_eq!(refund.answered(400, refused), None);
    }
}
