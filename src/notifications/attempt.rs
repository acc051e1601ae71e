//! One attempt at a receiver: a POST of bytes that were signed, and what came of it.
//!
//! Invariants: the address is checked and its name resolved and checked anew at each attempt; no redirect, no proxy, no
//! connection of before; at most 15 s; of an answer 4 KB are read and the first bytes kept. Only 2xx is success.
//! Not here: when, and what follows from it.

use super::guard::{Guard, GuardedNames, Lookup, Refused, SystemNames};
use crate::telemetry::trace::Trace;
use bursar_actors::ports::PortFuture;
use reqwest::header::HeaderMap;
use reqwest::{Client, redirect, retry};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Longest attempt.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Bytes of it that are kept.
const ANSWER_BYTES_KEPT: usize = 200;

/// How an attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The answer's status, if one came.
    pub status: Option<u16>,
    /// From begin to end.
    pub latency_ms: u64,
    /// Why there was no success.
    pub error: Option<String>,
    /// The answer's first bytes, as text.
    pub answer: String,
    /// `Retry-After`.
    pub retry_after_ms: Option<i64>,
}

impl Sent {
    /// Whether the receiver took it.
    pub const fn is_success(&self) -> bool {
        self.error.is_none()
    }
}

/// What is sent.
pub(super) struct Message<'a> {
    pub(super) url: &'a str,
    pub(super) id: &'a str,
    pub(super) timestamp_seconds: i64,
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

/// A message that may be sent: its address was checked.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where.
    pub url: String,
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp_seconds: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// The bytes that were signed.
    pub body: Vec<u8>,
}

/// Carries posts to their receivers, once each. `Err`: no answer came, in words without the address.
pub trait Carrier: Send + Sync + 'static {
    /// One post, at most 15 s.
    fn carry(&self, post: Post) -> PortFuture<'_, Result<Sent, String>>;
}

/// Sends.
pub(super) struct Sender {
    carrier: Arc<dyn Carrier>,
    guard: Guard,
}

/// The carrier of a service: HTTP over the network.
pub struct Network(Client);

impl Network {
    /// Over names that are looked up and checked at each post.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        Self::with_names(guard, Arc::new(SystemNames))
    }

    fn with_names(guard: Guard, names: Arc<dyn Lookup>) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("bursar/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            // A connection kept open would outlive the check of its address.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .dns_resolver(Arc::new(GuardedNames::new(guard, names)))
            .build()?;
        Ok(Self(client))
    }

    async fn post(&self, post: Post) -> Result<Sent, String> {
        let trace = Trace::of(&post.id).header();
        let sending = self
            .0
            .post(post.url)
            .header("content-type", "application/json")
            .header("webhook-id", post.id)
            .header("webhook-timestamp", post.timestamp_seconds)
            .header("webhook-signature", post.signature)
            .header("traceparent", trace)
            .body(post.body)
            .send();
        let mut answer = sending.await.map_err(|error| words(&error))?;
        let status = answer.status();
        let retry_after_ms = retry_after_ms(answer.headers());
        let mut body = Vec::new();
        // The status has been said; a body that breaks off changes nothing.
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
        body.truncate(ANSWER_BYTES_KEPT);
        let error = (!status.is_success()).then(|| format!("it answered {}", status.as_u16()));
        Ok(Sent {
            status: Some(status.as_u16()),
            latency_ms: 0,
            error,
            answer: String::from_utf8_lossy(&body).into_owned(),
            retry_after_ms,
        })
    }
}

impl Carrier for Network {
    fn carry(&self, post: Post) -> PortFuture<'_, Result<Sent, String>> {
        Box::pin(self.post(post))
    }
}

impl Sender {
    pub(super) const fn new(guard: Guard, carrier: Arc<dyn Carrier>) -> Self {
        Self { carrier, guard }
    }

    /// Sends once.
    pub(super) async fn send(&self, message: Message<'_>) -> Sent {
        let began = tokio::time::Instant::now();
        let mut sent = match self.post(message).await {
            Ok(sent) => sent,
            Err(error) => Sent {
                error: Some(error),
                ..Sent::default()
            },
        };
        sent.latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        sent
    }

    async fn post(&self, message: Message<'_>) -> Result<Sent, String> {
        let url = self.guard.check(message.url).map_err(|refused| refused.0)?;
        let post = Post {
            url: url.to_string(),
            id: message.id.to_owned(),
            timestamp_seconds: message.timestamp_seconds,
            signature: message.signature,
            body: message.body,
        };
        self.carrier.carry(post).await
    }
}

/// `Retry-After` in either form; a moment counts from the answer's own `Date`.
fn retry_after_ms(headers: &HeaderMap) -> Option<i64> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let asked = text("retry-after")?.trim();
    if let Ok(seconds) = asked.parse::<i64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let moment = |text: &str| jiff::fmt::rfc2822::parse(text).ok();
    let (at, now) = (moment(asked)?, moment(text("date")?)?);
    let at_ms = at.timestamp().as_millisecond();
    Some(at_ms.saturating_sub(now.timestamp().as_millisecond()))
}

/// What went wrong, without the address.
fn words(error: &reqwest::Error) -> String {
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(inner) = source {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return format!("not sent: {refused}");
        }
        source = inner.source();
    }
    let what = if error.is_timeout() {
        "no whole answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    what.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifications::guard::LookupFuture;
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Answers a public address first and the inside ever after, as a rebinding name does.
    #[derive(Default)]
    struct Rebinding(AtomicUsize);

    impl Lookup for Rebinding {
        fn lookup(&self, _: String) -> LookupFuture {
            let is_first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
            let ip: IpAddr = if is_first {
                [192, 88, 98, 1].into()
            } else {
                [127, 0, 0, 1].into()
            };
            Box::pin(std::future::ready(Ok(vec![ip])))
        }
    }

    fn message(url: &str) -> Message<'_> {
        Message {
            url,
            id: "ntf_1",
            timestamp_seconds: 1,
            signature: String::new(),
            body: Vec::new(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_name_that_turns_inward_is_refused_at_the_attempt() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names = Arc::new(Rebinding::default());
        names.0.store(1, Ordering::SeqCst);
        let guard = Guard::new(false);
        let network = Network::with_names(guard, names).unwrap();
        let sender = Sender::new(guard, Arc::new(network));
        let sent = sender
            .send(message(&format!("https://inward.example:{port}/")))
            .await;
        let error = sent.error.unwrap();
        assert_eq!(error, "not sent: 127.0.0.1 is a loopback address");
        let accepted = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
        assert!(accepted.is_err(), "a connection was made");
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            let date = "Wed, 21 Oct 2015 07:28:00 GMT";
            headers.insert("date", date.parse().unwrap());
            retry_after_ms(&headers)
        };
        assert_eq!(read("120"), Some(120_000));
        assert_eq!(read("Wed, 21 Oct 2015 07:30:00 GMT"), Some(120_000));
        assert_eq!(read("soon"), None);
    }

    #[tokio::test]
    async fn an_address_in_numbers_needs_no_name_and_is_refused_as_well() {
        let guard = Guard::new(false);
        let sender = Sender::new(guard, Arc::new(Network::new(guard).unwrap()));
        for url in [
            "https://127.0.0.1:1/",
            "https://[::ffff:10.0.0.1]/",
            "http://example.com/",
        ] {
            let sent = sender.send(message(url)).await;
            assert!(sent.status.is_none() && sent.error.is_some(), "{url}");
        }
    }
}
