//! A password changed by who knows it.
//!
//! Invariants: the present password is needed, and tries of it are counted as log-ins are; every other session ends.

use super::forgotten::password_changed;
use super::login::check;
use super::sessions::own_session;
use super::{ROUNDS, actor, commit, contended, person, secret};
use crate::http::answer::Answer;
use crate::http::problem::{Code, FieldCode, FieldError, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::accounts::{self, Account};
use crate::identity::records::{Commit, spaces};
use crate::identity::sessions::{self, Session};
use crate::identity::{limits, passwords, secrets};
use hyper::StatusCode;

/// `POST /api/v1/password/change`.
pub fn change(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let user = person(&call)?;
        let present = passwords::accepted("currentPassword", secret(&call, "currentPassword"))?;
        let new = passwords::accepted("newPassword", secret(&call, "newPassword"))?;
        let edge = &call.edge;
        let (store, now) = (edge.store.as_ref(), edge.now());
        let account = accounts::find(store, &user).await?;
        let account = account.ok_or_else(Problem::not_found)?;
        let who = match check(&call, &account.value.email, present).await {
            Ok(who) if who.user == user => who,
            Err(problem) if problem.code != Code::Unauthenticated => return Err(problem),
            _ => return Err(wrong()),
        };
        let hash = edge.identity.passwords.hash(new).await?;
        let own = own_session(&call).await?;
        for _ in 0..ROUNDS {
            let account = accounts::find(store, &user).await?;
            let account = account.ok_or_else(Problem::not_found)?;
            if account.value.password != who.account.value.password {
                return Err(wrong());
            }
            let changed = Account {
                password: Some(hash.clone()),
                session_version: account.value.session_version + 1,
                ..account.value.clone()
            };
            let (id, whose) = (user.as_str(), Some(user.subject()));
            let fact = secrets::digest(&hash);
            let mut decided = Commit::default()
                .replace(spaces::ACCOUNT, id, &account.bytes, &changed, whose)?
                .mail(password_changed(&changed), &fact, now, user.subject())
                .audit(actor(&call).did(
                    "user.password_changed",
                    id,
                    None,
                    now,
                    "every other session ended",
                ));
            decided = limits::succeeded(decided, &who.admitted, now)?;
            decided = sessions::end_all(store, decided, &user, own.as_deref()).await?;
            if let Some(own) = &own
                && let Some(read) = sessions::find(store, own).await?
            {
                let kept = Session {
                    version: changed.session_version,
                    ..read.value.clone()
                };
                decided = decided.replace(spaces::SESSION, own, &read.bytes, &kept, None)?;
            }
            if commit(&call, decided).await? {
                return Ok(Answer::empty(StatusCode::NO_CONTENT));
            }
        }
        Err(contended())
    })
}

fn wrong() -> Problem {
    let detail = "the present password is wrong";
    Problem {
        errors: vec![FieldError {
            field: "currentPassword".to_owned(),
            code: FieldCode::Malformed,
            detail: detail.to_owned(),
        }],
        ..Problem::new(Code::Refused, detail)
    }
}
