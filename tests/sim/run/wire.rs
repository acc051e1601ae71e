//! Connections to the simulated process, and what its peers read from them.
//!
//! Invariants: what was written before the end of the process was sent, what was written after was not.

use super::world::{World, locked};
use bursar::http::router::Router;
use bursar::http::server::{Peer, Server};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

const PIPE_BYTES: usize = 64 * 1024;
/// How long a peer waits for an answer.
const PATIENCE: Duration = Duration::from_secs(40);

/// All that came back on a connection.
pub(crate) type Heard = Arc<Mutex<Vec<u8>>>;

/// The process's end of a pipe.
struct ServerEnd {
    io: DuplexStream,
    heard: Heard,
    world: Arc<World>,
}

impl AsyncRead for ServerEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for ServerEnd {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.world.is_dead() {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            locked(&self.heard).extend_from_slice(&bytes[..*count]);
        }
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) is_replayed: bool,
    pub(crate) body: String,
}

impl Reply {
    /// `None`: it is not whole.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let header = |name: &str| {
            let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
            let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim())
        };
        let length: usize = header("content-length")?.parse().ok()?;
        (body.len() >= length).then(|| Self {
            status: head
                .split(' ')
                .nth(1)
                .and_then(|word| word.parse().ok())
                .unwrap_or(0),
            is_replayed: header("idempotent-replayed").is_some(),
            body: body[..length].to_owned(),
        })
    }
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A request: the first line without its version, header lines, a body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Bytes of the body that are sent first, before a pause.
    pub(crate) first: usize,
}

/// Sends a request over a connection of its own; what comes back is in `heard` as well.
pub(crate) async fn ask(
    world: Arc<World>,
    server: Server<Router>,
    request: Request,
    heard: Heard,
) -> Option<Reply> {
    let (mut ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let end = ServerEnd {
        io: theirs,
        heard: Arc::clone(&heard),
        world,
    };
    let peer = Peer::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
    tokio::spawn(async move { server.serve_connection(end, peer).await });
    let mut head = format!(
        "{} HTTP/1.1\r\nHost: bursar.test\r\nConnection: close\r\n",
        request.line
    );
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !request.body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    head.push_str("\r\n");
    let (first, rest) = request.body.split_at(request.first.min(request.body.len()));
    let talk = async {
        ours.write_all(head.as_bytes()).await.ok()?;
        ours.write_all(first).await.ok()?;
        if !first.is_empty() && !rest.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ours.write_all(rest).await.ok()?;
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).await.ok()?;
        Some(())
    };
    let _ = tokio::time::timeout(PATIENCE, talk).await;
    Reply::parse(&locked(&heard))
}
