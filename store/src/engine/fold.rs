//! From a journal record to rows: the one function the live path and a rebuild share.
//!
//! Invariants: the result depends on the records and their order alone; nothing is decided here
//! that a record could say. An input is in exactly the places its status names:
//! `received` pending + ready + status list, `parked` parked + status list, `ignored` and `dead` the
//! status list, `applied` none.
//! Not here: whether a commit may happen (`accept`, `apply`, `settle`, `orders`).

use super::fold_apply::{add_effect, fold_apply};
use crate::api::{AuditEntry, EffectStatus, InputStatus};
use crate::error::StoreError;
use crate::keys;
use crate::kv::Overlay;
use crate::record::{Entry, Fired, KeepRecord, NewFate, NewInput, SealedKeep};
use crate::shapes::{Counters, EffectRow, InputRow, SealedRow, pack, unpack};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Disposition, EffectId};
use bursar_domain::ids::Timestamp;
use bursar_domain::input::InputSource;
use std::collections::BTreeSet;
use std::time::Duration;

/// Where it is kept whose keys were forgotten.
pub(super) const ERASED: &str = "erased";

/// The store as the open group sees it.
pub(crate) struct State<'a> {
    pub(crate) kv: Overlay<'a>,
    pub(crate) counters: Counters,
    /// The longest an input applied in it had waited since it was received; `None`: none was applied.
    pub(super) waited: Option<Duration>,
}

impl<'a> State<'a> {
    pub(super) fn new(kv: Overlay<'a>, counters: Counters) -> Self {
        Self {
            kv,
            counters,
            waited: None,
        }
    }
}

impl State<'_> {
    /// An input. # Errors: `Damaged` if it is not there.
    pub(crate) fn input(&self, seq: u64) -> Result<InputRow, StoreError> {
        match self.kv.get(&keys::input(seq))? {
            Some(bytes) => unpack(&bytes),
            None => Err(broken(format!("input {seq} is missing"))),
        }
    }
    /// An input, if there is one of that number.
    pub(crate) fn input_if_any(&self, seq: u64) -> Result<Option<InputRow>, StoreError> {
        self.kv
            .get(&keys::input(seq))?
            .map(|bytes| unpack(&bytes))
            .transpose()
    }
    /// An effect.
    pub(crate) fn effect(&self, id: &EffectId) -> Result<Option<EffectRow>, StoreError> {
        self.kv
            .get(&keys::effect(&id.0))?
            .map(|bytes| unpack(&bytes))
            .transpose()
    }
}

/// Rows that contradict each other.
pub(crate) fn broken(kind: String) -> StoreError {
    StoreError::Damaged {
        file: "projections".to_owned(),
        offset: 0,
        kind,
    }
}

/// Whether Stripe delivered it.
pub(crate) const fn is_delivery(source: &InputSource) -> bool {
    matches!(source, InputSource::Event(..) | InputSource::Raw(_))
}

/// Whether it may come twice from outside. Messages and timers are guarded by their sender's
/// version and by the timer itself.
pub(crate) const fn is_deduplicated(source: &InputSource) -> bool {
    !matches!(source, InputSource::Message(..) | InputSource::Timer(..))
}

/// Writes what a record says.
pub(crate) fn fold(state: &mut State<'_>, number: u64, entry: Entry) -> Result<(), StoreError> {
    match entry {
        Entry::Accepted(items) => {
            for item in items {
                insert(state, number, item)?;
            }
        }
        Entry::Applied(apply) => fold_apply(state, number, *apply)?,
        Entry::Settled {
            id,
            status,
            note,
            at,
            result,
        } => {
            settle(state, &id, status, &note, at)?;
            if let Some(input) = result {
                insert(state, number, *input)?;
            }
        }
        Entry::Postponed {
            id,
            attempted,
            due_at,
            error,
        } => postpone(state, &id, attempted, due_at, &error)?,
        Entry::Revived { id, at, audit } => {
            revive(state, &id, at)?;
            administer(state, &[], std::slice::from_ref(&audit))?;
        }
        Entry::Buried { seq, reason, at } => end(state, seq, Disposition::Dead, &reason, at)?,
        Entry::Dismissed { seq, reason, at } => {
            end(state, seq, Disposition::Ignored, &reason, at)?;
        }
        Entry::Requeued { items, at } => {
            for (seq, fate) in items {
                change(state, seq, |row| give_fate(row, fate, at))?;
            }
        }
        Entry::Fired(fired) => {
            for one in fired {
                fire(state, number, one)?;
            }
        }
        Entry::Administered { keeps, audit } => administer(state, &keeps, &audit)?,
        Entry::Kept(kept) => {
            administer(state, &kept.keeps, &kept.audit)?;
            keep_sealed(state, &kept.sealed)?;
            for (of, effect) in &kept.effects {
                add_effect(state, of, kept.at, effect, false)?;
            }
        }
        Entry::Freed { link, seqs, done } => {
            free(state, &seqs)?;
            if done {
                state.kv.delete(keys::unfreed(&link))?;
            }
        }
        Entry::Installed { id, .. } => {
            state
                .kv
                .put(keys::keep("store", "installation"), id.into_bytes())?;
        }
        Entry::Erased { subjects, at } => {
            for subject in subjects {
                state.kv.put(keys::keep(ERASED, &subject.0), pack(&at)?)?;
            }
        }
        Entry::Probe => {}
    }
    Ok(())
}

/// Files a new input.
pub(super) fn insert(
    state: &mut State<'_>,
    number: u64,
    input: NewInput,
) -> Result<(), StoreError> {
    let mut row = InputRow {
        source: input.source,
        kind: input.kind,
        to: None,
        status: InputStatus::Received,
        disposition: None,
        reason: String::new(),
        parked_on: Vec::new(),
        created_at: input.created_at,
        received_at: input.received_at,
        ended_at: None,
        tenant: input.tenant,
        object_ids: input.object_ids,
        subject: input.subject,
        record: number,
        body: input.body,
    };
    give_fate(&mut row, input.fate, input.received_at);
    state.counters.next_seq = state.counters.next_seq.max(input.seq + 1);
    state.counters.inputs += 1;
    if is_deduplicated(&row.source) {
        let mut value = input.seq.to_be_bytes().to_vec();
        value.extend_from_slice(&input.body.print.short());
        state.kv.put_new(keys::dedup(&row.source), value);
    }
    let ids: BTreeSet<&str> = row.object_ids.iter().map(String::as_str).collect();
    for id in ids {
        if id.len() <= keys::INDEXED_ID_BYTES_MAX {
            state.kv.put_new(keys::named(id, input.seq), Vec::new());
        }
    }
    enter(state, input.seq, &row, true)?;
    state.kv.put_new(keys::input(input.seq), pack(&row)?);
    Ok(())
}

fn give_fate(row: &mut InputRow, fate: NewFate, at: Timestamp) {
    row.parked_on.clear();
    row.disposition = None;
    row.ended_at = None;
    row.reason.clear();
    match fate {
        NewFate::Pending { to } => {
            row.to = Some(to);
            row.status = InputStatus::Received;
        }
        NewFate::Parked { to, on } => {
            row.to = Some(to);
            row.status = InputStatus::Parked;
            row.disposition = Some(Disposition::Parked);
            row.parked_on = on;
        }
        NewFate::Ignored { reason } => end_row(row, Disposition::Ignored, &reason, at),
        NewFate::Dead { reason } => end_row(row, Disposition::Dead, &reason, at),
    }
}

pub(super) fn end_row(row: &mut InputRow, disposition: Disposition, reason: &str, at: Timestamp) {
    row.parked_on.clear();
    row.status = InputStatus::of(disposition);
    row.disposition = Some(disposition);
    reason.clone_into(&mut row.reason);
    row.ended_at = Some(at);
}

fn end(
    state: &mut State<'_>,
    seq: u64,
    disposition: Disposition,
    reason: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    change(state, seq, |row| end_row(row, disposition, reason, at))
}

/// Changes an input and moves it to the places its new status names.
pub(super) fn change(
    state: &mut State<'_>,
    seq: u64,
    how: impl FnOnce(&mut InputRow),
) -> Result<(), StoreError> {
    let mut row = state.input(seq)?;
    leave(state, seq, &row)?;
    how(&mut row);
    enter(state, seq, &row, false)?;
    state.kv.put(keys::input(seq), pack(&row)?)
}

fn inbox(row: &InputRow) -> Result<&AggregateKey, StoreError> {
    row.to
        .as_ref()
        .ok_or_else(|| broken("a pending input without an inbox".to_owned()))
}

/// `is_new`: nothing was ever filed under this number, so nothing needs to be looked for.
fn enter(state: &mut State<'_>, seq: u64, row: &InputRow, is_new: bool) -> Result<(), StoreError> {
    let file = |state: &mut State<'_>, key| {
        if is_new {
            state.kv.put_new(key, Vec::new());
            Ok(())
        } else {
            state.kv.put(key, Vec::new())
        }
    };
    let listed = row.status != InputStatus::Applied;
    if listed {
        file(state, keys::status(row.status as u8, seq))?;
    }
    match row.status {
        InputStatus::Received => {
            let to = inbox(row)?.clone();
            file(state, keys::pending(&to, seq))?;
            count_ready(state, &to, 1)?;
            state.counters.pending += 1;
        }
        InputStatus::Parked => {
            for link in &row.parked_on {
                file(state, keys::parked(link, seq))?;
            }
            state.counters.parked += 1;
        }
        InputStatus::Dead => {
            state.counters.dead += 1;
            // A message or timer is in no index by its own id until somebody must find it.
            if !is_deduplicated(&row.source) {
                let key = keys::named(&row.source.public_id(), seq);
                state.kv.put(key, Vec::new())?;
            }
        }
        InputStatus::Ignored | InputStatus::Applied => {}
    }
    if let Some(tenant) = &row.tenant
        && is_deduplicated(&row.source)
    {
        file(state, keys::of_tenant(tenant, seq))?;
    }
    Ok(())
}

fn leave(state: &mut State<'_>, seq: u64, row: &InputRow) -> Result<(), StoreError> {
    state.kv.delete(keys::status(row.status as u8, seq))?;
    match row.status {
        InputStatus::Received => {
            let to = inbox(row)?.clone();
            state.kv.delete(keys::pending(&to, seq))?;
            count_ready(state, &to, -1)?;
            state.counters.pending = state.counters.pending.saturating_sub(1);
        }
        InputStatus::Parked => {
            for link in &row.parked_on {
                state.kv.delete(keys::parked(link, seq))?;
            }
            state.counters.parked = state.counters.parked.saturating_sub(1);
        }
        InputStatus::Dead => state.counters.dead = state.counters.dead.saturating_sub(1),
        InputStatus::Ignored | InputStatus::Applied => {}
    }
    if let Some(tenant) = &row.tenant {
        state.kv.delete(keys::of_tenant(tenant, seq))?;
    }
    Ok(())
}

/// A ready row exists exactly while there is pending input.
fn count_ready(state: &mut State<'_>, of: &AggregateKey, by: i64) -> Result<(), StoreError> {
    let key = keys::ready(of);
    let before = match state.kv.get(&key)? {
        Some(bytes) => {
            let bytes: [u8; 4] = bytes
                .try_into()
                .map_err(|_| broken(format!("the count of {of} cannot be read")))?;
            u32::from_be_bytes(bytes)
        }
        None => 0,
    };
    let after = u32::try_from(i64::from(before) + by)
        .map_err(|_| broken(format!("{of} has fewer pending inputs than were consumed")))?;
    if after == 0 {
        state.kv.delete(key).map(|_| ())
    } else {
        state.kv.put(key, after.to_be_bytes().to_vec())
    }
}

/// Puts parked inputs into their inboxes.
pub(super) fn free(state: &mut State<'_>, seqs: &[u64]) -> Result<(), StoreError> {
    for seq in seqs {
        change(state, *seq, |row| {
            row.status = InputStatus::Received;
            row.disposition = None;
            row.parked_on.clear();
        })?;
    }
    Ok(())
}

fn fire(state: &mut State<'_>, number: u64, fired: Fired) -> Result<(), StoreError> {
    if let Some(of) = fired.input.fate.inbox() {
        state.kv.delete(keys::timer(of, &fired.name))?;
        state
            .kv
            .delete(keys::due_timer(fired.at, of, &fired.name))?;
    }
    insert(state, number, fired.input)
}

fn settle(
    state: &mut State<'_>,
    id: &EffectId,
    status: EffectStatus,
    note: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let Some(mut row) = state.effect(id)? else {
        return Err(broken(format!("effect {} is missing", id.0)));
    };
    state
        .kv
        .delete(keys::due_effect(row.lane as u8, row.due_at, &id.0))?;
    state
        .kv
        .delete(keys::outbox_by(row.status as u8, row.number))?;
    let waiting = state.counters.outbox.entry(row.lane as u8).or_default();
    *waiting = waiting.saturating_sub(1);
    row.status = status;
    note.clone_into(&mut row.note);
    row.settled_at = Some(at);
    if matches!(status, EffectStatus::Done | EffectStatus::Skipped) {
        row.payload.clear();
        row.subject = None;
    }
    let by = keys::outbox_by(status as u8, row.number);
    state.kv.put(by, id.0.clone().into_bytes())?;
    state.kv.put(keys::effect(&id.0), pack(&row)?)
}

fn postpone(
    state: &mut State<'_>,
    id: &EffectId,
    attempted: bool,
    due_at: Timestamp,
    error: &str,
) -> Result<(), StoreError> {
    let Some(mut row) = state.effect(id)? else {
        return Err(broken(format!("effect {} is missing", id.0)));
    };
    let lane = row.lane as u8;
    state.kv.delete(keys::due_effect(lane, row.due_at, &id.0))?;
    row.attempts = row.attempts.saturating_add(u32::from(attempted));
    row.due_at = due_at;
    error.clone_into(&mut row.note);
    state
        .kv
        .put(keys::due_effect(lane, due_at, &id.0), Vec::new())?;
    state.kv.put(keys::effect(&id.0), pack(&row)?)
}

/// The row of a failed effect as it is pending again.
pub(super) fn revived(row: EffectRow, at: Timestamp) -> EffectRow {
    EffectRow {
        status: EffectStatus::Pending,
        attempts: 0,
        due_at: at,
        settled_at: None,
        note: String::new(),
        ..row
    }
}

/// The opposite of a settle that failed: what it was to do is still in its row.
fn revive(state: &mut State<'_>, id: &EffectId, at: Timestamp) -> Result<(), StoreError> {
    let Some(mut row) = state.effect(id)? else {
        return Err(broken(format!("effect {} is missing", id.0)));
    };
    state
        .kv
        .delete(keys::outbox_by(row.status as u8, row.number))?;
    row = revived(row, at);
    let lane = row.lane as u8;
    *state.counters.outbox.entry(lane).or_default() += 1;
    let by = keys::outbox_by(row.status as u8, row.number);
    state.kv.put(by, id.0.clone().into_bytes())?;
    state
        .kv
        .put(keys::due_effect(lane, at, &id.0), Vec::new())?;
    state.kv.put(keys::effect(&id.0), pack(&row)?)
}

fn keep_sealed(state: &mut State<'_>, keeps: &[SealedKeep]) -> Result<(), StoreError> {
    for keep in keeps {
        let key = keys::sealed_keep(&keep.space, &keep.key);
        let Some(value) = &keep.value else {
            state.kv.delete(key)?;
            continue;
        };
        let row = SealedRow {
            subject: keep.subject.clone(),
            sha256: keep.sha256,
            sealed: value.clone(),
        };
        state.kv.put(key, pack(&row)?)?;
    }
    Ok(())
}

fn administer(
    state: &mut State<'_>,
    keeps: &[KeepRecord],
    audit: &[AuditEntry],
) -> Result<(), StoreError> {
    for keep in keeps {
        let key = keys::keep(&keep.space, &keep.key);
        match &keep.value {
            Some(value) => state.kv.put(key, value.clone())?,
            None => state.kv.delete(key).map(|_| ())?,
        }
    }
    for line in audit {
        let number = state.counters.next_audit;
        state.counters.next_audit += 1;
        state.kv.put_new(keys::audit(number), pack(line)?);
        if let Some(tenant) = &line.tenant {
            state.kv.put_new(keys::audit_of(tenant, number), Vec::new());
        }
    }
    Ok(())
}
