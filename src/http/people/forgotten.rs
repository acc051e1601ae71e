//! A forgotten password: a link by mail, and a new password by the link.
//!
//! Invariants: asking is answered in one way, whoever the address belongs to; setting a new password ends every session
//! and proves the address, since the link was sent there.

use super::pages::{self, Form, answered, hidden, password};
use super::signup::{put_proof, send_proof};
use super::{ROUNDS, address, admit, commit, contended, place, secret};
use crate::http::answer::Answer;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::accounts::{self, Account};
use crate::identity::proofs::{self, Proof, Purpose, RESET_MINUTES, Sent, read_token};
use crate::identity::records::{Actor, Commit, Read, mail_to, spaces};
use crate::identity::{UserId, limits, passwords, sessions};
use hyper::StatusCode;
use secrecy::ExposeSecret;
use serde_json::json;

/// Where the link of a reset leads.
pub const RESET_PATH: &str = "/password/reset";
const TITLE: &str = "Set a new password";
const DONE: &str = "Your new password is set, and you were logged out everywhere. You can close this page and log in.";

/// `POST /api/v1/password/forgot`.
pub fn forgot(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let address = address(&call, "email")?;
        admit(&call).await?;
        let store = call.edge.store.as_ref();
        let key = call.edge.identity.address_key(store).await?;
        for _ in 0..ROUNDS {
            let found = accounts::find_by_address(store, key, &address).await?;
            let decided = match found {
                Some((user, account)) => reset_link(&call, &user, &account).await?,
                None => {
                    let name = key.of_address(&address);
                    limits::decoy(Commit::default(), &name, call.edge.now())?
                }
            };
            if commit(&call, decided).await? {
                let answer = Answer::json(&json!({"status": "reset_sent"}));
                return Ok(answer.with("cache-control", "no-store"));
            }
        }
        Err(contended())
    })
}

async fn reset_link(
    call: &Call,
    user: &UserId,
    account: &Read<Account>,
) -> Result<Commit, Problem> {
    let write = |sent: &Sent| {
        let base = call.edge.settings.app_base_url.trim_end_matches('/');
        let link = format!("{base}{RESET_PATH}?token={}", sent.token.expose_secret());
        let minutes = RESET_MINUTES.to_string();
        let params = [("link", link.as_str()), ("minutes", minutes.as_str())];
        mail_to("password_reset", None, &account.value.email, &params)
    };
    let (purpose, did) = (Purpose::Reset, "user.reset_sent");
    send_proof(call, Commit::default(), user, purpose, did, write).await
}

/// `GET /password/reset`.
pub fn page(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let form = Form {
            action: "reset",
            button: "Set the password",
            inputs: vec![
                hidden("token", secret(&call, "token")),
                password("newPassword", "New password, at least 8 characters"),
            ],
        };
        let words = "Choose a new password. You will be logged out everywhere.";
        pages::page(&call.edge, StatusCode::OK, TITLE, words, Some(&form))
    })
}

/// `POST /api/v1/password/reset`.
pub fn reset(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let outcome = by_link(&call).await;
        answered(&call, outcome, TITLE, DONE)
    })
}

fn refused() -> Problem {
    let detail = "the link is wrong, was used, or has ended; have another mail sent";
    Problem::new(Code::Refused, detail)
}

async fn by_link(call: &Call) -> Result<Answer, Problem> {
    let new = passwords::accepted("newPassword", secret(call, "newPassword"))?;
    admit(call).await?;
    let (user, presented) = read_token(secret(call, "token")).ok_or_else(refused)?;
    let edge = &call.edge;
    let store = edge.store.as_ref();
    let mut hashed = None;
    for _ in 0..ROUNDS {
        let proof = proofs::find(store, &user, Purpose::Reset).await?;
        let account = accounts::find(store, &user).await?;
        let (account, proof) = account.zip(proof).ok_or_else(refused)?;
        if !proof.value.link_fits(presented, false, edge.now()) {
            return Err(refused());
        }
        let hash = match hashed.take() {
            Some(hash) => hash,
            None => edge.identity.passwords.hash(new.clone()).await?,
        };
        let decided = set(call, &user, &account, &proof, hash.clone()).await?;
        if commit(call, decided).await? {
            let answer = Answer::json(&json!({"status": "password_set"}));
            return Ok(answer.with("cache-control", "no-store"));
        }
        hashed = Some(hash);
    }
    Err(contended())
}

async fn set(
    call: &Call,
    user: &UserId,
    account: &Read<Account>,
    proof: &Read<Proof>,
    hash: String,
) -> Result<Commit, Problem> {
    let edge = &call.edge;
    let (store, now) = (edge.store.as_ref(), edge.now());
    let changed = Account {
        password: Some(hash),
        verified_at: account.value.verified_at.or(Some(now)),
        session_version: account.value.session_version + 1,
        ..account.value.clone()
    };
    let used = Proof {
        used_at: Some(now),
        ..proof.value.clone()
    };
    let by = Actor::user(user, &call.request_id);
    let (id, whose) = (user.as_str(), Some(user.subject()));
    let mut commit = Commit::default()
        .replace(spaces::ACCOUNT, id, &account.bytes, &changed, whose)?
        .mail(
            password_changed(&changed),
            &proof.value.link_sha256,
            now,
            user.subject(),
        )
        .audit(by.did(
            "user.password_reset",
            id,
            None,
            now,
            "by a link; every session ended",
        ));
    if changed.pending_tenant.is_some() {
        commit = commit.put(spaces::UNFINISHED, id, &json!({}), None)?;
    }
    commit = put_proof(commit, user, Purpose::Reset, Some(proof), &used)?;
    commit = sessions::end_all(store, commit, user, None).await?;
    // Whoever reads the account's mail is let in from here, however much somebody else guesses.
    let key = edge.identity.address_key(store).await?;
    let (place, name) = (place(call).await?, key.of_address(&changed.email));
    Ok(limits::known(commit, &place, &name, now)?)
}

/// The mail that tells of a new password.
pub(super) fn password_changed(account: &Account) -> bursar_domain::effect::Mail {
    mail_to("password_changed", None, &account.email, &[])
}
