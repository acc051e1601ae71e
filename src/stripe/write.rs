//! POSTs and DELETEs at Stripe's API, behind the actors' port.
//!
//! Invariants: one request per call, no retries (whoever ordered decides, under the same key); one of `CallEnd`'s ends
//! comes back within the given time, and only what Stripe surely said or surely never got is told as certain; texts of
//! an end hold Stripe's words for errors and nothing a person wrote. Stripe's own `message` stays in the body.
//! Not here: parameters (`super::requests`), when to send and what an end means for a command (`bursar_actors`).
//! Failure: [`CallEnd`]. An answer without a readable `Date` is told as of second 0, so whatever it shows is older than
//! anything known and the object has to be read again.
//! Source: Stripe API reference, "Errors", "Idempotent requests", "Rate limits"; Stripe documentation, "Advanced error
//! handling" (a 5xx leaves it open whether something happened).

use crate::stripe::client::{
    ClientError, Unread, bounded, client, date_unix, error_word, header, request_id, retry_after,
    word,
};
use crate::stripe::form;
use crate::telemetry::trace::Trace;
use bursar_actors::ports::{CallAnswer, CallEnd, NO_ANSWER_IN_TIME, PortFuture, StripeWrite};
use bursar_domain::stripe_call::{Method, StripeCall};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Request, Response, Url};
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::time::Duration;

/// Shorter than Stripe's edge keeps a quiet connection: a request on one that was just closed ends unknown.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// A client for orders.
pub struct WriteClient {
    client: Client,
    base: String,
}

impl WriteClient {
    /// A client of the API at `base` (no trailing slash). # Errors: see [`ClientError`].
    pub fn new(base: &str, key: &SecretString, version: &str) -> Result<Self, ClientError> {
        let client = client(key, version, |builder| {
            builder.pool_idle_timeout(IDLE_TIMEOUT)
        })?;
        Ok(Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
        })
    }
    /// The request, or why there is none.
    fn request(&self, call: &StripeCall, key: &str) -> Result<Request, &'static str> {
        let mut url = Url::parse(&format!("{}{}", self.base, call.path))
            .map_err(|_| "the address is none")?;
        // A dot segment would be resolved, and the order would go to another object.
        if !call.path.starts_with("/v1/") || !url.path().ends_with(&call.path) {
            return Err("the path is none of Stripe's API");
        }
        let form = form::encode(&call.params);
        let mut request = match call.method {
            Method::Post => {
                let mut request = Request::new(reqwest::Method::POST, url);
                let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers_mut().insert(CONTENT_TYPE, kind);
                *request.body_mut() = Some(form.into());
                request
            }
            Method::Delete => {
                url.set_query(Some(form.as_str()).filter(|form| !form.is_empty()));
                Request::new(reqwest::Method::DELETE, url)
            }
        };
        if let Ok(trace) = HeaderValue::from_str(&Trace::of(key).header()) {
            request.headers_mut().insert("traceparent", trace);
        }
        let key = HeaderValue::from_str(key).map_err(|_| "the idempotency key fits no header")?;
        request.headers_mut().insert("idempotency-key", key);
        if let Some(account) = &call.scope.0 {
            let account = HeaderValue::from_str(account.as_str())
                .map_err(|_| "the account fits no header")?;
            request.headers_mut().insert("stripe-account", account);
        }
        Ok(request)
    }
    async fn order(&self, call: StripeCall, key: String, within: Duration) -> CallEnd {
        let mut request = match self.request(&call, &key) {
            Ok(request) => request,
            Err(reason) => return not_sent(reason),
        };
        *request.timeout_mut() = Some(within);
        match self.client.execute(request).await {
            Ok(response) => {
                bursar_domain::step!("KC2");
                judged(response).await
            }
            Err(error) if error.is_connect() => {
                not_sent("the connection was refused or could not be secured")
            }
            Err(error) => unknown(broken(&error)),
        }
    }
}

impl StripeWrite for WriteClient {
    fn send(
        &self,
        call: StripeCall,
        idempotency_key: String,
        within: Duration,
    ) -> PortFuture<'_, CallEnd> {
        Box::pin(self.order(call, idempotency_key, within))
    }
}

fn not_sent(reason: &str) -> CallEnd {
    CallEnd::NotSent {
        reason: reason.to_owned(),
    }
}

fn unknown(reason: impl Into<String>) -> CallEnd {
    CallEnd::Unknown {
        reason: reason.into(),
        should_retry: None,
        is_replayed: false,
        retry_after: None,
    }
}

/// What broke, without the error's own text, which names the address.
fn broken(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        NO_ANSWER_IN_TIME
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the connection broke before an answer"
    }
}

/// The headers that say how to go on.
struct Advice {
    status: u16,
    request_id: String,
    date_unix: i64,
    should_retry: Option<bool>,
    is_replayed: bool,
    retry_after: Option<Duration>,
    limited_reason: Option<String>,
}

impl Advice {
    fn of(response: &Response) -> Self {
        let should_retry = match header(response, "stripe-should-retry") {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => None,
        };
        Self {
            status: response.status().as_u16(),
            request_id: request_id(response),
            date_unix: date_unix(response).unwrap_or(0),
            should_retry,
            is_replayed: header(response, "idempotent-replayed") == Some("true"),
            retry_after: retry_after(response),
            limited_reason: header(response, "stripe-rate-limited-reason").and_then(word),
        }
    }
    fn unknown(self, reason: impl Into<String>) -> CallEnd {
        CallEnd::Unknown {
            reason: reason.into(),
            should_retry: self.should_retry,
            is_replayed: self.is_replayed,
            retry_after: self.retry_after,
        }
    }
    fn answer(self, body: Vec<u8>) -> CallEnd {
        CallEnd::Answer(CallAnswer {
            status: self.status,
            date_unix: self.date_unix,
            request_id: self.request_id,
            is_replayed: self.is_replayed,
            body,
        })
    }
}

async fn judged(mut response: Response) -> CallEnd {
    let advice = Advice::of(&response);
    let read = match bounded(&mut response).await {
        Ok(body) => Ok(body),
        Err(Unread::TooLarge) => Err("the answer is larger than 4 MiB"),
        Err(Unread::Broken(error)) => Err(broken(&error)),
    };
    let value = read
        .as_ref()
        .ok()
        .and_then(|body| serde_json::from_slice::<Map<String, Value>>(body).ok());
    let error = value
        .as_ref()
        .and_then(|value| value.get("error"))
        .filter(|error| error.is_object());
    let is_reused = error.is_some_and(|error| error["type"] == "idempotency_error");
    match advice.status {
        _ if is_reused => CallEnd::KeyReused {
            request_id: advice.request_id,
        },
        401 | 403 => CallEnd::KeyRefused {
            status: advice.status,
            detail: error.map_or_else(|| "no error of Stripe's".to_owned(), error_word),
        },
        409 => CallEnd::InProgress {
            retry_after: advice.retry_after,
        },
        429 => CallEnd::RateLimited {
            retry_after: advice.retry_after,
            reason: advice.limited_reason,
        },
        status @ 200..=299 => match (read, value) {
            (Ok(body), Some(_)) => advice.answer(body),
            (Ok(_), None) => advice.unknown(format!("{status} with a body that is no JSON object")),
            (Err(why), _) => advice.unknown(format!("{status}, but {why}")),
        },
        status @ 400..=499 => match (read, error.is_some()) {
            (Ok(body), true) => advice.answer(body),
            (Ok(_), false) => advice.unknown(format!("{status}, but not Stripe's answer")),
            (Err(why), _) => advice.unknown(format!("{status}, but {why}")),
        },
        status @ 300..=399 => advice.unknown(format!("{status}: a redirect is not followed")),
        status => advice.unknown(format!("the server answered {status}")),
    }
}
