//! Accept: what is new gets a number and a fate, what is not gets the first one's number.

use super::commit::{Answer, Arrival, Plan, Tail, new_input};
use super::fold::{State, broken, is_deduplicated};
use crate::api::{Accepted, Fate, InputStatus};
use crate::error::StoreError;
use crate::keys::{self, Key};
use crate::record::{Entry, NewFate};
use bursar_domain::link::LinkKey;
use std::collections::{BTreeMap, BTreeSet};

/// The first input of a dedup key.
#[derive(Clone, Copy)]
pub(super) struct First {
    pub(super) seq: u64,
    /// The short print of its body.
    pub(super) body: [u8; 16],
}

/// Finds the first input of a source by its key.
pub(super) fn first_of(state: &State<'_>, key: &Key) -> Result<Option<First>, StoreError> {
    let found = bursar_domain::mutant!("M18", state.kv.get_filed(key)?, state.kv.get(key)?);
    let Some(bytes) = found else {
        return Ok(None);
    };
    let parts = bytes.split_first_chunk::<8>();
    let Some((seq, Ok(body))) = parts.map(|(seq, body)| (seq, body.try_into())) else {
        return Err(broken("a dedup row cannot be read".to_owned()));
    };
    Ok(Some(First {
        seq: u64::from_be_bytes(*seq),
        body,
    }))
}

/// What a fate comes to now: parked if it names references and none is linked.
/// `own` are links the same commit writes.
pub(super) fn resolve(
    state: &State<'_>,
    fate: Fate,
    own: &BTreeSet<LinkKey>,
) -> Result<NewFate, StoreError> {
    Ok(match fate {
        Fate::Ignored { reason } => NewFate::Ignored { reason },
        Fate::Dead { reason } => NewFate::Dead { reason },
        Fate::Pending { to, park } => {
            let mut linked = park.is_empty();
            for link in &park {
                linked = linked || own.contains(link) || state.kv.has(&keys::link(link))?;
            }
            if linked {
                NewFate::Pending { to }
            } else {
                NewFate::Parked { to, on: park }
            }
        }
    })
}

const fn status_of(fate: &NewFate) -> InputStatus {
    match fate {
        NewFate::Pending { .. } => InputStatus::Received,
        NewFate::Parked { .. } => InputStatus::Parked,
        NewFate::Ignored { .. } => InputStatus::Ignored,
        NewFate::Dead { .. } => InputStatus::Dead,
    }
}

pub(super) fn plan(state: &State<'_>, arrivals: Vec<Arrival>) -> Result<Plan, StoreError> {
    let mut tail = Tail::default();
    let most = arrivals.len();
    let mut inputs = Vec::with_capacity(most);
    let mut answers = Vec::with_capacity(arrivals.len());
    let mut here: BTreeMap<Key, First> = BTreeMap::new();
    let mut seq = state.counters.next_seq.max(1);
    for arrival in arrivals {
        let key = keys::dedup(&arrival.inbound.source);
        let body = arrival.body.print.short();
        let first = match here.get(&key) {
            Some(first) => Some(*first),
            None if is_deduplicated(&arrival.inbound.source) => first_of(state, &key)?,
            None => None,
        };
        if let Some(first) = first {
            answers.push(Accepted::Duplicate {
                seq: first.seq,
                same_body: first.body == body,
            });
            continue;
        }
        let fate = |fate| resolve(state, fate, &BTreeSet::new());
        let input = new_input(seq, arrival, &mut tail, fate)?;
        answers.push(Accepted::New {
            seq,
            status: status_of(&input.fate),
            to: input.fate.inbox().cloned(),
        });
        inputs.push(input);
        if inputs.len() < most {
            here.insert(key, First { seq, body });
        }
        seq += 1;
    }
    let answer = Answer::Accepted(answers);
    if inputs.is_empty() {
        return Ok(Plan::nothing(answer));
    }
    Ok(Plan {
        entry: Some(Entry::Accepted(inputs)),
        bodies: tail.finish(),
        answer,
    })
}
