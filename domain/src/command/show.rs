//! What a command shows: its row, whom it tells, which look is due, whom it alarms.

use super::{
    CommandKind, CommandOrder, CommandState, End, LOOKS_APART_MS, LOOKS_MAX, LOOKS_MS, Told, id_of,
    proof, subject,
};
use crate::aggregate::AggregateKey;
use crate::decision::EffectIntent;
use crate::effect::{Alert, Effect, Mail, Notify};
use crate::ids::{CommandId, CustomerId, Scope, Timestamp};
use crate::message::{Cause, Message};
use crate::project::Projection;
use crate::reread::{Reread, RereadTarget, escaped};
use crate::rows::{Personal, Row, RowKind, text_of};
use serde_json::{Value, json};

impl CommandState {
    pub(super) fn row(&self, id: &CommandId, order: &CommandOrder) -> Row {
        let text = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        let (mut error, mut request_id) = (Value::Null, String::new());
        match &self.end {
            Some(End::Succeeded {
                request_id: known, ..
            }) => request_id.clone_from(known),
            Some(End::Failed {
                code,
                status,
                stripe_code,
                decline_code,
                param,
                request_id: known,
            }) => {
                request_id.clone_from(known);
                error = json!({
                    "code": code, "stripeStatus": (*status > 0).then_some(status),
                    "stripeCode": stripe_code, "declineCode": decline_code, "param": param,
                });
            }
            None => {}
        }
        let absences = self.absences.iter().map(|absence| {
            json!({"generation": absence.generation, "at": absence.at.rfc3339(), "look": absence.look})
        });
        let value = json!({
            "id": id, "kind": order.kind.as_str(), "tenantId": order.tenant,
            "merchantAccountId": order.call.scope.0,
            "status": self.status(), "objectId": self.object_id(), "confirmed": self.is_confirmed,
            "error": error, "stripeRequestId": (!request_id.is_empty()).then_some(request_id),
            "generation": self.generation, "evidenceOfAbsence": absences.collect::<Vec<_>>(),
            "awaits": order.awaits, "after": order.after, "free": order.call.operation.is_free(), "orderedBy": order.by, "operation": order.call.operation.as_str(),
            "createdAt": self.begun_at.rfc3339(), "endedAt": text(self.ended_at),
        });
        let told = json!({
            "url": self.told.url, "message": self.told.message,
            "expiresAt": text(self.told.expires_at.map(Timestamp::from_seconds)),
        });
        Row {
            kind: RowKind::Command,
            scope: Scope::PLATFORM,
            id: id.to_string(),
            tenant: Some(order.tenant.clone()),
            created_at: Some(self.begun_at),
            status: self.status().to_owned(),
            hidden: false,
            value: text_of(&value),
            personal: (self.told != Told::default() && !self.is_erased).then(|| Personal {
                subject: subject(order),
                fields: text_of(&told),
            }),
        }
    }

    /// What waits for its customer, or for its end, is told how that went.
    pub(super) fn tell_dependents(&self, projection: &mut Projection, id: &CommandId) {
        let message = match &self.end {
            Some(End::Succeeded { object_id, .. }) => match CustomerId::parse(object_id) {
                Ok(customer) => Message::CommandEnded {
                    customer: Some(customer),
                    code: String::new(),
                },
                Err(_) => return,
            },
            Some(End::Failed { code, .. }) => Message::CommandEnded {
                customer: None,
                code: code.clone(),
            },
            None => return,
        };
        for dependent in &self.dependents {
            let to = AggregateKey::Command(dependent.clone());
            projection.tell(to, id.as_str(), message.clone());
        }
    }

    /// The look that became due.
    pub(super) fn look(
        &self,
        old: &Self,
        key: &AggregateKey,
        order: &CommandOrder,
    ) -> Option<EffectIntent> {
        let looking = self
            .looking
            .as_ref()
            .filter(|looking| looking.look <= LOOKS_MAX)?;
        if old.looking.as_ref() == Some(looking) {
            return None;
        }
        let path = proof::lookup_path(order, self.begun_at)?;
        let before = usize::try_from(looking.look.saturating_sub(1)).unwrap_or(usize::MAX);
        let further = i64::try_from(before.saturating_sub(LOOKS_MS.len() - 1)).unwrap_or(i64::MAX);
        let after_ms = LOOKS_MS[before.min(LOOKS_MS.len() - 1)] + further * LOOKS_APART_MS;
        // The next page of a list is read at once: the look is one look.
        let (path, after_ms) = match &looking.after {
            Some(after) => (format!("{path}&starting_after={}", escaped(after)), 0),
            None => (path, after_ms),
        };
        let target = RereadTarget::Lookup { path };
        let reread = Effect::Reread(Reread {
            scope: order.call.scope.clone(),
            target,
        });
        let after = looking.after.as_deref().unwrap_or_default();
        let name = format!("look:{}.{}.{after}", self.generation, looking.look);
        Some(reread.intent(key, &name, looking.last_try_at.plus_ms(after_ms), None))
    }

    /// What a customer waits for, in words; `None`: nobody waits, or they see it on a page at once.
    pub(super) fn awaited_words(&self) -> Option<&'static str> {
        match self.order.as_ref()?.kind {
            CommandKind::ChangePlan => Some("the change of your plan"),
            CommandKind::SetQuantity => Some("the change of the quantity"),
            CommandKind::CancelSubscription => Some("the cancellation of your subscription"),
            CommandKind::ResumeSubscription => Some("the resumption of your subscription"),
            CommandKind::Refund => Some("your refund"),
            _ => None,
        }
    }

    /// That it takes long, and then how it ended. An order given again may take long again.
    pub(super) fn mail(
        &self,
        old: &Self,
        key: &AggregateKey,
        order: &CommandOrder,
        now: Timestamp,
    ) -> Option<EffectIntent> {
        let words = self.awaited_words()?;
        let ended = self.end.is_some() && old.end.is_none() && self.is_delayed;
        let template = match &self.end {
            None if self.is_delayed && !old.is_delayed => "order_delayed",
            Some(End::Succeeded { .. }) if ended => "order_done",
            Some(End::Failed { .. }) if ended => "order_failed",
            _ => return None,
        };
        let params = [
            ("order", words.to_owned()),
            ("commandId", id_of(key).to_string()),
        ];
        let mail = Effect::Mail(Mail {
            template: template.to_owned(),
            tenant: Some(order.tenant.clone()),
            to: None,
            params: params
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        });
        Some(mail.intent(key, template, now, None))
    }

    /// Applications are told how it ended; not of what nobody ordered, a customer kept in step.
    pub(super) fn notification(
        &self,
        old: &Self,
        key: &AggregateKey,
        order: &CommandOrder,
        cause: &Cause,
        now: Timestamp,
    ) -> Option<EffectIntent> {
        let status = self.status();
        if status == old.status() || order.kind == CommandKind::CustomerSync {
            return None;
        }
        // Given up and ordered again it may fail again: each time is a fact.
        let fact = match status {
            "succeeded" => "succeeded".to_owned(),
            "failed" => format!("failed:{}.{}", self.generation, self.round),
            _ => return None,
        };
        let row = self.row(id_of(key), order);
        let notify = Effect::Notify(Notify {
            kind: format!("command.{status}"),
            tenant: order.tenant.clone(),
            object: serde_json::from_slice(&row.value).unwrap_or_default(),
            cause: cause.clone(),
        });
        Some(notify.intent(key, &fact, now, None))
    }

    pub(super) fn alerts(
        &self,
        old: &Self,
        key: &AggregateKey,
        order: &CommandOrder,
        now: Timestamp,
    ) -> Vec<EffectIntent> {
        let id = id_of(key);
        let alert = |code: &str, text: String| {
            let alert = Effect::Alert(Alert {
                code: code.to_owned(),
                tenant: Some(order.tenant.clone()),
                object_id: id.to_string(),
                text,
            });
            alert.intent(key, code, now, None)
        };
        let kind = order.kind.as_str();
        let mut alerts = Vec::new();
        if self.is_overdue && !old.is_overdue {
            let text =
                format!("{kind} {id}: whether it happened is unknown for a day; look at Stripe");
            alerts.push(alert("command_unknown", text));
        }
        if self.is_frozen && !old.is_frozen {
            let text = format!(
                "{kind} {id}: Stripe knows its key for another request; nothing is sent any more"
            );
            alerts.push(alert("idempotency_key_reused", text));
        }
        let was_failed = matches!(old.end, Some(End::Failed { .. }));
        if was_failed && matches!(self.end, Some(End::Succeeded { .. })) {
            let text = format!("{kind} {id} was called failed, and Stripe says it happened");
            alerts.push(alert("command_failed_but_happened", text));
        }
        alerts
    }
}
