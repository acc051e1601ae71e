//! What the tasks of one sandbox share, and the first look at a request.
//!
//! Invariants: one lock guards the world and is never held across an await; a body is bounded before
//! it is read; whatever panics in one connection leaves the others alone.
//! Not here: API calls (`call`), the control routes (`control`), the pages (`pages`).
//! Failure: 413 for large bodies, 403 for other sites' posts.
//! Source of outside rules: Stripe API reference, "Request IDs".

use crate::api::platform;
use crate::call::Call;
use crate::clock::Clock;
use crate::control;
use crate::error::ApiError;
use crate::faults::{FaultKind, Faults};
use crate::idempotency::IdempotencyTable;
use crate::mail::{self, MailBox};
use crate::pages;
use crate::webhooks::{self, Deliveries, Delivery};
use crate::world::{API_VERSION, World};
use crate::{SandboxConfig, billing};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Largest request body.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// Newest requests kept in the log.
const REQUESTS_MAX: usize = 10_000;

/// One API request that was answered.
#[derive(Debug, Clone, Serialize)]
pub struct RequestLog {
    /// `req_…`.
    pub id: String,
    /// When, unix milliseconds of the sandbox's clock.
    pub at_unix_ms: i64,
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Status answered (also when a fault kept the answer back).
    pub status: u16,
    /// The caller's key.
    pub idempotency_key: Option<String>,
    /// Connected account, if any.
    pub account: Option<String>,
    /// SHA-256 of the body, hex.
    pub body_sha256: String,
    /// Whether an earlier answer was replayed.
    pub replayed: bool,
    /// The fault that struck, if any.
    pub fault: Option<FaultKind>,
}

/// What can be set while the sandbox runs.
#[derive(Debug, Clone)]
pub(crate) struct Switches {
    pub(crate) retry_time_divisor: i64,
}

/// Everything the tasks of one sandbox share.
pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) clock: Arc<dyn Clock>,
    idempotency: Mutex<IdempotencyTable>,
    faults: Mutex<Faults>,
    deliveries: Mutex<Deliveries>,
    mails: Mutex<MailBox>,
    requests: Mutex<VecDeque<RequestLog>>,
    switches: Mutex<Switches>,
    older_shapes: AtomicBool,
    pub(crate) delivery_concurrency: usize,
    arrows: tokio::sync::broadcast::Sender<Delivery>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding a lock ends that request; the state is plain data and stays usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(config: &SandboxConfig, base_url: &str) -> Self {
        let now = config.clock.now_unix_ms() / 1000;
        let mut world = World::new(config.seed, now, base_url);
        platform::configure_endpoints(
            &mut world,
            config.webhook_url.as_deref(),
            &config.webhook_secrets,
        );
        Self {
            world: Mutex::new(world),
            clock: Arc::clone(&config.clock),
            idempotency: Mutex::default(),
            faults: Mutex::new(Faults::new(config.seed)),
            deliveries: Mutex::default(),
            mails: Mutex::default(),
            requests: Mutex::default(),
            switches: Mutex::new(Switches {
                retry_time_divisor: i64::from(config.retry_time_divisor.max(1)),
            }),
            older_shapes: AtomicBool::new(config.older_event_shapes),
            delivery_concurrency: config.delivery_concurrency.clamp(1, 256),
            arrows: tokio::sync::broadcast::channel(1024).0,
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.world)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        locked(&self.faults)
    }

    pub(crate) fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        locked(&self.deliveries)
    }

    pub(crate) fn mails(&self) -> MutexGuard<'_, MailBox> {
        locked(&self.mails)
    }

    pub(crate) fn switches(&self) -> MutexGuard<'_, Switches> {
        locked(&self.switches)
    }

    pub(crate) fn idempotency(&self) -> MutexGuard<'_, IdempotencyTable> {
        locked(&self.idempotency)
    }

    pub(crate) fn requests(&self) -> Vec<RequestLog> {
        locked(&self.requests).iter().cloned().collect()
    }

    pub(crate) fn older_shapes(&self) -> bool {
        self.older_shapes.load(Ordering::SeqCst)
    }

    pub(crate) fn set_older_shapes(&self, on: bool) {
        self.older_shapes.store(on, Ordering::SeqCst);
    }

    pub(crate) fn retry_after_ms(&self, attempt: u32) -> Option<i64> {
        let seconds =
            webhooks::RETRY_SECONDS.get(usize::try_from(attempt).ok()?.checked_sub(1)?)?;
        Some((seconds * 1000 / self.switches().retry_time_divisor).max(1))
    }

    pub(crate) fn arrows(&self) -> tokio::sync::broadcast::Receiver<Delivery> {
        self.arrows.subscribe()
    }

    pub(crate) fn tell_delivery(&self, delivery: &Delivery) {
        // Nobody listening is fine.
        let _ = self.arrows.send(delivery.clone());
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now_unix_ms() / 1000
    }

    /// Runs `f` in the world at the present time, with everything due before and after it.
    pub(crate) fn act<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        let now = self.now();
        let mut world = self.world();
        billing::due::run(&mut world, now);
        let result = f(&mut world);
        billing::due::run(&mut world, now);
        webhooks::enqueue(self, &mut world);
        result
    }

    /// Lets due things happen; returns how many did.
    pub(crate) fn tick(&self) -> usize {
        let now = self.now();
        let mut world = self.world();
        if world.next_due_at().is_none_or(|at| at > now) {
            return 0;
        }
        let count = billing::due::run(&mut world, now);
        webhooks::enqueue(self, &mut world);
        count
    }

    pub(crate) fn log_request(&self, entry: RequestLog) {
        let mut requests = locked(&self.requests);
        requests.push_back(entry);
        if requests.len() > REQUESTS_MAX {
            requests.pop_front();
        }
    }
}

/// An answer; `Err` closes the connection without one.
pub(crate) type Answer = Result<Response<Full<Bytes>>, std::io::Error>;

/// Serves one request of any kind.
pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => {
            let error = ApiError::other(
                413,
                "invalid_request_error",
                None,
                "The request body is larger than 1 MiB or was cut off.",
            );
            return Ok(json_answer(&shared, 413, &error.to_value(), ""));
        }
    };
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    if path.starts_with("/v1/") {
        let call = Call {
            method: parts.method,
            path,
            query,
            headers: parts.headers,
            body,
        };
        return call.serve(&shared).await;
    }
    if parts.method != Method::GET && foreign_origin(&parts.headers) {
        let error = ApiError::other(
            403,
            "invalid_request_error",
            None,
            "Requests from other sites are not served here.",
        );
        return Ok(json_answer(&shared, 403, &error.to_value(), ""));
    }
    if let (Some(domain), &Method::POST) = (mail::mailgun::domain_of(&path), &parts.method) {
        let (status, value) = mail::mailgun::take(&shared, domain, &parts.headers, &body).await;
        return Ok(json_answer(&shared, status, &value, ""));
    }
    let for_people = matches!(path.as_str(), "/control" | "/control/")
        && parts.method == Method::GET
        && wants_html(&parts.headers);
    if !for_people && (path == "/control" || path.starts_with("/control/")) {
        let (status, value) = control::serve(&shared, &parts.method, &path, &query, &body);
        return Ok(json_answer(&shared, status, &value, ""));
    }
    Ok(pages::serve(&shared, &parts.method, &path, &query, &body))
}

/// Browsers name the page's origin on every POST; another site's page has no business here.
fn foreign_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get("origin").and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let host = headers
        .get("host")
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    origin
        .split_once("://")
        .is_none_or(|(_, site)| site != host)
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get("accept").and_then(|v| v.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// A JSON answer with the headers every answer has.
pub(crate) fn json_answer(
    shared: &Shared,
    status: u16,
    value: &Value,
    request_id: &str,
) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec_pretty(value).unwrap_or_default();
    raw_answer(shared, status, "application/json", body, request_id)
}

pub(crate) fn raw_answer(
    shared: &Shared,
    status: u16,
    kind: &str,
    body: Vec<u8>,
    request_id: &str,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    set(headers, "content-type", kind);
    set(headers, "cache-control", "no-cache, no-store");
    set(headers, "stripe-version", API_VERSION);
    if !request_id.is_empty() {
        set(headers, "request-id", request_id);
    }
    set(headers, "date", &http_date(shared.now()));
    response
}

/// Sets a header; a value that cannot stand in one is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// The `Date` of the sandbox's clock, so that a product on the shared clock can compare.
pub(crate) fn http_date(unix_seconds: i64) -> String {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let at = jiff::Timestamp::from_second(unix_seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    printer.timestamp_to_rfc9110_string(&at).unwrap_or_default()
}
