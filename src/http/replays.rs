//! Doing deliveries again: said first, then done.
//!
//! A replay routes the stored bodies again and rehearses them in order of receipt: each is decided
//! over what those before it would leave behind, and nothing is committed. Then only what would
//! change something is put back; the dedup key stays, so nothing is counted twice.
//!
//! Invariants: a dry run and the run after it use the same words for the same event; a replay never
//! touches what has its turn still to come (received) or can no longer be read (erased, past
//! retention): those are `skipped`. What is parked and would park again stays as it is.
//! Not here: what other aggregates and re-reads make of it. A rehearsal carries no messages, so a
//! line says what the event changes on its own object.
//! Source: contract §3 "Operators".

use crate::http::answer::Answer;
use crate::http::history::{awaited, changes_json};
use crate::http::order::audit;
use crate::http::problem::{FieldCode, Problem};
use crate::http::reads::cursor_after;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::webhook::stored_fate;
use crate::http::webhook_events::{PAGE, find, matching};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Decision, Disposition};
use bursar_domain::input::{Ctx, StoredInput};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_store::api::{Fate, InputStatus};
use bursar_store::query::InputView;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Events one request looks at; the next ones follow with its cursor.
const REPLAY_MAX: usize = 1_000;
/// Lines of the diff that are answered.
const DIFF_MAX: usize = 200;

/// `POST /api/v1/webhook-events/{id}/replay`.
pub fn replay_one(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let view = find(&call).await?;
        replay(&call, vec![view], None).await
    })
}

/// `POST /api/v1/webhook-events/replay`.
pub fn replay_filtered(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let filtered = [
            "status",
            "tenantId",
            "types",
            "receivedAfter",
            "receivedBefore",
        ];
        let named = filtered
            .iter()
            .any(|name| call.fields.value(name).is_some());
        let is_dry = call.fields.boolean("dryRun").unwrap_or(false);
        if !named && call.selected.is_none() && !is_dry {
            let detail = "name at least one filter, or ask for a `dryRun`";
            return Err(Problem::field("status", FieldCode::Required, detail));
        }
        // What is done again is done in order of receipt, over all pages of it.
        let (views, next) = matching(&call, REPLAY_MAX).await?;
        replay(&call, views, next).await
    })
}

/// What doing an event again would do.
enum Trial {
    Skip(&'static str),
    Unchanged,
    Again {
        fate: Fate,
        decision: Option<Box<Decision>>,
    },
    /// It would wait for a reference nobody has linked.
    Park {
        fate: Fate,
        reason: String,
    },
}

async fn replay(
    call: &Call,
    views: Vec<InputView>,
    next: Option<Vec<u8>>,
) -> Result<Answer, Problem> {
    let is_dry = call.fields.boolean("dryRun").unwrap_or(false);
    let matched = views.len();
    let (mut unchanged, mut skipped) = (0_usize, 0_usize);
    let (mut diff, mut again): (Vec<String>, Vec<(u64, Fate)>) = (Vec::new(), Vec::new());
    let mut rehearsal = Rehearsal::new(call);
    for view in &views {
        match rehearsal.trial(view).await? {
            Trial::Skip(reason) => {
                skipped += 1;
                note(&mut diff, view, "skipped", reason, "[]");
            }
            Trial::Unchanged => unchanged += 1,
            Trial::Again { fate, decision } => {
                let changes = decision.iter().flat_map(|d| d.timeline.iter());
                let changes: Vec<_> = changes.flat_map(|e| e.changed.clone()).collect();
                note(&mut diff, view, "replayed", "", &changes_json(&changes));
                again.push((view.seq, fate));
            }
            Trial::Park { fate, reason } => {
                note(&mut diff, view, "replayed", &reason, "[]");
                again.push((view.seq, fate));
            }
        }
    }
    let replayed = again.len();
    if !is_dry && replayed > 0 {
        let now = call.edge.now();
        for batch in again.chunks(PAGE) {
            let woken = call.whole_store()?.requeue(batch.to_vec(), now).await?;
            call.edge.intake.wake(woken);
        }
        metrics::counter!("bursar_replays_total", "outcome" => "replayed")
            .increment(replayed as u64);
        let first = views.first().map(|view| view.source.public_id());
        let what = if matched == 1 {
            first.unwrap_or_default()
        } else {
            "filter".to_owned()
        };
        let detail = format!("{replayed} of {matched} events");
        audit(call, "event.replayed", &what, None, detail).await?;
    }
    metrics::counter!("bursar_replays_total", "outcome" => "unchanged").increment(unchanged as u64);
    metrics::counter!("bursar_replays_total", "outcome" => "skipped").increment(skipped as u64);
    let more = next.is_some();
    let cursor = next.map(|key| cursor_after(call, &key));
    let cursor = serde_json::Value::from(cursor);
    Ok(Answer::json_text(format!(
        "{{\"matched\":{matched},\"replayed\":{replayed},\"unchanged\":{unchanged},\
         \"skipped\":{skipped},\"dryRun\":{is_dry},\"hasMore\":{more},\"nextCursor\":{cursor},\"diff\":[{}]}}",
        diff.join(",")
    )))
}

fn same_wait(a: &[LinkKey], b: &[LinkKey]) -> bool {
    a.len() == b.len() && a.iter().all(|key| b.contains(key))
}

fn note(diff: &mut Vec<String>, view: &InputView, outcome: &str, reason: &str, changed: &str) {
    if diff.len() < DIFF_MAX {
        let mut line = json!({
            "id": view.source.public_id(), "type": view.kind, "outcome": outcome,
            "reason": reason, "status": view.status.as_str(),
        })
        .to_string();
        line.pop();
        diff.push(format!("{line},\"changed\":{changed}}}"));
    }
}

/// What the deliveries before this one would leave behind, in memory.
struct Rehearsal<'a> {
    call: &'a Call,
    /// Snapshots of the aggregates met so far: as stored, then as decided here.
    states: HashMap<AggregateKey, Option<Vec<u8>>>,
    /// Links decided here.
    links: BTreeMap<LinkKey, LinkTarget>,
}

impl<'a> Rehearsal<'a> {
    fn new(call: &'a Call) -> Self {
        Self {
            call,
            states: HashMap::new(),
            links: BTreeMap::new(),
        }
    }

    async fn trial(&mut self, view: &InputView) -> Result<Trial, Problem> {
        if view.status == InputStatus::Received {
            return Ok(Trial::Skip("it still waits to be applied"));
        }
        let Some(body) = self.call.whole_store()?.input_body(view.seq).await? else {
            return Ok(Trial::Skip(if view.body_dropped {
                "its body was dropped by retention"
            } else {
                "its body was erased"
            }));
        };
        let settings = &self.call.edge.settings.domain;
        let routed = bursar_domain::route(&body, settings, view.received_at);
        let fate = stored_fate(routed.fate);
        match &fate {
            Fate::Ignored { reason } | Fate::Dead { reason } => {
                let same_end = matches!(
                    (&fate, view.status),
                    (Fate::Ignored { .. }, InputStatus::Ignored)
                        | (Fate::Dead { .. }, InputStatus::Dead)
                );
                if same_end && *reason == view.reason {
                    return Ok(Trial::Unchanged);
                }
                let decision = None;
                Ok(Trial::Again { fate, decision })
            }
            Fate::Pending { to, park } => {
                if !park.is_empty() && self.linked(park).await?.is_empty() {
                    if view.status == InputStatus::Parked && same_wait(park, &view.parked_on) {
                        return Ok(Trial::Unchanged);
                    }
                    let reason = format!("it would wait for {}", awaited(park));
                    return Ok(Trial::Park { fate, reason });
                }
                let (to, input) = (
                    to.clone(),
                    StoredInput {
                        seq: view.seq,
                        source: view.source.clone(),
                        kind: view.kind.clone(),
                        received_at: view.received_at,
                        body,
                    },
                );
                self.addressed(view, fate, to, &input).await
            }
        }
    }

    async fn addressed(
        &mut self,
        view: &InputView,
        fate: Fate,
        to: AggregateKey,
        input: &StoredInput,
    ) -> Result<Trial, Problem> {
        let Some(decision) = self.decided(&to, input).await? else {
            return Ok(Trial::Skip("the reducer panics on it"));
        };
        let nothing = decision.snapshot.is_none()
            && decision.rows.is_empty()
            && decision.movements.is_empty();
        // An event that never was applied gets its place in the timeline even so.
        if nothing && view.status == InputStatus::Applied {
            return Ok(Trial::Unchanged);
        }
        if decision.disposition == Disposition::Dead && view.status == InputStatus::Dead {
            return Ok(Trial::Unchanged);
        }
        if let Some(bytes) = &decision.snapshot {
            self.states.insert(to, Some(bytes.clone()));
        }
        let links = decision.links.iter();
        self.links
            .extend(links.map(|link| (link.key.clone(), link.target.clone())));
        let decision = Some(Box::new(decision));
        Ok(Trial::Again { fate, decision })
    }

    /// Those of these references that are linked, here or in the store.
    async fn linked(&self, keys: &[LinkKey]) -> Result<BTreeMap<LinkKey, LinkTarget>, Problem> {
        let targets = self.call.whole_store()?.links(keys.to_vec()).await?;
        let known = keys.iter().zip(targets).filter_map(|(key, stored)| {
            let target = self.links.get(key).cloned().or(stored)?;
            Some((key.clone(), target))
        });
        Ok(known.collect())
    }

    /// What the reducer would decide, without committing it. `None`: it panicked.
    async fn decided(
        &mut self,
        to: &AggregateKey,
        input: &StoredInput,
    ) -> Result<Option<Decision>, Problem> {
        let edge = &self.call.edge;
        let settings = &edge.settings.domain;
        if !self.states.contains_key(to) {
            let stored = self.call.whole_store()?.load(to.clone()).await?;
            // Empty: its inputs so far changed nothing.
            let bytes = stored.map(|stored| stored.bytes);
            let bytes = bytes.filter(|bytes| !bytes.is_empty());
            self.states.insert(to.clone(), bytes);
        }
        let snapshot = self.states.get(to).and_then(|state| state.as_deref());
        let keys = catch_unwind(AssertUnwindSafe(|| {
            bursar_domain::lookups(to, snapshot, input, settings)
        }));
        let Ok(keys) = keys else {
            return Ok(None);
        };
        let links = self.linked(&keys).await?;
        let ctx = Ctx {
            now: edge.now(),
            settings,
            links: &links,
            shown_version: None,
        };
        let decided = catch_unwind(AssertUnwindSafe(|| {
            bursar_domain::decide(to, snapshot, input, &ctx)
        }));
        Ok(decided.ok())
    }
}
