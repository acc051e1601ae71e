//! The console's cookie as a credential, and what keeps other sites from using it.
//!
//! Invariants: over https only the `__Host-` name counts. A request that changes something needs the session's own
//! token *and* must come from this service's own pages: a browser sends the cookie wherever a form leads, but neither
//! of those from another site.
//! Not here: how a session begins and ends (`identity::sessions`).
//! Source: reliability rows TS7, BA13; Fetch Metadata (`Sec-Fetch-Site`); RFC 6454 (`Origin`).

use super::Caller;
use super::authenticate::{operator, person};
use crate::http::edge::Edge;
use crate::http::problem::{Code, Problem};
use crate::http::route::{Route, Verb};
use crate::http::server::Peer;
use crate::identity::secrets::Token;
use crate::identity::sessions::{self, COOKIE_NAME, COOKIE_NAME_SECURE};
use crate::identity::{UserId, operators};
use hyper::{HeaderMap, header};

/// The session a request carries, if any. # Errors: 400 for two that differ.
pub(super) fn value<'a>(edge: &Edge, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
    let is_secure = edge.settings.app_base_url.starts_with("https:");
    let own = if is_secure {
        COOKIE_NAME_SECURE
    } else {
        COOKIE_NAME
    };
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    let mut found: Option<&str> = None;
    for pair in pairs {
        match pair.trim().split_once('=') {
            Some((name, value)) if name == own => {
                if found.is_some_and(|other| other != value) {
                    let detail = "two session cookies were sent and they differ";
                    return Err(Problem::new(Code::InvalidRequest, detail));
                }
                found = Some(value);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Whose session it is; `None`: nobody's (any more). # Errors: 503 if the store is away.
pub(super) async fn user(edge: &Edge, session: &str) -> Result<Option<UserId>, Problem> {
    sessions::user_of_cookie(edge, session).await
}

/// The caller of a session. # Errors: 401; 403 for a change that this service's own pages did not send.
pub(super) async fn caller(
    edge: &Edge,
    route: &Route,
    headers: &HeaderMap,
    session: &str,
) -> Result<Caller, Problem> {
    let detail = "the session has ended; log in again";
    let user = user(edge, session).await?;
    let user = user.ok_or_else(|| Problem::new(Code::Unauthenticated, detail))?;
    if route.verb != Verb::Get {
        let token = headers.get("x-csrf-token").and_then(|v| v.to_str().ok());
        is_own_page(&edge.settings.app_base_url, headers)?;
        if !is_token_of(edge, session, token) {
            let detail = "X-CSRF-Token is missing, or of another session";
            return Err(Problem::new(Code::CsrfRefused, detail));
        }
    }
    Ok(person(&user))
}

fn is_token_of(edge: &Edge, session: &str, presented: Option<&str>) -> bool {
    let id = Token::parse(session).map(|token| token.id);
    id.zip(presented)
        .is_some_and(|(id, token)| sessions::is_csrf_token(&edge.identity.keys, id, token))
}

/// The session a request of the console carries, if exactly one. # Errors: 400 for two that differ.
pub fn session_of<'a>(edge: &Edge, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
    value(edge, headers)
}

/// Whose session a page of the console is shown in: a person's or the operator's. What changes something must come from
/// a page of ours; its token stands in the form and is looked at once that is read ([`form_token`]).
/// # Errors: 401; 403 from elsewhere, or where the operator may not be; 503.
pub(super) async fn visitor(
    edge: &Edge,
    verb: Verb,
    headers: &HeaderMap,
    session: &str,
    peer: Peer,
) -> Result<Caller, Problem> {
    if verb != Verb::Get {
        from_own_page(edge, headers)?;
    }
    if let Some(user) = user(edge, session).await? {
        return Ok(person(&user));
    }
    if !operators::holds(edge, session).await? {
        let detail = "the session has ended; sign in again";
        return Err(Problem::new(Code::Unauthenticated, detail));
    }
    if edge.settings.admin.allows(peer) {
        return Ok(operator());
    }
    let detail = "BURSAR_ADMIN_ALLOW does not hold the address of this request";
    Err(Problem::new(Code::AddressNotAllowed, detail))
}

/// Whether a form of the console carries its session's own token. # Errors: 403.
pub fn form_token(
    edge: &Edge,
    headers: &HeaderMap,
    presented: Option<&str>,
) -> Result<(), Problem> {
    let session = value(edge, headers)?.unwrap_or("");
    if is_token_of(edge, session, presented) {
        return Ok(());
    }
    let detail = "the form is of another session: open the page again";
    Err(Problem::new(Code::CsrfRefused, detail))
}

/// Whether what changes something comes from a page of this service. # Errors: 403.
pub fn from_own_page(edge: &Edge, headers: &HeaderMap) -> Result<(), Problem> {
    is_own_page(&edge.settings.app_base_url, headers)
}

/// What a page of the console puts beside a change: good for this session alone, and of no use without its cookie.
/// `None`: the text is no session's.
pub fn csrf_token(edge: &Edge, session: &str) -> Option<String> {
    let token = Token::parse(session)?;
    Some(sessions::csrf_token(&edge.identity.keys, token.id))
}

/// Whether a change comes from a page of this service. # Errors: 403.
fn is_own_page(base_url: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("unreadable"))
    };
    let site = text("sec-fetch-site");
    let is_own = match text("origin") {
        Some(origin) => {
            origin == origin_of(base_url) && site.is_none_or(|site| site == "same-origin")
        }
        None => site == Some("same-origin"),
    };
    if is_own {
        return Ok(());
    }
    let detail =
        "a change by cookie must come from a page of this service (Origin, Sec-Fetch-Site)";
    Err(Problem::new(Code::CsrfRefused, detail))
}

/// Scheme, host and port of an address of ours.
fn origin_of(base_url: &str) -> &str {
    let host_at = base_url.find("://").map_or(0, |at| at + 3);
    let end = base_url[host_at..]
        .find('/')
        .map_or(base_url.len(), |at| host_at + at);
    &base_url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_this_service_changes_something() {
        let sent = |origin: Option<&str>, site: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(origin) = origin {
                headers.insert("origin", origin.parse().unwrap());
            }
            if let Some(site) = site {
                headers.insert("sec-fetch-site", site.parse().unwrap());
            }
            is_own_page("https://b.example/console/", &headers).is_ok()
        };
        let (own, same) = (Some("https://b.example"), Some("same-origin"));
        assert!(sent(own, None) && sent(own, same) && sent(None, same));
        for (origin, site) in [
            (None, None),
            (Some("https://evil.example"), None),
            (Some("https://b.example.evil"), same),
            (Some("http://b.example"), same),
            (Some("null"), None),
            (own, Some("cross-site")),
            (None, Some("same-site")),
            (None, Some("none")),
        ] {
            assert!(!sent(origin, site), "{origin:?} {site:?}");
        }
    }
}
