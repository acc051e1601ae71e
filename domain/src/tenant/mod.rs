//! The tenant reducer: status, plan, licence, credits, contract, archive, decided over all parts.
//!
//! A tenant keeps what its parts last said of themselves and what operators ordered; all it shows
//! follows from that.
//!
//! Invariants: parts are absolute summaries, so their order does not matter; credits are sums of
//! differences told exactly once. At most `SUBSCRIPTIONS_MAX` subscriptions are kept, living ones
//! first, then those that ended last; what was dropped lives on in `ended_last`.
//! Not here: grace, periods (`subscription`), grants (`session`), reversals (`payment`).
//! Source: contract §4.

mod notices;
pub mod orders;
mod status;
#[cfg(test)]
mod tests;
pub mod view;

pub use view::{
    Entitlement, EntitlementError, LicenseView, SubscriptionView, TenantView, entitlement,
    features, features_now,
};

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::EffectIntent;
use crate::fact::{Fact, Order};
use crate::ids::{AccountId, CustomerId, Scope, SessionId, SubscriptionId, TenantId, Timestamp};
use crate::input::Ctx;
use crate::link::{LinkKey, LinkTarget};
use crate::message::{
    Cause, CustomerSummary, MerchantSummary, Message, SubscriptionSummary, Sums, TenantNamed,
};
use crate::project::Projection;
use crate::rows::{Personal, Row, RowKind, Subject, text_of};
use crate::settings::Settings;
use serde::{Deserialize, Serialize};
use status::Standing;
use std::collections::BTreeMap;

/// Most subscriptions kept.
const SUBSCRIPTIONS_MAX: usize = 32;
/// Most customers, accounts, payments of credits kept.
const PARTS_MAX: usize = 16;

/// What is known of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TenantState {
    /// When it came to exist: the earliest word.
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) contract_reference: Option<String>,
    /// Whether a program or person created it (and gave name and address).
    pub(crate) is_ordered: bool,
    /// Whoever a Payment Link's payer said to be: the least by (time, session).
    visitor: Option<(Timestamp, SessionId, Option<String>, Option<String>)>,
    #[serde(with = "crate::pairs")]
    pub(crate) subscriptions: BTreeMap<(Scope, SubscriptionId), SubscriptionSummary>,
    /// The latest end of a subscription that is no longer kept.
    pub(crate) ended_last: Option<Timestamp>,
    #[serde(with = "crate::pairs")]
    pub(crate) customers: BTreeMap<(Scope, CustomerId), CustomerSummary>,
    pub(crate) merchants: BTreeMap<AccountId, MerchantSummary>,
    pub(crate) granted: i64,
    pub(crate) reversed: i64,
    pub(crate) debited: i64,
    /// When credits were paid for, by who says so; the latest ones.
    #[serde(with = "crate::pairs")]
    credits_paid: BTreeMap<AggregateKey, Timestamp>,
    /// Debits written by the decision at hand; shown as entries, not kept.
    #[serde(skip)]
    entry: Option<(String, u64, String, Timestamp)>,
    /// Commands linked by the decision at hand; not kept.
    #[serde(skip)]
    linked: Option<LinkKey>,
    is_erased: bool,
    /// Derived.
    pub(crate) standing: Standing,
    livemode: bool,
}

impl TenantState {
    /// Granted less reversed less debited.
    pub(crate) const fn credits(&self) -> i64 {
        self.granted
            .saturating_sub(self.reversed)
            .saturating_sub(self.debited)
    }

    /// The name orders gave, else the payer's.
    fn shown_name(&self) -> Option<String> {
        let visitor = self.visitor.as_ref().and_then(|visitor| visitor.2.clone());
        cleared(self.name.clone().or(visitor))
    }

    fn shown_email(&self) -> Option<String> {
        let visitor = self.visitor.as_ref().and_then(|visitor| visitor.3.clone());
        cleared(self.email.clone().or(visitor))
    }

    fn exist_since(&mut self, at: Timestamp) {
        self.created_at = Some(self.created_at.map_or(at, |known| known.min(at)));
    }

    fn join_named(&mut self, named: &TenantNamed) {
        self.exist_since(named.at);
        if self.is_erased {
            return;
        }
        if named.name.is_some() || named.email.is_some() {
            let said = (
                named.at,
                named.session.clone(),
                named.name.clone(),
                named.email.clone(),
            );
            self.visitor = Some(match self.visitor.take() {
                Some(known) => known.min(said),
                None => said,
            });
        }
    }

    /// When credits were paid for last.
    pub(crate) fn credits_paid_at(&self) -> Option<Timestamp> {
        self.credits_paid.values().max().copied()
    }

    fn join_credits(&mut self, from: &AggregateKey, old: &Sums, new: &Sums) {
        self.granted = self.granted.saturating_add(new.granted - old.granted);
        self.reversed = self.reversed.saturating_add(new.reversed - old.reversed);
        match new.paid_at {
            Some(at) => self.credits_paid.insert(from.clone(), at),
            None => self.credits_paid.remove(from),
        };
        while self.credits_paid.len() > PARTS_MAX {
            let oldest = self
                .credits_paid
                .iter()
                .min_by_key(|(from, at)| (**at, (*from).clone()));
            let oldest = oldest.map(|(from, _)| from.clone());
            oldest.and_then(|from| self.credits_paid.remove(&from));
        }
    }

    fn join_subscription(
        &mut self,
        scope: &Scope,
        id: &SubscriptionId,
        summary: Option<&SubscriptionSummary>,
    ) {
        let key = (scope.clone(), id.clone());
        match summary {
            Some(summary) => self.subscriptions.insert(key, summary.clone()),
            None => self.subscriptions.remove(&key),
        };
        while self.subscriptions.len() > SUBSCRIPTIONS_MAX {
            let first = self
                .subscriptions
                .iter()
                .min_by_key(|(key, summary)| {
                    let lives = summary.ended_at.is_none();
                    (lives, summary.ended_at.or(summary.created), (*key).clone())
                })
                .map(|(key, _)| key.clone());
            let dropped = first.and_then(|key| self.subscriptions.remove(&key));
            let ended = dropped.and_then(|summary| summary.ended_at);
            self.ended_last = self.ended_last.max(ended);
        }
    }

    fn join_message(&mut self, from: &AggregateKey, message: &Message, id: &TenantId) -> Outcome {
        match message {
            Message::TenantNamed(named) => self.join_named(named),
            Message::SubscriptionSummary { scope, id, summary } => {
                self.join_subscription(scope, id, summary.as_ref());
            }
            Message::CustomerSummary { scope, id, summary } => {
                let key = (scope.clone(), id.clone());
                match summary {
                    Some(summary) => self.customers.insert(key, summary.clone()),
                    None => self.customers.remove(&key),
                };
                while self.customers.len() > PARTS_MAX {
                    self.customers.pop_first();
                }
            }
            Message::MerchantSummary { account, summary } => {
                match summary {
                    Some(summary) => self.merchants.insert(account.clone(), summary.clone()),
                    None => self.merchants.remove(account),
                };
                while self.merchants.len() > PARTS_MAX {
                    self.merchants.pop_first();
                }
            }
            Message::CreditSums { old, new } => self.join_credits(from, old, new),
            _ => return Outcome::ignored(id.as_str(), "not for a tenant"),
        }
        Outcome::applied(id.as_str())
    }

    fn row(&self, id: &TenantId) -> Row {
        let standing = &self.standing;
        let text = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        let subscriptions: Vec<serde_json::Value> = status::ranked(&self.subscriptions)
            .into_iter()
            .map(|(key, summary)| view::subscription_json(key, summary))
            .collect();
        let value = serde_json::json!({
            "tenantId": id,
            "name": null,
            "email": null,
            "timezone": cleared(self.timezone.clone()),
            "metadata": self.metadata,
            "status": standing.status,
            "planId": standing.plan_id,
            "priceId": standing.price_id,
            "credits": self.credits(),
            "createdAt": text(self.created_at),
            "archivedAt": text(standing.archived_at),
            "livemode": self.livemode,
            "license": {
                "state": standing.license.as_str(),
                "validUntil": text(standing.valid_until),
                "graceUntil": text(standing.grace_until),
                "stale": standing.is_stale,
                "features": standing.features,
            },
            "contract": self.contract_json(),
            "stripeCustomerId": self.customer(),
            "merchantAccountId": self.merchant(),
            "subscription": subscriptions.first().filter(|_| standing.shows_subscription),
            "subscriptions": subscriptions,
        });
        let personal = serde_json::json!({
            "name": self.shown_name(), "email": self.shown_email(),
        });
        Row {
            kind: RowKind::Tenant,
            scope: Scope::PLATFORM,
            id: id.to_string(),
            tenant: Some(id.clone()),
            created_at: self.created_at,
            status: standing.status.clone(),
            hidden: standing.archived_at.is_some(),
            value: text_of(&value),
            personal: (!self.is_erased).then(|| Personal {
                subject: subject(id),
                fields: text_of(&personal),
            }),
        }
    }

    fn contract_json(&self) -> Option<serde_json::Value> {
        let text = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        let standing = &self.standing;
        let reference = cleared(self.contract_reference.clone());
        if reference.is_none() && standing.started_at.is_none() {
            return None;
        }
        Some(serde_json::json!({
            "reference": reference,
            "startedAt": text(standing.started_at),
            "expiresAt": text(standing.expires_at),
            "endedAt": text(standing.ended_at),
            "endReason": standing.end_reason,
        }))
    }

    /// The customer that pays: of those not deleted the newest.
    fn customer(&self) -> Option<&CustomerId> {
        let living = self
            .customers
            .iter()
            .filter(|(_, summary)| !summary.deleted);
        living
            .max_by_key(|(key, summary)| (summary.created, (*key).clone()))
            .map(|((_, id), _)| id)
    }

    /// The connected account: of those still authorized the newest.
    fn merchant(&self) -> Option<&AccountId> {
        let living = self
            .merchants
            .iter()
            .filter(|(_, summary)| !summary.deauthorized);
        living
            .max_by_key(|(id, summary)| (summary.created, (*id).clone()))
            .map(|(id, _)| id)
    }
}

/// A text as shown: an order clears one by making it empty.
fn cleared(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The subject of a tenant's own personal fields.
pub fn subject(id: &TenantId) -> Subject {
    Subject(format!("tenant:{id}"))
}

fn tenant_of(key: &AggregateKey) -> &TenantId {
    match key {
        AggregateKey::Tenant(id) => id,
        other => unreachable!("{other} is no tenant"),
    }
}

impl Reducer for TenantState {
    fn references(&self, key: &AggregateKey, fact: &Fact, _: &Settings) -> Vec<LinkKey> {
        match fact {
            Fact::Order(Order::CreditsDebit { reference, .. }) => {
                vec![orders::debit_key(tenant_of(key), reference)]
            }
            _ => Vec::new(),
        }
    }

    fn join(&mut self, key: &AggregateKey, fact: &Fact, _: &Cause, ctx: &Ctx<'_>) -> Outcome {
        let id = tenant_of(key);
        match fact {
            Fact::Message(envelope) => self.join_message(&envelope.from, &envelope.message, id),
            Fact::Order(order) => self.join_order(id, order, ctx),
            Fact::Timer(_) => Outcome::applied(id.as_str()),
            Fact::Event(_) | Fact::Answer(_) | Fact::Called(_) => {
                Outcome::ignored(id.as_str(), "not for a tenant")
            }
        }
    }

    fn settle(&mut self, _: &AggregateKey, ctx: &Ctx<'_>) {
        self.livemode = ctx.settings.livemode;
        self.standing = status::derive(self, &ctx.settings.catalogue);
    }

    fn project(&self, key: &AggregateKey) -> Projection {
        let id = tenant_of(key);
        let mut projection = Projection::default();
        if self.created_at.is_none() {
            return projection;
        }
        projection.tenant = Some(id.clone());
        // An erased one holds nothing personal: its key is to go.
        projection.subject = (!self.is_erased).then(|| subject(id));
        projection.ids.insert(id.to_string());
        projection.row(self.row(id));
        let target = LinkTarget {
            tenant: Some(id.clone()),
        };
        projection
            .links
            .insert(LinkKey::Tenant(id.clone()), target.clone());
        if let Some(row) = self.entry_row(id) {
            projection.row(row);
        }
        if let Some(key) = &self.linked {
            projection.links.insert(key.clone(), target);
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
        notices::effects(self, old, key, cause, ctx)
    }
}
