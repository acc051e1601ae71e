//! One simulated run: a day outside, processes that begin and end, and the checks at its end.
//!
//! Real: the whole product above four borders. Behind them: the clock (tokio's, paused), the disk (`SimVfs`; rows in
//! memory, made again at every start), Stripe (the sandbox as a function, faults of the seed's in front), and mail.
//! Everything is one thread, and what is drawn is one seed's.

mod checks;
mod dice;
mod outside;
mod receiver;
mod stripe;
mod time;
mod wire;
mod world;

use bursar::app::{App, Ground};
use bursar::background::Background;
use bursar::mail;
use bursar_actors::clock::Clock;
use bursar_config::{BaseUrl, Config, DemoArgs, WebhookSecrets};
use bursar_domain::crashpoints;
use bursar_store::api::Store;
use bursar_store::testing::open_in_runtime;
pub(crate) use dice::Streams;
use outside::{ADMIN_KEY, Host, Outside, SECRETS, go_on};
use receiver::SimReceiver;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stripe::{SimMail, SimStripe};
pub(crate) use world::Counts;
use world::{Doom, World, locked};

/// Processes that end at a point in one run; after them one lives to the end.
const ENDS_MAX: u64 = 7;
/// A start that lives this long counts as good.
const GOOD_AFTER_MS: u64 = 12_000;
/// Bytes of journal after which a checkpoint is written.
const CHECKPOINT_BYTES: u64 = 24 << 10;
/// How long everything may take to come to rest once nothing goes wrong any more.
const REST_WITHIN: Duration = Duration::from_secs(3_600);

/// Points the simulation reaches. KS5 copies real files.
pub(crate) fn points() -> impl Iterator<Item = &'static str> {
    let all = crashpoints::ALL.iter().map(|point| point.name);
    all.filter(|name| *name != "KS5")
}

/// How a run went.
pub(crate) struct Outcome {
    pub(crate) wrongs: Vec<String>,
    pub(crate) counts: Counts,
    pub(crate) virtual_ms: u64,
    pub(crate) ends: u64,
    pub(crate) events: u64,
    pub(crate) answered: u64,
    pub(crate) trace: String,
}

/// How a process ended.
enum End {
    Died,
    Drained,
    AtRest,
}

struct Edge<'a>(&'a App);

impl Host for Edge<'_> {
    fn rotate(&self, secrets: &[&str]) {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned().into());
        self.0.swap_secrets(&WebhookSecrets(secrets.collect()));
    }
}

fn configuration(world: &World) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let price = |key: &str| {
        let found = world
            .stripe
            .seeded()
            .iter()
            .find(|plan| plan.lookup_key == key);
        found.map(|plan| plan.price_id.clone()).unwrap_or_default()
    };
    let plans = format!(
        "[[plan]]\nid = \"hobby\"\nstripe_price_id = \"{}\"\n[plan.subscription]\nfeatures = [\"reports\"]\n",
        price("hobby")
    );
    let args = DemoArgs {
        listen: any,
        metrics_listen: any,
        data_dir: "/data".into(),
        stripe_api_base: "http://127.0.0.1:9".to_owned(),
        mail_server: Some(SocketAddr::from(([127, 0, 0, 1], 9))),
        plans_toml: Some(plans),
    };
    let mut config = Config::for_demo(&args).expect("a configuration");
    let hook = BaseUrl::parse("https://app.example.com/hook").expect("an address");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned();
    config.outbound.endpoint = Some((hook, secret.into()));
    config.access.admin_key = ADMIN_KEY.to_owned().into();
    config
}

/// What a seed's day holds before anything has happened.
#[allow(dead_code, reason = "the seeded bugs only live days")]
pub(crate) fn plan(seed: u64) -> String {
    Outside::new(&World::new(seed)).plan()
}

/// Runs a seed to its end.
pub(crate) fn run(seed: u64) -> Outcome {
    let world = World::new(seed);
    let config = configuration(&world);
    let outside = Arc::new(Mutex::new(Outside::new(&world)));
    let heard = Arc::clone(&world);
    crashpoints::listen(Some(Rc::new(move |point| heard.pass(point))));
    crashpoints::draw_from(Some(seed));
    let (mut ends, mut early) = (0, 0);
    while world.wrongs().is_empty() {
        let doom = doom(&world, ends, early);
        let began = world.time.ms();
        let end = life(&world, &config, &outside, doom);
        early = if world.time.ms() - began < GOOD_AFTER_MS {
            early + 1
        } else {
            0
        };
        match end {
            End::AtRest => break,
            End::Died | End::Drained => ends += 1,
        }
    }
    crashpoints::listen(None);
    crashpoints::draw_from(None);
    let out = locked(&outside);
    Outcome {
        wrongs: world.wrongs(),
        counts: world.counts(),
        virtual_ms: world.time.ms(),
        ends,
        events: out.events.len() as u64,
        answered: out.answered,
        trace: world.traced(),
    }
}

/// Where the next process ends: each point as often as any other, at one of its first passes.
///
/// After two starts that ended early the next one lives long enough to count as good: what is in hand at three early
/// ends in a row is set aside, and that is another story than losing it.
fn doom(world: &World, ends: u64, early: u64) -> Option<Doom> {
    if ends >= ENDS_MAX {
        return None;
    }
    let not_before_ms = if early >= 2 {
        world.time.ms() + GOOD_AFTER_MS
    } else {
        0
    };
    // In turn over all seeds, so that none is left to luck.
    let all: Vec<_> = points().collect();
    let turn = world.seed.wrapping_mul(ENDS_MAX).wrapping_add(ends);
    let point = all[(turn % all.len() as u64) as usize];
    let pass_max = match point {
        "KS1" => 60,
        "KW11" | "KW15" | "KS2" | "KS6" => 1,
        point if point.starts_with("KC") => 1,
        _ => 4,
    };
    let pass = world.dice.with("doom", |dice| dice.within(1, pass_max));
    Some(Doom {
        point,
        pass,
        not_before_ms,
    })
}

/// One process, from its start to its end.
fn life(
    world: &Arc<World>,
    config: &Config,
    outside: &Arc<Mutex<Outside>>,
    doom: Option<Doom>,
) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let end = runtime.block_on(async {
        world.begin(doom);
        let end = tokio::select! {
            biased;
            () = world.death() => End::Died,
            end = live(world, config, outside, doom) => end,
        };
        world.time.end();
        end
    });
    drop(runtime);
    locked(outside).process_ended(world);
    end
}

async fn live(
    world: &Arc<World>,
    config: &Config,
    outside: &Arc<Mutex<Outside>>,
    doom: Option<Doom>,
) -> End {
    let opened = open_in_runtime(&world.disk, CHECKPOINT_BYTES);
    world.alive().await;
    let (store, opened) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            world.wrong(format!("the store does not open: {error}"));
            return End::Died;
        }
    };
    if !opened.checkpoints_damaged.is_empty() {
        world.wrong(format!("damaged: {:?}", opened.checkpoints_damaged));
    }
    let app = match App::on(ground(world, config, Arc::clone(&store), opened), config).await {
        Ok(app) => app,
        Err(error) => {
            world.alive().await;
            world.wrong(format!("the service does not start: {error}"));
            return End::Died;
        }
    };
    app.swap_secrets(&WebhookSecrets(
        SECRETS.map(|secret| secret.to_owned().into()).to_vec(),
    ));
    let mut exit = app.exit();
    let end = tokio::select! {
        biased;
        exit = exit.wait_for(Option::is_some) => {
            let why = exit.map(|exit| format!("{:?}", *exit));
            world.alive().await;
            world.wrong(format!("the service gave up: {why:?}"));
            return End::Died;
        }
        end = day(world, outside, &app, store.as_ref(), doom) => end,
    };
    if matches!(end, End::Drained) {
        let drained = app.drain(Duration::from_secs(25)).await;
        world.trace(&format!("drained {:?}", drained.unfinished));
        world.alive().await;
    }
    end
}

fn ground(
    world: &Arc<World>,
    config: &Config,
    store: Arc<dyn Store>,
    opened: bursar_store::OpenReport,
) -> Ground {
    let mut letters = mail::Parts::of(config).expect("mail can be set up");
    letters.transport = Box::new(SimMail(Arc::clone(world)));
    let stripe = Arc::new(SimStripe(Arc::clone(world)));
    Ground {
        store,
        opened,
        clock: Arc::<time::Time>::clone(&world.time) as Arc<dyn Clock>,
        stripe_read: Arc::<SimStripe>::clone(&stripe),
        stripe_write: stripe,
        letters,
        carrier: Arc::new(SimReceiver(Arc::clone(world))),
        background: Background::shared(tokio::runtime::Handle::current()),
    }
}

/// What this process sees of the day.
async fn day(
    world: &Arc<World>,
    outside: &Arc<Mutex<Outside>>,
    app: &App,
    store: &dyn Store,
    doom: Option<Doom>,
) -> End {
    let server = app.server();
    let edge = Edge(app);
    if doom.is_some() {
        let span = world.dice.with("spans", |dice| dice.within(11_000, 80_000));
        let until = world.time.ms() + span;
        go_on(world, outside, &server, &edge, |_| world.time.ms() >= until).await;
        if world.dice.with("spans", |dice| dice.percent(60)) {
            return End::Drained;
        }
        world.die();
        world.alive().await;
    }
    go_on(world, outside, &server, &edge, |out| out.is_over(world)).await;
    world.is_calm.store(true, Ordering::SeqCst);
    let calm_since = world.time.elapsed();
    loop {
        go_on(world, outside, &server, &edge, |_| true).await;
        match checks::is_at_rest(store).await {
            Ok(true) if locked(outside).is_quiet() => break,
            Ok(_) => {}
            Err(error) => {
                world.wrong(error);
                return End::Died;
            }
        }
        if world.time.elapsed() - calm_since > REST_WITHIN {
            world.wrong(format!(
                "nothing came to rest within an hour: {}",
                locked(outside).wants()
            ));
            return End::Died;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let out = std::mem::take(&mut *locked(outside));
    if let Err(error) = checks::all(world, &out, store).await {
        world.wrong(format!("the store failed under the checks: {error}"));
    }
    *locked(outside) = out;
    End::AtRest
}
