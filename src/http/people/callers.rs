//! A signed-in person as a caller of the API: who, in which tenant, as what.
//!
//! Invariants: `X-Tenant-Id` only selects among memberships; a tenant the person does not belong to is answered as one
//! that does not exist.

use crate::http::auth::{Bound, Caller, Principal, selected_tenant};
use crate::http::edge::Edge;
use crate::http::problem::{Code, Problem};
use crate::identity::{UserId, accounts, members, tokens};
use hyper::HeaderMap;

/// The person behind an access token. # Errors: 401; as [`person`].
pub async fn of_token(edge: &Edge, headers: &HeaderMap, token: &str) -> Result<Caller, Problem> {
    let Some(user) = tokens::user_of(edge, token).await? else {
        let detail =
            "the access token is not good, or has ended; ask for another with the refresh token";
        return Err(Problem::new(Code::Unauthenticated, detail));
    };
    person(edge, headers, &user).await
}

/// A person as a caller, in the tenant the request picks or the one that holds without. Bound to none if they belong to
/// several and chose none.
/// # Errors: 404 for a tenant that is not theirs; 400 for a malformed header; 503 if the store is away.
pub async fn person(edge: &Edge, headers: &HeaderMap, user: &UserId) -> Result<Caller, Problem> {
    let store = &*edge.store;
    let tenant = match selected_tenant(headers)? {
        Some(tenant) => {
            let belongs = members::role_in(store, user, &tenant).await?.is_some();
            if !belongs {
                return Err(Problem::not_found());
            }
            Some(tenant)
        }
        None => accounts::default_tenant(store, user).await?,
    };
    let mut bound = None;
    if let Some(tenant) = tenant {
        let role = members::role_in(store, user, &tenant).await?;
        bound = role.map(|role| Bound { tenant, role });
    }
    Ok(Caller {
        principal: Principal::User(user.to_string()),
        scopes: Vec::new(),
        bound,
    })
}
