//! Asking a Bursar: the commands' way to the same routes everybody uses.
//!
//! A command whose store another process holds asks that process over `{data}/bursar.sock`; else it
//! opens the store itself and asks the same router in memory. Either way it is one HTTP client.
//!
//! Invariants: one answer at a time, bounded in size and time; nothing is retried here.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// Largest answer read, in bytes: a page of 100 items is far below it.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest wait for an answer. `verify` over a large store takes its time.
const ANSWER_WAIT: Duration = Duration::from_secs(3_600);

/// A connection to a Bursar.
pub struct Control {
    sender: SendRequest<Full<Bytes>>,
}

/// What it answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, `null` if it is not JSON.
    pub json: serde_json::Value,
}

impl Answer {
    /// The body of a 2xx answer. # Errors: the problem's code and words.
    pub fn ok(self) -> Result<serde_json::Value, String> {
        if (200..300).contains(&self.status) {
            return Ok(self.json);
        }
        let word = |field: &str| self.json[field].as_str().unwrap_or("").to_owned();
        Err(format!(
            "{} {}: {}",
            self.status,
            word("code"),
            word("detail")
        ))
    }
}

impl Control {
    /// Connects to the process that holds the store of this folder; `None` if there is none.
    ///
    /// # Errors
    /// The socket exists and somebody listens, but the connection cannot be set up.
    pub async fn over_socket(data_folder: &Path) -> std::io::Result<Option<Self>> {
        match UnixStream::connect(data_folder.join("bursar.sock")).await {
            Ok(stream) => Self::over(stream).await.map(Some),
            // No file, or a file a killed process left behind: nobody is there.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Speaks HTTP over any byte stream.
    ///
    /// # Errors
    /// The HTTP handshake fails.
    pub async fn over<S>(stream: S) -> std::io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "control connection ended");
            }
        });
        Ok(Self { sender })
    }

    /// GET.
    ///
    /// # Errors
    /// The connection ends or the answer does not come in time.
    pub async fn get(&mut self, path: &str) -> std::io::Result<Answer> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// POST of a JSON object.
    ///
    /// # Errors
    /// As [`Control::get`].
    pub async fn post(&mut self, path: &str, body: &serde_json::Value) -> std::io::Result<Answer> {
        self.ask(Method::POST, path, body.to_string().into()).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Control::get`].
    pub async fn delete(&mut self, path: &str) -> std::io::Result<Answer> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> std::io::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "bursar")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(std::io::Error::other)?;
        let answer = async {
            self.sender.ready().await.map_err(std::io::Error::other)?;
            let response = self
                .sender
                .send_request(request)
                .await
                .map_err(std::io::Error::other)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(std::io::Error::other)?.to_bytes();
            Ok(Answer {
                status,
                json: serde_json::from_slice(&body).unwrap_or_default(),
            })
        };
        tokio::time::timeout(ANSWER_WAIT, answer)
            .await
            .map_err(|_| std::io::ErrorKind::TimedOut)?
    }
}
