//! All permutations of the fixed histories, with the books and totals looked at after every step.

use crate::build::*;
use crate::histories::{History, all};
use bursar_domain::decision::LedgerAccount;
use bursar_domain::ids::{AccountId, CustomerId, Scope, TenantId, Timestamp};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::settings::Settings;
use bursar_domain::testing::{Delivery, World, on_every_core};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn link(world: &mut World, key: LinkKey, tenant: &str) {
    let tenant = Some(TenantId::parse(tenant).unwrap());
    world.links.insert(key, LinkTarget { tenant });
}

/// A world in which customer `cus_1` is tenant `acme` and account `acct_m` is tenant `shop`.
pub(crate) fn world() -> World {
    let mut world = World::new(Settings::default(), Timestamp::from_seconds(T0 + 10_000));
    let customer = CustomerId::parse("cus_1").unwrap();
    let account = AccountId::parse(ACCOUNT).unwrap();
    for tenant in ["acme", "shop"] {
        link(
            &mut world,
            LinkKey::Tenant(TenantId::parse(tenant).unwrap()),
            tenant,
        );
    }
    link(
        &mut world,
        LinkKey::Customer(Scope::PLATFORM, customer),
        "acme",
    );
    link(&mut world, LinkKey::Merchant(account), "shop");
    world
}

pub(crate) fn kind_of(word: &str) -> RowKind {
    match word {
        "payment" => RowKind::Payment,
        "refund" => RowKind::Refund,
        "dispute" => RowKind::Dispute,
        "merchant" => RowKind::Merchant,
        "tenant" => RowKind::Tenant,
        "credit" => RowKind::CreditEntry,
        "customer" => RowKind::Customer,
        other => panic!("no kind {other}"),
    }
}

/// Every field of `expected` holds in the row.
pub(crate) fn holds(world: &World, kind: RowKind, id: &str, expected: &Value, when: &str) {
    let row = world
        .row(kind, id)
        .unwrap_or_else(|| panic!("no {kind:?} {id}: {when}"));
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&row[field], value, "{field} of {id}: {when}\n{row:#}");
    }
}

/// How many random cases to try: `BURSAR_CASES`, else the default.
pub(crate) fn cases(default: u64) -> u64 {
    let wanted = std::env::var("BURSAR_CASES").ok();
    wanted.map_or(default, |text| text.parse().unwrap())
}

/// The account as a scope; empty: the platform.
pub(crate) fn scope_of(account: &str) -> Scope {
    Scope((!account.is_empty()).then(|| AccountId::parse(account).unwrap()))
}

pub(crate) fn balances(world: &World) -> BTreeMap<String, i64> {
    let all = world
        .balances()
        .into_iter()
        .filter(|(_, amount)| *amount != 0);
    all.map(|((account, _), amount)| (account.as_str().to_owned(), amount))
        .collect()
}

/// What must hold after every single step, whatever is still to come.
fn never_exceeds(world: &World, history: &History) {
    let (captured_most, refunded_most) = history.most;
    let balances = world.balances();
    assert_eq!(
        balances.values().sum::<i64>(),
        0,
        "books balance: {}",
        history.name
    );
    let Some(row) = world.row(RowKind::Payment, history.payment) else {
        return;
    };
    let captured = row["amountCaptured"].as_i64().unwrap_or(0);
    let refunded = row["amountRefunded"].as_i64().unwrap_or(0);
    assert!(
        (0..=captured_most).contains(&captured),
        "captured {captured}: {}",
        history.name
    );
    assert!(
        (0..=refunded_most).contains(&refunded),
        "refunded {refunded}: {}",
        history.name
    );
    // What was sold: fees stand under their balance transaction.
    let usd = |account: LedgerAccount| -> i64 {
        let of = world.books.iter();
        let of = of.filter(|((source, .., a, _), _)| *a == account && !source.starts_with("txn_"));
        of.map(|(_, amount)| *amount).sum()
    };
    let earned = -(usd(LedgerAccount::Revenue) + usd(LedgerAccount::CreditsLiability));
    assert!(
        (0..=captured_most).contains(&earned),
        "revenue {earned}: {}",
        history.name
    );
    assert_eq!(
        usd(LedgerAccount::Refunds) > 0,
        refunded > 0 && earned > 0,
        "{}",
        history.name
    );
}

/// Whether every order is walked to its end, however alike two beginnings have become.
fn walks_all() -> bool {
    cases(0) >= 1_000
}

/// Every order of one history.
pub(crate) struct Walk<'h> {
    history: &'h History,
    /// Full states already followed, by what was delivered. Two orders that led to the very same
    /// snapshots, links, rows, books and questions cannot differ any more: they are followed once.
    seen: BTreeMap<(Vec<usize>, String), u64>,
    ends: BTreeMap<[u8; 32], World>,
    bodies: Vec<Delivery>,
    steps: u64,
}

impl<'h> Walk<'h> {
    pub(crate) fn of(history: &'h History) -> Self {
        let start = world();
        let events = history.events.iter();
        Self {
            history,
            seen: BTreeMap::new(),
            ends: BTreeMap::new(),
            bodies: events
                .map(|event| start.route(event.to_string().as_bytes()))
                .collect(),
            steps: 0,
        }
    }

    fn full_state(world: &World) -> String {
        let snapshots: Vec<(String, String)> = world
            .snapshots
            .iter()
            .map(|(key, (bytes, _))| (key.to_string(), String::from_utf8_lossy(bytes).into()))
            .collect();
        // Only questions come back; other effects leave no trace in what follows.
        let asked = world
            .effects
            .values()
            .filter(|effect| effect.kind == "reread");
        let effects: Vec<&str> = asked.map(|effect| effect.id.0.as_str()).collect();
        format!("{snapshots:?}{:?}{effects:?}{}", world.links, world.state())
    }

    /// Delivers the rest in every order; says how many orders that is.
    pub(crate) fn explore(&mut self, world: &World, delivered: &[usize]) -> u64 {
        let all = self.bodies.len();
        if delivered.len() == all {
            let mut world = world.clone();
            world.advance_to(Timestamp::from_seconds(T0 + 5_000_000));
            self.ends.entry(world.digest()).or_insert(world);
            return 1;
        }
        let state = (!walks_all()).then(|| (delivered.to_vec(), Self::full_state(world)));
        if let Some(orders) = state.as_ref().and_then(|state| self.seen.get(state)) {
            return *orders;
        }
        let mut orders = 0;
        for n in (0..all).filter(|n| !delivered.contains(n)) {
            let mut next = world.clone();
            next.deliver_routed(&self.bodies[n]);
            never_exceeds(&next, self.history);
            self.steps += 1;
            let mut now = delivered.to_vec();
            now.push(n);
            now.sort_unstable();
            orders += self.explore(&next, &now);
        }
        self.seen.extend(state.map(|state| (state, orders)));
        orders
    }
}

impl Walk<'_> {
    /// All orders ended alike, and in the truth.
    pub(crate) fn check(&self) {
        let history = self.history;
        let states: Vec<String> = self.ends.values().map(World::state).collect();
        let differ = states.join("\n---\n");
        assert_eq!(self.ends.len(), 1, "{}:\n{differ}", history.name);
        let end = self.ends.values().next().unwrap();
        if !history.payment.is_empty() {
            holds(
                end,
                RowKind::Payment,
                history.payment,
                &history.truth,
                history.name,
            );
        }
        for (kind, id, fields) in &history.others {
            holds(end, kind_of(kind), id, fields, history.name);
        }
        let books = history.books.iter();
        let books: BTreeMap<String, i64> = books.map(|(a, m)| ((*a).to_owned(), *m)).collect();
        assert_eq!(balances(end), books, "{}", history.name);
    }
}

#[test]
fn every_order_of_every_fixed_history_ends_in_the_one_true_state() {
    let histories = all();
    let shares = on_every_core(0..histories.len() as u64, |sums: &mut (u64, u64), n| {
        let mut walk = Walk::of(&histories[n as usize]);
        sums.0 += walk.explore(&world(), &[]);
        sums.1 += walk.steps;
        walk.check();
    });
    println!(
        "fixed_histories={} permutations={} distinct_max=1 steps={}",
        histories.len(),
        shares
            .iter()
            .map(|(permutations, _)| permutations)
            .sum::<u64>(),
        shares.iter().map(|(_, steps)| steps).sum::<u64>(),
    );
}

#[test]
fn duplicates_of_everything_change_nothing() {
    for history in all() {
        let mut once = world();
        for event in &history.events {
            once.deliver_json(event);
        }
        let mut twice = world();
        for (n, event) in history.events.iter().enumerate() {
            twice.deliver_json(event);
            // A second event object for the same fact, as Stripe sometimes sends.
            let mut again = event.clone();
            again["id"] = format!("evt_again_{n}").into();
            twice.deliver_json(&again);
            twice.deliver_json(event);
        }
        for world in [&mut once, &mut twice] {
            world.advance_to(Timestamp::from_seconds(T0 + 5_000_000));
        }
        assert_eq!(once.state(), twice.state(), "{}", history.name);
        let names = |world: &World| -> BTreeSet<String> {
            world.effects.keys().map(|id| id.0.clone()).collect()
        };
        assert_eq!(names(&once), names(&twice), "{}", history.name);
    }
}

#[test]
fn every_day_of_the_books_is_the_same_in_every_order() {
    let unnamed = with(
        intent("succeeded"),
        serde_json::json!({"latest_charge": null}),
    );
    let refunded = with(
        charge("succeeded"),
        serde_json::json!({"amount_refunded": 500, "refunded": false}),
    );
    let events = [
        at(3, "payment_intent.succeeded", PLATFORM, intent("succeeded")),
        at(1, "payment_intent.updated", PLATFORM, unnamed),
        at(2, "charge.succeeded", PLATFORM, charge("succeeded")),
        at(9, "charge.refunded", PLATFORM, refunded),
        at(
            9,
            "refund.created",
            PLATFORM,
            refund("re_1", "succeeded", 500),
        ),
    ];
    let mut ends = BTreeMap::new();
    bursar_domain::testing::permutations(&[0, 1, 2, 3, 4], |order| {
        let mut world = world();
        for n in order {
            world.deliver_json(&events[*n]);
            let no_date = world.dated.keys().find(|(.., at)| at.0 < T0 * 1_000);
            assert_eq!(no_date, None, "{order:?}");
        }
        world.advance_to(Timestamp::from_seconds(T0 + 5_000_000));
        ends.entry(world.dated.clone()).or_insert(order.to_vec());
    });
    assert_eq!(ends.len(), 1, "{ends:#?}");
    let (days, _) = ends.pop_first().unwrap();
    let received = |source: &str| {
        let all = days.iter().filter(|((of, ..), _)| of == source);
        let all = all.filter(|((_, account, ..), _)| *account == LedgerAccount::StripeBalance);
        all.map(|((.., at), amount)| (at.0 / 1_000 - T0, *amount))
            .collect::<Vec<_>>()
    };
    assert_eq!(received("ch_1"), [(1, 2_000)], "{days:#?}");
    assert_eq!(received("re_1"), [(2, -500)], "{days:#?}");
}
