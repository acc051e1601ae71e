//! Orders about a subscription: another plan or quantity, its end, and going on after all.
//!
//! Invariants: whose it is was decided before anything is asked of Stripe: foreign is absent. What is answered is the
//! row as it stands once Stripe's answer was applied; where that takes longer, the row as it is, not kept for a repeat.
//! Not here: what is sent (`stripe::requests::subscriptions`).
//! Source: contract §3 "Billing"; Stripe API reference, "Subscriptions".

mod change;
mod cost;
mod ends;
mod item;
mod preview;

pub use change::{change_plan, set_quantity};
pub use ends::{cancel, resume};
pub use preview::preview;

use crate::http::answer::Answer;
use crate::http::order::visible_row;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use bursar_domain::ids::{Scope, SubscriptionId, TenantId};
use bursar_domain::rows::RowKind;
use bursar_store::query::RowView;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the row is waited for after Stripe has answered.
const APPLY_WAIT: Duration = Duration::from_millis(2_500);

/// A subscription of a tenant's.
struct Subject {
    id: SubscriptionId,
    tenant: TenantId,
    row: Value,
}

impl Subject {
    fn status(&self) -> &str {
        self.row["status"].as_str().unwrap_or_default()
    }
}

/// The subscription of the path. # Errors: 404 absent or foreign, 409 while nobody is known to own it.
async fn subject(call: &Call) -> Result<Subject, Problem> {
    let row = row_of(call, call.path("id")).await?;
    let tenant = row.tenant.clone().ok_or_else(|| {
        conflict("whose subscription this is is not known yet; it cannot be changed from here")
    })?;
    Ok(Subject {
        id: SubscriptionId::parse(&row.id).map_err(|_| Problem::not_found())?,
        tenant,
        row: value(&row),
    })
}

async fn row_of(call: &Call, id: &str) -> Result<RowView, Problem> {
    visible_row(
        &call.edge,
        RowKind::Subscription,
        id,
        Some(""),
        &call.reach(),
    )
    .await
}

fn value(row: &RowView) -> Value {
    serde_json::from_slice(&row.value).unwrap_or(Value::Null)
}

fn conflict(detail: &str) -> Problem {
    Problem::new(Code::StateConflict, detail)
}

/// # Errors: 409 for a subscription that has ended.
fn must_live(status: &str) -> Result<(), Problem> {
    if matches!(status, "canceled" | "incomplete_expired") {
        return Err(conflict(&format!(
            "the subscription is {status}, and that is final"
        )));
    }
    Ok(())
}

/// The subscription at Stripe, its latest invoice with it. # Errors: 404, 502, 503.
async fn live(call: &Call, subject: &Subject) -> Result<Value, Problem> {
    let id = super::live::escaped(subject.id.as_str());
    let path = format!("/v1/subscriptions/{id}?expand%5B%5D=latest_invoice");
    super::live::read(call, Scope::PLATFORM, path).await
}

/// The row once `is_applied`, or as it is when that takes too long; `page`: where what is left open is paid.
async fn answer(
    call: &Call,
    subject: &Subject,
    page: Option<String>,
    is_applied: impl Fn(&Value) -> bool,
) -> Result<Answer, Problem> {
    let deadline = tokio::time::Instant::now() + APPLY_WAIT;
    let mut commits = call.edge.store.commits();
    let (row, is_fresh) = loop {
        commits.look();
        let row = value(&row_of(call, subject.id.as_str()).await?);
        if is_applied(&row) {
            break (row, true);
        }
        match tokio::time::timeout_at(deadline, commits.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break (row, false),
        }
    };
    let mut row = row;
    let page = match page {
        Some(page) => Some(page),
        None => unpaid_page(call, &row).await?,
    };
    row["hostedInvoiceUrl"] = json!(page);
    let answer = Answer::json(&row);
    Ok(if is_fresh { answer } else { answer.unkept() })
}

/// Where a change is paid that waits for it, as an invoice within a subscription says.
fn page_of(subscription: &Value) -> Option<String> {
    let invoice = &subscription["latest_invoice"];
    let page = invoice["hosted_invoice_url"].as_str();
    page.filter(|_| invoice["status"] == "open")
        .map(str::to_owned)
}

/// The same, where the command's own answer was lost: from the invoice's row.
async fn unpaid_page(call: &Call, row: &Value) -> Result<Option<String>, Problem> {
    let (true, Some(invoice)) = (
        row["pendingUpdate"].is_object(),
        row["latestInvoiceId"].as_str(),
    ) else {
        return Ok(None);
    };
    let (kind, reach) = (RowKind::Invoice, call.reach());
    match visible_row(&call.edge, kind, invoice, Some(""), &reach).await {
        Ok(invoice) => Ok(value(&invoice)["hostedInvoiceUrl"]
            .as_str()
            .map(str::to_owned)),
        // Its own event is still on its way.
        Err(problem) if problem.code == Code::NotFound => Ok(None),
        Err(problem) => Err(problem),
    }
}
