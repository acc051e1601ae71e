//! `GET /api/v1/checkout-sessions/{id}?waitSeconds=`: waits for the outcome, and asks Stripe itself if no event came.
//!
//! Invariants: one read per request, after half of its wait; what it says goes the way of every re-read, through the
//! session's own reducer, so what is answered is what is stored. Many who ask in one second bring one answer.
//! Failure: when Stripe cannot be asked, the wait goes on as if it had not been tried.

use super::live;
use crate::http::answer::Answer;
use crate::http::order::visible_row;
use crate::http::problem::Problem;
use crate::http::reads::{row_json, wait_at_most};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_actors::outbound::stripe_read::heard;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::effect::effect_id;
use bursar_domain::ids::SessionId;
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_store::query::RowView;
use serde_json::Value;
use std::time::Duration;

/// One checkout session, waiting for its outcome if asked to.
pub fn get(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (kind, reach) = (RowKind::Session, call.reach());
        let account = call.fields.text("account");
        let read = || visible_row(&call.edge, kind, call.path("id"), account, &reach);
        let seconds = call.fields.integer("waitSeconds").unwrap_or(0);
        let half = Duration::from_millis(u64::try_from(seconds).unwrap_or(0) * 500);
        let row = wait_at_most(&call, half, read, is_over).await?;
        if is_over(&row) || half.is_zero() {
            return Ok(Answer::json_text(row_json(&row)));
        }
        ask(&call, &row).await;
        let row = wait_at_most(&call, half, read, is_over).await?;
        Ok(Answer::json_text(row_json(&row)))
    })
}

/// Whether there is nothing more to wait for.
fn is_over(row: &RowView) -> bool {
    let shown: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    match row.status.as_str() {
        "open" => false,
        "complete" => shown["paymentStatus"] != "unpaid",
        _ => true,
    }
}

/// Has Stripe's present word taken in.
async fn ask(call: &Call, row: &RowView) {
    let Ok(id) = SessionId::parse(&row.id) else {
        return;
    };
    let key = AggregateKey::Session(row.scope.clone(), id.clone());
    let reread = Reread {
        scope: row.scope.clone(),
        target: RereadTarget::Session(id),
    };
    let path = reread.path();
    let Ok(answer) = live::whole(call, row.scope.clone(), path).await else {
        return;
    };
    let fact = format!("waited-for:{}", answer.date_unix);
    let source = effect_id(&key, "reread", &fact);
    let target = serde_json::to_value(&reread.target).unwrap_or(Value::Null);
    let now = call.edge.now();
    let inbound = match heard(source, &key, &row.scope, &target, &answer, now) {
        Ok(inbound) => inbound,
        Err(error) => {
            tracing::warn!(error, "an answer of Stripe cannot be read");
            return;
        }
    };
    match call.edge.intake.accept(inbound).await {
        Ok(_) => call.edge.intake.wake(vec![key]),
        Err(error) => tracing::warn!(%error, "an answer of Stripe was not taken in"),
    }
}
