//! `Store` for the engine: checks of the caller's side, then one commit or one read each.

use super::commit::{Answer, Arrival, Commit, SealedAdminister, SealedApply, SealedSettle};
use super::reads::{books, inputs, rows, whole, work};
use super::shared::Wants;
use super::{Engine, mismatch};
use crate::api::{
    APPLY_STEPS_MAX, Accepted, Administer, Applied, Apply, AuditEntry, DueEffect, DueTimer,
    EffectStatus, Fate, Fut, Inbound, Revive, Revived, Settle, Settled, Snapshot, Store,
};
use crate::backup::Manifest;
use crate::error::StoreError;
use crate::query::{
    AuditQuery, Explained, InputQuery, InputView, JournalAudit, LedgerLine, LedgerQuery,
    OutboxQuery, OutboxView, Page, RowQuery, RowView, Stats, TimelineLine, TimelineQuery,
    VerifyItem,
};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Decision, Disposition, EffectId, Lane};
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::input::{InputSource, StoredInput};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::money::Currency;
use bursar_domain::rows::{RowKind, Subject};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Largest body, and most bytes of one commit: well under the journal's largest group.
const BODIES_BYTES_MAX: usize = 8 << 20;
/// Most items of one call.
const ITEMS_MAX: usize = 1_024;
/// Most references one input may wait for.
const PARK_MAX: usize = 32;

fn check_inbound(item: &Inbound) -> Result<(), StoreError> {
    match &item.fate {
        Fate::Pending { park, .. } if park.len() > PARK_MAX => Err(StoreError::Invalid(format!(
            "an input waits for {} references, at most {PARK_MAX} are possible",
            park.len()
        ))),
        _ => Ok(()),
    }
}

fn check_items(count: usize, bytes: usize) -> Result<(), StoreError> {
    if count > ITEMS_MAX {
        return Err(StoreError::Invalid(format!(
            "{count} items in one commit, at most {ITEMS_MAX} are possible"
        )));
    }
    if bytes > BODIES_BYTES_MAX {
        return Err(StoreError::Invalid(format!(
            "{bytes} bytes in one commit, at most {BODIES_BYTES_MAX} are possible"
        )));
    }
    Ok(())
}

/// The rules of an apply that need no store.
fn check_apply(apply: &Apply) -> Result<(), StoreError> {
    if apply.steps.is_empty() || apply.steps.len() > APPLY_STEPS_MAX {
        return Err(StoreError::Invalid(format!(
            "an apply of {} steps, 1 to {APPLY_STEPS_MAX} are possible",
            apply.steps.len()
        )));
    }
    let mut bytes = 0;
    for step in &apply.steps {
        check_decision(&step.decision)?;
        bytes += bytes_of(&step.decision);
    }
    check_items(apply.steps.len(), bytes)
}

fn bytes_of(decision: &Decision) -> usize {
    let messages: usize = decision.messages.iter().map(|m| m.payload.len()).sum();
    let effects: usize = decision.effects.iter().map(|e| e.payload.len()).sum();
    messages + effects + decision.snapshot.as_ref().map_or(0, Vec::len)
}

fn check_decision(decision: &Decision) -> Result<(), StoreError> {
    if decision.disposition == Disposition::Parked {
        return Err(StoreError::Invalid(
            "a decision cannot park: parking is decided when an input is accepted".to_owned(),
        ));
    }
    for message in &decision.messages {
        if message.park.len() > PARK_MAX {
            return Err(StoreError::Invalid(
                "a message waits for too many references".to_owned(),
            ));
        }
    }
    for movement in &decision.movements {
        let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
        for entry in &movement.entries {
            *sums.entry(entry.currency).or_default() += i128::from(entry.amount_minor);
        }
        if let Some((currency, sum)) = sums.iter().find(|(_, sum)| **sum != 0) {
            return Err(StoreError::Invalid(format!(
                "movement {} does not balance: {sum} {currency} over",
                movement.source
            )));
        }
    }
    Ok(())
}

fn wants(items: &[Inbound]) -> Wants {
    let is_order = |item: &Inbound| matches!(item.source, InputSource::Operator(_));
    if items.iter().any(is_order) {
        Wants::Order
    } else {
        Wants::Delivery
    }
}

impl Engine {
    async fn woken(&self, commit: Commit) -> Result<Vec<AggregateKey>, StoreError> {
        match self.commit(commit).await? {
            Answer::Woken(woken) => Ok(woken),
            _ => Err(mismatch()),
        }
    }
    async fn flag(&self, commit: Commit) -> Result<bool, StoreError> {
        match self.commit(commit).await? {
            Answer::Flag(flag) => Ok(flag),
            _ => Err(mismatch()),
        }
    }
    async fn done(&self, commit: Commit) -> Result<(), StoreError> {
        match self.commit(commit).await? {
            Answer::Done => Ok(()),
            _ => Err(mismatch()),
        }
    }
}

impl Store for Engine {
    fn accept(&self, items: Vec<Inbound>) -> Fut<'_, Vec<Accepted>> {
        Box::pin(async move {
            if items.is_empty() {
                return Ok(Vec::new());
            }
            self.room_for(wants(&items))?;
            check_items(items.len(), items.iter().map(|item| item.body.len()).sum())?;
            let keys = self.shared.keys.as_ref();
            let mut arrivals = Vec::with_capacity(items.len());
            for item in items {
                check_inbound(&item)?;
                arrivals.push(Arrival::seal(keys, item)?);
            }
            match self.commit(Commit::Accept(arrivals)).await? {
                Answer::Accepted(accepted) => Ok(accepted),
                _ => Err(mismatch()),
            }
        })
    }

    fn fire(&self, timers: Vec<DueTimer>, now: Timestamp) -> Fut<'_, Vec<AggregateKey>> {
        Box::pin(async move {
            check_items(timers.len(), 0)?;
            self.woken(Commit::Fire(timers, now)).await
        })
    }

    fn apply(&self, apply: Apply) -> Fut<'_, Applied> {
        Box::pin(async move {
            check_apply(&apply)?;
            let sealed = SealedApply::seal(self.shared.keys.as_ref(), apply)?;
            match self.commit(Commit::Apply(Box::new(sealed))).await? {
                Answer::Applied(applied) => Ok(applied),
                _ => Err(mismatch()),
            }
        })
    }

    fn settle(&self, settle: Settle) -> Fut<'_, Settled> {
        Box::pin(async move {
            if settle.status == EffectStatus::Pending {
                return Err(StoreError::Invalid(
                    "an effect cannot end as pending".to_owned(),
                ));
            }
            let result = match settle.result {
                Some(inbound) => {
                    check_inbound(&inbound)?;
                    check_items(1, inbound.body.len())?;
                    Some(Arrival::seal(self.shared.keys.as_ref(), inbound)?)
                }
                None => None,
            };
            let sealed = SealedSettle {
                id: settle.id,
                status: settle.status,
                note: settle.note,
                at: settle.at,
                result,
            };
            match self.commit(Commit::Settle(Box::new(sealed))).await? {
                Answer::Settled(settled) => Ok(settled),
                _ => Err(mismatch()),
            }
        })
    }

    fn postpone(
        &self,
        id: EffectId,
        attempted: bool,
        due_at: Timestamp,
        error: String,
    ) -> Fut<'_, ()> {
        Box::pin(self.done(Commit::Postpone {
            id,
            attempted,
            due_at,
            error,
        }))
    }

    fn revive(&self, revive: Revive) -> Fut<'_, Revived> {
        Box::pin(async move {
            match self.commit(Commit::Revive(Box::new(revive))).await? {
                Answer::Revived(revived) => Ok(revived),
                _ => Err(mismatch()),
            }
        })
    }

    fn bury(&self, seq: u64, reason: String, at: Timestamp) -> Fut<'_, bool> {
        Box::pin(self.flag(Commit::Bury(seq, reason, at)))
    }

    fn requeue(&self, items: Vec<(u64, Fate)>, at: Timestamp) -> Fut<'_, Vec<AggregateKey>> {
        Box::pin(async move {
            check_items(items.len(), 0)?;
            self.woken(Commit::Requeue(items, at)).await
        })
    }

    fn dismiss(&self, seq: u64, reason: String, at: Timestamp) -> Fut<'_, bool> {
        Box::pin(self.flag(Commit::Dismiss(seq, reason, at)))
    }

    fn administer(&self, write: Administer) -> Fut<'_, bool> {
        Box::pin(async move {
            self.room_for(Wants::Order)?;
            let bytes = write.keeps.iter();
            let bytes = bytes.map(|keep| keep.value.as_ref().map_or(0, Vec::len));
            let items = write.keeps.len() + write.audit.len() + write.effects.len();
            let payloads = write.effects.iter().map(|(_, effect)| effect.payload.len());
            check_items(items, bytes.sum::<usize>() + payloads.sum::<usize>())?;
            let sealed = SealedAdminister::seal(self.shared.keys.as_ref(), write)?;
            self.flag(Commit::Administer(Box::new(sealed))).await
        })
    }

    fn erase(&self, subjects: Vec<Subject>, at: Timestamp) -> Fut<'_, u64> {
        Box::pin(async move {
            check_items(subjects.len(), 0)?;
            match self.commit(Commit::Erase(subjects, at)).await? {
                Answer::Count(count) => Ok(count),
                _ => Err(mismatch()),
            }
        })
    }

    fn holders(&self, subject: Subject, limit: usize) -> Fut<'_, Vec<AggregateKey>> {
        Box::pin(self.read(move |shared| work::holders(shared, &subject, limit)))
    }
    fn awaited(&self, subjects: Vec<Subject>) -> Fut<'_, Vec<Subject>> {
        Box::pin(self.read(move |shared| work::awaited(shared, subjects)))
    }
    fn load(&self, aggregate: AggregateKey) -> Fut<'_, Option<Snapshot>> {
        Box::pin(self.read(move |shared| work::load(shared, &aggregate)))
    }
    fn pending(&self, aggregate: AggregateKey, limit: usize) -> Fut<'_, Vec<StoredInput>> {
        Box::pin(self.read(move |shared| work::pending(shared, &aggregate, limit)))
    }
    fn links(&self, keys: Vec<LinkKey>) -> Fut<'_, Vec<Option<LinkTarget>>> {
        Box::pin(self.read(move |shared| work::links(shared, &keys)))
    }
    fn ready(&self, cursor: Option<AggregateKey>, limit: usize) -> Fut<'_, Vec<AggregateKey>> {
        Box::pin(self.read(move |shared| work::ready(shared, cursor.as_ref(), limit)))
    }
    fn due_effects(&self, lane: Lane, now: Timestamp, limit: usize) -> Fut<'_, Vec<DueEffect>> {
        Box::pin(self.read(move |shared| work::due_effects(shared, lane, now, limit)))
    }
    fn due_timers(&self, now: Timestamp, limit: usize) -> Fut<'_, Vec<DueTimer>> {
        Box::pin(self.read(move |shared| work::due_timers(shared, now, limit)))
    }
    fn next_due(&self, lane: Option<Lane>) -> Fut<'_, Option<Timestamp>> {
        Box::pin(self.read(move |shared| work::next_due(shared, lane)))
    }

    fn row(&self, kind: RowKind, scope: Scope, id: String) -> Fut<'_, Option<RowView>> {
        Box::pin(self.read(move |shared| rows::row(shared, kind, &scope, &id)))
    }
    fn rows_by_id(&self, kind: RowKind, id: String) -> Fut<'_, Vec<RowView>> {
        Box::pin(self.read(move |shared| rows::rows_by_id(shared, kind, &id)))
    }
    fn rows(&self, query: RowQuery) -> Fut<'_, Page<RowView>> {
        Box::pin(self.page(query, |query| &mut query.after, rows::rows))
    }
    fn timeline(&self, query: TimelineQuery) -> Fut<'_, Page<TimelineLine>> {
        Box::pin(self.page(query, |query| &mut query.after, books::timeline))
    }
    fn ledger(&self, query: LedgerQuery) -> Fut<'_, Page<LedgerLine>> {
        Box::pin(self.page(query, |query| &mut query.after, books::ledger))
    }
    fn input(&self, public_id: String, scope: Option<Scope>) -> Fut<'_, Vec<InputView>> {
        Box::pin(self.read(move |shared| inputs::input(shared, &public_id, scope.as_ref())))
    }
    fn input_by_seq(&self, seq: u64) -> Fut<'_, Option<InputView>> {
        Box::pin(self.read(move |shared| inputs::by_seq(shared, seq)))
    }
    fn input_body(&self, seq: u64) -> Fut<'_, Option<Vec<u8>>> {
        Box::pin(self.read(move |shared| inputs::body(shared, seq)))
    }
    fn inputs(&self, query: InputQuery) -> Fut<'_, Page<InputView>> {
        Box::pin(self.page(query, |query| &mut query.after, inputs::inputs))
    }
    fn explain(&self, id: String, of: Option<TenantId>, limit: usize) -> Fut<'_, Explained> {
        Box::pin(self.scan(move |shared| inputs::explain(shared, &id, of.as_ref(), limit)))
    }
    fn outbox(&self, query: OutboxQuery) -> Fut<'_, Page<OutboxView>> {
        Box::pin(self.page(query, |query| &mut query.after, books::outbox))
    }
    fn audit(&self, query: AuditQuery) -> Fut<'_, Page<AuditEntry>> {
        Box::pin(self.page(query, |query| &mut query.after, books::audit))
    }
    fn kept(&self, space: &'static str, key: String) -> Fut<'_, Option<Vec<u8>>> {
        Box::pin(self.read(move |shared| books::kept(shared, space, &key)))
    }
    fn kept_all(
        &self,
        space: &'static str,
        cursor: Option<String>,
        limit: usize,
    ) -> Fut<'_, Vec<(String, Vec<u8>)>> {
        Box::pin(self.read(move |shared| books::kept_all(shared, space, cursor.as_deref(), limit)))
    }

    fn applied(&self, cursor: u64, limit: usize) -> Fut<'_, Vec<VerifyItem>> {
        Box::pin(self.scan(move |shared| whole::applied(shared, cursor, limit)))
    }
    fn audit_journal(&self) -> Fut<'_, JournalAudit> {
        Box::pin(self.scan(whole::audit_journal))
    }
    fn state_digest(&self) -> Fut<'_, String> {
        Box::pin(self.scan(whole::state_digest))
    }
    fn chain_head(&self) -> Fut<'_, (u64, String)> {
        Box::pin(self.read(|shared| Ok(shared.records.head())))
    }
    fn stats(&self) -> Fut<'_, Stats> {
        Box::pin(self.read(whole::stats))
    }
    fn probe(&self) -> Fut<'_, ()> {
        Box::pin(self.done(Commit::Probe))
    }
    fn backup(&self, to: PathBuf) -> Fut<'_, Manifest> {
        Box::pin(async move {
            self.shared.fence().await?;
            let Some(source) = self.shared.backup.clone() else {
                return Err(StoreError::Invalid("this store has no files".to_owned()));
            };
            // What fails here failed in reading or at `to`: the store itself goes on.
            let task = tokio::task::spawn_blocking(move || source.write(&to));
            task.await.unwrap_or(Err(StoreError::Closed))
        })
    }
    fn commits(&self) -> crate::progress::Watch {
        self.shared.readable.watch()
    }
    fn close(&self) -> Fut<'_, ()> {
        Box::pin(async move {
            self.shared
                .closed
                .store(true, crate::sync::Ordering::Release);
            match self.commit(Commit::Close).await {
                Ok(_) | Err(StoreError::Closed) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }
}
