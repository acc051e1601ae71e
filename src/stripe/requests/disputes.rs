//! Evidence for a dispute.
//!
//! Invariants: only fields that hold text (files would have to be uploaded); whether it goes to the bank is always
//! said, because Stripe's default is yes and that is final.
//! Source: Stripe API reference, "Disputes", "Update a dispute", "Dispute evidence object".

use super::draft::{Draft, path};
use bursar_domain::ids::{CommandId, DisputeId, Scope};
use bursar_domain::stripe_call::{Operation, StripeCall};
use std::collections::BTreeMap;

/// The fields of evidence that hold text.
const TEXT_FIELDS: [&str; 18] = [
    "access_activity_log",
    "billing_address",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_tracking_number",
    "uncategorized_text",
];

/// One field of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EvidenceField(&'static str);

impl EvidenceField {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TEXT_FIELDS.into_iter().map(Self)
    }
    /// Reads Stripe's name of a field.
    pub fn parse(text: &str) -> Option<Self> {
        Self::all().find(|field| field.0 == text)
    }
    /// Stripe's name.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// Evidence against a dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// On whose account.
    pub scope: Scope,
    /// Which dispute.
    pub dispute: DisputeId,
    /// What is said; an empty text takes a field back. Together at most 150,000 characters.
    pub fields: BTreeMap<EvidenceField, String>,
    /// Whether it goes to the bank now. That is possible once.
    pub submit: bool,
}

/// `POST /v1/disputes/{dispute}`.
pub fn evidence(order: &Evidence, command: &CommandId) -> StripeCall {
    let path = path("/v1/disputes", order.dispute.as_str(), "");
    let mut draft = Draft::post(Operation::DisputeUpdate, &order.scope, path);
    for (field, text) in &order.fields {
        draft = draft.set(format!("evidence[{}]", field.as_str()), text);
    }
    draft.set("submit", order.submit).command(command).done()
}
