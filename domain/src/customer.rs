//! The customer reducer: a customer of Stripe, the words on whose it is, and who refers to it.
//!
//! Invariants: the link is the least claim ever heard, so it is a minimum over a set; children are
//! told only when they think otherwise. At most `CHILDREN_MAX` children are remembered: a customer
//! whose link changes after more than that raises `link_conflict_children`, and the ones forgotten
//! keep their tenant until their next event.
//! Source: contract §4 (`customer.*`, "Finding the tenant of an event").

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::EffectIntent;
use crate::effect::{Alert, Effect};
use crate::fact::{Fact, Order, answer_in};
use crate::ids::{CustomerId, Scope, TenantId, Timestamp};
use crate::input::Ctx;
use crate::link::{LinkKey, LinkTarget};
use crate::message::{Cause, CustomerSummary, Message};
use crate::ownership::Ownership;
use crate::project::Projection;
use crate::register::{Origin, Ranked, Register, earliest};
use crate::reread::{Answer, Reread, RereadTarget};
use crate::route::customer_subject;
use crate::rows::{Personal, Row, RowKind, text_of};
use crate::settings::Settings;
use crate::stripe_wire::{Customer, Object, read_object};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most children remembered for being told of another tenant.
const CHILDREN_MAX: usize = 64;

impl Ranked for Customer {
    fn is_final(&self) -> bool {
        self.deleted == Some(true)
    }
    fn rank(&self) -> u8 {
        0
    }
}

/// What is known of one customer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CustomerState {
    customer: Register<Customer>,
    deleted_at: Option<Timestamp>,
    owner: Ownership,
    /// Who refers to it, and whose each thinks it is.
    #[serde(with = "crate::pairs")]
    children: BTreeMap<AggregateKey, Option<TenantId>>,
    /// Whether a child was forgotten.
    is_crowded: bool,
    is_erased: bool,
}

impl CustomerState {
    fn join_customer(&mut self, customer: &Customer, origin: Origin, ctx: &Ctx<'_>) -> Outcome {
        let id = customer.id.clone().unwrap_or_default();
        let created = Timestamp::from_seconds(customer.created.unwrap_or_default());
        self.owner
            .read_metadata(&customer.metadata, created, &id, ctx.settings);
        Outcome::of(self.customer.join(customer.clone(), origin), id)
    }

    fn join_answer(&mut self, id: &CustomerId, answer: &Answer, ctx: &Ctx<'_>) -> Outcome {
        match answer.json().map(read_object::<Customer>) {
            Some(Ok(mut customer)) => {
                // A deleted customer answers without its fields: keep what was known.
                if customer.deleted == Some(true) {
                    let known = self.customer.value().cloned().unwrap_or_default();
                    customer = Customer {
                        deleted: Some(true),
                        ..known
                    };
                    earliest(&mut self.deleted_at, answer.at());
                }
                self.join_customer(&customer, Origin::reread(answer.at()), ctx)
            }
            Some(Err(error)) => Outcome::ignored(id.as_str(), error.to_string()),
            None => Outcome::ignored(id.as_str(), "Stripe knows no such customer"),
        }
    }

    fn greet(&mut self, child: &AggregateKey, tenant: Option<TenantId>) {
        self.children.insert(child.clone(), tenant);
        if self.children.len() > CHILDREN_MAX {
            self.children.pop_last();
            self.is_crowded = true;
        }
    }

    fn row(&self, scope: &Scope, id: &CustomerId) -> Row {
        let customer = self.customer.value();
        let created_at = customer
            .and_then(|customer| customer.created)
            .map(Timestamp::from_seconds);
        let value = serde_json::json!({
            "id": id,
            "stripeCustomerId": id,
            "tenantId": self.owner.tenant,
            "merchantAccountId": scope.0,
            "createdAt": created_at.map(Timestamp::rfc3339),
            "deletedAt": self.deleted_at.map(Timestamp::rfc3339),
            "email": null, "name": null, "taxIds": [],
        });
        let personal = customer
            .filter(|_| !self.is_erased)
            .map(|customer| Personal {
                subject: customer_subject(scope, id),
                fields: serde_json::json!({
                    "email": customer.email, "name": customer.name, "taxIds": customer.tax_ids,
                })
                .to_string()
                .into_bytes(),
            });
        Row {
            kind: RowKind::Customer,
            scope: scope.clone(),
            id: id.to_string(),
            tenant: self.owner.tenant.clone(),
            created_at,
            status: if self.deleted_at.is_some() {
                "deleted"
            } else {
                "active"
            }
            .to_owned(),
            hidden: false,
            value: text_of(&value),
            personal,
        }
    }
}

fn parts(key: &AggregateKey) -> (&Scope, &CustomerId) {
    match key {
        AggregateKey::Customer(scope, id) => (scope, id),
        other => unreachable!("{other} is no customer"),
    }
}

impl Reducer for CustomerState {
    fn references(&self, key: &AggregateKey, fact: &Fact, settings: &Settings) -> Vec<LinkKey> {
        let mut owner = self.owner.clone();
        let (scope, _) = parts(key);
        if let Some(account) = &scope.0 {
            owner.refer(LinkKey::Merchant(account.clone()));
        }
        match fact {
            Fact::Event(event) => {
                if let Object::Customer(customer) = &event.object {
                    owner.read_metadata(&customer.metadata, Timestamp(0), "", settings);
                }
            }
            Fact::Message(envelope) => {
                owner.hear(&envelope.message);
            }
            Fact::Answer(answer) => {
                if let Some(Ok(customer)) = answer.json().map(read_object::<Customer>) {
                    owner.read_metadata(&customer.metadata, Timestamp(0), "", settings);
                }
            }
            Fact::Called(_) | Fact::Timer(_) | Fact::Order(_) => {}
        }
        owner.lookups()
    }

    fn join(&mut self, key: &AggregateKey, fact: &Fact, _: &Cause, ctx: &Ctx<'_>) -> Outcome {
        let (scope, id) = parts(key);
        if let Some(account) = &scope.0 {
            self.owner.refer(LinkKey::Merchant(account.clone()));
        }
        if let Some(answer) = answer_in(fact) {
            return self.join_answer(id, answer, ctx);
        }
        match fact {
            Fact::Event(event) => match &event.object {
                Object::Customer(customer) => {
                    let mut customer = customer.clone();
                    if event.kind == "customer.deleted" || customer.deleted == Some(true) {
                        customer.deleted = Some(true);
                        earliest(&mut self.deleted_at, event.created);
                    }
                    self.join_customer(&customer, Origin::of(event), ctx)
                }
                // `invoice.upcoming` of a customer: told, nothing to keep.
                _ => Outcome::applied(id.as_str()),
            },
            Fact::Message(envelope) => {
                match &envelope.message {
                    Message::Hello { tenant } => self.greet(&envelope.from, tenant.clone()),
                    message => {
                        self.owner.hear(message);
                    }
                }
                Outcome::applied(id.as_str())
            }
            Fact::Order(Order::Erase {}) => {
                self.is_erased = true;
                Outcome::applied(id.as_str()).saying("personal fields erased")
            }
            Fact::Answer(_) | Fact::Called(_) | Fact::Timer(_) | Fact::Order(_) => {
                Outcome::ignored(id.as_str(), "not for a customer")
            }
        }
    }

    fn settle(&mut self, _: &AggregateKey, ctx: &Ctx<'_>) {
        self.owner.settle(ctx, false);
        if self.is_erased {
            self.customer.forget();
        }
    }

    fn project(&self, key: &AggregateKey) -> Projection {
        let (scope, id) = parts(key);
        let mut projection = Projection {
            // An erased one holds nothing personal: its key is to go.
            subject: (!self.is_erased).then(|| customer_subject(scope, id)),
            ..Projection::default()
        };
        let parents: Vec<AggregateKey> = scope
            .0
            .iter()
            .cloned()
            .map(AggregateKey::Merchant)
            .collect();
        self.owner.project(&mut projection, key, &parents);
        projection.ids.insert(id.to_string());
        if self.customer.value().is_some() || self.owner.tenant.is_some() {
            projection.row(self.row(scope, id));
        }
        let link = LinkKey::Customer(scope.clone(), id.clone());
        if let Some(tenant) = &self.owner.tenant {
            let target = LinkTarget {
                tenant: Some(tenant.clone()),
            };
            projection.links.insert(link.clone(), target);
            if *scope == Scope::PLATFORM {
                let summary = CustomerSummary {
                    created: self
                        .customer
                        .value()
                        .and_then(|customer| customer.created)
                        .map(Timestamp::from_seconds),
                    deleted: self.deleted_at.is_some(),
                };
                let message = Message::CustomerSummary {
                    scope: scope.clone(),
                    id: id.clone(),
                    summary: Some(summary),
                };
                projection.tell(AggregateKey::Tenant(tenant.clone()), id.as_str(), message);
            }
            for (child, thinks) in &self.children {
                if thinks.as_ref() != Some(tenant) {
                    let message = Message::Relinked {
                        key: link.clone(),
                        tenant: Some(tenant.clone()),
                    };
                    projection.tell(child.clone(), id.as_str(), message);
                }
            }
        }
        projection
    }

    fn effects(
        &self,
        old: &Self,
        key: &AggregateKey,
        _: &Cause,
        ctx: &Ctx<'_>,
    ) -> Vec<EffectIntent> {
        let (scope, id) = parts(key);
        let mut effects = Vec::new();
        effects.extend(self.owner.conflict(&old.owner, key, id.as_str(), ctx.now));
        let moved = old.owner.tenant.is_some() && old.owner.tenant != self.owner.tenant;
        if moved && self.is_crowded {
            let alert = Effect::Alert(Alert {
                code: "link_conflict_children".to_owned(),
                tenant: self.owner.tenant.clone(),
                object_id: id.to_string(),
                text: format!("{id} moved to another tenant; its oldest objects must be replayed"),
            });
            let moved_to = self.owner.tenant.as_ref().map_or("", TenantId::as_str);
            effects.push(alert.intent(key, moved_to, ctx.now, None));
        }
        if self.customer.is_tied() && !old.customer.is_tied() {
            let reread = Effect::Reread(Reread {
                scope: scope.clone(),
                target: RereadTarget::Customer(id.clone()),
            });
            let at = self.customer.at().unwrap_or_default();
            let due_at = self.customer.asked_at(ctx.now);
            effects.push(reread.intent(key, &format!("tie:{}", at.0), due_at, None));
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::EntrySource;
    use crate::message::Envelope;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn key() -> AggregateKey {
        AggregateKey::parse("customer:/cus_1").unwrap()
    }

    fn cause() -> Cause {
        Cause {
            source: EntrySource::Event,
            source_id: "evt_1".to_owned(),
            kind: "hello".to_owned(),
            at: Timestamp(0),
        }
    }

    fn join(state: &mut CustomerState, fact: &Fact) -> Outcome {
        let settings = Settings::default();
        let ctx = Ctx {
            now: Timestamp(0),
            settings: &settings,
            links: &BTreeMap::new(),
            shown_version: None,
        };
        state.join(&key(), fact, &cause(), &ctx)
    }

    fn greeted(state: &mut CustomerState, n: usize) {
        let message = Message::Hello { tenant: None };
        let from = AggregateKey::parse(&format!("payment:/pi_{n:02}")).unwrap();
        let envelope = Envelope {
            cause: cause(),
            from,
            message,
        };
        join(state, &Fact::Message(Box::new(envelope)));
    }

    fn answered(state: &mut CustomerState, body: &serde_json::Value) {
        let answer = Answer {
            target: RereadTarget::Customer(CustomerId::parse("cus_1").unwrap()),
            status: 200,
            date: 1_747_044_000,
            body: serde_json::value::RawValue::from_string(body.to_string()).ok(),
        };
        join(state, &Fact::Answer(Box::new(answer)));
    }

    #[test]
    fn an_answer_that_it_is_deleted_keeps_what_was_known() {
        let mut state = CustomerState::default();
        let known = json!({ "id": "cus_1", "object": "customer", "created": 5, "name": "Ada" });
        answered(&mut state, &known);
        assert_eq!(state.deleted_at, None);
        answered(&mut state, &json!({ "id": "cus_1", "deleted": true }));
        assert!(state.deleted_at.is_some());
        let value = state.customer.value().unwrap();
        assert_eq!(
            (value.deleted, value.name.as_deref()),
            (Some(true), Some("Ada"))
        );
    }

    #[test]
    fn of_more_children_than_are_remembered_one_is_forgotten_and_a_move_is_alerted() {
        let moved = |crowded: bool, from: Option<&str>, to: &str| {
            let tenant = |id: &str| TenantId::parse(id).ok();
            let of = |id: Option<&str>| {
                let mut state = CustomerState {
                    is_crowded: crowded,
                    ..CustomerState::default()
                };
                state.owner.tenant = id.and_then(tenant);
                state
            };
            let settings = Settings::default();
            let ctx = Ctx {
                now: Timestamp(0),
                settings: &settings,
                links: &BTreeMap::new(),
                shown_version: None,
            };
            let effects = of(Some(to)).effects(&of(from), &key(), &cause(), &ctx);
            effects
                .into_iter()
                .map(|effect| effect.kind)
                .collect::<Vec<_>>()
        };
        let mut state = CustomerState::default();
        for n in 0..64 {
            greeted(&mut state, n);
        }
        assert_eq!((state.children.len(), state.is_crowded), (64, false));
        greeted(&mut state, 64);
        assert_eq!((state.children.len(), state.is_crowded), (64, true));
        assert_eq!(
            moved(true, Some("t1"), "t2"),
            ["alert.link_conflict_children"]
        );
        assert_eq!(moved(false, Some("t1"), "t2"), Vec::<String>::new());
        assert_eq!(moved(true, None, "t2"), Vec::<String>::new());
        assert_eq!(moved(true, Some("t2"), "t2"), Vec::<String>::new());
    }

    #[test]
    fn only_children_that_think_otherwise_are_told_whose_it_is() {
        let mut state = CustomerState::default();
        state.owner.tenant = TenantId::parse("t1").ok();
        for (child, thinks) in [("pi_1", None), ("pi_2", Some("t1")), ("pi_3", Some("t2"))] {
            let child = AggregateKey::parse(&format!("payment:/{child}")).unwrap();
            state.greet(&child, thinks.and_then(|id| TenantId::parse(id).ok()));
        }
        let messages = state.project(&key()).messages.into_values();
        let told = messages.filter(|slot| matches!(slot.message, Message::Relinked { .. }));
        let mut told: Vec<String> = told.map(|slot| slot.to.to_string()).collect();
        told.sort();
        assert_eq!(told, ["payment:/pi_1", "payment:/pi_3"]);
    }
}
