//! Who changed what.

use super::form::next_page;
use super::visit::Visit;
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use serde_json::json;

/// `GET /console/audit`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let mut asked = visit.given(&["cursor"]);
        asked.push(("limit", "50".to_owned()));
        let page = visit.ask("audit", &[], asked).await?;
        let holds = json!({
            "entries": page["data"], "next": next_page(&visit, "/console/audit", &[], &page),
        });
        visit.page("audit.html", "Audit", holds).await
    })
}
