//! A store without threads, so that paused time stays paused; commits take one virtual millisecond.
//! It can be down, failed, slow for good, or panic for one aggregate.

use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectId, EffectIntent, Lane};
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::input::{InputSource, StoredInput};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::rows::{RowKind, Subject};
use bursar_store::api::*;
use bursar_store::error::StoreError;
use bursar_store::progress::Progress;
use bursar_store::query::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The reason a test reducer gives for a decision the store must refuse.
pub(super) const UNBALANCED: &str = "unbalanced";

#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) stored: StoredInput,
    pub(super) to: Option<AggregateKey>,
    pub(super) status: InputStatus,
    pub(super) reason: String,
    pub(super) accepted: Instant,
    pub(super) ended: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) intent: EffectIntent,
    of: AggregateKey,
    due_at: Timestamp,
    pub(super) attempts: u32,
    pub(super) status: EffectStatus,
    pub(super) note: String,
    erased: bool,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) inputs: BTreeMap<u64, Input>,
    pub(super) snapshots: BTreeMap<AggregateKey, Snapshot>,
    pub(super) effects: BTreeMap<EffectId, Effect>,
    pub(super) calls: BTreeMap<&'static str, u64>,
    pub(super) kept: BTreeMap<(String, String), Vec<u8>>,
    pub(super) trace: Vec<String>,
    pub(super) postponed: Vec<Timestamp>,
    pub(super) audit: Vec<bursar_store::api::AuditEntry>,
    dedup: BTreeMap<String, u64>,
    links: BTreeMap<LinkKey, LinkTarget>,
    timers: BTreeMap<(AggregateKey, String), Timestamp>,
    pub(super) panics_for: BTreeSet<AggregateKey>,
    pub(super) down: bool,
    /// It failed and will not work again.
    pub(super) failed: bool,
    pub(super) hangs: BTreeSet<&'static str>,
    /// The next this many applies lose a race.
    pub(super) races: u32,
}

pub(super) struct FakeStore {
    state: Mutex<State>,
    commits: Progress,
}

impl State {
    pub(super) fn inbox(&self, of: &AggregateKey) -> Vec<u64> {
        self.inputs
            .iter()
            .filter(|(_, input)| {
                input.status == InputStatus::Received && input.to.as_ref() == Some(of)
            })
            .map(|(seq, _)| *seq)
            .collect()
    }
    pub(super) fn pending(&self) -> usize {
        self.count(InputStatus::Received)
    }
    pub(super) fn count(&self, status: InputStatus) -> usize {
        self.inputs
            .values()
            .filter(|input| input.status == status)
            .count()
    }
    pub(super) fn calls(&self, name: &str) -> u64 {
        self.calls.get(name).copied().unwrap_or(0)
    }
    pub(super) fn erase_effects(&mut self) {
        for effect in self.effects.values_mut() {
            effect.erased = true;
        }
    }

    fn take(&mut self, item: Inbound) -> Accepted {
        let text = item.source.dedup_text();
        if let Some(seq) = self.dedup.get(&text) {
            let same_body = self.inputs[seq].stored.body == item.body;
            return Accepted::Duplicate {
                seq: *seq,
                same_body,
            };
        }
        let seq = self.inputs.len() as u64 + 1;
        let (to, status, reason) = match item.fate {
            Fate::Pending { to, .. } => (Some(to), InputStatus::Received, String::new()),
            Fate::Ignored { reason } => (None, InputStatus::Ignored, reason),
            Fate::Dead { reason } => (None, InputStatus::Dead, reason),
        };
        self.dedup.insert(text, seq);
        let stored = StoredInput {
            seq,
            source: item.source,
            kind: item.kind,
            received_at: item.received_at,
            body: item.body.to_vec(),
        };
        let input = Input {
            stored,
            to: to.clone(),
            status,
            reason,
            accepted: Instant::now(),
            ended: None,
        };
        self.inputs.insert(seq, input);
        Accepted::New { seq, status, to }
    }

    fn inbound(source: InputSource, kind: &str, to: AggregateKey, body: Vec<u8>) -> Inbound {
        Inbound {
            source,
            kind: kind.to_owned(),
            fate: Fate::Pending {
                to,
                park: Vec::new(),
            },
            object_ids: Vec::new(),
            created_at: None,
            received_at: Timestamp(0),
            subject: Subject("month:2026-01".into()),
            body: body.into(),
            tenant: None,
        }
    }

    fn end(&mut self, seq: u64, status: InputStatus, reason: String) {
        if let Some(input) = self.inputs.get_mut(&seq) {
            input.status = status;
            input.reason = reason;
            input.ended = Some(Instant::now());
        }
    }

    fn effect(&mut self, of: AggregateKey, intent: EffectIntent) {
        self.effects.entry(intent.id.clone()).or_insert(Effect {
            due_at: intent.due_at,
            intent,
            of,
            attempts: 0,
            status: EffectStatus::Pending,
            note: String::new(),
            erased: false,
        });
    }
    fn apply(&mut self, apply: Apply) -> Result<Applied, StoreError> {
        let version = self
            .snapshots
            .get(&apply.aggregate)
            .map_or(0, |s| s.version);
        let stale = Applied::Stale {
            actual_version: version,
        };
        if self.races > 0 {
            self.races -= 1;
            return Ok(stale);
        }
        let inbox = self.inbox(&apply.aggregate);
        let mut links = self.links.clone();
        for step in &apply.steps {
            let moved = step
                .looked_up
                .iter()
                .any(|(k, seen)| links.get(k) != seen.as_ref());
            if !inbox.contains(&step.seq) || moved {
                return Ok(stale);
            }
            for link in &step.decision.links {
                links.insert(link.key.clone(), link.target.clone());
            }
        }
        if version != apply.expected_version {
            return Ok(stale);
        }
        if apply.steps.iter().any(|s| s.decision.reason == UNBALANCED) {
            return Err(StoreError::Invalid("entries do not sum to zero".into()));
        }
        self.links = links;
        let (mut woken, mut lanes, mut n) = (Vec::new(), Vec::new(), 0);
        let mut bytes = self
            .snapshots
            .remove(&apply.aggregate)
            .map_or(Vec::new(), |s| s.bytes);
        for step in apply.steps {
            self.trace.push(format!("{} {}", apply.aggregate, step.seq));
            let status = InputStatus::of(step.decision.disposition);
            self.end(step.seq, status, step.decision.reason);
            if let Some(snapshot) = step.decision.snapshot {
                bytes = snapshot;
            }
            for message in step.decision.messages {
                let source = InputSource::Message(apply.aggregate.clone(), version + 1, n);
                n += 1;
                woken.push(message.to.clone());
                self.take(Self::inbound(
                    source,
                    &message.kind,
                    message.to,
                    message.payload,
                ));
            }
            for intent in step.decision.effects {
                lanes.push(intent.lane);
                self.effect(apply.aggregate.clone(), intent);
            }
            for timer in step.decision.timers {
                let key = (apply.aggregate.clone(), timer.name);
                match timer.at {
                    Some(at) => self.timers.insert(key, at),
                    None => self.timers.remove(&key),
                };
            }
        }
        let version = version + 1;
        self.snapshots
            .insert(apply.aggregate, Snapshot { version, bytes });
        Ok(Applied::Done {
            version,
            woken,
            lanes,
        })
    }

    fn settle(&mut self, settle: Settle) -> Settled {
        let Some(effect) = self.effects.get_mut(&settle.id) else {
            return Settled::AlreadySettled;
        };
        if effect.status != EffectStatus::Pending {
            return Settled::AlreadySettled;
        }
        effect.status = settle.status;
        effect.note = settle.note;
        let woken = settle.result.and_then(|result| match self.take(result) {
            Accepted::New { to, .. } => to,
            Accepted::Duplicate { .. } => None,
        });
        Settled::Settled { woken }
    }
}

impl FakeStore {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
            commits: Progress::default(),
        }
    }
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
    /// Waits until the state is so, looking after every commit; an hour of virtual time at most.
    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut(&State) -> bool) {
        let mut commits = self.commits.watch();
        let wait = async {
            while !holds(&self.state()) {
                commits.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(3_600), wait)
            .await
            .is_err()
        {
            panic!("not within an hour: {what}");
        }
    }
    async fn enter(&self, name: &'static str) -> Result<(), StoreError> {
        let (down, failed, hangs) = {
            let mut state = self.state();
            *state.calls.entry(name).or_default() += 1;
            (state.down, state.failed, state.hangs.contains(name))
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        if down {
            return Err(StoreError::Busy);
        }
        if failed {
            return Err(StoreError::Io {
                operation: "syncing",
                file: None,
                cause: std::io::Error::other("no such sector"),
            });
        }
        Ok(())
    }
    fn write<'a, T: Send + 'a>(
        &'a self,
        name: &'static str,
        work: impl FnOnce(&mut State) -> Result<T, StoreError> + Send + 'a,
    ) -> Fut<'a, T> {
        Box::pin(async move {
            self.enter(name).await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
            let result = work(&mut self.state());
            self.commits.raise(self.commits.get() + 1);
            result
        })
    }
    fn read<'a, T: Send + 'a>(
        &'a self,
        name: &'static str,
        work: impl FnOnce(&State) -> T + Send + 'a,
    ) -> Fut<'a, T> {
        Box::pin(async move {
            self.enter(name).await?;
            Ok(work(&self.state()))
        })
    }
}

/// What the actors never ask.
fn unasked<'a, T: Send + 'a>() -> Fut<'a, T> {
    Box::pin(async { Err(StoreError::Invalid("not asked by actors".into())) })
}

impl Store for FakeStore {
    fn accept(&self, items: Vec<Inbound>) -> Fut<'_, Vec<Accepted>> {
        self.write("accept", |s| {
            Ok(items.into_iter().map(|item| s.take(item)).collect())
        })
    }
    fn fire(&self, timers: Vec<DueTimer>, now: Timestamp) -> Fut<'_, Vec<AggregateKey>> {
        self.write("fire", move |s| {
            let mut woken = Vec::new();
            for timer in timers {
                let DueTimer {
                    aggregate,
                    name,
                    at,
                } = timer;
                if s.timers
                    .remove(&(aggregate.clone(), name.clone()))
                    .is_some()
                    && at <= now
                {
                    let source = InputSource::Timer(aggregate.clone(), name.clone(), at);
                    s.take(State::inbound(source, &name, aggregate.clone(), Vec::new()));
                    woken.push(aggregate);
                }
            }
            Ok(woken)
        })
    }
    fn apply(&self, apply: Apply) -> Fut<'_, Applied> {
        assert!(apply.steps.len() <= APPLY_STEPS_MAX);
        self.write("apply", |s| s.apply(apply))
    }
    fn settle(&self, settle: Settle) -> Fut<'_, Settled> {
        self.write("settle", |s| Ok(s.settle(settle)))
    }
    fn postpone(
        &self,
        id: EffectId,
        attempted: bool,
        due_at: Timestamp,
        error: String,
    ) -> Fut<'_, ()> {
        self.write("postpone", move |s| {
            s.postponed.push(due_at);
            let effect = s.effects.get_mut(&id).expect("only what is due is put off");
            effect.attempts += u32::from(attempted);
            effect.due_at = due_at;
            effect.note = error;
            Ok(())
        })
    }
    fn revive(&self, _: Revive) -> Fut<'_, Revived> {
        unasked()
    }
    fn bury(&self, seq: u64, reason: String, _: Timestamp) -> Fut<'_, bool> {
        self.write("bury", move |s| {
            s.end(seq, InputStatus::Dead, reason);
            Ok(true)
        })
    }
    fn requeue(&self, _: Vec<(u64, Fate)>, _: Timestamp) -> Fut<'_, Vec<AggregateKey>> {
        unasked()
    }
    fn dismiss(&self, _: u64, _: String, _: Timestamp) -> Fut<'_, bool> {
        unasked()
    }
    fn administer(&self, write: Administer) -> Fut<'_, bool> {
        self.write("administer", |s| {
            s.audit.extend(write.audit);
            for (of, intent) in write.effects {
                s.effect(of, intent);
            }
            for keep in write.keeps {
                let key = (keep.space.to_owned(), keep.key);
                match keep.value {
                    Some(value) => s.kept.insert(key, value),
                    None => s.kept.remove(&key),
                };
            }
            Ok(true)
        })
    }
    fn erase(&self, _: Vec<Subject>, _: Timestamp) -> Fut<'_, u64> {
        unasked()
    }
    fn holders(&self, _subject: Subject, _limit: usize) -> Fut<'_, Vec<AggregateKey>> {
        unasked()
    }
    fn awaited(&self, _subjects: Vec<Subject>) -> Fut<'_, Vec<Subject>> {
        unasked()
    }
    fn load(&self, aggregate: AggregateKey) -> Fut<'_, Option<Snapshot>> {
        self.read("load", move |s| s.snapshots.get(&aggregate).cloned())
    }
    fn pending(&self, aggregate: AggregateKey, limit: usize) -> Fut<'_, Vec<StoredInput>> {
        assert!(
            !self.state().panics_for.contains(&aggregate),
            "a defect in the shell"
        );
        self.read("pending", move |s| {
            let inbox = s.inbox(&aggregate).into_iter().take(limit);
            inbox.map(|seq| s.inputs[&seq].stored.clone()).collect()
        })
    }
    fn links(&self, keys: Vec<LinkKey>) -> Fut<'_, Vec<Option<LinkTarget>>> {
        self.read("links", move |s| {
            keys.iter().map(|key| s.links.get(key).cloned()).collect()
        })
    }
    fn ready(&self, cursor: Option<AggregateKey>, limit: usize) -> Fut<'_, Vec<AggregateKey>> {
        self.read("ready", move |s| {
            let keys: BTreeSet<_> = s
                .inputs
                .values()
                .filter(|input| input.status == InputStatus::Received)
                .filter_map(|input| input.to.clone())
                .collect();
            keys.into_iter()
                .filter(|key| cursor.as_ref().is_none_or(|cursor| key > cursor))
                .take(limit)
                .collect()
        })
    }
    fn due_effects(&self, lane: Lane, now: Timestamp, limit: usize) -> Fut<'_, Vec<DueEffect>> {
        self.read("due_effects", move |s| {
            s.effects
                .values()
                .filter(|e| e.intent.lane == lane && e.due_at <= now)
                .filter(|e| e.status == EffectStatus::Pending)
                .take(limit)
                .map(|e| DueEffect {
                    id: e.intent.id.clone(),
                    aggregate: e.of.clone(),
                    lane,
                    kind: e.intent.kind.clone(),
                    attempts: e.attempts,
                    decided_at: Timestamp(0),
                    payload: (!e.erased).then(|| e.intent.payload.clone()),
                })
                .collect()
        })
    }
    fn due_timers(&self, now: Timestamp, limit: usize) -> Fut<'_, Vec<DueTimer>> {
        self.read("due_timers", move |s| {
            s.timers
                .iter()
                .filter(|(_, at)| **at <= now)
                .take(limit)
                .map(|((aggregate, name), at)| DueTimer {
                    aggregate: aggregate.clone(),
                    name: name.clone(),
                    at: *at,
                })
                .collect()
        })
    }
    fn next_due(&self, _: Option<Lane>) -> Fut<'_, Option<Timestamp>> {
        unasked()
    }
    fn row(&self, _: RowKind, _: Scope, _: String) -> Fut<'_, Option<RowView>> {
        unasked()
    }
    fn rows_by_id(&self, _: RowKind, _: String) -> Fut<'_, Vec<RowView>> {
        unasked()
    }
    fn rows(&self, _: RowQuery) -> Fut<'_, Page<RowView>> {
        unasked()
    }
    fn timeline(&self, _: TimelineQuery) -> Fut<'_, Page<TimelineLine>> {
        unasked()
    }
    fn ledger(&self, _: LedgerQuery) -> Fut<'_, Page<LedgerLine>> {
        unasked()
    }
    fn input(&self, _: String, _: Option<Scope>) -> Fut<'_, Vec<InputView>> {
        unasked()
    }
    fn input_by_seq(&self, _: u64) -> Fut<'_, Option<InputView>> {
        unasked()
    }
    fn input_body(&self, _: u64) -> Fut<'_, Option<Vec<u8>>> {
        unasked()
    }
    fn inputs(&self, _: InputQuery) -> Fut<'_, Page<InputView>> {
        unasked()
    }
    fn explain(&self, _: String, _: Option<TenantId>, _: usize) -> Fut<'_, Explained> {
        unasked()
    }
    fn outbox(&self, _: OutboxQuery) -> Fut<'_, Page<OutboxView>> {
        unasked()
    }
    fn audit(&self, _: AuditQuery) -> Fut<'_, Page<AuditEntry>> {
        unasked()
    }
    fn kept(&self, space: &'static str, key: String) -> Fut<'_, Option<Vec<u8>>> {
        self.read("kept", move |s| {
            s.kept.get(&(space.to_owned(), key)).cloned()
        })
    }
    fn kept_all(
        &self,
        _: &'static str,
        _: Option<String>,
        _: usize,
    ) -> Fut<'_, Vec<(String, Vec<u8>)>> {
        unasked()
    }
    fn applied(&self, _: u64, _: usize) -> Fut<'_, Vec<VerifyItem>> {
        unasked()
    }
    fn audit_journal(&self) -> Fut<'_, JournalAudit> {
        unasked()
    }
    fn state_digest(&self) -> Fut<'_, String> {
        unasked()
    }
    fn chain_head(&self) -> Fut<'_, (u64, String)> {
        unasked()
    }
    fn stats(&self) -> Fut<'_, Stats> {
        self.read("stats", |s| Stats {
            pending: s.pending() as u64,
            ..Stats::default()
        })
    }
    fn probe(&self) -> Fut<'_, ()> {
        self.write("probe", |_| Ok(()))
    }
    fn backup(&self, _: std::path::PathBuf) -> Fut<'_, bursar_store::backup::Manifest> {
        unasked()
    }
    fn commits(&self) -> bursar_store::progress::Watch {
        self.commits.watch()
    }
    fn close(&self) -> Fut<'_, ()> {
        self.read("close", |_| ())
    }
}
