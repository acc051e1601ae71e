//! Random lives of a tenant, told in random orders with random repeats.
//!
//! Goal: whatever is told in whatever order, the end is one state, and the one that really was.
//! Method: a small simulator lives a life (checkout, renewals, failures, recoveries, plan changes,
//! bursts within a second, credits, cancellation), writes the events Stripe would send and keeps the
//! truth in plain variables. `BURSAR_CASES` lives, from seed `BURSAR_SEED` on, are told in eight orders
//! each, on all cores; a failure names the seed that repeats it.

use crate::build::{MONTH, Story, customer, invoice, session, subscription, with};
use crate::corpus::{T0, settings};
use crate::histories::{HOBBY, PRO};
use crate::orders::differing;
use bursar_domain::ids::{Scope, SubscriptionId, Timestamp};
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::settings::Settings;
use bursar_domain::testing::{Delivery, World, on_every_core};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// How often each life is told.
const ORDERS: u32 = 8;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// SplitMix64: small, seeded, good enough to shuffle.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n as u64 + 1) as usize);
        }
    }
}

/// A life: what Stripe would send, and what is true.
struct Life {
    dice: Dice,
    story: Story,
    now: i64,
    status: &'static str,
    price: &'static str,
    quantity: i64,
    ending: bool,
    start: i64,
    end: i64,
    trial_end: Option<i64>,
    ended_at: Option<i64>,
    paid_until: Option<i64>,
    failed_at: Option<i64>,
    /// When Stripe last spoke of the subscription.
    word_at: i64,
    credits: i64,
    credits_paid_at: Option<i64>,
    invoices: BTreeMap<String, &'static str>,
    sessions: u32,
    changes: i64,
    /// Whether Stripe answers re-reads in this life.
    answers: bool,
}

impl Life {
    fn object(&self) -> Value {
        let items = json!({"data": [{"id": "si_1", "quantity": self.quantity,
            "current_period_start": self.start, "current_period_end": self.end,
            "price": {"id": self.price}}]});
        with(
            subscription(
                "sub_1",
                "cus_1",
                self.status,
                self.price,
                self.start,
                self.end,
            ),
            json!({"created": T0, "items": items, "cancel_at_period_end": self.ending,
                "trial_end": self.trial_end, "ended_at": self.ended_at}),
        )
    }

    /// Tells of the subscription as it is now; what it was before goes along when `was` is given.
    fn tell_subscription(&mut self, kind: &str, was: Option<&Value>) {
        let object = self.object();
        let previous = was.map(|was| {
            let changed = was.as_object().unwrap().iter();
            let changed = changed.filter(|(key, value)| object.get(*key) != Some(*value));
            Value::Object(
                changed
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            )
        });
        self.word_at = self.now;
        self.story.tell_after(kind, self.now, object, previous);
    }

    fn updated(&mut self, change: impl FnOnce(&mut Self)) {
        let was = self.object();
        change(self);
        self.tell_subscription("customer.subscription.updated", Some(&was));
    }

    fn invoice(&self, id: &str, status: &str, created: i64) -> Value {
        invoice(id, "cus_1", "sub_1", status, created, self.end)
    }

    fn pay(&mut self, id: &str, created: i64, attempts: i64) {
        let paid = with(
            self.invoice(id, "paid", created),
            json!({"attempt_count": attempts, "status_transitions": {"paid_at": self.now}}),
        );
        self.story.tell("invoice.paid", self.now, paid.clone());
        if self.dice.one_in(2) {
            let later = self.now + self.dice.below(2) as i64;
            self.story.tell("invoice.payment_succeeded", later, paid);
        }
        self.invoices.insert(id.to_owned(), "paid");
        self.paid_until = self.paid_until.max(Some(self.end));
        self.failed_at = None;
    }

    fn new_invoice(&mut self) -> (String, i64) {
        let id = format!("in_{}", self.invoices.len());
        let created = self.now;
        if self.dice.one_in(2) {
            let draft = self.invoice(&id, "draft", created);
            self.story.tell("invoice.created", self.now, draft);
        }
        if self.dice.one_in(2) {
            let open = self.invoice(&id, "open", created);
            self.story.tell("invoice.finalized", self.now, open);
        }
        (id, created)
    }

    fn begin(&mut self) {
        let created = customer("cus_1", T0 - 90, self.dice.one_in(2).then_some("t1"));
        if self.dice.one_in(2) {
            self.story.tell("customer.created", T0 - 90, created);
        }
        let sale = with(
            session("cs_0", T0 - 60, "subscription", Some("cus_1"), Some("t1")),
            json!({"subscription": "sub_1"}),
        );
        self.story.tell("checkout.session.completed", T0 + 3, sale);
        self.now = T0 + 2;
        if self.dice.one_in(4) {
            self.status = "trialing";
            self.end = T0 + 14 * DAY;
            self.trial_end = Some(self.end);
        }
        self.tell_subscription("customer.subscription.created", None);
        let (id, created) = self.new_invoice();
        self.pay(&id, created, 1);
    }

    fn renew(&mut self) {
        self.now = self.end + 4;
        if self.ending {
            return self.die(self.end);
        }
        self.updated(|life| {
            (life.start, life.end) = (life.end, life.end + MONTH);
            life.status = "active";
        });
        let (id, created) = self.new_invoice();
        self.now += HOUR;
        if !self.dice.one_in(3) {
            return self.pay(&id, created, 1);
        }
        self.failed_at = Some(self.now);
        self.invoices.insert(id.clone(), "open");
        let attempts = 1 + self.dice.below(3) as i64;
        for attempt in 1..=attempts {
            let failed = with(
                self.invoice(&id, "open", created),
                json!({"attempt_count": attempt}),
            );
            self.story.tell("invoice.payment_failed", self.now, failed);
            if attempt == 1 {
                self.updated(|life| life.status = "past_due");
            }
            self.now += 2 * DAY;
        }
        match self.dice.below(4) {
            0 => self.updated(|life| life.status = "unpaid"),
            1 => self.die(self.now),
            2 => {}
            _ => {
                self.pay(&id, created, attempts + 1);
                self.now += 1;
                self.updated(|life| life.status = "active");
            }
        }
    }

    fn die(&mut self, at: i64) {
        self.status = "canceled";
        self.ended_at = Some(at);
        self.tell_subscription("customer.subscription.deleted", None);
    }

    fn burst(&mut self) {
        for n in 0..2 + self.dice.below(2) as i64 {
            // Told apart by its changes alone, a second may not cross itself in a circle; where
            // Stripe answers it may do anything.
            let quantity = if self.answers {
                1 + self.dice.below(3) as i64
            } else {
                self.changes += 1;
                10 * self.changes + n
            };
            if quantity == self.quantity {
                continue;
            }
            self.updated(|life| life.quantity = quantity);
        }
        if self.dice.one_in(2) {
            let price = if self.price == PRO { HOBBY } else { PRO };
            self.updated(|life| life.price = price);
        }
    }

    fn buy(&mut self) {
        let quantity = 1 + self.dice.below(5) as i64;
        self.sessions += 1;
        let id = format!("cs_{}", self.sessions);
        let sale = with(
            session(&id, self.now - 9, "payment", None, Some("t1")),
            json!({"metadata": {"plan_id": "credits-10", "command_id": format!("cmd_{id}"),
                "quantity": quantity.to_string()}}),
        );
        let unpaid = with(sale.clone(), json!({"payment_status": "unpaid"}));
        if self.dice.one_in(3) {
            self.story
                .tell("checkout.session.completed", self.now, unpaid);
            self.now += 2 * DAY;
            self.story
                .tell("checkout.session.async_payment_succeeded", self.now, sale);
        } else {
            self.story
                .tell("checkout.session.completed", self.now, sale);
        }
        self.credits += 10 * quantity;
        self.credits_paid_at = self.credits_paid_at.max(Some(self.now));
    }

    fn live(seed: u64) -> Self {
        let mut life = Self {
            dice: Dice::new(seed),
            story: Story::default(),
            now: T0,
            status: "active",
            price: HOBBY,
            quantity: 1,
            ending: false,
            start: T0,
            end: T0 + MONTH,
            trial_end: None,
            ended_at: None,
            paid_until: None,
            failed_at: None,
            word_at: T0,
            credits: 0,
            credits_paid_at: None,
            invoices: BTreeMap::new(),
            sessions: 0,
            changes: 0,
            answers: seed.is_multiple_of(2),
        };
        life.begin();
        for _ in 0..life.dice.below(5) {
            life.now += 60 + life.dice.below(3600) as i64;
            let lives = life.ended_at.is_none();
            let pays = lives && matches!(life.status, "active" | "trialing");
            match life.dice.below(6) {
                0 => life.buy(),
                1 | 2 if pays => life.renew(),
                3 if lives => life.burst(),
                4 if lives => life.updated(|life| life.ending = !life.ending),
                5 if lives && life.dice.one_in(3) => life.die(life.now),
                _ => life.buy(),
            }
        }
        life.now += life.dice.below(9 * DAY as u64) as i64;
        life
    }

    /// What must be shown at `now`.
    fn truth(&self) -> Vec<(&'static str, Value)> {
        let time = |seconds: Option<i64>| {
            let text = seconds.map(|s| Timestamp::from_seconds(s).rfc3339());
            json!(text)
        };
        let valid_until = self.paid_until.max(self.trial_end);
        let license = match self.status {
            "active" | "trialing" => "active",
            "past_due" if self.now < self.failed_at.unwrap() + 7 * DAY => "grace",
            _ => "revoked",
        };
        let returned = self.ended_at.is_some() && self.credits_paid_at > self.ended_at;
        let archived = self.ended_at.filter(|_| !returned);
        let status = match self.status {
            "unpaid" => "suspended",
            "canceled" if returned => "active",
            other => other,
        };
        let checked = valid_until.unwrap() + 3 * HOUR;
        let pays = matches!(self.status, "active" | "trialing");
        let stale = !self.answers && pays && checked <= self.now && self.word_at < checked;
        let plan = if self.price == PRO { "pro" } else { "hobby" };
        vec![
            ("/status", json!(status)),
            ("/planId", json!(plan)),
            ("/priceId", json!(self.price)),
            ("/credits", json!(self.credits)),
            ("/license/state", json!(license)),
            ("/license/validUntil", time(valid_until)),
            ("/license/stale", json!(stale)),
            ("/subscription/status", json!(self.status)),
            ("/subscription/quantity", json!(self.quantity)),
            ("/subscription/cancelAtPeriodEnd", json!(self.ending)),
            ("/subscription/currentPeriodEnd", time(Some(self.end))),
            ("/archivedAt", time(archived)),
            ("/stripeCustomerId", json!("cus_1")),
        ]
    }
}

/// An empty world that ends with the life, and in which Stripe answers if it does in this life.
fn before(life: &Life, settings: &Settings) -> World {
    let end = Timestamp::from_seconds(life.now);
    let mut world = World::new(settings.clone(), end);
    if life.answers {
        let id = SubscriptionId::parse("sub_1").unwrap();
        let target = RereadTarget::Subscription(id);
        let reread = Reread {
            scope: Scope::PLATFORM,
            target,
        };
        world.truth.insert(reread, (200, life.object().to_string()));
        world.truth_at = Some(end);
    }
    world
}

fn tell(life: &Life, mut world: World, order: &[usize], bodies: &[Delivery]) -> World {
    let end = world.now;
    // Told late (the clock at the end) or as it happened, by the order's first number.
    if !order[0].is_multiple_of(2) {
        world.now = Timestamp::from_seconds(T0);
    }
    for &n in order {
        world.deliver_routed(&bodies[n]);
    }
    world.advance_to(end);
    assert_eq!(world.parked_count(), 0, "{}", summary(life, order));
    world
}

/// Whether the world shows what really happened.
fn assert_true(life: &Life, world: &World, case: &str, order: &[usize]) {
    let row = world.row(RowKind::Tenant, "t1").expect("the tenant");
    for (pointer, expected) in life.truth() {
        let found = row.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(
            *found,
            expected,
            "{case}: {pointer}\n{}",
            summary(life, order)
        );
    }
    for (id, status) in &life.invoices {
        let row = world.row(RowKind::Invoice, id).expect("the invoice");
        assert_eq!(row["status"], *status, "{case}: {id}");
    }
}

/// What one core tried.
#[derive(Default)]
struct Tried {
    histories: u64,
    events: usize,
    decided: u64,
    distinct_max: usize,
}

/// One life, told eight times: its first end is compared with the truth field by field, the others
/// with that end by digest (a digest covers every field the truth names).
fn try_life(seed: u64, settings: &Settings, tried: &mut Tried) {
    let life = Life::live(seed);
    let start = before(&life, settings);
    let events = life.story.events.iter();
    let bodies: Vec<Delivery> = events
        .map(|event| start.route(event.to_string().as_bytes()))
        .collect();
    let mut dice = Dice::new(!seed);
    let mut ends: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
    for round in 0..ORDERS {
        let mut order: Vec<usize> = (0..bodies.len()).collect();
        // Round 0 as it happened; then any order, about a third of it repeated.
        if round > 0 {
            order.extend((0..bodies.len()).filter(|_| dice.one_in(3)));
            dice.shuffle(&mut order);
        }
        let case = format!("BURSAR_SEED={seed} BURSAR_CASES=1, order {order:?}");
        let world = tell(&life, start.clone(), &order, &bodies);
        tried.decided += world.decided;
        let digest = world.digest();
        if let Entry::Vacant(end) = ends.entry(digest) {
            assert_true(&life, &world, &case, &order);
            end.insert(order);
        }
    }
    tried.histories += 1;
    tried.events += bodies.len();
    tried.distinct_max = tried.distinct_max.max(ends.len());
    if ends.len() > 1 {
        let orders: Vec<&Vec<usize>> = ends.values().take(2).collect();
        let state = |order: &[usize]| tell(&life, start.clone(), order, &bodies).state();
        panic!(
            "BURSAR_SEED={seed} BURSAR_CASES=1: {} ends\n{}",
            ends.len(),
            differing(
                (orders[0], &state(orders[0])),
                (orders[1], &state(orders[1]))
            )
        );
    }
}

#[test]
fn random_lives_in_random_orders_end_in_the_one_true_state() {
    let cases: u64 = std::env::var("BURSAR_CASES").map_or(30, |text| text.parse().unwrap());
    let first: u64 = std::env::var("BURSAR_SEED").map_or(1, |text| text.parse().unwrap());
    let settings = settings();
    let shares = on_every_core(first..first + cases, |tried: &mut Tried, seed| {
        try_life(seed, &settings, tried);
    });
    let sum = |part: fn(&Tried) -> u64| shares.iter().map(part).sum::<u64>();
    let distinct_max = shares.iter().map(|tried| tried.distinct_max).max();
    println!(
        "histories={} orders={ORDERS} distinct_max={} wrong=0 events={} decisions={} first_seed={first}",
        sum(|tried| tried.histories),
        distinct_max.unwrap_or_default(),
        sum(|tried| tried.events as u64),
        sum(|tried| tried.decided),
    );
}

fn summary(life: &Life, order: &[usize]) -> String {
    let line = |n: &usize| {
        let event = &life.story.events[*n];
        let object = &event["data"]["object"];
        format!(
            "{n} {} {} {} prev {}",
            event["created"], event["type"], object["status"], event["data"]["previous_attributes"]
        )
    };
    order.iter().map(line).collect::<Vec<_>>().join("\n")
}
