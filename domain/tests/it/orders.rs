//! Any order, any duplication: one digest, and that digest the true state.

use crate::corpus::settings;
use crate::histories::{History, all};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::{Delivery, World, on_every_core};
use serde_json::Value;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

fn kind(word: &str) -> RowKind {
    match word {
        "tenant" => RowKind::Tenant,
        "customer" => RowKind::Customer,
        "subscription" => RowKind::Subscription,
        "invoice" => RowKind::Invoice,
        "session" => RowKind::Session,
        other => panic!("no list {other}"),
    }
}

/// The world of a history before its events, its clock at the end: what is late is late at once.
pub(crate) fn before(history: &History) -> World {
    let mut world = World::new(settings(), Timestamp::from_seconds(history.end));
    for tenant in &history.tenants {
        let key = AggregateKey::Tenant(TenantId::parse(tenant).unwrap());
        let order = Order::TenantCreate {
            name: None,
            email: None,
            metadata: BTreeMap::new(),
            timezone: None,
        };
        world.order(key, &format!("create-{tenant}"), &order);
    }
    world
}

pub(crate) fn assert_true(history: &History, world: &World) {
    for (list, id, pointer, expected) in &history.truth {
        let row = world
            .row(kind(list), id)
            .unwrap_or_else(|| panic!("{}: no {list} {id}\n{}", history.name, world.state()));
        let found = row.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(
            found,
            expected,
            "{}: {list} {id} {pointer}\n{}",
            history.name,
            world.state()
        );
    }
    assert_eq!(
        world.parked_count(),
        0,
        "{}: something still waits",
        history.name
    );
}

/// What only one of two ends shows, by the order that led there.
pub(crate) fn differing(one: (&[usize], &str), other: (&[usize], &str)) -> String {
    fn lines(text: &str) -> BTreeSet<&str> {
        text.lines().collect()
    }
    let (a, b) = (lines(one.1), lines(other.1));
    format!(
        "order {:?} alone has {:#?}\norder {:?} alone has {:#?}",
        one.0,
        a.difference(&b),
        other.0,
        b.difference(&a)
    )
}

/// Every order of one history: its events delivered one by one, beginnings shared.
struct Walk<'h> {
    history: &'h History,
    bodies: Vec<Delivery>,
    ends: BTreeMap<[u8; 32], Vec<usize>>,
    made: u32,
    count: u64,
    stride: u32,
}

impl Walk<'_> {
    fn end_of(&self, mut world: World) -> World {
        world.advance_to(Timestamp::from_seconds(self.history.end));
        world
    }

    fn explore(&mut self, world: &World, order: &mut Vec<usize>) {
        let all = self.bodies.len();
        if order.len() == all {
            let end = self.end_of(world.clone());
            let digest = end.digest();
            if let Entry::Vacant(vacant) = self.ends.entry(digest) {
                assert_true(self.history, &end);
                vacant.insert(order.clone());
            }
            self.count += 1;
            return;
        }
        for n in 0..all {
            if order.contains(&n) || self.skips(order.len()) {
                continue;
            }
            let mut next = world.clone();
            next.deliver_routed(&self.bodies[n]);
            order.push(n);
            self.explore(&next, order);
            order.pop();
        }
    }

    /// Whether to leave out what begins so, after so many events: of the beginnings of three events
    /// one in `stride` is followed, to all of its ends.
    fn skips(&mut self, told: usize) -> bool {
        if self.stride == 1 || told != 2 {
            return false;
        }
        self.made += 1;
        self.made % self.stride != 1
    }

    fn check(&self, start: &World) {
        let name = self.history.name;
        if self.ends.len() == 1 {
            return;
        }
        let state = |order: &[usize]| {
            let mut world = start.clone();
            order
                .iter()
                .for_each(|n| world.deliver_routed(&self.bodies[*n]));
            self.end_of(world).state()
        };
        let two: Vec<&Vec<usize>> = self.ends.values().take(2).collect();
        let told = differing((two[0], &state(two[0])), (two[1], &state(two[1])));
        panic!("{name}: {} ends\n{told}", self.ends.len());
    }
}

fn permute(history: &History, stride: u32) -> u64 {
    let start = before(history);
    let events = history.events.iter();
    let mut walk = Walk {
        history,
        bodies: events
            .map(|event| start.route(event.to_string().as_bytes()))
            .collect(),
        ends: BTreeMap::new(),
        made: 0,
        count: 0,
        stride,
    };
    walk.explore(&start, &mut Vec::new());
    walk.check(&start);
    walk.count
}

/// Every permutation with `BURSAR_CASES` at 1000 or more; else a few, spread evenly.
fn stride() -> u32 {
    let cases: u32 = std::env::var("BURSAR_CASES").map_or(0, |text| text.parse().unwrap());
    if cases >= 1_000 { 1 } else { 41 }
}

#[test]
fn every_permutation_of_fixed_histories_ends_in_the_one_true_state() {
    let (histories, stride) = (all(), stride());
    let shares = on_every_core(0..histories.len() as u64, |permutations: &mut u64, n| {
        *permutations += permute(&histories[n as usize], stride);
    });
    println!(
        "fixed_histories={} permutations={} distinct_max=1",
        histories.len(),
        shares.iter().sum::<u64>()
    );
}
