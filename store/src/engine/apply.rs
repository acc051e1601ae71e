//! Apply: the guards, then the record.
//!
//! Invariants: the version is the expected one; every consumed input is in this aggregate's inbox;
//! every link looked up has the value seen (links written by an earlier step of the same apply
//! count). Otherwise `Stale`, and nothing is written.

use super::accept::resolve;
use super::commit::{Answer, Plan, SealedApply, Tail};
use super::fold::{State, broken};
use crate::api::{Applied, Fate};
use crate::error::StoreError;
use crate::keys;
use crate::kv::end_of;
use crate::record::{ApplyRecord, Entry, NewInput, StepRecord};
use crate::shapes::{AggregateRow, pack, unpack};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use bursar_domain::input::InputSource;
use bursar_domain::link::{LinkKey, LinkTarget};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most parked inputs one commit puts into their inboxes; the rest follows in commits of its own.
pub(super) const FREED_MAX: usize = 512;

pub(super) fn plan(state: &State<'_>, apply: SealedApply) -> Result<Plan, StoreError> {
    let version = version_of(state, &apply.aggregate)?;
    let expected = bursar_domain::mutant!("M9", version, apply.expected_version);
    if version != expected || !holds(state, &apply)? {
        return Ok(Plan::nothing(Answer::Applied(Applied::Stale {
            actual_version: version,
        })));
    }
    let links: BTreeSet<LinkKey> = apply
        .steps
        .iter()
        .flat_map(|sealed| &sealed.step.decision.links)
        .map(|link| link.key.clone())
        .collect();
    let freed = to_free(state, &links)?;
    let lanes = lanes_of(state, &apply)?;
    let mut woken = freed.owners;
    let version = version + 1;
    let mut tail = Tail::default();
    let mut messages = Vec::new();
    let mut steps = Vec::with_capacity(apply.steps.len());
    for sealed in apply.steps {
        let at = sealed.step.now;
        let sent = sealed.step.decision.messages.iter().zip(sealed.payloads);
        for (message, payload) in sent {
            let fate = Fate::Pending {
                to: message.to.clone(),
                park: message.park.clone(),
            };
            let fate = resolve(state, fate, &links)?;
            woken.extend(fate.inbox().cloned());
            let n = u32::try_from(messages.len())
                .map_err(|_| StoreError::Invalid("too many messages".to_owned()))?;
            let subject = payload.subject.clone();
            messages.push(NewInput {
                seq: state.counters.next_seq.max(1) + u64::from(n),
                source: InputSource::Message(apply.aggregate.clone(), version, n),
                kind: message.kind.clone(),
                fate,
                object_ids: Vec::new(),
                created_at: None,
                received_at: at,
                subject,
                tenant: None,
                body: tail.place(payload)?,
            });
        }
        steps.push(StepRecord {
            seq: sealed.step.seq,
            now: at,
            looked_up: sealed.step.looked_up,
            decision: sealed.step.decision,
            decision_sha256: sealed.decision_sha256,
        });
    }
    let record = ApplyRecord {
        number: state.counters.next_applied.max(1),
        aggregate: apply.aggregate,
        version,
        reducer_rev: apply.reducer_rev,
        settings: apply.settings,
        steps,
        messages,
        freed: freed.seqs,
        unfreed: freed.more,
        skipped_lanes: apply.skipped_lanes,
    };
    Ok(Plan {
        entry: Some(Entry::Applied(Box::new(record))),
        bodies: tail.finish(),
        answer: Answer::Applied(Applied::Done {
            version,
            woken: woken.into_iter().collect(),
            lanes: lanes.into_iter().collect(),
        }),
    })
}

fn version_of(state: &State<'_>, aggregate: &AggregateKey) -> Result<u64, StoreError> {
    match state.kv.get(&keys::aggregate(aggregate))? {
        Some(bytes) => Ok(unpack::<AggregateRow>(&bytes)?.version),
        None => Ok(0),
    }
}

/// Whether the inputs are there and the links are as they were seen.
fn holds(state: &State<'_>, apply: &SealedApply) -> Result<bool, StoreError> {
    let mut written: BTreeMap<&LinkKey, &LinkTarget> = BTreeMap::new();
    let mut consumed = BTreeSet::new();
    for sealed in &apply.steps {
        let step = &sealed.step;
        let pending = state.kv.has(&keys::pending(&apply.aggregate, step.seq))?;
        if !pending || !consumed.insert(step.seq) {
            return Ok(false);
        }
        for (key, seen) in &step.looked_up {
            let same = match written.get(key) {
                Some(target) => seen.as_ref() == Some(*target),
                None => {
                    let seen = seen.as_ref().map(pack).transpose()?;
                    state.kv.get(&keys::link(key))? == seen
                }
            };
            if !same {
                return Ok(false);
            }
        }
        for link in &step.decision.links {
            written.insert(&link.key, &link.target);
        }
    }
    Ok(true)
}

/// Parked inputs that links set free.
#[derive(Default)]
struct Freed {
    seqs: Vec<u64>,
    owners: BTreeSet<AggregateKey>,
    /// Links with more under them.
    more: Vec<LinkKey>,
}

fn to_free(state: &State<'_>, links: &BTreeSet<LinkKey>) -> Result<Freed, StoreError> {
    let mut out = Freed::default();
    let mut seqs = BTreeSet::new();
    for link in links {
        let room = FREED_MAX - seqs.len();
        let (found, more) = parked_under(state, link, room)?;
        for seq in found {
            if seqs.insert(seq) {
                out.owners.extend(state.input(seq)?.to);
            }
        }
        if more {
            out.more.push(link.clone());
        }
    }
    out.seqs = seqs.into_iter().collect();
    Ok(out)
}

/// The oldest inputs parked under a link, and whether there are more.
fn parked_under(
    state: &State<'_>,
    link: &LinkKey,
    limit: usize,
) -> Result<(Vec<u64>, bool), StoreError> {
    let prefix = keys::parked_under(link);
    let found = state.kv.first(&prefix, &end_of(&prefix), limit + 1)?;
    let more = found.len() > limit;
    let mut seqs = Vec::with_capacity(found.len());
    for (key, _) in found.iter().take(limit) {
        let seq = key.last_chunk::<8>().map(|seq| u64::from_be_bytes(*seq));
        seqs.extend(seq);
    }
    Ok((seqs, more))
}

/// The committer's own commit: the next inputs parked under a link that was written earlier.
pub(super) fn plan_free(state: &State<'_>, link: LinkKey) -> Result<Plan, StoreError> {
    if !state.kv.has(&keys::unfreed(&link))? {
        return Ok(Plan::nothing(Answer::Flag(true)));
    }
    let (seqs, more) = parked_under(state, &link, FREED_MAX)?;
    let entry = Entry::Freed {
        link,
        seqs,
        done: !more,
    };
    Ok(Plan::write(entry, Answer::Flag(!more)))
}

fn lanes_of(state: &State<'_>, apply: &SealedApply) -> Result<BTreeSet<Lane>, StoreError> {
    let mut lanes = BTreeSet::new();
    for sealed in &apply.steps {
        for effect in &sealed.step.decision.effects {
            let is_performed = !apply.skipped_lanes.contains(&effect.lane);
            if is_performed && !state.kv.has(&keys::effect(&effect.id.0))? {
                lanes.insert(effect.lane);
            }
        }
    }
    Ok(lanes)
}

/// Links whose inputs were not all freed when the process stopped.
pub(super) fn unfreed(kv: &dyn crate::kv::Kv) -> Result<VecDeque<LinkKey>, StoreError> {
    let mut out = VecDeque::new();
    let low = [keys::UNFREED];
    for (key, _) in crate::kv::first(kv, &low, &end_of(&low), usize::MAX)? {
        let text = keys::Fields::of(&key).text();
        let link = text.and_then(|text| LinkKey::parse(&text).ok());
        out.push_back(link.ok_or_else(|| broken("an unfreed link cannot be read".to_owned()))?);
    }
    Ok(out)
}
