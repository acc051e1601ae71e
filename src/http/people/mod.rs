//! The routes of people: how they get in, what is theirs, and who belongs to a tenant.
//!
//! Invariants: an answer never tells whether an address has an account, nor does the work behind it; what a person may
//! do in a tenant is read from the store at each request; what anybody may post is counted under their address.
//! Not here: the records and what may become of them (`identity`), the table's rows (`routes::people`).

pub mod forgotten;
pub mod invitations;
pub mod login;
pub mod me;
pub mod members;
pub mod pages;
pub mod passwords;
pub mod sessions;
pub mod signup;
pub mod users;
pub mod verify;

use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use crate::identity::limits::{self, Place};
use crate::identity::records::{Actor, Commit};
use crate::identity::{UserId, addresses};
use bursar_domain::decision::Lane;

/// How often a decision that somebody else's commit came before is made again.
pub(crate) const ROUNDS: usize = 8;

/// Who calls, for the audit trail.
fn actor(call: &Call) -> Actor {
    Actor {
        text: call.caller.principal.text(),
        request_id: call.request_id.clone(),
    }
}

/// The person who calls. # Errors: 401 if it is none.
fn person(call: &Call) -> Result<UserId, Problem> {
    let text = call.caller.principal.text();
    let user = text.strip_prefix("user:").and_then(UserId::parse);
    user.ok_or_else(|| Problem::new(Code::Unauthenticated, "this is a person's alone"))
}

/// Where a request comes from, for what is counted by address. # Errors: the store's.
async fn place(call: &Call) -> Result<Place, Problem> {
    let key = call
        .edge
        .identity
        .address_key(call.edge.store.as_ref())
        .await?;
    Ok(Place::of(&call.edge, key, call.peer))
}

/// Counts a request of anybody's. # Errors: 429.
async fn admit(call: &Call) -> Result<(), Problem> {
    limits::admit(
        call.edge.store.as_ref(),
        &place(call).await?,
        call.edge.now(),
    )
    .await
}

/// The address in a field, as accounts know it. # Errors: 400 for one no mail can be sent to.
fn address(call: &Call, field: &str) -> Result<String, Problem> {
    let address = addresses::normalised(call.fields.text(field).unwrap_or(""));
    // What a header of a mail would have to quote is nobody's address here.
    let is_plain = !address.contains(['"', '\\', '<', '>', '(', ')', ',', ';', ':', '[', ']']);
    if is_plain && !address.is_empty() {
        return Ok(address);
    }
    let detail = "this is not an address mail is sent to from here";
    Err(Problem::field(field, FieldCode::Malformed, detail))
}

/// The access token a request carries, if it carries one.
fn access_token(call: &Call) -> Option<&str> {
    let header = call.headers.get(hyper::header::AUTHORIZATION)?;
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// A token or password as it was given; empty if it was not.
fn secret<'a>(call: &'a Call, field: &str) -> &'a str {
    call.fields.text(field).unwrap_or("")
}

/// Commits and wakes whoever sends its mail; `false`: somebody was first. # Errors: the store's.
async fn commit(call: &Call, commit: Commit) -> Result<bool, Problem> {
    let has_mail = commit.has_mail();
    let is_done = commit.run(call.edge.store.as_ref()).await?;
    if is_done && has_mail {
        call.edge.intake.hint(vec![Lane::Mail]);
    }
    Ok(is_done)
}

/// What is said when others were first again and again.
fn contended() -> Problem {
    Problem::new(
        Code::Overloaded,
        "others changed the same thing at the same time; ask again",
    )
}
