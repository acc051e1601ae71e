//! Access tokens: JWTs that say who somebody is for ten minutes, and nothing of what they may do.
//!
//! Invariants: exactly one algorithm, HS256; every claim is required and of its type; the key is picked from ours by
//! `kid`, and what else the header says about keys is not looked at. A token holds only while its session does, so
//! that ending a session acts at the next request.
//! Source: RFC 7519, RFC 8725 (best practices), RFC 9068 (`at+jwt`); reliability catalogue, rows BA.

use crate::http::edge::Edge;
use crate::http::problem::Problem;
use crate::identity::sessions::{self, Kind};
use crate::identity::{UserId, accounts, secrets};
use bursar_domain::ids::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;

/// How long an access token is good.
pub const ACCESS_SECONDS: i64 = 600;
/// By how much two clocks may differ.
const LEEWAY_SECONDS: i64 = 30;
const TYPE: &str = "at+jwt";
/// A longer text is no token of ours.
const TOKEN_BYTES_MAX: usize = 2_048;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    /// The session it was given in.
    sid: String,
}

/// Whom a good token names.
#[derive(Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The person.
    pub user: UserId,
    /// The session.
    pub session: String,
}

/// The keys that sign tokens, and others derived from the same secret.
pub struct Keys {
    kid: String,
    sign: EncodingKey,
    verify: DecodingKey,
    issuer: String,
    secret: SecretString,
    /// The ones before, while what they signed may still be in use.
    previous: Option<Box<Self>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys(kid: {})", self.kid)
    }
}

impl Keys {
    /// Keys over the configured secret; tokens name `base_url` as issuer and audience.
    pub fn new(secret: &SecretString, base_url: &str) -> Self {
        let bytes = secret.expose_secret().as_bytes();
        let mut keys = Self {
            kid: String::new(),
            sign: EncodingKey::from_secret(bytes),
            verify: DecodingKey::from_secret(bytes),
            issuer: base_url.trim_end_matches('/').to_owned(),
            secret: secret.clone(),
            previous: None,
        };
        keys.kid = keys.derived("kid", "")[..16].to_owned();
        keys
    }
    /// The same, with the secret there was before: what it signed stays good, and nothing new is signed with it.
    #[must_use]
    pub fn after(self, previous: Option<&SecretString>) -> Self {
        let before = previous.map(|secret| Box::new(Self::new(secret, &self.issuer)));
        Self {
            previous: before,
            ..self
        }
    }
    /// These keys, then the ones before.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.previous.as_deref())
    }
    /// A text only who holds the secret can make of `text`; `purpose` keeps such texts apart.
    pub fn derived(&self, purpose: &str, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.expose_secret().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(b"bursar identity\0");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
    /// A token for a person in a session, from now on. `None`: it cannot be made (a defect).
    pub fn issue(&self, user: &UserId, session: &str, now: Timestamp) -> Option<SecretString> {
        let now = now.seconds();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.issuer.clone(),
            sub: user.to_string(),
            jti: secrets::new_id(),
            iat: now,
            nbf: now,
            exp: now + ACCESS_SECONDS,
            sid: session.to_owned(),
        };
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(self.kid.clone()),
            ..Header::new(Algorithm::HS256)
        };
        let made = jsonwebtoken::encode(&header, &claims, &self.sign);
        made.inspect_err(|error| tracing::error!(%error, "an access token cannot be made"))
            .ok()
            .map(SecretString::from)
    }
    /// Whom a token names; `None`: it is not good now.
    pub fn read(&self, token: &str, now: Timestamp) -> Option<Bearer> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        self.all().find_map(|keys| keys.read_own(token, now))
    }
    /// Whom a token signed with this very key names.
    fn read_own(&self, token: &str, now: Timestamp) -> Option<Bearer> {
        let mut rules = Validation::new(Algorithm::HS256);
        // Times are held against the service's own clock, below.
        rules.validate_exp = false;
        rules.validate_nbf = false;
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.issuer]);
        rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        let token = jsonwebtoken::decode::<Claims>(token, &self.verify, &rules).ok()?;
        let is_ours = token.header.typ.as_deref() == Some(TYPE)
            && token.header.kid.as_deref() == Some(self.kid.as_str());
        let (claims, now) = (token.claims, now.seconds());
        // Whoever signs gives ten minutes: a longer life is a time in another unit, or not ours.
        let life = claims.exp.checked_sub(claims.iat)?;
        let is_now = claims.exp > now.saturating_sub(LEEWAY_SECONDS)
            && claims.nbf <= now.saturating_add(LEEWAY_SECONDS)
            && claims.iat <= now.saturating_add(LEEWAY_SECONDS)
            && (0..=ACCESS_SECONDS).contains(&life);
        if !is_ours || !is_now {
            return None;
        }
        Some(Bearer {
            user: UserId::parse(&claims.sub)?,
            session: claims.sid,
        })
    }
}

/// Whether a credential has the form of an access token.
pub fn is_token_shaped(credential: &str) -> bool {
    credential.bytes().filter(|b| *b == b'.').count() == 2
}

/// Who is behind an access token; `None`: nobody (any more). # Errors: 503 if the store is away.
pub async fn user_of(edge: &Edge, bearer: &str) -> Result<Option<UserId>, Problem> {
    let now = edge.now();
    let Some(bearer) = edge.identity.keys.read(bearer, now) else {
        return Ok(None);
    };
    let store = edge.store.as_ref();
    let Some(session) = sessions::find(store, &bearer.session).await? else {
        return Ok(None);
    };
    let session = session.value;
    if session.kind != Kind::Tokens || session.user != bearer.user {
        return Ok(None);
    }
    let account = accounts::find(store, &bearer.user).await?;
    let holds = account.is_some_and(|a| session.holds(a.value.session_version, now));
    Ok(holds.then_some(bearer.user))
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
