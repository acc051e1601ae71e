//! Coupons and promotion codes at work: on sessions, subscriptions and invoices.
//!
//! Invariants: a discount never takes more than the line; `once` ends with the invoice it was on.
//! Not here: making coupons (`api::catalog`).
//! Failure: 400 for a coupon that is used up or over, or for more than one discount.
//! Source of outside rules: Stripe documentation, "Coupons and promotion codes".

use super::period::{self, share};
use crate::error::ApiError;
use crate::world::{World, int, text};
use serde_json::{Value, json};

/// What a request's `discounts[]` names: the coupon and the promotion code, if by one.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    coupon: Value,
    promotion_code: Value,
}

/// Reads `discounts[]`.
pub(crate) fn named(w: &World, wishes: &Value) -> Result<Option<Named>, ApiError> {
    let Some(wishes) = wishes.as_array().filter(|all| !all.is_empty()) else {
        return Ok(None);
    };
    if wishes.len() > 1 {
        let message = "This sandbox applies one discount at a time.";
        return Err(ApiError::invalid(
            "discounts",
            Some("sandbox_unsupported"),
            message,
        ));
    }
    let (coupon, promotion_code) = match wishes[0]["promotion_code"].as_str() {
        Some(id) => {
            let code = w.need("promotion_code", id, "discounts[0][promotion_code]")?;
            if code["active"] != true {
                let message = "This promotion code is not active.";
                return Err(ApiError::invalid(
                    "discounts[0][promotion_code]",
                    None,
                    message,
                ));
            }
            (text(&code["coupon"], "id"), json!(id))
        }
        None => (text(&wishes[0], "coupon"), Value::Null),
    };
    let coupon = w.need("coupon", &coupon, "discounts[0][coupon]")?;
    let used_up = coupon["max_redemptions"]
        .as_i64()
        .is_some_and(|most| int(&coupon, "times_redeemed") >= most);
    if used_up || coupon["redeem_by"].as_i64().is_some_and(|by| by < w.now) {
        let message = format!("Coupon {} is used up or over.", text(&coupon, "id"));
        return Err(ApiError::invalid(
            "discounts[0][coupon]",
            Some("coupon_expired"),
            &message,
        ));
    }
    Ok(Some(Named {
        coupon,
        promotion_code,
    }))
}

/// What a coupon takes off an amount.
fn off(coupon: &Value, amount: i64) -> i64 {
    match coupon["percent_off"].as_i64() {
        Some(percent) => share(amount, percent, 100),
        None => int(coupon, "amount_off").min(amount.max(0)),
    }
}

impl Named {
    /// As a checkout session shows it.
    pub(crate) fn on_session(&self) -> Value {
        json!([{"coupon": self.coupon["id"], "promotion_code": self.promotion_code}])
    }

    /// Takes the discount off checkout items, line by line.
    pub(crate) fn apply_to_items(&self, items: &mut [Value]) {
        let mut left = self.coupon["amount_off"].as_i64().unwrap_or(i64::MAX);
        for item in items {
            let subtotal = int(item, "amount_subtotal");
            let taken = off(&self.coupon, subtotal).min(left);
            left -= taken;
            item["amount_discount"] = json!(taken);
            item["amount_total"] = json!(subtotal - taken);
        }
    }

    /// Redeems it for a subscription; the id of the discount.
    pub(crate) fn redeem(&self, w: &mut World, subscription: &Value) -> String {
        let mut discount = w.fresh("discount", "di");
        let id = text(&discount, "id");
        discount["coupon"] = self.coupon.clone();
        discount["promotion_code"] = self.promotion_code.clone();
        discount["customer"] = subscription["customer"].clone();
        discount["subscription"] = subscription["id"].clone();
        discount["start"] = json!(w.now);
        if let Some(months) = self.coupon["duration_in_months"].as_i64() {
            discount["end"] = json!(period::next(w.now, w.now, "month", months));
        }
        w.insert(discount);
        w.change(&text(&self.coupon, "id"), |v| {
            v["times_redeemed"] = json!(int(v, "times_redeemed") + 1)
        });
        id
    }
}

/// Puts a subscription's running discount on an invoice that is being drafted.
pub(crate) fn apply_to_invoice(w: &World, subscription: &Value, invoice: &mut Value) {
    let id = subscription["discounts"][0].as_str().unwrap_or_default();
    let Some(discount) = w.get("discount", id) else {
        return;
    };
    if discount["end"].as_i64().is_some_and(|end| end <= w.now) {
        return;
    }
    let coupon = &discount["coupon"];
    let mut left = coupon["amount_off"].as_i64().unwrap_or(i64::MAX);
    let mut taken_in_all = 0;
    for line in invoice["lines"]["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let amount = int(line, "amount");
        if amount <= 0 || line["discountable"] == false {
            continue;
        }
        let taken = off(coupon, amount).min(left);
        left -= taken;
        taken_in_all += taken;
        line["discount_amounts"] = json!([{"amount": taken, "discount": id}]);
        line["discounts"] = json!([id]);
    }
    invoice["discounts"] = json!([id]);
    invoice["total_discount_amounts"] = json!([{"amount": taken_in_all, "discount": id}]);
}

/// A discount of one invoice ends when that invoice is final.
pub(crate) fn spent(w: &mut World, invoice: &Value) {
    let id = text(invoice, "id");
    let discount = invoice["discounts"][0].as_str().unwrap_or_default();
    let once = w
        .get("discount", discount)
        .is_some_and(|d| d["coupon"]["duration"] == "once");
    if once {
        let subscription = text(&invoice["parent"]["subscription_details"], "subscription");
        w.change(&subscription, |v| v["discounts"] = json!([]));
        w.change(discount, |v| v["invoice"] = json!(id));
    }
}
