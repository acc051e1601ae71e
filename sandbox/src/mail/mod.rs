//! Mail that is caught: a mail server and a double of Mailgun's API put it into one box, whose newest are kept.
//!
//! Invariants: memory is bounded by count and bytes; nothing is sent on.
//! Not here: the wire (`smtp`), the form (`mailgun`), how it is shown (`pages::mail`).
//! Failure: what cannot be read as MIME is kept as it came, with empty parts.
//! Source of outside rules: RFC 5322, RFC 2045.

pub(crate) mod mailgun;
pub(crate) mod smtp;

use mailparse::{MailHeaderMap, ParsedMail};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Newest mails kept.
const MAILS_MAX: usize = 2_000;
/// Bytes of them together.
const BYTES_MAX: usize = 32 << 20;
/// Largest mail taken.
pub(crate) const MAIL_BYTES_MAX: usize = 1 << 20;

/// One mail that was caught.
#[derive(Debug, Clone, Serialize)]
pub struct Caught {
    /// Its number, from 1.
    pub id: u64,
    /// When, unix milliseconds of the sandbox's clock.
    pub at_unix_ms: i64,
    /// `smtp` or `mailgun`.
    pub via: &'static str,
    /// Sender of the envelope.
    pub from: String,
    /// Recipients of the envelope.
    pub to: Vec<String>,
    /// `Message-ID`, with its angle brackets.
    pub message_id: String,
    /// Subject, decoded.
    pub subject: String,
    /// The text part, decoded.
    pub text: String,
    /// The HTML part, decoded.
    pub html: String,
    /// As it came.
    pub raw: String,
}

/// What goes wrong with mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailFault {
    /// Nobody answers: connections are closed at once; Mailgun answers 503.
    Down,
    /// 451 to each recipient; Mailgun answers 429.
    Later,
    /// 550 to each recipient; Mailgun answers 400.
    Refused,
    /// Each mail is taken after `seconds`.
    Slow,
}

/// A fault that was asked for.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Asked {
    pub(crate) kind: MailFault,
    /// How often it still strikes; `None`: until it is taken back.
    pub(crate) count: Option<u32>,
    pub(crate) seconds: u64,
}

/// The box.
#[derive(Debug, Default)]
pub(crate) struct MailBox {
    mails: VecDeque<Caught>,
    bytes: usize,
    taken: u64,
    tried: u64,
    fault: Option<Asked>,
}

impl MailBox {
    /// Puts a mail in.
    pub(crate) fn put(&mut self, mut mail: Caught) {
        self.taken += 1;
        mail.id = self.taken;
        self.bytes += size(&mail);
        self.mails.push_back(mail);
        while self.mails.len() > MAILS_MAX || self.bytes > BYTES_MAX {
            if let Some(oldest) = self.mails.pop_front() {
                self.bytes = self.bytes.saturating_sub(size(&oldest));
            }
        }
    }

    /// All that are kept, oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Caught> {
        self.mails.iter()
    }

    /// One of them.
    pub(crate) fn get(&self, id: u64) -> Option<&Caught> {
        self.mails.iter().find(|mail| mail.id == id)
    }

    /// The newest, or the newest to an address.
    pub(crate) fn latest(&self, to: Option<&str>) -> Option<&Caught> {
        let mut newest = self.mails.iter().rev();
        match to {
            None => newest.next(),
            Some(to) => newest.find(|mail| mail.to.iter().any(|one| one.eq_ignore_ascii_case(to))),
        }
    }

    /// Somebody tries to hand in a mail: how often that was, and what goes wrong this time.
    pub(crate) fn strike(&mut self) -> Option<Asked> {
        self.tried += 1;
        let asked = self.fault?;
        match asked.count {
            Some(0) => {
                self.fault = None;
                return None;
            }
            Some(left) => {
                self.fault = (left > 1).then_some(Asked {
                    count: Some(left - 1),
                    ..asked
                });
            }
            None => {}
        }
        Some(asked)
    }

    pub(crate) fn ask(&mut self, fault: Option<Asked>) {
        self.fault = fault;
    }

    pub(crate) fn fault(&self) -> Option<Asked> {
        self.fault
    }

    pub(crate) fn tried(&self) -> u64 {
        self.tried
    }
}

fn size(mail: &Caught) -> usize {
    mail.raw.len() + mail.text.len() + mail.html.len() + mail.subject.len() + 256
}

/// Reads what a mail server was given.
pub(crate) fn read(at_unix_ms: i64, from: String, to: Vec<String>, raw: &[u8]) -> Caught {
    let mut mail = Caught {
        id: 0,
        at_unix_ms,
        via: "smtp",
        from,
        to,
        message_id: String::new(),
        subject: String::new(),
        text: String::new(),
        html: String::new(),
        raw: String::from_utf8_lossy(raw).into_owned(),
    };
    if let Ok(parsed) = mailparse::parse_mail(raw) {
        let header = |name: &str| parsed.headers.get_first_value(name).unwrap_or_default();
        mail.subject = header("Subject");
        mail.message_id = header("Message-ID");
        parts(&parsed, &mut mail);
    }
    mail
}

fn parts(part: &ParsedMail<'_>, mail: &mut Caught) {
    let body = || part.get_body().unwrap_or_default();
    match part.ctype.mimetype.as_str() {
        "text/plain" if mail.text.is_empty() => mail.text = body(),
        "text/html" if mail.html.is_empty() => mail.html = body(),
        _ => {}
    }
    for inner in &part.subparts {
        parts(inner, mail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_keeps_the_newest_and_a_fault_strikes_as_often_as_it_was_asked_for() {
        let mut all = MailBox::default();
        for _ in 0..MAILS_MAX + 5 {
            all.put(read(
                0,
                "a@x.test".into(),
                vec!["b@x.test".into()],
                b"Subject: x\r\n\r\nhi\r\n",
            ));
        }
        assert_eq!(
            (all.all().count(), all.latest(None).map(|m| m.id)),
            (MAILS_MAX, Some(MAILS_MAX as u64 + 5))
        );
        for _ in 0..64 {
            all.put(read(
                0,
                String::new(),
                Vec::new(),
                &vec![b'x'; MAIL_BYTES_MAX],
            ));
        }
        assert!(all.bytes <= BYTES_MAX && all.all().count() < 64);
        all.ask(Some(Asked {
            kind: MailFault::Later,
            count: Some(2),
            seconds: 0,
        }));
        let struck: Vec<bool> = (0..4).map(|_| all.strike().is_some()).collect();
        assert_eq!(struck, [true, true, false, false]);
    }

    #[test]
    fn both_parts_and_an_encoded_subject_are_read() {
        let raw = b"Subject: =?utf-8?b?w7xiZXI=?=\r\nMessage-ID: <1@x>\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
            --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BCber\r\n\
            --b\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n--b--\r\n";
        let mail = read(0, String::new(), Vec::new(), raw);
        assert_eq!(
            (mail.subject.as_str(), mail.message_id.as_str()),
            ("\u{fc}ber", "<1@x>")
        );
        assert_eq!(
            (mail.text.trim(), mail.html.trim()),
            ("\u{fc}ber", "<p>x</p>")
        );
    }
}
