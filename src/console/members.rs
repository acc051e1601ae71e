//! Who belongs to a tenant, and who is invited.

use super::form::next_page;
use super::visit::{Visit, json_of};
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use bursar_domain::identity::Role;
use serde_json::json;

/// `GET /console/members`.
pub(super) fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let mut page = json!({"data": [], "nextCursor": null});
        if visit.call.selected.is_some() {
            let mut asked = visit.given(&["cursor"]);
            asked.push(("limit", "100".to_owned()));
            page = visit.ask("members_list", &[], asked).await?;
        }
        let holds = json!({
            "members": page["data"], "roles": Role::WORDS,
            "mayChange": visit.may("members_change"), "mayInvite": visit.may("members_invite"),
            "next": next_page(&visit, "/console/members", &[], &page),
        });
        visit.page("members.html", "Members", holds).await
    })
}

/// `POST /console/members`.
pub(super) fn invite(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let fields = visit.given(&["email", "role"]);
        json_of(&visit.order("members_invite", &[], fields).await?)?;
        Ok(visit.lead_to("/console/members", "invited"))
    })
}

/// `POST /console/members/{id}/role`.
pub(super) fn change(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        let fields = visit.given(&["role"]);
        json_of(
            &visit
                .order("members_change", &[("id", &id)], fields)
                .await?,
        )?;
        Ok(visit.lead_to("/console/members", "changed"))
    })
}

/// `POST /console/members/{id}/remove`.
pub(super) fn remove(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let visit = Visit::of(call);
        let id = visit.call.path("id").to_owned();
        json_of(
            &visit
                .order("members_remove", &[("id", &id)], Vec::new())
                .await?,
        )?;
        Ok(visit.lead_to("/console/members", "removed"))
    })
}
