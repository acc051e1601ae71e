//! Any order, any duplication: one digest, and that digest the true state.

use crate::corpus::settings;
use crate::histories::{History, all};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::fact::Order;
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::{World, permutations};
use serde_json::Value;
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

fn permute(history: &History) {
    let bodies: Vec<Vec<u8>> = history
        .events
        .iter()
        .map(|event| event.to_string().into_bytes())
        .collect();
    let indexes: Vec<usize> = (0..bodies.len()).collect();
    let start = before(history);
    let mut states: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let (mut count, mut made) = (0_u32, 0_u32);
    let stride = stride();
    permutations(&indexes, |order| {
        made += 1;
        if made % stride != 1 % stride {
            return;
        }
        let mut world = start.clone();
        for &n in order {
            world.deliver(&bodies[n]);
        }
        world.advance_to(Timestamp::from_seconds(history.end));
        if count == 0 {
            assert_true(history, &world);
        }
        states
            .entry(world.state())
            .or_insert_with(|| order.to_vec());
        count += 1;
    });
    println!(
        "permutations={count} distinct_max={} {}",
        states.len(),
        history.name
    );
    if states.len() > 1 {
        let two: Vec<(&String, &Vec<usize>)> = states.iter().take(2).collect();
        let (first, second) = (two[0], two[1]);
        let lines = |text: &str| {
            text.lines()
                .map(str::to_owned)
                .collect::<BTreeSet<String>>()
        };
        let (a, b) = (lines(first.0), lines(second.0));
        panic!(
            "{}: {} states\norder {:?} alone has {:#?}\norder {:?} alone has {:#?}",
            history.name,
            states.len(),
            first.1,
            a.difference(&b),
            second.1,
            b.difference(&a)
        );
    }
}

/// Every permutation with `BURSAR_CASES` at 1000 or more; else one of 61, spread evenly.
fn stride() -> u32 {
    let cases: u32 = std::env::var("BURSAR_CASES").map_or(0, |text| text.parse().unwrap());
    if cases >= 1_000 { 1 } else { 61 }
}

#[test]
fn every_permutation_of_fixed_histories_ends_in_the_one_true_state() {
    for history in all() {
        permute(&history);
    }
}
