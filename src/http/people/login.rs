//! Logging in, refreshing, logging out.
//!
//! Invariants: a try is counted before its password is looked at; whether the address is unknown or the password wrong
//! cannot be told apart, neither by the answer nor by the work; tokens appear in one answer and in no log.

use super::{ROUNDS, access_token, actor, address, commit, contended, place, secret, signup};
use crate::http::answer::Answer;
use crate::http::edge::Edge;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::accounts::{self, Account};
use crate::identity::limits::{self, Admitted};
use crate::identity::records::{Actor, Commit, Read, spaces};
use crate::identity::sessions::{self, Begun, Kind, Refreshed};
use crate::identity::{UserId, passwords, tokens};
use hyper::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

/// Words of the field `session`.
pub const SESSION_WORDS: &[&str] = &["tokens", "cookie"];

fn attempt(outcome: &'static str) {
    metrics::counter!("bursar_auth_attempts_total", "method" => "password", "outcome" => outcome)
        .increment(1);
}

/// Who logs in.
pub(super) struct LoggedIn {
    pub(super) user: UserId,
    pub(super) account: Read<Account>,
    pub(super) admitted: Admitted,
}

/// Looks at an address and a password. # Errors: 401 in one way for both, 429, 503.
pub(super) async fn check(
    call: &Call,
    address: &str,
    password: SecretString,
) -> Result<LoggedIn, Problem> {
    let edge = &call.edge;
    let store = edge.store.as_ref();
    let key = edge.identity.address_key(store).await?;
    let name = key.of_address(address);
    let place = place(call).await?;
    let admitted = limits::admit_login(store, &place, &name, edge.now()).await?;
    let found = accounts::find_by_address(store, key, address).await?;
    let stored = found
        .as_ref()
        .and_then(|(_, a)| a.value.password.as_deref());
    let fits = edge.identity.passwords.fits(password, stored).await?;
    match found {
        Some((user, account)) if fits => {
            attempt("accepted");
            Ok(LoggedIn {
                user,
                account,
                admitted,
            })
        }
        _ => {
            attempt("refused");
            let detail = "the address or the password is wrong";
            Err(Problem::new(Code::Unauthenticated, detail))
        }
    }
}

/// `POST /api/v1/login`.
pub fn login(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let address = address(&call, "email")?;
        let password = passwords::accepted("password", secret(&call, "password"))?;
        let who = check(&call, &address, password).await?;
        if who.account.value.verified_at.is_none() {
            let detail = "the password is right; follow the link in the mail we sent first";
            return Err(Problem::new(Code::EmailUnverified, detail));
        }
        if who.account.value.pending_tenant.is_some() {
            signup::finish(&call.edge, &who.user, &call.request_id).await?;
        }
        let kind = match call.fields.text("session") {
            Some("cookie") => Kind::Console,
            _ => Kind::Tokens,
        };
        let begun = begin(&call, &who, kind).await?;
        match kind {
            Kind::Tokens => granted(&call.edge, &who.user, &begun),
            Kind::Console => Ok(console(&call.edge, &begun)),
        }
    })
}

async fn begin(call: &Call, who: &LoggedIn, kind: Kind) -> Result<Begun, Problem> {
    let edge = &call.edge;
    let (store, now, user) = (edge.store.as_ref(), edge.now(), &who.user);
    for _ in 0..ROUNDS {
        let account = accounts::find(store, user).await?;
        // Whoever changed the password in between ended what was decided over the old one.
        let account = account.filter(|a| a.value.password == who.account.value.password);
        let Some(account) = account else {
            let detail = "the address or the password is wrong";
            return Err(Problem::new(Code::Unauthenticated, detail));
        };
        let guarded = Commit::default().guard(spaces::ACCOUNT, user.as_str(), &account.bytes);
        let roomy = sessions::make_room(store, guarded, user).await?;
        let version = account.value.session_version;
        let (begins, begun) =
            sessions::begin(roomy, &edge.identity.keys, kind, user, version, now)?;
        let line = Actor::user(user, &call.request_id).did(
            "session.began",
            &begun.id,
            None,
            now,
            String::new(),
        );
        let begins = limits::succeeded(begins, &who.admitted, now)?.audit(line);
        if commit(call, begins).await? {
            return Ok(begun);
        }
    }
    Err(contended())
}

/// The answer that holds tokens. # Errors: none can be made (a defect).
pub(super) fn granted(edge: &Edge, user: &UserId, begun: &Begun) -> Result<Answer, Problem> {
    let access = edge.identity.keys.issue(user, &begun.id, edge.now());
    let access = access.ok_or_else(|| Problem::new(Code::Internal, "no token could be made"))?;
    let (access, refresh) = (access.expose_secret(), begun.credential.expose_secret());
    let body = json!({
        "accessToken": access, "refreshToken": refresh,
        "tokenType": "Bearer", "expiresIn": tokens::ACCESS_SECONDS,
        // The names of RFC 6749 too, so that its clients need no adapter.
        "access_token": access, "refresh_token": refresh,
        "token_type": "Bearer", "expires_in": tokens::ACCESS_SECONDS,
    });
    Ok(Answer::json(&body).holding_secret())
}

fn console(edge: &Edge, begun: &Begun) -> Answer {
    let cookie = sessions::set_cookie(edge.identity.is_https, Some(&begun.credential));
    let csrf = sessions::csrf_token(&edge.identity.keys, &begun.id);
    let body = json!({"csrfToken": csrf, "expiresIn": sessions::COOKIE_HOURS * 3_600});
    Answer::json(&body)
        .holding_secret()
        .with("set-cookie", &cookie)
}

/// `POST /api/v1/refresh`.
pub fn refresh(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let edge = &call.edge;
        let presented = secret(&call, "refreshToken");
        // A product's backend refreshes for all its people from one address: only wrong tokens count.
        if let Some(wait) = edge.attempts.wait(call.peer, presented) {
            metrics::counter!("bursar_http_rejections_total", "reason" => "rate_limited")
                .increment(1);
            let detail = "too many wrong tokens came from this address";
            return Err(Problem {
                retry_after_seconds: Some(wait.as_secs().saturating_add(1)),
                ..Problem::new(Code::RateLimited, detail)
            });
        }
        let (store, keys) = (edge.store.as_ref(), &edge.identity.keys);
        let now = edge.now();
        match sessions::refresh(store, keys, presented, &call.request_id, now).await? {
            Refreshed::Next { user, begun } => granted(edge, &user, &begun),
            Refreshed::Reused | Refreshed::Nothing => {
                edge.attempts.failed(call.peer, presented);
                let detail = "the refresh token is not good, or was used before; log in again";
                Err(Problem::new(Code::Unauthenticated, detail))
            }
        }
    })
}

/// `POST /api/v1/logout`: ends the session of whatever the request carries; 204 whether there was one or not.
pub fn logout(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let edge = &call.edge;
        let (store, keys, now) = (edge.store.as_ref(), &edge.identity.keys, edge.now());
        let mut ended = Vec::new();
        ended.extend(sessions::of_refresh_token(store, keys, secret(&call, "refreshToken")).await?);
        if let Some(bearer) = access_token(&call).and_then(|t| keys.read(t, now)) {
            ended.push((bearer.session, bearer.user));
        }
        let https = edge.identity.is_https;
        let cookie = sessions::cookie_of(&call.headers, https);
        if let Some(cookie) = cookie {
            ended.extend(sessions::of_cookie(store, cookie, now).await?);
        }
        for (id, user) in &ended {
            let Some(read) = sessions::find(store, id).await? else {
                continue;
            };
            let line = Actor {
                text: format!("user:{user}"),
                ..actor(&call)
            };
            let line = line.did("session.ended", id, None, now, "logged out");
            let guarded = Commit::default().guard(spaces::SESSION, id, &read.bytes);
            let ends = sessions::end(guarded, user, id).audit(line);
            if !commit(&call, ends).await? {
                // It was refreshed or ended in between; what it is now must end as well.
                let again = sessions::end(Commit::default(), user, id);
                commit(&call, again).await?;
            }
        }
        let mut answer = Answer::empty(StatusCode::NO_CONTENT).with("cache-control", "no-store");
        if cookie.is_some() {
            answer.header("set-cookie", &sessions::set_cookie(https, None));
        }
        Ok(answer)
    })
}
