//! Proving an address, by the link of a mail or by its code.
//!
//! Invariants: opening the page consumes nothing; whatever is wrong with a link or a code is answered in one way;
//! verifying logs nobody in.

use super::pages::{self, Form, Input, answered, hidden};
use super::{ROUNDS, actor, address, admit, commit, contended, secret, signup};
use crate::http::answer::Answer;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::accounts::{self, Account};
use crate::identity::proofs::{self, Proof, Purpose, read_token};
use crate::identity::records::{Commit, Read, spaces};
use crate::identity::{UserId, limits};
use bursar_domain::ids::TenantId;
use hyper::StatusCode;
use serde_json::json;

const TITLE: &str = "Confirm your address";
const DONE: &str = "Your address is confirmed. You can close this page and log in.";

fn refused(what: &str) -> Problem {
    let detail = format!("the {what} is wrong, was used, or has ended; have another mail sent");
    Problem::new(Code::Refused, detail)
}

/// `GET /verify-email`.
pub fn link_page(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let form = Form {
            action: "verify-email",
            button: "Confirm",
            inputs: vec![hidden("token", secret(&call, "token"))],
        };
        let words = "Press the button to confirm that this address is yours.";
        pages::page(&call.edge, StatusCode::OK, TITLE, words, Some(&form))
    })
}

/// `GET /verify-email-code`.
pub fn code_page(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let email = Input {
            name: "email",
            label: "Address",
            kind: "email",
            value: call.fields.text("email").unwrap_or(""),
            autocomplete: "email",
        };
        let code = Input {
            name: "code",
            label: "Code of six digits",
            kind: "text",
            value: "",
            autocomplete: "one-time-code",
        };
        let form = Form {
            action: "verify-email-code",
            button: "Confirm",
            inputs: vec![email, code],
        };
        let words = "Enter the code from the mail we sent.";
        pages::page(&call.edge, StatusCode::OK, TITLE, words, Some(&form))
    })
}

fn verified(tenant: Option<&TenantId>) -> Answer {
    Answer::json(&json!({"status": "verified", "tenantId": tenant}))
        .with("cache-control", "no-store")
}

/// `POST /verify-email`.
pub fn link(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let outcome = by_link(&call).await;
        answered(&call, outcome, TITLE, DONE)
    })
}

async fn by_link(call: &Call) -> Result<Answer, Problem> {
    admit(call).await?;
    let (user, presented) = read_token(secret(call, "token")).ok_or_else(|| refused("link"))?;
    for _ in 0..ROUNDS {
        let (account, proof) = standing(call, &user, "link").await?;
        // A link that did its work is good until what it began is finished.
        let is_proved = account.value.verified_at.is_some();
        let is_unfinished = is_proved && account.value.pending_tenant.is_some();
        let is_good = is_unfinished || !is_proved;
        if !is_good
            || !proof
                .value
                .link_fits(presented, is_unfinished, call.edge.now())
        {
            return Err(refused("link"));
        }
        if is_unfinished || prove(call, &user, &account, &proof, proof.value.clone()).await? {
            let tenant = signup::finish(&call.edge, &user, &call.request_id).await?;
            return Ok(verified(tenant.as_ref()));
        }
    }
    Err(contended())
}

/// An account and its proof. # Errors: there is none, answered as what is wrong with any.
async fn standing(
    call: &Call,
    user: &UserId,
    what: &str,
) -> Result<(Read<Account>, Read<Proof>), Problem> {
    let store = call.edge.store.as_ref();
    let account = accounts::find(store, user).await?;
    let proof = proofs::find(store, user, Purpose::Verification).await?;
    account.zip(proof).ok_or_else(|| refused(what))
}

/// Marks the address as proved and the proof as used. `false`: somebody was first. # Errors: the store's.
async fn prove(
    call: &Call,
    user: &UserId,
    account: &Read<Account>,
    proof: &Read<Proof>,
    tried: Proof,
) -> Result<bool, Problem> {
    let now = call.edge.now();
    let changed = Account {
        verified_at: Some(now),
        ..account.value.clone()
    };
    let used = Proof {
        used_at: Some(now),
        ..tried
    };
    let (id, whose) = (user.as_str(), Some(user.subject()));
    let mut proved = Commit::default()
        .replace(spaces::ACCOUNT, id, &account.bytes, &changed, whose)?
        .audit(actor(call).did("user.verified", id, None, now, String::new()));
    if changed.pending_tenant.is_some() {
        proved = proved.put(spaces::UNFINISHED, id, &json!({}), None)?;
    }
    let proved = signup::put_proof(proved, user, Purpose::Verification, Some(proof), &used)?;
    commit(call, proved).await
}

/// `POST /verify-email-code`.
pub fn code(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let outcome = by_code(&call).await;
        answered(&call, outcome, TITLE, DONE)
    })
}

async fn by_code(call: &Call) -> Result<Answer, Problem> {
    let address = address(call, "email")?;
    admit(call).await?;
    let code = secret(call, "code");
    if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused("code"));
    }
    let edge = &call.edge;
    let store = edge.store.as_ref();
    let key = edge.identity.address_key(store).await?;
    for _ in 0..ROUNDS {
        let now = edge.now();
        let Some(user) = accounts::user_of_address(store, key, &address).await? else {
            // Nobody's code costs the commit that somebody's wrong one does.
            let name = key.of_address(&address);
            commit(call, limits::decoy(Commit::default(), &name, now)?).await?;
            return Err(refused("code"));
        };
        let (account, proof) = standing(call, &user, "code").await?;
        let tried = proof.value.try_code(&edge.identity.keys, &user, code, now);
        let tried = tried.filter(|_| account.value.verified_at.is_none());
        let Some((tried, is_right)) = tried else {
            commit(call, limits::decoy(Commit::default(), user.as_str(), now)?).await?;
            return Err(refused("code"));
        };
        if is_right {
            if prove(call, &user, &account, &proof, tried).await? {
                let tenant = signup::finish(edge, &user, &call.request_id).await?;
                return Ok(verified(tenant.as_ref()));
            }
            continue;
        }
        let purpose = Purpose::Verification;
        let counted = signup::put_proof(Commit::default(), &user, purpose, Some(&proof), &tried)?;
        if commit(call, counted).await? {
            return Err(refused("code"));
        }
    }
    Err(contended())
}
