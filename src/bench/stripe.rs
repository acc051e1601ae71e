//! `bench stripe`: what an order costs beside a bare POST of the same bytes to the same place, in one run.
//!
//! Invariants: both send the same form, headers and kind of key over kept connections, in turn, round by round; ours
//! is the whole way: order stored, decided, sent by its lane, the answer stored and applied, its caller told. The stub
//! is a process of its own, so the CPU measured is that of who asks. Every order must succeed and be one request.
//! Not here: what is printed (`stripe_report`), who answers (`stripe_stub`).

use super::load::Outcome;
use super::stripe_report::{Half, Report};
use super::target::{Running, Target, cpu_us};
use super::{fsync, report::Latency};
use crate::background::{Background, edge};
use crate::http::commands::{ended, inbound};
use crate::stripe::form;
use crate::stripe::read::ReadClient;
use crate::stripe::requests::customers::{PortalVisit, portal};
use crate::stripe::write::WriteClient;
use crate::telemetry::exporter;
use bursar_actors::clock::SystemClock;
use bursar_actors::core_reducer::CoreReducer;
use bursar_actors::intake::Intake;
use bursar_actors::limits::Limits;
use bursar_actors::outbound::Performers;
use bursar_actors::tree::{Deps, Tree, Waker};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::command::{CommandKind, CommandOrder};
use bursar_domain::fact::Order;
use bursar_domain::ids::{CommandId, CustomerId, TenantId, Timestamp};
use bursar_domain::settings::Settings;
use bursar_domain::stripe_call::StripeCall;
use bursar_store::api::Store;
use bursar_store::{OpenOptions, open_sled};
use secrecy::SecretString;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Tenants the orders are spread over.
const TENANTS: usize = 64;
/// Orders before the clock starts: connections, keys of subjects, code that runs for the first time.
const WARM_UP: usize = 200;
/// How long a caller waits, as over HTTP.
const PATIENCE_MS: u64 = 15_000;
/// More than is ever reached here: the allowance is not what is measured.
const REQUESTS_PER_SECOND: u32 = 1_000_000;
const KEY: &str = "sk_test_bench_0123456789";
const VERSION: &str = "2025-04-30.basil";

/// Arguments of `bursar bench stripe`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar bench stripe --rounds 3 --json")]
pub(super) struct StripeArgs {
    /// Orders of each side and round with one in flight; four times as many with several.
    #[arg(long, default_value_t = 500)]
    orders: usize,
    /// How many are in flight in the second part of a round.
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Rounds; medians are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs it on the runtime the edge has in `serve`.
pub(super) fn run(args: &StripeArgs) -> io::Result<u8> {
    edge()?.block_on(measure(args))
}

async fn measure(args: &StripeArgs) -> io::Result<u8> {
    let folder = tempfile::tempdir()?;
    let page = exporter::install(env!("CARGO_PKG_VERSION")).map_err(io::Error::other)?;
    let upkeep = tokio::spawn(exporter::upkeep(page.clone()));
    let stub = Target::Stripe.start(folder.path())?;
    let base = format!("http://{}", stub.address);
    let bare = Arc::new(Bare::new(&base)?);
    let product = Arc::new(Product::start(folder.path(), &base).await?);
    let mut report = Report::new(fsync::probe(folder.path())?);
    let orders = args.orders.max(1);
    let mut next = Numbers(0);
    counted(&stub, &bare, next.take(WARM_UP), 8, &page).await?;
    counted(&stub, &product, next.take(WARM_UP), 8, &page).await?;
    for _ in 0..args.rounds.max(1) {
        for (in_flight, count) in [(1, orders), (args.in_flight.max(2), orders * 4)] {
            let bare = counted(&stub, &bare, next.take(count), in_flight, &page).await?;
            let ours = counted(&stub, &product, next.take(count), in_flight, &page).await?;
            report.add(in_flight, bare, ours);
        }
        report.add_fsync(fsync::probe(folder.path())?);
    }
    upkeep.abort();
    if let Some(product) = Arc::into_inner(product) {
        product.stop().await;
    }
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table(orders, args.rounds.max(1)));
    }
    Ok(0)
}

/// Numbers that were not used yet.
struct Numbers(usize);

impl Numbers {
    fn take(&mut self, count: usize) -> std::ops::Range<usize> {
        let from = self.0;
        self.0 += count;
        from..self.0
    }
}

/// Somebody who orders. # Errors: it did not succeed.
trait Caller: Send + Sync + 'static {
    fn order(&self, number: usize) -> impl Future<Output = io::Result<()>> + Send;
}

fn call(number: usize) -> StripeCall {
    let customer = CustomerId::parse(&format!("cus_bench_{}", number % TENANTS));
    portal(&PortalVisit {
        customer: customer.expect("letters and digits behind a prefix"),
        return_url: Some("https://app.example/billing".to_owned()),
    })
}

/// reqwest alone, as a program without a back office would use it.
struct Bare {
    client: reqwest::Client,
    base: String,
}

impl Bare {
    fn new(base: &str) -> io::Result<Self> {
        let client = reqwest::Client::builder().build();
        Ok(Self {
            client: client.map_err(io::Error::other)?,
            base: base.to_owned(),
        })
    }
}

impl Caller for Bare {
    async fn order(&self, number: usize) -> io::Result<()> {
        let call = call(number);
        let request = self
            .client
            .post(format!("{}{}", self.base, call.path))
            .bearer_auth(KEY)
            .header("stripe-version", VERSION)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("idempotency-key", format!("bursar_cmd_{number:032x}_1"))
            .body(form::encode(&call.params));
        let answer = request.send().await.map_err(io::Error::other)?;
        let is_ok = answer.status().is_success();
        let object: serde_json::Value = answer.json().await.map_err(io::Error::other)?;
        if is_ok && object["url"].is_string() {
            return Ok(());
        }
        Err(io::Error::other(format!("a bare call failed: {object}")))
    }
}

/// Store and actors, without HTTP in front.
struct Product {
    store: Arc<dyn Store>,
    intake: Intake,
    waker: Waker,
    tree: Tree,
    background: Background,
}

impl Product {
    async fn start(folder: &Path, base: &str) -> io::Result<Self> {
        let (store, _) =
            open_sled(&folder.join("data"), OpenOptions::default()).map_err(io::Error::other)?;
        let key = SecretString::from(KEY);
        let read = ReadClient::new(base, &key, VERSION).map_err(io::Error::other)?;
        let write = WriteClient::new(base, &key, VERSION).map_err(io::Error::other)?;
        let deps = Deps {
            store: Arc::clone(&store),
            clock: Arc::new(SystemClock::new()),
            reducer: Arc::new(CoreReducer),
            stripe_read: Arc::new(read),
            stripe_write: Some(Arc::new(write)),
            settings: Arc::new(Settings::default()),
            limits: Limits {
                stripe_requests_per_second: Some(REQUESTS_PER_SECOND),
                reconcile_every: None,
                ..Limits::default()
            },
            performers: Performers::new(),
        };
        let background = Background::start()?;
        let starting = background.handle().spawn(Tree::start(deps)).await;
        let tree = starting
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        Ok(Self {
            store,
            intake: tree.intake(),
            waker: tree.waker(),
            tree,
            background,
        })
    }

    async fn stop(self) {
        self.tree.drain(Duration::from_secs(10)).await;
        drop(self.background);
    }
}

impl Caller for Product {
    async fn order(&self, number: usize) -> io::Result<()> {
        let id = CommandId::parse(&format!("cmd_{number:032x}"));
        let id = id.expect("hex behind a prefix");
        let tenant = TenantId::parse(&format!("bench-{}", number % TENANTS));
        let tenant = tenant.expect("letters, digits and a dash");
        let order = Order::CommandBegin(Box::new(CommandOrder {
            kind: CommandKind::Portal,
            tenant: tenant.clone(),
            by: "operator".to_owned(),
            call: call(number),
            objects: Vec::new(),
            awaits: None,
            after: None,
            patience_ms: Some(PATIENCE_MS),
        }));
        let now = Timestamp(jiff::Timestamp::now().as_millisecond());
        let input = inbound(&id, id.to_string(), &order, &tenant, now);
        let accepted = self.intake.submit(input).await;
        accepted.map_err(|refused| io::Error::other(format!("not stored: {refused:?}")))?;
        self.waker.wake([AggregateKey::Command(id.clone())]);
        let command = ended(self.store.as_ref(), &id, None).await;
        let command = command.map_err(|problem| io::Error::other(problem.detail))?;
        if command.text("status") == "succeeded" && command.text("url").starts_with("https://") {
            return Ok(());
        }
        let text = format!("an order did not succeed: {}", command.0);
        Err(io::Error::other(text))
    }
}

/// Orders them all, so many at once; each must have been one request under a key of its own.
async fn counted<C: Caller>(
    stub: &Running,
    caller: &Arc<C>,
    numbers: std::ops::Range<usize>,
    in_flight: usize,
    page: &metrics_exporter_prometheus::PrometheusHandle,
) -> io::Result<Half> {
    let count = numbers.len();
    let (syncs, before) = (syncs(page), asked(stub).await?);
    let (cpu, started) = (cpu_us(std::process::id()), Instant::now());
    let mut outcome = ordered(caller, numbers, in_flight).await?;
    outcome.elapsed = started.elapsed();
    let cpu = cpu_us(std::process::id()).saturating_sub(cpu);
    let after = asked(stub).await?;
    let one_each = (before.0 + count as u64, before.1 + count as u64);
    // No number is used by both sides, so every key is new.
    if after != one_each || outcome.ok != count {
        let text =
            format!("{count} orders, but requests and keys went from {before:?} to {after:?}");
        return Err(io::Error::other(text));
    }
    Ok(Half {
        orders: count as u64,
        latency: Latency::of(&outcome),
        per_second: outcome.per_second(),
        cpu_us: cpu,
        syncs: self::syncs(page).saturating_sub(syncs),
    })
}

async fn ordered<C: Caller>(
    caller: &Arc<C>,
    numbers: std::ops::Range<usize>,
    in_flight: usize,
) -> io::Result<Outcome> {
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let workers = (0..in_flight).map(|_| {
        let (caller, next, end) = (Arc::clone(caller), Arc::clone(&next), numbers.end);
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return io::Result::Ok(latencies);
                }
                let started = Instant::now();
                caller.order(number).await?;
                latencies.push(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        })
    });
    let mut outcome = Outcome::default();
    for worker in workers.collect::<Vec<_>>() {
        let latencies = worker.await.map_err(io::Error::other)??;
        outcome.ok += latencies.len();
        outcome.latencies_us.extend(latencies);
    }
    outcome.latencies_us.sort_unstable();
    Ok(outcome)
}

/// Requests and distinct keys the stub has seen.
async fn asked(stub: &Running) -> io::Result<(u64, u64)> {
    let answer = reqwest::get(format!("http://{}/counts", stub.address)).await;
    let counts = answer.map_err(io::Error::other)?.json().await;
    let counts: serde_json::Value = counts.map_err(io::Error::other)?;
    let figure = |name: &str| counts[name].as_u64().unwrap_or(0);
    Ok((figure("requests"), figure("keys")))
}

fn syncs(page: &metrics_exporter_prometheus::PrometheusHandle) -> u64 {
    super::series_sum(&page.render(), "bursar_store_sync_duration_seconds_count")
}
