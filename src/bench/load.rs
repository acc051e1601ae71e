//! A closed-loop load generator: prepared HTTP requests over keep-alive connections.
//!
//! Invariants: requests are built before the clock starts, each connection has one request in
//! flight, every answer's status is looked at. The generator shares the machine with the server, so
//! figures are ratios between targets of one run, never promises.
//!
//! Not here: what is asked (`events`), who answers (`target`), what is printed (`report`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Longest answer head we read; a longer one is a broken server.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Answers by status class: 2xx.
    pub ok: usize,
    /// Everything else.
    pub other: usize,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Sorted, in microseconds.
    pub latencies_us: Vec<u64>,
}

impl Outcome {
    /// Answers per second.
    pub fn per_second(&self) -> u64 {
        let micros = self.elapsed.as_micros().max(1);
        u64::try_from((self.ok + self.other) as u128 * 1_000_000 / micros).unwrap_or(u64::MAX)
    }
    /// The latency below which `per_mille` of the answers lie, in microseconds.
    pub fn quantile_us(&self, per_mille: usize) -> u64 {
        let last = self.latencies_us.len().saturating_sub(1);
        self.latencies_us
            .get((self.latencies_us.len() * per_mille / 1_000).min(last))
            .copied()
            .unwrap_or(0)
    }
}

/// How the requests are sent.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// Requests per second over all connections; `None`: as fast as answers come.
    pub rate_per_second: Option<u64>,
    /// How often each request is sent, all of them one after the other and then from the first again.
    pub times: usize,
}

/// Sends every request as often as the shape says and waits for every answer.
///
/// # Errors
/// A connection that cannot be made, or that ends before its answer.
pub async fn run(
    to: SocketAddr,
    requests: Arc<Vec<Vec<u8>>>,
    shape: Shape,
) -> std::io::Result<Outcome> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut streams = Vec::new();
    for _ in 0..shape.connections.min(requests.len()).max(1) {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let started = Instant::now();
    let pace = shape
        .rate_per_second
        .map(|rate| Pace::start(started, rate, requests.len() * shape.times));
    let mut tasks = Vec::new();
    for stream in streams {
        let (next, requests) = (Arc::clone(&next), Arc::clone(&requests));
        tasks.push(tokio::spawn(connection(
            stream,
            next,
            requests,
            shape.times,
            pace.clone(),
        )));
    }
    let mut outcome = Outcome::default();
    for task in tasks {
        let part = task.await.map_err(std::io::Error::other)??;
        outcome.ok += part.ok;
        outcome.other += part.other;
        outcome.latencies_us.extend(part.latencies_us);
    }
    outcome.elapsed = started.elapsed();
    outcome.latencies_us.sort_unstable();
    Ok(outcome)
}

/// Lets requests go at a steady rate. On a thread of its own: the runtime's timers count in whole
/// milliseconds, which is eight times what a sync takes.
#[derive(Clone)]
struct Pace {
    started: Instant,
    rate_per_second: u64,
    due: Arc<Semaphore>,
}

impl Pace {
    fn start(started: Instant, rate_per_second: u64, count: usize) -> Self {
        let pace = Self {
            started,
            rate_per_second: rate_per_second.max(1),
            due: Arc::new(Semaphore::new(0)),
        };
        let own = pace.clone();
        std::thread::spawn(move || {
            for index in 0..count {
                std::thread::sleep(own.due_at(index).saturating_duration_since(Instant::now()));
                own.due.add_permits(1);
            }
            // All may go now; whoever still waits finds nothing left.
            own.due.close();
        });
        pace
    }

    fn due_at(&self, index: usize) -> Instant {
        self.started + Duration::from_micros(index as u64 * 1_000_000 / self.rate_per_second)
    }

    /// Waits until one more request may go.
    async fn wait(&self) {
        // An error: closed, so everything is due.
        if let Ok(permit) = self.due.acquire().await {
            permit.forget();
        }
    }
}

async fn connection(
    mut stream: TcpStream,
    next: Arc<AtomicUsize>,
    requests: Arc<Vec<Vec<u8>>>,
    times: usize,
    pace: Option<Pace>,
) -> std::io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut buffer = vec![0_u8; HEAD_BYTES_MAX];
    loop {
        if let Some(pace) = &pace {
            pace.wait().await;
        }
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= requests.len() * times {
            return Ok(outcome);
        }
        let request = &requests[index % requests.len()];
        // Paced: latency counts from when the request was due, so a slow server cannot hide a queue.
        let sent_at = pace
            .as_ref()
            .map_or_else(Instant::now, |pace| pace.due_at(index));
        stream.write_all(request).await?;
        let status = answer(&mut stream, &mut buffer).await?;
        outcome
            .latencies_us
            .push(u64::try_from(sent_at.elapsed().as_micros()).unwrap_or(u64::MAX));
        if (200..300).contains(&status) {
            outcome.ok += 1;
        } else {
            outcome.other += 1;
        }
    }
}

/// Reads one answer whole and says its status.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<u16> {
    let mut filled = 0;
    loop {
        let room = buffer.get_mut(filled..).filter(|room| !room.is_empty());
        let room = room.ok_or_else(|| std::io::Error::other("answer head too long"))?;
        let read = stream.read(room).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let seen = &buffer[..filled];
        let Some(head_end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&seen[..head_end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0);
        let mut missing = (head_end + 4 + length).saturating_sub(filled);
        while missing > 0 {
            let take = missing.min(buffer.len());
            let read = stream.read(&mut buffer[..take]).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            missing -= read;
        }
        return Ok(status);
    }
}
