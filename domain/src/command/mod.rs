//! The command: one intent of a program or person, one effect at Stripe, and "unknown" called unknown.
//!
//! A command is an aggregate of its own. Its order is stored before anything is sent; its call is an effect whose key
//! is derived from the command and a generation; what attempts bring comes back as inputs. Success is proved by
//! Stripe's answer, by an event made under our key, or by looking (`proof`); failure only by Stripe's answer, or by
//! knowing that nothing ever left.
//!
//! Invariants: success absorbs; a failure never covers what may have happened; the generation rises only on stored
//! evidence of absence: two looks, each at least a minute after the last attempt. Nothing stays unknown for a day
//! without an alert. A body that Stripe replayed is as old as its first answer, so the object is read again instead.
//! Not here: sending (`actors::outbound::stripe_call`), what a program is answered (`src/http/commands`).
//! Source: contract §3 "Stripe and unknown outcomes"; Stripe API reference, "Idempotent requests".

mod hear;
mod order;
mod proof;
mod show;

pub use order::{CallEffect, CallResult, CommandKind, CommandOrder, Seen, command_of_key};

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::EffectIntent;
use crate::effect::Effect;
use crate::fact::{Fact, Order};
use crate::ids::{CommandId, Timestamp};
use crate::input::Ctx;
use crate::link::{Claim, ClaimSource, LinkKey, LinkTarget};
use crate::message::{Cause, Message};
use crate::project::Projection;
use crate::reread::{Answer, Reread, RereadTarget};
use crate::rows::Subject;
use crate::settings::Settings;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;

/// When the looks after the last attempt are due, in ms after it.
const LOOKS_MS: [i64; 5] = [2_000, 10_000, 30_000, 62_000, 75_000];
/// Distance of all further ones.
const LOOKS_APART_MS: i64 = 600_000;
/// The first look whose finding nothing counts: a minute after the last attempt.
const COUNTING_LOOK: u32 = 4;
/// Looks that must find nothing before the order is sent under another key.
const ABSENCES: usize = 2;
/// Looks in all; then a person has to look.
const LOOKS_MAX: u32 = 200;
/// How long an outcome may be unknown before people are told, in ms.
const UNKNOWN_ALERT_MS: i64 = 24 * 3_600_000;
/// The timer of that.
const UNKNOWN_TIMER: &str = "unknown_24h";
/// How long an order may take before the customer who waits for it is told, in ms.
const DELAYED_MS: i64 = 600_000;
/// The timer of that.
const DELAYED_TIMER: &str = "delayed";
/// Commands that wait for one customer at most.
const DEPENDENTS_MAX: usize = 1_000;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
enum End {
    Succeeded {
        object_id: String,
        request_id: String,
    },
    Failed {
        /// Ours: `declined`, `refused`, `stripe_unavailable`, …
        code: String,
        /// Stripe's status; 0 when Stripe was never reached.
        status: u16,
        stripe_code: Option<String>,
        decline_code: Option<String>,
        param: Option<String>,
        request_id: String,
    },
}

/// A look that found nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Absence {
    generation: u32,
    at: Timestamp,
    look: u32,
}

/// Looking for what became of the present generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Looking {
    last_try_at: Timestamp,
    /// The look that is due, from 1.
    look: u32,
    /// After which object of its list it goes on.
    after: Option<String>,
}

/// What only the caller may see: where a payer is sent, what a person is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Told {
    url: Option<String>,
    expires_at: Option<i64>,
    message: Option<String>,
}

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CommandState {
    order: Option<CommandOrder>,
    begun_at: Timestamp,
    ended_at: Option<Timestamp>,
    /// The customer that was waited for.
    customer: Option<String>,
    /// The command it comes after is over.
    is_its_turn: bool,
    /// Commands that wait for this one's customer, or for its end.
    dependents: BTreeSet<CommandId>,
    /// The present key: 1, 2, …
    generation: u32,
    /// How often the call of this generation was begun: more than once if it was given up and ordered again.
    round: u32,
    /// Since when nobody can know whether it happened.
    unsure_since: Option<Timestamp>,
    looking: Option<Looking>,
    absences: Vec<Absence>,
    /// The present key answers nothing but a failure any more; ordered again, it is another one.
    is_spent: bool,
    /// A key of ours was used for another request: nothing is sent any more.
    is_frozen: bool,
    /// An event told that it happened.
    is_confirmed: bool,
    /// An answer was a replay: its object is read again.
    is_replayed: bool,
    is_overdue: bool,
    /// It took so long that people were told.
    is_delayed: bool,
    end: Option<End>,
    told: Told,
    is_erased: bool,
    /// The object just read, for the aggregate it belongs to; not kept.
    #[serde(skip)]
    heard: Option<(AggregateKey, Answer)>,
}

fn id_of(key: &AggregateKey) -> &CommandId {
    match key {
        AggregateKey::Command(id) => id,
        other => unreachable!("{other} is no command"),
    }
}

impl CommandState {
    fn status(&self) -> &'static str {
        match &self.end {
            Some(End::Succeeded { .. }) => "succeeded",
            Some(End::Failed { .. }) => "failed",
            None if self.unsure_since.is_some() || self.is_frozen => "unknown",
            None => "initiated",
        }
    }

    fn succeed(&mut self, object_id: String, request_id: &str, at: Timestamp) {
        let known = match &self.end {
            Some(End::Succeeded { request_id, .. }) => request_id.clone(),
            _ => String::new(),
        };
        self.end = Some(End::Succeeded {
            object_id,
            request_id: if request_id.is_empty() {
                known
            } else {
                request_id.to_owned()
            },
        });
        self.ended_at.get_or_insert(at);
        (self.unsure_since, self.looking) = (None, None);
    }

    fn begin(&mut self, order: &CommandOrder, ctx: &Ctx<'_>) -> Outcome {
        if self.order.is_some() {
            return Outcome::of(crate::register::Joined::Same, "");
        }
        self.order = Some(order.clone());
        (self.begun_at, self.generation, self.round) = (ctx.now, 1, 1);
        Outcome::applied("").saying(format!("{} ordered by {}", order.kind.as_str(), order.by))
    }

    /// Ordered again after it was given up: under the same key, unless that is spent and another one costs nothing.
    fn again(&mut self, now: Timestamp) -> Outcome {
        match &self.end {
            Some(End::Failed { status: 0, .. }) if self.is_erased => {
                self.give_up_erased(now);
                Outcome::applied("").saying("what was ordered is erased and not sent again")
            }
            Some(End::Failed { status: 0, .. }) if self.order.is_some() => {
                (self.end, self.ended_at) = (None, None);
                if self.is_spent {
                    (self.generation, self.round, self.is_spent) = (self.generation + 1, 0, false);
                }
                self.round += 1;
                Outcome::applied("").saying("ordered again")
            }
            _ => Outcome::ignored("", "not given up"),
        }
    }

    /// Ends what will not be sent any more, since what it said is erased.
    fn give_up_erased(&mut self, now: Timestamp) {
        self.fail("stripe_unavailable", 0, &serde_json::Value::Null, "", now);
    }

    /// The call as it is sent, once everything it needs is known and while it may be sent.
    fn call(&self, id: &CommandId) -> Option<CallEffect> {
        let order = self.order.as_ref()?;
        if self.end.is_some() || self.looking.is_some() || self.is_frozen || self.is_erased {
            return None;
        }
        if order.after.is_some() && !self.is_its_turn {
            return None;
        }
        let mut call = order.call.clone();
        if order.awaits.is_some() {
            call.params
                .push(("customer".to_owned(), self.customer.clone()?));
        }
        Some(CallEffect {
            command: id.clone(),
            tenant: order.tenant.clone(),
            kind: order.kind,
            generation: self.generation,
            call,
            // Whoever waited for the first key waits no more.
            patience_ms: order.patience_ms.filter(|_| self.generation == 1),
        })
    }

    fn object_id(&self) -> Option<&str> {
        match &self.end {
            Some(End::Succeeded { object_id, .. }) if !object_id.is_empty() => Some(object_id),
            _ => None,
        }
    }
}

/// Its personal fields are the tenant's.
fn subject(order: &CommandOrder) -> Subject {
    crate::tenant::subject(&order.tenant)
}

impl Reducer for CommandState {
    fn references(&self, _: &AggregateKey, _: &Fact, _: &Settings) -> Vec<LinkKey> {
        Vec::new()
    }

    fn join(&mut self, key: &AggregateKey, fact: &Fact, _: &Cause, ctx: &Ctx<'_>) -> Outcome {
        let id = id_of(key).clone();
        let mut outcome = match fact {
            Fact::Order(Order::CommandBegin(order)) => self.begin(order, ctx),
            Fact::Order(Order::CommandAgain {}) => self.again(ctx.now),
            Fact::Order(Order::CommandUnsure { generation, reason }) => {
                if self.end.is_some() || *generation != self.generation {
                    Outcome::ignored("", "known by now")
                } else {
                    self.unsure_since.get_or_insert(ctx.now);
                    Outcome::applied("").saying(format!("sent, and nobody can know yet: {reason}"))
                }
            }
            Fact::Order(Order::Erase {}) => {
                let was_sent = self.call(&id).is_some() || self.looking.is_some() || self.is_frozen;
                self.is_erased = true;
                if self.end.is_none() && self.order.is_some() && !was_sent {
                    self.give_up_erased(ctx.now);
                }
                Outcome::applied("").saying("personal fields erased")
            }
            Fact::Called(result) => self.hear_result(result, ctx),
            Fact::Answer(answer) if matches!(answer.target, RereadTarget::Lookup { .. }) => {
                self.hear_look(&id, answer, ctx.now)
            }
            Fact::Answer(answer) => {
                let object = answer
                    .json()
                    .and_then(|json| serde_json::from_str(json).ok());
                let owner = object
                    .zip(self.order.as_ref())
                    .and_then(|(object, order)| proof::owner_of(&order.call, &object));
                self.heard = owner.map(|(owner, _)| (owner, (**answer).clone()));
                Outcome::applied("").saying("read again, since its answer was an old one")
            }
            Fact::Message(envelope) => self.hear_message(&envelope.from, &envelope.message, ctx),
            Fact::Timer(_) => {
                let since = self
                    .unsure_since
                    .map(|since| since.plus_ms(UNKNOWN_ALERT_MS));
                let is_overdue = self.end.is_none() && since.is_some_and(|due| due <= ctx.now);
                self.is_overdue |= is_overdue;
                let words = match is_overdue {
                    true => "still unknown after a day",
                    false => "under way for long",
                };
                Outcome::applied("").saying(words)
            }
            Fact::Event(_) | Fact::Order(_) => Outcome::ignored("", "not for a command"),
        };
        outcome.object_id = id.to_string();
        outcome
    }

    fn settle(&mut self, _: &AggregateKey, ctx: &Ctx<'_>) {
        let due = self.begun_at.plus_ms(DELAYED_MS);
        if self.end.is_none() && self.awaited_words().is_some() && due <= ctx.now {
            self.is_delayed = true;
        }
        if self.is_erased {
            self.told = Told::default();
            if let Some(order) = &mut self.order {
                order.call.params.retain(|(name, _)| !is_personal(name));
            }
        }
    }

    fn project(&self, key: &AggregateKey) -> Projection {
        let id = id_of(key);
        let mut projection = Projection::default();
        let Some(order) = &self.order else {
            return projection;
        };
        projection.subject = (!self.is_erased).then(|| subject(order));
        projection.tenant = Some(order.tenant.clone());
        projection.payment = proof::payment_about(order);
        projection.ids.insert(id.to_string());
        projection.ids.extend(order.objects.iter().cloned());
        projection.ids.extend(self.object_id().map(str::to_owned));
        projection.row(self.row(id, order));
        let target = LinkTarget {
            tenant: Some(order.tenant.clone()),
        };
        projection
            .links
            .insert(LinkKey::Command(id.clone()), target);
        for awaited in order.awaits.iter().chain(&order.after) {
            let to = AggregateKey::Command(awaited.clone());
            projection.tell(to, "", Message::CommandAwaited {});
        }
        self.tell_dependents(&mut projection, id);
        if let Some(owner) = self
            .object_id()
            .and_then(|object| proof::claimed(&order.call, object))
        {
            let claim = Claim {
                source: ClaimSource::Command,
                created: self.begun_at,
                object_id: id.to_string(),
                tenant: order.tenant.clone(),
            };
            projection.tell(owner, order.tenant.to_string(), Message::Claim { claim });
        }
        if let Some((owner, answer)) = &self.heard {
            projection.tell(owner.clone(), "", Message::Answer(answer.clone()));
        }
        if let Some(since) = self.unsure_since.filter(|_| !self.is_overdue) {
            let at = since.plus_ms(UNKNOWN_ALERT_MS);
            projection.timers.insert(UNKNOWN_TIMER.to_owned(), at);
        }
        if self.end.is_none() && !self.is_delayed && self.awaited_words().is_some() {
            let at = self.begun_at.plus_ms(DELAYED_MS);
            projection.timers.insert(DELAYED_TIMER.to_owned(), at);
        }
        projection
    }

    fn effects(
        &self,
        old: &Self,
        key: &AggregateKey,
        cause: &Cause,
        ctx: &Ctx<'_>,
    ) -> Vec<EffectIntent> {
        let id = id_of(key);
        let Some(order) = &self.order else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        let begun = |state: &Self| state.call(id).map(|call| (call.generation, state.round));
        if let Some(call) = self.call(id)
            && begun(self) != begun(old)
        {
            let name = format!("{}.{}", self.generation, self.round);
            effects.push(Effect::Call(call).intent(key, &name, ctx.now, Some(subject(order))));
        }
        effects.extend(self.look(old, key, order));
        let is_refreshed = self.is_replayed && !old.is_replayed;
        if let Some(target) = self.object_id().filter(|_| is_refreshed).and_then(|object| {
            let named = json!({"id": object, "payment_intent": order.call.param("payment_intent"),
                "charge": order.call.param("charge")});
            proof::owner_of(&order.call, &named).map(|(_, target)| target)
        }) {
            let reread = Effect::Reread(Reread { scope: order.call.scope.clone(), target });
            effects.push(reread.intent(key, "refresh", ctx.now, None));
        }
        effects.extend(self.alerts(old, key, order, ctx.now));
        effects.extend(self.notification(old, key, order, cause, ctx.now));
        effects.extend(self.mail(old, key, order, ctx.now));
        effects
    }
}

/// Parameters that may name a person.
fn is_personal(name: &str) -> bool {
    [
        "email",
        "name",
        "customer_email",
        "evidence",
        "cancellation_details",
    ]
    .iter()
    .any(|personal| {
        name.strip_prefix(personal)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
    })
}
