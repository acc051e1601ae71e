//! What happened: timelines, movements of money, and why an object is in the state it is in.
//!
//! Invariants: oldest first; append-only, so a page never changes once it was full. `explain` is no
//! page: within a second it keeps the order things were done in.

use crate::http::answer::Answer;
use crate::http::auth::Reach;
use crate::http::order::{tenant_row, visible_row};
use crate::http::problem::{Code, Problem};
use crate::http::reads::{after, limit, page};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::decision::{Change, EntrySource, LedgerAccount};
use bursar_domain::ids::PaymentId;
use bursar_domain::link::LinkKey;
use bursar_domain::rows::RowKind;
use bursar_store::api::InputStatus;
use bursar_store::query::{
    InputView, LedgerLine, LedgerQuery, RowView, TimelineLine, TimelineOf, TimelineQuery,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Inputs and lines `explain` answers at most.
const EXPLAIN_MAX: usize = 1_000;

const ACCOUNTS: [LedgerAccount; 7] = [
    LedgerAccount::StripeBalance,
    LedgerAccount::Receivable,
    LedgerAccount::Revenue,
    LedgerAccount::Refunds,
    LedgerAccount::Disputes,
    LedgerAccount::CreditsLiability,
    LedgerAccount::Merchant,
];

/// The words of the ledger's accounts.
pub const ACCOUNT_WORDS: &[&str] = &[
    "stripe_balance",
    "receivable",
    "revenue",
    "refunds",
    "disputes",
    "credits_liability",
    "merchant",
];

#[derive(serde::Serialize)]
struct ChangeJson<'a> {
    field: &'a str,
    from: Option<&'a RawValue>,
    to: Option<&'a RawValue>,
}

fn raw(text: &str) -> Option<&RawValue> {
    // The reducers write JSON texts; one that is none would be a defect and is shown as null.
    serde_json::from_str(text).ok()
}

/// What changed, as JSON text.
pub fn changes_json(changes: &[Change]) -> String {
    let shown: Vec<ChangeJson<'_>> = changes
        .iter()
        .map(|change| ChangeJson {
            field: &change.field,
            from: raw(&change.from),
            to: raw(&change.to),
        })
        .collect();
    serde_json::to_string(&shown).unwrap_or_else(|_| "[]".to_owned())
}

const fn source_word(source: EntrySource) -> &'static str {
    match source {
        EntrySource::Event => "event",
        EntrySource::Command => "command",
        EntrySource::Reread => "reread",
        EntrySource::Timer => "timer",
        EntrySource::Operator => "operator",
    }
}

/// A line of a timeline, as JSON text.
pub fn line_json(line: &TimelineLine) -> String {
    let entry = &line.entry;
    let mut text = json!({
        "at": entry.at.rfc3339(), "source": source_word(entry.source),
        "sourceId": entry.source_id, "kind": entry.kind, "objectId": entry.object_id,
        "summary": entry.summary, "disposition": entry.disposition.as_str(),
        "tenantId": entry.tenant,
    })
    .to_string();
    text.pop();
    format!("{text},\"changed\":{}}}", changes_json(&entry.changed))
}

async fn timeline(call: Call, of: TimelineOf) -> Result<Answer, Problem> {
    let query = TimelineQuery {
        of,
        after: after(&call)?,
        limit: limit(&call),
    };
    let lines = call.edge.store.timeline(&call.reach(), query).await?;
    Ok(page(&call, lines, line_json))
}

/// `GET /api/v1/tenants/{tenantId}/timeline`.
pub fn of_tenant(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call.path_tenant("tenantId")?;
        tenant_row(&call, &tenant).await?;
        timeline(call, TimelineOf::Tenant(tenant)).await
    })
}

/// `GET /api/v1/payments/{id}/timeline`.
pub fn of_payment(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let key = payment_key(&call, call.path("id"), &call.reach()).await?;
        timeline(call, TimelineOf::Payment(key)).await
    })
}

/// `GET /api/v1/timeline`: what belongs to no object.
pub fn of_installation(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(timeline(call, TimelineOf::Installation))
}

async fn payment_key(call: &Call, id: &str, reach: &Reach) -> Result<LinkKey, Problem> {
    let account = call.fields.text("account");
    let row = visible_row(&call.edge, RowKind::Payment, id, account, reach).await?;
    key_of(&row)
}

fn key_of(row: &RowView) -> Result<LinkKey, Problem> {
    let id = PaymentId::parse(&row.id).map_err(|_| Problem::not_found())?;
    Ok(LinkKey::Payment(row.scope.clone(), id))
}

fn ledger_json(line: &LedgerLine) -> String {
    let payment = match &line.payment {
        Some(LinkKey::Payment(_, id)) => Some(id.as_str()),
        _ => None,
    };
    json!({
        "account": line.account.as_str(), "amount": line.amount.amount_minor,
        "currency": line.amount.currency, "source": line.source, "at": line.at.rfc3339(),
        "tenantId": line.tenant, "paymentId": payment,
    })
    .to_string()
}

async fn ledger_page(call: Call, mut query: LedgerQuery) -> Result<Answer, Problem> {
    query.after = after(&call)?;
    query.limit = limit(&call);
    let lines = call.edge.store.ledger(&call.reach(), query).await?;
    Ok(page(&call, lines, ledger_json))
}

/// `GET /api/v1/payments/{id}/transactions`.
pub fn transactions(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let key = payment_key(&call, call.path("id"), &call.reach()).await?;
        let query = LedgerQuery {
            payment: Some(key),
            ..LedgerQuery::default()
        };
        ledger_page(call, query).await
    })
}

/// `GET /api/v1/ledger`.
pub fn ledger(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let reach = call.reach();
        let payment = match call.fields.text("paymentId") {
            Some(id) => Some(payment_key(&call, id, &reach).await?),
            None => None,
        };
        let word = call.fields.text("account");
        let query = LedgerQuery {
            tenant: reach.tenant().cloned(),
            payment,
            account: word.and_then(|w| ACCOUNTS.into_iter().find(|a| a.as_str() == w)),
            ..LedgerQuery::default()
        };
        ledger_page(call, query).await
    })
}

/// What somebody waits for who is parked on these, in words.
pub fn awaited(keys: &[LinkKey]) -> String {
    let one = |key: &LinkKey| match key {
        LinkKey::Tenant(id) => format!("tenant {id} to exist"),
        LinkKey::Command(id) => format!("order {id} to be known"),
        LinkKey::Merchant(id) => format!("account {id} to be linked"),
        LinkKey::Customer(_, id) => format!("customer {id} to be linked"),
        LinkKey::Subscription(_, id) => format!("subscription {id} to be known"),
        LinkKey::Invoice(_, id) => format!("invoice {id} to be known"),
        LinkKey::Payment(_, id) => format!("payment {id} to be known"),
        LinkKey::Charge(_, id) => format!("charge {id} to be known"),
        LinkKey::Session(_, id) => format!("checkout {id} to be known"),
    };
    let words: Vec<String> = keys.iter().map(one).collect();
    if words.is_empty() {
        return "something to be linked".to_owned();
    }
    words.join(" or ")
}

/// An input as it is answered.
pub fn input_json(view: &InputView) -> Value {
    let account = match &view.source {
        bursar_domain::input::InputSource::Event(scope, _) => scope.0.clone(),
        _ => None,
    };
    let time = |at: bursar_domain::ids::Timestamp| at.rfc3339();
    let parked: Vec<String> = view.parked_on.iter().map(ToString::to_string).collect();
    let reason = match view.status {
        InputStatus::Parked if view.reason.is_empty() => {
            format!("waits for {}", awaited(&view.parked_on))
        }
        _ => view.reason.clone(),
    };
    json!({
        "id": view.source.public_id(), "account": account, "type": view.kind,
        "status": view.status.as_str(), "reason": reason,
        "disposition": view.disposition.map(bursar_domain::decision::Disposition::as_str),
        "parkedOn": parked, "addressedTo": view.to.as_ref().map(ToString::to_string),
        "createdAt": view.created_at.map(time), "receivedAt": view.received_at.rfc3339(),
        "endedAt": view.ended_at.map(time), "tenantId": view.tenant,
        "objectIds": view.object_ids, "bodyBytes": view.body_bytes,
        "bodyDropped": view.body_dropped,
    })
}

/// `GET /api/v1/explain/{id}`.
pub fn explain(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let id = call.path("id").to_owned();
        let reach = call.reach();
        let found = call.edge.store.explain(&reach, id.clone(), EXPLAIN_MAX);
        let found = found.await?;
        let inputs = found.inputs.iter();
        let inputs: Vec<String> = inputs.map(|view| input_json(view).to_string()).collect();
        let lines: Vec<String> = found.lines.iter().map(line_json).collect();
        if inputs.is_empty() && lines.is_empty() {
            let detail = "no event, order or timeline line names this id";
            return Err(Problem::new(Code::NotFound, detail));
        }
        Ok(Answer::json_text(format!(
            "{{\"id\":{},\"inputs\":[{}],\"timeline\":[{}],\"truncated\":{}}}",
            Value::from(id),
            inputs.join(","),
            lines.join(","),
            found.truncated
        )))
    })
}
