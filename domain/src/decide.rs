//! One frame for every reducer: decode, join, settle, compare, write.
//!
//! Invariants: `decide` is a function of its arguments; a reducer's `join` is commutative,
//! associative and idempotent, `settle` makes the state a function of what was joined and of `Ctx`,
//! `project` is a function of the state alone, so the projection of the stored snapshot is exactly
//! what was written when it was stored.
//! Failure: an input that does not read is dead with the reason. A snapshot that does not read is a
//! bug and panics; the shell catches it and sets the input aside.

use crate::aggregate::AggregateKey;
use crate::command::Seen;
use crate::decision::{Decision, Disposition, EffectIntent, TimelineEntry};
use crate::fact::{Fact, cause_of};
use crate::input::{Ctx, InputSource, StoredInput};
use crate::link::LinkKey;
use crate::message::{Cause, Message};
use crate::project::{Projection, write_difference};
use crate::reread::RereadTarget;
use crate::sentence;
use crate::settings::Settings;
use crate::stripe_wire::Event;
use serde::{Serialize, de::DeserializeOwned};

/// What joining a fact did to a state, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// `Applied`, `Duplicate` or `Stale` as the join saw it; `Applied` becomes visible as such even
    /// when no row changes, `Ignored` and `Dead` are taken as they are.
    pub disposition: Disposition,
    /// Why not, when not applied.
    pub reason: String,
    /// The object the fact is about.
    pub object_id: String,
    /// One sentence, no personal data; empty: made from what changed.
    pub summary: String,
}

impl Outcome {
    /// Joined.
    pub fn applied(object_id: impl Into<String>) -> Self {
        Self {
            disposition: Disposition::Applied,
            reason: String::new(),
            object_id: object_id.into(),
            summary: String::new(),
        }
    }
    /// Not for this reducer, or against a rule.
    pub fn ignored(object_id: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            disposition: Disposition::Ignored,
            reason: reason.into(),
            object_id: object_id.into(),
            summary: String::new(),
        }
    }
    /// From a register's join.
    pub fn of(joined: crate::register::Joined, object_id: impl Into<String>) -> Self {
        use crate::register::Joined;
        let (disposition, reason) = match joined {
            Joined::Kept => (Disposition::Applied, ""),
            Joined::Same => (Disposition::Duplicate, "the same state was known already"),
            Joined::Older => (Disposition::Stale, "a newer or final state is known"),
        };
        Self {
            disposition,
            reason: reason.to_owned(),
            object_id: object_id.into(),
            summary: String::new(),
        }
    }
    /// With a sentence.
    pub fn saying(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }
}

/// A reducer.
pub(crate) trait Reducer:
    Clone + PartialEq + Default + Serialize + DeserializeOwned
{
    /// The references whose links `settle` needs, of the state and of the fact.
    fn references(&self, key: &AggregateKey, fact: &Fact, settings: &Settings) -> Vec<LinkKey>;
    /// Joins a fact: order-free.
    fn join(&mut self, key: &AggregateKey, fact: &Fact, cause: &Cause, ctx: &Ctx<'_>) -> Outcome;
    /// Makes everything derived follow from what was joined, links, settings and time.
    fn settle(&mut self, key: &AggregateKey, ctx: &Ctx<'_>);
    /// What the state implies.
    fn project(&self, key: &AggregateKey) -> Projection;
    /// What is to be done because `old` became `self`.
    fn effects(
        &self,
        old: &Self,
        key: &AggregateKey,
        cause: &Cause,
        ctx: &Ctx<'_>,
    ) -> Vec<EffectIntent>;
}

/// Calls a generic function with the reducer of a key's kind.
macro_rules! dispatch {
    ($key:expr, $function:ident($($argument:expr),*)) => {
        match $key.kind() {
            crate::aggregate::AggregateKind::Tenant => $function::<crate::tenant::TenantState>($($argument),*),
            crate::aggregate::AggregateKind::Customer => $function::<crate::customer::CustomerState>($($argument),*),
            crate::aggregate::AggregateKind::Subscription => $function::<crate::subscription::SubscriptionState>($($argument),*),
            crate::aggregate::AggregateKind::Invoice => $function::<crate::invoice::InvoiceState>($($argument),*),
            crate::aggregate::AggregateKind::Session => $function::<crate::session::SessionState>($($argument),*),
            crate::aggregate::AggregateKind::Payment => $function::<crate::payment::PaymentState>($($argument),*),
            crate::aggregate::AggregateKind::Merchant => $function::<crate::merchant::MerchantState>($($argument),*),
            crate::aggregate::AggregateKind::Command => $function::<crate::command::CommandState>($($argument),*),
            crate::aggregate::AggregateKind::Installation => $function::<crate::installation::InstallationState>($($argument),*),
        }
    };
}

/// One input in hand: decoded once and its aggregate's state read once, whatever is asked of it.
pub struct Prepared<'a>(Box<dyn Ready + Send + 'a>);

trait Ready {
    fn lookups(&self, settings: &Settings) -> Vec<LinkKey>;
    fn decide(self: Box<Self>, ctx: &Ctx<'_>) -> Decision;
}

impl Prepared<'_> {
    /// The links the decision needs.
    pub fn lookups(&self, settings: &Settings) -> Vec<LinkKey> {
        self.0.lookups(settings)
    }
    /// Decides what the input changes.
    pub fn decide(self, ctx: &Ctx<'_>) -> Decision {
        self.0.decide(ctx)
    }
}

/// Reads an input and the state it meets.
/// # Panics: the snapshot is not one of this reducer's (a bug).
pub fn prepare<'a>(
    key: &'a AggregateKey,
    snapshot: Option<&[u8]>,
    input: &'a StoredInput,
) -> Prepared<'a> {
    let fact = Fact::read(input);
    if let Some(owner) = owner_elsewhere(key, input, &fact) {
        return Prepared(Box::new(PassedOn {
            key,
            input,
            owner,
            fact,
        }));
    }
    dispatch!(key, read_with(key, snapshot, input, fact))
}

fn read_with<'a, R: Reducer + Send + 'a>(
    key: &'a AggregateKey,
    snapshot: Option<&[u8]>,
    input: &'a StoredInput,
    fact: Result<Fact, String>,
) -> Prepared<'a> {
    let old: Option<R> = snapshot.map(|bytes| {
        serde_json::from_slice(bytes).expect("a snapshot is what this reducer once wrote")
    });
    Prepared(Box::new(Met {
        key,
        input,
        fact,
        is_new: old.is_none(),
        old: old.unwrap_or_default(),
    }))
}

/// The links a decision about this input needs.
pub fn lookups(
    key: &AggregateKey,
    snapshot: Option<&[u8]>,
    input: &StoredInput,
    settings: &Settings,
) -> Vec<LinkKey> {
    prepare(key, snapshot, input).lookups(settings)
}

/// Decides what one input changes.
/// # Panics: the snapshot is not one of this reducer's (a bug).
pub fn decide(
    key: &AggregateKey,
    snapshot: Option<&[u8]>,
    input: &StoredInput,
    ctx: &Ctx<'_>,
) -> Decision {
    prepare(key, snapshot, input).decide(ctx)
}

/// The aggregate an answer is about, if it is not the one that asked.
fn owner_elsewhere(
    key: &AggregateKey,
    input: &StoredInput,
    fact: &Result<Fact, String>,
) -> Option<AggregateKey> {
    let (InputSource::Effect(_), Ok(Fact::Answer(answer))) = (&input.source, fact) else {
        return None;
    };
    let scope = key.scope()?.clone();
    let owner = match &answer.target {
        RereadTarget::Subscription(id) => AggregateKey::Subscription(scope, id.clone()),
        RereadTarget::Invoice(id) | RereadTarget::InvoicePayments(id) => {
            AggregateKey::Invoice(scope, id.clone())
        }
        RereadTarget::Session(id) | RereadTarget::SessionLineItems(id) => {
            AggregateKey::Session(scope, id.clone())
        }
        RereadTarget::Customer(id) => AggregateKey::Customer(scope, id.clone()),
        RereadTarget::PaymentIntent(id) => AggregateKey::Payment(scope, id.into()),
        // Their payment is known to whoever asked, not to the target.
        RereadTarget::Charge(_)
        | RereadTarget::Refund(_)
        | RereadTarget::Dispute(_)
        | RereadTarget::BalanceTransaction(_)
        | RereadTarget::Account(_)
        | RereadTarget::Lookup { .. } => return None,
    };
    (owner != *key).then_some(owner)
}

/// An answer about an object that is an aggregate of its own goes there.
struct PassedOn<'a> {
    key: &'a AggregateKey,
    input: &'a StoredInput,
    owner: AggregateKey,
    fact: Result<Fact, String>,
}

impl Ready for PassedOn<'_> {
    fn lookups(&self, _: &Settings) -> Vec<LinkKey> {
        Vec::new()
    }
    fn decide(self: Box<Self>, ctx: &Ctx<'_>) -> Decision {
        let Ok(Fact::Answer(answer)) = &self.fact else {
            return Decision::nothing(Disposition::Dead, "no answer");
        };
        let mut decision = Decision::nothing(Disposition::Applied, "");
        let mut passed = Projection::default();
        passed.tell(self.owner, "", Message::Answer((**answer).clone()));
        let fact = Fact::Answer(answer.clone());
        let cause = cause_of(self.key, self.input, &fact, ctx.now);
        let none = Projection::default();
        write_difference(&mut decision, self.key, &none, &passed, &cause);
        decision
    }
}

/// An input and the state it meets.
struct Met<'a, R> {
    key: &'a AggregateKey,
    input: &'a StoredInput,
    fact: Result<Fact, String>,
    /// The state before; the default if there was none.
    old: R,
    is_new: bool,
}

impl<R: Reducer> Ready for Met<'_, R> {
    fn lookups(&self, settings: &Settings) -> Vec<LinkKey> {
        let Ok(fact) = &self.fact else {
            return Vec::new();
        };
        let mut keys = self.old.references(self.key, fact, settings);
        keys.sort();
        keys.dedup();
        keys
    }

    fn decide(self: Box<Self>, ctx: &Ctx<'_>) -> Decision {
        let Self {
            key,
            input,
            fact,
            old,
            is_new,
        } = *self;
        let fact = match fact {
            Ok(fact) => fact,
            Err(reason) => return Decision::nothing(Disposition::Dead, reason),
        };
        let cause = cause_of(key, input, &fact, ctx.now);
        let mut new = old.clone();
        let mut outcome = new.join(key, &fact, &cause, ctx);
        let mut decision = Decision::nothing(outcome.disposition, outcome.reason.clone());
        if matches!(outcome.disposition, Disposition::Dead) {
            return decision;
        }
        new.settle(key, ctx);
        let is_same = !is_new && old == new;
        let after = new.project(key);
        let mut changed = Vec::new();
        if !is_same {
            // Of an equal state nothing can differ: projections are functions of the state.
            let before = if is_new {
                Projection::default()
            } else {
                old.project(key)
            };
            changed = write_difference(&mut decision, key, &before, &after, &cause);
        }
        decision.effects = new.effects(&old, key, &cause, ctx);
        if let Fact::Event(event) = &fact {
            tell_command(&mut decision, key, event, &cause);
        }
        let writes_nothing = changed.is_empty() && decision.movements.is_empty();
        if !writes_nothing && outcome.disposition != Disposition::Ignored {
            // Whatever the join thought of it: it did change what is shown.
            outcome.disposition = Disposition::Applied;
            outcome.reason.clear();
        }
        decision.disposition = outcome.disposition;
        decision.reason = outcome.reason.clone();
        if !is_same {
            decision.snapshot =
                Some(serde_json::to_vec(&new).expect("states are plain values with text keys"));
            decision.snapshot_subject = after.subject.clone();
        }
        let is_told = !writes_nothing || matches!(fact, Fact::Event(_) | Fact::Order(_));
        if is_told {
            decision
                .timeline
                .push(entry(key, &cause, outcome, changed, &after));
        }
        decision
    }
}

/// An event made by a request under a key of ours proves to its command that it reached Stripe.
fn tell_command(decision: &mut Decision, key: &AggregateKey, event: &Event, cause: &Cause) {
    let Some(command) = &event.command else {
        return;
    };
    let seen = Seen {
        kind: event.kind.clone(),
        scope: event.scope.clone(),
        object_id: event.object_id().to_owned(),
    };
    let mut told = Projection::default();
    let to = AggregateKey::Command(command.clone());
    told.tell(to, event.id.as_str(), Message::CommandSeen(seen));
    write_difference(decision, key, &Projection::default(), &told, cause);
}

fn entry(
    key: &AggregateKey,
    cause: &Cause,
    outcome: Outcome,
    changed: Vec<crate::decision::Change>,
    after: &Projection,
) -> TimelineEntry {
    let mut ids = after.ids.clone();
    ids.insert(cause.source_id.clone());
    ids.insert(outcome.object_id.clone());
    ids.extend(after.tenant.as_ref().map(ToString::to_string));
    ids.remove("");
    let summary = if outcome.summary.is_empty() {
        match outcome.disposition {
            Disposition::Applied if changed.is_empty() => {
                format!("{}: nothing shown changed", cause.kind)
            }
            Disposition::Applied => sentence::of(key, &cause.kind, &outcome.object_id, &changed),
            other => format!("{}: {} ({})", cause.kind, other.as_str(), outcome.reason),
        }
    } else {
        outcome.summary
    };
    TimelineEntry {
        at: cause.at,
        source: cause.source,
        source_id: cause.source_id.clone(),
        kind: cause.kind.clone(),
        object_id: outcome.object_id,
        summary,
        changed,
        disposition: outcome.disposition,
        tenant: after.tenant.clone(),
        payment: after.payment.clone(),
        ids: ids.into_iter().collect(),
    }
}
