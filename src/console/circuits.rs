//! Circuits towards the outside, and what came in and went out lately.

use super::chart;
use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::{Value, json};

/// Circuits of connected accounts come and go with them; more than these are few people's to read.
const SHOWN: &str = "100";

async fn circuits(visit: &Visit) -> Result<Value, Problem> {
    let whole = vec![("limit", SHOWN.to_owned())];
    Ok(visit.ask("circuits_list", &[], whole).await?["data"].take())
}

/// `GET /console/circuits`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let edge = &visit.call.edge;
        let holds = json!({
            "circuits": circuits(&visit).await?,
            "history": edge.pulse.turns().iter().rev().map(|turn| json!({
                "at": turn.at.rfc3339(), "name": turn.name, "state": turn.state,
            })).collect::<Vec<_>>(),
            "bands": chart::circuit_bands(&edge.pulse.turns(), edge.now()),
        });
        visit.page("circuits.html", "Circuits", holds).await
    })
}

/// `POST /console/circuits/{name}/reset`.
pub(super) fn reset(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let name = visit.call.path("name").to_owned();
        json_of(
            &visit
                .order("circuits_reset", &[("name", &name)], Vec::new())
                .await?,
        )?;
        Ok(visit.lead_to("/console/circuits", "reset"))
    })
}

/// `GET /console/traffic`: events a minute and how fast they were acknowledged.
pub(super) fn traffic(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let edge = &visit.call.edge;
        let minutes = edge.pulse.minutes(edge.now());
        let total: u64 = minutes.iter().map(|minute| minute.events).sum();
        let holds = json!({
            "total": total,
            "events": chart::columns(
                &minutes.iter().map(|m| (m.label(), vec![m.events])).collect::<Vec<_>>(),
            ),
            "latency": chart::columns(
                &minutes.iter().map(|m| (m.label(), vec![m.p99_us().div_ceil(1_000)])).collect::<Vec<_>>(),
            ),
            "minutes": minutes.iter().filter(|m| m.events > 0).rev().map(|minute| json!({
                "label": minute.label(), "events": minute.events,
                "p50": in_ms(minute.p50_us()), "p99": in_ms(minute.p99_us()),
            })).collect::<Vec<_>>(),
        });
        visit.page("traffic.html", "Traffic", holds).await
    })
}

fn in_ms(us: u64) -> String {
    format!("{}.{}", us / 1_000, us % 1_000 / 100)
}
