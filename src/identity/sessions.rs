//! Sessions: where a person is signed in, by tokens or in the console.
//!
//! A session of tokens is a family of refresh tokens, of which exactly one is good at a time. A session of the console
//! is a cookie. Both are `<id>.<secret>`, of which the digest of the secret is stored; both end by themselves.
//!
//! Invariants: a session holds only while its account does and has the session version it began with; ending one acts
//! at the next request, since every request reads it.

use crate::http::edge::Edge;
use crate::http::problem::Problem;
use crate::identity::members::Mark;
use crate::identity::records::{Actor, Commit, Read, below, read, spaces};
use crate::identity::secrets::{self, Token};
use crate::identity::tokens::Keys;
use crate::identity::{UserId, accounts};
use bursar_domain::ids::Timestamp;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// How long somebody stays signed in by refreshing.
pub const FAMILY_DAYS: i64 = 30;
/// Most sessions of one person; the oldest gives way.
pub const SESSIONS_MAX: usize = 50;
/// How exactly it is known when a session was last used.
const USED_MS: i64 = 60_000;
/// What every refresh token begins with, so that who searches code for secrets knows one.
const REFRESH_PREFIX: &str = "bursar_rt_";
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

/// A refresh token as it was presented. Its tag shows that it is one of ours, so that a good tag with a spent secret is
/// a token that was used twice, and anything else is nothing.
#[derive(Debug)]
struct Refresh<'a> {
    id: &'a str,
    secret: &'a str,
}

fn refresh_tag(keys: &Keys, id: &str, secret: &str) -> String {
    keys.derived("refresh", &format!("{id}\n{secret}"))[..32].to_owned()
}

fn refresh_token(keys: &Keys, id: &str, secret: &SecretString) -> SecretString {
    let secret = secret.expose_secret();
    let tag = refresh_tag(keys, id, secret);
    format!("{REFRESH_PREFIX}{id}_{secret}_{tag}").into()
}

fn read_refresh<'a>(keys: &Keys, presented: &'a str) -> Option<Refresh<'a>> {
    let mut parts = presented.strip_prefix(REFRESH_PREFIX)?.split('_');
    let (id, secret, tag) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && secrets::is_hex(id, 16) && secrets::is_hex(secret, 32);
    let is_of = |keys: &Keys| secrets::is_same(tag, &refresh_tag(keys, id, secret));
    let is_ours = is_whole && keys.all().any(is_of);
    is_ours.then_some(Refresh { id, secret })
}

fn index_key(user: &UserId, id: &str) -> String {
    format!("{user}/{id}")
}

/// A session that begins.
#[derive(Debug)]
pub struct Begun {
    /// Its id.
    pub id: String,
    /// The refresh token, or the cookie's value.
    pub credential: SecretString,
}

/// Begins a session in the commit in hand. # Errors: no random bytes, or a record cannot be written.
pub fn begin(
    commit: Commit,
    keys: &Keys,
    kind: Kind,
    user: &UserId,
    version: u64,
    now: Timestamp,
) -> Result<(Commit, Begun), StoreError> {
    let (id, secret) = (secrets::new_id(), secrets::new_secret()?);
    let hours = match kind {
        Kind::Tokens => FAMILY_DAYS * 24,
        Kind::Console => COOKIE_HOURS,
    };
    let session = Session {
        user: user.clone(),
        kind,
        secret_sha256: secrets::digest(secret.expose_secret()),
        version,
        created_at: now,
        used_at: now,
        ends_at: now.plus_ms(hours * 3_600_000),
    };
    let credential = match kind {
        Kind::Tokens => refresh_token(keys, &id, &secret),
        Kind::Console => Token::join(&id, &secret),
    };
    let commit = commit.create(spaces::SESSION, &id, &session, None)?.put(
        spaces::SESSION_OF,
        &index_key(user, &id),
        &Mark {},
        None,
    )?;
    Ok((commit, Begun { id, credential }))
}

/// Ends a session in the commit in hand.
pub fn end(commit: Commit, user: &UserId, id: &str) -> Commit {
    commit
        .remove(spaces::SESSION, id, None)
        .remove(spaces::SESSION_OF, &index_key(user, id), None)
}

/// The sessions of a person, the oldest first, also those that ended by themselves. # Errors: the store's.
pub async fn of_user(
    store: &dyn Store,
    user: &UserId,
) -> Result<Vec<(String, Read<Session>)>, StoreError> {
    let prefix = format!("{user}/");
    let marks = below::<Mark>(store, spaces::SESSION_OF, &prefix, None, SESSIONS_MAX * 2).await?;
    let mut found = Vec::new();
    for (id, _) in marks {
        if let Some(session) = find(store, &id).await? {
            found.push((id, session));
        }
    }
    Ok(found)
}

/// Makes room for one more session: the oldest end in the commit in hand. # Errors: the store's.
pub async fn make_room(
    store: &dyn Store,
    mut commit: Commit,
    user: &UserId,
) -> Result<Commit, StoreError> {
    let sessions = of_user(store, user).await?;
    let too_many = (sessions.len() + 1).saturating_sub(SESSIONS_MAX);
    for (id, _) in sessions.iter().take(too_many) {
        commit = end(commit, user, id);
    }
    Ok(commit)
}

/// Ends every session of a person but one, in the commit in hand. # Errors: the store's.
pub async fn end_all(
    store: &dyn Store,
    mut commit: Commit,
    user: &UserId,
    but: Option<&str>,
) -> Result<Commit, StoreError> {
    for (id, _) in of_user(store, user).await? {
        if Some(id.as_str()) != but {
            commit = end(commit, user, &id);
        }
    }
    Ok(commit)
}

/// What became of a refresh token.
#[derive(Debug)]
pub enum Refreshed {
    /// It was good, and is spent now: this is the next.
    Next {
        /// Whose.
        user: UserId,
        /// The session, with its next refresh token.
        begun: Begun,
    },
    /// It had been used before: somebody has a copy, so the session ended.
    Reused,
    /// It is not good.
    Nothing,
}

/// Spends a refresh token. # Errors: the store's.
pub async fn refresh(
    store: &dyn Store,
    keys: &Keys,
    presented: &str,
    request_id: &str,
    now: Timestamp,
) -> Result<Refreshed, StoreError> {
    let Some(token) = read_refresh(keys, presented) else {
        return Ok(Refreshed::Nothing);
    };
    loop {
        let Some(read) = find(store, token.id).await? else {
            return Ok(Refreshed::Nothing);
        };
        let session = &read.value;
        let account = accounts::find(store, &session.user).await?;
        let holds = account.is_some_and(|a| session.holds(a.value.session_version, now));
        if session.kind != Kind::Tokens || !holds {
            return Ok(Refreshed::Nothing);
        }
        if !secrets::fits(token.secret, &session.secret_sha256) {
            let line = Actor {
                text: "anonymous".to_owned(),
                request_id: request_id.to_owned(),
            }
            .did("session.reused", token.id, None, now, session.user.as_str());
            let guarded = Commit::default().guard(spaces::SESSION, token.id, &read.bytes);
            let commit = end(guarded, &session.user, token.id).audit(line);
            if commit.run(store).await? {
                tracing::warn!(
                    session.id = token.id,
                    "a spent refresh token came again; its session ended"
                );
                return Ok(Refreshed::Reused);
            }
            continue;
        }
        let secret = secrets::new_secret()?;
        let next = Session {
            secret_sha256: secrets::digest(secret.expose_secret()),
            used_at: now,
            ..session.clone()
        };
        // Of two that come at once one is first, and the other finds its token spent.
        let rotated = Commit::default()
            .replace(spaces::SESSION, token.id, &read.bytes, &next, None)?
            .run(store)
            .await?;
        if rotated {
            return Ok(Refreshed::Next {
                user: next.user,
                begun: Begun {
                    id: token.id.to_owned(),
                    credential: refresh_token(keys, token.id, &secret),
                },
            });
        }
    }
}

/// The session a refresh token belongs to, whether it is spent or not, and whose it is. # Errors: the store's.
pub async fn of_refresh_token(
    store: &dyn Store,
    keys: &Keys,
    presented: &str,
) -> Result<Option<(String, UserId)>, StoreError> {
    let Some(token) = read_refresh(keys, presented) else {
        return Ok(None);
    };
    let session = find(store, token.id).await?;
    Ok(session.map(|session| (token.id.to_owned(), session.value.user)))
}

/// The session behind the console's cookie, and whose it is; `None`: none (any more). Using it is noted.
/// # Errors: the store's.
pub async fn of_cookie(
    store: &dyn Store,
    value: &str,
    now: Timestamp,
) -> Result<Option<(String, UserId)>, StoreError> {
    let Some(token) = Token::parse(value) else {
        return Ok(None);
    };
    let Some(read) = find(store, token.id).await? else {
        return Ok(None);
    };
    let session = &read.value;
    if session.kind != Kind::Console || !secrets::fits(token.secret, &session.secret_sha256) {
        return Ok(None);
    }
    let account = accounts::find(store, &session.user).await?;
    if !account.is_some_and(|a| session.holds(a.value.session_version, now)) {
        return Ok(None);
    }
    if now.0 - session.used_at.0 >= USED_MS {
        let used = Session {
            used_at: now,
            ..session.clone()
        };
        // Whoever was first noted it too, or ended it.
        Commit::default()
            .replace(spaces::SESSION, token.id, &read.bytes, &used, None)?
            .run(store)
            .await?;
    }
    Ok(Some((token.id.to_owned(), read.value.user)))
}

/// Who is behind the console's cookie; `None`: nobody (any more). # Errors: 503 if the store is away.
pub async fn user_of_cookie(edge: &Edge, value: &str) -> Result<Option<UserId>, Problem> {
    let session = of_cookie(edge.store.as_ref(), value, edge.now()).await?;
    Ok(session.map(|(_, user)| user))
}

/// What unsafe requests by a session's cookie must carry beside it (`X-CSRF-Token`).
pub fn csrf_token(keys: &Keys, session: &str) -> String {
    keys.derived("csrf", session)
}

/// Whether a request carries what its session's pages put beside a change.
pub fn is_csrf_token(keys: &Keys, session: &str, presented: &str) -> bool {
    let is_of = |keys: &Keys| secrets::is_same(presented, &csrf_token(keys, session));
    keys.all().any(is_of)
}

/// The name the console's cookie has here.
pub const fn cookie_name(is_https: bool) -> &'static str {
    if is_https {
        COOKIE_NAME_SECURE
    } else {
        COOKIE_NAME
    }
}

/// The console's cookie among a request's, if there is exactly one.
pub fn cookie_of(headers: &hyper::HeaderMap, is_https: bool) -> Option<&str> {
    let name = cookie_name(is_https);
    let lines = headers.get_all(hyper::header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut own = pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let first = own.next()?;
    own.next().is_none().then_some(first)
}

/// `Set-Cookie` of a session that begins, or (no value) that ended.
pub fn set_cookie(is_https: bool, value: Option<&SecretString>) -> String {
    let (value, age_seconds) = match value {
        Some(value) => (value.expose_secret(), COOKIE_HOURS * 3_600),
        None => ("", 0),
    };
    let secure = if is_https { "; Secure" } else { "" };
    let name = cookie_name(is_https);
    format!("{name}={value}; Path=/; Max-Age={age_seconds}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cookie_of_the_right_name_is_taken_and_two_are_none() {
        let mut headers = hyper::HeaderMap::new();
        headers.append("cookie", "a=b; bursar_session=x.y; c=d".parse().unwrap());
        assert_eq!(cookie_of(&headers, false), Some("x.y"));
        assert_eq!(cookie_of(&headers, true), None);
        headers.append("cookie", "bursar_session=z".parse().unwrap());
        assert_eq!(cookie_of(&headers, false), None);
        let set = set_cookie(true, Some(&"v".to_owned().into()));
        let wanted =
            "__Host-bursar_session=v; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure";
        assert_eq!(set, wanted);
    }

    #[test]
    fn a_refresh_token_of_another_secret_is_none_of_ours() {
        let base = "https://b.example";
        let keys = Keys::new(
            &"one-secret-of-thirty-two-bytes-or-so".to_owned().into(),
            base,
        );
        let others = Keys::new(
            &"another-secret-of-that-many-bytes-ok".to_owned().into(),
            base,
        );
        let (id, secret) = (secrets::new_id(), secrets::new_secret().unwrap());
        let token = refresh_token(&keys, &id, &secret);
        let text = token.expose_secret();
        assert_eq!(read_refresh(&keys, text).unwrap().id, id);
        assert!(read_refresh(&others, text).is_none());
        // After a rotation what the secret before signed is still ours, its pages' tokens too.
        let before = "one-secret-of-thirty-two-bytes-or-so".to_owned().into();
        let csrf = csrf_token(&keys, &id);
        assert!(!is_csrf_token(&others, &id, &csrf));
        let others = others.after(Some(&before));
        assert!(read_refresh(&others, text).is_some());
        assert!(is_csrf_token(&others, &id, &csrf));
        let first = id.chars().next().unwrap();
        let altered = text.replacen(first, if first == '0' { "1" } else { "0" }, 1);
        for bad in [
            altered.as_str(),
            &text[..text.len() - 1],
            "",
            "bursar_rt___",
        ] {
            assert!(read_refresh(&keys, bad).is_none(), "{bad}");
        }
    }
}
