//! The open connections of a listener: who they are, what they are doing, which must go.
//!
//! Invariants: every connection is in the registry from accept to close (a guard removes it); at
//! the cap the oldest idle one makes room, and if none is idle the newcomer is refused; a head that
//! takes longer than the header limit, and an idle connection, are closed by the sweep.
//! Not here: the time of a body (`body`).

use crate::http::limits::{HEAD_BYTES_MAX, Limits};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

const IDLE: u8 = 0;
const READING_HEAD: u8 = 1;
const BUSY: u8 = 2;

/// One connection as the registry and its service see it.
#[derive(Debug)]
pub struct Connection {
    address: Option<IpAddr>,
    started: Instant,
    phase: AtomicU8,
    /// Milliseconds after `started` at which the phase began.
    since_ms: AtomicU64,
    /// The head in hand gave its length twice. hyper drops an equal repetition before a service
    /// sees it, and two readers of one message must never be possible.
    repeated_length: AtomicBool,
    /// The last request was answered before its body was read.
    unread: AtomicBool,
    close: Notify,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(address: Option<IpAddr>) -> Self {
        Self {
            address,
            started: Instant::now(),
            phase: AtomicU8::new(IDLE),
            since_ms: AtomicU64::new(0),
            repeated_length: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            close: Notify::new(),
        }
    }
    fn enter(&self, phase: u8) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since_ms.store(elapsed, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }
    /// A request was read; answers whether its head repeated the length.
    pub fn request_began(&self) -> bool {
        self.enter(BUSY);
        self.repeated_length.swap(false, Ordering::Relaxed)
    }
    /// Its answer was handed over; `closes`: without having read the whole body.
    pub fn request_ended(&self, closes: bool) {
        self.unread.store(closes, Ordering::Relaxed);
        self.enter(IDLE);
    }
    /// Resolves when the registry wants the connection gone.
    pub async fn closed(&self) {
        self.close.notified().await;
    }
    fn age_ms(&self) -> u64 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(self.since_ms.load(Ordering::Relaxed))
    }
    fn overdue(&self, limits: &Limits) -> bool {
        let limit = match self.phase.load(Ordering::Relaxed) {
            IDLE => limits.idle_timeout,
            READING_HEAD => limits.header_timeout,
            _ => return false,
        };
        u128::from(self.age_ms()) >= limit.as_millis()
    }
    fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Relaxed) != BUSY
    }
}

/// The open connections.
#[derive(Debug, Default)]
pub struct Registry {
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    emptied: Notify,
}

/// Keeps a connection in the registry.
#[derive(Debug)]
pub struct Open {
    registry: Arc<Registry>,
    number: u64,
    /// The connection.
    pub connection: Arc<Connection>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.registry.lock();
        open.remove(&self.number);
        if open.is_empty() {
            self.registry.emptied.notify_waiters();
        }
    }
}

impl Registry {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Takes a newcomer in, closing the oldest idle connection if that is what it needs.
    /// `None`: it must be refused.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>, limits: &Limits) -> Option<Open> {
        let mut open = self.lock();
        let counted = address.filter(|a| !(limits.loopback_is_exempt && a.is_loopback()));
        if let Some(address) = counted {
            let same = |c: &Connection| c.address == Some(address);
            let count = open.values().filter(|c| same(c)).count();
            if count >= limits.connections_per_address_max && !make_room(&mut open, same) {
                return None;
            }
        }
        if open.len() >= limits.connections_max && !make_room(&mut open, |_| true) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(address));
        open.insert(number, Arc::clone(&connection));
        Some(Open {
            registry: Arc::clone(self),
            number,
            connection,
        })
    }
    /// Closes what is overdue.
    pub fn sweep(&self, limits: &Limits) {
        for connection in self.lock().values().filter(|c| c.overdue(limits)) {
            connection.close.notify_one();
        }
    }
    /// How many are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }
    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
    /// Resolves when none is open.
    pub async fn emptied(&self) {
        loop {
            let notified = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            notified.await;
        }
    }
    /// Closes all, whatever they do.
    pub fn close_all(&self) {
        for connection in self.lock().values() {
            connection.close.notify_one();
        }
    }
}

/// Evicts the longest idle connection that fits, at once: the newcomer takes its place.
fn make_room(
    open: &mut BTreeMap<u64, Arc<Connection>>,
    fits: impl Fn(&Connection) -> bool,
) -> bool {
    let oldest = open
        .iter()
        .filter(|(_, c)| c.is_idle() && fits(c))
        .max_by_key(|(_, c)| c.age_ms())
        .map(|(number, _)| *number);
    let Some(connection) = oldest.and_then(|number| open.remove(&number)) else {
        return false;
    };
    connection.close.notify_one();
    true
}

/// What a client may still send into a connection that was answered early.
const LINGER_BYTES_MAX: usize = 8 << 20;
/// How long it may take for that.
const LINGER: Duration = Duration::from_secs(1);

/// The socket, watched: notices when a head begins, and a head that gives its length twice. Closing
/// a socket with unread bytes resets it, and the reset can overtake the answer; so what is left of a
/// body nobody wants is thrown away for a moment before the end.
#[derive(Debug)]
pub struct Watched<I> {
    io: I,
    connection: Arc<Connection>,
    /// The head so far, while it is not whole.
    head: Vec<u8>,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
    #[cfg(feature = "crashpoints")]
    is_half_written: bool,
}

impl<I> Watched<I> {
    /// Watches a socket.
    pub fn new(io: I, connection: Arc<Connection>) -> Self {
        Self {
            io,
            connection,
            head: Vec::new(),
            lingering: None,
            #[cfg(feature = "crashpoints")]
            is_half_written: false,
        }
    }
    fn saw(&mut self, bytes: &[u8]) {
        match self.connection.phase.load(Ordering::Relaxed) {
            BUSY => return self.head.clear(),
            IDLE => self.connection.enter(READING_HEAD),
            _ => {}
        }
        if self.head.is_empty() && ends_head(bytes) {
            return self.note(repeats_length(bytes));
        }
        let room = HEAD_BYTES_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if ends_head(&self.head) {
            let repeated = repeats_length(&self.head);
            self.head.clear();
            self.note(repeated);
        }
    }
    fn note(&self, repeated: bool) {
        if repeated {
            self.connection
                .repeated_length
                .store(true, Ordering::Relaxed);
        }
    }
}

fn ends_head(bytes: &[u8]) -> bool {
    head_length(bytes) < bytes.len()
}

/// Where the empty line begins, or the whole length. Bare line feeds end lines too.
fn head_length(bytes: &[u8]) -> usize {
    let mut line_start = 0;
    for (position, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' {
            let line = &bytes[line_start..position];
            if line_start > 0 && (line.is_empty() || line == b"\r") {
                return line_start;
            }
            line_start = position + 1;
        }
    }
    bytes.len()
}

fn repeats_length(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    let head = &bytes[..head_length(bytes)];
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let given = lines.filter(|line| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
            && line.get(NAME.len()) == Some(&b':')
    });
    given.count() > 1
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let outcome = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.saw(&buf.filled()[before..]);
        }
        outcome
    }
}

impl<I: AsyncRead + Unpin> Watched<I> {
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let (sleep, left) = self
            .lingering
            .get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), LINGER_BYTES_MAX));
        let mut scratch = [0; 8 << 10];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && *left > 0 => {
                    *left = left.saturating_sub(buf.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return sleep.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

#[cfg(feature = "crashpoints")]
impl<I: AsyncWrite + Unpin> Watched<I> {
    /// Writes in two halves, so that there is a point between them.
    fn poll_write_half(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let is_first = !std::mem::replace(&mut self.is_half_written, true);
        let part = if is_first {
            &bytes[..bytes.len().div_ceil(2)]
        } else {
            bytes
        };
        let written = Pin::new(&mut self.io).poll_write(cx, part);
        match (&written, is_first) {
            (Poll::Ready(Ok(_)), true) => bursar_domain::step!("KC5"),
            (Poll::Ready(_), _) => self.is_half_written = false,
            (Poll::Pending, is_first) => self.is_half_written = !is_first,
        }
        written
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        #[cfg(feature = "crashpoints")]
        return self.get_mut().poll_write_half(cx, bytes);
        #[cfg(not(feature = "crashpoints"))]
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            match Pin::new(&mut this.io).poll_shutdown(cx) {
                Poll::Ready(Ok(())) if this.connection.unread.load(Ordering::Relaxed) => {}
                other => return other,
            }
        }
        this.poll_linger(cx)
    }
    fn is_write_vectored(&self) -> bool {
        // There is no half of many slices; a build with numbered steps writes one at a time.
        !cfg!(feature = "crashpoints") && self.io.is_write_vectored()
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_length_is_noticed_however_the_head_is_cut() {
        let bad = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n{}";
        let good = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n\ncontent-length: 1\ncontent-length: 2\n\n";
        for cut in 1..bad.len() - 2 {
            let connection = Arc::new(Connection::new(None));
            let mut watched = Watched::new((), Arc::clone(&connection));
            watched.saw(&bad[..cut]);
            watched.saw(&bad[cut..]);
            assert!(connection.request_began(), "cut at {cut}");
            assert!(!connection.request_began(), "noted once");
        }
        let connection = Arc::new(Connection::new(None));
        Watched::new((), Arc::clone(&connection)).saw(good);
        assert!(!connection.request_began(), "the body is no head");
    }

    #[test]
    fn the_oldest_idle_connection_makes_room() {
        let limits = Limits {
            connections_max: 2,
            ..Limits::default()
        };
        let registry = Arc::new(Registry::default());
        let first = registry.admit(None, &limits).unwrap();
        let second = registry.admit(None, &limits).unwrap();
        first.connection.request_began();
        let third = registry.admit(None, &limits).unwrap();
        assert_eq!(registry.len(), 2, "the second one went");
        third.connection.request_began();
        assert!(registry.admit(None, &limits).is_none(), "all are busy");
        drop((first, second, third));
        assert!(registry.is_empty());
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let limits = Limits {
            connections_per_address_max: 1,
            ..Limits::default()
        };
        let registry = Arc::new(Registry::default());
        let (a, b) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        let first = registry.admit(a, &limits).unwrap();
        first.connection.request_began();
        assert!(registry.admit(a, &limits).is_none());
        assert!(registry.admit(b, &limits).is_some());
        let local = "127.0.0.1".parse().ok();
        let one = registry.admit(local, &limits).unwrap();
        one.connection.request_began();
        assert!(registry.admit(local, &limits).is_some());
    }
}
