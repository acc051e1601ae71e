//! Deliveries as stored: what became of each, and setting one aside.
//!
//! Not here: doing them again (`replays`).
//! Source: contract §3 "Operators".

use crate::http::answer::Answer;
use crate::http::history::input_json;
use crate::http::order::{account_scope, audit};
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::reads::{after, checked_range, limit, page};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::input::InputSource;
use bursar_store::api::InputStatus;
use bursar_store::query::{InputQuery, InputView};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Deliveries read at a time.
pub const PAGE: usize = 100;

/// Words of the `status` filter.
pub const STATUS_WORDS: &[&str] = &["received", "applied", "ignored", "parked", "dead"];

const STATUSES: [InputStatus; 5] = [
    InputStatus::Received,
    InputStatus::Applied,
    InputStatus::Ignored,
    InputStatus::Parked,
    InputStatus::Dead,
];

/// What the request's filters ask for.
/// # Errors: 400 for a range that ends before it begins.
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
        oldest_first: false,
        after: None,
        limit: PAGE,
    })
}

/// What the filters of an order mean, in order of receipt and from its cursor on, over at most so many deliveries; and
/// where to go on.
/// # Errors: 400 for a range or a cursor that is no good; the store's.
pub async fn matching(
    call: &Call,
    most: usize,
) -> Result<(Vec<InputView>, Option<Vec<u8>>), Problem> {
    let mut query = InputQuery {
        oldest_first: true,
        after: after(call)?,
        ..filter(call)?
    };
    let mut views = Vec::new();
    loop {
        let page = call.whole_store()?.inputs(query.clone()).await?;
        views.extend(page.items);
        if page.next.is_none() || views.len() >= most {
            return Ok((views, page.next));
        }
        query.after = page.next;
    }
}

/// `GET /api/v1/webhook-events`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let query = InputQuery {
            after: after(&call)?,
            limit: limit(&call),
            ..filter(&call)?
        };
        let found = call.whole_store()?.inputs(query).await?;
        Ok(page(&call, found, |view| input_json(view).to_string()))
    })
}

/// The delivery the path names.
/// # Errors: 404; 400 if several accounts have an event of this id and none is named.
pub async fn find(call: &Call) -> Result<InputView, Problem> {
    let scope = match call.fields.text("account") {
        Some(account) => Some(account_scope(Some(account))?),
        None => None,
    };
    let id = call.path("id").to_owned();
    let found = call.whole_store()?.input(id, scope).await?;
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
        let body = call.whole_store()?.input_body(view.seq).await?;
        let mut shown = input_json(&view);
        shown["bodySha256"] = json!(
            body.as_ref()
                .map(|bytes| hex::encode(Sha256::digest(bytes)))
        );
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
            .whole_store()?
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
