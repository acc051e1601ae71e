//! A world in memory for tests: store, inboxes, timers and Stripe's answers, without a runtime.
//!
//! Applies decisions as a store must: one commit per input, parked inputs freed by links, messages
//! first in first out, effects once per id. Not part of the product's interface.

use crate::aggregate::AggregateKey;
use crate::decision::{
    Decision, Disposition, EffectId, EffectIntent, Lane, LedgerAccount, TimelineEntry,
};
use crate::effect::Effect;
use crate::fact::Order;
use crate::ids::{EventId, Scope, TenantId, Timestamp};
use crate::input::{Ctx, InputSource, StoredInput};
use crate::link::{LinkKey, LinkTarget};
use crate::money::Currency;
use crate::reread::{Answer, Reread};
use crate::route::{Fate, Routed, route};
use crate::rows::{Row, RowKind, RowWrite};
use crate::settings::Settings;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most inputs one delivery may set off before the world is called a storm.
const STEPS_MAX: u32 = 20_000;

#[derive(Clone, Debug)]
struct Waiting {
    to: AggregateKey,
    input: StoredInput,
    park: Vec<LinkKey>,
}

/// A webhook body and where it goes: routed once, delivered in as many orders as one likes.
#[derive(Clone, Debug)]
pub struct Delivery {
    routed: Routed,
    body: Vec<u8>,
}

/// Movements summed by (source, tenant, payment, account, currency).
pub type Books = BTreeMap<(String, String, String, LedgerAccount, Currency), i64>;

/// The world.
#[derive(Clone, Debug)]
pub struct World {
    /// Configuration.
    pub settings: Settings,
    /// The clock; a test sets it.
    pub now: Timestamp,
    /// What Stripe answers to re-reads; others stay unanswered.
    pub truth: BTreeMap<Reread, (u16, String)>,
    /// The `Date` of those answers; `None`: the clock's.
    pub truth_at: Option<Timestamp>,
    /// All rows.
    pub rows: BTreeMap<(RowKind, Scope, String), Row>,
    /// Other names of rows.
    pub aliases: BTreeMap<(RowKind, Scope, String), String>,
    /// The ledger.
    pub books: Books,
    /// The ledger by date: what is on a date in the end, by source and account.
    pub dated: BTreeMap<(String, LedgerAccount, Currency, Timestamp), i64>,
    /// Effects ever decided.
    pub effects: BTreeMap<EffectId, EffectIntent>,
    /// Everything told.
    pub timeline: Vec<TimelineEntry>,
    /// What became of each event: the last word.
    pub fates: BTreeMap<String, (Disposition, String)>,
    /// All links.
    pub links: BTreeMap<LinkKey, LinkTarget>,
    /// How many decisions were made.
    pub decided: u64,
    /// Snapshots with their versions.
    pub snapshots: BTreeMap<AggregateKey, (Vec<u8>, u64)>,
    /// Versions under which aggregates' own rows are shown.
    pub shown: BTreeMap<AggregateKey, u64>,
    timers: BTreeMap<(AggregateKey, String), Timestamp>,
    parked: Vec<Waiting>,
    inbox: VecDeque<(AggregateKey, StoredInput)>,
    seen: BTreeSet<String>,
    seq: u64,
}

impl World {
    /// An empty world at this time.
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        Self {
            settings,
            now,
            truth: BTreeMap::new(),
            truth_at: None,
            rows: BTreeMap::new(),
            aliases: BTreeMap::new(),
            books: Books::new(),
            dated: BTreeMap::new(),
            effects: BTreeMap::new(),
            timeline: Vec::new(),
            fates: BTreeMap::new(),
            links: BTreeMap::new(),
            decided: 0,
            snapshots: BTreeMap::new(),
            shown: BTreeMap::new(),
            timers: BTreeMap::new(),
            parked: Vec::new(),
            inbox: VecDeque::new(),
            seen: BTreeSet::new(),
            seq: 0,
        }
    }

    /// Where a webhook body goes, for many deliveries of it.
    pub fn route(&self, body: &[u8]) -> Delivery {
        Delivery {
            routed: route(body, &self.settings, self.now),
            body: body.to_vec(),
        }
    }

    /// Delivers a webhook body and runs until nothing is left to do. The fate is in `fates`.
    pub fn deliver(&mut self, body: &[u8]) {
        let delivery = self.route(body);
        self.deliver_routed(&delivery);
    }

    /// Delivers what was routed before and runs until nothing is left to do.
    pub fn deliver_routed(&mut self, delivery: &Delivery) {
        let routed = &delivery.routed;
        let id = routed.source.public_id();
        if !self.seen.insert(routed.source.dedup_text()) {
            return;
        }
        match &routed.fate {
            Fate::Ignored { reason } => {
                self.fates
                    .insert(id, (Disposition::Ignored, reason.clone()));
            }
            Fate::Dead { reason } => {
                self.fates.insert(id, (Disposition::Dead, reason.clone()));
            }
            Fate::Pending { to, park } => {
                self.fates
                    .insert(id, (Disposition::Parked, "waits for a link".to_owned()));
                let source = routed.source.clone();
                let input = self.input(source, routed.kind.clone(), delivery.body.clone());
                self.accept(to.clone(), input, park.clone());
            }
        }
        self.run();
    }

    /// Delivers an event given as JSON.
    pub fn deliver_json(&mut self, event: &serde_json::Value) {
        self.deliver(event.to_string().as_bytes());
    }

    /// Gives an order under an id.
    pub fn order(&mut self, to: AggregateKey, id: &str, order: &Order) {
        let source = InputSource::Operator(id.to_owned());
        if self.seen.insert(source.dedup_text()) {
            let input = self.input(source, order.kind().to_owned(), order.to_body());
            self.accept(to, input, Vec::new());
        }
        self.run();
    }

    /// Lets time pass: fires timers in order until `end`.
    pub fn advance_to(&mut self, end: Timestamp) {
        for _ in 0..STEPS_MAX {
            let next = self.timers.iter().map(|(key, at)| (*at, key.clone())).min();
            let Some((at, key)) = next.filter(|(at, _)| *at <= end) else {
                self.now = self.now.max(end);
                return;
            };
            self.timers.remove(&key);
            self.now = self.now.max(at);
            let (of, name) = key;
            let source = InputSource::Timer(of.clone(), name.clone(), at);
            let input = self.input(source, name, Vec::new());
            self.inbox.push_back((of, input));
            self.run();
        }
        panic!("timers never end");
    }

    /// How many inputs wait for a link.
    pub fn parked_count(&self) -> usize {
        self.parked.len()
    }

    /// The row as the API shows it, personal fields included.
    pub fn row(&self, kind: RowKind, id: &str) -> Option<serde_json::Value> {
        let row = self
            .rows
            .values()
            .find(|row| row.kind == kind && row.id == id)?;
        Some(shown(row))
    }

    /// Effects of a kind that were decided, e.g. `alert.link_conflict`.
    pub fn effects_of(&self, kind: &str) -> Vec<Effect> {
        let found = self.effects.values().filter(|intent| intent.kind == kind);
        found
            .map(|intent| Effect::from_payload(&intent.payload).expect("an effect"))
            .collect()
    }

    /// The ledger summed by account and currency.
    pub fn balances(&self) -> BTreeMap<(LedgerAccount, Currency), i64> {
        let mut sums = BTreeMap::new();
        for ((.., account, currency), amount) in &self.books {
            *sums.entry((*account, *currency)).or_default() += amount;
        }
        sums
    }

    /// The order-free state: rows, other names, ledger by source; no versions, times of receipt,
    /// timelines or effects.
    pub fn state(&self) -> String {
        let mut out = String::new();
        for row in self.rows.values() {
            let line = serde_json::json!([
                format!("{:?}", row.kind),
                row.scope,
                row.id,
                row.tenant,
                row.created_at,
                row.status,
                row.hidden,
                shown(row)
            ]);
            out.push_str(&format!("{line}\n"));
        }
        for (key, id) in &self.aliases {
            out.push_str(&format!("{key:?} = {id}\n"));
        }
        for (key, amount) in self.books.iter().filter(|(_, amount)| **amount != 0) {
            out.push_str(&format!("{key:?}: {amount}\n"));
        }
        let mut waiting: Vec<String> = self
            .parked
            .iter()
            .map(|one| format!("parked {} for {}\n", one.input.source.dedup_text(), one.to))
            .collect();
        waiting.sort_unstable();
        out.extend(waiting);
        out
    }

    /// SHA-256 over what `state` shows, part by part and without reading any row: equal digests are
    /// equal states. (A state may differ in a field's spelling only and then has another digest.)
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        for row in self.rows.values() {
            let tenant = row.tenant.as_ref().map_or("", TenantId::as_str);
            let created = row.created_at.map_or(i64::MIN, |at| at.0);
            add(&[row.kind as u8, u8::from(row.hidden)]);
            add(&created.to_be_bytes());
            for text in [row.scope.as_str(), &row.id, tenant, &row.status] {
                add(text.as_bytes());
            }
            add(&row.value);
            add(row
                .personal
                .as_ref()
                .map_or(&[], |personal| &personal.fields));
        }
        add(b"aliases");
        for ((kind, scope, alias), id) in &self.aliases {
            add(&[*kind as u8]);
            for text in [scope.as_str(), alias, id] {
                add(text.as_bytes());
            }
        }
        add(b"books");
        for (place, amount) in self.books.iter().filter(|(_, amount)| **amount != 0) {
            let (source, tenant, payment, account, currency) = place;
            for text in [source, tenant, payment, account.as_str(), currency.as_str()] {
                add(text.as_bytes());
            }
            add(&amount.to_be_bytes());
        }
        add(b"parked");
        let waiting = self.parked.iter();
        let mut waiting: Vec<String> = waiting
            .map(|one| format!("{} {}", one.input.source.dedup_text(), one.to))
            .collect();
        waiting.sort_unstable();
        waiting.iter().for_each(|one| add(one.as_bytes()));
        hash.finalize().into()
    }

    fn input(&mut self, source: InputSource, kind: String, body: Vec<u8>) -> StoredInput {
        self.seq += 1;
        StoredInput {
            seq: self.seq,
            source,
            kind,
            received_at: self.now,
            body,
        }
    }

    fn accept(&mut self, to: AggregateKey, input: StoredInput, park: Vec<LinkKey>) {
        let waits = !park.is_empty() && !park.iter().any(|key| self.links.contains_key(key));
        if waits {
            self.parked.push(Waiting { to, input, park });
        } else {
            self.inbox.push_back((to, input));
        }
    }

    fn run(&mut self) {
        let mut steps = 0;
        while let Some((key, input)) = self.inbox.pop_front() {
            steps += 1;
            assert!(
                steps < STEPS_MAX,
                "messages never end: {key} {}",
                input.kind
            );
            self.step(&key, &input);
        }
    }

    fn step(&mut self, key: &AggregateKey, input: &StoredInput) {
        let stored = self.snapshots.get(key).cloned();
        let snapshot = stored.as_ref().map(|(bytes, _)| bytes.as_slice());
        let prepared = crate::prepare(key, snapshot, input);
        let wanted = prepared.lookups(&self.settings);
        let links: BTreeMap<LinkKey, LinkTarget> = wanted
            .into_iter()
            .filter_map(|link| Some((link.clone(), self.links.get(&link)?.clone())))
            .collect();
        let ctx = Ctx {
            now: self.now,
            settings: &self.settings,
            links: &links,
            shown_version: self.shown.get(key).copied(),
        };
        let decision = prepared.decide(&ctx);
        self.decided += 1;
        let version = stored.map_or(0, |(_, version)| version) + 1;
        self.commit(key, input, version, decision);
    }

    fn commit(&mut self, key: &AggregateKey, input: &StoredInput, version: u64, made: Decision) {
        if let InputSource::Event(..) = &input.source {
            let fate = (made.disposition, made.reason.clone());
            self.fates.insert(input.source.public_id(), fate);
        }
        for message in made.messages.iter().filter(|m| m.subject.is_none()) {
            assert!(
                !String::from_utf8_lossy(&message.payload).contains("\"email\":\""),
                "an address would be written in clear: {} to {}",
                message.kind,
                message.to
            );
        }
        if let Some(bytes) = made.snapshot {
            assert!(
                made.snapshot_subject.is_some()
                    || !String::from_utf8_lossy(&bytes).contains("\"email\":\""),
                "the state of {key} would be written in clear with an address"
            );
            self.snapshots.insert(key.clone(), (bytes, version));
        }
        if key.rewrites_own_row(&made.rows) {
            self.shown.insert(key.clone(), version);
        }
        for write in made.rows {
            self.write_row(write);
        }
        for movement in made.movements {
            let mut sums: BTreeMap<Currency, i64> = BTreeMap::new();
            for entry in &movement.entries {
                *sums.entry(entry.currency).or_default() += entry.amount_minor;
                let tenant = movement.tenant.as_ref().map(ToString::to_string);
                let payment = movement.payment.as_ref().map(ToString::to_string);
                let place = (
                    movement.source.clone(),
                    tenant.unwrap_or_default(),
                    payment.unwrap_or_default(),
                    entry.account,
                    entry.currency,
                );
                *self.books.entry(place).or_default() += entry.amount_minor;
                let source = movement.source.clone();
                let day = (source, entry.account, entry.currency, movement.at);
                let sum = self.dated.entry(day.clone()).or_default();
                *sum += entry.amount_minor;
                if *sum == 0 {
                    self.dated.remove(&day);
                }
            }
            assert!(
                sums.values().all(|sum| *sum == 0),
                "unbalanced: {movement:?}"
            );
        }
        for timer in made.timers {
            let place = (key.clone(), timer.name);
            match timer.at {
                Some(at) => self.timers.insert(place, at),
                None => self.timers.remove(&place),
            };
        }
        self.timeline.extend(made.timeline);
        for (n, message) in (0_u32..).zip(made.messages) {
            let source = InputSource::Message(key.clone(), version, n);
            let input = self.input(source, message.kind, message.payload);
            self.accept(message.to, input, message.park);
        }
        for link in made.links {
            self.links.insert(link.key.clone(), link.target);
            let (freed, kept): (Vec<Waiting>, Vec<Waiting>) = std::mem::take(&mut self.parked)
                .into_iter()
                .partition(|waiting| waiting.park.contains(&link.key));
            self.parked = kept;
            self.inbox
                .extend(freed.into_iter().map(|one| (one.to, one.input)));
        }
        for effect in made.effects {
            self.perform(key, effect);
        }
    }

    fn write_row(&mut self, write: RowWrite) {
        match write {
            RowWrite::Put(row) => {
                let key = (row.kind, row.scope.clone(), row.id.clone());
                self.rows.insert(key, row);
            }
            RowWrite::Delete { kind, scope, id } => {
                self.rows.remove(&(kind, scope, id));
            }
            RowWrite::Alias {
                kind,
                scope,
                alias,
                id,
            } => {
                self.aliases.insert((kind, scope, alias), id);
            }
        }
    }

    fn perform(&mut self, of: &AggregateKey, intent: EffectIntent) {
        if self
            .effects
            .insert(intent.id.clone(), intent.clone())
            .is_some()
        {
            return;
        }
        if intent.lane != Lane::StripeRead {
            return;
        }
        let effect = Effect::from_payload(&intent.payload).expect("an effect");
        let Effect::Reread(reread) = effect else {
            return;
        };
        let Some((status, body)) = self.truth.get(&reread).cloned() else {
            return;
        };
        let answer = Answer {
            target: reread.target,
            status,
            date: self.truth_at.unwrap_or(self.now).seconds(),
            body: serde_json::value::RawValue::from_string(body).ok(),
        };
        let body = serde_json::to_vec(&answer).expect("an answer");
        let source = InputSource::Effect(intent.id);
        let input = self.input(source, "reread".to_owned(), body);
        self.inbox.push_back((of.clone(), input));
    }
}

fn shown(row: &Row) -> serde_json::Value {
    let mut value: serde_json::Value =
        serde_json::from_slice(&row.value).expect("a row is a JSON object");
    if let Some(personal) = &row.personal {
        let fields: serde_json::Value =
            serde_json::from_slice(&personal.fields).expect("personal fields are a JSON object");
        if let (Some(all), serde_json::Value::Object(fields)) = (value.as_object_mut(), fields) {
            all.extend(fields);
        }
    }
    value
}

/// An event around an object: `account` empty for the platform's own.
pub fn event(
    id: &str,
    kind: &str,
    created: i64,
    account: &str,
    object: serde_json::Value,
    previous: Option<serde_json::Value>,
) -> serde_json::Value {
    let mut data = serde_json::json!({ "object": object });
    if let Some(previous) = previous {
        data["previous_attributes"] = previous;
    }
    let mut event = serde_json::json!({
        "id": id, "object": "event", "api_version": "2025-04-30.basil", "created": created,
        "livemode": false, "pending_webhooks": 1, "request": null, "type": kind, "data": data,
    });
    if !account.is_empty() {
        event["account"] = account.into();
    }
    EventId::parse(id).expect("an event id");
    event
}

/// Every order of `items` (Heap's algorithm), each handed to `each`.
pub fn permutations<T: Clone>(items: &[T], mut each: impl FnMut(&[T])) {
    let mut items = items.to_vec();
    let mut counters = vec![0; items.len()];
    each(&items);
    let mut n = 1;
    while n < items.len() {
        if counters[n] < n {
            items.swap(if n % 2 == 0 { 0 } else { counters[n] }, n);
            each(&items);
            counters[n] += 1;
            n = 1;
        } else {
            counters[n] = 0;
            n += 1;
        }
    }
}

/// Tries every case on all cores, each core with sums of its own. A case that fails panics with its
/// own text (its seed), once all cores have stopped.
pub fn on_every_core<S: Default + Send>(
    cases: Range<u64>,
    work: impl Fn(&mut S, u64) + Sync,
) -> Vec<S> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(cases.start);
    let share = || {
        let mut sums = S::default();
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases.end {
                return sums;
            }
            work(&mut sums, case);
        }
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..cores).map(|_| scope.spawn(share)).collect();
        let ends = shares.into_iter().map(|share| share.join());
        let ends: Vec<_> = ends.collect();
        ends.into_iter()
            .map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
