//! Endpoints: made, shown, changed, removed; their secrets replaced; a test.
//!
//! Invariants: an address is judged before it is kept, and again at every attempt.

use super::{audit, changeable, endpoint_of, tenant_of, types};
use crate::http::answer::Answer;
use crate::http::order::tenant_row;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::reads::page_of;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::notifications::CONFIGURED;
use crate::notifications::records::Endpoint;
use crate::notifications::sign::{NoRandomness, new_secret, random_hex};
use bursar_domain::notification::TYPES;
use bursar_store::api::Administer;
use hyper::StatusCode;
use serde_json::{Value, json};

const ID_BYTES: usize = 12;
const HOUR_MS: i64 = 3_600_000;
/// How long a replaced secret signs unless somebody says otherwise.
const OVERLAP_HOURS: i64 = 24;

impl From<NoRandomness> for Problem {
    fn from(error: NoRandomness) -> Self {
        tracing::error!(%error, "no endpoint can be made");
        Self::new(Code::Internal, "no random bytes could be had")
    }
}

/// An endpoint as it is answered.
pub(super) fn shown(endpoint: &Endpoint) -> Value {
    let disabled = endpoint.disabled.as_ref();
    json!({
        "id": endpoint.id, "url": endpoint.url, "types": endpoint.types,
        "tenantId": endpoint.tenant, "description": endpoint.description,
        "status": if disabled.is_some() { "disabled" } else { "enabled" },
        "disabledReason": disabled.map(|one| one.reason.clone()),
        "disabledAt": disabled.map(|one| one.at.rfc3339()),
        "failingSince": endpoint.failing_since.map(|at| at.rfc3339()),
        "readOnly": endpoint.id == CONFIGURED,
        "createdAt": endpoint.created_at.rfc3339(),
    })
}

/// What verifies, ready to be pasted. The secret is read from the environment, so that the lines can be committed.
fn snippets() -> Value {
    json!({
        "node": "// npm install standardwebhooks; `body` is the raw request body\n\
                 import { Webhook } from \"standardwebhooks\";\n\
                 const event = new Webhook(process.env.BURSAR_NOTIFICATION_SECRET).verify(body, request.headers);",
        "python": "# pip install standardwebhooks; `body` is the raw request body\n\
                   import os\nfrom standardwebhooks import Webhook\n\
                   event = Webhook(os.environ[\"BURSAR_NOTIFICATION_SECRET\"]).verify(body, request.headers)",
    })
}

fn url_of(call: &Call) -> Result<Option<String>, Problem> {
    let Some(text) = call.fields.text("url") else {
        return Ok(None);
    };
    let url = call.edge.notifications.guard.check(text);
    let url = url.map_err(|why| Problem::field("url", FieldCode::Malformed, why.to_string()))?;
    Ok(Some(url.to_string()))
}

/// `POST /api/v1/notification-endpoints`.
pub fn create(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let url = url_of(&call)?.unwrap_or_default();
        let types = types(&call)?;
        let tenant = tenant_of(&call.reach())?;
        if let Some(tenant) = &tenant {
            tenant_row(&call, tenant).await?;
        }
        let registry = &call.edge.notifications.registry;
        if !registry.has_room(tenant.as_ref()) {
            return Err(Problem::new(
                Code::Refused,
                "there are 16 endpoints already; remove one first",
            ));
        }
        let now = call.edge.now();
        let endpoint = Endpoint {
            id: format!("ne_{}", random_hex(ID_BYTES)?),
            url,
            types,
            tenant: tenant.clone(),
            description: call.fields.text("description").unwrap_or("").to_owned(),
            created_at: now,
            enabled_at: now,
            disabled: None,
            failing_since: None,
        };
        let secret = new_secret()?;
        let line = audit(
            &call,
            "created",
            &endpoint.id,
            tenant,
            endpoint.shown_host(),
        );
        let mut body = shown(&endpoint);
        if !registry.create(endpoint, secret.clone(), line).await? {
            return Err(Problem::new(
                Code::Internal,
                "two endpoints drew the same id",
            ));
        }
        body["secret"] = secret.into();
        body["verify"] = snippets();
        Ok(Answer::created(&body).holding_secret())
    })
}

/// `GET /api/v1/notification-endpoints`.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let reach = call.reach();
        let all = call.edge.notifications.registry.all();
        let own = all.iter().filter(|one| reach.covers(one.tenant.as_ref()));
        page_of(&call, &own.map(|one| shown(one)).collect::<Vec<_>>())
    })
}

/// `GET /api/v1/notification-endpoints/{id}`.
pub fn get(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move { Ok(Answer::json(&shown(&*endpoint_of(&call)?))) })
}

/// Changes one and answers it.
async fn changed(
    call: &Call,
    action: &str,
    detail: String,
    change: impl FnOnce(&mut Endpoint),
) -> Result<Answer, Problem> {
    let endpoint = endpoint_of(call)?;
    let line = audit(call, action, &endpoint.id, endpoint.tenant.clone(), detail);
    let with = Administer {
        audit: vec![line],
        ..Administer::default()
    };
    let changed = call
        .edge
        .notifications
        .registry
        .change(&endpoint.id, with, change)
        .await?;
    let changed = changed.ok_or_else(Problem::not_found)?;
    call.edge.notifications.hurry(&changed.id);
    Ok(Answer::json(&shown(&changed)))
}

/// `PATCH /api/v1/notification-endpoints/{id}`.
pub fn patch(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        changeable(&*endpoint_of(&call)?)?;
        let (url, types) = (url_of(&call)?, types(&call)?);
        let has_types = call.fields.value("types").is_some();
        let description = call
            .fields
            .value("description")
            .map(|value| value.as_str().unwrap_or("").to_owned());
        let enabled = call.fields.boolean("enabled");
        let now = call.edge.now();
        changed(&call, "changed", String::new(), move |one| {
            if let Some(url) = url {
                one.url = url;
            }
            if has_types {
                one.types = types;
            }
            if let Some(description) = description {
                one.description = description;
            }
            match (enabled, &one.disabled) {
                (Some(true), Some(_)) => one.enable(now),
                (Some(false), None) => one.disable("by_hand", now),
                _ => {}
            }
        })
        .await
    })
}

/// `POST /api/v1/notification-endpoints/{id}/enable`.
pub fn enable(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let now = call.edge.now();
        changed(&call, "enabled", String::new(), |one| one.enable(now)).await
    })
}

/// `DELETE /api/v1/notification-endpoints/{id}`.
pub fn remove(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let endpoint = endpoint_of(&call)?;
        changeable(&endpoint)?;
        let line = audit(
            &call,
            "removed",
            &endpoint.id,
            endpoint.tenant.clone(),
            endpoint.shown_host(),
        );
        let notifications = &call.edge.notifications;
        if !notifications.registry.remove(&endpoint.id, line).await? {
            return Err(Problem::not_found());
        }
        notifications.forget(&endpoint.id).await?;
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    })
}

/// `POST /api/v1/notification-endpoints/{id}/rotate-secret`.
pub fn rotate(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let endpoint = endpoint_of(&call)?;
        changeable(&endpoint)?;
        let hours = call.fields.integer("overlapHours").unwrap_or(OVERLAP_HOURS);
        let until = call.edge.now().plus_ms(hours * HOUR_MS);
        let detail = format!("the secret before signs until {}", until.rfc3339());
        let line = audit(
            &call,
            "secret_rotated",
            &endpoint.id,
            endpoint.tenant.clone(),
            detail,
        );
        let registry = &call.edge.notifications.registry;
        let rotated = registry
            .rotate(&endpoint.id, new_secret()?, until, line)
            .await?;
        let rotated = rotated.ok_or_else(Problem::not_found)?;
        let mut body = shown(&endpoint);
        body["secret"] = rotated.secret.into();
        body["previousSecretUntil"] = rotated.previous_until.rfc3339().into();
        Ok(Answer::json(&body).holding_secret())
    })
}

/// `POST /api/v1/notification-endpoints/{id}/test`.
pub fn test(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let endpoint = endpoint_of(&call)?;
        let kind = call.fields.text("type").filter(|kind| TYPES.contains(kind));
        let line = audit(
            &call,
            "tested",
            &endpoint.id,
            endpoint.tenant.clone(),
            String::new(),
        );
        let trial = call
            .edge
            .notifications
            .try_out(&endpoint, kind, line)
            .await?;
        let trial = trial.ok_or_else(|| Problem {
            retry_after_seconds: Some(1),
            ..Problem::new(Code::Overloaded, "too many tests are under way")
        })?;
        Ok(Answer::json(&json!({
            "notificationId": trial.id, "type": trial.kind,
            "status": if trial.sent.is_success() { "succeeded" } else { "failed" },
            "statusCode": trial.sent.status, "latencyMs": trial.sent.latency_ms,
            "error": trial.sent.error, "answer": trial.sent.answer,
        })))
    })
}
