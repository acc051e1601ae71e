//! What all our calls to Stripe's API have in common: the connection, the headers, how an answer is read.
//!
//! Invariants: no redirects, no retries here (a caller's durable delays are the retries); no proxy from the
//! environment but reqwest's own; the key is a header marked sensitive and in no error; a word taken from an answer for
//! a log or error is an identifier, so it can hold neither secrets nor people.
//! Failure: [`ClientError`] when there can be no client at all.
//! Source: Stripe API reference, "Authentication", "Versioning", "Errors".

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Response, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest object of Stripe's, a page of a hundred lines, takes well under 1 MiB.
pub(super) const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Longer waits are not waited for at once; whoever has to wait longer comes back later anyway.
const RETRY_AFTER_SECONDS_MAX: u64 = 60;
const WORD_CHARS_MAX: usize = 64;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The key or version holds what no header may.
    #[error("{0} holds characters a header cannot carry")]
    Header(&'static str),
    /// TLS cannot be set up.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
}

/// A client with our headers. `adjust` adds what one direction alone needs.
pub(super) fn client(
    key: &SecretString,
    version: &str,
    adjust: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Client, ClientError> {
    let mut headers = HeaderMap::new();
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
        .map_err(|_| ClientError::Header("STRIPE_API_KEY"))?;
    bearer.set_sensitive(true);
    headers.insert("authorization", bearer);
    let version =
        HeaderValue::from_str(version).map_err(|_| ClientError::Header("STRIPE_API_VERSION"))?;
    headers.insert("stripe-version", version);
    let builder = Client::builder()
        .user_agent(concat!("bursar/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .connect_timeout(CONNECT_TIMEOUT);
    adjust(builder).build().map_err(ClientError::Client)
}

/// The text of a header.
pub(super) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Stripe's name for the request, empty if it gave none.
pub(super) fn request_id(response: &Response) -> String {
    header(response, "request-id").unwrap_or("").to_owned()
}

/// `Date`, seconds since 1970.
pub(super) fn date_unix(response: &Response) -> Option<i64> {
    let date = jiff::fmt::rfc2822::parse(header(response, "date")?).ok()?;
    Some(date.timestamp().as_second())
}

/// `Retry-After` in seconds, at most a minute. The other form, a date, is none of Stripe's.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds: u64 = header(response, "retry-after")?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX)))
}

/// Why a body could not be read.
pub(super) enum Unread {
    /// It broke off or took too long.
    Broken(reqwest::Error),
    /// It is larger than 4 MiB.
    TooLarge,
}

/// The body, within bounds.
pub(super) async fn bounded(response: &mut Response) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Unread::Broken)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A word of Stripe's, if it is one: letters, digits, `_`, `-`. Anything else could be anybody's.
pub(super) fn word(text: &str) -> Option<String> {
    let is_word = (1..=WORD_CHARS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    is_word.then(|| text.to_owned())
}

/// Stripe's code of an error, or its type; the message may name people and stays out.
pub(super) fn error_word(error: &serde_json::Value) -> String {
    let found = ["code", "type"]
        .into_iter()
        .find_map(|field| word(error[field].as_str()?));
    found.unwrap_or_else(|| "no error code".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_words_get_out_of_an_error() {
        for (error, told) in [
            (
                json!({"code": "resource_missing", "type": "invalid_request_error"}),
                "resource_missing",
            ),
            (
                json!({"type": "invalid_request_error", "message": "ada@example.com"}),
                "invalid_request_error",
            ),
            (
                json!({"code": "ada@example.com", "type": "api_error"}),
                "api_error",
            ),
            (json!({"code": "x".repeat(65)}), "no error code"),
            (json!({"code": 7}), "no error code"),
            (json!("access_denied"), "no error code"),
        ] {
            assert_eq!(error_word(&error), told, "{error}");
        }
    }
}
