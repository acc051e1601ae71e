//! Comparing with Stripe, over HTTP.
//!
//! Invariants: one run at a time; an answer shows the run's own report, running or ended.
//! Not here: what a comparison is (`bursar_actors::reconcile`).
//! Failure: 409 while one runs, or for an import into a store that is not empty. A Stripe that fails
//! is no failure of the request: the report says so.

use crate::http::answer::Answer;
use crate::http::order::audit;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_actors::reconcile::{Mode, NotStarted, Order, Report, RunStatus};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a request waits for the end: below the half minute most clients and proxies wait.
const WAIT: Duration = Duration::from_secs(25);

impl From<NotStarted> for Problem {
    fn from(error: NotStarted) -> Self {
        let text = error.to_string();
        match error {
            NotStarted::Running => Self::new(Code::ReconcileRunning, text),
            NotStarted::NotEmpty(_) => Self::new(Code::StoreNotEmpty, text),
            NotStarted::Away => Self::new(Code::Overloaded, text),
            NotStarted::Store(error) => error.into(),
        }
    }
}

/// `GET /api/v1/reconcile`.
pub fn report(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let report = call.edge.reconciler.report().await?;
        Ok(Answer::json(&shown(&report)))
    })
}

/// `POST /api/v1/reconcile`.
pub fn start(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let repairs = call.fields.boolean("repair").unwrap_or(false);
        let imports = call.fields.boolean("import").unwrap_or(false);
        let mode = match (repairs, imports) {
            (_, true) => Mode::Import,
            (true, false) => Mode::Repair,
            (false, false) => Mode::Check,
        };
        let since = call.fields.time("since");
        if since.is_some_and(|since| since > call.edge.now()) {
            let detail = "`since` lies ahead";
            return Err(Problem::field("since", FieldCode::OutOfRange, detail));
        }
        let mut run = call.edge.reconciler.start(Order { mode, since }).await?;
        audit(
            &call,
            "reconcile.started",
            mode.as_str(),
            None,
            String::new(),
        )
        .await?;
        let ended = run.wait_for(|report| report.status != RunStatus::Running);
        let ended = tokio::time::timeout(WAIT, ended).await;
        let status = match &ended {
            Ok(Ok(_)) => StatusCode::OK,
            Ok(Err(_)) | Err(_) => StatusCode::ACCEPTED,
        };
        drop(ended);
        let report = run.borrow().clone();
        Ok(Answer::of(
            status,
            "application/json",
            shown(&report).to_string(),
        ))
    })
}

/// The report as it is answered: values of fields as JSON and not as the text of it.
fn shown(report: &Report) -> Value {
    let mut value = json!(report);
    for line in value["drift"].as_array_mut().into_iter().flatten() {
        for side in ["from", "to"] {
            let text = line[side].as_str().unwrap_or("null");
            line[side] = serde_json::from_str(text).unwrap_or(Value::Null);
        }
    }
    value
}
