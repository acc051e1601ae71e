//! Keys of programs: a tenant's own, and the installation's. A new one is shown once.

use super::form::next_page;
use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::auth::Scope;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::{Value, json};

/// `GET /console/keys`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let mut page = json!({"data": [], "nextCursor": null});
        if visit.call.selected.is_some() {
            page = visit
                .ask("api_keys_list", &[], visit.given(&["cursor"]))
                .await?;
        }
        let mut services = Value::Null;
        if visit.may("service_keys_list") {
            let whole = vec![("limit", "100".to_owned())];
            services = visit.ask("service_keys_list", &[], whole).await?["data"].take();
        }
        let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        let holds = json!({
            "keys": page["data"], "next": next_page(&visit, "/console/keys", &[], &page),
            "services": services, "scopes": scopes, "roles": crate::http::api_keys::ROLE_WORDS,
        });
        visit.page("keys.html", "Keys", holds).await
    })
}

async fn shown_once(
    visit: &Visit,
    label: &str,
    fields: Vec<(&'static str, String)>,
) -> Result<Answer, Problem> {
    let made = json_of(&visit.order(label, &[], fields).await?)?;
    let holds = json!({
        "secret": made["key"], "what": made["name"], "back": "/console/keys",
        "use": "Send it as `Authorization: Bearer …` or `X-API-Key`.",
    });
    visit.page("secret.html", "The new key", holds).await
}

/// `POST /console/keys`.
pub(super) fn create(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let fields = visit.given(&["name", "role"]);
        shown_once(&visit, "api_keys_create", fields).await
    })
}

/// `POST /console/service-keys`.
pub(super) fn create_service(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let fields = visit.given(&["name", "scopes"]);
        shown_once(&visit, "service_keys_create", fields).await
    })
}

/// `POST /console/keys/{id}/revoke`.
pub(super) fn revoke(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(revoked(call, "api_keys_revoke"))
}

/// `POST /console/service-keys/{id}/revoke`.
pub(super) fn revoke_service(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(revoked(call, "service_keys_revoke"))
}

async fn revoked(call: Call, label: &'static str) -> Result<Answer, Problem> {
    let visit = Visit::of(call);
    let id = visit.call.path("id").to_owned();
    json_of(&visit.order(label, &[("id", &id)], Vec::new()).await?)?;
    Ok(visit.lead_to("/console/keys", "revoked"))
}
