//! Whether the process lives, whether it is ready, and what it is.
//!
//! Invariants: liveness looks at nothing outside this function; readiness names each check, and
//! Stripe's outage is none of them: deliveries are taken in whatever Stripe's API does.

use crate::http::answer::{Answer, JSON};
use crate::http::edge::{Check, Health};
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_store::api::Store;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A store that does not answer a write in this time is not ready for one.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /livez`.
pub fn live(_call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async { Ok(uncached(Answer::json(&json!({"status": "ok"})))) })
}

fn uncached(answer: Answer) -> Answer {
    answer.with("cache-control", "no-store")
}

async fn checked(call: &Call) -> (bool, Value) {
    let checks = call.edge.health.checks().await;
    let ready = checks.iter().all(|check| check.ok);
    let shown: Vec<Value> = checks
        .iter()
        .map(|c| json!({"name": c.name, "ok": c.ok, "detail": c.detail}))
        .collect();
    (ready, Value::Array(shown))
}

const fn status_of(ready: bool) -> StatusCode {
    if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// `GET /readyz`.
pub fn ready(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (ready, checks) = checked(&call).await;
        let body = json!({"status": if ready { "ready" } else { "not_ready" }, "checks": checks});
        Ok(with_retry(
            Answer::of(status_of(ready), JSON, body.to_string()),
            ready,
        ))
    })
}

fn with_retry(answer: Answer, ready: bool) -> Answer {
    let answer = uncached(answer);
    if ready {
        return answer;
    }
    answer.with("retry-after", "1")
}

/// `GET /health` and its aliases.
pub fn health(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (ready, checks) = checked(&call).await;
        let body = json!({
            "status": if ready { "ok" } else { "degraded" },
            "version": call.edge.settings.version,
            "livemode": call.edge.settings.domain.livemode,
            "checks": checks,
        });
        Ok(with_retry(
            Answer::of(status_of(ready), JSON, body.to_string()),
            ready,
        ))
    })
}

/// `GET /`: where everything is.
pub fn discovery(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let accepts = call
            .headers
            .get("accept")
            .and_then(|value| value.to_str().ok());
        if accepts.is_some_and(|accepts| accepts.contains("text/html")) {
            let answer = Answer::empty(StatusCode::SEE_OTHER);
            return Ok(answer.with("location", "/console").with("vary", "accept"));
        }
        Ok(Answer::json(&json!({
            "name": "bursar", "version": call.edge.settings.version,
            "openapi": "/openapi.json", "docs": "/docs", "health": "/health",
            "webhook": "/webhook", "api": "/api/v1",
        })))
    })
}

/// The checks the store alone can answer: `store`, `committer`, `disk`.
pub async fn store_checks(store: &Arc<dyn Store>) -> Vec<Check> {
    let stats = tokio::time::timeout(PROBE_TIMEOUT, store.stats()).await;
    let probe = tokio::time::timeout(PROBE_TIMEOUT, store.probe()).await;
    let (rebuilding, refused) = match &stats {
        Ok(Ok(stats)) => (stats.rebuilding, stats.intake_refused),
        _ => (false, false),
    };
    let check = |name, ok, detail: &str| Check {
        name,
        ok,
        detail: detail.to_owned(),
    };
    let store = match &stats {
        Ok(Ok(_)) if rebuilding => check("store", false, "rebuilding from the journal"),
        Ok(Ok(_)) => check("store", true, ""),
        Ok(Err(_)) => check("store", false, "it cannot be read"),
        Err(_) => check("store", false, "it does not answer"),
    };
    let committer = match &probe {
        Ok(Ok(())) => check("committer", true, ""),
        Ok(Err(_)) => check("committer", false, "a write is refused"),
        Err(_) => check(
            "committer",
            false,
            "a write does not become durable in time",
        ),
    };
    let disk = if refused {
        check("disk", false, "nearly full: intake is refused")
    } else {
        check("disk", true, "")
    };
    vec![store, committer, disk]
}

/// Readiness of a store without actors around it, as in tests and tools.
pub struct StoreHealth(pub Arc<dyn Store>);

impl Health for StoreHealth {
    fn checks(&self) -> BoxFuture<Vec<Check>> {
        let store = Arc::clone(&self.0);
        Box::pin(async move { store_checks(&store).await })
    }
}
