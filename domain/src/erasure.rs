//! What an object of Stripe keeps once the personal data of whom it is about was erased.
//!
//! Invariants: an erased state holds no personal field, so its snapshot needs no key and is stored
//! without one; forgetting follows every join, so whatever is heard later, and in whatever order, is
//! kept without its personal fields too. Nothing that decides money, ownership or licence is forgotten:
//! times, states, amounts, ids and the metadata Bursar itself reads stay.
//! Not here: which keys are erased (the store), who is told to forget (the API).
//! Source: contract §3 (`erase`).

use crate::ids::TenantId;
use crate::stripe_wire::{Customer, Invoice, Session, Subscription};

/// Session metadata that decides what was bought; anything else may be about a person.
const SESSION_METADATA: [&str; 4] = ["plan_id", "quantity", "command_id", "order_id"];

/// An object with personal fields.
pub(crate) trait Forget {
    /// Its personal fields; of free text as well, since nobody knows what it holds.
    const PERSONAL: &'static [&'static str];
    /// Takes them out.
    fn forget(&mut self);
}

/// Whether a leaf (`name`, `metadata.note`, `tax_ids[0]`) belongs to one of these fields.
pub(crate) fn is_of(fields: &[&str], path: &str) -> bool {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    path.get(..end).is_some_and(|field| fields.contains(&field))
}

impl Forget for Customer {
    const PERSONAL: &'static [&'static str] = &["email", "name", "tax_ids", "metadata"];
    fn forget(&mut self) {
        (self.email, self.name) = (None, None);
        self.tax_ids.clear();
        // The tenants it names are claims already.
        self.metadata = Default::default();
    }
}

impl Forget for Session {
    const PERSONAL: &'static [&'static str] = &["email", "name", "metadata", "client_reference_id"];
    fn forget(&mut self) {
        (self.email, self.name) = (None, None);
        self.metadata
            .0
            .retain(|name, _| SESSION_METADATA.contains(&name.as_str()));
        // What is no tenant's id may be anything, an address too.
        let named = self.client_reference_id.take();
        self.client_reference_id = named.filter(|text| TenantId::parse(text).is_ok());
    }
}

impl Forget for Invoice {
    const PERSONAL: &'static [&'static str] = &[
        "hosted_invoice_url",
        "invoice_pdf",
        "metadata",
        "subscription_metadata",
    ];
    fn forget(&mut self) {
        // Whoever has these links reads name and address there.
        (self.hosted_invoice_url, self.invoice_pdf) = (None, None);
        self.metadata = Default::default();
        self.subscription_metadata = Default::default();
    }
}

impl Forget for Subscription {
    const PERSONAL: &'static [&'static str] = &["metadata"];
    fn forget(&mut self) {
        self.metadata = Default::default();
    }
}
