//! Reads a request's body: whole, in time, within the route's limit and the budget of all bodies.
//!
//! Invariants: a body that says it is too long is refused before a byte of it is read, so a client
//! that expects `100 Continue` never gets it; hyper bounds neither the time nor the size of a body.

use crate::http::budget::{Budget, Taken};
use crate::http::problem::{Code, Problem};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::{HeaderMap, header};
use std::time::Duration;

/// A body and the budget it holds.
pub struct ReadBody {
    /// The bytes.
    pub bytes: Bytes,
    _taken: Taken,
}

/// Reads the body. # Errors: 400 (framing), 408, 413, 415, 503 (budget); all close the connection.
pub async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    bytes_max: usize,
    timeout: Duration,
    budget: &Budget,
) -> Result<ReadBody, Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "encoded bodies are not taken: send it without Content-Encoding";
        return Err(Problem::new(Code::UnsupportedMediaType, detail).closing());
    }
    let announced = body.size_hint().exact().unwrap_or(0);
    if announced > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let expected = usize::try_from(announced).map_err(|_| too_large(bytes_max))?;
    let mut taken = budget.take(expected).ok_or_else(no_room)?;
    let reading = async {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| unreadable())?;
            let Ok(data) = frame.into_data() else {
                continue; // trailers say nothing to us
            };
            let length = bytes.len() + data.len();
            if length > bytes_max {
                return Err(too_large(bytes_max));
            }
            if length > expected && !taken.grow(data.len()) {
                return Err(no_room());
            }
            bursar_domain::step!("KW1");
            if bytes.is_empty() && body.is_end_stream() {
                return Ok(data); // all of it came at once: most bodies do
            }
            bytes.reserve(expected.saturating_sub(bytes.len()).max(data.len()));
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    };
    let bytes = match tokio::time::timeout(timeout, reading).await {
        Ok(outcome) => outcome?,
        Err(_elapsed) => {
            metrics::counter!("bursar_http_rejections_total", "reason" => "slow").increment(1);
            let detail = format!("the body did not arrive within {} s", timeout.as_secs());
            return Err(Problem::new(Code::RequestTimeout, detail).closing());
        }
    };
    Ok(ReadBody {
        bytes,
        _taken: taken,
    })
}

fn too_large(bytes_max: usize) -> Problem {
    metrics::counter!("bursar_http_rejections_total", "reason" => "too_large").increment(1);
    let detail = format!("this route takes bodies of up to {bytes_max} bytes");
    Problem::new(Code::BodyTooLarge, detail).closing()
}

fn no_room() -> Problem {
    metrics::counter!("bursar_http_rejections_total", "reason" => "busy").increment(1);
    Problem::new(Code::Overloaded, "too many bodies are being read").closing()
}

fn unreadable() -> Problem {
    Problem::new(
        Code::InvalidRequest,
        "the body broke off or is framed wrongly",
    )
    .closing()
}
