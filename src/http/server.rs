//! The accept loop: HTTP/1.1 on TCP, on a Unix socket, or over any stream.
//!
//! Invariants: HTTP/2 is off (its resets and floods are the proxy's business); a panic of a handler
//! ends that request with a problem, not the connection's task in silence; draining stops accepting
//! first, lets running requests end, then closes.
//! Failure: a client that is slow, silent or too many is closed (`connections`, `body`).
//! Source: RFC 9110, RFC 9112.

use crate::http::connections::{Connection, Registry, Watched};
use crate::http::limits::{HEAD_BYTES_MAX, HEADERS_MAX, Limits, READ_BUFFER_BYTES};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// A future that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody on the network.
    Address(IpAddr),
    /// Somebody who may open the control socket (mode 600): has the operator's rights.
    ControlSocket,
}

impl Peer {
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::ControlSocket => None,
        }
    }
}

/// What answers the requests of a listener.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. `repeated_length`: its head gave Content-Length more than once.
    fn call(
        self: Arc<Self>,
        peer: Peer,
        repeated_length: bool,
        request: Request<Incoming>,
    ) -> BoxFuture<Response<Full<Bytes>>>;
    /// The answer after `call` panicked.
    fn panicked(&self) -> Response<Full<Bytes>>;
    /// The number of open connections changed.
    fn connections(&self, _open: usize) {}
    /// The server drains: nothing should be waited for any more.
    fn draining(&self) {}
}

/// Serves one service with one set of limits. Cheap to clone.
pub struct Server<S> {
    service: Arc<S>,
    limits: Arc<Limits>,
    registry: Arc<Registry>,
    /// `true` once draining.
    draining: watch::Receiver<bool>,
}

impl<S> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            limits: Arc::clone(&self.limits),
            registry: Arc::clone(&self.registry),
            draining: self.draining.clone(),
        }
    }
}

impl<S: Service> Server<S> {
    /// A server that drains once `draining` says `true` (or its sender is gone).
    pub fn new(service: Arc<S>, limits: Limits, draining: watch::Receiver<bool>) -> Self {
        Self {
            service,
            limits: Arc::new(limits),
            registry: Arc::new(Registry::default()),
            draining,
        }
    }
    /// Accepts until drained; answers when every connection is closed.
    pub async fn run_tcp(self, listener: TcpListener) {
        let sweeper = self.spawn_sweeper();
        let mut draining = self.draining.clone();
        let mut stop = pin!(drained(&mut draining));
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Answers are one write each; waiting for more only adds delay.
                    stream.set_nodelay(true).ok();
                    self.spawn(stream, Peer::Address(canonical(peer)));
                }
                Err(error) => accept_failed(&error).await,
            }
        }
        drop(listener);
        self.drain().await;
        sweeper.abort();
    }
    /// As [`Server::run_tcp`], on a Unix socket.
    pub async fn run_unix(self, socket: ControlSocket) {
        let sweeper = self.spawn_sweeper();
        let mut draining = self.draining.clone();
        let mut stop = pin!(drained(&mut draining));
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = socket.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.spawn(stream, Peer::ControlSocket),
                Err(error) => accept_failed(&error).await,
            }
        }
        drop(socket);
        self.drain().await;
        sweeper.abort();
    }
    /// Connections open at present.
    pub fn open_connections(&self) -> usize {
        self.registry.len()
    }
    fn spawn<I>(&self, io: I, peer: Peer)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server = self.clone();
        tokio::spawn(async move { server.serve_connection(io, peer).await });
    }
    /// Serves one connection to its end.
    pub async fn serve_connection<I>(&self, io: I, peer: Peer)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(open) = self.registry.admit(peer.address(), &self.limits) else {
            tracing::warn!("too many connections: one refused");
            metrics::counter!("bursar_http_rejections_total", "reason" => "busy").increment(1);
            return;
        };
        self.service.connections(self.registry.len());
        bursar_domain::step!("KW0");
        self.drive(io, peer, &open.connection).await;
        drop(open);
        self.service.connections(self.registry.len());
    }
    async fn drive<I>(&self, io: I, peer: Peer, connection: &Arc<Connection>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = hyper::service::service_fn(|request| {
            let repeated_length = connection.request_began();
            let service = Arc::clone(&self.service);
            let connection = Arc::clone(connection);
            async move {
                let call = Arc::clone(&service).call(peer, repeated_length, request);
                let response = Unwinding(call).await.unwrap_or_else(|()| {
                    tracing::error!("a handler panicked");
                    service.panicked()
                });
                connection.request_ended(closes(&response));
                Ok::<_, Infallible>(response)
            }
        });
        let io = TokioIo::new(Watched::new(io, Arc::clone(connection)));
        let mut serving = pin!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                // The sweep knows idle from slow; this one is the backstop for both.
                .header_read_timeout(self.limits.header_timeout + self.limits.idle_timeout)
                .max_headers(HEADERS_MAX)
                .max_header_size(HEAD_BYTES_MAX)
                .max_buf_size(READ_BUFFER_BYTES)
                // Answers are short: one buffer is less to hand over than a list of two.
                .writev(false)
                .serve_connection(io, service)
        );
        let mut draining = self.draining.clone();
        let mut stop = pin!(drained(&mut draining));
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                // Malformed requests were answered by hyper; nothing is left to say.
                _ended = serving.as_mut() => return,
                () = connection.closed() => return,
                () = &mut stop, if !told => {
                    told = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
    fn spawn_sweeper(&self) -> tokio::task::JoinHandle<()> {
        let (registry, limits) = (Arc::clone(&self.registry), Arc::clone(&self.limits));
        let period = (limits.header_timeout / 10).max(Duration::from_millis(20));
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period);
            loop {
                ticks.tick().await;
                registry.sweep(&limits);
            }
        })
    }
    async fn drain(&self) {
        self.service.draining();
        let emptied = self.registry.emptied();
        if tokio::time::timeout(self.limits.drain_timeout, emptied)
            .await
            .is_err()
        {
            let left = self.registry.len();
            tracing::warn!(left, "requests still ran when the drain time was over");
            self.registry.close_all();
        }
    }
}

/// Resolves once draining.
pub async fn drained(draining: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say so: the process is ending.
    let _ = draining.wait_for(|draining| *draining).await;
}

async fn accept_failed(error: &std::io::Error) {
    // Out of descriptors is the usual cause: connections must end before the next can begin.
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

/// The control socket: a listener and the file that goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds `path` with mode 600. A leftover of a process that is gone is replaced: the store's
    /// lock, taken before, says that nobody else serves this directory.
    /// # Errors: the operating system's.
    pub fn bind(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

/// Refusals that leave the body unread say that the connection ends.
fn closes(response: &Response<Full<Bytes>>) -> bool {
    let connection = response.headers().get(hyper::header::CONNECTION);
    connection.is_some_and(|value| value.as_bytes() == b"close")
}

/// Catches the panic of a future, so that one request cannot end in silence.
struct Unwinding<T>(BoxFuture<T>);

impl<T> Future for Unwinding<T> {
    type Output = Result<T, ()>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let call = &mut self.get_mut().0;
        // The future is dropped after a panic and never polled again.
        match std::panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(_panic) => Poll::Ready(Err(())),
        }
    }
}

/// Completes at the first SIGTERM or SIGINT; a second one ends the process at once.
/// # Errors: the handlers cannot be installed.
pub async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        let code = tokio::select! {
            _ = terminate.recv() => 143,
            _ = interrupt.recv() => 130,
        };
        tracing::warn!("a second signal: ending at once");
        std::process::exit(code);
    });
    Ok(())
}
