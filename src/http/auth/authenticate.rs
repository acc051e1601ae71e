//! Who calls: the credential of a request, read and looked up.
//!
//! Invariants: several credentials must name one principal; a person's rights are read at each request, and
//! `X-Tenant-Id` only selects among what is theirs; a key of one tenant works in that one and says so otherwise (403),
//! the same for a tenant that exists and one that does not.
//! Failure: 401 for whatever is no good (any more); wrong keys of an address are limited (`attempts`). Access tokens and
//! cookies are neither limited nor remembered there: nobody guesses a signature or 256 bits, and one that has
//! just ended is everyday.
//! Source: contract §3, "Callers"; reliability rows TE3, BA7 to BA9, BA12.

use super::{Bound, Caller, Principal, cookie, is_stripe_shaped, selected_tenant};
use crate::http::api_keys;
use crate::http::edge::Edge;
use crate::http::keys::Presented;
use crate::http::problem::{Code, Problem};
use crate::http::route::{Auth, Route, Verb};
use crate::http::server::Peer;
use crate::http::service_keys;
use crate::identity::{UserId, accounts, members, tokens};
use bursar_domain::ids::TenantId;
use hyper::{HeaderMap, header};

/// The credential of a request, if it carries one. # Errors: several that differ, or unreadable.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let unreadable = || {
        Problem::new(
            Code::Unauthenticated,
            "the Authorization header is not `Bearer <key>`",
        )
    };
    let mut found: Option<&str> = None;
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
        let detail = "the Authorization header was sent twice";
        return Err(Problem::new(Code::Unauthenticated, detail));
    }
    let bearers = headers.get_all(header::AUTHORIZATION).iter().map(|value| {
        let text = value.to_str().map_err(|_| unreadable())?;
        let (scheme, key) = text.split_once(' ').ok_or_else(unreadable)?;
        if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() || key.contains(' ') {
            return Err(unreadable());
        }
        Ok(key)
    });
    let keys = headers.get_all("x-api-key").iter();
    let keys = keys.map(|value| value.to_str().map_err(|_| unreadable()));
    for key in bearers.chain(keys) {
        let key = key?;
        if found.is_some_and(|other| other != key) {
            let detail = "two credentials were sent and they differ";
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        found = Some(key);
    }
    Ok(found)
}

/// Finds out who calls a route, and in which tenant.
/// # Errors: 400, 401, 403 `address_not_allowed`, 404 for a tenant that is not a person's, 429, 503 if the store is away.
pub async fn authenticate(
    edge: &Edge,
    route: &Route,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Caller, Problem> {
    let caller = match (credential(headers)?, cookie::value(edge, headers)?) {
        (Some(key), session) => {
            let caller = by_key(edge, key, peer).await?;
            if let Some(session) = session {
                agree(edge, &caller, session).await?;
            }
            caller
        }
        (None, Some(session)) => match cookie::caller(edge, route, headers, session).await {
            Ok(caller) => accepted("cookie", caller),
            Err(problem) => return Err(refused("cookie", problem)),
        },
        (None, None) if peer == Peer::ControlSocket => operator(),
        (None, None) => {
            let detail = "send a key as `Authorization: Bearer …` or `X-API-Key`";
            return Err(refused("none", Problem::new(Code::Unauthenticated, detail)));
        }
    };
    in_a_tenant(edge, route.auth, headers, caller).await
}

pub(super) const fn operator() -> Caller {
    Caller {
        principal: Principal::Operator,
        scopes: Vec::new(),
        bound: None,
    }
}

/// A person, not in any tenant yet.
pub(super) fn person(user: &UserId) -> Caller {
    Caller {
        principal: Principal::User(user.to_string()),
        scopes: Vec::new(),
        bound: None,
    }
}

async fn by_key(edge: &Edge, key: &str, peer: Peer) -> Result<Caller, Problem> {
    if is_stripe_shaped(key) {
        let detail = "this is a key of Stripe: take it out of this program and, if it left your \
                      machine, roll it in Stripe's dashboard; Bursar's own keys begin with sk_bursar_";
        return Err(refused(
            "stripe_key",
            Problem::new(Code::StripeKeyPresented, detail),
        ));
    }
    if tokens::is_token_shaped(key) {
        let user = tokens::user_of(edge, key).await?;
        let detail = "the access token is not good, or has ended; refresh it";
        let user = user
            .ok_or_else(|| refused("access_token", Problem::new(Code::Unauthenticated, detail)))?;
        return Ok(accepted("access_token", person(&user)));
    }
    if let Some(wait) = edge.attempts.wait(peer, key) {
        metrics::counter!("bursar_http_rejections_total", "reason" => "rate_limited").increment(1);
        let detail = "too many wrong keys came from this address";
        return Err(Problem {
            retry_after_seconds: Some(wait.as_secs().saturating_add(1)),
            ..Problem::new(Code::RateLimited, detail)
        });
    }
    if edge.settings.admin.fits(key) {
        if !edge.settings.admin.allows(peer) {
            let detail = "BURSAR_ADMIN_ALLOW does not hold the address of this request";
            return Err(refused(
                "operator",
                Problem::new(Code::AddressNotAllowed, detail),
            ));
        }
        edge.attempts.succeeded(key);
        return Ok(accepted("operator", operator()));
    }
    let (method, found) = key_holder(edge, key).await?;
    let Some(caller) = found else {
        edge.attempts.failed(peer, key);
        let detail = "the key is unknown, expired or revoked";
        return Err(refused(method, Problem::new(Code::Unauthenticated, detail)));
    };
    edge.attempts.succeeded(key);
    Ok(accepted(method, caller))
}

/// Who holds a key of ours, and what kind of key it is; a service key's where nobody does.
async fn key_holder(edge: &Edge, key: &str) -> Result<(&'static str, Option<Caller>), Problem> {
    let Some(presented) = Presented::parse(key) else {
        return Ok(("service_key", None));
    };
    if let Some(caller) = service_keys::find(edge, presented).await? {
        return Ok(("service_key", Some(caller)));
    }
    let found = api_keys::find(edge, presented).await?;
    let method = found.as_ref().map_or("service_key", |_| "api_key");
    Ok((method, found))
}

/// A key or token decides; a live session beside it must be of the same person. # Errors: 400.
async fn agree(edge: &Edge, caller: &Caller, session: &str) -> Result<(), Problem> {
    match cookie::user(edge, session).await? {
        Some(user) if person(&user).principal != caller.principal => {
            let detail = "the key and the cookie name different principals";
            Err(Problem::new(Code::InvalidRequest, detail))
        }
        _ => Ok(()),
    }
}

/// Finds out who looks at a page of the console, or sends one of its forms: a session in a cookie and nothing else. A
/// person acts in the tenant that is named, else in their default one.
/// # Errors: 400 where several tenants are meant, 401, 403, 404 for a tenant that is not a person's, 503.
pub async fn visitor(
    edge: &Edge,
    (verb, right): (Verb, Auth),
    headers: &HeaderMap,
    named: Option<TenantId>,
    peer: Peer,
) -> Result<Caller, Problem> {
    let Some(session) = cookie::value(edge, headers)? else {
        let detail = "sign in first";
        return Err(Problem::new(Code::Unauthenticated, detail));
    };
    let caller = cookie::visitor(edge, verb, headers, session, peer).await;
    let caller = accepted(
        "cookie",
        caller.map_err(|problem| refused("cookie", problem))?,
    );
    match (&caller.principal, right) {
        (Principal::User(id), Auth::Tenant(..) | Auth::PersonOf(_)) => {
            let user = UserId::parse(id).ok_or_else(Problem::not_found)?;
            let bound = Some(membership(edge, &user, named).await?);
            Ok(Caller { bound, ..caller })
        }
        _ => Ok(caller),
    }
}

/// Takes the operator's key, given to begin a session. # Errors: 401, 403 from an address that is not allowed, 429.
pub async fn operator_by_key(edge: &Edge, key: &str, peer: Peer) -> Result<(), Problem> {
    if by_key(edge, key, peer).await?.is_operator() {
        return Ok(());
    }
    let detail = "this is a key, and not the operator's: keys are for programs, people sign in";
    Err(refused(
        "operator",
        Problem::new(Code::Unauthenticated, detail),
    ))
}

/// The same caller, in the tenant the request picks.
async fn in_a_tenant(
    edge: &Edge,
    auth: Auth,
    headers: &HeaderMap,
    caller: Caller,
) -> Result<Caller, Problem> {
    if let Some(bound) = &caller.bound {
        let selected = selected_tenant(headers)?;
        bursar_domain::mutant!("M12", {
            let tenant = selected.unwrap_or_else(|| bound.tenant.clone());
            let bound = Some(Bound {
                tenant,
                ..bound.clone()
            });
            return Ok(Caller { bound, ..caller });
        });
        if selected.is_some_and(|selected| selected != bound.tenant) {
            let detail = "this key is of another tenant than X-Tenant-Id names";
            return Err(Problem::new(Code::InsufficientScope, detail));
        }
        return Ok(caller);
    }
    let Principal::User(id) = &caller.principal else {
        return Ok(caller);
    };
    if !matches!(auth, Auth::Tenant(..) | Auth::PersonOf(_)) {
        return Ok(caller);
    }
    let user = UserId::parse(id).ok_or_else(Problem::not_found)?;
    let bound = Some(membership(edge, &user, selected_tenant(headers)?).await?);
    Ok(Caller { bound, ..caller })
}

/// Where a person acts, and as what. # Errors: 400 where several tenants are meant, 404 for one that is not theirs.
async fn membership(
    edge: &Edge,
    user: &UserId,
    selected: Option<TenantId>,
) -> Result<Bound, Problem> {
    let store = edge.store.as_ref();
    let tenant = match selected {
        Some(tenant) => tenant,
        None => {
            let tenant = accounts::default_tenant(store, user).await?;
            tenant.ok_or_else(|| {
                let detail =
                    "say for which of your tenants, by X-Tenant-Id, or choose a default one";
                Problem::new(Code::TenantRequired, detail)
            })?
        }
    };
    let role = members::role_in(store, user, &tenant).await?;
    let role = role.ok_or_else(Problem::not_found)?;
    Ok(Bound { tenant, role })
}

fn accepted(method: &'static str, caller: Caller) -> Caller {
    attempt(method, "accepted");
    caller
}

fn refused(method: &'static str, problem: Problem) -> Problem {
    attempt(method, "refused");
    problem
}

fn attempt(method: &'static str, outcome: &'static str) {
    metrics::counter!("bursar_auth_attempts_total", "method" => method, "outcome" => outcome)
        .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_credentials_that_differ_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append("authorization", "Bearer a".parse().unwrap());
        headers.append("x-api-key", "a".parse().unwrap());
        assert_eq!(credential(&headers), Ok(Some("a")));
        headers.append("x-api-key", "b".parse().unwrap());
        assert!(credential(&headers).is_err());
        for bad in ["Bearer", "Basic a", "Bearer  a", "Bearer a "] {
            let mut headers = HeaderMap::new();
            headers.append("authorization", bad.parse().unwrap());
            assert!(credential(&headers).is_err(), "{bad}");
        }
    }
}
