//! Who calls, and what they may do.
//!
//! Invariants: secrets are compared in constant time and looked up by their public part; a caller
//! of one tenant cannot be told whether another tenant's thing exists. People (tokens, cookies)
//! join here: they become a [`Caller`] too, and nothing behind it changes.
//! Source: contract §3, "Callers".

use crate::http::edge::Edge;
use crate::http::people::callers;
use crate::http::problem::{Code, Problem};
use crate::http::server::Peer;
use crate::http::service_keys;
use crate::identity::tokens;
use bursar_config::Cidr;
use bursar_domain::identity::Role;
use bursar_domain::ids::TenantId;
use hmac::{Hmac, KeyInit, Mac};
use hyper::{HeaderMap, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What a service key may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[allow(missing_docs)]
pub enum Scope {
    #[serde(rename = "tenants:read")]
    TenantsRead,
    #[serde(rename = "tenants:write")]
    TenantsWrite,
    #[serde(rename = "billing")]
    Billing,
    #[serde(rename = "refunds")]
    Refunds,
    #[serde(rename = "credits")]
    Credits,
    #[serde(rename = "connect")]
    Connect,
    #[serde(rename = "notifications")]
    Notifications,
}

impl Scope {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::TenantsRead,
        Self::TenantsWrite,
        Self::Billing,
        Self::Refunds,
        Self::Credits,
        Self::Connect,
        Self::Notifications,
    ];
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TenantsRead => "tenants:read",
            Self::TenantsWrite => "tenants:write",
            Self::Billing => "billing",
            Self::Refunds => "refunds",
            Self::Credits => "credits",
            Self::Connect => "connect",
            Self::Notifications => "notifications",
        }
    }
    /// The scope of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == text)
    }
}

/// Whose request it is. The text is what idempotency keys and the audit trail belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Nobody: a public route.
    Anonymous,
    /// The operator.
    Operator,
    /// A service key, by its public id.
    ServiceKey(String),
    /// A tenant's API key, by its public id.
    ApiKey(String),
    /// A person, by the id of their account.
    User(String),
}

impl Principal {
    /// `operator`, `service_key:<id>`, `api_key:<id>`, `user:<id>`.
    pub fn text(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Operator => "operator".to_owned(),
            Self::ServiceKey(id) => format!("service_key:{id}"),
            Self::ApiKey(id) => format!("api_key:{id}"),
            Self::User(id) => format!("user:{id}"),
        }
    }
}

/// Which tenants a request may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Every tenant, and what belongs to none.
    Installation,
    /// One tenant.
    Tenant(TenantId),
}

impl Reach {
    /// Whether something of `tenant` may be seen.
    pub fn covers(&self, tenant: Option<&TenantId>) -> bool {
        match self {
            Self::Installation => true,
            Self::Tenant(own) => tenant == Some(own),
        }
    }
    /// Text for cursors and fingerprints.
    pub fn text(&self) -> &str {
        match self {
            Self::Installation => "*",
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// Scopes of a service key; the operator needs none.
    pub scopes: Vec<Scope>,
    /// The one tenant the caller acts in, and as what: a person's or an API key's. `None`: not bound to one.
    pub bound: Option<Bound>,
}

/// A caller's place within one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The tenant.
    pub tenant: TenantId,
    /// As what.
    pub role: Role,
}

impl Caller {
    /// Whether the caller holds one of these scopes (or all rights).
    pub fn may(&self, any_of: &[Scope]) -> bool {
        self.principal == Principal::Operator || any_of.iter().any(|s| self.scopes.contains(s))
    }
    /// Whether the caller may do what takes this role in the tenant they are bound to.
    pub fn holds(&self, role: Role) -> bool {
        self.bound.as_ref().is_some_and(|bound| bound.role >= role)
    }
    /// Whether the caller is the operator.
    pub fn is_operator(&self) -> bool {
        self.principal == Principal::Operator
    }
}

/// The operator's key and from where it may be used.
#[derive(Clone)]
pub struct AdminAccess {
    key: SecretString,
    allowed: Vec<Cidr>,
}

impl std::fmt::Debug for AdminAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdminAccess(allowed: {:?})", self.allowed)
    }
}

impl AdminAccess {
    /// The key, and the networks it may be used from (the control socket always may).
    pub const fn new(key: SecretString, allowed: Vec<Cidr>) -> Self {
        Self { key, allowed }
    }
    fn fits(&self, presented: &str) -> bool {
        // Hashing first makes the lengths equal: the comparison tells nothing about them.
        let own = Sha256::digest(self.key.expose_secret().as_bytes());
        let theirs = Sha256::digest(presented.as_bytes());
        own.as_slice().ct_eq(theirs.as_slice()).into()
    }
    fn allows(&self, peer: Peer) -> bool {
        match peer {
            Peer::ControlSocket => true,
            Peer::Address(address) => self.allowed.iter().any(|n| n.contains(address)),
        }
    }
    /// A key for another purpose, derived from the operator's.
    pub fn derive(&self, purpose: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(purpose);
        Hmac::new_from_slice(&mac.finalize().into_bytes()).expect("HMAC takes keys of any length")
    }
}

/// The credential of a request, if it carries one. # Errors: several that differ, or unreadable.
fn credential(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let unreadable = || {
        Problem::new(
            Code::Unauthenticated,
            "the Authorization header is not `Bearer <key>`",
        )
    };
    let mut found: Option<&str> = None;
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

/// A key of Stripe's by its shape; it must never be looked up, logged or kept.
pub fn is_stripe_shaped(key: &str) -> bool {
    const KINDS: [&str; 3] = ["sk", "rk", "pk"];
    const MODES: [&str; 2] = ["live", "test"];
    let mut parts = key.splitn(3, '_');
    let kind = parts.next().is_some_and(|p| KINDS.contains(&p));
    let mode = parts.next().is_some_and(|p| MODES.contains(&p));
    key.starts_with("whsec_") || (kind && mode && parts.next().is_some())
}

/// Finds out who calls. # Errors: 401, 403 `address_not_allowed`, 429, 503 if the store is away.
pub async fn authenticate(edge: &Edge, headers: &HeaderMap, peer: Peer) -> Result<Caller, Problem> {
    let operator = Caller {
        principal: Principal::Operator,
        scopes: Vec::new(),
        bound: None,
    };
    let Some(key) = credential(headers)? else {
        if peer == Peer::ControlSocket {
            return Ok(operator);
        }
        attempt("none", "refused");
        let detail = "send a key as `Authorization: Bearer …` or `X-API-Key`";
        return Err(Problem::new(Code::Unauthenticated, detail));
    };
    if is_stripe_shaped(key) {
        attempt("stripe_key", "refused");
        let detail = "this is a key of Stripe: take it out of this program and, if it left your \
                      machine, roll it in Stripe's dashboard; Bursar's own keys begin with sk_bursar_";
        return Err(Problem::new(Code::StripeKeyPresented, detail));
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
            attempt("operator", "refused");
            let detail = "BURSAR_ADMIN_ALLOW does not hold the address of this request";
            return Err(Problem::new(Code::AddressNotAllowed, detail));
        }
        edge.attempts.succeeded(key);
        attempt("operator", "accepted");
        return Ok(operator);
    }
    if tokens::is_token_shaped(key) {
        let person = callers::of_token(edge, headers, key).await;
        match &person {
            Ok(_) => {
                edge.attempts.succeeded(key);
                attempt("access_token", "accepted");
            }
            Err(problem) if problem.code == Code::Unauthenticated => {
                edge.attempts.failed(peer, key);
                attempt("access_token", "refused");
            }
            Err(_) => {}
        }
        return person;
    }
    match service_keys::find(edge, key).await? {
        Some(caller) => {
            edge.attempts.succeeded(key);
            attempt("service_key", "accepted");
            Ok(caller)
        }
        None => {
            edge.attempts.failed(peer, key);
            attempt("service_key", "refused");
            let detail = "the key is unknown or revoked";
            Err(Problem::new(Code::Unauthenticated, detail))
        }
    }
}

fn attempt(method: &'static str, outcome: &'static str) {
    metrics::counter!("bursar_auth_attempts_total", "method" => method, "outcome" => outcome)
        .increment(1);
}

/// Who is behind a proxy that is trusted: the last address of `X-Forwarded-For` that no trusted
/// proxy wrote. Without such a proxy the header is a stranger's word and counts for nothing.
pub fn behind_proxy(headers: &HeaderMap, peer: Peer, trusted: &[Cidr]) -> Peer {
    let trusts = |address| trusted.iter().any(|range| range.contains(address));
    let Peer::Address(mut address) = peer else {
        return peer;
    };
    let lines = headers.get_all("x-forwarded-for").iter();
    let lines: Vec<&str> = lines.map(|value| value.to_str().unwrap_or("")).collect();
    for hop in lines.iter().flat_map(|line| line.split(',')).rev() {
        if !trusts(address) {
            break;
        }
        match hop.trim().parse() {
            Ok(before) => address = before,
            // What cannot be read hides whoever is behind it: the proxy itself is all we know.
            Err(_) => break,
        }
    }
    Peer::Address(address)
}

/// The tenant the `X-Tenant-Id` header picks. # Errors: 400 for two headers or a malformed one.
pub fn selected_tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Problem> {
    let mut values = headers.get_all("x-tenant-id").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let malformed = |detail: &str| {
        let code = crate::http::problem::FieldCode::Malformed;
        Problem::field("X-Tenant-Id", code, detail)
    };
    if values.next().is_some() {
        return Err(malformed("X-Tenant-Id was sent twice"));
    }
    let text = value
        .to_str()
        .map_err(|_| malformed("X-Tenant-Id is not ASCII"))?;
    TenantId::parse(text)
        .map(Some)
        .map_err(|error| malformed(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_stripe_are_known_by_their_shape() {
        for key in [
            "sk_live_1",
            "sk_test_1",
            "rk_live_1",
            "pk_test_x",
            "whsec_1",
        ] {
            assert!(is_stripe_shaped(key), "{key}");
        }
        for key in ["sk_bursar_a_b", "sk_live", "", "live_sk_1"] {
            assert!(!is_stripe_shaped(key), "{key}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_who_is_behind_them() {
        let trusted = [Cidr::parse("10.0.0.0/8").unwrap()];
        let seen = |peer: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            match behind_proxy(&headers, Peer::Address(peer.parse().unwrap()), &trusted) {
                Peer::Address(address) => address.to_string(),
                Peer::ControlSocket => String::new(),
            }
        };
        assert_eq!(seen("192.0.2.1", &["127.0.0.1"]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &["127.0.0.1, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(
            seen("10.0.0.1", &["127.0.0.1", "192.0.2.1, 10.0.0.2"]),
            "192.0.2.1"
        );
        assert_eq!(seen("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
    }

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
