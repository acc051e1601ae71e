//! Deliveries as stored: what became of each, and doing it again.
//!
//! A replay routes the stored body again, decides without committing, and puts back only what would
//! change something; the dedup key stays, so nothing is counted twice.
//!
//! Invariants: a dry run and the run after it use the same words for the same event; a replay never
//! touches what still waits (received, parked) or what can no longer be read (erased, past
//! retention): those are `skipped`.
//! Source: contract §3 "Operators".

use crate::http::answer::Answer;
use crate::http::history::{changes_json, input_json};
use crate::http::order::{account_scope, audit};
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::reads::{after, checked_range, limit, page};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::webhook::stored_fate;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Decision, Disposition};
use bursar_domain::input::{Ctx, InputSource, StoredInput};
use bursar_store::api::{Fate, InputStatus};
use bursar_store::query::{InputQuery, InputView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

/// Events one replay looks at; more need another call, with a narrower filter.
const REPLAY_MAX: usize = 1_000;
/// Lines of the diff that are answered.
const DIFF_MAX: usize = 200;
const PAGE: usize = 100;

/// Words of the `status` filter.
pub const STATUS_WORDS: &[&str] = &["received", "applied", "ignored", "parked", "dead"];

const STATUSES: [InputStatus; 5] = [
    InputStatus::Received,
    InputStatus::Applied,
    InputStatus::Ignored,
    InputStatus::Parked,
    InputStatus::Dead,
];

fn filter(call: &Call) -> Result<InputQuery, Problem> {
    checked_range(call, "receivedAfter", "receivedBefore")?;
    let word = call.fields.text("status");
    Ok(InputQuery {
        status: word.and_then(|w| STATUSES.into_iter().find(|s| s.as_str() == w)),
        deliveries_only: true,
        tenant: call.fields.tenant("tenantId").or(call.selected.clone()),
        received_after: call.fields.time("receivedAfter"),
        received_before: call.fields.time("receivedBefore"),
        kinds: call.fields.texts("types"),
        after: None,
        limit: PAGE,
    })
}

/// `GET /api/v1/webhook-events`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let query = InputQuery {
            after: after(&call)?,
            limit: limit(&call),
            ..filter(&call)?
        };
        let found = call.edge.store.inputs(query).await?;
        Ok(page(&call, found, |view| input_json(view).to_string()))
    })
}

async fn find(call: &Call) -> Result<InputView, Problem> {
    let scope = match call.fields.text("account") {
        Some(account) => Some(account_scope(Some(account))?),
        None => None,
    };
    let id = call.path("id").to_owned();
    let found = call.edge.store.input(id, scope).await?;
    let delivered =
        |view: &InputView| matches!(view.source, InputSource::Event(..) | InputSource::Raw(_));
    let mut found: Vec<InputView> = found.into_iter().filter(delivered).collect();
    if found.len() > 1 {
        let detail = "several accounts have an event of this id: say which by `account`";
        return Err(Problem::field("account", FieldCode::Required, detail));
    }
    found.pop().ok_or_else(Problem::not_found)
}

/// `GET /api/v1/webhook-events/{id}`, with the body as Stripe sent it.
pub fn get(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let view = find(&call).await?;
        let body = call.edge.store.input_body(view.seq).await?;
        let mut shown = input_json(&view);
        shown["body"] = match body {
            None => Value::Null,
            // What is no JSON is shown as its bytes: never as text nobody escaped.
            Some(bytes) => serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| json!({"hex": hex::encode(bytes)})),
        };
        Ok(Answer::json(&shown).with("cache-control", "no-store"))
    })
}

/// `POST /api/v1/webhook-events/{id}/dismiss`.
pub fn dismiss(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let view = find(&call).await?;
        let reason = call.fields.text("reason").unwrap_or("").to_owned();
        let now = call.edge.now();
        let done = call
            .edge
            .store
            .dismiss(view.seq, reason.clone(), now)
            .await?;
        if !done {
            let detail = format!(
                "only dead and parked events are dismissed; this one is {}",
                { view.status.as_str() }
            );
            return Err(Problem::new(Code::StateConflict, detail));
        }
        let id = view.source.public_id();
        audit(&call, "event.dismissed", &id, view.tenant, reason).await?;
        let view = find(&call).await?;
        Ok(Answer::json(&input_json(&view)))
    })
}

/// `POST /api/v1/webhook-events/{id}/replay`.
pub fn replay_one(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let view = find(&call).await?;
        replay(&call, vec![view], false).await
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
        let mut query = filter(&call)?;
        let mut views = Vec::new();
        let more = loop {
            let page = call.edge.store.inputs(query.clone()).await?;
            views.extend(page.items);
            if page.next.is_none() || views.len() >= REPLAY_MAX {
                break page.next.is_some();
            }
            query.after = page.next;
        };
        // The store lists newest first; what is done again is done in order of receipt.
        views.reverse();
        replay(&call, views, more).await
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
}

async fn replay(call: &Call, views: Vec<InputView>, more: bool) -> Result<Answer, Problem> {
    let is_dry = call.fields.boolean("dryRun").unwrap_or(false);
    let matched = views.len();
    let (mut unchanged, mut skipped) = (0_usize, 0_usize);
    let (mut diff, mut again): (Vec<String>, Vec<(u64, Fate)>) = (Vec::new(), Vec::new());
    for view in &views {
        match trial(call, view).await? {
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
        }
    }
    let replayed = again.len();
    if !is_dry && replayed > 0 {
        let now = call.edge.now();
        for batch in again.chunks(PAGE) {
            let woken = call.edge.store.requeue(batch.to_vec(), now).await?;
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
    Ok(Answer::json_text(format!(
        "{{\"matched\":{matched},\"replayed\":{replayed},\"unchanged\":{unchanged},\
         \"skipped\":{skipped},\"dryRun\":{is_dry},\"hasMore\":{more},\"diff\":[{}]}}",
        diff.join(",")
    )))
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

async fn trial(call: &Call, view: &InputView) -> Result<Trial, Problem> {
    if matches!(view.status, InputStatus::Received | InputStatus::Parked) {
        return Ok(Trial::Skip("it still waits to be applied"));
    }
    let Some(body) = call.edge.store.input_body(view.seq).await? else {
        return Ok(Trial::Skip("its body was erased or is past its retention"));
    };
    let settings = &call.edge.settings.domain;
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
        Fate::Pending { to, .. } => {
            let input = StoredInput {
                seq: view.seq,
                source: view.source.clone(),
                kind: view.kind.clone(),
                received_at: view.received_at,
                body,
            };
            let Some(decision) = decided(call, to, &input).await? else {
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
            let decision = Some(Box::new(decision));
            Ok(Trial::Again { fate, decision })
        }
    }
}

/// What the reducer would decide now, without committing it. `None`: it panicked.
async fn decided(
    call: &Call,
    to: &AggregateKey,
    input: &StoredInput,
) -> Result<Option<Decision>, Problem> {
    let store = &call.edge.store;
    let settings = &call.edge.settings.domain;
    let snapshot = store.load(to.clone()).await?.map(|snapshot| snapshot.bytes);
    let snapshot = snapshot.as_deref();
    let caught =
        |work: &dyn Fn() -> Decision| std::panic::catch_unwind(AssertUnwindSafe(work)).ok();
    let keys = std::panic::catch_unwind(AssertUnwindSafe(|| {
        bursar_domain::lookups(to, snapshot, input, settings)
    }));
    let Ok(keys) = keys else {
        return Ok(None);
    };
    let targets = store.links(keys.clone()).await?;
    let known = keys.into_iter().zip(targets);
    let links: BTreeMap<_, _> = known.filter_map(|(k, t)| Some((k, t?))).collect();
    let ctx = Ctx {
        now: call.edge.now(),
        settings,
        links: &links,
        shown_version: None,
    };
    Ok(caught(&|| bursar_domain::decide(to, snapshot, input, &ctx)))
}
