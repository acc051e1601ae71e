//! The store on a disk that fails at an operation and then loses its power.

use crate::{Dice, process};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{
    Decision, Disposition, EffectId, EffectIntent, Lane, LedgerAccount, LedgerEntry, Movement,
};
use bursar_domain::ids::{EventId, Scope, Timestamp};
use bursar_domain::input::InputSource;
use bursar_domain::money::Currency;
use bursar_domain::rows::Subject;
use bursar_store::api::{Accepted, Applied, Apply, Fate, Inbound, Step, Store};
use bursar_store::query::{LedgerQuery, OutboxQuery};
use bursar_store::testing::open_on;
use bursar_store::vfs::{Errno, Fault, SimVfs};
use std::collections::BTreeSet;
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_750_000_000_000);
/// Steps of a run, and operations of the disk within which it ends.
const STEPS: u64 = 16;
const OPERATIONS: u64 = 48;

fn payment(n: u64) -> AggregateKey {
    AggregateKey::parse(&format!("payment:/pi_{n}")).expect("a key")
}

pub(crate) fn delivery(n: u64) -> Inbound {
    let id = EventId::parse(&format!("evt_{n}")).expect("an id");
    Inbound {
        source: InputSource::Event(Scope::PLATFORM, id),
        kind: "charge.succeeded".to_owned(),
        fate: Fate::Pending {
            to: payment(n),
            park: Vec::new(),
        },
        object_ids: Vec::new(),
        created_at: Some(NOW),
        received_at: NOW,
        subject: Subject("customer:/cus_1".to_owned()),
        body: format!("{{\"id\":\"evt_{n}\"}}").into_bytes().into(),
        tenant: None,
    }
}

pub(crate) fn words(error: bursar_store::error::StoreError) -> String {
    error.to_string()
}

/// Opens a store whose disk ends at an operation of the seed's choice.
fn open_to_fail(disk: &SimVfs, dice: &mut Dice) -> Result<Arc<dyn Store>, String> {
    let store = open_on(disk).map_err(words)?;
    disk.fail(Fault {
        at: disk.operations() + dice.below(OPERATIONS),
        errno: Errno::Eio,
        lasting: true,
    });
    Ok(store)
}

/// The power goes before anything can be closed, and comes back.
fn cut(disk: &SimVfs, store: Arc<dyn Store>, seed: u64) -> Result<Arc<dyn Store>, String> {
    disk.power_cut(seed);
    drop(store);
    open_on(disk).map_err(|error| format!("the store does not open again: {error}"))
}

/// P1: a delivery that was answered is there, whenever the power went.
pub(crate) fn answered_deliveries_survive(seed: u64) -> Result<(), String> {
    process(async {
        let (disk, mut dice) = (SimVfs::new(), Dice(seed));
        let store = open_to_fail(&disk, &mut dice)?;
        let mut answered = Vec::new();
        for n in 0..STEPS {
            if store.accept(vec![delivery(n)]).await.is_err() {
                break;
            }
            answered.push(n);
        }
        let store = cut(&disk, store, seed)?;
        for n in answered {
            let found = store.input(format!("evt_{n}"), None).await.map_err(words)?;
            if found.len() != 1 {
                return Err(format!("evt_{n} was answered and is gone"));
            }
        }
        store.close().await.map_err(words)
    })
}

/// A decision that posts money and sends a receipt for it.
fn sale(n: u64) -> Decision {
    let currency = Currency::parse("usd").expect("a currency");
    let entry = |account, amount_minor| LedgerEntry {
        account,
        amount_minor,
        currency,
    };
    Decision {
        movements: vec![Movement {
            source: format!("ch_{n}"),
            at: NOW,
            tenant: None,
            payment: None,
            entries: vec![
                entry(LedgerAccount::StripeBalance, 500),
                entry(LedgerAccount::Revenue, -500),
            ],
        }],
        effects: vec![EffectIntent {
            id: EffectId(format!("ch_{n}")),
            lane: Lane::Mail,
            kind: "mail.receipt".to_owned(),
            due_at: NOW,
            payload: b"{}".to_vec(),
            subject: None,
        }],
        ..Decision::nothing(Disposition::Applied, "")
    }
}

async fn sell(store: &dyn Store, n: u64) -> Result<(), String> {
    let accepted = store.accept(vec![delivery(n)]).await.map_err(words)?;
    let [Accepted::New { seq, .. }] = accepted.as_slice() else {
        return Err(format!("evt_{n} is not new: {accepted:?}"));
    };
    let apply = Apply {
        skipped_lanes: Vec::new(),
        aggregate: payment(n),
        expected_version: 0,
        reducer_rev: 1,
        settings: "mutants".to_owned(),
        steps: vec![Step {
            seq: *seq,
            now: NOW,
            looked_up: Vec::new(),
            decision: sale(n),
        }],
    };
    match store.apply(apply).await.map_err(words)? {
        Applied::Done { .. } => Ok(()),
        stale => Err(format!("evt_{n}: {stale:?}")),
    }
}

/// Two who decided over the same state: one of them decided over the past.
pub(crate) fn what_was_decided_over_the_past_is_refused(seed: u64) -> Result<(), String> {
    process(async {
        let (disk, mut dice) = (SimVfs::new(), Dice(seed));
        let store = open_on(&disk).map_err(words)?;
        let (mut version, to) = (0, payment(0));
        for n in 0..2 + dice.below(6) {
            let inbound = Inbound {
                fate: Fate::Pending {
                    to: to.clone(),
                    park: Vec::new(),
                },
                ..delivery(n)
            };
            let accepted = store.accept(vec![inbound]).await.map_err(words)?;
            let [Accepted::New { seq, .. }] = accepted.as_slice() else {
                return Err(format!("evt_{n} is not new: {accepted:?}"));
            };
            let over = |expected_version| Apply {
                skipped_lanes: Vec::new(),
                aggregate: to.clone(),
                expected_version,
                reducer_rev: 1,
                settings: "mutants".to_owned(),
                steps: vec![Step {
                    seq: *seq,
                    now: NOW,
                    looked_up: Vec::new(),
                    decision: sale(n),
                }],
            };
            if version > 0 && dice.one_in(2) {
                let past = store
                    .apply(over(dice.below(version)))
                    .await
                    .map_err(words)?;
                if !matches!(past, Applied::Stale { .. }) {
                    return Err(format!("taken over the past: {past:?}"));
                }
            }
            match store.apply(over(version)).await.map_err(words)? {
                Applied::Done { version: next, .. } => version = next,
                stale => return Err(format!("evt_{n}: {stale:?}")),
            }
        }
        store.close().await.map_err(words)
    })
}

/// P2: money is posted exactly when its effect is in the outbox, whenever the power went.
pub(crate) fn ledger_and_outbox_survive_together(seed: u64) -> Result<(), String> {
    process(async {
        let (disk, mut dice) = (SimVfs::new(), Dice(seed));
        let store = open_to_fail(&disk, &mut dice)?;
        let mut answered = BTreeSet::new();
        for n in 0..STEPS {
            if sell(store.as_ref(), n).await.is_err() {
                break;
            }
            answered.insert(format!("ch_{n}"));
        }
        let store = cut(&disk, store, seed)?;
        let ledger = store.ledger(LedgerQuery {
            tenant: None,
            payment: None,
            account: Some(LedgerAccount::Revenue),
            after: None,
            limit: 100,
        });
        let posted = ledger.await.map_err(words)?.items;
        let posted: BTreeSet<String> = posted.into_iter().map(|line| line.source).collect();
        let outbox = store.outbox(OutboxQuery {
            status: None,
            lane: None,
            after: None,
            limit: 100,
        });
        let sent = outbox.await.map_err(words)?.items;
        let sent: BTreeSet<String> = sent.into_iter().map(|effect| effect.id.0).collect();
        if posted != sent {
            return Err(format!("posted {posted:?}, to be sent {sent:?}"));
        }
        if !answered.is_subset(&posted) {
            return Err(format!("answered {answered:?}, posted {posted:?}"));
        }
        store.close().await.map_err(words)
    })
}
