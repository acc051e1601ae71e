//! Events rendered in the shape of 2024-06-20, before basil.
//!
//! Invariants: nothing is stored in this shape; it is made for one delivery.
//! Not here: API answers (always basil).
//! Failure: an object this does not know stays as it is.
//! Source of outside rules: Stripe changelog basil 2025-03-31, read backwards.

use crate::server::Shared;
use crate::world::{World, int, text};
use serde_json::{Value, json};

/// The version these shapes belong to.
pub(crate) const OLDER_VERSION: &str = "2024-06-20";

/// An event in the older shape.
pub(crate) fn event(shared: &Shared, account: &str, event: &Value) -> Value {
    let mut world = shared.world();
    let mut out = event.clone();
    out["api_version"] = json!(OLDER_VERSION);
    let object = out["data"]["object"].take();
    out["data"]["object"] = world.within(account, |w| older_object(w, object));
    if out["data"]["previous_attributes"]["items"].is_object() {
        let first = &event["data"]["previous_attributes"]["items"]["data"][0];
        for field in ["current_period_start", "current_period_end"] {
            if event["data"]["object"]["items"]["data"][0][field] != first[field] {
                out["data"]["previous_attributes"][field] = first[field].clone();
            }
        }
    }
    out
}

fn older_object(w: &World, mut object: Value) -> Value {
    match object["object"].as_str() {
        Some("subscription") => subscription(&mut object),
        Some("invoice") => invoice(w, &mut object),
        Some("payment_intent") => {
            object["invoice"] = invoice_of(w, &text(&object, "id"));
            object["payment_method_configuration_details"] = Value::Null;
        }
        Some("charge") => object["invoice"] = invoice_of(w, &text(&object, "payment_intent")),
        Some("checkout.session") => {
            object["shipping_details"] = Value::Null;
            remove(
                &mut object,
                &[
                    "collected_information",
                    "adaptive_pricing",
                    "permissions",
                    "wallet_options",
                ],
            );
        }
        _ => {}
    }
    strip_newer(&mut object);
    object
}

/// Keys that came after 2024-06-20, wherever they stand.
const NEWER: &[&str] = &[
    "advice_code",
    "network_advice_code",
    "network_decline_code",
    "network_transaction_id",
    "regulated_status",
    "pretax_credit_amounts",
    "total_pretax_credit_amounts",
];

fn strip_newer(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(strip_newer),
        Value::Object(map) => {
            map.retain(|key, _| !NEWER.contains(&key.as_str()));
            if map.contains_key("liability") {
                map.remove("disabled_reason");
                map.remove("provider");
            }
            if map.contains_key("address") && map.contains_key("phone") {
                map.remove("tax_id");
            }
            if map.contains_key("usage_type") {
                map.insert("aggregate_usage".to_owned(), Value::Null);
            }
            map.values_mut().for_each(strip_newer);
        }
        _ => {}
    }
}

fn remove(object: &mut Value, fields: &[&str]) {
    if let Some(map) = object.as_object_mut() {
        for field in fields {
            map.remove(*field);
        }
    }
}

fn invoice_of(w: &World, intent: &str) -> Value {
    w.get("payment_intent", intent)
        .map_or(Value::Null, |pi| pi["__invoice"].clone())
}

fn subscription(sub: &mut Value) {
    for field in ["current_period_start", "current_period_end"] {
        sub[field] = sub["items"]["data"][0][field].clone();
    }
    for item in sub["items"]["data"].as_array_mut().into_iter().flatten() {
        remove(item, &["current_period_start", "current_period_end"]);
        item["billing_thresholds"] = Value::Null;
    }
    sub["discount"] = Value::Null;
    sub["billing_thresholds"] = Value::Null;
}

fn invoice(w: &World, invoice: &mut Value) {
    let details = invoice["parent"]["subscription_details"].clone();
    invoice["subscription"] = details["subscription"].clone();
    invoice["subscription_details"] = json!({"metadata": details["metadata"]});
    let id = text(invoice, "id");
    let intent = w
        .get("invoice", &id)
        .map(|v| v["__intent"].clone())
        .unwrap_or_default();
    let charge = intent
        .as_str()
        .and_then(|pi| w.get("payment_intent", pi))
        .map(|pi| pi["latest_charge"].clone());
    invoice["payment_intent"] = intent;
    invoice["charge"] = charge.unwrap_or_default();
    invoice["paid"] = json!(invoice["status"] == "paid");
    for (field, value) in [
        ("paid_out_of_band", json!(false)),
        ("discount", Value::Null),
        ("tax", Value::Null),
        ("total_tax_amounts", json!([])),
        ("application_fee_amount", Value::Null),
        ("transfer_data", Value::Null),
        ("quote", Value::Null),
    ] {
        invoice[field] = value;
    }
    for line in invoice["lines"]["data"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        older_line(w, line);
    }
    remove(invoice, &["parent", "total_taxes", "amount_overpaid"]);
}

fn older_line(w: &World, line: &mut Value) {
    let parent = line["parent"].clone();
    let item = &parent["subscription_item_details"];
    let one_off = &parent["invoice_item_details"];
    let price = w
        .get("price", &text(&line["pricing"]["price_details"], "price"))
        .cloned()
        .unwrap_or(Value::Null);
    line["type"] = json!(if item.is_object() {
        "subscription"
    } else {
        "invoiceitem"
    });
    line["proration"] = json!(item["proration"] == true || one_off["proration"] == true);
    line["proration_details"] = json!({"credited_items": null});
    line["subscription_item"] = item["subscription_item"].clone();
    line["invoice_item"] = one_off["invoice_item"].clone();
    line["plan"] = if price["type"] == "recurring" {
        crate::api::catalog::plan_of(&price)
    } else {
        Value::Null
    };
    line["unit_amount_excluding_tax"] = json!(int(&price, "unit_amount").to_string());
    line["amount_excluding_tax"] = line["amount"].clone();
    line["price"] = price;
    line["tax_amounts"] = json!([]);
    line["tax_rates"] = json!([]);
    remove(line, &["parent", "pricing", "taxes"]);
    for field in ["subscription_item", "invoice_item"] {
        if line[field].is_null() {
            remove(line, &[field]);
        }
    }
}
