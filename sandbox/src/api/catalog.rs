//! Products, prices, coupons and promotion codes.
//!
//! Invariants: a price belongs to an existing product; `unit_amount` and its decimal agree.
//! Not here: using prices (`checkout`, `subscriptions`).
//! Failure: `ApiError`.
//! Source of outside rules: Stripe API reference, "Products", "Prices", "Coupons".

use super::fields;
use crate::error::ApiError;
use crate::lists;
use crate::world::{World, text};
use serde_json::{Value, json};

pub(crate) fn create_product(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let mut product = w.fresh("product", "prod");
    if let Some(id) = fields::given(p, "id") {
        if w.any(id).is_some() {
            let message = format!("Product already exists: {id}");
            return Err(ApiError::invalid(
                "id",
                Some("resource_already_exists"),
                &message,
            ));
        }
        product["id"] = json!(id);
    }
    product["name"] = json!(fields::required(p, "name")?);
    product["updated"] = json!(w.now);
    fields::copy(&mut product, p, PRODUCT_FIELDS);
    fields::metadata(&mut product, p)?;
    w.insert(product.clone());
    w.tell("product.created", &product);
    let default = &p["default_price_data"];
    if default.is_object() {
        let mut price = default.clone();
        price["product"] = product["id"].clone();
        let price = create_price(w, &price)?;
        return Ok(w
            .change(&text(&product, "id"), |v| {
                v["default_price"] = price["id"].clone()
            })
            .1);
    }
    Ok(product)
}

const PRODUCT_FIELDS: &[&str] = &[
    "name",
    "active",
    "description",
    "images",
    "shippable",
    "statement_descriptor",
    "tax_code",
    "unit_label",
    "url",
    "default_price",
    "marketing_features",
];

pub(crate) fn update_product(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut product = w.need("product", id, "id")?;
    fields::copy(&mut product, p, PRODUCT_FIELDS);
    fields::metadata(&mut product, p)?;
    product["updated"] = json!(w.now);
    Ok(w.change_and_tell(id, "product.updated", |v| *v = product))
}

pub(crate) fn delete_product(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let product = w.need("product", id, "id")?;
    if w.newest("price").any(|price| price["product"] == id) {
        let message =
            "This product cannot be deleted because it has one or more user-created prices.";
        return Err(ApiError::refused(None, message));
    }
    w.remove(id);
    w.tell("product.deleted", &product);
    Ok(json!({"id": id, "object": "product", "deleted": true}))
}

pub(crate) fn create_price(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let currency = fields::currency(p, "currency")?;
    let product = match fields::given(p, "product") {
        Some(id) => w.need("product", id, "product")?,
        None if p["product_data"].is_object() => create_product(w, &p["product_data"])?,
        None => return Err(ApiError::missing("product")),
    };
    let mut price = w.fresh("price", "price");
    price["currency"] = json!(currency);
    price["product"] = product["id"].clone();
    let amount = unit_amount(p)?;
    price["unit_amount"] = json!(amount);
    price["unit_amount_decimal"] = json!(amount.to_string());
    set_recurring(&mut price, &p["recurring"])?;
    fields::copy(
        &mut price,
        p,
        &["active", "nickname", "tax_behavior", "lookup_key"],
    );
    if let Some(key) = fields::given(p, "lookup_key") {
        claim_lookup_key(w, key, p["transfer_lookup_key"] == true)?;
    }
    fields::metadata(&mut price, p)?;
    w.insert(price.clone());
    w.tell("price.created", &price);
    Ok(price)
}

fn claim_lookup_key(w: &mut World, key: &str, transfer: bool) -> Result<(), ApiError> {
    let holder = w
        .newest("price")
        .find(|price| price["lookup_key"] == key)
        .map(|v| text(v, "id"));
    match holder {
        None => Ok(()),
        Some(id) if transfer => {
            w.change(&id, |v| v["lookup_key"] = Value::Null);
            Ok(())
        }
        Some(_) => {
            let message = format!("A price (`{key}`) already uses that lookup key.");
            Err(ApiError::invalid("lookup_key", None, &message))
        }
    }
}

/// The amount in minor units from `unit_amount` or a whole `unit_amount_decimal`.
pub(crate) fn unit_amount(p: &Value) -> Result<i64, ApiError> {
    let amount = match (&p["unit_amount"], p["unit_amount_decimal"].as_str()) {
        (Value::Number(n), _) => n.as_i64(),
        (_, Some(decimal)) => decimal.parse().ok(),
        _ => return Err(ApiError::missing("unit_amount")),
    };
    match amount {
        Some(amount) if (0..=999_999_999_999).contains(&amount) => Ok(amount),
        _ => Err(ApiError::invalid(
            "unit_amount",
            Some("parameter_invalid_integer"),
            "This sandbox takes whole, non-negative minor units of at most 12 digits.",
        )),
    }
}

fn set_recurring(price: &mut Value, recurring: &Value) -> Result<(), ApiError> {
    if !recurring.is_object() {
        price["type"] = json!("one_time");
        price["recurring"] = Value::Null;
        return Ok(());
    }
    let interval = fields::required(recurring, "interval")
        .map_err(|_| ApiError::missing("recurring[interval]"))?;
    let count = recurring["interval_count"].as_i64().unwrap_or(1);
    if !(1..=156).contains(&count) {
        let message =
            "Invalid interval_count: at most three years (3 years, 36 months or 156 weeks).";
        return Err(ApiError::invalid(
            "recurring[interval_count]",
            None,
            message,
        ));
    }
    price["type"] = json!("recurring");
    price["recurring"] = json!({
        "interval": interval, "interval_count": count, "meter": null,
        "trial_period_days": recurring["trial_period_days"].as_i64(), "usage_type": "licensed",
    });
    Ok(())
}

pub(crate) fn update_price(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut price = w.need("price", id, "price")?;
    fields::copy(
        &mut price,
        p,
        &["active", "nickname", "tax_behavior", "lookup_key"],
    );
    fields::metadata(&mut price, p)?;
    Ok(w.change_and_tell(id, "price.updated", |v| *v = price))
}

pub(crate) fn list_prices(w: &World, p: &Value) -> Result<Value, ApiError> {
    let keys = p["lookup_keys"].as_array();
    lists::page(w, "price", "/v1/prices", p, |price| {
        keys.is_none_or(|keys| keys.contains(&price["lookup_key"]))
            && (p["recurring"]["interval"].is_null()
                || p["recurring"]["interval"] == price["recurring"]["interval"])
            && ["active", "currency", "product", "type"]
                .iter()
                .all(|f| p[f].is_null() || p[f] == price[f])
    })
}

/// The old `plan` beside a recurring price.
pub(crate) fn plan_of(price: &Value) -> Value {
    let mut plan = crate::world::blank_part("plan");
    for field in [
        "id", "active", "created", "currency", "metadata", "nickname", "product",
    ] {
        plan[field] = price[field].clone();
    }
    plan["amount"] = price["unit_amount"].clone();
    plan["amount_decimal"] = price["unit_amount_decimal"].clone();
    plan["interval"] = price["recurring"]["interval"].clone();
    plan["interval_count"] = price["recurring"]["interval_count"].clone();
    plan["trial_period_days"] = price["recurring"]["trial_period_days"].clone();
    plan
}

/// A price given inline (`price_data`), stored inactive as Stripe does.
pub(crate) fn inline_price(w: &mut World, data: &Value, at: &str) -> Result<Value, ApiError> {
    if data["product"].is_null() && data["product_data"].is_null() {
        return Err(ApiError::missing(&format!("{at}[product]")));
    }
    let price = create_price(w, data)?;
    Ok(
        w.change(&text(&price, "id"), |v| v["active"] = json!(false))
            .1,
    )
}

pub(crate) fn create_coupon(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let mut coupon = w.blank("coupon");
    coupon["id"] = match fields::given(p, "id") {
        Some(id) => json!(id),
        None => json!(w.ids.secret(8)),
    };
    if w.any(&text(&coupon, "id")).is_some() {
        return Err(ApiError::invalid(
            "id",
            Some("resource_already_exists"),
            "Coupon already exists.",
        ));
    }
    if p["percent_off"].is_null() == p["amount_off"].is_null() {
        let message = "You must pass exactly one of percent_off or amount_off.";
        return Err(ApiError::invalid("percent_off", None, message));
    }
    if let Some(percent) = p["percent_off"].as_str() {
        let whole: i64 = percent
            .parse()
            .ok()
            .filter(|n| (1..=100).contains(n))
            .ok_or_else(|| {
                ApiError::invalid(
                    "percent_off",
                    None,
                    "This sandbox takes whole percents from 1 to 100.",
                )
            })?;
        coupon["percent_off"] = json!(whole);
    } else {
        coupon["amount_off"] = p["amount_off"].clone();
        coupon["currency"] = json!(fields::currency(p, "currency")?);
    }
    fields::copy(
        &mut coupon,
        p,
        &[
            "name",
            "duration",
            "duration_in_months",
            "max_redemptions",
            "redeem_by",
        ],
    );
    fields::metadata(&mut coupon, p)?;
    w.insert(coupon.clone());
    w.tell("coupon.created", &coupon);
    Ok(coupon)
}

pub(crate) fn update_coupon(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut coupon = w.need("coupon", id, "coupon")?;
    fields::copy(&mut coupon, p, &["name"]);
    fields::metadata(&mut coupon, p)?;
    Ok(w.change_and_tell(id, "coupon.updated", |v| *v = coupon))
}

pub(crate) fn delete_coupon(w: &mut World, id: &str) -> Result<Value, ApiError> {
    let coupon = w.need("coupon", id, "coupon")?;
    w.remove(id);
    w.tell("coupon.deleted", &coupon);
    Ok(json!({"id": id, "object": "coupon", "deleted": true}))
}

pub(crate) fn update_promotion_code(w: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut code = w.need("promotion_code", id, "promotion_code")?;
    fields::copy(&mut code, p, &["active"]);
    fields::metadata(&mut code, p)?;
    Ok(w.change_and_tell(id, "promotion_code.updated", |v| *v = code))
}

pub(crate) fn create_promotion_code(w: &mut World, p: &Value) -> Result<Value, ApiError> {
    let coupon = w.need("coupon", fields::required(p, "coupon")?, "coupon")?;
    let mut code = w.fresh("promotion_code", "promo");
    code["coupon"] = coupon;
    code["code"] = match fields::given(p, "code") {
        Some(given) => json!(given),
        None => json!(w.ids.secret(8).to_uppercase()),
    };
    fields::copy(
        &mut code,
        p,
        &["active", "customer", "expires_at", "max_redemptions"],
    );
    fields::metadata(&mut code, p)?;
    w.insert(code.clone());
    w.tell("promotion_code.created", &code);
    Ok(code)
}
