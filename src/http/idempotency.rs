//! Idempotency keys: the same request twice is answered once.
//!
//! A final answer (2xx or a definite 4xx) is kept with the fingerprint of its request and replayed
//! byte for byte; a request that still runs is known only here, in memory: if the process dies, the
//! repeat runs again under the same order id, and what it decides is decided once. An order to Stripe binds its key
//! to its request before it is stored, since it may end without an answer.
//!
//! Invariants: a key belongs to its principal and tenant; answers with secrets are not kept, only
//! the fact (409 `secret_shown_once`); 401, 404, 413, 422, 429 and 5xx are not kept.
//! Source: contract §3, "Idempotency".

use crate::http::answer::{Answer, JSON, Kept as AnswerKept};
use crate::http::edge::Edge;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use bursar_domain::ids::Timestamp;
use bursar_store::api::{Administer, Keep};
use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Where answers are kept.
pub const SPACE: &str = "http_answer";
/// An answer larger than this is not kept: the repeat runs again, which is safe.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// How long an answer is replayed at least. Contract §3.
pub const KEPT_HOURS: i64 = 72;

/// Keys whose first request still runs.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<HashSet<String>>>);

/// Holds a key while its request runs.
#[derive(Debug)]
pub struct Guard {
    running: Running,
    key: String,
}

impl Running {
    fn begin(&self, key: &str) -> Option<Guard> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(key.to_owned()).then(|| Guard {
            running: self.clone(),
            key: key.to_owned(),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let keys = self.running.0.lock();
        keys.unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    fingerprint: String,
    at: Timestamp,
    status: u16,
    problem: bool,
    headers: Vec<(String, String)>,
    /// `None`: it held a secret.
    body: Option<String>,
    /// The handler makes it again.
    #[serde(default)]
    anew: bool,
    /// No answer yet: what the request wants is stored.
    #[serde(default)]
    begun: bool,
}

/// What a key is known for.
enum Known {
    /// Its final answer.
    Answer(Answer),
    /// A final answer that the handler makes again.
    Anew,
    /// A request that was begun and has no final answer.
    Begun,
}

/// The key of a request. # Errors: 400 if it is empty, too long, not printable ASCII or doubled.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("");
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if !fits || values.next().is_some() {
        let detail = "Idempotency-Key must be sent once, with 1 to 255 printable ASCII characters";
        return Err(Problem::new(Code::IdempotencyKeyInvalid, detail));
    }
    Ok(Some(text.to_owned()))
}

/// What a repeat must equal: route, path and fields, whatever their order or spacing.
fn fingerprint(call: &Call) -> String {
    let mut hash = Sha256::new();
    hash.update(call.route.label);
    for (name, value) in &call.path {
        hash.update(format!("|{name}={value}"));
    }
    hash.update(call.fields.canonical_without(&[]));
    hex::encode(hash.finalize())
}

fn place(call: &Call, key: &str) -> String {
    let owner = call.caller.principal.text();
    let tenant = call.selected.as_ref().map_or("", |t| t.as_str());
    let digest = Sha256::digest(format!("{owner}\n{tenant}\n{key}"));
    hex::encode(digest)
}

/// An id for what the request orders: the same for a repeat under the same key.
pub fn order_id(call: &Call) -> String {
    match bursar_domain::mutant!("M14", &None, &call.idempotency_key) {
        Some(key) => {
            let name = format!("{}\n{}", place(call, key), fingerprint(call));
            format!("ord_{}", hex::encode(&Sha256::digest(name)[..16]))
        }
        None => format!("ord_{}", crate::identity::secrets::new_id()),
    }
}

fn count(result: &'static str) {
    metrics::counter!("bursar_idempotency_total", "result" => result).increment(1);
}

/// Runs a request under its key, or replays its answer. To its end even if the client goes: the
/// caller spawns this.
pub async fn run(call: Call) -> Result<Answer, Problem> {
    let Some(key) = call.idempotency_key.clone() else {
        return (call.route.handler)(call).await;
    };
    let edge = Arc::clone(&call.edge);
    let (place, fingerprint) = (place(&call, &key), fingerprint(&call));
    let Some(_guard) = edge.running.begin(&place) else {
        count("in_progress");
        let detail = "the first request under this key still runs; ask again";
        let mut problem = Problem::new(Code::IdempotencyInProgress, detail);
        problem.retry_after_seconds = Some(1);
        return Err(problem);
    };
    if let Some(kept) = edge.store.kept(SPACE, place.clone()).await? {
        match replay(&kept, &fingerprint)? {
            Known::Answer(answer) => return Ok(answer),
            Known::Anew => {
                let answer = (call.route.handler)(call).await?;
                return Ok(answer.with("idempotent-replayed", "true"));
            }
            Known::Begun => count("resumed"),
        }
    } else {
        count("new");
    }
    let request_id = call.request_id.clone();
    let outcome = (call.route.handler)(call).await;
    let answer = match &outcome {
        Ok(answer) => answer.clone(),
        Err(problem) if is_final(problem) => problem.answer(&request_id),
        Err(_) => return outcome,
    };
    keep(&edge, place, fingerprint, &answer).await?;
    // The first answer and its replay are the same bytes, so a refusal is answered as it was kept.
    Ok(answer)
}

fn is_final(problem: &Problem) -> bool {
    (problem.is_definite || matches!(problem.code.status(), 400 | 403 | 409 | 412))
        && problem.code != Code::IdempotencyInProgress
        // A state passes; a refusal that looked at one was made before anything was stored.
        && (problem.is_definite || problem.code != Code::StateConflict)
}

/// What the key is known for. # Errors: 409 if for another request, or for an answer that held a secret.
fn replay(kept: &[u8], fingerprint: &str) -> Result<Known, Problem> {
    let kept: Kept = serde_json::from_slice(kept).map_err(|error| {
        tracing::error!(%error, "a kept answer cannot be read");
        Problem::new(Code::Internal, "the kept answer cannot be read")
    })?;
    if kept.fingerprint != fingerprint {
        count("reused");
        let detail = "this key was used for a request that differs; take a new key";
        return Err(Problem::new(Code::IdempotencyKeyReused, detail));
    }
    if kept.begun {
        return Ok(Known::Begun);
    }
    count("replayed");
    if kept.anew {
        return Ok(Known::Anew);
    }
    let Some(body) = kept.body else {
        let detail = "the first answer held a secret; make a new one under a new key";
        return Err(Problem::new(Code::SecretShownOnce, detail));
    };
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let content_type = if kept.problem {
        "application/problem+json"
    } else {
        JSON
    };
    let mut answer = Answer::of(status, content_type, body);
    for (name, value) in &kept.headers {
        if name == "etag" {
            answer.header("etag", value);
        }
    }
    Ok(Known::Answer(answer.with("idempotent-replayed", "true")))
}

async fn keep(
    edge: &Edge,
    place: String,
    fingerprint: String,
    answer: &Answer,
) -> Result<(), Problem> {
    let is_nothing = answer.kept == AnswerKept::Nothing || answer.status == StatusCode::ACCEPTED;
    if is_nothing || answer.body.len() > KEPT_BYTES_MAX {
        return Ok(());
    }
    let header = |(name, value): &(hyper::header::HeaderName, hyper::header::HeaderValue)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let kept = Kept {
        fingerprint,
        at: edge.now(),
        status: answer.status.as_u16(),
        problem: answer.content_type != JSON,
        headers: answer.headers.iter().filter_map(header).collect(),
        body: (answer.kept == AnswerKept::Whole)
            .then(|| String::from_utf8_lossy(&answer.body).into_owned()),
        anew: answer.kept == AnswerKept::Anew,
        begun: false,
    };
    write(edge, place, &kept).await
}

/// Binds the key of a request to it, before what it wants is stored: what may be done later, without anybody waiting,
/// leaves no answer behind that would tell another request under the key from it. # Errors: the store's.
pub async fn claim(call: &Call) -> Result<(), Problem> {
    let Some(key) = &call.idempotency_key else {
        return Ok(());
    };
    let kept = Kept {
        fingerprint: fingerprint(call),
        at: call.edge.now(),
        status: 0,
        problem: false,
        headers: Vec::new(),
        body: None,
        anew: false,
        begun: true,
    };
    write(&call.edge, place(call, key), &kept).await
}

async fn write(edge: &Edge, place: String, kept: &Kept) -> Result<(), Problem> {
    let value = serde_json::to_vec(kept).map_err(|error| {
        tracing::error!(%error, "an answer cannot be kept");
        Problem::new(Code::Internal, "the answer cannot be kept")
    })?;
    let write = Administer {
        keeps: vec![Keep {
            space: SPACE,
            key: place,
            value: Some(value),
            subject: None,
        }],
        ..Administer::default()
    };
    edge.store.administer(write).await?;
    Ok(())
}

/// Forgets old answers once an hour, until the edge is gone.
pub async fn forget_hourly(edge: Weak<Edge>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(3_600));
    loop {
        ticks.tick().await;
        let mut cursor = None;
        loop {
            let Some(edge) = edge.upgrade() else {
                return;
            };
            match forget_old(&edge, cursor.take()).await {
                Ok(Some(next)) => cursor = Some(next),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "old answers could not be forgotten; later");
                    break;
                }
            }
        }
    }
}

/// Forgets answers older than [`KEPT_HOURS`], a page of them; answers the cursor for the next.
/// # Errors: the store's.
pub async fn forget_old(
    edge: &Edge,
    cursor: Option<String>,
) -> Result<Option<String>, bursar_store::error::StoreError> {
    const PAGE: usize = 256;
    let page = edge.store.kept_all(SPACE, cursor, PAGE).await?;
    let oldest = edge.now().plus_ms(-KEPT_HOURS * 3_600_000);
    let next = page.last().map(|(key, _)| key.clone());
    let full = page.len() == PAGE;
    let is_old =
        |bytes: &[u8]| serde_json::from_slice::<Kept>(bytes).is_ok_and(|kept| kept.at < oldest);
    let keeps: Vec<Keep> = page
        .into_iter()
        .filter(|(_, bytes)| is_old(bytes))
        .map(|(key, _)| Keep {
            space: SPACE,
            key,
            value: None,
            subject: None,
        })
        .collect();
    if !keeps.is_empty() {
        let write = Administer {
            keeps,
            ..Administer::default()
        };
        edge.store.administer(write).await?;
    }
    Ok(next.filter(|_| full))
}
