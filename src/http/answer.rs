//! What a handler answers: a status, headers and a whole body.
//!
//! Invariants: bodies are complete values (no streams), so an answer can be kept and replayed.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// The content type of nearly every answer.
pub const JSON: &str = "application/json";

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its content type; empty for none.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
    /// What is kept of it for a repeat under the same idempotency key.
    pub kept: Kept,
}

/// What is kept of an answer under an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Whole,
    /// That it was given: it held a secret, which is shown once.
    Fact,
    /// That it was given; the handler makes the same bytes again from what is stored sealed.
    Anew,
    /// Nothing: the repeat runs again.
    Nothing,
}

impl Answer {
    /// An answer of any type.
    pub fn of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body: body.into(),
            kept: Kept::Whole,
        }
    }
    /// 200 with JSON text.
    pub fn json_text(body: impl Into<Bytes>) -> Self {
        Self::of(StatusCode::OK, JSON, body)
    }
    /// 200 with a JSON value.
    pub fn json(value: &Value) -> Self {
        Self::json_text(value.to_string())
    }
    /// 201 with a JSON value.
    pub fn created(value: &Value) -> Self {
        Self::of(StatusCode::CREATED, JSON, value.to_string())
    }
    /// No content, under this status.
    pub fn empty(status: StatusCode) -> Self {
        Self::of(status, "", Bytes::new())
    }
    /// Adds a header. A value that is no header value is left out: none of ours is.
    pub fn header(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
    }
    /// The same answer with one more header.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.header(name, value);
        self
    }
    /// The same answer, marked as holding a secret.
    pub fn holding_secret(mut self) -> Self {
        self.kept = Kept::Fact;
        self.with("cache-control", "no-store")
    }
    /// The same answer, marked as holding an address that lets its holder in: not stored in clear, never cached.
    pub fn holding_link(mut self) -> Self {
        self.kept = Kept::Anew;
        self.with("cache-control", "no-store")
    }
    /// The same answer, not kept for a repeat.
    pub fn unkept(mut self) -> Self {
        self.kept = Kept::Nothing;
        self.with("cache-control", "no-store")
    }
    /// As hyper sends it.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            headers.insert(
                hyper::header::CONTENT_TYPE,
                HeaderValue::from_static(self.content_type),
            );
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}
