//! Random lives of a payment, told in random orders with duplicates, against a plain simulation.
//!
//! The simulation knows what really happened (it makes the events) and keeps the sums by simple
//! addition; the core sees only events. `BURSAR_CASES` lives from seed `BURSAR_SEED` on, told in eight
//! orders each, on all cores; the seed of a failure is printed.

use crate::build::*;
use crate::orders::{balances, cases, holds, world};
use bursar_domain::ids::{BalanceTransactionId, PaymentIntentId, Timestamp};
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::{Delivery, World, event, on_every_core};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How often each life is told.
const ORDERS: u32 = 8;

/// A small generator (xorshift64*): the same seed gives the same life everywhere.
struct Dice(u64);

impl Dice {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    fn below(&mut self, most: i64) -> i64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        i64::try_from(bits).unwrap() % most
    }
    fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            let other = self.below(i64::try_from(n).unwrap() + 1);
            items.swap(n, usize::try_from(other).unwrap());
        }
    }
}

/// What happens at Stripe, and the events it sends.
struct Life {
    dice: Dice,
    account: &'static str,
    now: i64,
    events: Vec<Value>,
    intent: Value,
    charge: Value,
    amount: i64,
    captured: i64,
    /// Refunds by id: (amount, status).
    refunds: BTreeMap<String, (i64, &'static str)>,
    /// Signed minor units disputes moved.
    disputed_minor: i64,
    disputed: bool,
    /// Refunds are told of by their charge alone.
    is_quiet: bool,
    /// What Stripe takes for the charge; told only when asked.
    fee: Option<i64>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::of(seed);
        let amount = 100 + dice.below(5_000);
        let account = if dice.one_in(3) { ACCOUNT } else { PLATFORM };
        let method = if dice.one_in(3) {
            "manual"
        } else {
            "automatic"
        };
        let fields = json!({ "amount": amount, "amount_received": 0, "capture_method": method });
        let (is_quiet, has_fee) = (dice.one_in(5), dice.one_in(2));
        let fee = has_fee.then(|| dice.below(100));
        Self {
            is_quiet,
            fee,
            dice,
            account,
            now: 0,
            events: Vec::new(),
            intent: with(intent("requires_payment_method"), fields),
            charge: with(charge("pending"), json!({ "amount": amount })),
            amount,
            captured: 0,
            refunds: BTreeMap::new(),
            disputed_minor: 0,
            disputed: false,
        }
    }

    fn emit(&mut self, kind: &str, object: Value) {
        self.now += self.dice.below(3);
        let id = format!("evt_{}", self.events.len());
        let at = T0 + self.now;
        self.events
            .push(event(&id, kind, at, self.account, object, None));
    }
    fn emit_intent(&mut self, kind: &str, fields: Value) {
        self.intent = with(self.intent.take(), fields);
        self.emit(kind, self.intent.clone());
    }
    fn emit_charge(&mut self, kind: &str, fields: Value) {
        self.charge = with(self.charge.take(), fields);
        if self.charge["captured"] == true && self.fee.is_some() {
            self.charge["balance_transaction"] = "txn_1".into();
        }
        self.emit(kind, self.charge.clone());
    }

    fn live(mut self) -> Self {
        self.emit("payment_intent.created", self.intent.clone());
        for attempt in 0..self.dice.below(3) {
            self.fail(attempt);
        }
        if self.dice.one_in(8) {
            let fields = json!({ "status": "canceled", "last_payment_error": null });
            self.emit_intent("payment_intent.canceled", fields);
            return self;
        }
        if self.dice.one_in(10) {
            return self;
        }
        for step in ["requires_action", "processing"] {
            if self.dice.one_in(3) {
                let fields = json!({ "status": step, "last_payment_error": null });
                self.emit_intent(&format!("payment_intent.{step}"), fields);
            }
        }
        self.pay();
        if self.captured > 0 {
            for n in 0..self.dice.below(4) {
                self.refund(n);
            }
            if self.dice.one_in(3) {
                self.dispute();
            }
        }
        self
    }

    fn fail(&mut self, attempt: i64) {
        let id = format!("ch_f{attempt}");
        let failed = with(
            charge("failed"),
            json!({ "id": id, "amount": self.amount, "failure_code": "card_declined" }),
        );
        self.emit("charge.failed", failed);
        let fields = json!({ "status": "requires_payment_method", "latest_charge": id,
            "last_payment_error": { "code": "card_declined", "message": format!("{attempt}") } });
        self.emit_intent("payment_intent.payment_failed", fields);
    }

    fn pay(&mut self) {
        let paid = json!({ "status": "succeeded", "latest_charge": "ch_1",
            "last_payment_error": null });
        if self.intent["capture_method"] != "manual" {
            self.captured = self.amount;
            let taken = json!({ "status": "succeeded", "captured": true,
                "amount_captured": self.amount });
            self.emit_charge("charge.succeeded", taken);
            let fields = with(paid, json!({ "amount_received": self.amount }));
            self.emit_intent("payment_intent.succeeded", fields);
            return;
        }
        self.emit_charge("charge.succeeded", json!({ "status": "succeeded" }));
        let held = json!({ "status": "requires_capture", "amount_capturable": self.amount });
        let held = with(with(paid.clone(), json!({})), held);
        self.emit_intent("payment_intent.amount_capturable_updated", held);
        match self.dice.below(4) {
            0 => {}
            1 => {
                let released = json!({ "amount_refunded": self.amount, "refunded": true });
                self.emit_charge("charge.refunded", released);
                self.emit_intent("payment_intent.canceled", json!({ "status": "canceled" }));
            }
            _ => {
                self.captured = self.amount - self.dice.below(self.amount);
                let released = self.amount - self.captured;
                let taken = json!({ "captured": true, "amount_captured": self.captured,
                    "amount_refunded": released });
                self.emit_charge("charge.captured", taken);
                let fields = with(
                    paid,
                    json!({ "amount_received": self.captured, "amount_capturable": 0 }),
                );
                self.emit_intent("payment_intent.succeeded", fields);
            }
        }
    }

    fn refunded(&self) -> i64 {
        let counted = self.refunds.values();
        let counted = counted.filter(|(_, status)| !matches!(*status, "failed" | "canceled"));
        counted.map(|(amount, _)| amount).sum()
    }

    fn refund(&mut self, n: i64) {
        let left = self.captured - self.refunded();
        if left == 0 {
            return;
        }
        let amount = if self.dice.one_in(3) {
            left
        } else {
            1 + self.dice.below(left)
        };
        let id = format!("re_{n}");
        let steps: &[&'static str] = match self.dice.below(6) {
            _ if self.is_quiet => &["succeeded"],
            0 => &["pending"],
            1 => &["pending", "succeeded"],
            2 => &["succeeded", "failed"],
            3 => &["requires_action", "canceled"],
            4 => &["pending", "succeeded", "failed"],
            _ => &["succeeded"],
        };
        let created = T0 + self.now;
        for (step, status) in steps.iter().enumerate() {
            self.refunds.insert(id.clone(), (amount, status));
            let kind = match (step, *status) {
                (0, _) => "refund.created",
                (_, "failed") => "refund.failed",
                _ => "refund.updated",
            };
            if !self.is_quiet {
                let object = with(refund(&id, status, amount), json!({ "created": created }));
                self.emit(kind, object);
            }
            if step == 0 {
                let total = self.amount - self.captured + self.refunded();
                self.emit_charge("charge.refunded", json!({ "amount_refunded": total }));
            }
        }
    }

    fn dispute(&mut self) {
        self.disputed = true;
        let shows = self.dice.one_in(2);
        let out = moved("txn_out", -self.captured, T0);
        let back = moved("txn_in", self.captured, T0);
        let taken = if shows { vec![out.clone()] } else { vec![] };
        let about = |status: &str, moves: &[Value], captured: i64| {
            with(
                dispute(status, moves.to_vec()),
                json!({ "amount": captured }),
            )
        };
        let captured = self.captured;
        if self.dice.one_in(4) {
            self.emit(
                "charge.dispute.created",
                about("warning_needs_response", &[], captured),
            );
            self.emit(
                "charge.dispute.closed",
                about("warning_closed", &[], captured),
            );
            return;
        }
        self.disputed_minor = -captured;
        let open = about("needs_response", &taken, captured);
        self.emit("charge.dispute.created", open.clone());
        self.emit("charge.dispute.funds_withdrawn", open);
        if self.dice.one_in(2) {
            self.emit(
                "charge.dispute.updated",
                about("under_review", &taken, captured),
            );
        }
        match self.dice.below(3) {
            0 => {}
            1 => self.emit("charge.dispute.closed", about("lost", &taken, captured)),
            _ => {
                self.disputed_minor = 0;
                let all = if shows { vec![out, back] } else { vec![] };
                let won = about("won", &all, captured);
                self.emit("charge.dispute.closed", won.clone());
                self.emit("charge.dispute.funds_reinstated", won);
            }
        }
    }

    /// What is true in the end.
    fn truth(&self) -> Value {
        json!({
            "status": self.intent["status"], "amount": self.amount,
            "amountCaptured": self.captured, "amountRefunded": self.refunded(),
            "disputed": self.disputed, "needsReview": false, "currency": "usd",
            "tenantId": if self.account.is_empty() { "acme" } else { "shop" },
            "failureCode": self.intent["last_payment_error"]["code"],
            "failureMessage": self.intent["last_payment_error"]["message"],
        })
    }

    fn books(&self) -> BTreeMap<String, i64> {
        let (captured, refunded) = (self.captured, self.refunded());
        let fee = self.fee.filter(|_| captured > 0).unwrap_or(0);
        let at_stripe = captured - refunded + self.disputed_minor - fee;
        let own = [
            ("stripe_balance", at_stripe),
            ("revenue", fee - captured),
            ("refunds", refunded),
            ("disputes", -self.disputed_minor),
        ];
        let merchants = [("stripe_balance", at_stripe), ("merchant", -at_stripe)];
        let all: &[(&str, i64)] = if self.account.is_empty() {
            &own
        } else {
            &merchants
        };
        let all = all.iter().filter(|(_, amount)| *amount != 0);
        all.map(|(account, amount)| ((*account).to_owned(), *amount))
            .collect()
    }

    /// A world in which Stripe answers with the payment intent as it is in the end.
    fn world(&self) -> World {
        let mut world = world();
        let scope = crate::orders::scope_of(self.account);
        let target = RereadTarget::PaymentIntent(PaymentIntentId::parse("pi_1").unwrap());
        let reread = Reread {
            scope: scope.clone(),
            target,
        };
        world.truth.insert(reread, (200, self.intent.to_string()));
        if let Some(fee) = self.fee {
            let id = BalanceTransactionId::parse("txn_1").unwrap();
            let target = RereadTarget::BalanceTransaction(id);
            let cost = json!({ "id": "txn_1", "object": "balance_transaction", "currency": "usd",
                "fee": fee, "created": T0 });
            let reread = Reread { scope, target };
            world.truth.insert(reread, (200, cost.to_string()));
        }
        world
    }
}

fn look_at_totals(world: &World, life: &Life, case: &str) {
    assert_eq!(
        world.balances().values().sum::<i64>(),
        0,
        "books balance: {case}"
    );
    let Some(row) = world.row(RowKind::Payment, "pi_1") else {
        return;
    };
    let captured = row["amountCaptured"].as_i64().unwrap_or(0);
    let refunded = row["amountRefunded"].as_i64().unwrap_or(0);
    let ever: i64 = life.refunds.values().map(|(amount, _)| amount).sum();
    assert!(
        captured == 0 || captured == life.captured,
        "captured {captured}: {case}"
    );
    assert!(
        refunded <= ever && (captured > 0 || refunded == 0),
        "refunded {refunded}: {case}"
    );
}

fn tell(life: &Life, start: &World, bodies: &[&Delivery], case: &str) -> World {
    let mut world = start.clone();
    for body in bodies {
        world.deliver_routed(body);
        look_at_totals(&world, life, case);
    }
    world.advance_to(Timestamp::from_seconds(T0 + 5_000_000));
    world
}

/// What one core tried.
#[derive(Default)]
struct Tried {
    lives: u64,
    told: usize,
}

/// One life as it happened, compared with the truth; then told in any order with repeats, compared
/// with that by digest.
fn try_life(seed: u64, tried: &mut Tried) {
    let mut life = Life::new(seed).live();
    let start = life.world();
    let case = format!("BURSAR_SEED={seed} BURSAR_CASES=1");
    let route = |event: &Value| start.route(event.to_string().as_bytes());
    let bodies: Vec<Delivery> = life.events.iter().map(route).collect();
    // A second event of Stripe for the same fact.
    let again: Vec<Delivery> = life
        .events
        .iter()
        .enumerate()
        .map(|(n, event)| {
            let mut again = event.clone();
            again["id"] = format!("evt_again_{n}").into();
            route(&again)
        })
        .collect();
    let all: Vec<&Delivery> = bodies.iter().collect();
    let straight = tell(&life, &start, &all, &case);
    holds(&straight, RowKind::Payment, "pi_1", &life.truth(), &case);
    assert_eq!(balances(&straight), life.books(), "{case}");
    for (id, (amount, status)) in life.refunds.iter().filter(|_| !life.is_quiet) {
        let fields = json!({ "amount": amount, "status": status, "paymentId": "pi_1" });
        holds(&straight, RowKind::Refund, id, &fields, &case);
    }
    let digest = straight.digest();
    tried.lives += 1;
    tried.told += all.len();
    for shuffle in 1..ORDERS {
        let mut order = all.clone();
        for _ in 0..life.dice.below(4) {
            let n = life.dice.below(i64::try_from(bodies.len()).unwrap());
            let n = usize::try_from(n).unwrap();
            order.push(if life.dice.one_in(2) {
                &again[n]
            } else {
                &bodies[n]
            });
        }
        life.dice.shuffle(&mut order);
        tried.told += order.len();
        let case = format!("{case}, shuffle {shuffle}");
        let other = tell(&life, &start, &order, &case);
        if other.digest() != digest {
            assert_eq!(other.state(), straight.state(), "{case}");
            panic!("{case}: two digests of one state");
        }
    }
}

#[test]
fn random_lives_in_random_orders_end_in_what_really_happened() {
    let lives = cases(60);
    let first: u64 = std::env::var("BURSAR_SEED").map_or(1, |text| text.parse().unwrap());
    let shares = on_every_core(first..first + lives, |tried: &mut Tried, seed| {
        try_life(seed, tried);
    });
    println!(
        "histories={} orders={ORDERS} distinct_max=1 wrong=0 events={} first_seed={first}",
        shares.iter().map(|tried| tried.lives).sum::<u64>(),
        shares.iter().map(|tried| tried.told).sum::<usize>(),
    );
}
