//! Who calls, and what they may do.
//!
//! Invariants: secrets are compared in constant time and looked up by their public part; a caller
//! of one tenant cannot be told whether another tenant's thing exists. Whatever the credential, it becomes
//! a [`Caller`], and nothing behind it knows the difference.
//! Not here: reading credentials (`authenticate`), the console's cookie (`cookie`), what may be seen (`reach`).
//! Source: contract §3, "Callers".

mod authenticate;
mod cookie;
mod reach;

pub use authenticate::{authenticate, operator_by_key, visitor};
pub use cookie::{csrf_token, form_token, from_own_page, session_of};
pub use reach::Reach;

use crate::http::problem::Problem;
use crate::http::server::Peer;
use bursar_config::Cidr;
use bursar_domain::identity::Role;
use bursar_domain::ids::TenantId;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
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
    /// Whether the caller is a person, by token or cookie.
    pub const fn is_person(&self) -> bool {
        matches!(self.principal, Principal::User(_))
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

/// A key of Stripe's by its shape; it must never be looked up, logged or kept.
pub fn is_stripe_shaped(key: &str) -> bool {
    const KINDS: [&str; 3] = ["sk", "rk", "pk"];
    const MODES: [&str; 2] = ["live", "test"];
    let mut parts = key.splitn(3, '_');
    let kind = parts.next().is_some_and(|p| KINDS.contains(&p));
    let mode = parts.next().is_some_and(|p| MODES.contains(&p));
    key.starts_with("whsec_") || (kind && mode && parts.next().is_some())
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
}
