//! What answers the orders of `bench stripe`: the shape of Stripe's answer and nothing behind it.
//!
//! Invariants: one current-thread runtime with keep-alive; a body is read whole; every request and every key is
//! counted, and `GET /counts` tells.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde_json::json;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

/// What was asked so far.
#[derive(Debug, Default)]
pub(super) struct Stub {
    counted: Mutex<(u64, BTreeSet<String>)>,
}

impl Stub {
    /// Answers a request.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        // Who breaks off has no answer to read.
        drop(body.collect().await);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if head.method == Method::GET {
            let (requests, keys) = (counted.0, counted.1.len());
            let counts = json!({"requests": requests, "keys": keys}).to_string();
            return Ok(Response::new(Full::new(Bytes::from(counts))));
        }
        counted.0 += 1;
        let number = counted.0;
        let key = head.headers.get("idempotency-key").cloned();
        if let Some(Ok(text)) = key.as_ref().map(|key| key.to_str()) {
            counted.1.insert(text.to_owned());
        }
        drop(counted);
        let body = json!({
            "id": format!("bps_bench_{number}"), "object": "billing_portal.session",
            "configuration": "bpc_bench", "created": jiff::Timestamp::now().as_second(), "customer": "cus_bench",
            "flow": null, "livemode": false, "locale": null, "on_behalf_of": null,
            "return_url": "https://app.example/billing",
            "url": format!("https://billing.stripe.com/p/session/test_{number}"),
        });
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        let headers = response.headers_mut();
        let json = hyper::header::HeaderValue::from_static("application/json");
        headers.insert("content-type", json);
        if let Ok(id) = format!("req_bench_{number}").parse() {
            headers.insert("request-id", id);
        }
        if let Some(key) = key {
            headers.insert("idempotency-key", key);
        }
        Ok(response)
    }
}
