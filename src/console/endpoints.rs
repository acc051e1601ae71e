//! Where applications are told, what was sent there, and the secrets it is signed with.

use super::form::next_page;
use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::{Value, json};

/// `GET /console/endpoints`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let asked = visit.given(&["cursor"]);
        let page = visit.ask("notification_endpoints_list", &[], asked).await?;
        let holds = json!({
            "endpoints": page["data"], "next": next_page(&visit, "/console/endpoints", &[], &page),
        });
        visit.page("endpoints.html", "Notifications", holds).await
    })
}

/// `GET /console/endpoints/{id}`.
pub(super) fn show(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move { one(&Visit::of(call), Value::Null).await })
}

async fn one(visit: &Visit, tested: Value) -> Result<Answer, Problem> {
    let id = visit.call.path("id").to_owned();
    let path = [("id", id.as_str())];
    let endpoint = visit
        .ask("notification_endpoints_get", &path, Vec::new())
        .await?;
    let whole = vec![("limit", "50".to_owned())];
    let attempts = visit
        .ask("notification_deliveries_list", &path, whole)
        .await?;
    let holds = json!({
        "shown": endpoint, "attempts": attempts["data"], "more": attempts["hasMore"],
        "tested": tested,
    });
    visit.page("endpoint.html", "Endpoint", holds).await
}

async fn secret(visit: &Visit, made: &Value, title: &str) -> Result<Answer, Problem> {
    let id = made["id"].as_str().unwrap_or("");
    let holds = json!({
        "secret": made["secret"], "what": made["url"], "back": format!("/console/endpoints/{id}"),
        "use": "Give it to the application as BURSAR_NOTIFICATION_SECRET; any Standard Webhooks library verifies with it.",
    });
    visit.page("secret.html", title, holds).await
}

/// `POST /console/endpoints`.
pub(super) fn create(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let fields = visit.given(&["url", "types", "description"]);
        let made = visit
            .order("notification_endpoints_create", &[], fields)
            .await?;
        secret(&visit, &json_of(&made)?, "The endpoint’s secret").await
    })
}

/// `POST /console/endpoints/{id}/rotate-secret`.
pub(super) fn rotate(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let fields = visit.given(&["overlapHours"]);
        let label = "notification_endpoints_rotate_secret";
        let made = visit.order(label, &[("id", &id)], fields).await?;
        secret(&visit, &json_of(&made)?, "The new secret").await
    })
}

/// `POST /console/endpoints/{id}/test`.
pub(super) fn test(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let label = "notification_endpoints_test";
        let tested = json_of(&visit.order(label, &[("id", &id)], Vec::new()).await?)?;
        one(&visit, tested).await
    })
}

/// `POST /console/endpoints/{id}/enable`.
pub(super) fn enable(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let label = "notification_endpoints_enable";
        json_of(&visit.order(label, &[("id", &id)], Vec::new()).await?)?;
        Ok(visit.lead_to(&format!("/console/endpoints/{id}"), "enabled"))
    })
}

/// `POST /console/endpoints/{id}/delete`.
pub(super) fn delete(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let label = "notification_endpoints_delete";
        json_of(&visit.order(label, &[("id", &id)], Vec::new()).await?)?;
        Ok(visit.lead_to("/console/endpoints", "deleted"))
    })
}

/// `POST /console/endpoints/{id}/deliveries/{deliveryId}/retry`.
pub(super) fn retry(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let (id, delivery) = (visit.call.path("id"), visit.call.path("deliveryId"));
        let path = [("id", id), ("deliveryId", delivery)];
        let label = "notification_deliveries_retry";
        json_of(&visit.order(label, &path, Vec::new()).await?)?;
        Ok(visit.lead_to(&format!("/console/endpoints/{id}"), "retried"))
    })
}
