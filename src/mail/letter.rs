//! One mail to one address, and its MIME form.
//!
//! Invariants: every header is written by the library's encoder; the Message-ID follows from the effect and the
//! recipient alone, so that a mail sent twice is recognised as one.
//! Not here: texts (`templates`), sending (`transport`).
//! Failure: a sender that is no mailbox (the configuration checked it before).
//! Source: RFC 5322; RFC 3834 (`Auto-Submitted`).

use crate::mail::address::Address;
use crate::mail::templates::Rendered;
use bursar_domain::ids::Timestamp;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use std::time::{Duration, UNIX_EPOCH};

/// A mail, ready to be sent.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its template's name.
    pub template: String,
    /// To whom.
    pub to: Address,
    /// What it says.
    pub text: Rendered,
    /// `<…>` and all.
    pub message_id: String,
    /// Its date.
    pub at: Timestamp,
}

/// Who sends.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The mailbox.
    pub from: Mailbox,
    /// Where answers go.
    pub reply_to: Option<Mailbox>,
}

impl Sender {
    /// From `MAIL_FROM`, or from the brand at the host of `APP_BASE_URL`; answers go to support.
    ///
    /// # Errors
    /// One of them is no mailbox.
    pub fn new(
        from: Option<&str>,
        brand: &str,
        host: &str,
        support: Option<&str>,
    ) -> Result<Self, String> {
        let mailbox = |text: &str| {
            text.parse::<Mailbox>()
                .map_err(|error| format!("not a sender: {error}"))
        };
        let from = match from {
            Some(from) => mailbox(from)?,
            None => {
                let address = Address::parse(&format!("no-reply@{host}"));
                // An address of the network layer is no domain of mail.
                let is_domain = host.parse::<std::net::IpAddr>().is_err() && address.is_ok();
                let host = if is_domain { host } else { "localhost" };
                let address = format!("no-reply@{host}").parse();
                let address = address.map_err(|error| format!("not a sender: {error}"))?;
                Mailbox::new(Some(brand.to_owned()), address)
            }
        };
        let reply_to = support.map(mailbox).transpose()?;
        Ok(Self { from, reply_to })
    }

    /// The domain Message-IDs end in.
    pub fn domain(&self) -> &str {
        self.from.email.domain()
    }

    /// The whole message.
    ///
    /// # Errors
    /// In words, no personal data.
    pub fn mime(&self, letter: &Letter) -> Result<lettre::Message, String> {
        let to = letter.to.as_str().parse();
        let to = to.map_err(|_| "the library refuses the address".to_owned())?;
        let since = u64::try_from(letter.at.0).unwrap_or_default();
        let mut message = lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.text.subject.clone())
            .message_id(Some(letter.message_id.clone()))
            .date(UNIX_EPOCH + Duration::from_millis(since))
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        message
            .multipart(MultiPart::alternative_plain_html(
                letter.text.text.clone(),
                letter.text.html.clone(),
            ))
            .map_err(|error| format!("no message can be made: {error}"))
    }
}
