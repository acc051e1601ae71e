//! The item of a subscription that a change is about, as Stripe shows it now.

use super::conflict;
use crate::http::problem::Problem;
use bursar_domain::ids::{ObjectId, PriceId};
use bursar_domain::plans::{Catalogue, Plan};
use serde_json::Value;

/// One item.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: ObjectId,
    /// Its price, whole.
    pub(super) price: Value,
    /// None where use is metered.
    pub(super) quantity: Option<u64>,
}

impl Item {
    /// The plan it is for.
    pub(super) fn plan<'c>(&self, catalogue: &'c Catalogue) -> Option<&'c Plan> {
        plan_of(&self.price["id"], catalogue)
    }
}

fn plan_of<'c>(price: &Value, catalogue: &'c Catalogue) -> Option<&'c Plan> {
    let price = PriceId::parse(price.as_str()?).ok()?;
    catalogue.plan_by_price_id(&price)
}

/// The item that decides the plan: of several the first whose price is in the catalogue.
/// # Errors: 409 where none is.
pub(super) fn of(subscription: &Value, catalogue: &Catalogue) -> Result<Item, Problem> {
    let items = subscription["items"]["data"].as_array();
    let items = items.map(Vec::as_slice).unwrap_or_default();
    let known = |item: &&Value| plan_of(&item["price"]["id"], catalogue).is_some();
    let item = match items {
        [only] => Some(only),
        several => several.iter().find(known),
    };
    let none = || {
        conflict(
            "the subscription has several items and none of them is sold by the catalogue: which one to change cannot be told",
        )
    };
    let item = item.ok_or_else(none)?;
    let id = item["id"].as_str().unwrap_or_default();
    Ok(Item {
        id: ObjectId::parse(id).map_err(|_| none())?,
        price: item["price"].clone(),
        quantity: item["quantity"].as_u64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::plans::PlanEffect;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn of_several_items_the_one_the_catalogue_sells_is_changed_and_a_single_one_always() {
        let catalogue = Catalogue {
            plans: vec![Plan {
                price_ids: vec![PriceId::parse("price_known").unwrap()],
                id: "pro".to_owned(),
                name: "Pro".to_owned(),
                effect: PlanEffect::Credits(1),
                revoke_on: BTreeSet::new(),
            }],
        };
        let item = |id: &str, price: &str| json!({"id": id, "price": {"id": price}, "quantity": 2});
        let of = |items: Value| {
            let found = of(&json!({"items": {"data": items}}), &catalogue);
            found.map(|item| item.id.to_string()).ok()
        };
        let (known, other) = (item("si_1", "price_known"), item("si_2", "price_other"));
        assert_eq!(of(json!([other, known])).as_deref(), Some("si_1"));
        assert_eq!(of(json!([other])).as_deref(), Some("si_2"));
        assert_eq!(of(json!([other, other])), None);
        assert_eq!(of(json!([])), None);
    }
}
