//! GETs at Stripe's API, behind the actors' port.
//!
//! Invariants: one request per call, no retries (the lane's durable delays are the retries), no
//! redirects, no proxy from the environment but reqwest's own; the key is a header marked
//! sensitive and in no error; answers are bounded in size and time.
//! Failure: [`ReadError`], by what asking again would change.
//! Source: Stripe API reference, "Authentication", "Versioning", "Connect" (`Stripe-Account`), "Errors".

use bursar_actors::ports::{PortFuture, ReadAnswer, ReadError, StripeRead};
use bursar_domain::ids::Scope;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Response, redirect};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Stripe's own libraries wait 80 s; a background read that slow is better asked again.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest object of Stripe's, a page of a hundred lines, takes well under 1 MiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A client for reads.
pub struct ReadClient {
    client: Client,
    base: String,
}

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

impl ReadClient {
    /// A client of the API at `base` (no trailing slash). # Errors: see [`ClientError`].
    pub fn new(base: &str, key: &SecretString, version: &str) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
            .map_err(|_| ClientError::Header("STRIPE_API_KEY"))?;
        bearer.set_sensitive(true);
        headers.insert("authorization", bearer);
        let version = HeaderValue::from_str(version)
            .map_err(|_| ClientError::Header("STRIPE_API_VERSION"))?;
        headers.insert("stripe-version", version);
        let client = Client::builder()
            .user_agent(concat!("bursar/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .build()
            .map_err(ClientError::Client)?;
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
        let response = request.send().await.map_err(|error| failed(&error))?;
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

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

async fn judged(response: Response) -> Result<ReadAnswer, ReadError> {
    let status = response.status().as_u16();
    match status {
        401 | 403 => return Err(ReadError::Auth(status)),
        429 => {
            let seconds = header(&response, "retry-after").and_then(|text| text.parse().ok());
            return Err(ReadError::RateLimited {
                retry_after: seconds.map(Duration::from_secs),
            });
        }
        500.. => return Err(ReadError::Server(status)),
        _ => {}
    }
    let request_id = header(&response, "request-id").unwrap_or("").to_owned();
    let date = header(&response, "date")
        .and_then(|text| jiff::fmt::rfc2822::parse(text).ok())
        .map(|date| date.timestamp().as_second());
    let body = bounded(response).await?;
    if status != 200 && status != 404 {
        return Err(ReadError::Unexpected {
            status,
            detail: error_code(&body),
        });
    }
    let Some(date_unix) = date else {
        return Err(ReadError::Unexpected {
            status,
            detail: "the answer has no Date".to_owned(),
        });
    };
    Ok(ReadAnswer {
        status,
        date_unix,
        body,
        request_id,
    })
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(ReadError::Unexpected {
                status: response.status().as_u16(),
                detail: "the answer is larger than 4 MiB".to_owned(),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Stripe's code of an error; its message may name people and stays out.
fn error_code(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &value["error"];
    let word = error["code"].as_str().or(error["type"].as_str());
    word.unwrap_or("no error code").chars().take(64).collect()
}
