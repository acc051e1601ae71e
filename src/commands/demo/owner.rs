//! The tenant's owner: invited by the operator, let in by the link of a real mail, signed in with a password.
//!
//! Invariants: nothing is taken that a person could not: the link comes out of the mail the sandbox caught.
//! Failure: [`Failure`] says which call answered what; the step is then wrong.

use super::world::{Failure, World};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long a mail may take.
const MAIL_WAIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How the owner signs in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) email: &'static str,
    pub(super) password: String,
}

impl World {
    /// Invites the owner, follows the mail's link, sets the password and signs in; a line for each.
    pub(super) async fn let_owner_in(&self, login: &Login) -> Result<Vec<String>, Failure> {
        let line =
            |what: &str, status: u16, said: &str| format!("  ==> {what:<62}  [{status}]  {said}");
        let order = json!({"tenantId": "acme", "email": login.email, "role": "owner"});
        self.post("/api/v1/members", &order).await?;
        let mut lines = vec![line("POST /api/v1/members", 201, "an invitation as owner")];
        let token = self.invitation(login.email).await?;
        lines.push(format!(
            "  @   mail to {}  (all of them are on the mail page)",
            login.email
        ));
        let accepted = json!({"token": token, "password": login.password, "name": "Olive Owner"});
        self.as_person("/api/v1/invitations/accept", &accepted)
            .await?;
        lines.push(line(
            "POST /api/v1/invitations/accept",
            200,
            "the link of the mail, and a password",
        ));
        let session = self.sign_in(login).await?;
        lines.push(line(
            "POST /api/v1/login",
            200,
            "an access token for ten minutes",
        ));
        let tenant = self.seen_with(&session, "/api/v1/tenants/acme").await?;
        if tenant["tenantId"] != "acme" {
            return Err(Failure(format!("the owner sees {tenant}")));
        }
        lines.push(line("GET /api/v1/tenants/acme", 200, "as the owner"));
        Ok(lines)
    }

    /// Signs in; the access token.
    pub(super) async fn sign_in(&self, login: &Login) -> Result<String, Failure> {
        let order = json!({"email": login.email, "password": login.password});
        let session = self.as_person("/api/v1/login", &order).await?;
        let token = session["accessToken"].as_str().map(str::to_owned);
        token.ok_or_else(|| Failure(format!("no access token in {session}")))
    }

    /// The token in the link of the newest mail to this address.
    async fn invitation(&self, email: &str) -> Result<String, Failure> {
        let started = Instant::now();
        loop {
            let mail = self
                .sandbox_page(&format!("/mail/latest?to={email}"))
                .await?;
            if let Some(token) = mail["text"].as_str().and_then(token_in) {
                return Ok(token.to_owned());
            }
            if started.elapsed() > MAIL_WAIT {
                return Err(Failure(format!(
                    "no invitation arrived; the newest mail is {mail}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// The token of an invitation's link in a mail's text.
fn token_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("/invitations/accept?token=")?;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.'));
    Some(&rest[..end.unwrap_or(rest.len())])
}

/// What a person's page shows of a session: nothing of it is secret here but the password.
pub(super) fn shown(login: &Login) -> String {
    format!("{} / {}", login.email, login.password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_ends_where_the_link_does() {
        let text = "Hello,\nhttp://127.0.0.1:8087/invitations/accept?token=ab12_cd34\n\nBye";
        assert_eq!(token_in(text), Some("ab12_cd34"));
        assert_eq!(token_in("nothing"), None);
    }
}
