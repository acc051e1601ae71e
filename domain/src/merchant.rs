//! The merchant: a connected account, its capabilities, and whose it is.
//!
//! Invariants: the newest word on the account holds (`register`; several in one second are settled
//! by a re-read), per capability likewise. A deauthorization holds until the account itself is heard
//! of at a *later* second: whoever connects again sends `account.updated` again, while stragglers of
//! the time before (and of the same second) change nothing. While it holds, nothing can be charged
//! or paid out through the platform, so both read false. No personal field is kept.
//! Whose it is: the least claim of our command that made it, then of its metadata.
//! What is sold on it never claims it: its merchant writes that metadata. At most `CHILDREN_MAX` of
//! what refers to it are told when it changes hands; beyond, `link_conflict_children` is alerted and
//! the forgotten ones keep their tenant until their next event.
//! Not here: payouts (installation), payments of the account (payment).
//! Source: contract §3 (Connect), §4; Stripe API reference, "The Account object", "Capabilities".

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::EffectIntent;
use crate::effect::{Alert, Effect, Notify};
use crate::fact::Fact;
use crate::ids::{AccountId, Scope, TenantId, Timestamp};
use crate::input::Ctx;
use crate::link::{LinkKey, LinkTarget};
use crate::message::{Cause, Envelope, MerchantSummary, Message};
use crate::ownership::Ownership;
use crate::project::Projection;
use crate::register::{Joined, Origin, Ranked, Register};
use crate::reread::{Answer, Reread, RereadTarget};
use crate::rows::{Row, RowKind, text_of};
use crate::settings::Settings;
use crate::stripe_wire::{Account, Capability, Object, read_object};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most capabilities kept (Stripe's documentation lists about fifty).
const CAPABILITIES_MAX: usize = 64;
/// Most children remembered for being told of another tenant.
const CHILDREN_MAX: usize = 64;
/// What `disabledReason` says after a deauthorization Stripe gave no reason for.
const DEAUTHORIZED: &str = "application.deauthorized";

impl Ranked for Account {
    fn is_final(&self) -> bool {
        false
    }
    /// Onboarding goes forward: of one second, the more enabled word is taken until the re-read.
    fn rank(&self) -> u8 {
        [
            self.charges_enabled,
            self.payouts_enabled,
            self.details_submitted,
        ]
        .iter()
        .map(|flag| u8::from(flag.unwrap_or(false)))
        .sum()
    }
}

impl Ranked for Capability {
    fn is_final(&self) -> bool {
        false
    }
    fn rank(&self) -> u8 {
        match self.status.as_deref().unwrap_or_default() {
            "active" => 2,
            "pending" => 1,
            _ => 0,
        }
    }
}

/// What is known of a connected account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MerchantState {
    account: Register<Account>,
    capabilities: BTreeMap<String, Register<Capability>>,
    /// The latest deauthorization.
    deauthorized_at: Option<Timestamp>,
    owner: Ownership,
    /// Who refers to it, and whose each thinks it is.
    #[serde(with = "crate::pairs")]
    children: BTreeMap<AggregateKey, Option<TenantId>>,
    /// Whether a child was forgotten.
    is_crowded: bool,
}

fn account_of(key: &AggregateKey) -> Option<&AccountId> {
    match key {
        AggregateKey::Merchant(account) => Some(account),
        _ => None,
    }
}

impl MerchantState {
    fn join_account(&mut self, account: &Account, origin: Origin, settings: &Settings) -> Joined {
        let created = Timestamp::from_seconds(account.created.unwrap_or_default());
        let id = account.id.as_deref().unwrap_or_default();
        let before = self.owner.clone();
        let metadata = &account.metadata;
        self.owner.read_metadata(metadata, created, id, settings);
        let learnt = before != self.owner;
        let kept = Account {
            email: None,
            ..account.clone()
        };
        let joined = self.account.join(kept, origin);
        if learnt { Joined::Kept } else { joined }
    }

    fn join_capability(&mut self, capability: &Capability, origin: Origin) -> Joined {
        let name = capability.id.clone().unwrap_or_default();
        let register = self.capabilities.entry(name).or_default();
        let joined = register.join(capability.clone(), origin);
        while self.capabilities.len() > CAPABILITIES_MAX {
            self.capabilities.pop_last();
        }
        joined
    }

    fn join_event(&mut self, event: &crate::stripe_wire::Event, settings: &Settings) -> Joined {
        let origin = Origin::of(event);
        match &event.object {
            Object::Account(account) => self.join_account(account, origin, settings),
            Object::Capability(capability) => self.join_capability(capability, origin),
            Object::Deauthorized => {
                let before = self.deauthorized_at;
                self.deauthorized_at = before.max(Some(event.created));
                match (
                    before == self.deauthorized_at,
                    before == Some(event.created),
                ) {
                    (true, true) => Joined::Same,
                    (true, false) => Joined::Older,
                    (false, _) => Joined::Kept,
                }
            }
            _ => Joined::Same,
        }
    }

    fn join_answer(&mut self, answer: &Answer, settings: &Settings) -> Joined {
        let account = answer.json().and_then(|json| read_object(json).ok());
        account.map_or(Joined::Same, |account: Account| {
            self.join_account(&account, Origin::reread(answer.at()), settings)
        })
    }

    fn join_message(&mut self, envelope: &Envelope, settings: &Settings) -> Joined {
        if let Message::Answer(answer) = &envelope.message {
            return self.join_answer(answer, settings);
        }
        let news = match &envelope.message {
            Message::Hello { tenant } => {
                let known = self.children.insert(envelope.from.clone(), tenant.clone());
                while self.children.len() > CHILDREN_MAX {
                    self.children.pop_last();
                    self.is_crowded = true;
                }
                known.as_ref() != Some(tenant)
            }
            Message::Claim { claim } if matches!(envelope.from, AggregateKey::Command(_)) => {
                self.owner.claim(claim.clone())
            }
            _ => false,
        };
        if news { Joined::Kept } else { Joined::Same }
    }

    /// Disconnected, and not heard of since.
    fn deauthorized(&self) -> bool {
        let heard = self.account.at();
        self.deauthorized_at
            .is_some_and(|at| heard.is_none_or(|heard| heard.seconds() <= at.seconds()))
    }

    fn summary(&self) -> MerchantSummary {
        let deauthorized = self.deauthorized();
        let account = self.account.value().cloned().unwrap_or_default();
        let may = |flag: Option<bool>| flag.unwrap_or(false) && !deauthorized;
        MerchantSummary {
            created: account.created.map(Timestamp::from_seconds),
            charges_enabled: may(account.charges_enabled),
            payouts_enabled: may(account.payouts_enabled),
            details_submitted: account.details_submitted.unwrap_or(false),
            deauthorized,
            disabled_reason: account
                .disabled_reason
                .or_else(|| deauthorized.then(|| DEAUTHORIZED.to_owned())),
        }
    }

    fn status(&self) -> &'static str {
        let summary = self.summary();
        let due = self.account.value().is_some_and(|a| !a.past_due.is_empty());
        match summary {
            _ if summary.deauthorized => "deauthorized",
            _ if summary.disabled_reason.is_some() || due => "restricted",
            _ if summary.charges_enabled => "enabled",
            _ => "pending",
        }
    }

    fn row(&self, account: &AccountId) -> Option<Row> {
        let heard = self.account.value().is_some()
            || self.deauthorized_at.is_some()
            || !self.capabilities.is_empty();
        if !heard {
            return None;
        }
        let summary = self.summary();
        let said = self.account.value().cloned().unwrap_or_default();
        let text = |at: Option<Timestamp>| at.map(Timestamp::rfc3339);
        let capabilities: BTreeMap<&String, Option<&str>> = self
            .capabilities
            .iter()
            .map(|(name, register)| (name, register.value().and_then(|c| c.status.as_deref())))
            .collect();
        let value = json!({
            "id": account.as_str(),
            "merchantAccountId": account.as_str(),
            "tenantId": self.owner.tenant.as_ref().map(|tenant| tenant.as_str()),
            "chargesEnabled": summary.charges_enabled,
            "payoutsEnabled": summary.payouts_enabled,
            "detailsSubmitted": summary.details_submitted,
            "requirements": {
                "currentlyDue": said.currently_due,
                "pastDue": said.past_due,
                "pendingVerification": said.pending_verification,
                "currentDeadline": text(said.current_deadline.map(Timestamp::from_seconds)),
            },
            "disabledReason": summary.disabled_reason,
            "deauthorized": summary.deauthorized,
            "capabilities": capabilities,
            "createdAt": text(summary.created),
        });
        Some(Row {
            kind: RowKind::Merchant,
            scope: Scope::PLATFORM,
            id: account.to_string(),
            tenant: self.owner.tenant.clone(),
            created_at: summary.created,
            status: self.status().to_owned(),
            hidden: false,
            value: text_of(&value),
            personal: None,
        })
    }

    /// The notifications of a change from `old`.
    fn notifications(
        &self,
        old: &Self,
        account: &AccountId,
        cause: &Cause,
    ) -> Vec<(Effect, String)> {
        let (before, Some(row)) = (old.row(account), self.row(account)) else {
            return Vec::new();
        };
        let shown = |row: &Row| -> Option<Value> {
            let mut value: Value = serde_json::from_slice(&row.value).ok()?;
            value.as_object_mut()?.remove("tenantId");
            Some(value)
        };
        let (Some(tenant), Some(object)) = (&self.owner.tenant, shown(&row)) else {
            return Vec::new();
        };
        if before.as_ref().and_then(shown).as_ref() == Some(&object) {
            return Vec::new();
        }
        let notify = |kind: &str| {
            Effect::Notify(Notify {
                kind: kind.to_owned(),
                tenant: tenant.clone(),
                object: object.clone(),
                cause: cause.clone(),
            })
        };
        let newest = self.capabilities.values().filter_map(Register::at).max();
        let at = newest.max(self.account.at()).unwrap_or_default().seconds();
        if self.deauthorized() {
            let at = self.deauthorized_at.unwrap_or_default().seconds();
            return vec![(notify("merchant.deauthorized"), format!("{account}:{at}"))];
        }
        vec![(
            notify("merchant.updated"),
            format!("{account}:{at}:{object}"),
        )]
    }

    /// Alerts and re-reads the state calls for, by business key.
    fn calls(&self, account: &AccountId) -> BTreeMap<String, Effect> {
        let mut all = BTreeMap::new();
        let alert = |code: &str, text: String| {
            Effect::Alert(Alert {
                code: code.to_owned(),
                tenant: self.owner.tenant.clone(),
                object_id: account.to_string(),
                text,
            })
        };
        if let Some(at) = self.deauthorized_at.filter(|_| self.deauthorized()) {
            let text = format!("merchant {account} disconnected itself from the platform");
            let business_key = format!("deauthorized:{}", at.seconds());
            all.insert(business_key, alert("merchant_deauthorized", text));
        }
        if let Some(tenant) = self.owner.tenant.as_ref().filter(|_| self.is_crowded) {
            let text = format!("{account} belongs to {tenant}; not all of its objects may know");
            let business_key = format!("children:{tenant}");
            all.insert(business_key, alert("link_conflict_children", text));
        }
        if let Some(at) = self.account.at().filter(|_| self.account.is_tied()) {
            let reread = Reread {
                scope: Scope::PLATFORM,
                target: RereadTarget::Account(account.clone()),
            };
            all.insert(format!("tie:{}", at.seconds()), Effect::Reread(reread));
        }
        all
    }
}

impl Reducer for MerchantState {
    fn references(&self, _: &AggregateKey, fact: &Fact, settings: &Settings) -> Vec<LinkKey> {
        let mut after = self.clone();
        match fact {
            Fact::Event(event) => {
                after.join_event(event, settings);
            }
            Fact::Answer(answer) => {
                after.join_answer(answer, settings);
            }
            Fact::Message(envelope) => {
                after.join_message(envelope, settings);
            }
            Fact::Called(_) | Fact::Timer(_) | Fact::Order(_) => {}
        }
        after.owner.lookups()
    }

    fn join(&mut self, key: &AggregateKey, fact: &Fact, _: &Cause, ctx: &Ctx<'_>) -> Outcome {
        let id = account_of(key).map_or_else(String::new, ToString::to_string);
        let joined = match fact {
            Fact::Event(event) => self.join_event(event, ctx.settings),
            Fact::Answer(answer) => self.join_answer(answer, ctx.settings),
            Fact::Message(envelope) => self.join_message(envelope, ctx.settings),
            Fact::Called(_) | Fact::Timer(_) | Fact::Order(_) => {
                return Outcome::ignored(id, "not for a merchant");
            }
        };
        Outcome::of(joined, id)
    }

    fn settle(&mut self, _: &AggregateKey, ctx: &Ctx<'_>) {
        self.owner.settle(ctx, false);
    }

    fn project(&self, key: &AggregateKey) -> Projection {
        let mut projection = Projection::default();
        let Some(account) = account_of(key) else {
            return projection;
        };
        if let Some(row) = self.row(account) {
            projection.row(row);
        }
        self.owner.project(&mut projection, key, &[]);
        if let Some(tenant) = &self.owner.tenant {
            let link = LinkKey::Merchant(account.clone());
            let target = LinkTarget {
                tenant: Some(tenant.clone()),
            };
            projection.links.insert(link.clone(), target);
            let message = Message::MerchantSummary {
                account: account.clone(),
                summary: Some(self.summary()),
            };
            let to = AggregateKey::Tenant(tenant.clone());
            projection.tell(to, account.to_string(), message);
            let thinks_otherwise = |of: &Option<TenantId>| of.as_ref() != Some(tenant);
            let told = self.children.iter().filter(|(_, of)| thinks_otherwise(of));
            for (child, _) in told {
                let message = Message::Relinked {
                    key: link.clone(),
                    tenant: Some(tenant.clone()),
                };
                projection.tell(child.clone(), account.to_string(), message);
            }
        }
        projection.ids = BTreeSet::from([account.to_string()]);
        projection
    }

    fn effects(
        &self,
        old: &Self,
        key: &AggregateKey,
        cause: &Cause,
        ctx: &Ctx<'_>,
    ) -> Vec<EffectIntent> {
        let Some(account) = account_of(key) else {
            return Vec::new();
        };
        let mut told = old.calls(account);
        if old.owner.tenant.is_none() || old.owner.tenant == self.owner.tenant {
            // Only a change of hands leaves the forgotten ones behind.
            told.extend(
                self.calls(account)
                    .into_iter()
                    .filter(|(business_key, _)| business_key.starts_with("children:")),
            );
        }
        let calls = self.calls(account).into_iter();
        let new = calls.filter(|(business_key, _)| !told.contains_key(business_key));
        let notifications = self.notifications(old, account, cause).into_iter();
        let conflict = self
            .owner
            .conflict(&old.owner, key, account.as_str(), ctx.now);
        new.map(|(business_key, effect)| (effect, business_key))
            .chain(notifications)
            .map(|(effect, business_key)| effect.intent(key, &business_key, ctx.now, None))
            .chain(conflict)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::EntrySource;
    use crate::ids::CommandId;
    use crate::link::{Claim, ClaimSource};

    #[test]
    fn the_command_that_made_it_claims_it_and_nothing_that_is_sold_on_it_does() {
        let claim = |from: &AggregateKey, tenant: &str| Envelope {
            cause: Cause {
                source: EntrySource::Command,
                source_id: "cmd_1".into(),
                kind: "call".into(),
                at: Timestamp(0),
            },
            from: from.clone(),
            message: Message::Claim {
                claim: Claim {
                    source: ClaimSource::Command,
                    created: Timestamp(0),
                    object_id: "cmd_1".into(),
                    tenant: TenantId::parse(tenant).unwrap(),
                },
            },
        };
        let settings = Settings::default();
        let mut state = MerchantState::default();
        let payment = AggregateKey::parse("payment:acct_m/pi_1").unwrap();
        state.join_message(&claim(&payment, "thief"), &settings);
        assert_eq!(state.owner, Ownership::default());
        let command = AggregateKey::Command(CommandId::parse("cmd_1").unwrap());
        state.join_message(&claim(&command, "shop"), &settings);
        let claimed = state.owner.claims.least().map(|claim| &claim.tenant);
        assert_eq!(claimed, Some(&TenantId::parse("shop").unwrap()));
    }

    #[test]
    fn a_merchants_word_is_the_first_that_holds() {
        let at = |seconds: i64| Timestamp::from_seconds(1_747_044_000 + seconds);
        let heard = |enabled: bool, past_due: &[&str], reason: Option<&str>| {
            let account = Account {
                charges_enabled: Some(enabled),
                past_due: past_due.iter().map(|due| (*due).to_owned()).collect(),
                disabled_reason: reason.map(str::to_owned),
                ..Account::default()
            };
            let mut state = MerchantState::default();
            state.account.join(account, Origin::reread(at(5)));
            state
        };
        assert_eq!(MerchantState::default().status(), "pending");
        assert_eq!(heard(false, &[], None).status(), "pending");
        assert_eq!(heard(true, &[], None).status(), "enabled");
        assert_eq!(heard(true, &["tax_id"], None).status(), "restricted");
        assert_eq!(heard(true, &[], Some("listed")).status(), "restricted");
        let account = AccountId::parse("acct_1").unwrap();
        for (left, status, reason) in [
            (4, "enabled", None),
            (5, "deauthorized", Some(DEAUTHORIZED)),
            (6, "deauthorized", Some(DEAUTHORIZED)),
        ] {
            let mut state = heard(true, &[], None);
            state.deauthorized_at = Some(at(left));
            let row = state.row(&account).unwrap();
            let value: Value = serde_json::from_slice(&row.value).unwrap();
            assert_eq!(row.status, status, "left at {left}");
            assert_eq!(value["disabledReason"], json!(reason), "left at {left}");
            assert_eq!(value["chargesEnabled"], json!(reason.is_none()));
        }
        assert!(MerchantState::default().row(&account).is_none());
    }

    #[test]
    fn of_more_than_are_kept_the_last_are_forgotten_and_that_is_remembered() {
        let settings = Settings::default();
        let hello = |n: usize, tenant: Option<&str>| Envelope {
            cause: Cause {
                source: EntrySource::Event,
                source_id: "evt_1".into(),
                kind: "hello".into(),
                at: Timestamp(0),
            },
            from: AggregateKey::parse(&format!("payment:acct_m/pi_{n:02}")).unwrap(),
            message: Message::Hello {
                tenant: tenant.and_then(|id| TenantId::parse(id).ok()),
            },
        };
        let mut state = MerchantState::default();
        let mut tell = |n, tenant| state.join_message(&hello(n, tenant), &settings);
        assert_eq!(tell(0, None), Joined::Kept);
        assert_eq!(tell(0, None), Joined::Same);
        assert_eq!(tell(0, Some("shop")), Joined::Kept);
        for n in 1..64 {
            tell(n, None);
        }
        assert_eq!((state.children.len(), state.is_crowded), (64, false));
        state.join_message(&hello(64, None), &settings);
        assert_eq!((state.children.len(), state.is_crowded), (64, true));
        for n in 0..70 {
            let capability = Capability {
                id: Some(format!("cap_{n:02}")),
                ..Capability::default()
            };
            state.join_capability(&capability, Origin::reread(Timestamp(1)));
            assert_eq!(state.capabilities.len(), (n + 1).min(64));
        }
    }
}
