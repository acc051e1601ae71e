//! People, as the operator sees them: listed, invited, logged out everywhere, forgotten.
//!
//! Invariants: no answer holds a password or a digest; the last owner of a tenant is not forgotten before the tenant
//! has another.

use super::me::person_json;
use super::{ROUNDS, actor, address, commit, contended, members};
use crate::http::answer::Answer;
use crate::http::problem::{Code, Problem};
use crate::http::reads;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::accounts::{self, Account};
use crate::identity::records::{Commit, Read, spaces};
use crate::identity::{UserId, members as places, sessions};
use bursar_domain::identity::Role;
use hyper::StatusCode;
use serde_json::{Value, json};

fn shown(user: &UserId, account: &Account) -> Value {
    let is_verified = account.verified_at.is_some();
    let mut shown = person_json(user, Some(account));
    shown["status"] = if is_verified { "active" } else { "unverified" }.into();
    shown["createdAt"] = account.created_at.rfc3339().into();
    shown
}

/// `GET /api/v1/users`: everybody, the oldest account first, or the one of an address.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let store = call.edge.store.as_ref();
        if call.fields.text("email").is_some() {
            let address = address(&call, "email")?;
            let key = call.edge.identity.address_key(store).await?;
            let found = accounts::find_by_address(store, key, &address).await?;
            let data: Vec<Value> = found
                .iter()
                .map(|(user, a)| shown(user, &a.value))
                .collect();
            let body = json!({"data": data, "hasMore": false, "nextCursor": null});
            return Ok(Answer::json(&body).unkept());
        }
        let limit = reads::limit(&call);
        let after = reads::after(&call)?;
        let after = after.map(|key| String::from_utf8_lossy(&key).into_owned());
        let mut page = store.kept_all(spaces::ACCOUNT, after, limit + 1).await?;
        let has_more = page.len() > limit;
        page.truncate(limit);
        let next = page
            .last()
            .filter(|_| has_more)
            .map(|(id, _)| reads::cursor_after(&call, id.as_bytes()));
        let data: Vec<Value> = page
            .iter()
            .filter_map(|(id, bytes)| {
                Some((UserId::parse(id)?, serde_json::from_slice(bytes).ok()?))
            })
            .map(|(user, account): (UserId, Account)| shown(&user, &account))
            .collect();
        let body = json!({"data": data, "hasMore": has_more, "nextCursor": next});
        Ok(Answer::json(&body).unkept())
    })
}

/// `POST /api/v1/users`: invites somebody into a tenant, as its owner unless said otherwise.
pub fn invite(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call
            .fields
            .tenant("tenantId")
            .ok_or_else(Problem::not_found)?;
        let role = call.fields.text("role").and_then(Role::parse);
        members::invite_to(&call, &tenant, role.unwrap_or(Role::Owner)).await
    })
}

async fn account(call: &Call) -> Result<(UserId, Read<Account>), Problem> {
    let user = UserId::parse(call.path("id")).ok_or_else(Problem::not_found)?;
    let account = accounts::find(call.edge.store.as_ref(), &user).await?;
    Ok((user, account.ok_or_else(Problem::not_found)?))
}

/// `POST /api/v1/users/{id}/end-sessions`.
pub fn end_sessions(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (store, now) = (call.edge.store.as_ref(), call.edge.now());
        for _ in 0..ROUNDS {
            let (user, account) = account(&call).await?;
            let changed = Account {
                session_version: account.value.session_version + 1,
                ..account.value.clone()
            };
            let (id, whose) = (user.as_str(), Some(user.subject()));
            let line = actor(&call).did("user.sessions_ended", id, None, now, String::new());
            let ends = Commit::default()
                .replace(spaces::ACCOUNT, id, &account.bytes, &changed, whose)?
                .audit(line);
            if commit(&call, sessions::end_all(store, ends, &user, None).await?).await? {
                return Ok(Answer::empty(StatusCode::NO_CONTENT));
            }
        }
        Err(contended())
    })
}

/// `DELETE /api/v1/users/{id}`.
pub fn forget(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        for _ in 0..ROUNDS {
            let (user, account) = account(&call).await?;
            for (tenant, role) in places::tenants_of(call.edge.store.as_ref(), &user).await? {
                if role == Role::Owner {
                    members::another_owner(&call, &tenant, &user).await?;
                }
            }
            let by = actor(&call);
            if accounts::forget(&call.edge, &user, &account, &by, "by the operator").await? {
                return Ok(Answer::empty(StatusCode::NO_CONTENT));
            }
        }
        Err(Problem::new(
            Code::Overloaded,
            "the person changes at the same time; ask again",
        ))
    })
}
