//! GETs at Stripe's API, behind the actors' port.
//!
//! Invariants: one request per call, no retries (the lane's durable delays are the retries); answers
//! are bounded in size and time; what holds for every call of ours, `super::client` says.
//! Failure: [`ReadError`], by what asking again would change.
//! Source: Stripe API reference, "Authentication", "Versioning", "Connect" (`Stripe-Account`), "Errors".

use crate::stripe::client::{
    ClientError, Unread, bounded, client, date_unix, error_word, request_id, retry_after,
};
use crate::telemetry::trace::Trace;
use bursar_actors::ports::{PortFuture, ReadAnswer, ReadError, StripeRead};
use bursar_domain::ids::Scope;
use reqwest::{Client, Response};
use secrecy::SecretString;
use std::time::Duration;

/// Stripe's own libraries wait 80 s; a background read that slow is better asked again.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client for reads.
pub struct ReadClient {
    client: Client,
    base: String,
}

impl ReadClient {
    /// A client of the API at `base` (no trailing slash). # Errors: see [`ClientError`].
    pub fn new(base: &str, key: &SecretString, version: &str) -> Result<Self, ClientError> {
        let client = client(key, version, |builder| builder.timeout(TIMEOUT))?;
        Ok(Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
        })
    }
    async fn ask(&self, scope: Scope, path: String) -> Result<ReadAnswer, ReadError> {
        if !path.starts_with("/v1/") {
            return Err(ReadError::Unexpected {
                status: 0,
                detail: "the path is none of Stripe's API".to_owned(),
            });
        }
        let mut request = self.client.get(format!("{}{path}", self.base));
        if let Some(account) = &scope.0 {
            request = request.header("stripe-account", account.as_str());
        }
        if let Some(trace) = Trace::present() {
            request = request.header("traceparent", trace.header());
        }
        let response = request.send().await.map_err(|error| failed(&error))?;
        bursar_domain::step!("KW11");
        judged(response).await
    }
}

impl StripeRead for ReadClient {
    fn get(&self, scope: Scope, path: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
        Box::pin(self.ask(scope, path))
    }
}

fn failed(error: &reqwest::Error) -> ReadError {
    if error.is_timeout() {
        return ReadError::Timeout;
    }
    // The error's own text names the address, and a path may hold ids: its kind is enough.
    let kind = if error.is_connect() {
        "the connection was refused or could not be secured"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the request could not be sent"
    };
    ReadError::Network(kind.to_owned())
}

async fn judged(mut response: Response) -> Result<ReadAnswer, ReadError> {
    let status = response.status().as_u16();
    match status {
        401 | 403 => return Err(ReadError::Auth(status)),
        429 => {
            return Err(ReadError::RateLimited {
                retry_after: retry_after(&response),
            });
        }
        500.. => return Err(ReadError::Server(status)),
        _ => {}
    }
    let body = bounded(&mut response)
        .await
        .map_err(|unread| match unread {
            Unread::Broken(error) => failed(&error),
            Unread::TooLarge => ReadError::Unexpected {
                status,
                detail: "the answer is larger than 4 MiB".to_owned(),
            },
        })?;
    if status != 200 && status != 404 {
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        return Err(ReadError::Unexpected {
            status,
            detail: error_word(&value["error"]),
        });
    }
    let Some(date_unix) = date_unix(&response) else {
        return Err(ReadError::Unexpected {
            status,
            detail: "the answer has no Date".to_owned(),
        });
    };
    Ok(ReadAnswer {
        status,
        date_unix,
        request_id: request_id(&response),
        body,
    })
}
