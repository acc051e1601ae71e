//! Sessions: where a person is signed in, by tokens or in the console.
//!
//! A session of tokens is a family of refresh tokens, of which exactly one is good at a time. A session of the console
//! is a cookie. Both are `<id>.<secret>`, of which the digest of the secret is stored; both end by themselves.
//!
//! Invariants: a session holds only while its account does and has the session version it began with; ending one acts
//! at the next request, since every request reads it.

use crate::http::edge::Edge;
use crate::http::problem::Problem;
use crate::identity::records::{Read, read, spaces};
use crate::identity::secrets::{self, Token};
use crate::identity::{UserId, accounts};
use bursar_domain::ids::Timestamp;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use serde::{Deserialize, Serialize};

/// How long a console session lasts, however much it is used.
pub const COOKIE_HOURS: i64 = 12;
/// How long a console session lasts unused.
pub const COOKIE_IDLE_MINUTES: i64 = 30;
/// The cookie's name over http.
pub const COOKIE_NAME: &str = "bursar_session";
/// The cookie's name over https.
pub const COOKIE_NAME_SECURE: &str = "__Host-bursar_session";

/// How a session is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Refresh tokens and the access tokens they give.
    Tokens,
    /// The console's cookie.
    Console,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Whose.
    pub user: UserId,
    /// How it is carried.
    pub kind: Kind,
    /// Digest of the one secret that is good now.
    pub secret_sha256: String,
    /// The account's session version when it began.
    pub version: u64,
    /// When the person logged in.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub used_at: Timestamp,
    /// When it ends, whatever is done.
    pub ends_at: Timestamp,
}

impl Session {
    /// Whether it still holds for an account of this session version.
    pub fn holds(&self, version: u64, now: Timestamp) -> bool {
        let idle_since = now.plus_ms(-COOKIE_IDLE_MINUTES * 60_000);
        let is_idle = self.kind == Kind::Console && self.used_at <= idle_since;
        self.version == version && now < self.ends_at && !is_idle
    }
}

/// The session of this id. # Errors: the store's.
pub async fn find(store: &dyn Store, id: &str) -> Result<Option<Read<Session>>, StoreError> {
    read(store, spaces::SESSION, id).await
}

/// Who is behind the console's cookie; `None`: nobody (any more). # Errors: 503 if the store is away.
pub async fn user_of_cookie(edge: &Edge, value: &str) -> Result<Option<UserId>, Problem> {
    let Some(token) = Token::parse(value) else {
        return Ok(None);
    };
    let store = &*edge.store;
    let Some(session) = find(store, token.id).await? else {
        return Ok(None);
    };
    let session = session.value;
    if session.kind != Kind::Console || !secrets::fits(token.secret, &session.secret_sha256) {
        return Ok(None);
    }
    let account = accounts::find(store, &session.user).await?;
    let holds = account.is_some_and(|a| session.holds(a.value.session_version, edge.now()));
    Ok(holds.then_some(session.user))
}
