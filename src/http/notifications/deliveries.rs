//! Deliveries of one endpoint: the latest attempts, and trying again.

use super::{audit, endpoint_of, types};
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::reads::{checked_range, page_of};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::notifications::records::{Attempt, delivery_id, notification_of};
use crate::notifications::retry::Given;
use serde_json::{Value, json};

/// How an attempt ended.
pub const STATUS_WORDS: &[&str] = &["succeeded", "failed"];

fn status(attempt: &Attempt) -> &'static str {
    if attempt.error.is_none() {
        "succeeded"
    } else {
        "failed"
    }
}

fn shown(attempt: &Attempt) -> Value {
    json!({
        "deliveryId": (attempt.number > 0).then(|| delivery_id(&attempt.notification)),
        "notificationId": attempt.notification, "type": attempt.kind, "tenantId": attempt.tenant,
        "attempt": attempt.number, "at": attempt.at.rfc3339(), "status": status(attempt),
        "statusCode": attempt.status, "latencyMs": attempt.latency_ms, "error": attempt.error,
        "answer": attempt.answer, "nextAttemptAt": attempt.next_at.map(|at| at.rfc3339()),
    })
}

/// `GET /api/v1/notification-endpoints/{id}/deliveries`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let endpoint = endpoint_of(&call)?;
        let attempts = call.edge.notifications.attempts(&endpoint.id).await?;
        let wanted = call.fields.text("status");
        let some = attempts
            .iter()
            .filter(|one| wanted.is_none_or(|word| word == status(one)));
        page_of(&call, &some.map(shown).collect::<Vec<_>>())
    })
}

/// `POST /api/v1/notification-endpoints/{id}/deliveries/{deliveryId}/retry`.
pub fn retry_one(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let endpoint = endpoint_of(&call)?;
        let id = notification_of(call.path("deliveryId")).ok_or_else(Problem::not_found)?;
        let line = audit(
            &call,
            "retried",
            &endpoint.id,
            endpoint.tenant.clone(),
            id.clone(),
        );
        let entry = call
            .edge
            .notifications
            .retry_one(&endpoint, &id, line)
            .await?;
        let entry = entry.ok_or_else(Problem::not_found)?;
        Ok(Answer::json(&json!({
            "deliveryId": delivery_id(&entry.id), "notificationId": entry.id, "type": entry.kind,
            "tenantId": entry.tenant, "status": "pending",
        })))
    })
}

/// `POST /api/v1/notification-endpoints/{id}/retry`.
pub fn retry_given_up(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let endpoint = endpoint_of(&call)?;
        checked_range(&call, "createdAfter", "createdBefore")?;
        let given = Given {
            types: types(&call)?,
            tenant: call.fields.tenant("tenantId"),
            after: call.fields.time("createdAfter"),
            before: call.fields.time("createdBefore"),
        };
        let line = audit(
            &call,
            "retried",
            &endpoint.id,
            endpoint.tenant.clone(),
            "all given up".to_owned(),
        );
        let retried = call
            .edge
            .notifications
            .retry_given_up(&endpoint, &given, line)
            .await?;
        Ok(Answer::json(
            &json!({"retried": retried.retried, "hasMore": retried.has_more}),
        ))
    })
}
