//! From a request to its row, and from the row's word to the handler and back.
//!
//! Order, always the same: framing, path, method, credential, body, fields, handler. So nobody's
//! body is read before its route and caller are known, and a refusal never depends on what a
//! handler would have found.
//!
//! Invariants: paths are matched as they were sent, nothing is normalised; every answer carries
//! `X-Request-Id`; every refusal is a problem.
//! Source: RFC 9110 (methods, `Allow`), RFC 9112 (framing); reliability catalogue, rows BH.

use crate::console;
use crate::http::answer::Answer;
use crate::http::auth::{self, Caller, Principal};
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::fields::{self, Fields};
use crate::http::idempotency;
use crate::http::limits::WEBHOOK_BODY_BYTES_MAX;
use crate::http::problem::{Code, Problem};
use crate::http::route::{Auth, Call, Route, Verb};
use crate::http::server::{BoxFuture, Peer, Service};
use crate::http::{routes, webhook};
use crate::telemetry::log::SENDS_TRACES;
use crate::telemetry::trace::Trace;
use bursar_domain::ids::TenantId;
use bursar_store::metrics::kept::{Kept, KeptBy};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, Version};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Instrument;

/// Every path with the rows that share it.
pub struct Router {
    edge: Arc<Edge>,
    paths: matchit::Router<usize>,
    entries: Vec<Vec<&'static Route>>,
}

/// Parameters of a path, decoded.
type PathParams = Vec<(&'static str, String)>;

/// Label and group of what no route was found for.
const NO_ROUTE: (&str, &str) = ("none", "none");

static IN_FLIGHT: Kept<metrics::Gauge> = Kept::new();
/// By route, method and status.
static ANSWERED: KeptBy<Answered, (metrics::Counter, metrics::Histogram)> = KeptBy::new();
type Answered = (&'static str, &'static str, u16);

/// What answered, for metrics and logs.
struct Served {
    label: &'static str,
    group: &'static str,
    method: &'static str,
    answer: Answer,
}

impl Router {
    /// A router over the whole table.
    pub fn new(edge: Arc<Edge>) -> Self {
        let mut paths: matchit::Router<usize> = matchit::Router::new();
        let mut entries: Vec<Vec<&'static Route>> = Vec::new();
        let mut known: BTreeMap<&'static str, usize> = BTreeMap::new();
        for (path, route) in routes::every_path() {
            if let Some(index) = known.get(path) {
                entries[*index].push(route);
                continue;
            }
            paths
                .insert(path, entries.len())
                .expect("the paths of the table do not collide");
            known.insert(path, entries.len());
            entries.push(vec![route]);
        }
        Self {
            edge,
            paths,
            entries,
        }
    }
    /// The edge it routes to.
    pub fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }
    /// Answers one request.
    pub async fn answer(
        &self,
        peer: Peer,
        repeated_length: bool,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let started = Instant::now();
        in_flight(true);
        let request_id = request_id(request.headers());
        let trace = trace_of(request.headers());
        let serving = self.serve(peer, repeated_length, request, &request_id);
        let served = trace.scope(serving).await;
        in_flight(false);
        observe(&served, &request_id, trace, started);
        with_request_id(served.answer, &request_id)
    }
    async fn serve(
        &self,
        peer: Peer,
        repeated_length: bool,
        request: Request<Incoming>,
        request_id: &str,
    ) -> Served {
        let method = known_method(request.method());
        let refused = |(label, group), problem: Problem| Served {
            label,
            group,
            method,
            answer: problem.answer(request_id),
        };
        if let Err(problem) = framing(&request, repeated_length) {
            return refused(NO_ROUTE, problem);
        }
        let (route, path) = match self.find(&request) {
            Ok(found) => found,
            Err(problem) => return refused(NO_ROUTE, problem),
        };
        let (label, group) = (route.label, route.tag);
        let way = console::Way::of(&request);
        let handling = self.handle(route, path, peer, request, request_id);
        match handling.instrument(span_of(route, request_id)).await {
            Ok(answer) => Served {
                label,
                group,
                method,
                answer,
            },
            Err(problem) if route.is_page() => Served {
                label,
                group,
                method,
                answer: console::refusal(&self.edge, route, &way, &problem, request_id),
            },
            Err(problem) => refused((label, group), problem),
        }
    }
    fn find(&self, request: &Request<Incoming>) -> Result<(&'static Route, PathParams), Problem> {
        let verb = verb(request.method());
        let matched = self.paths.at(request.uri().path());
        let rows = match (&matched, verb) {
            (Ok(matched), _) => self.entries[*matched.value].as_slice(),
            (Err(_), Some(_)) => return Err(Problem::not_found()),
            // A method nobody speaks is refused as such wherever it is tried.
            (Err(_), None) => &[],
        };
        let Some(route) = rows.iter().find(|route| Some(route.verb) == verb) else {
            let mut problem = Problem::new(Code::MethodNotAllowed, "see the Allow header");
            problem.allow = Some(allowed(rows));
            return Err(problem);
        };
        let mut path = Vec::new();
        if let Ok(matched) = &matched {
            for (name, raw) in matched.params.iter() {
                let name = routes::param_name(name);
                path.push((name, decoded(raw).ok_or_else(Problem::not_found)?));
            }
        }
        Ok((route, path))
    }
    async fn handle(
        &self,
        route: &'static Route,
        path: PathParams,
        peer: Peer,
        request: Request<Incoming>,
        request_id: &str,
    ) -> Result<Answer, Problem> {
        let (parts, incoming) = request.into_parts();
        let peer = auth::behind_proxy(&parts.headers, peer, &self.edge.settings.trust_proxy);
        let (caller, selected) = match route.auth {
            Auth::Public | Auth::Stripe => (anonymous(), None),
            Auth::Operator
            | Auth::Scopes(_)
            | Auth::Tenant(..)
            | Auth::PersonOf(_)
            | Auth::Person => {
                let asked = auth::authenticate(&self.edge, route, &parts.headers, peer);
                let caller = Box::pin(asked).await?;
                authorize(route.auth, &caller)?;
                let selected = match &caller.bound {
                    // Whatever the request names: a bound caller acts in its own tenant.
                    Some(bound) => Some(bound.tenant.clone()),
                    None if route.auth.is_of_tenants() => auth::selected_tenant(&parts.headers)?,
                    None => None,
                };
                (caller, selected)
            }
            Auth::Console(of) => Box::pin(self.visitor(route, of, &parts, peer)).await?,
        };
        let idempotency_key = if route.is_idempotent() {
            idempotency::key_of(&parts.headers)?
        } else {
            None
        };
        // Bodies of deliveries are in memory until they are durable; so is their share of it.
        let limits = &self.edge.settings.limits;
        let read = if incoming.is_end_stream() {
            None
        } else {
            let budget = &self.edge.bodies;
            let most = match route.auth {
                Auth::Stripe => WEBHOOK_BODY_BYTES_MAX,
                _ => limits.command_body_bytes_max,
            };
            let reading = body::read(&parts.headers, incoming, most, limits.body_timeout, budget);
            Some(reading.await.inspect_err(|problem| {
                if route.auth == Auth::Stripe {
                    webhook::unread(problem);
                }
            })?)
        };
        let bytes = read.as_ref().map_or_else(Bytes::new, |r| r.bytes.clone());
        let fields = if route.reads_fields() {
            let media = parts.headers.get(header::CONTENT_TYPE);
            let media = media.map(|value| value.to_str().unwrap_or("unreadable"));
            fields::read(route, parts.uri.query(), media, &bytes)?
        } else {
            Fields::default()
        };
        let call = Call {
            edge: Arc::clone(&self.edge),
            route,
            caller,
            peer,
            selected,
            path,
            fields,
            headers: parts.headers,
            body: bytes,
            request_id: request_id.to_owned(),
            idempotency_key,
        };
        if matches!(route.auth, Auth::Console(_)) {
            if route.verb != Verb::Get {
                auth::form_token(&self.edge, &call.headers, call.fields.text("csrf"))?;
            }
            return (route.handler)(call).await;
        }
        carry_out(call).await
    }
    /// Who looks at a page, with the right of the route it stands for, and in which tenant.
    async fn visitor(
        &self,
        route: &Route,
        of: &str,
        parts: &Parts,
        peer: Peer,
    ) -> Result<(Caller, Option<TenantId>), Problem> {
        let right = match of {
            "" => Auth::Public,
            of => routes::labelled(of).auth,
        };
        let named = named_in(parts.uri.query())?;
        let asks = (route.verb, right);
        let caller = auth::visitor(&self.edge, asks, &parts.headers, named.clone(), peer).await?;
        authorize(right, &caller)?;
        let bound = caller.bound.as_ref().map(|bound| bound.tenant.clone());
        // A person is in a tenant of theirs or in none, whatever is named.
        let named = named.filter(|_| caller.is_operator());
        Ok((caller, bound.or(named)))
    }
}

/// The tenant a page's address names. # Errors: 404 for what is no tenant's id.
fn named_in(query: Option<&str>) -> Result<Option<TenantId>, Problem> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or("").as_bytes());
    let named = pairs.find(|(name, value)| name == "tenantId" && !value.is_empty());
    named
        .map(|(_, value)| TenantId::parse(&value).map_err(|_| Problem::not_found()))
        .transpose()
}

/// What every route's request goes through once it is read, whoever asked: the router, or a page of the console.
/// The longer ways are boxed, so that a webhook's future, which takes none of them, stays small.
pub(super) async fn carry_out(call: Call) -> Result<Answer, Problem> {
    agree_on_tenant(&call)?;
    paced(&call)?;
    let (edge, route) = (Arc::clone(&call.edge), call.route);
    if route.is_idempotent() {
        return Box::pin(to_its_end(&edge, idempotency::run(call))).await;
    }
    if matches!(route.verb, Verb::Patch | Verb::Delete) {
        return Box::pin(to_its_end(&edge, (route.handler)(call))).await;
    }
    (route.handler)(call).await
}

/// Runs what was ordered to its end even if the client goes away in between.
async fn to_its_end(
    edge: &Arc<Edge>,
    work: impl Future<Output = Result<Answer, Problem>> + Send + 'static,
) -> Result<Answer, Problem> {
    let under_way = edge.order_begins();
    let counted = async move {
        let _under_way = under_way;
        work.await
    };
    let counted = counted.in_current_span();
    let spawned = match Trace::present() {
        Some(trace) => tokio::spawn(trace.scope(counted)),
        None => tokio::spawn(counted),
    };
    match spawned.await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(Problem::new(Code::Overloaded, "the service is stopping")),
        },
    }
}

impl Service for Router {
    fn call(
        self: Arc<Self>,
        peer: Peer,
        repeated_length: bool,
        request: Request<Incoming>,
    ) -> BoxFuture<Response<Full<Bytes>>> {
        Box::pin(async move { self.answer(peer, repeated_length, request).await })
    }
    fn panicked(&self) -> Response<Full<Bytes>> {
        in_flight(false);
        metrics::counter!("bursar_http_panics_total").increment(1);
        let request_id = new_request_id();
        tracing::error!(request.id = request_id, "a request ended in a panic");
        let problem = Problem::new(Code::Internal, "a defect of ours; it was logged");
        with_request_id(problem.answer(&request_id), &request_id)
    }
    fn draining(&self) {
        self.edge.draining.send_replace(true);
    }
    fn connections(&self, open: usize) {
        metrics::gauge!("bursar_http_connections").set(u32::try_from(open).unwrap_or(u32::MAX));
    }
}

pub(super) fn anonymous() -> Caller {
    Caller {
        principal: Principal::Anonymous,
        scopes: Vec::new(),
        bound: None,
    }
}

pub(super) fn authorize(auth: Auth, caller: &Caller) -> Result<(), Problem> {
    let (allowed, needed) = match auth {
        Auth::Scopes(scopes) => {
            let names: Vec<&str> = scopes.iter().map(|s| s.as_str()).collect();
            (caller.may(scopes), names.join(" or "))
        }
        Auth::Tenant(scopes, role) => {
            let names: Vec<&str> = scopes.iter().map(|s| s.as_str()).collect();
            let needed = format!(
                "{}, or the role {} or above",
                names.join(" or "),
                role.as_str()
            );
            (caller.may(scopes) || caller.holds(role), needed)
        }
        Auth::PersonOf(role) => (
            caller.is_operator() || (caller.is_person() && caller.holds(role)),
            format!("a person with the role {} or above", role.as_str()),
        ),
        Auth::Person => (caller.is_person(), "a person's session".to_owned()),
        Auth::Operator => (caller.is_operator(), "the operator's key".to_owned()),
        Auth::Public | Auth::Stripe => (true, String::new()),
        // A page's right is that of the route it stands for.
        Auth::Console(_) => (false, String::new()),
    };
    if allowed {
        return Ok(());
    }
    let detail = format!("this needs {needed}");
    Err(Problem::new(Code::InsufficientScope, detail))
}

/// Orders of one key, person or session come so fast and no faster. # Errors: 429.
fn paced(call: &Call) -> Result<(), Problem> {
    let is_bound = matches!(
        call.caller.principal,
        Principal::ServiceKey(_) | Principal::ApiKey(_) | Principal::User(_)
    );
    if call.route.verb == Verb::Get || !is_bound {
        return Ok(());
    }
    let (principal, reach) = (call.caller.principal.text(), call.reach());
    let tenant = match call.path("tenantId") {
        "" => reach.text(),
        named => named,
    };
    call.edge.pace.take(&principal, tenant).map_err(|wait| {
        metrics::counter!("bursar_http_rejections_total", "reason" => "rate_limited").increment(1);
        let detail = "too many orders of this caller for this tenant at once; wait a moment";
        Problem {
            retry_after_seconds: Some(wait.as_secs().saturating_add(1)),
            ..Problem::new(Code::RateLimited, detail)
        }
    })
}

/// A tenant named in a field and another in the header is a contradiction, not a choice; a bound caller has no choice.
fn agree_on_tenant(call: &Call) -> Result<(), Problem> {
    match (call.fields.tenant("tenantId"), &call.selected) {
        (Some(named), Some(own)) if named != *own && call.caller.bound.is_some() => {
            Err(Problem::not_found())
        }
        (Some(named), Some(selected)) if named != *selected => {
            let detail = "`tenantId` and X-Tenant-Id name different tenants";
            let code = crate::http::problem::FieldCode::Conflicting;
            Err(Problem::field("tenantId", code, detail))
        }
        _ => Ok(()),
    }
}

/// What hyper lets through and two readers could read differently. Answered and closed.
fn framing(request: &Request<Incoming>, repeated_length: bool) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::new(Code::InvalidRequest, detail).closing());
    let headers = request.headers();
    if repeated_length {
        return refuse("Content-Length was sent twice");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() {
            return refuse("the only Transfer-Encoding taken is chunked");
        }
    }
    let hosts = headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() != Version::HTTP_10) {
        return refuse("exactly one Host header is needed");
    }
    Ok(())
}

fn verb(method: &Method) -> Option<Verb> {
    match *method {
        Method::GET | Method::HEAD => Some(Verb::Get),
        Method::POST => Some(Verb::Post),
        Method::PATCH => Some(Verb::Patch),
        Method::DELETE => Some(Verb::Delete),
        _ => None,
    }
}

/// Every word of the `method` label.
pub const METHOD_WORDS: &[&str] = &["GET", "POST", "PATCH", "DELETE", "other"];

/// A closed set, for labels.
fn known_method(method: &Method) -> &'static str {
    verb(method).map_or("other", Verb::as_str)
}

fn allowed(rows: &[&'static Route]) -> String {
    let mut names = Vec::new();
    for route in rows {
        // `GET /webhook` only explains; it is not a method of the endpoint.
        if route.status == 405 {
            continue;
        }
        names.push(route.verb.as_str());
        if route.verb == Verb::Get {
            names.push("HEAD");
        }
    }
    if names.is_empty() {
        return "GET, HEAD, POST, PATCH, DELETE".to_owned();
    }
    names.join(", ")
}

/// A parameter's value. `None`: it decodes to something no id holds, so nothing has that name.
fn decoded(raw: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(raw)
        .decode_utf8()
        .ok()?;
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'%');
    let fits = !text.is_empty() && text.len() <= 512 && text.bytes().all(plain);
    fits.then(|| text.into_owned())
}

fn new_request_id() -> String {
    format!("req_{}", uuid::Uuid::now_v7().simple())
}

/// The caller's own id if it is a plain word, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|v| v.to_str().ok());
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(plain) => id.to_owned(),
        _ => new_request_id(),
    }
}

fn with_request_id(answer: Answer, request_id: &str) -> Response<Full<Bytes>> {
    let mut response = answer.into_response();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn trace_of(headers: &HeaderMap) -> Trace {
    let given = headers.get("traceparent").and_then(|v| v.to_str().ok());
    Trace::of_request(given)
}

/// What every line of a request says beside its own. Deliveries are many and write few lines, which name
/// their event: they are spared its cost unless traces are sent somewhere.
fn span_of(route: &Route, request_id: &str) -> tracing::Span {
    if route.auth == Auth::Stripe && !SENDS_TRACES {
        return tracing::Span::none();
    }
    let trace = Trace::present();
    let span = tracing::info_span!(
        "request",
        request.id = request_id,
        trace.id = trace.map(tracing::field::display),
        route = route.label,
        otel.name = SENDS_TRACES.then_some(route.label),
        otel.kind = SENDS_TRACES.then_some("server")
    );
    #[cfg(feature = "otel")]
    if let Some(trace) = trace {
        crate::telemetry::otel::continue_trace(&span, &trace);
    }
    span
}

fn in_flight(begins: bool) {
    let find = || metrics::gauge!("bursar_http_requests_in_flight");
    IN_FLIGHT.with(find, |gauge| {
        if begins {
            gauge.increment(1);
        } else {
            gauge.decrement(1);
        }
    });
}

fn observe(served: &Served, request_id: &str, trace: Trace, started: Instant) {
    let (route, method) = (served.label, served.method);
    let status = served.answer.status.as_u16();
    let elapsed = started.elapsed();
    let find = || {
        let count = metrics::counter!(
            "bursar_http_requests_total",
            "route" => route, "method" => method, "code" => status.to_string()
        );
        let took = metrics::histogram!(
            "bursar_http_request_duration_seconds", "group" => served.group, "method" => method
        );
        (count, took)
    };
    ANSWERED.with((route, method, status), find, |(count, took)| {
        count.increment(1);
        took.record(elapsed);
    });
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    if status >= 500 {
        tracing::warn!(
            request.id = request_id,
            trace.id = %trace,
            route,
            method,
            status,
            elapsed_ms,
            "request failed"
        );
    } else {
        tracing::debug!(
            request.id = request_id,
            trace.id = %trace,
            route,
            method,
            status,
            elapsed_ms,
            "request answered"
        );
    }
}
