//! Accepting an invitation.
//!
//! Invariants: the token was sent to the invited address, so it proves that address; it never logs anybody in. Who has
//! an account joins only signed in as its owner, or with its password, so that a mail that was passed on gives nobody
//! else a place in that person's name.

use super::login::check;
use super::pages::{self, Form, answered, hidden, password};
use super::{ROUNDS, access_token, admit, commit, contended, secret};
use crate::http::answer::Answer;
use crate::http::problem::{Code, FieldCode, FieldError, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::accounts::{self, Account};
use crate::identity::addresses::Owner;
use crate::identity::invitations::{self, Invitation};
use crate::identity::members::MEMBERSHIPS_MAX;
use crate::identity::records::{Actor, Commit, Read, spaces};
use crate::identity::secrets::{self, Token};
use crate::identity::{UserId, members, passwords, tokens};
use bursar_domain::ids::Timestamp;
use hyper::StatusCode;
use secrecy::SecretString;
use serde_json::json;

const TITLE: &str = "Accept the invitation";
const DONE: &str = "You belong to it now. You can close this page and log in.";

/// `GET /invitations/accept`.
pub fn page(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let form = Form {
            action: "accept",
            button: "Accept",
            inputs: vec![
                hidden("token", secret(&call, "token")),
                password("password", "Password, at least 8 characters"),
            ],
        };
        let words = "Choose a password, or enter the one you have here already.";
        pages::page(&call.edge, StatusCode::OK, TITLE, words, Some(&form))
    })
}

/// `POST /api/v1/invitations/accept`.
pub fn accept(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let outcome = accepted(&call).await;
        answered(&call, outcome, TITLE, DONE)
    })
}

fn refused() -> Problem {
    let detail = "the invitation is wrong, was used or taken back, or has ended";
    Problem::new(Code::Refused, detail)
}

/// How somebody shows that they may join.
enum Joining {
    /// A new account, or one whose address nobody proved: with this password's hash.
    New(String),
    /// The owner of this account.
    Known(UserId),
}

async fn accepted(call: &Call) -> Result<Answer, Problem> {
    admit(call).await?;
    let store = call.edge.store.as_ref();
    let token = Token::parse(secret(call, "token")).ok_or_else(refused)?;
    let id = token.id;
    let invitation = standing(call, &token).await?;
    let joining = joining(call, &invitation.value).await?;
    for _ in 0..ROUNDS {
        let invitation = standing(call, &token).await?;
        let (user, decided) = match &joining {
            Joining::Known(user) => (user.clone(), Commit::default()),
            Joining::New(hash) => account(call, &invitation.value, hash).await?,
        };
        let decided = join(call, decided, &user, &invitation.value).await?;
        let decided = invitations::withdraw(decided, id, &invitation);
        if commit(call, decided).await? {
            // What the mail said about the address is needed no more.
            store
                .erase(vec![invitations::subject(id)], call.edge.now())
                .await?;
            let invitation = invitation.value;
            let body =
                json!({"tenantId": invitation.tenant, "role": invitation.role, "userId": user});
            return Ok(Answer::json(&body).with("cache-control", "no-store"));
        }
    }
    Err(contended())
}

/// The invitation of a token, if it is good. # Errors: 422.
async fn standing(call: &Call, token: &Token<'_>) -> Result<Read<Invitation>, Problem> {
    let invitation = invitations::find(call.edge.store.as_ref(), token.id).await?;
    let now = call.edge.now();
    let is_good = |i: &Invitation| now < i.ends_at && secrets::fits(token.secret, &i.secret_sha256);
    invitation.filter(|i| is_good(&i.value)).ok_or_else(refused)
}

/// The password a person gives. # Errors: 422 if there is none, or it is outside the rule.
fn given_password(call: &Call) -> Result<SecretString, Problem> {
    let given = secret(call, "password");
    if !given.is_empty() {
        return passwords::accepted("password", given);
    }
    let detail = "`password` is required: the one you have here, or a new one";
    Err(Problem {
        errors: vec![FieldError {
            field: "password".to_owned(),
            code: FieldCode::Required,
            detail: detail.to_owned(),
        }],
        ..Problem::new(Code::Refused, detail)
    })
}

async fn joining(call: &Call, invitation: &Invitation) -> Result<Joining, Problem> {
    let edge = &call.edge;
    let store = edge.store.as_ref();
    let key = edge.identity.address_key(store).await?;
    let found = accounts::find_by_address(store, key, &invitation.email).await?;
    let known = found.filter(|(_, account)| account.value.verified_at.is_some());
    let Some((owner, _)) = known else {
        let hash = edge.identity.passwords.hash(given_password(call)?).await?;
        return Ok(Joining::New(hash));
    };
    if let Some(token) = access_token(call) {
        if tokens::user_of(edge, token).await?.as_ref() == Some(&owner) {
            return Ok(Joining::Known(owner));
        }
        let detail = "the invitation is for another account than the one signed in, if any is";
        return Err(Problem::new(Code::InsufficientScope, detail));
    }
    let password = given_password(call)?;
    let who = check(call, &invitation.email, password).await?;
    Ok(Joining::Known(who.user))
}

/// The account of who had none, proved by the token. An account that waited for its proof is theirs now, with the
/// password given here: whoever signed up with their address did not prove it.
async fn account(
    call: &Call,
    invitation: &Invitation,
    hash: &str,
) -> Result<(UserId, Commit), Problem> {
    let edge = &call.edge;
    let (store, now) = (edge.store.as_ref(), edge.now());
    let key = edge.identity.address_key(store).await?;
    let name = call.fields.text("name").unwrap_or("").trim().to_owned();
    let before = accounts::find_by_address(store, key, &invitation.email).await?;
    let (user, commit) = match before {
        None => {
            let user = UserId::new();
            let account = fresh(invitation, name, hash, now);
            let (id, whose) = (user.as_str(), Some(user.subject()));
            let owner = Owner { user: user.clone() };
            let commit = Commit::default()
                .create(spaces::ACCOUNT, id, &account, whose)?
                .create(
                    spaces::ADDRESS,
                    &key.of_address(&invitation.email),
                    &owner,
                    None,
                )?;
            (user, commit)
        }
        Some((_, before)) if before.value.verified_at.is_some() => return Err(contended()),
        Some((user, before)) => {
            let account = Account {
                session_version: before.value.session_version + 1,
                ..fresh(invitation, name, hash, now)
            };
            let (id, whose) = (user.as_str(), Some(user.subject()));
            let commit =
                Commit::default().replace(spaces::ACCOUNT, id, &before.bytes, &account, whose)?;
            (user, commit)
        }
    };
    let by = Actor::user(&user, &call.request_id);
    let line = by.did(
        "user.verified",
        user.as_str(),
        None,
        now,
        "by an invitation",
    );
    Ok((user, commit.audit(line)))
}

fn fresh(invitation: &Invitation, name: String, hash: &str, now: Timestamp) -> Account {
    Account {
        email: invitation.email.clone(),
        name,
        password: Some(hash.to_owned()),
        verified_at: Some(now),
        created_at: now,
        default_tenant: Some(invitation.tenant.clone()),
        session_version: 0,
        pending_tenant: None,
    }
}

/// Joins, or rises to what was offered; nobody becomes less by an invitation.
async fn join(
    call: &Call,
    commit: Commit,
    user: &UserId,
    invitation: &Invitation,
) -> Result<Commit, Problem> {
    let (store, now) = (call.edge.store.as_ref(), call.edge.now());
    let (tenant, role) = (&invitation.tenant, invitation.role);
    let by = Actor::user(user, &call.request_id);
    let line = by.did(
        "member.added",
        user.as_str(),
        Some(tenant),
        now,
        role.as_str(),
    );
    let commit = commit.audit(line);
    match members::find(store, tenant, user).await? {
        None => {
            let here = members::of_tenant(store, tenant).await?.len();
            let there = members::tenants_of(store, user).await?.len();
            if here >= MEMBERSHIPS_MAX || there >= MEMBERSHIPS_MAX {
                let detail = "the tenant has as many people as it may have, or you as many tenants";
                return Err(Problem::new(Code::StateConflict, detail));
            }
            Ok(members::join(commit, tenant, user, role, now)?)
        }
        Some(member) if member.value.role >= role => {
            Ok(members::guard(commit, tenant, user, &member))
        }
        Some(member) => Ok(members::change_role(commit, tenant, user, &member, role)?),
    }
}
