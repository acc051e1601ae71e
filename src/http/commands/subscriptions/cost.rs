//! Whether a change of an item costs money at once, and so waits for its payment.
//!
//! The rule: a change waits if it may cost something that is asked for by the change itself. That is: a new period
//! begins with it (another interval, or a free price becomes a paid one) and is not free; or the item becomes dearer
//! and the difference is settled (`create_prorations`, `always_invoice`). Everything else holds at once: what becomes
//! cheaper or stays as dear, what is not settled at all, what happens in a trial, and subscriptions whose invoices are
//! sent, which Stripe does not let wait. An amount that cannot be told (tiers) may cost.
//! Source: Stripe documentation, "Pending updates", "Prorations"; contract §3 (`pendingUpdate`).

use crate::stripe::requests::ProrationBehavior;
use crate::stripe::requests::subscriptions::UnpaidChange;
use serde_json::Value;

/// A price and how many of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bought<'a> {
    pub(super) price: &'a Value,
    pub(super) quantity: u64,
}

impl Bought<'_> {
    /// What a period costs, in minor units; `None`: it cannot be told.
    fn minor(&self) -> Option<u128> {
        let is_flat = self.price["billing_scheme"] != "tiered";
        let unit = self.price["unit_amount"].as_u64().filter(|_| is_flat)?;
        Some(u128::from(unit) * u128::from(self.quantity))
    }
    fn interval(&self) -> (&Value, &Value) {
        let recurring = &self.price["recurring"];
        (&recurring["interval"], &recurring["interval_count"])
    }
}

/// Whether a new period begins with the change.
pub(super) fn begins_anew(subscription: &Value, old: Bought<'_>, new: Bought<'_>) -> bool {
    let becomes_paid = old.minor() == Some(0) && new.minor() != Some(0);
    subscription["status"] != "trialing" && (old.interval() != new.interval() || becomes_paid)
}

/// What an unpaid invoice does to the change.
pub(super) fn unpaid(
    subscription: &Value,
    old: Bought<'_>,
    new: Bought<'_>,
    proration: Option<ProrationBehavior>,
) -> UnpaidChange {
    let is_sent = subscription["collection_method"] == "send_invoice";
    if is_sent || subscription["status"] == "trialing" {
        return UnpaidChange::Holds;
    }
    let is_free = new.minor() == Some(0);
    let is_dearer = match (old.minor(), new.minor()) {
        (Some(old), Some(new)) => new > old,
        _ => true,
    };
    let is_settled = proration != Some(ProrationBehavior::None);
    let anew = begins_anew(subscription, old, new) && !is_free;
    if anew || (is_dearer && is_settled) {
        UnpaidChange::Waits
    } else {
        UnpaidChange::Holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_may_cost_now_waits_and_the_rest_holds() {
        let price = |unit: Value, interval: &str| {
            json!({"unit_amount": unit, "billing_scheme": "per_unit",
            "recurring": {"interval": interval, "interval_count": 1}})
        };
        let (ten, twenty, free) = (
            price(json!(1_000), "month"),
            price(json!(2_000), "month"),
            price(json!(0), "month"),
        );
        let (yearly, tiers) = (price(json!(500), "year"), price(Value::Null, "month"));
        let active = json!({"status": "active", "collection_method": "charge_automatically"});
        let trial = json!({"status": "trialing"});
        let sent = json!({"status": "active", "collection_method": "send_invoice"});
        let one = |price| Bought { price, quantity: 1 };
        let none = Some(ProrationBehavior::None);
        let at_once = Some(ProrationBehavior::AlwaysInvoice);
        for (subscription, old, new, proration, waits) in [
            (&active, one(&ten), one(&twenty), None, true),
            (&active, one(&ten), one(&twenty), at_once, true),
            (&active, one(&ten), one(&twenty), none, false),
            (&active, one(&twenty), one(&ten), at_once, false),
            (&active, one(&twenty), one(&free), at_once, false),
            (&active, one(&ten), one(&yearly), none, true),
            (&active, one(&free), one(&ten), none, true),
            (&active, one(&ten), one(&tiers), None, true),
            (&trial, one(&ten), one(&twenty), at_once, false),
            (&sent, one(&ten), one(&twenty), at_once, false),
        ] {
            let got = unpaid(subscription, old, new, proration) == UnpaidChange::Waits;
            assert_eq!(got, waits, "{old:?} {new:?} {proration:?}");
        }
        let three = Bought {
            price: &ten,
            quantity: 3,
        };
        assert_eq!(
            unpaid(&active, one(&twenty), three, None),
            UnpaidChange::Waits
        );
    }
}
