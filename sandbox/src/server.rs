//! The sockets: connections, limits, keys, idempotency, faults around the operations.
//!
//! Invariants: one lock guards the world and is never held across an await; a body is bounded before
//! it is read; whatever panics in one connection leaves the others alone.
//! Not here: what operations do (`api`), the control routes (`control`), the pages (`pages`).
//! Failure: Stripe's error body; a connection closed without answer only where a fault asks for it.
//! Source of outside rules: Stripe API reference, "Authentication", "Errors", "Request IDs".

use crate::api;
use crate::clock::Clock;
use crate::control;
use crate::error::ApiError;
use crate::expand;
use crate::faults::{Fault, FaultKind, Faults};
use crate::form;
use crate::idempotency::{Begin, IdempotencyTable, KEY_CHARS_MAX, Kept};
use crate::pages;
use crate::table;
use crate::webhooks::{self, Deliveries, Delivery};
use crate::world::{API_VERSION, Cause, World, public};
use crate::{SandboxConfig, billing};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    pub(crate) webhook_url: Option<String>,
    pub(crate) webhook_secrets: Vec<String>,
    pub(crate) retry_time_divisor: i64,
}

/// Everything the tasks of one sandbox share.
pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) clock: Arc<dyn Clock>,
    idempotency: Mutex<IdempotencyTable>,
    faults: Mutex<Faults>,
    deliveries: Mutex<Deliveries>,
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
        Self {
            world: Mutex::new(World::new(config.seed, now, base_url)),
            clock: Arc::clone(&config.clock),
            idempotency: Mutex::default(),
            faults: Mutex::new(Faults::new(config.seed)),
            deliveries: Mutex::default(),
            requests: Mutex::default(),
            switches: Mutex::new(Switches {
                webhook_url: config.webhook_url.clone(),
                webhook_secrets: config.webhook_secrets.clone(),
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

    pub(crate) fn webhook_url(&self) -> Option<String> {
        self.switches().webhook_url.clone()
    }

    pub(crate) fn webhook_secrets(&self) -> Vec<String> {
        self.switches().webhook_secrets.clone()
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

    fn log_request(&self, entry: RequestLog) {
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
    if path == "/control" || path.starts_with("/control/") {
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

fn raw_answer(
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

struct Call {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Frees an idempotency key when the request ends without an answer worth keeping.
struct Claim<'a> {
    shared: &'a Shared,
    account: String,
    key: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.shared.idempotency().abandon(&self.account, &self.key);
    }
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    fn subject(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn is_form(&self) -> bool {
        self.method == Method::POST && !self.body.is_empty()
    }

    async fn serve(&self, shared: &Shared) -> Answer {
        let request_id = shared.world().ids.id("req", 14);
        let fault = shared.faults().strike(true, &self.subject());
        if let Some(fault) = &fault
            && let Some(answer) = self.refuse_before(shared, fault, &request_id).await
        {
            self.log(
                shared,
                &request_id,
                answer.as_ref().map_or(0, |a| a.status().as_u16()),
                false,
                Some(fault.kind),
            );
            return answer;
        }
        let kind = fault.as_ref().map(|f| f.kind);
        let (status, mut answer, replayed) = match self.execute(shared, &request_id, kind) {
            Ok((kept, replayed)) => {
                let mut response = raw_answer(
                    shared,
                    kept.status,
                    "application/json",
                    kept.body.into_bytes(),
                    &request_id,
                );
                if replayed {
                    set(response.headers_mut(), "idempotent-replayed", "true");
                    set(response.headers_mut(), "original-request", &kept.request_id);
                }
                (kept.status, response, replayed)
            }
            Err(error) => (
                error.status,
                json_answer(shared, error.status, &error.to_value(), &request_id),
                false,
            ),
        };
        if let Some(key) = self.header("idempotency-key") {
            set(answer.headers_mut(), "idempotency-key", key);
        }
        if status == 409 {
            set(answer.headers_mut(), "stripe-should-retry", "true");
        }
        self.log(shared, &request_id, status, replayed, kind);
        damage_after(shared, answer, kind).await
    }

    fn log(
        &self,
        shared: &Shared,
        id: &str,
        status: u16,
        replayed: bool,
        fault: Option<FaultKind>,
    ) {
        shared.log_request(RequestLog {
            id: id.to_owned(),
            at_unix_ms: shared.clock.now_unix_ms(),
            method: self.method.to_string(),
            path: self.path.clone(),
            status,
            idempotency_key: self.header("idempotency-key").map(str::to_owned),
            account: self.header("stripe-account").map(str::to_owned),
            body_sha256: hex::encode(Sha256::digest(&self.body)),
            replayed,
            fault,
        });
    }

    /// Faults that strike before anything is executed.
    async fn refuse_before(
        &self,
        shared: &Shared,
        fault: &Fault,
        request_id: &str,
    ) -> Option<Answer> {
        let refuse = |status, kind: &str, code: Option<&str>, message: &str| {
            let error = ApiError::other(status, kind, code, message);
            let mut answer = json_answer(shared, status, &error.to_value(), request_id);
            if status == 429 || status == 503 {
                set(
                    answer.headers_mut(),
                    "retry-after",
                    &fault.seconds.unwrap_or(1).to_string(),
                );
            }
            if status == 429 {
                set(answer.headers_mut(), "stripe-should-retry", "true");
                set(
                    answer.headers_mut(),
                    "stripe-rate-limited-reason",
                    "global-rate",
                );
            }
            Some(Ok(answer))
        };
        let invalid = "invalid_request_error";
        match fault.kind {
            FaultKind::Unauthorized => refuse(
                401,
                invalid,
                None,
                "Invalid API Key provided (a fault of the sandbox).",
            ),
            FaultKind::Conflict => refuse(
                409,
                invalid,
                Some("lock_timeout"),
                "This object cannot be accessed right now because another API request is accessing it.",
            ),
            FaultKind::RateLimited => refuse(
                429,
                invalid,
                Some("rate_limit"),
                "Request rate limit exceeded.",
            ),
            FaultKind::ServerError => refuse(500, "api_error", None, "An unknown error occurred."),
            FaultKind::Unavailable => {
                refuse(503, "api_error", None, "Stripe is temporarily unavailable.")
            }
            FaultKind::Slow => {
                tokio::time::sleep(Duration::from_secs(u64::from(fault.seconds.unwrap_or(2))))
                    .await;
                None
            }
            FaultKind::ResetBefore => Some(Err(std::io::Error::other(
                "reset before executing, as asked",
            ))),
            FaultKind::Redirect => {
                let mut answer = json_answer(shared, 302, &json!({}), request_id);
                set(answer.headers_mut(), "location", "/nowhere");
                Some(Ok(answer))
            }
            FaultKind::Huge => Some(Ok(json_answer(
                shared,
                200,
                &json!({"object": "list", "padding": "x".repeat(8 << 20)}),
                request_id,
            ))),
            _ => None,
        }
    }

    fn authorize(&self) -> Result<(), ApiError> {
        let Some(given) = self.header("authorization") else {
            return Err(ApiError::unauthorized(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            ));
        };
        let key = match given.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim().to_owned(),
            Some((scheme, basic)) if scheme.eq_ignore_ascii_case("basic") => basic_user(basic),
            _ => String::new(),
        };
        if key.starts_with("sk_live_") || key.starts_with("rk_live_") {
            return Err(ApiError::unauthorized(
                "A live key has no place in a sandbox: use one that starts with sk_test_. The key was not stored.",
            ));
        }
        let fits = (key.starts_with("sk_test_") || key.starts_with("rk_test_")) && key.len() >= 12;
        if fits {
            Ok(())
        } else {
            Err(ApiError::unauthorized(
                "Invalid API Key provided: the sandbox takes any key of at least 12 characters that starts with sk_test_ or rk_test_.",
            ))
        }
    }

    fn account(&self, shared: &Shared) -> Result<String, ApiError> {
        let world = shared.world();
        match self
            .header("stripe-account")
            .or_else(|| self.header("stripe-context"))
        {
            None => Ok(world.platform.clone()),
            Some(id) if id == world.platform || world.platform_account(id).is_some() => {
                Ok(id.to_owned())
            }
            Some(id) => Err(ApiError::account_invalid(id)),
        }
    }

    /// Checks, executes (or replays) and keeps the answer.
    fn execute(
        &self,
        shared: &Shared,
        request_id: &str,
        fault: Option<FaultKind>,
    ) -> Result<(Kept, bool), ApiError> {
        self.authorize()?;
        let account = self.account(shared)?;
        let method = self.method.as_str();
        let Some((operation, ids)) = table::find(method, &self.path) else {
            return Err(ApiError::unrecognized_url(method, &self.path));
        };
        let ids: Vec<String> = ids
            .iter()
            .map(|id| {
                percent_encoding::percent_decode_str(id)
                    .decode_utf8_lossy()
                    .into_owned()
            })
            .collect();
        let body: &[u8] = if self.is_form() { &self.body } else { b"" };
        if self.is_form()
            && self
                .header("content-type")
                .is_some_and(|t| t.starts_with("application/json"))
        {
            return Err(ApiError::invalid(
                "",
                None,
                "Invalid request: Stripe's v1 API takes form-encoded bodies, not JSON.",
            ));
        }
        let raw = form::tree(&[self.query.as_bytes(), body])?;
        let key = self
            .header("idempotency-key")
            .filter(|_| self.method == Method::POST);
        let fingerprint = format!("{method} {} {}", self.path, Value::Object(raw.clone()));
        let claim = match key {
            Some(key) if key.len() > KEY_CHARS_MAX => {
                return Err(ApiError::invalid(
                    "",
                    None,
                    "Idempotency keys have at most 255 characters.",
                ));
            }
            Some(key) => {
                match shared
                    .idempotency()
                    .begin(&account, key, &fingerprint, shared.now())?
                {
                    Begin::Replay(kept) => return Ok((kept, true)),
                    Begin::New => Some(Claim {
                        shared,
                        account: account.clone(),
                        key: key.to_owned(),
                    }),
                }
            }
            None => None,
        };
        let parameters = operation.check(&raw)?;
        let cause = Cause {
            id: Some(request_id.to_owned()),
            idempotency_key: key.map(str::to_owned),
        };
        let outcome = shared.act(|w| {
            w.cause = cause;
            let result = w.within(&account, |w| {
                let mut answer = public(&api::run(w, &operation.name, &ids, &parameters)?);
                expand::expand(w, &mut answer, &parameters["expand"])?;
                Ok::<Value, ApiError>(answer)
            });
            w.cause = Cause::default();
            result
        });
        let (status, body) = match &outcome {
            _ if fault == Some(FaultKind::ServerErrorSaved) => {
                let error = ApiError::other(500, "api_error", None, "An unknown error occurred.");
                (500, error.to_value())
            }
            Ok(value) => (200, value.clone()),
            Err(error) if !error.saved => return Err(error.clone()),
            Err(error) => (error.status, error.to_value()),
        };
        let kept = Kept {
            status,
            body: format!("{body:#}"),
            request_id: request_id.to_owned(),
        };
        if let Some(claim) = &claim {
            shared
                .idempotency()
                .finish(&claim.account, &claim.key, kept.clone());
        }
        Ok((kept, false))
    }
}

/// Faults that strike after the request was executed.
async fn damage_after(
    shared: &Shared,
    answer: Response<Full<Bytes>>,
    fault: Option<FaultKind>,
) -> Answer {
    match fault {
        Some(FaultKind::HangAfterCommit) => {
            // Longer than any SDK waits; the client gives up first.
            tokio::time::sleep(Duration::from_secs(600)).await;
            Err(std::io::Error::other("hung after executing, as asked"))
        }
        Some(FaultKind::ResetAfterCommit) => {
            Err(std::io::Error::other("reset after executing, as asked"))
        }
        Some(FaultKind::Garbage) => Ok(raw_answer(
            shared,
            200,
            "application/json",
            b"{\"id\": \"cut o".to_vec(),
            "",
        )),
        _ => Ok(answer),
    }
}

fn basic_user(encoded: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split(':').next().unwrap_or_default().to_owned()
}
