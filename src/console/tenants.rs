//! Tenants: the list, and one with its state, why it is so, and what happened.

use super::explain::story;
use super::form::{filled, next_page};
use super::visit::Visit;
use crate::commands::answer;
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::words;
use serde_json::{Value, json};

const FILTERS: &[&str] = &["status", "archived"];

/// `GET /console/tenants`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let asked = visit.given(&["status", "archived", "cursor"]);
        let page = visit.ask("tenants_list", &[], asked).await?;
        let holds = json!({
            "tenants": page["data"], "statuses": words::TENANT,
            "filled": filled(&visit, FILTERS),
            "next": next_page(&visit, "/console/tenants", FILTERS, &page),
        });
        visit.page("tenants.html", "Tenants", holds).await
    })
}

/// Plans that can be sold. # Errors: the route's.
pub(super) async fn for_sale(visit: &Visit) -> Result<Vec<Value>, Problem> {
    if !visit.may("checkout_open") {
        return Ok(Vec::new());
    }
    let plans = visit
        .ask("plans_list", &[], vec![("limit", "100".to_owned())])
        .await?;
    let plans = plans["data"].as_array().cloned().unwrap_or_default();
    Ok(plans
        .into_iter()
        .filter(|plan| plan["mode"].is_string())
        .collect())
}

/// `GET /console/tenants/{id}`.
pub(super) fn show(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let tenant = visit
            .ask("tenants_get", &[("tenantId", &id)], Vec::new())
            .await?;
        let of = vec![("tenantId", id.clone()), ("limit", "10".to_owned())];
        let payments = visit.ask("payments_list", &[], of).await?;
        let title = tenant["name"].as_str().filter(|name| !name.is_empty());
        let title = title.unwrap_or(&id).to_owned();
        let holds = json!({
            "present": answer::present("tenants", &tenant), "story": story(&visit, &id, false).await?,
            "payments": payments["data"], "plans": for_sale(&visit).await?, "shown": tenant,
        });
        visit.page("tenant.html", &title, holds).await
    })
}
