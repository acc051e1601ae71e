//! What was decided to be done outside, and what became of it.

use super::form::{filled, next_page};
use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::operators::{EFFECT_STATUS_WORDS, LANE_WORDS};
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::json;

const FILTERS: &[&str] = &["status", "lane"];

/// `GET /console/outbox`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let asked = visit.given(&["status", "lane", "cursor"]);
        let page = visit.ask("outbox", &[], asked).await?;
        let holds = json!({
            "effects": page["data"], "statuses": EFFECT_STATUS_WORDS, "lanes": LANE_WORDS,
            "filled": filled(&visit, FILTERS),
            "next": next_page(&visit, "/console/outbox", FILTERS, &page),
        });
        visit.page("outbox.html", "Outbox", holds).await
    })
}

/// `POST /console/outbox/{id}/retry`.
pub(super) fn retry(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        json_of(
            &visit
                .order("outbox_retry", &[("id", &id)], Vec::new())
                .await?,
        )?;
        Ok(visit.lead_to("/console/outbox", "retried"))
    })
}
