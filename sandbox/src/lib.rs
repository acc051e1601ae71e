//! A Stripe that fits in your pocket: a stateful stand-in for Stripe's API of version
//! 2025-04-30.basil, for demos and tests.
//!
//! Invariants: it listens on loopback unless told otherwise; it takes test keys only; the same seed,
//! clock and calls give the same ids, objects and events; time moves by its clock alone.
//! Not here: anything of Bursar's other crates; it speaks HTTP and signed webhooks like Stripe.
//! Failure: refusals in Stripe's error body; faults only where a test asks for them.
//! Source of outside rules: Stripe API reference and documentation, named in each module.

#![recursion_limit = "256"]

mod api;
mod billing;
mod call;
mod cards;
mod clock;
mod control;
mod error;
mod expand;
mod faults;
mod form;
mod idempotency;
mod ids;
mod lists;
mod mail;
mod older;
mod pages;
mod portable;
mod seed;
mod server;
pub mod sign;
mod table;
mod webhooks;
mod world;

pub use clock::{Clock, SharedClock};
pub use control::Control;
pub use faults::{Fault, FaultKind};
pub use mail::{Caught, MailFault};
pub use portable::{PortableAnswer, PortableSandbox};
pub use seed::{SeedPlan, Seeded};
pub use server::RequestLog;
pub use webhooks::Delivery;

use hyper_util::rt::{TokioIo, TokioTimer};
use server::Shared;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Connections served at a time; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// How a sandbox is started.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address of the mail server that catches; port 0 takes a free one.
    pub mail_listen: SocketAddr,
    /// Listens on addresses other machines reach, too. Off: such an address is refused.
    pub allow_non_loopback: bool,
    /// The address written into links; `http://{listen}` when absent.
    pub public_base_url: Option<String>,
    /// Hears every event, of the platform and of connected accounts.
    pub webhook_url: Option<String>,
    /// Secrets `webhook_url` is signed with, one signature each (several: a rotation).
    pub webhook_secrets: Vec<String>,
    /// The clock, shared with whoever should see the same time.
    pub clock: Arc<dyn Clock>,
    /// Start of all ids and chances.
    pub seed: u64,
    /// Deliveries running at a time; 1 keeps the order of events.
    pub delivery_concurrency: usize,
    /// Divides the waits between delivery attempts (1: as long as at Stripe).
    pub retry_time_divisor: u32,
    /// Renders webhooks in the 2024-06-20 shape.
    pub older_event_shapes: bool,
    /// Products and prices to begin with.
    pub seed_plans: Vec<SeedPlan>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            mail_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            allow_non_loopback: false,
            public_base_url: None,
            webhook_url: None,
            webhook_secrets: vec!["whsec_sandbox00000000000000000000".to_owned()],
            clock: Arc::new(SharedClock::new()),
            seed: 1,
            delivery_concurrency: 1,
            retry_time_divisor: 1,
            older_event_shapes: false,
            seed_plans: Vec::new(),
        }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is reachable from other machines and that was not asked for.
    #[error(
        "{0} is not a loopback address; allow it explicitly if other machines should reach the sandbox"
    )]
    NotLoopback(SocketAddr),
    /// The address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The seed catalogue is not possible.
    #[error("the seed catalogue was refused: {0}")]
    Seed(String),
}

/// A running sandbox. Dropping it stops it.
pub struct Sandbox {
    addr: SocketAddr,
    mail_addr: SocketAddr,
    base_url: String,
    control: Control,
    seeded: Vec<Seeded>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts a sandbox.
///
/// # Errors
/// When the address is not loopback without leave, cannot be bound, or the seed is refused.
///
/// # Cancel safety
/// Nothing runs until it returns.
pub async fn start(config: SandboxConfig) -> Result<Sandbox, StartError> {
    for address in [config.listen, config.mail_listen] {
        if !address.ip().is_loopback() && !config.allow_non_loopback {
            return Err(StartError::NotLoopback(address));
        }
    }
    let (listener, addr) = bind(config.listen).await?;
    let (mail_listener, mail_addr) = bind(config.mail_listen).await?;
    let base_url = config
        .public_base_url
        .clone()
        .unwrap_or_else(|| format!("http://{addr}"));
    let base_url = base_url.trim_end_matches('/').to_owned();
    let shared = Arc::new(Shared::new(&config, &base_url));
    let control = Control::new(Arc::clone(&shared));
    let seeded = control.seed(&config.seed_plans).map_err(StartError::Seed)?;
    let (stop, stopped) = watch::channel(false);
    let tasks = vec![
        tokio::spawn(accept(listener, Arc::clone(&shared), stopped.clone())),
        tokio::spawn(until(stopped.clone(), webhooks::run(Arc::clone(&shared)))),
        tokio::spawn(until(
            stopped.clone(),
            mail::smtp::run(mail_listener, Arc::clone(&shared)),
        )),
        tokio::spawn(until(stopped, tick(shared))),
    ];
    Ok(Sandbox {
        addr,
        mail_addr,
        base_url,
        control,
        seeded,
        stop,
        tasks,
    })
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Sandbox {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where its mail server listens.
    pub fn mail_addr(&self) -> SocketAddr {
        self.mail_addr
    }

    /// Its address as a URL without trailing slash: Stripe's `api_base`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The handle that moves its clock, breaks things and looks inside.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What the seed catalogue became.
    pub fn seeded(&self) -> &[Seeded] {
        &self.seeded
    }

    /// Stops listening and delivering.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        for task in self.tasks.drain(..) {
            // A task that panicked has said so already.
            let _ = task.await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

async fn until(mut stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

async fn tick(shared: Arc<Shared>) {
    loop {
        shared.tick();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: wait for some to come back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        let stopped = stopped.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                server::serve(Arc::clone(&shared), request)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .serve_connection(TokioIo::new(stream), service);
            until(stopped, async {
                // A client that goes away, or a fault that resets: both end here.
                let _ = connection.await;
            })
            .await;
            drop(permit);
        });
    }
}
