//! The servers the product is compared with: hyper alone, and hyper with verification.
//!
//! Invariants: one current-thread runtime, the body is read whole, the answer is the webhook's own
//! `{"received":true}`; nothing is stored.

use super::stripe_stub::Stub;
use super::target::{Target, WEBHOOK_SECRET};
use crate::stripe::signature::SecretSet;
use bursar_domain::ids::Timestamp;
use bursar_domain::settings::Settings;
use bursar_domain::{Fate, route};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves until killed.
///
/// # Errors
/// No port can be had, or the target is the product itself (which is `bursar serve`).
pub fn serve(target: Target) -> std::io::Result<()> {
    if target == Target::Bursar {
        return Err(std::io::Error::other(
            "the product is started as `bursar serve`",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}/webhook", listener.local_addr()?);
        let verifier = Arc::new(Verifier::new());
        let stub = Arc::new(Stub::default());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (verifier, stub) = (Arc::clone(&verifier), Arc::clone(&stub));
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let (verifier, stub) = (Arc::clone(&verifier), Arc::clone(&stub));
                    async move {
                        match target {
                            Target::Stripe => stub.answer(request).await,
                            _ => answer(request, verifier, target).await,
                        }
                    }
                });
                // A client that goes away ends its connection; there is nobody to tell.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    })
}

/// What `verify` needs: the product's own check and router.
struct Verifier {
    secrets: SecretSet,
    settings: Settings,
}

impl Verifier {
    fn new() -> Self {
        Self {
            secrets: SecretSet::new([WEBHOOK_SECRET]),
            settings: Settings::default(),
        }
    }

    /// Signature and parse, as the webhook endpoint does before it stores.
    fn accepts(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let now = jiff::Timestamp::now();
        let header = headers
            .get("stripe-signature")
            .map(|value| value.as_bytes());
        let genuine = self.secrets.verify(header, body, now.as_second()).is_ok();
        let routed = route(body, &self.settings, Timestamp(now.as_millisecond()));
        genuine && matches!(routed.fate, Fate::Pending { .. })
    }
}

async fn answer(
    request: Request<Incoming>,
    verifier: Arc<Verifier>,
    target: Target,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let ok = target == Target::Bare || verifier.accepts(&head.headers, &body);
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"received\":true}")));
    if !ok {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(response)
}
