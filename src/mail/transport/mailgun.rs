//! Mail through Mailgun's HTTP API.
//!
//! Invariants: one recipient, our own Message-ID; no redirects, so that the key goes nowhere else.
//! Not here: Mailgun's webhooks about what became of a mail.
//! Failure: 429 and 5xx are tried again, and so are 401 and 403, which a better key ends; other refusals are final.
//! Source: Mailgun API reference, "Messages" (`POST /v3/{domain}/messages`, basic auth as `api`, `h:` headers).

use super::{SendError, Transport, WAIT};
use crate::mail::letter::{Letter, Sender};
use bursar_actors::ports::PortFuture;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// Sends through Mailgun.
pub struct Mailgun {
    client: reqwest::Client,
    url: String,
    key: SecretString,
    sender: Sender,
}

impl Mailgun {
    /// For a sending domain at an API's address.
    ///
    /// # Errors
    /// The HTTP client cannot be set up.
    pub fn new(
        base: &str,
        domain: &str,
        key: SecretString,
        sender: Sender,
    ) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .timeout(WAIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        let url = format!("{}/v3/{domain}/messages", base.trim_end_matches('/'));
        Ok(Self {
            client,
            url,
            key,
            sender,
        })
    }
}

impl Transport for Mailgun {
    fn name(&self) -> &'static str {
        "mailgun"
    }
    fn send<'a>(&'a self, letter: &'a Letter) -> PortFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let from = self.sender.from.to_string();
            let mut form = vec![
                ("from", from.as_str()),
                ("to", letter.to.as_str()),
                ("subject", letter.text.subject.as_str()),
                ("text", letter.text.text.as_str()),
                ("html", letter.text.html.as_str()),
                ("h:Message-Id", letter.message_id.as_str()),
                ("h:Auto-Submitted", "auto-generated"),
            ];
            let reply_to = self.sender.reply_to.as_ref().map(ToString::to_string);
            form.extend(reply_to.as_deref().map(|reply_to| ("h:Reply-To", reply_to)));
            let key = self.key.expose_secret();
            let request = self.client.post(&self.url).basic_auth("api", Some(key));
            let answer = request.form(&form).send().await;
            let answer = answer.map_err(|error| {
                // Its own words name the address of the API, which is no secret, but the source says more.
                let kind = if error.is_timeout() {
                    "no answer in time"
                } else {
                    "no connection"
                };
                SendError::away(format!("Mailgun: {kind}"))
            })?;
            let after = answer.headers().get("retry-after");
            let after = after.and_then(|after| after.to_str().ok()?.parse().ok());
            judge(answer.status().as_u16(), after.map(Duration::from_secs))
        })
    }
}

fn judge(status: u16, after: Option<Duration>) -> Result<(), SendError> {
    let why = format!("Mailgun answered {status}");
    match status {
        200..=299 => Ok(()),
        401 | 403 | 408 | 429 | 500.. => Err(SendError::Unreachable { why, after }),
        _ => Err(SendError::Refused(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_can_be_mended_and_a_bad_request_cannot() {
        assert_eq!(judge(200, None), Ok(()));
        for status in [401, 403, 429, 500, 503] {
            assert!(matches!(
                judge(status, None),
                Err(SendError::Unreachable { .. })
            ));
        }
        for status in [302, 400, 404, 413] {
            assert!(matches!(judge(status, None), Err(SendError::Refused(_))));
        }
    }
}
