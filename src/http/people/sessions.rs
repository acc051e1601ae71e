//! Where a person is signed in, listed and ended by themselves.

use super::{access_token, actor, commit, person};
use crate::http::answer::Answer;
use crate::http::problem::Problem;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::accounts;
use crate::identity::records::Commit;
use crate::identity::sessions;
use hyper::StatusCode;
use serde_json::{Value, json};

/// The session a request came with, if it came with one. # Errors: the store's.
pub(super) async fn own_session(call: &Call) -> Result<Option<String>, Problem> {
    let edge = &call.edge;
    let token = access_token(call);
    if let Some(bearer) = token.and_then(|t| edge.identity.keys.read(t, edge.now())) {
        return Ok(Some(bearer.session));
    }
    let Some(cookie) = sessions::cookie_of(&call.headers, edge.identity.is_https) else {
        return Ok(None);
    };
    let session = sessions::of_cookie(edge.store.as_ref(), cookie, edge.now()).await?;
    Ok(session.map(|(id, _)| id))
}

/// `GET /api/v1/sessions`: all of them, the newest first; there are never more than a page.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let user = person(&call)?;
        let (store, now) = (call.edge.store.as_ref(), call.edge.now());
        let own = own_session(&call).await?;
        let account = accounts::find(store, &user).await?;
        let version = account.map_or(u64::MAX, |a| a.value.session_version);
        let mut found = sessions::of_user(store, &user).await?;
        found.retain(|(_, session)| session.value.holds(version, now));
        found.reverse();
        let data: Vec<Value> = found
            .iter()
            .map(|(id, session)| {
                let session = &session.value;
                json!({
                    "id": id, "kind": session.kind, "current": own.as_ref() == Some(id),
                    "createdAt": session.created_at.rfc3339(),
                    "lastUsedAt": session.used_at.rfc3339(),
                    "expiresAt": session.ends_at.rfc3339(),
                })
            })
            .collect();
        let page = json!({"data": data, "hasMore": false, "nextCursor": null});
        Ok(Answer::json(&page).with("cache-control", "no-store"))
    })
}

/// `DELETE /api/v1/sessions/{id}`.
pub fn end(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let user = person(&call)?;
        let id = call.path("id").to_owned();
        let session = sessions::find(call.edge.store.as_ref(), &id).await?;
        if session.is_none_or(|session| session.value.user != user) {
            return Err(Problem::not_found());
        }
        let line = actor(&call).did("session.ended", &id, None, call.edge.now(), String::new());
        let ends = sessions::end(Commit::default(), &user, &id).audit(line);
        commit(&call, ends).await?;
        Ok(Answer::empty(StatusCode::NO_CONTENT))
    })
}
