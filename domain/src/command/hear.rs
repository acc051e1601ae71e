//! What a command makes of what it hears: results of attempts, looks, events, other commands.

use super::proof::{self, Found};
use super::{
    ABSENCES, Absence, COUNTING_LOOK, CallResult, CommandState, DEPENDENTS_MAX, End, Looking, Seen,
};
use crate::aggregate::AggregateKey;
use crate::decide::Outcome;
use crate::ids::{CommandId, Timestamp};
use crate::input::Ctx;
use crate::message::Message;
use crate::reread::Answer;
use crate::stripe_call::Operation;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// An order's answer is what it made, not what became of that since: whatever events of the same second tell came with
/// it or after it. A re-read beats them, so the answer counts as one of the second before.
const ANSWER_AGE_SECONDS: i64 = 1;

impl CommandState {
    pub(super) fn hear_result(&mut self, result: &CallResult, ctx: &Ctx<'_>) -> Outcome {
        match result {
            CallResult::Answered {
                status,
                request_id,
                is_replayed,
                date,
                body,
                ..
            } => {
                let object: Value = body
                    .as_ref()
                    .and_then(|body| serde_json::from_str(body.get()).ok())
                    .unwrap_or_default();
                if (200..300).contains(status) {
                    self.answered(&object, body.as_deref(), *date, *is_replayed);
                    let id = object["id"].as_str().unwrap_or_default().to_owned();
                    self.succeed(id, request_id, ctx.now);
                    return Outcome::applied("");
                }
                if self.is_gone_already(*status) {
                    self.look_from(self.generation, ctx.now, ctx.now);
                    return Outcome::applied("").saying("not there any more: Stripe is looked at");
                }
                self.refused(*status, &object["error"], request_id, ctx.now)
            }
            CallResult::GaveUp {
                code,
                reason,
                generation,
            } => {
                if self.end.is_some()
                    || *generation != self.generation
                    || self.unsure_since.is_some()
                {
                    return Outcome::ignored("", "it may have happened");
                }
                self.fail(code, 0, &Value::Null, "", ctx.now);
                Outcome::applied("").saying(format!("given up, nothing was sent: {reason}"))
            }
            CallResult::Indeterminate {
                generation,
                last_try_at,
                reason,
            } => {
                self.look_from(*generation, *last_try_at, ctx.now);
                Outcome::applied("").saying(format!(
                    "nobody can know yet ({reason}): Stripe is looked at"
                ))
            }
            CallResult::KeyReused {
                generation,
                last_try_at,
                ..
            } => {
                self.is_frozen = true;
                self.look_from(*generation, *last_try_at, ctx.now);
                Outcome::applied("")
                    .saying("Stripe knows this key for another request: nothing is sent any more")
            }
        }
    }

    /// Takes what a caller needs of an answer, and hands the object to whom it belongs.
    fn answered(&mut self, object: &Value, body: Option<&RawValue>, date: i64, is_replayed: bool) {
        let Some(order) = &self.order else { return };
        let text = |name: &str| object[name].as_str().map(str::to_owned);
        if !self.is_erased {
            self.told.url = text("url").or_else(|| unpaid_page(order.call.operation, object));
            self.told.expires_at = object["expires_at"].as_i64();
        }
        let Some((owner, target)) = proof::owner_of(&order.call, object) else {
            return;
        };
        if is_replayed || date == 0 {
            self.is_replayed = true;
            return;
        }
        let answer = Answer {
            target,
            status: 200,
            date: date - ANSWER_AGE_SECONDS,
            body: body.map(ToOwned::to_owned),
        };
        self.heard = Some((owner, answer));
    }

    /// A subscription that an earlier attempt ended answers the next one 404.
    fn is_gone_already(&self, status: u16) -> bool {
        let operation = self.order.as_ref().map(|order| order.call.operation);
        status == 404 && operation == Some(Operation::SubscriptionCancel) && self.end.is_none()
    }

    fn refused(&mut self, status: u16, error: &Value, request_id: &str, at: Timestamp) -> Outcome {
        if matches!(self.end, Some(End::Succeeded { .. })) {
            return Outcome::ignored("", "it is known to have happened");
        }
        let code = if status == 402 { "declined" } else { "refused" };
        self.fail(code, status, error, request_id, at);
        let word = error["code"]
            .as_str()
            .or(error["type"].as_str())
            .unwrap_or("no code");
        Outcome::applied("").saying(format!("refused by Stripe: {status} {word}"))
    }

    pub(super) fn fail(
        &mut self,
        code: &str,
        status: u16,
        error: &Value,
        request_id: &str,
        at: Timestamp,
    ) {
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        self.end = Some(End::Failed {
            code: code.to_owned(),
            status,
            stripe_code: text("code").or_else(|| text("type")),
            decline_code: text("decline_code"),
            param: text("param"),
            request_id: request_id.to_owned(),
        });
        if !self.is_erased {
            self.told.message = text("message");
        }
        self.ended_at = Some(at);
        (self.unsure_since, self.looking) = (None, None);
    }

    fn look_from(&mut self, generation: u32, last_try_at: Timestamp, now: Timestamp) {
        if self.end.is_some() || generation != self.generation {
            return;
        }
        crate::mutant!("M11", {
            self.generation += 1;
            (self.round, self.looking, self.unsure_since) = (1, None, None);
            return;
        });
        self.unsure_since.get_or_insert(now);
        let is_told_by_nothing = self
            .order
            .as_ref()
            .is_none_or(|order| proof::lookup_path(order, self.begun_at).is_none());
        if is_told_by_nothing {
            // What may have been made costs nothing, and nobody could be sent there any more.
            self.fail("stripe_unavailable", 0, &Value::Null, "", now);
            self.is_spent = true;
        } else {
            self.looking = Some(Looking {
                last_try_at,
                look: 1,
                after: None,
            });
        }
    }

    pub(super) fn hear_look(&mut self, id: &CommandId, answer: &Answer, now: Timestamp) -> Outcome {
        let (Some(order), Some(looking)) = (&self.order, self.looking.clone()) else {
            return Outcome::ignored("", "nothing is looked for");
        };
        match proof::found(order, id, answer) {
            Found::Yes(object) => {
                let object_id = object["id"].as_str().unwrap_or_default().to_owned();
                let raw = RawValue::from_string(object.to_string()).ok();
                self.answered(&object, raw.as_deref(), answer.date, false);
                self.succeed(object_id, "", now);
                Outcome::applied("").saying("found at Stripe: it did happen")
            }
            Found::Gone => {
                self.fail(
                    "refused",
                    404,
                    &json!({"code": "resource_missing"}),
                    "",
                    now,
                );
                Outcome::applied("").saying("what it was about does not exist at Stripe")
            }
            Found::More(last) => {
                self.looking = Some(Looking {
                    after: Some(last),
                    ..looking
                });
                Outcome::applied("").saying("not among the newest at Stripe: looked for further on")
            }
            Found::No => {
                if looking.look >= COUNTING_LOOK {
                    let generation = self.generation;
                    self.absences.push(Absence {
                        generation,
                        at: now,
                        look: looking.look,
                    });
                }
                let absent = self
                    .absences
                    .iter()
                    .filter(|a| a.generation == self.generation);
                let is_absent = absent.count() >= ABSENCES && !self.is_frozen;
                if is_absent && self.is_erased {
                    self.give_up_erased(now);
                    return Outcome::applied("")
                        .saying("looked for twice and absent; what was ordered is erased");
                }
                if is_absent {
                    self.generation += 1;
                    (self.round, self.looking, self.unsure_since) = (1, None, None);
                    return Outcome::applied("")
                        .saying("looked for twice and absent: ordered under a new key");
                }
                self.looking = Some(Looking {
                    look: looking.look + 1,
                    after: None,
                    ..looking
                });
                Outcome::applied("").saying("looked for and not found (yet)")
            }
        }
    }

    pub(super) fn hear_seen(&mut self, seen: &Seen, ctx: &Ctx<'_>) -> Outcome {
        let Some(order) = &self.order else {
            return Outcome::ignored("", "nothing was ordered");
        };
        if seen.scope != order.call.scope || !proof::is_proof(order.call.operation, &seen.kind) {
            return Outcome::ignored("", "no proof of this order");
        }
        self.is_confirmed = true;
        if !matches!(self.end, Some(End::Succeeded { .. })) {
            self.succeed(seen.object_id.clone(), "", ctx.now);
            self.is_replayed = true;
        }
        Outcome::applied("").saying(format!("{} confirms it", seen.kind))
    }

    fn comes_after(&self, from: &AggregateKey) -> bool {
        let before = self.order.as_ref().and_then(|order| order.after.clone());
        before.map(AggregateKey::Command).as_ref() == Some(from)
    }

    pub(super) fn hear_message(
        &mut self,
        from: &AggregateKey,
        message: &Message,
        ctx: &Ctx<'_>,
    ) -> Outcome {
        match message {
            Message::CommandSeen(seen) => self.hear_seen(seen, ctx),
            Message::CommandAwaited {} => {
                if let AggregateKey::Command(id) = from
                    && self.dependents.len() < DEPENDENTS_MAX
                {
                    self.dependents.insert(id.clone());
                }
                Outcome::applied("")
            }
            Message::CommandEnded { .. } if self.comes_after(from) => {
                self.is_its_turn = true;
                Outcome::applied("").saying("the command before it is over")
            }
            Message::CommandEnded {
                customer: Some(customer),
                ..
            } => {
                self.customer.get_or_insert_with(|| customer.to_string());
                Outcome::applied("").saying(format!("the customer is {customer}"))
            }
            Message::CommandEnded {
                customer: None,
                code,
            } => {
                if self.end.is_none() && self.customer.is_none() {
                    self.fail(code, 0, &Value::Null, "", ctx.now);
                }
                Outcome::applied("").saying("the customer could not be made")
            }
            _ => Outcome::ignored("", "not for a command"),
        }
    }
}

/// Where a person pays, or lets the bank agree, when a change of a subscription left its invoice open.
fn unpaid_page(operation: Operation, object: &Value) -> Option<String> {
    let invoice = &object["latest_invoice"];
    let is_open = operation == Operation::SubscriptionUpdate && invoice["status"] == "open";
    let page = invoice["hosted_invoice_url"].as_str();
    page.filter(|_| is_open).map(str::to_owned)
}
