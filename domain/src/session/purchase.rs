//! What a session bought: plan, price, quantity, credits; and the tenant a visitor's session makes.
//!
//! Source: contract §4, "The plan of a checkout", Payment Links.

use super::{SessionState, parts};
use crate::aggregate::AggregateKey;
use crate::ids::{PriceId, TenantId};
use crate::link::{Claim, ClaimSource};
use crate::plans::{CheckoutMode, PlanEffect, mode_of};
use crate::settings::{PaymentLinkCheckouts, Settings};
use serde::{Deserialize, Serialize};

/// Namespace of derived tenant ids; fixed for ever, since ids follow from it.
const TENANT_NAMESPACE: uuid::Uuid =
    uuid::Uuid::from_u128(0x6a7b_1f0e_52c8_4c7e_9a51_3d0f_b07a_1c55);

/// What was bought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Purchase {
    pub(crate) plan_id: Option<String>,
    pub(crate) price_id: Option<String>,
    pub(crate) quantity: Option<u64>,
    /// N × quantity, once both are known.
    pub(crate) credits: Option<u64>,
    /// The line items decide and were not read yet.
    pub(crate) needs_line_items: bool,
    /// Someone else's note of the quantity counts until the line items were read.
    pub(crate) checks_quantity: bool,
}

impl Purchase {
    /// Whether the line items must be read before it is known.
    pub(crate) const fn is_unread(&self) -> bool {
        self.needs_line_items
    }
    /// Whether the line items are asked for: they decide, or may decide otherwise.
    pub(crate) const fn asks_line_items(&self) -> bool {
        self.needs_line_items || self.checks_quantity
    }
}

impl SessionState {
    /// Derives what was bought: `metadata[plan_id]`, else the price of the line items.
    pub(super) fn derive_purchase(&self, settings: &Settings) -> Purchase {
        let Some(session) = self.session.value() else {
            return Purchase::default();
        };
        let catalogue = &settings.catalogue;
        let is_payment = session.mode.as_deref() == Some("payment");
        let noted = session
            .metadata
            .get("plan_id")
            .and_then(|id| catalogue.plan(id));
        let items = self.line_items.as_deref().unwrap_or_default();
        let sold = items.iter().find_map(|item| {
            let price = PriceId::parse(item.price.as_deref()?).ok()?;
            Some((catalogue.plan_by_price_id(&price)?, item))
        });
        let plan = noted.or(sold.map(|(plan, _)| plan));
        let item = sold
            .filter(|(of, _)| plan.is_some_and(|plan| plan.id == of.id))
            .map(|(_, item)| item)
            .or(items.first());
        // Our own checkout notes the quantity, which saves reading the line items. What the product
        // noted counts as well, so that credits need not wait for Stripe; but a visitor may have
        // changed the quantity on the page, so the line items have the last word.
        let is_ours = session.metadata.get("command_id").is_some();
        let noted = session.metadata.get("quantity");
        let noted_quantity = noted
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|quantity| *quantity > 0);
        let read_quantity = match (&self.line_items, item) {
            (Some(_), Some(item)) => Some(item.quantity.unwrap_or(1)),
            // Read, and Stripe has none: one of what was noted.
            (Some(_), None) => noted_quantity.or(Some(1)),
            (None, _) => None,
        };
        let quantity = if is_ours {
            noted_quantity.or(read_quantity)
        } else {
            read_quantity.or(noted_quantity)
        };
        let credits = plan.and_then(|plan| match plan.effect {
            PlanEffect::Credits(each) if is_payment => each.checked_mul(quantity?),
            _ => None,
        });
        let grants = plan.is_some_and(|plan| mode_of(&plan.effect) == Some(CheckoutMode::Payment));
        let is_visitors = session.payment_link.is_some();
        let undecided = plan.is_none() && (is_payment || is_visitors);
        let needs_quantity = grants && is_payment && quantity.is_none();
        Purchase {
            plan_id: plan.map(|plan| plan.id.clone()),
            price_id: item
                .and_then(|item| item.price.clone())
                .or_else(|| plan?.price_ids.first().map(ToString::to_string)),
            quantity,
            credits,
            needs_line_items: self.line_items.is_none() && (undecided || needs_quantity),
            checks_quantity: self.line_items.is_none() && grants && is_payment && !is_ours,
        }
    }

    /// The claim of a tenant made for a visitor: only once paid, only for a price that is sold.
    pub(super) fn visitors_claim(&self, key: &AggregateKey, settings: &Settings) -> Option<Claim> {
        let (scope, id) = parts(key);
        let makes = settings.payment_link_checkouts == PaymentLinkCheckouts::Create
            && self.is_visitors()
            && self.paid_at.is_some()
            && self.purchase.plan_id.is_some()
            && scope.0.is_none();
        makes.then(|| Claim {
            source: ClaimSource::PaymentLink,
            created: self.created(),
            object_id: id.to_string(),
            tenant: visitors_tenant(settings, id.as_str()),
        })
    }
}

/// UUIDv5 of account and session id.
fn visitors_tenant(settings: &Settings, session: &str) -> TenantId {
    let name = format!("{}/{session}", settings.platform_account);
    let id = uuid::Uuid::new_v5(&TENANT_NAMESPACE, name.as_bytes());
    TenantId::parse(&id.to_string()).expect("a UUID is within the grammar")
}
