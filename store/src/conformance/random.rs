//! Random commits: small worlds in which everything collides with everything.

use super::world::*;
use crate::api::{
    Accepted, Administer, Applied, Apply, EffectStatus, Fate, Inbound, Keep, Settle, Store,
};
use crate::error::StoreError;
use bursar_domain::decision::{Decision, EffectId, Outgoing, TimerWrite};
use bursar_domain::ids::{EventId, Scope};
use bursar_domain::input::InputSource;
use bursar_domain::rows::{RowKind, RowWrite, Subject};
use std::collections::BTreeMap;

/// SplitMix64: a seed is a world.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

pub(super) const AGGREGATES: &[&str] = &[
    "tenant:acme",
    "customer:/cus_1",
    "payment:/pi_1",
    "payment:/pi_2",
    "payment:acct_9/pi_1",
];
const LINKS: &[&str] = &["tenant:acme", "customer:/cus_1", "payment:/pi_1"];
const SUBJECTS: &[&str] = &["customer:/cus_1", "tenant:acme"];

/// What was answered: it must be there after any crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered {
    /// Body by event id.
    pub(super) events: BTreeMap<String, Vec<u8>>,
    /// Versions of aggregates.
    pub(super) versions: BTreeMap<String, u64>,
    /// Kept records.
    pub(super) keeps: BTreeMap<String, Vec<u8>>,
    /// Settled effects.
    pub(super) settled: Vec<String>,
    /// Some subject was erased: bodies may be gone.
    pub(super) erased: bool,
}

fn inbound(dice: &mut Dice) -> Inbound {
    let n = dice.below(400);
    let park: Vec<&str> = LINKS.iter().filter(|_| dice.one_in(4)).copied().collect();
    let mut item = parked_event(&format!("evt_{n}"), dice.of(AGGREGATES), &park);
    item.subject = Subject(dice.of(SUBJECTS).to_owned());
    item.body = format!(
        "{{\"id\":\"evt_{n}\",\"pad\":\"{}\"}}",
        "x".repeat(n as usize)
    )
    .into();
    if dice.one_in(12) {
        item.fate = Fate::Dead {
            reason: "unusable".into(),
        };
    }
    if dice.one_in(9) {
        item.source = InputSource::Event(account("acct_9"), EventId::parse("evt_0").unwrap());
    }
    item
}

fn decided(dice: &mut Dice) -> Decision {
    let mut out = decision();
    if dice.one_in(2) {
        out.snapshot = Some(format!("{{\"n\":{}}}", dice.below(99)).into());
        out.snapshot_subject = dice
            .one_in(2)
            .then(|| Subject(dice.of(SUBJECTS).to_owned()));
    }
    if dice.one_in(6) {
        out.links = vec![writes_link(dice.of(LINKS), "acme")];
    }
    for _ in 0..dice.below(3) {
        let park = if dice.one_in(3) {
            vec![link(dice.of(LINKS))]
        } else {
            Vec::new()
        };
        out.messages.push(Outgoing {
            to: key(dice.of(AGGREGATES)),
            kind: "summary".to_owned(),
            payload: b"{\"m\":1}".to_vec(),
            park,
            subject: dice
                .one_in(2)
                .then(|| Subject(dice.of(SUBJECTS).to_owned())),
        });
    }
    if dice.one_in(3) {
        let id = format!("e{}", dice.below(40));
        out.effects.push(effect(&id, at(dice.below(50) as i64)));
    }
    if dice.one_in(3) {
        out.timers.push(TimerWrite {
            name: dice.of(&["grace", "trial"]).to_owned(),
            at: (!dice.one_in(3)).then(|| at(dice.below(50) as i64)),
        });
    }
    for _ in 0..dice.below(3) {
        out.rows.push(row_write(dice));
    }
    if dice.one_in(2) {
        let source = format!("ch_{}", dice.below(4));
        let mut moved = movement(&source, dice.below(9) as i64 - 4);
        if dice.one_in(3) {
            moved.tenant = None;
        }
        out.movements.push(moved);
    }
    if dice.one_in(2) {
        let mut entry = line("something", dice.below(50) as i64);
        entry.tenant = dice.one_in(2).then(|| tenant("acme"));
        out.timeline.push(entry);
    }
    out
}

fn row_write(dice: &mut Dice) -> RowWrite {
    let id = format!("pi_{}", dice.below(6));
    if dice.one_in(5) {
        return RowWrite::Delete {
            kind: RowKind::Payment,
            scope: Scope::PLATFORM,
            id,
        };
    }
    let of = dice.one_in(2).then_some("acme");
    let created = (!dice.one_in(4)).then(|| dice.below(9) as i64);
    let mut out = row(&id, of, created, dice.of(&["succeeded", "failed"]));
    out.hidden = dice.one_in(5);
    out.personal = dice.one_in(3).then(|| personal("ann@example.com"));
    RowWrite::Put(out)
}

/// One random thing to do; what was answered is remembered.
pub(super) async fn act(
    store: &dyn Store,
    dice: &mut Dice,
    known: &mut Answered,
) -> Result<(), StoreError> {
    match dice.below(16) {
        0..=4 => accept_some(store, dice, known).await,
        5..=10 => apply_some(store, dice, known).await,
        11 => end_effect(store, dice, known).await,
        12 => {
            let timers = store.due_timers(at(25), 4).await?;
            store.fire(timers, at(25)).await.map(|_| ())
        }
        13 => operate(store, dice).await,
        14 => {
            let name = format!("k{}", dice.below(5));
            let value = vec![7; dice.below(6_000) as usize];
            let keep = Keep {
                space: "things",
                key: name.clone(),
                value: Some(value.clone()),
                subject: None,
            };
            let write = Administer {
                keeps: vec![keep],
                ..Administer::default()
            };
            store.administer(write).await?;
            known.keeps.insert(name, value);
            Ok(())
        }
        _ => {
            if dice.one_in(6) {
                let subject = Subject(dice.of(SUBJECTS).to_owned());
                known.erased = true;
                store.erase(vec![subject], NOW).await?;
            }
            store.probe().await
        }
    }
}

async fn accept_some(
    store: &dyn Store,
    dice: &mut Dice,
    known: &mut Answered,
) -> Result<(), StoreError> {
    let items: Vec<Inbound> = (0..=dice.below(4)).map(|_| inbound(dice)).collect();
    let answers = store.accept(items.clone()).await?;
    for (item, answer) in items.into_iter().zip(answers) {
        if let (Accepted::New { .. }, InputSource::Event(scope, id)) = (answer, &item.source) {
            known
                .events
                .insert(format!("{}/{id}", scope.as_str()), item.body.to_vec());
        }
    }
    Ok(())
}

async fn apply_some(
    store: &dyn Store,
    dice: &mut Dice,
    known: &mut Answered,
) -> Result<(), StoreError> {
    let aggregate = dice.of(AGGREGATES);
    let version = match store.load(key(aggregate)).await {
        Ok(loaded) => loaded.map_or(0, |snapshot| snapshot.version),
        // Its snapshot was erased: nothing more can be decided over it here.
        Err(StoreError::Invalid(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let inbox = store
        .pending(key(aggregate), 1 + dice.below(3) as usize)
        .await?;
    if inbox.is_empty() {
        return Ok(());
    }
    let steps = inbox.iter().map(|input| step(input.seq, decided(dice)));
    let steps = steps.collect();
    let stale = u64::from(dice.one_in(10));
    let apply = Apply {
        skipped_lanes: Vec::new(),
        ..apply_of(aggregate, version + stale, steps)
    };
    if let Applied::Done { version, .. } = store.apply(apply).await? {
        known.versions.insert(aggregate.to_owned(), version);
    }
    Ok(())
}

async fn end_effect(
    store: &dyn Store,
    dice: &mut Dice,
    known: &mut Answered,
) -> Result<(), StoreError> {
    use bursar_domain::decision::Lane;
    let due = store.due_effects(Lane::Mail, at(60), 3).await?;
    let Some(first) = due.first() else {
        return Ok(());
    };
    if dice.one_in(2) {
        let put_off = store.postpone(first.id.clone(), true, at(61), "later".into());
        return put_off.await;
    }
    let mut result = inbound(dice);
    result.source = InputSource::Effect(first.id.clone());
    let settle = Settle {
        id: EffectId(first.id.0.clone()),
        status: EffectStatus::Done,
        note: String::new(),
        at: NOW,
        result: dice.one_in(2).then_some(result),
    };
    store.settle(settle).await?;
    known.settled.push(first.id.0.clone());
    Ok(())
}

async fn operate(store: &dyn Store, dice: &mut Dice) -> Result<(), StoreError> {
    let seq = 1 + dice.below(300);
    match dice.below(3) {
        0 => store.bury(seq, "buried".into(), NOW).await.map(|_| ()),
        1 => store
            .dismiss(seq, "dismissed".into(), NOW)
            .await
            .map(|_| ()),
        _ => {
            let to = key(dice.of(AGGREGATES));
            let park = if dice.one_in(2) {
                vec![link(dice.of(LINKS))]
            } else {
                Vec::new()
            };
            let fate = Fate::Pending { to, park };
            store.requeue(vec![(seq, fate)], NOW).await.map(|_| ())
        }
    }
}

/// How many random worlds to try.
pub(super) fn cases(default: u64) -> u64 {
    let scale = std::env::var("BURSAR_CASES").ok();
    scale.and_then(|text| text.parse().ok()).unwrap_or(default)
}
