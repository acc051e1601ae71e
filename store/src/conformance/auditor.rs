//! Looks at every row of a store and says what contradicts what.

use crate::api::{EffectStatus, InputStatus};
use crate::engine::fold::is_deduplicated;
use crate::engine::{places, replay};
use crate::keys::{self, Fields};
use crate::kv::{Kv, Pair, end_of, first};
use crate::shapes::{EffectRow, InputRow, LedgerRow, StoredRow, unpack};
use bursar_domain::ids::TenantId;
use bursar_domain::link::LinkKey;
use std::collections::{BTreeMap, BTreeSet};

fn all(kv: &dyn Kv, prefix: u8) -> Vec<Pair> {
    first(kv, &[prefix], &end_of(&[prefix]), usize::MAX).unwrap()
}

/// Every row, but those that tell boots and openings apart.
pub(super) fn dump(kv: &dyn Kv) -> Vec<Pair> {
    let mut rows = first(kv, &[0], &end_of(&[0xfe]), usize::MAX).unwrap();
    rows.retain(|(key, _)| key[0] != keys::META || *key == keys::meta("counters"));
    rows
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(*key.last_chunk::<8>().unwrap())
}

/// Panics at the first contradiction.
pub(super) fn audit(kv: &dyn Kv) {
    assert!(
        replay::is_complete(kv).unwrap(),
        "the tally is not the rows'"
    );
    audit_inputs(kv);
    audit_books(kv);
    audit_rows(kv);
    audit_effects(kv);
    for (key, value) in all(kv, keys::TIMER) {
        let mut fields = Fields::of(&key);
        let (of, name) = (fields.text().unwrap(), fields.text().unwrap());
        let due = keys::Key::new(keys::DUE_TIMER).time(unpack(&value).unwrap());
        let due = due.text(&of).text(&name);
        assert!(kv.get(&due).unwrap().is_some(), "a timer that is never due");
    }
    assert_eq!(all(kv, keys::TIMER).len(), all(kv, keys::DUE_TIMER).len());
}

fn audit_inputs(kv: &dyn Kv) {
    let (mut pending, mut parked) = (BTreeSet::new(), BTreeSet::new());
    let (mut listed, mut named) = (BTreeSet::new(), BTreeSet::new());
    let mut ready: BTreeMap<keys::Key, u32> = BTreeMap::new();
    let mut known = BTreeMap::new();
    let mut counts: BTreeMap<InputStatus, u64> = BTreeMap::new();
    for (key, value) in all(kv, keys::INPUT) {
        let seq = number(&key);
        let row: InputRow = unpack(&value).unwrap();
        *counts.entry(row.status).or_default() += 1;
        if row.status != InputStatus::Applied {
            listed.insert(keys::status(row.status as u8, seq));
        }
        match row.status {
            InputStatus::Received => {
                let to = row.to.clone().unwrap();
                pending.insert(keys::pending(&to, seq));
                *ready.entry(keys::ready(&to)).or_default() += 1;
                assert!(row.ended_at.is_none());
            }
            InputStatus::Parked => {
                assert!(!row.parked_on.is_empty());
                for link in &row.parked_on {
                    let is_linked = kv.get(&keys::link(link)).unwrap().is_some();
                    let is_promised = kv.get(&keys::unfreed(link)).unwrap().is_some();
                    assert!(
                        !is_linked || is_promised,
                        "{seq} waits for a link that is there"
                    );
                    parked.insert(keys::parked(link, seq));
                }
            }
            _ => assert!(row.ended_at.is_some() && row.parked_on.is_empty()),
        }
        for id in &row.object_ids {
            named.insert(keys::named(id, seq));
        }
        if is_deduplicated(&row.source) {
            let mut value = seq.to_be_bytes().to_vec();
            value.extend_from_slice(&row.body.print.short());
            known.insert(keys::dedup(&row.source), value);
        }
        let is_placed = places::find(kv, row.record).unwrap().is_some();
        assert!(is_placed, "the record of input {seq} is nowhere");
    }
    assert_eq!(known, all(kv, keys::DEDUP).into_iter().collect());
    let keys_of = |prefix| all(kv, prefix).into_iter().map(|(key, _)| key);
    assert_eq!(pending, keys_of(keys::PENDING).collect());
    assert_eq!(parked, keys_of(keys::PARKED).collect());
    assert_eq!(listed, keys_of(keys::STATUS).collect());
    assert!(named.is_subset(&keys_of(keys::NAMED).collect()));
    let stored = all(kv, keys::READY).into_iter();
    let stored = stored.map(|(key, count)| (key, u32::from_be_bytes(count.try_into().unwrap())));
    assert_eq!(ready, stored.collect());
    let counters = replay::folded(kv).unwrap().counters;
    let count = |status| counts.get(&status).copied().unwrap_or(0);
    assert_eq!(counters.inputs, counts.values().sum::<u64>());
    assert_eq!(counters.pending, count(InputStatus::Received));
    assert_eq!(counters.parked, count(InputStatus::Parked));
    assert_eq!(counters.dead, count(InputStatus::Dead));
}

fn audit_books(kv: &dyn Kv) {
    let mut balances: BTreeMap<keys::Key, i128> = BTreeMap::new();
    let mut nets: BTreeMap<keys::Key, i128> = BTreeMap::new();
    let mut lists = BTreeSet::new();
    for (key, value) in all(kv, keys::LEDGER) {
        let row: LedgerRow = unpack(&value).unwrap();
        let minor = i128::from(row.amount.amount_minor);
        let (account, currency) = (row.account as u8, row.amount.currency);
        let balance = keys::balance(row.tenant.as_ref(), account, currency);
        *balances.entry(balance).or_default() += minor;
        let tenant = row.tenant.as_ref().map_or("", TenantId::as_str);
        let payment = row.payment.as_ref().map(LinkKey::to_string);
        let net = keys::Key::new(keys::NET).text(&row.source).text(tenant);
        let net = net.text(payment.as_deref().unwrap_or_default());
        let net = net.byte(account).currency(currency);
        *nets.entry(net).or_default() += minor;
        for (by, whose) in [
            (keys::LEDGER_ALL, Some("")),
            (
                keys::LEDGER_TENANT,
                row.tenant.as_ref().map(TenantId::as_str),
            ),
            (keys::LEDGER_PAYMENT, payment.as_deref()),
            (keys::LEDGER_ACCOUNT, Some(row.account.as_str())),
        ] {
            let entry = whose.map(|whose| keys::ledger_list(by, whose).time(row.at));
            lists.extend(entry.map(|entry| entry.number(number(&key))));
        }
    }
    let total: i128 = balances.values().sum();
    assert_eq!(total, 0, "the books do not balance");
    for (expected, prefix) in [(balances, keys::BALANCE), (nets, keys::NET)] {
        let stored = all(kv, prefix).into_iter();
        let stored = stored.map(|(key, sum)| (key, i128::from_be_bytes(sum.try_into().unwrap())));
        let expected = expected.into_iter().filter(|(_, sum)| *sum != 0);
        assert_eq!(expected.collect::<BTreeMap<_, _>>(), stored.collect());
    }
    let stored = all(kv, keys::LEDGER_LIST).into_iter().map(|(key, _)| key);
    assert_eq!(lists, stored.collect());
}

fn audit_rows(kv: &dyn Kv) {
    let mut lists = BTreeSet::new();
    let mut counts: BTreeMap<(u8, String), u64> = BTreeMap::new();
    for (key, value) in all(kv, keys::ROW) {
        let mut fields = Fields::of(&key);
        let kind = fields.byte().unwrap();
        let (id, scope) = (fields.text().unwrap(), fields.text().unwrap());
        let row: StoredRow = unpack(&value).unwrap();
        for of in [None, row.tenant.as_ref()] {
            let list = keys::row_list(kind, of).created(row.created_at);
            lists.insert(list.text(&id).text(&scope));
        }
        *counts.entry((kind, row.status)).or_default() += 1;
    }
    let mut stored = all(kv, keys::ROW_LIST);
    stored.extend(all(kv, keys::TENANT_ROWS));
    assert_eq!(lists, stored.into_iter().map(|(key, _)| key).collect());
    assert_eq!(counts, replay::folded(kv).unwrap().counters.rows);
}

fn audit_effects(kv: &dyn Kv) {
    let (mut due, mut outbox) = (BTreeSet::new(), BTreeSet::new());
    let mut waiting: BTreeMap<u8, u64> = BTreeMap::new();
    for (key, value) in all(kv, keys::EFFECT) {
        let id = Fields::of(&key).text().unwrap();
        let row: EffectRow = unpack(&value).unwrap();
        let lane = row.lane as u8;
        waiting.entry(lane).or_default();
        if row.status == EffectStatus::Pending {
            due.insert(keys::due_effect(lane, row.due_at, &id));
            *waiting.entry(lane).or_default() += 1;
        }
        outbox.insert(keys::outbox(row.number));
        outbox.insert(keys::outbox_by(row.status as u8, row.number));
    }
    let mut stored = all(kv, keys::OUTBOX);
    stored.extend(all(kv, keys::OUTBOX_BY));
    assert_eq!(outbox, stored.into_iter().map(|(key, _)| key).collect());
    let stored = all(kv, keys::DUE_EFFECT).into_iter().map(|(key, _)| key);
    assert_eq!(due, stored.collect());
    assert_eq!(waiting, replay::folded(kv).unwrap().counters.outbox);
}
