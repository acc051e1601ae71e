//! Everybody outside the process: people who pay, Stripe's deliveries, programs that order and look.
//!
//! Invariants: whoever got no answer asks again under the same key; what was answered is remembered here, beyond every
//! end of the process. Amounts of a tenant are multiples of a prime of its own, so a foreign one shows.
//! Not here: what must hold in the end (`checks`).

use super::wire::{Heard, Reply, Request, ask};
use super::world::{World, locked};
use bursar::http::router::Router;
use bursar::http::server::Server;
use bursar::stripe::signature::sign;
use bursar_actors::clock::Clock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A tenant's prime; no cofactor reaches the smallest of them.
pub(crate) const PRIMES: [u64; 3] = [101, 103, 107];
const COFACTOR_MAX: u64 = 60;
pub(crate) const ADMIN_KEY: &str = "operator-key-of-at-least-32-characters";
/// The webhook secrets, in turn.
pub(crate) const SECRETS: [&str; 2] = ["whsec_simulated_first", "whsec_simulated_second"];
/// How long people pay and things go wrong, in virtual ms.
const BUSY_MS: u64 = 420_000;
/// How often everybody looks around at least.
const POLL_MS_MAX: u64 = 500;

pub(crate) fn tenant(n: usize) -> String {
    format!("tenant-{n}")
}

/// Something that happens at a time.
#[derive(Clone, Debug)]
enum Item {
    Pay { tenant: usize, is_held: bool },
    Dispute { payment: usize },
    StripeGoesAway,
    Rotate,
    Deliver(usize),
    Order(usize),
    Look(usize),
}

/// An order and what was answered.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) key: String,
    tenant: Option<usize>,
    path: String,
    body: Value,
    attempts: u64,
    replays_left: u64,
    pub(crate) answer: Option<Reply>,
}

#[derive(Clone, Debug)]
pub(crate) struct Payment {
    pub(crate) id: String,
    pub(crate) tenant: usize,
    is_held: bool,
}

/// An event of Stripe's on its way.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    body: Vec<u8>,
    pub(crate) is_acked: bool,
    deliveries: u64,
}

struct UnderWay {
    item: Item,
    heard: Heard,
}

#[derive(Default)]
pub(crate) struct Outside {
    agenda: BTreeMap<(u64, u64), Item>,
    next: u64,
    under_way: BTreeMap<u64, UnderWay>,
    pub(crate) orders: Vec<Order>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) events: Vec<Event>,
    keys: BTreeMap<usize, String>,
    secret: usize,
    pub(crate) answered: u64,
}

/// What the present process is told from outside beside requests.
pub(crate) trait Host {
    fn rotate(&self, secrets: &[&str]);
}

impl Outside {
    /// What the day holds before anything has happened.
    pub(crate) fn plan(&self) -> String {
        format!("{:?}\n{:?}", self.agenda, self.orders)
    }

    /// A day that the seed made up.
    pub(crate) fn new(world: &World) -> Self {
        let mut outside = Self::default();
        for n in 0..PRIMES.len() {
            let body = json!({"tenantId": tenant(n), "name": tenant(n), "email": format!("{}@example.com", tenant(n))});
            outside.order(0, None, "/api/v1/tenants", body, "tenant");
            let body = json!({"tenantId": tenant(n), "name": "k", "role": "admin"});
            outside.order(100, None, "/api/v1/api-keys", body, "key");
        }
        world.dice.with("day", |dice| {
            for _ in 0..dice.within(5, 9) {
                let item = Item::Pay {
                    tenant: dice.below(PRIMES.len() as u64) as usize,
                    is_held: dice.percent(35),
                };
                outside.at(dice.within(1_000, BUSY_MS / 2), item);
            }
            for _ in 0..6 {
                let item = Item::Look(dice.below(PRIMES.len() as u64) as usize);
                outside.at(dice.within(2_000, BUSY_MS), item);
            }
            for _ in 0..2 {
                outside.at(dice.within(1_000, BUSY_MS), Item::Rotate);
            }
            if dice.percent(35) {
                outside.at(dice.within(1_000, BUSY_MS), Item::StripeGoesAway);
            }
            if dice.percent(40) {
                outside.at(
                    dice.within(BUSY_MS / 2, BUSY_MS),
                    Item::Dispute {
                        payment: dice.below(5) as usize,
                    },
                );
            }
        });
        outside
    }

    fn at(&mut self, ms: u64, item: Item) {
        self.next += 1;
        self.agenda.insert((ms, self.next), item);
    }

    fn order(&mut self, at_ms: u64, tenant: Option<usize>, path: &str, body: Value, what: &str) {
        let n = self.orders.len();
        self.orders.push(Order {
            key: format!("{what}-{n}"),
            tenant,
            path: path.to_owned(),
            body,
            attempts: 0,
            replays_left: 1,
            answer: None,
        });
        self.at(at_ms, Item::Order(n));
    }

    /// Whether the time of faults is over.
    pub(crate) fn is_over(&self, world: &World) -> bool {
        world.time.ms() > BUSY_MS
    }

    /// Whether everybody has what they wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.agenda.is_empty()
            && self.under_way.is_empty()
            && self.events.iter().all(|event| event.is_acked)
    }

    /// Who still wants something, for a failure's text.
    pub(crate) fn wants(&self) -> String {
        let events = self.events.iter().filter(|event| !event.is_acked).count();
        let orders: Vec<&str> = self
            .orders
            .iter()
            .filter(|order| order.answer.is_none())
            .map(|order| order.key.as_str())
            .collect();
        format!(
            "{} on the agenda, {events} events not taken, orders without an end: {orders:?}",
            self.agenda.len()
        )
    }

    /// A process ended: what it had answered by then was heard.
    pub(crate) fn process_ended(&mut self, world: &World) {
        for (_, UnderWay { item, heard }) in std::mem::take(&mut self.under_way) {
            let reply = Reply::parse(&locked(&heard));
            self.heard(world, item, reply);
        }
    }

    /// New events at Stripe.
    fn collect(&mut self, world: &World) {
        world.stripe.tick();
        for value in world.stripe.events_after(self.events.len()) {
            let id = value["id"].as_str().unwrap_or_default().to_owned();
            let n = self.events.len();
            self.events.push(Event {
                id,
                body: value.to_string().into_bytes(),
                is_acked: false,
                deliveries: 0,
            });
            let (delay, again) = world.dice.with("post", |dice| {
                let delay = if dice.percent(20) {
                    dice.within(5_000, 90_000)
                } else {
                    dice.within(50, 3_000)
                };
                (delay, dice.percent(12).then(|| dice.within(1_000, 120_000)))
            });
            let now = world.time.ms();
            self.at(now + delay, Item::Deliver(n));
            if let Some(again) = again {
                self.at(now + delay + again, Item::Deliver(n));
            }
        }
    }

    fn request(&self, world: &World, item: &Item) -> Option<Request> {
        let json = ("Content-Type", "application/json".to_owned());
        match item {
            Item::Deliver(n) => {
                let body = self.events.get(*n)?.body.clone();
                let signature = sign(SECRETS[self.secret], &body, world.time.now().seconds());
                let first = world
                    .dice
                    .with("parts", |dice| dice.below(body.len() as u64) as usize);
                Some(Request {
                    line: "POST /webhook".to_owned(),
                    headers: vec![("Stripe-Signature", signature)],
                    body,
                    first,
                })
            }
            Item::Order(n) => {
                let order = self.orders.get(*n)?;
                let key = order
                    .tenant
                    .and_then(|tenant| self.keys.get(&tenant))
                    .map_or(ADMIN_KEY, String::as_str);
                let headers = vec![
                    ("Authorization", format!("Bearer {key}")),
                    ("Idempotency-Key", order.key.clone()),
                    json,
                ];
                Some(Request {
                    line: format!("POST {}", order.path),
                    headers,
                    body: order.body.to_string().into_bytes(),
                    first: 0,
                })
            }
            Item::Look(of) => {
                let key = self.keys.get(of)?;
                let (path, named) = world.dice.with("looks", |dice| {
                    let path =
                        *dice.pick(&["/api/v1/payments", "/api/v1/refunds", "/api/v1/commands"]);
                    (path, dice.below(PRIMES.len() as u64) as usize)
                });
                let headers = vec![
                    ("Authorization", format!("Bearer {key}")),
                    ("X-Tenant-Id", tenant(named)),
                ];
                Some(Request {
                    line: format!("GET {path}?limit=100"),
                    headers,
                    body: Vec::new(),
                    first: 0,
                })
            }
            _ => None,
        }
    }

    /// Whether somebody must wait for their key: under another they would be somebody else.
    fn has_no_key_yet(&self, item: &Item) -> bool {
        let order = match item {
            Item::Order(n) => self.orders.get(*n),
            _ => None,
        };
        let tenant = order.and_then(|order| order.tenant);
        tenant.is_some_and(|tenant| !self.keys.contains_key(&tenant))
    }

    /// What an answer, or none, leads to.
    fn heard(&mut self, world: &World, item: Item, reply: Option<Reply>) {
        let status = reply.as_ref().map_or(0, |reply| reply.status);
        world.trace(&format!("{item:?} {status}"));
        self.answered += u64::from(status > 0);
        let now = world.time.ms();
        match item {
            Item::Deliver(n) => {
                let event = &mut self.events[n];
                event.deliveries += 1;
                let taken = (200..300).contains(&status);
                if taken {
                    event.is_acked = true;
                } else if !event.is_acked {
                    let wait = world.dice.with("post", |dice| dice.within(2_000, 40_000));
                    self.at(now + wait, Item::Deliver(n));
                }
                if status == 400 || status == 401 {
                    world.wrong(format!("a genuine delivery was refused: {reply:?}"));
                }
            }
            Item::Order(n) => self.order_heard(world, n, reply),
            Item::Look(of) => {
                if let Some(reply) = reply {
                    looked(world, of, &reply);
                }
            }
            _ => {}
        }
    }

    fn order_heard(&mut self, world: &World, n: usize, reply: Option<Reply>) {
        let now = world.time.ms();
        let wait = world
            .dice
            .with("patience", |dice| dice.within(1_000, 20_000));
        let order = &mut self.orders[n];
        order.attempts += 1;
        let Some(reply) = reply.filter(is_final) else {
            self.at(now + wait, Item::Order(n));
            return;
        };
        if reply.status >= 500 {
            world.wrong(format!("{}: {reply:?}", order.path));
        }
        let is_kept = reply.status < 300 || matches!(reply.status, 402 | 422);
        let is_secret = order.path.ends_with("api-keys");
        if is_secret {
            self.key_heard(world, n, &reply);
            return;
        }
        if let Some(first) = &order.answer {
            if is_kept
                && (first.status, &first.body) != (reply.status, &reply.body)
                && first.status < 300
            {
                world.wrong(format!(
                    "{}: a repeat was answered otherwise: {first:?} and {reply:?}",
                    order.key
                ));
            }
        } else {
            order.answer = Some(reply.clone());
        }
        if is_kept && order.replays_left > 0 {
            order.replays_left -= 1;
            self.at(now + wait, Item::Order(n));
        }
    }

    /// A key is shown once; whoever missed it makes another.
    fn key_heard(&mut self, world: &World, n: usize, reply: &Reply) {
        let body = self.orders[n].body.clone();
        self.orders[n].answer = Some(reply.clone());
        let of = (0..PRIMES.len()).find(|of| body["tenantId"] == tenant(*of).as_str());
        match (reply.json()["key"].as_str(), of) {
            (Some(key), Some(of)) => {
                self.keys.insert(of, key.to_owned());
            }
            _ => self.order(world.time.ms() + 500, None, "/api/v1/api-keys", body, "key"),
        }
    }

    /// Somebody pays at Stripe, and may want it back.
    async fn pay(&mut self, world: &World, of: usize, is_held: bool) {
        let (factor, wishes) = world.dice.with("people", |dice| {
            (dice.within(2, COFACTOR_MAX), dice.within(0, 2))
        });
        let amount = PRIMES[of] * factor;
        let method = if is_held { "manual" } else { "automatic" };
        let form = format!(
            "amount={amount}&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method={method}&metadata[tenant_id]={}",
            tenant(of)
        );
        let made = world
            .stripe
            .call("POST", "/v1/payment_intents", &[], form)
            .await
            .expect("no faults there");
        let made: Value = serde_json::from_slice(&made.body).expect("JSON");
        let id = made["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{made}"))
            .to_owned();
        self.payments.push(Payment {
            id: id.clone(),
            tenant: of,
            is_held,
        });
        let mut at = world.time.ms();
        if is_held {
            let (wait, is_taken) = world.dice.with("people", |dice| {
                (dice.within(500, 60_000), dice.percent(70))
            });
            at += wait;
            let verb = if is_taken { "capture" } else { "cancel" };
            self.order(
                at,
                Some(of),
                &format!("/api/v1/payments/{id}/{verb}"),
                json!({}),
                verb,
            );
            if !is_taken {
                return;
            }
        }
        for _ in 0..wishes {
            let (wait, share) = world.dice.with("people", |dice| {
                (dice.within(500, 60_000), dice.within(1, factor))
            });
            at += wait;
            let body = json!({"paymentId": id, "amount": PRIMES[of] * share});
            self.order(at, Some(of), "/api/v1/refunds", body, "refund");
        }
    }

    async fn act(&mut self, world: &World, item: Item, host: &dyn Host) {
        world.trace(&format!("{item:?}"));
        match item {
            Item::Pay { tenant, is_held } => self.pay(world, tenant, is_held).await,
            Item::Dispute { payment } => {
                let found = self
                    .payments
                    .get(payment)
                    .filter(|payment| !payment.is_held);
                if let Some(payment) = found {
                    // A payment that was given back in full cannot be disputed.
                    let _ = world
                        .stripe
                        .control()
                        .open_dispute(&payment.id, "fraudulent", false);
                }
            }
            Item::StripeGoesAway => {
                let ms = world.dice.with("away", |dice| dice.within(20_000, 200_000));
                world
                    .away_until
                    .store(world.time.ms() + ms, Ordering::SeqCst);
            }
            Item::Rotate => {
                // Both are good for a while; whoever sends takes the new one from now on.
                self.secret = 1 - self.secret;
                host.rotate(&[SECRETS[self.secret], SECRETS[1 - self.secret]]);
            }
            Item::Deliver(_) | Item::Order(_) | Item::Look(_) => {}
        }
    }
}

/// Lets the day go on with this process until `is_enough`.
pub(crate) async fn go_on(
    world: &Arc<World>,
    outside: &Arc<Mutex<Outside>>,
    server: &Server<Router>,
    host: &dyn Host,
    is_enough: impl Fn(&Outside) -> bool,
) {
    loop {
        world.alive().await;
        let now = world.time.ms();
        // Nothing below gives way to other tasks, so nobody meets the empty one.
        let mut out = std::mem::take(&mut *locked(outside));
        out.collect(world);
        while let Some(entry) = out
            .agenda
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let ((_, number), item) = entry.remove_entry();
            if out.has_no_key_yet(&item) {
                out.at(now + 1_000, item);
                continue;
            }
            match out.request(world, &item) {
                Some(request) => {
                    let heard = Heard::default();
                    let talk = Talk {
                        number,
                        request,
                        heard: Arc::clone(&heard),
                    };
                    out.under_way.insert(number, UnderWay { item, heard });
                    tokio::spawn(talk.hold(Arc::clone(world), Arc::clone(outside), server.clone()));
                }
                None => out.act(world, item, host).await,
            }
        }
        let enough = is_enough(&out);
        let next = out
            .agenda
            .first_key_value()
            .map_or(u64::MAX, |((at, _), _)| *at);
        *locked(outside) = out;
        if enough {
            return;
        }
        let wait = next.saturating_sub(now).clamp(1, POLL_MS_MAX);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

/// A request that is under way.
struct Talk {
    number: u64,
    request: Request,
    heard: Heard,
}

impl Talk {
    async fn hold(self, world: Arc<World>, outside: Arc<Mutex<Outside>>, server: Server<Router>) {
        let reply = ask(Arc::clone(&world), server, self.request, self.heard).await;
        let out = &mut *locked(&outside);
        if let Some(under_way) = out.under_way.remove(&self.number) {
            out.heard(&world, under_way.item, reply);
        }
    }
}

/// Whether an answer is the last word on an order.
fn is_final(reply: &Reply) -> bool {
    let problem = reply.json();
    let code = problem["code"].as_str().unwrap_or_default();
    match reply.status {
        202 | 404 | 429 | 502 | 503 => false,
        409 => code != "idempotency_in_progress",
        _ => true,
    }
}

/// A tenant's look shows nothing of another's.
fn looked(world: &World, of: usize, reply: &Reply) {
    match reply.status {
        200 => {}
        // It named another tenant, or the service is busy.
        403 | 404 | 429 | 503 => return,
        status => return world.wrong(format!("a look was answered {status}: {}", reply.body)),
    }
    for row in reply.json()["data"].as_array().into_iter().flatten() {
        let fields = row.as_object().into_iter().flatten();
        for (name, value) in fields.filter(|(name, _)| name.to_lowercase().contains("amount")) {
            let foreign = value
                .as_u64()
                .is_some_and(|amount| amount % PRIMES[of] != 0);
            if foreign {
                world.wrong(format!(
                    "{} was shown {name} {value} of another",
                    tenant(of)
                ));
            }
        }
        if row["tenantId"].as_str().is_some_and(|id| id != tenant(of)) {
            world.wrong(format!(
                "{} was shown a row of {}",
                tenant(of),
                row["tenantId"]
            ));
        }
    }
}
