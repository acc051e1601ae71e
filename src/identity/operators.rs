//! The operator's sessions in the console.
//!
//! A session is begun with the operator's key and carried by the console's cookie, like a person's; it ends by itself,
//! and with the key it was begun with.
//!
//! Invariants: the secret is stored as its digest; a session is good for pages of the console alone, since the routes
//! of the API look for people's sessions only; there are never more than [`SESSIONS_MAX`].
//! Not here: from where the operator may come (`http::auth`).

use crate::http::edge::Edge;
use crate::http::problem::{Code, Problem};
use crate::identity::records::{Actor, Commit, read, spaces};
use crate::identity::secrets::{self, Token};
use crate::identity::sessions::{COOKIE_HOURS, COOKIE_IDLE_MINUTES};
use bursar_domain::ids::Timestamp;
use bursar_store::error::StoreError;
use hmac::Mac;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// Most sessions of the operator at once; the oldest gives way.
pub const SESSIONS_MAX: usize = 20;
/// How exactly it is known when a session was last used.
const USED_MS: i64 = 60_000;
/// How often a beginning is tried beside others.
const ROUNDS: usize = 8;

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Digest of its secret.
    pub secret_sha256: String,
    /// Of the operator's key it was begun with.
    pub key_tag: String,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub used_at: Timestamp,
    /// When it ends, whatever is done.
    pub ends_at: Timestamp,
}

impl Session {
    fn is_over(&self, now: Timestamp) -> bool {
        let idle_since = now.plus_ms(-COOKIE_IDLE_MINUTES * 60_000);
        self.ends_at <= now || self.used_at <= idle_since
    }
}

/// Whether the record of a session is of one that ended by itself.
pub fn is_over(bytes: &[u8], now: Timestamp) -> bool {
    serde_json::from_slice::<Session>(bytes).is_ok_and(|session| session.is_over(now))
}

fn key_tag(edge: &Edge) -> String {
    let tag = edge.settings.admin.derive(b"console session").finalize();
    hex::encode(tag.into_bytes())
}

fn actor(request_id: &str) -> Actor {
    Actor {
        text: "operator".to_owned(),
        request_id: request_id.to_owned(),
    }
}

/// Begins a session; the cookie's value. # Errors: no random bytes, the store's.
pub async fn begin(edge: &Edge, request_id: &str) -> Result<SecretString, Problem> {
    let store = edge.store.as_ref();
    for _ in 0..ROUNDS {
        let (id, secret, now) = (secrets::new_id(), secrets::new_secret()?, edge.now());
        let session = Session {
            secret_sha256: secrets::digest(secret.expose_secret()),
            key_tag: key_tag(edge),
            created_at: now,
            used_at: now,
            ends_at: now.plus_ms(COOKIE_HOURS * 3_600_000),
        };
        let open = store
            .kept_all(spaces::OPERATOR_SESSION, None, SESSIONS_MAX)
            .await?;
        let line = actor(request_id).did("session.began", &id, None, now, String::new());
        let mut commit = Commit::default()
            .create(spaces::OPERATOR_SESSION, &id, &session, None)?
            .audit(line);
        // Ids sort by time: the first is the oldest.
        if let (Some((oldest, bytes)), SESSIONS_MAX) = (open.first(), open.len()) {
            commit = commit
                .guard(spaces::OPERATOR_SESSION, oldest, bytes)
                .remove(spaces::OPERATOR_SESSION, oldest, None);
        }
        if commit.run(store).await? {
            return Ok(Token::join(&id, &secret));
        }
    }
    let detail = "others signed in at the same time; sign in again";
    Err(Problem::new(Code::Overloaded, detail))
}

/// Whether a cookie is one of the operator's sessions that holds. Using it is noted. # Errors: the store's.
pub async fn holds(edge: &Edge, cookie: &str) -> Result<bool, StoreError> {
    let Some(token) = Token::parse(cookie) else {
        return Ok(false);
    };
    let (store, now) = (edge.store.as_ref(), edge.now());
    let found = read::<Session>(store, spaces::OPERATOR_SESSION, token.id).await?;
    let Some(found) = found else {
        return Ok(false);
    };
    let session = &found.value;
    let is_good = secrets::fits(token.secret, &session.secret_sha256)
        && secrets::is_same(&session.key_tag, &key_tag(edge))
        && !session.is_over(now);
    if is_good && now.0 - session.used_at.0 >= USED_MS {
        let used = Session {
            used_at: now,
            ..session.clone()
        };
        // Whoever was first noted it too, or ended it.
        Commit::default()
            .replace(
                spaces::OPERATOR_SESSION,
                token.id,
                &found.bytes,
                &used,
                None,
            )?
            .run(store)
            .await?;
    }
    Ok(is_good)
}

/// Ends the session of a cookie that was found to hold. # Errors: the store's.
pub async fn end(edge: &Edge, cookie: &str, request_id: &str) -> Result<(), StoreError> {
    let Some(token) = Token::parse(cookie) else {
        return Ok(());
    };
    let line = actor(request_id).did("session.ended", token.id, None, edge.now(), "logged out");
    let ends = Commit::default()
        .remove(spaces::OPERATOR_SESSION, token.id, None)
        .audit(line);
    ends.run(edge.store.as_ref()).await.map(drop)
}
