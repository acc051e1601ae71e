//! What waits for a person, many at a time: dismissing deliveries, claiming and dismissing what is unclaimed.
//!
//! Invariants: a dry run counts and names what the run will; each thing that is changed has its own line in the
//! audit trail; a request without a filter is a dry run or refused; one request changes at most what its limit says
//! and tells where to go on.
//! Not here: doing deliveries again (`replays`), one at a time (`webhook_events`, `operators`).
//! Failure: what was changed before an error was changed; asked again, the request finds the rest.
//! Source: contract §3 "Operators".

use crate::http::answer::Answer;
use crate::http::operators::{claim_row, claimable};
use crate::http::order::{account_scope, audit, audit_line, place_on, tenant_row, visible_row};
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::reads::{after, checked_range, cursor_after};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::tenants::accepted;
use crate::http::webhook_events::{PAGE, matching};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::SessionId;
use bursar_domain::rows::{RowKind, Subject};
use bursar_store::api::{Administer, AuditEntry, InputStatus};
use bursar_store::query::{InputView, RowQuery, RowView};
use serde_json::{Value, json};

/// Deliveries one request looks at; the next ones follow with its cursor.
const DISMISS_MAX: usize = 1_000;
/// Sessions one request names, or looks at.
pub const SESSIONS_MAX: usize = 100;
/// Items that are answered one by one.
const ITEMS_MAX: usize = 200;
/// Words of the `status` filter: what can be set aside.
pub const WAITING_WORDS: &[&str] = &["parked", "dead"];

/// What many changes come to.
#[derive(Default)]
struct Report {
    matched: usize,
    done: usize,
    skipped: usize,
    items: Vec<Value>,
}

impl Report {
    fn done(&mut self, id: &str, reason: &str) {
        self.done += 1;
        self.note(id, "done", reason);
    }
    fn skip(&mut self, id: &str, reason: &str) {
        self.skipped += 1;
        self.note(id, "skipped", reason);
    }
    fn note(&mut self, id: &str, outcome: &str, reason: &str) {
        self.matched += 1;
        if self.items.len() < ITEMS_MAX {
            let item = json!({"id": id, "outcome": outcome, "reason": reason});
            self.items.push(item);
        }
    }
    fn answer(self, call: &Call, next: Option<&[u8]>) -> Answer {
        Answer::json(&json!({
            "matched": self.matched, "done": self.done, "skipped": self.skipped,
            "dryRun": is_dry(call), "hasMore": next.is_some(),
            "nextCursor": next.map(|key| cursor_after(call, key)), "items": self.items,
        }))
    }
}

fn is_dry(call: &Call) -> bool {
    call.fields.boolean("dryRun").unwrap_or(false)
}

/// `POST /api/v1/webhook-events/dismiss`.
pub fn dismiss_events(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let reason = call.fields.text("reason").unwrap_or("").to_owned();
        let (views, next) = matching(&call, DISMISS_MAX).await?;
        let mut report = Report::default();
        for batch in views.chunks(PAGE) {
            let mut lines = Vec::new();
            let ended = dismiss_batch(&call, batch, &reason, &mut report, &mut lines).await;
            // What was set aside before one failed is in the trail all the same.
            if !lines.is_empty() {
                let write = Administer {
                    audit: lines,
                    ..Administer::default()
                };
                call.edge.store.administer(write).await?;
            }
            ended?;
        }
        Ok(report.answer(&call, next.as_deref()))
    })
}

async fn dismiss_batch(
    call: &Call,
    batch: &[InputView],
    reason: &str,
    report: &mut Report,
    lines: &mut Vec<AuditEntry>,
) -> Result<(), Problem> {
    for view in batch {
        let id = view.source.public_id();
        let waits = matches!(view.status, InputStatus::Dead | InputStatus::Parked);
        if !waits || !(is_dry(call) || dismissed(call, view.seq, reason).await?) {
            report.skip(&id, "it waits no more");
            continue;
        }
        if !is_dry(call) {
            let tenant = view.tenant.clone();
            let reason = reason.to_owned();
            lines.push(audit_line(call, "event.dismissed", &id, tenant, reason));
        }
        report.done(&id, &view.reason);
    }
    Ok(())
}

async fn dismissed(call: &Call, seq: u64, reason: &str) -> Result<bool, Problem> {
    let now = call.edge.now();
    Ok(call
        .whole_store()?
        .dismiss(seq, reason.to_owned(), now)
        .await?)
}

/// `POST /api/v1/unclaimed/claim`.
pub fn claim_many(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call
            .fields
            .tenant("tenantId")
            .ok_or_else(Problem::not_found)?;
        tenant_row(&call, &tenant).await?;
        let account = call.fields.text("account").map(str::to_owned);
        let mut report = Report::default();
        for id in call.fields.texts("ids") {
            let row = match claimable(&call, &id, account.as_deref()).await {
                Ok(row) => row,
                Err(problem) if problem.code == Code::NotFound => {
                    report.skip(&id, "nothing unclaimed has this id");
                    continue;
                }
                Err(problem) => return Err(problem),
            };
            if !is_dry(&call) {
                match claim_row(&call, &row, &tenant).await {
                    Ok(()) => {}
                    Err(problem) if problem.code == Code::StateConflict => {
                        report.skip(&id, &problem.detail);
                        continue;
                    }
                    Err(problem) => return Err(problem),
                }
            }
            report.done(&id, &worth(&row));
        }
        Ok(report.answer(&call, None))
    })
}

/// `POST /api/v1/unclaimed/dismiss`.
pub fn dismiss_unclaimed(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        checked_range(&call, "createdAfter", "createdBefore")?;
        let reason = call.fields.text("reason").unwrap_or("").to_owned();
        let mut report = Report::default();
        let (rows, next) = chosen(&call, &mut report).await?;
        for row in rows {
            if !is_dry(&call) {
                let id = SessionId::parse(&row.id).map_err(|_| Problem::not_found())?;
                let order = Order::UnclaimedDismiss {
                    reason: reason.clone(),
                };
                let subject = Subject(format!("session:{}/{id}", row.scope.as_str()));
                let to = AggregateKey::Session(row.scope.clone(), id);
                let placed = place_on(&call, &order, to, subject, None, vec![row.id.clone()]);
                if let Err(problem) = accepted(&placed.await?) {
                    report.skip(&row.id, &problem.detail);
                    continue;
                }
                audit(&call, "unclaimed.dismissed", &row.id, None, reason.clone()).await?;
            }
            report.done(&row.id, &worth(&row));
        }
        Ok(report.answer(&call, next.as_deref()))
    })
}

/// What waits and is meant: what `ids` name, else what the filter finds.
async fn chosen(
    call: &Call,
    report: &mut Report,
) -> Result<(Vec<RowView>, Option<Vec<u8>>), Problem> {
    let ids = call.fields.texts("ids");
    let everyone = call.caller.reach(None);
    let mut rows = Vec::new();
    if !ids.is_empty() {
        let account = call.fields.text("account");
        for id in ids {
            match visible_row(&call.edge, RowKind::Unclaimed, &id, account, &everyone).await {
                Ok(row) => rows.push(row),
                Err(problem) if problem.code == Code::NotFound => {
                    report.skip(&id, "nothing unclaimed has this id");
                }
                Err(problem) => return Err(problem),
            }
        }
        return Ok((rows, None));
    }
    let filters = ["createdAfter", "createdBefore"];
    let is_named = filters.iter().any(|name| call.fields.value(name).is_some());
    if !is_named && !is_dry(call) {
        let detail = "name `ids` or a time, or ask for a `dryRun`";
        return Err(Problem::field("ids", FieldCode::Required, detail));
    }
    let account = call.fields.text("account");
    let scope = account
        .map(|account| account_scope(Some(account)))
        .transpose()?;
    let query = RowQuery {
        kind: RowKind::Unclaimed,
        tenant: None,
        status: None,
        created_after: call.fields.time("createdAfter"),
        created_before: call.fields.time("createdBefore"),
        hidden: false,
        after: after(call)?,
        limit: SESSIONS_MAX,
    };
    let page = call.edge.store.rows(&everyone, query).await?;
    let of_scope = |row: &RowView| scope.as_ref().is_none_or(|scope| row.scope == *scope);
    Ok((page.items.into_iter().filter(of_scope).collect(), page.next))
}

/// What waits there, in words: `30.00` would need the currency's exponent, so it is minor units.
fn worth(row: &RowView) -> String {
    let value: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    let (amount, currency) = (&value["amountTotal"], value["currency"].as_str());
    match (amount.as_i64(), currency) {
        (Some(amount), Some(currency)) => format!("{amount} {currency}, in minor units"),
        _ => String::new(),
    }
}
