//! Stripe's door: `POST /webhook` and its aliases.
//!
//! Verify the raw bytes, address them by their content, make them durable, answer; whatever the
//! event means happens later. A 200 is never sent before the body is durable, and never instead of
//! storing it: what cannot be stored is 503, and Stripe sends it again.
//!
//! Invariants: nothing is parsed before the signature fits; a body that fails is not stored; a
//! genuine one always is, under its event id or as `raw_<hash>`.
//! Source: contract §3, "Stripe's side".

use crate::http::answer::Answer;
use crate::http::edge::{Edge, IntakeError};
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::processor::{Delivery, PaymentProcessor, Receiving, Stripe};
use crate::stripe::signature::{Genuine, Refusal};
use bursar_domain::ids::Timestamp;
use bursar_domain::route::Routed;
use bursar_store::api::{Accepted, Fate, Inbound, InputStatus};
use bursar_store::metrics::kept::Kept;
use bytes::Bytes;
use hyper::StatusCode;
use tokio::time::Instant;

const RECEIVED: &str = r#"{"received":true}"#;
const DUPLICATE: &str = r#"{"received":true,"duplicate":true}"#;
const OUTCOME: &str = "bursar_webhook_requests_total";

static ACCEPTED: Kept<metrics::Counter> = Kept::new();
static ACKNOWLEDGED: Kept<metrics::Histogram> = Kept::new();
static MATCHES: [Kept<metrics::Counter>; 8] = [const { Kept::new() }; 8];

fn count(outcome: &'static str) {
    let find = || metrics::counter!(OUTCOME, "outcome" => outcome);
    if outcome == "accepted" {
        ACCEPTED.with(find, |count| count.increment(1));
    } else {
        find().increment(1);
    }
}

/// Counts a delivery that ended before it was read.
pub fn unread(problem: &Problem) {
    match problem.code {
        Code::BodyTooLarge => count("too_large"),
        Code::Overloaded => count("busy"),
        _ => count("malformed"),
    }
}

/// `POST /webhook`.
pub fn receive(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let started = Instant::now();
        let (delivery, now) = check(&call)?;
        position_matched(delivery.genuine);
        bursar_domain::step!("KW3");
        let answer = store(&call.edge, call.body.clone(), delivery.routed, now).await?;
        let took = started.elapsed();
        let find = || metrics::histogram!("bursar_webhook_ack_duration_seconds");
        ACKNOWLEDGED.with(find, |histogram| histogram.record(took));
        call.edge.pulse.acknowledged(now, took);
        Ok(answer)
    })
}

fn position_matched(genuine: Genuine) {
    const POSITIONS: [&str; MATCHES.len()] = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let index = genuine.secret_position.clamp(1, POSITIONS.len()) - 1;
    let label = POSITIONS[index];
    let find = || metrics::counter!("bursar_webhook_signature_matches_total", "secret" => label);
    MATCHES[index].with(find, |count| count.increment(1));
}

fn check(call: &Call) -> Result<(Delivery, Timestamp), Problem> {
    let edge = &call.edge;
    let receiving = Receiving {
        secrets: &edge.secrets(),
        settings: &edge.settings.domain,
        now: edge.now(),
    };
    match Stripe.webhook(receiving, &call.headers, &call.body) {
        Ok(delivery) => Ok((delivery, receiving.now)),
        Err(refusal) => {
            edge.intake.refused(refusal, call.peer);
            Err(refused(refusal))
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    let (outcome, code, detail) = match refusal {
        Refusal::Missing => (
            "no_signature",
            Code::SignatureMissing,
            "only Stripe posts here, and it signs what it sends",
        ),
        Refusal::Malformed(why) => ("malformed", Code::SignatureMalformed, why),
        Refusal::NoMatch => (
            "bad_signature",
            Code::SignatureMismatch,
            "no v1 fits; was the body changed on its way, or is STRIPE_WEBHOOK_SECRET that of \
             another endpoint?",
        ),
        Refusal::Stale => (
            "stale_timestamp",
            Code::SignatureExpired,
            "signed more than 300 s ago",
        ),
        Refusal::Ahead => (
            "stale_timestamp",
            Code::SignatureExpired,
            "signed more than 300 s ahead of this machine's clock",
        ),
    };
    count(outcome);
    Problem::new(code, detail)
}

/// Tells of a repeated event whose body says something else than the first. One that was taken in from
/// Stripe's list is written differently and says the same.
async fn compare(edge: &Edge, id: &str, kind: &str, seq: u64, body: &[u8]) {
    let first = edge.store.whole().input_body(seq).await;
    let is_same = match &first {
        Ok(Some(first)) => bursar_domain::listing::is_same_event(first, body),
        // Erased or past retention: nothing is left to compare with.
        Ok(None) => true,
        Err(_) => false,
    };
    if !is_same {
        tracing::error!(
            event.id = id,
            kind,
            "the same event came with another body; the first is kept"
        );
    }
}

async fn store(
    edge: &Edge,
    body: Bytes,
    routed: Routed,
    now: Timestamp,
) -> Result<Answer, Problem> {
    let (kind, id) = (routed.kind.clone(), routed.source.public_id());
    let fate = stored_fate(routed.fate);
    let reason = match &fate {
        Fate::Dead { reason } | Fate::Ignored { reason } => reason.clone(),
        Fate::Pending { .. } => String::new(),
    };
    let inbound = Inbound {
        source: routed.source,
        kind: routed.kind,
        fate,
        object_ids: routed.objects,
        created_at: routed.created_at,
        received_at: now,
        subject: routed.subject,
        body: body.clone(),
        tenant: None,
    };
    match edge.intake.accept(inbound).await {
        Ok(Accepted::New { status, .. }) => {
            count("accepted");
            if status == InputStatus::Dead {
                tracing::error!(event.id = id, kind, reason, "a genuine event is unusable");
            }
            Ok(Answer::json_text(RECEIVED))
        }
        Ok(Accepted::Duplicate { seq, same_body }) => {
            count("duplicate");
            if !same_body {
                compare(edge, &id, &kind, seq, &body).await;
            }
            Ok(Answer::json_text(DUPLICATE))
        }
        Err(error) => Err(unstored(error)),
    }
}

/// The store's word for what the reducers said.
pub fn stored_fate(fate: bursar_domain::Fate) -> Fate {
    match fate {
        bursar_domain::Fate::Pending { to, park } => Fate::Pending { to, park },
        bursar_domain::Fate::Ignored { reason } => Fate::Ignored { reason },
        bursar_domain::Fate::Dead { reason } => Fate::Dead { reason },
    }
}

/// Whatever the store says, the sender did nothing wrong: never anything but 503.
fn unstored(error: IntakeError) -> Problem {
    let (outcome, code, retry_after) = match error {
        IntakeError::Busy { retry_after } => ("busy", Code::Overloaded, retry_after),
        IntakeError::StoreAway { retry_after } => {
            ("store_down", Code::StoreUnavailable, retry_after)
        }
    };
    count(outcome);
    metrics::counter!("bursar_http_rejections_total", "reason" => outcome).increment(1);
    Problem {
        retry_after_seconds: Some(retry_after.as_secs().max(1)),
        ..Problem::new(
            code,
            "the event could not be made durable; Stripe will send it again",
        )
    }
}

/// `GET /webhook`: for people who open the address they gave to Stripe.
pub fn explain(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let accepts_html = call
            .headers
            .get(hyper::header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
        let listen = format!("stripe listen --all-snapshot --forward-to {}", here(&call));
        if accepts_html {
            let page = Answer::of(
                StatusCode::METHOD_NOT_ALLOWED,
                "text/html; charset=utf-8",
                PAGE.replace("{listen}", &listen),
            );
            return Ok(page.with("allow", "POST").with(
                "content-security-policy",
                "default-src 'none'; style-src 'unsafe-inline'",
            ));
        }
        let detail = format!(
            "Stripe posts its events here. Enter this address as a webhook endpoint in Stripe's \
             dashboard, or forward to it: {listen}"
        );
        let mut problem = Problem::new(Code::MethodNotAllowed, detail);
        problem.allow = Some("POST".to_owned());
        Err(problem)
    })
}

/// The address the request came to; what no host is called is never repeated, but the configured
/// address is told instead.
fn here(call: &Call) -> String {
    let host = call.headers.get(hyper::header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    match host {
        Some(host) if (1..=255).contains(&host.len()) && host.bytes().all(plain) => {
            format!("{host}/webhook")
        }
        _ => format!(
            "{}/webhook",
            call.edge.settings.app_base_url.trim_end_matches('/')
        ),
    }
}

const PAGE: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Bursar: Stripe posts here</title>
<style>:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;background:light-dark(#fff,#141414);color:light-dark(#111,#eee)}code{font-size:.95em}pre{white-space:pre-wrap;overflow-wrap:anywhere}</style>
</head><body><main><h1>Stripe posts here</h1>
<p>This is the address Bursar gives to Stripe for its events. It takes <code>POST</code> requests that
Stripe has signed, and nothing else, so there is nothing to see in a browser.</p>
<p>Enter this page's address as a webhook endpoint in Stripe's dashboard and put the endpoint's secret
into <code>STRIPE_WEBHOOK_SECRET</code>. On your own machine, forward events instead:</p>
<pre><code>{listen}</code></pre>
</main></body></html>
"#;
