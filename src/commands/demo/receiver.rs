//! The product's own application, as far as the demo needs one: takes notifications, verifies them, and notes a line of each.
//!
//! Invariants: what is not genuine is refused, and the line says so; at most so many lines wait to be printed.
//! Failure: a request that cannot be read is answered 400.

use crate::notifications::sign;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// Longest body.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Lines kept for printing.
const LINES_MAX: usize = 1_000;

/// The application.
#[derive(Clone)]
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// What it shares with Bursar.
    pub(super) secret: String,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    waiting: Vec<String>,
    is_live: bool,
    wrong: usize,
    genuine: usize,
}

impl Receiver {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// No port, or no randomness.
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let receiver = Self {
            address: listener.local_addr()?,
            secret: sign::new_secret().map_err(std::io::Error::other)?,
            lines: Arc::default(),
        };
        tokio::spawn(receiver.clone().serve(listener));
        Ok(receiver)
    }

    /// Where Bursar sends.
    pub(super) fn url(&self) -> String {
        format!("http://{}/notifications", self.address)
    }

    /// The lines since the last time.
    pub(super) fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// Prints each line as it comes, from now on.
    pub(super) fn print_at_once(&self) {
        self.lock().is_live = true;
    }

    /// How many were not genuine.
    pub(super) fn wrong(&self) -> usize {
        self.lock().wrong
    }

    /// How many were.
    pub(super) fn genuine(&self) -> usize {
        self.lock().genuine
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let own = self.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let own = own.clone();
                    async move { Ok::<_, Infallible>(own.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                // A connection that breaks is Bursar's to try again.
                drop(
                    connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let header = |name: &str| {
            let value = parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (id, given) = (header("webhook-id"), header("webhook-signature"));
        let at = header("webhook-timestamp").parse().unwrap_or(0);
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_unreadable) => return status(400),
        };
        let own = sign::signature(&[&self.secret], &id, at, &body);
        let is_genuine = !own.is_empty() && given.split(' ').any(|one| one == own);
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let kind = event["type"].as_str().unwrap_or("?");
        let short: String = id.chars().take(16).collect();
        let word = if is_genuine {
            "verified"
        } else {
            "NOT GENUINE"
        };
        self.note(format!("  <-- {kind:<32} {short}…  {word}"), is_genuine);
        status(if is_genuine { 204 } else { 401 })
    }

    fn note(&self, line: String, is_genuine: bool) {
        let mut lines = self.lock();
        lines.wrong += usize::from(!is_genuine);
        lines.genuine += usize::from(is_genuine);
        if lines.is_live {
            // A demo whose output is closed has nobody to tell.
            drop(super::print(&format!("{line}\n")));
        } else if lines.waiting.len() < LINES_MAX {
            lines.waiting.push(line);
        }
    }
}

fn status(code: u16) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    response
}
