//! The sandbox without sockets, tasks and clock of its own: for a caller that simulates all of them.
//!
//! Invariants: nothing happens but what a call or the control handle does; the same as over HTTP.
//! Not here: deliveries; whoever holds it reads the events and brings them.
//! Failure: a fault that closes the connection is an `Err`.
//! Source of outside rules: none.

use crate::call::Call;
use crate::control::Control;
use crate::server::Shared;
use crate::{SandboxConfig, Seeded};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;

/// A sandbox that is called as a function.
#[derive(Clone)]
pub struct PortableSandbox {
    shared: Arc<Shared>,
    seeded: Arc<[Seeded]>,
}

/// What a call was answered.
#[derive(Clone, Debug)]
pub struct PortableAnswer {
    /// The status.
    pub status: u16,
    /// `Idempotent-Replayed: true`.
    pub is_replayed: bool,
    /// `Request-Id`.
    pub request_id: String,
    /// The body.
    pub body: Bytes,
}

impl PortableSandbox {
    /// An empty world and the seed catalogue; addresses and deliveries of the configuration mean nothing.
    ///
    /// # Errors
    /// The seed catalogue is refused.
    pub fn new(config: &SandboxConfig) -> Result<Self, String> {
        let shared = Arc::new(Shared::new(config, "http://sandbox.test"));
        let seeded = Control::new(Arc::clone(&shared)).seed(&config.seed_plans)?;
        Ok(Self {
            shared,
            seeded: seeded.into(),
        })
    }

    /// The handle that breaks things and looks inside.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared))
    }

    /// What the seed catalogue became.
    pub fn seeded(&self) -> &[Seeded] {
        &self.seeded
    }

    /// The platform's events behind the first `known`, in their order.
    pub fn events_after(&self, known: usize) -> Vec<serde_json::Value> {
        let world = self.shared.world();
        let new = world.count("event").saturating_sub(known);
        let newest = world.newest("event").take(new);
        let mut events: Vec<_> = newest.cloned().collect();
        events.reverse();
        events
    }

    /// Lets due things happen.
    pub fn tick(&self) -> usize {
        self.shared.tick()
    }

    /// One call of the API under a test key; `path` may have a query.
    ///
    /// # Errors
    /// A fault closed the connection.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, &str)],
        form: String,
    ) -> std::io::Result<PortableAnswer> {
        let mut map = HeaderMap::new();
        let given = [
            ("authorization", "Bearer sk_test_0123456789"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        for (name, value) in given.iter().chain(headers) {
            let value = HeaderValue::from_str(value).map_err(std::io::Error::other)?;
            map.insert(HeaderName::from_static(name), value);
        }
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let call = Call {
            method: Method::from_bytes(method.as_bytes()).map_err(std::io::Error::other)?,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: map,
            body: Bytes::from(form),
        };
        let answer = call.serve(&self.shared).await?;
        let text = |name: &str| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let status = answer.status().as_u16();
        let is_replayed = text("idempotent-replayed").is_some();
        let request_id = text("request-id").unwrap_or_default();
        let body = answer.into_body().collect().await;
        Ok(PortableAnswer {
            status,
            is_replayed,
            request_id,
            body: body.map_err(std::io::Error::other)?.to_bytes(),
        })
    }
}
