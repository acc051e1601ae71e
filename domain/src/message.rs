//! Messages: what aggregates tell each other, written in the commit that changed the teller.
//!
//! Invariants: a summary is absolute (the whole truth of its sender, or `None` to take it back), so
//! it is idempotent per sender; only `CreditSums` are differences, told as (old, new).
//! A message carries its `Cause`, so that the receiver's timeline names the event behind it.

use crate::aggregate::AggregateKey;
use crate::command::Seen;
use crate::decision::EntrySource;
use crate::ids::{
    AccountId, CustomerId, InvoiceId, PaymentId, Scope, SessionId, SubscriptionId, TenantId,
    Timestamp,
};
use crate::link::{Claim, LinkKey};
use crate::reread::Answer;
use crate::rows::Subject;
use serde::{Deserialize, Serialize};

/// The outside fact behind a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Where it came from.
    pub source: EntrySource,
    /// The event's, order's, effect's or timer's id.
    pub source_id: String,
    /// The event type, or ours.
    pub kind: String,
    /// When it happened: the event's `created`, else when it was decided.
    pub at: Timestamp,
}

/// A message with its cause: the payload of `Outgoing`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// What caused it.
    pub cause: Cause,
    /// Who says it.
    pub from: AggregateKey,
    /// What is said.
    pub message: Message,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum Message {
    /// To customer, merchant, payment, subscription, invoice: an object's word on whose it is.
    Claim {
        /// The word.
        claim: Claim,
    },
    /// To customer or merchant: I refer to you; tell me when you belong to someone else than this.
    Hello {
        /// Whose the sender is at present.
        tenant: Option<TenantId>,
    },
    /// To whoever said hello with another tenant, or to oneself: look at the links again.
    Relinked {
        /// What is linked.
        key: LinkKey,
        /// To whom.
        tenant: Option<TenantId>,
    },
    /// Session to tenant: a genuine session names you, so you exist.
    TenantNamed(TenantNamed),
    /// Subscription to tenant.
    SubscriptionSummary {
        /// Its account.
        scope: Scope,
        /// Its id.
        id: SubscriptionId,
        /// Its summary; `None`: no longer yours.
        summary: Option<SubscriptionSummary>,
    },
    /// Customer to tenant.
    CustomerSummary {
        /// Its account.
        scope: Scope,
        /// Its id.
        id: CustomerId,
        /// Its summary; `None`: no longer yours.
        summary: Option<CustomerSummary>,
    },
    /// Merchant to tenant.
    MerchantSummary {
        /// The account.
        account: AccountId,
        /// Its summary; `None`: no longer yours.
        summary: Option<MerchantSummary>,
    },
    /// Session or payment to tenant: its credits changed from `old` to `new`.
    CreditSums {
        /// What was said before.
        old: Sums,
        /// What holds now.
        new: Sums,
    },
    /// Invoice to subscription.
    InvoiceFact {
        /// The invoice.
        invoice: InvoiceId,
        /// What it says of the subscription's period; `None`: nothing any more.
        fact: Option<InvoiceFact>,
    },
    /// Invoice to payment: you pay this invoice.
    PaysInvoice {
        /// The invoice.
        invoice: InvoiceId,
        /// Its subscription.
        subscription: Option<SubscriptionId>,
    },
    /// Session to payment: you bought these; `None` takes it back.
    GrantAttached {
        /// The session.
        session: SessionId,
        /// What was granted.
        grant: Option<Grant>,
    },
    /// Payment to subscription and session.
    PaymentOutcome {
        /// The payment.
        payment: PaymentId,
        /// What became of it.
        outcome: PaymentOutcome,
    },
    /// A re-read's or call's answer for an object the asker does not own.
    Answer(Answer),
    /// Whoever hears an event to the command under whose key it was made.
    CommandSeen(Seen),
    /// Command to command: I need the customer you make.
    CommandAwaited {},
    /// Command to those that wait for its customer.
    CommandEnded {
        /// The customer; `None`: there is none.
        customer: Option<CustomerId>,
        /// Why not.
        code: String,
    },
}

/// A genuine session names a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantNamed {
    /// `created` of the session.
    pub at: Timestamp,
    /// The session.
    pub session: SessionId,
    /// Name the payer gave, for a tenant made by the session (Payment Links).
    pub name: Option<String>,
    /// Address the payer gave: shown until an order gives one.
    pub email: Option<String>,
}

/// What a subscription says of itself to its tenant: everything the tenant's state needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscriptionSummary {
    /// Stripe's status word.
    pub status: String,
    /// The plan, if the price is in the catalogue.
    pub plan_id: Option<String>,
    /// The price of the deciding item.
    pub price_id: Option<String>,
    /// How many.
    pub quantity: Option<u64>,
    /// Stripe's present period end.
    pub current_period_end: Option<Timestamp>,
    /// Whether it ends with the period.
    pub cancel_at_period_end: bool,
    /// End of the trial.
    pub trial_end: Option<Timestamp>,
    /// Ids of discounts.
    pub discounts: Vec<String>,
    /// Stripe's `created`.
    pub created: Option<Timestamp>,
    /// When it really ended.
    pub ended_at: Option<Timestamp>,
    /// Why it ended, Stripe's word.
    pub end_reason: Option<String>,
    /// `active`, `grace`, `revoked`, `none`.
    pub license: LicenseState,
    /// End of the last paid period, or of the trial.
    pub valid_until: Option<Timestamp>,
    /// End of grace while in it.
    pub grace_until: Option<Timestamp>,
    /// Being checked with Stripe.
    pub stale: bool,
    /// The time of the newest word of Stripe on it.
    pub as_of: Timestamp,
}

/// The state of a licence.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum LicenseState {
    /// Paid for, or on trial.
    Active,
    /// A renewal failed; access is kept for a while.
    Grace,
    /// Access ended.
    Revoked,
    /// There never was one.
    #[default]
    None,
}

impl LicenseState {
    /// The word of the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Grace => "grace",
            Self::Revoked => "revoked",
            Self::None => "none",
        }
    }
}

/// What a customer says of itself to its tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomerSummary {
    /// Stripe's `created`.
    pub created: Option<Timestamp>,
    /// Gone at Stripe.
    pub deleted: bool,
}

/// What a connected account says of itself to its tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct MerchantSummary {
    pub created: Option<Timestamp>,
    pub charges_enabled: bool,
    pub payouts_enabled: bool,
    pub details_submitted: bool,
    pub deauthorized: bool,
    pub disabled_reason: Option<String>,
}

/// Credits of one object (a session's grant, a payment's reversals).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// Granted.
    pub granted: i64,
    /// Reversed.
    pub reversed: i64,
    /// When they were paid for.
    pub paid_at: Option<Timestamp>,
}

/// What an invoice says of its subscription's period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InvoiceFact {
    /// Stripe's status word.
    pub status: String,
    /// Latest end among the subscription's lines.
    pub period_end: Option<Timestamp>,
    /// When it was paid, if it was.
    pub paid_at: Option<Timestamp>,
    /// `created` of its first `invoice.payment_failed`.
    pub first_failed_at: Option<Timestamp>,
    /// Payments that pay it.
    pub payments: Vec<PaymentId>,
}

/// A one-time grant of credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// How many (N × quantity).
    pub credits: u64,
    /// The plan.
    pub plan_id: String,
    /// When the session was paid.
    pub paid_at: Timestamp,
    /// The tenant that has them.
    pub tenant: Option<TenantId>,
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PaymentOutcome {
    /// Refunded in full.
    pub fully_refunded: bool,
    /// A dispute about it was lost.
    pub dispute_lost: bool,
}

impl Message {
    /// The word for lists and logs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Hello { .. } => "hello",
            Self::Relinked { .. } => "relinked",
            Self::TenantNamed(_) => "tenant_named",
            Self::SubscriptionSummary { .. } => "subscription_summary",
            Self::CustomerSummary { .. } => "customer_summary",
            Self::MerchantSummary { .. } => "merchant_summary",
            Self::CreditSums { .. } => "credit_sums",
            Self::InvoiceFact { .. } => "invoice_fact",
            Self::PaysInvoice { .. } => "pays_invoice",
            Self::GrantAttached { .. } => "grant_attached",
            Self::PaymentOutcome { .. } => "payment_outcome",
            Self::Answer(_) => "answer",
            Self::CommandSeen(_) => "command_seen",
            Self::CommandAwaited {} => "command_awaited",
            Self::CommandEnded { .. } => "command_ended",
        }
    }

    /// Whose personal fields a message to `to` holds, if any: those of a tenant's name become the
    /// tenant's own, so they are sealed under its key and go when it is erased; an object of Stripe's
    /// goes with whom it names.
    pub(crate) fn subject(&self, to: &AggregateKey) -> Option<Subject> {
        match (self, to) {
            (Self::TenantNamed(named), AggregateKey::Tenant(id)) => {
                // Without them it must stay readable whatever is erased.
                let is_personal = named.name.is_some() || named.email.is_some();
                is_personal.then(|| crate::tenant::subject(id))
            }
            (Self::Answer(answer), _) => answer.subject(to),
            _ => None,
        }
    }

    /// What takes a message back, for those that can be taken back.
    pub(crate) fn retraction(&self) -> Option<Self> {
        Some(match self.clone() {
            Self::SubscriptionSummary { scope, id, .. } => Self::SubscriptionSummary {
                scope,
                id,
                summary: None,
            },
            Self::CustomerSummary { scope, id, .. } => Self::CustomerSummary {
                scope,
                id,
                summary: None,
            },
            Self::MerchantSummary { account, .. } => Self::MerchantSummary {
                account,
                summary: None,
            },
            Self::CreditSums { new, .. } => Self::CreditSums {
                old: new,
                new: Sums::default(),
            },
            Self::InvoiceFact { invoice, .. } => Self::InvoiceFact {
                invoice,
                fact: None,
            },
            Self::GrantAttached { session, .. } => Self::GrantAttached {
                session,
                grant: None,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_taken_back_by_none_and_sums_by_their_difference() {
        let scope = Scope::PLATFORM;
        let sums = |granted| Sums {
            granted,
            ..Sums::default()
        };
        let subscription = |summary| Message::SubscriptionSummary {
            scope: scope.clone(),
            id: SubscriptionId::parse("sub_1").unwrap(),
            summary,
        };
        let customer = |summary| Message::CustomerSummary {
            scope: scope.clone(),
            id: CustomerId::parse("cus_1").unwrap(),
            summary,
        };
        let merchant = |summary| Message::MerchantSummary {
            account: AccountId::parse("acct_1").unwrap(),
            summary,
        };
        let invoice = |fact| Message::InvoiceFact {
            invoice: InvoiceId::parse("in_1").unwrap(),
            fact,
        };
        let grant = |grant| Message::GrantAttached {
            session: SessionId::parse("cs_1").unwrap(),
            grant,
        };
        let given = Grant {
            credits: 1,
            plan_id: "credits".to_owned(),
            paid_at: Timestamp(0),
            tenant: None,
        };
        let credits = |old, new| Message::CreditSums {
            old: sums(old),
            new: sums(new),
        };
        for (said, back) in [
            (subscription(Some(Default::default())), subscription(None)),
            (customer(Some(Default::default())), customer(None)),
            (merchant(Some(Default::default())), merchant(None)),
            (invoice(Some(Default::default())), invoice(None)),
            (grant(Some(given)), grant(None)),
            (credits(3, 10), credits(10, 0)),
        ] {
            assert_eq!(said.retraction(), Some(back));
        }
        assert_eq!(Message::Hello { tenant: None }.retraction(), None);
    }
}
