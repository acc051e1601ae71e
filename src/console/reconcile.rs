//! The comparison with Stripe: its report, and starting one.

use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::json;

/// `GET /console/reconcile`.
pub(super) fn show(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let report = visit.ask("reconcile_report", &[], Vec::new()).await?;
        visit
            .page("reconcile.html", "Reconcile", json!({"report": report}))
            .await
    })
}

/// `POST /console/reconcile`.
pub(super) fn start(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let fields = visit.given(&["repair"]);
        json_of(&visit.order("reconcile_start", &[], fields).await?)?;
        Ok(visit.lead_to("/console/reconcile", "compared"))
    })
}
