//! Checkouts that found no tenant, and giving them to one.

use super::form::next_page;
use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::problem::{FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::json;

/// `GET /console/unclaimed`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let page = visit
            .ask("unclaimed_list", &[], visit.given(&["cursor"]))
            .await?;
        let holds = json!({
            "sessions": page["data"], "next": next_page(&visit, "/console/unclaimed", &[], &page),
        });
        visit.page("unclaimed.html", "Unclaimed", holds).await
    })
}

/// `POST /console/unclaimed/{id}/claim`.
pub(super) fn claim(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let to = visit.field("to").map(str::to_owned);
        let to = to.ok_or_else(|| Problem::field("to", FieldCode::Required, "say whose it is"))?;
        let mut fields = vec![("tenantId", to.clone())];
        fields.extend(visit.given(&["account"]));
        json_of(
            &visit
                .order("unclaimed_claim", &[("id", &id)], fields)
                .await?,
        )?;
        Ok(visit.lead_to(&format!("/console/tenants/{to}"), "claimed"))
    })
}
