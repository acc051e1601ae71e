//! The set-up: what `bursar doctor` says, line by line, until all of it is well.
//!
//! Invariants: looks and changes nothing; no test event and no mail is sent from here.

use super::visit::Visit;
use crate::http::answer::Answer;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::json;

/// `GET /console/setup`.
pub(super) fn show(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        // The right of the page is the operator's; the lines tell of the whole machine.
        if !visit.is_operator() {
            let detail = "this needs the operator's key";
            return Err(Problem::new(Code::InsufficientScope, detail));
        }
        let edge = &visit.call.edge;
        let found = match edge.checklist.get() {
            Some(checklist) => checklist.look().await,
            None => json!({"ok": false, "checks": []}),
        };
        let checks = found["checks"].as_array().map_or(&[][..], Vec::as_slice);
        let count = |word: &str| {
            checks
                .iter()
                .filter(|check| check["status"] == word)
                .count()
        };
        let holds = json!({
            "failed": count("fail"), "warned": count("warn"), "well": count("ok"),
            "skipped": count("skip"), "checks": checks, "base": edge.settings.app_base_url,
        });
        visit.page("setup.html", "Set-up", holds).await
    })
}
