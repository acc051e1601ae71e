//! A double of Mailgun's API: takes a message and keeps it.
//!
//! Invariants: a form only (no files); the key is any, the user `api`.
//! Not here: events, templates, lists.
//! Failure: 401 without a key, 400 for a message without recipients or text.
//! Source of outside rules: Mailgun API reference, "Messages".

use super::{Caught, MAIL_BYTES_MAX, MailFault};
use crate::server::Shared;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderMap;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The domain of `/v3/{domain}/messages`.
pub(crate) fn domain_of(path: &str) -> Option<&str> {
    let domain = path.strip_prefix("/v3/")?.strip_suffix("/messages")?;
    (!domain.is_empty() && !domain.contains('/')).then_some(domain)
}

/// Takes a message; answers status and body.
pub(crate) async fn take(
    shared: &Shared,
    domain: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> (u16, Value) {
    if !has_key(headers) {
        return (401, json!({"message": "Invalid private key"}));
    }
    let asked = shared.mails().strike();
    match asked.map(|asked| (asked.kind, asked.seconds)) {
        Some((MailFault::Down, _)) => return (503, json!({"message": "unavailable"})),
        Some((MailFault::Later, _)) => return (429, json!({"message": "rate limit"})),
        Some((MailFault::Refused, _)) => return (400, json!({"message": "refused"})),
        Some((MailFault::Slow, seconds)) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => {}
    }
    let form: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let lacks = ["from", "to", "subject"]
        .into_iter()
        .find(|name| field(name).is_empty());
    if let Some(name) = lacks {
        return (
            400,
            json!({"message": format!("{name} parameter is missing")}),
        );
    }
    if field("text").is_empty() && field("html").is_empty() {
        return (
            400,
            json!({"message": "Need at least one of 'text', 'html' parameters specified"}),
        );
    }
    let raw = String::from_utf8_lossy(body).into_owned();
    if raw.len() > MAIL_BYTES_MAX {
        return (413, json!({"message": "too large"}));
    }
    let now = shared.clock.now_unix_ms();
    let given = field("h:Message-Id");
    let message_id = if given.is_empty() {
        format!("<{now}@{domain}>")
    } else {
        given
    };
    shared.mails().put(Caught {
        id: 0,
        at_unix_ms: now,
        via: "mailgun",
        from: field("from"),
        to: field("to")
            .split(',')
            .map(|to| to.trim().to_owned())
            .collect(),
        message_id: message_id.clone(),
        subject: field("subject"),
        text: field("text"),
        html: field("html"),
        raw,
    });
    (
        200,
        json!({"id": message_id, "message": "Queued. Thank you."}),
    )
}

fn has_key(headers: &HeaderMap) -> bool {
    let given = headers
        .get("authorization")
        .and_then(|given| given.to_str().ok());
    let encoded = given.and_then(|given| given.strip_prefix("Basic "));
    let plain = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
    let plain = plain
        .and_then(|plain| String::from_utf8(plain).ok())
        .unwrap_or_default();
    plain
        .strip_prefix("api:")
        .is_some_and(|key| !key.is_empty())
}
