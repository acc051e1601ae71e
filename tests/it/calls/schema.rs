//! Every call the builders can make, against Stripe's OpenAPI document of the version we pin.

use super::orders::{calls, checkouts};
use bursar_domain::plans::CheckoutMode;
use bursar_domain::stripe_call::{Method, Operation, StripeCall};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::OnceLock;

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/corpus/stripe/openapi-product-2025-04-30.basil.json"
        );
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    })
}

/// The schema of an operation's parameters; literal segments win over `{…}`.
fn parameters(call: &StripeCall) -> Result<&'static Value, String> {
    let method = match call.method {
        Method::Post => "post",
        Method::Delete => "delete",
    };
    let wanted: Vec<&str> = call.path.split('/').collect();
    let paths = document()["paths"].as_object().unwrap();
    let fitting = paths.iter().filter(|(path, operations)| {
        let parts: Vec<&str> = path.split('/').collect();
        operations[method].is_object()
            && parts.len() == wanted.len()
            && parts
                .iter()
                .zip(&wanted)
                .all(|(part, is)| part == is || part.starts_with('{') && !is.is_empty())
    });
    let (_, operations) = fitting
        .min_by_key(|(path, _)| path.matches('{').count())
        .ok_or_else(|| format!("no operation {method} {}", call.path))?;
    Ok(&operations[method]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"])
}

/// The parameters as a tree: numbered keys are arrays.
fn tree(params: &[(String, String)]) -> Result<Value, String> {
    let mut root = json!({});
    for (name, value) in params {
        let mut node = &mut root;
        for key in name.split('[').map(|part| part.trim_end_matches(']')) {
            if key.is_empty() {
                return Err(format!("{name} has an empty key"));
            }
            let map = node.as_object_mut();
            let map = map.ok_or_else(|| format!("{name} is value and hash"))?;
            node = map.entry(key).or_insert_with(|| json!({}));
        }
        if node.as_object().is_none_or(|map| !map.is_empty()) {
            return Err(format!("{name} is given twice"));
        }
        *node = json!(value);
    }
    Ok(root)
}

fn fits(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    if let Some(choices) = schema["anyOf"].as_array() {
        let mut refusals = choices.iter().map(|choice| fits(value, choice, at));
        return refusals
            .find(Result::is_ok)
            .unwrap_or_else(|| Err(format!("{at}: no alternative takes {value}")));
    }
    if let (Some(words), Some(text)) = (schema["enum"].as_array(), value.as_str()) {
        return ok_if(words.contains(value), || {
            format!("{at}: {text} is none of {words:?}")
        });
    }
    match (schema["type"].as_str().unwrap_or_default(), value) {
        ("string", Value::String(_)) => Ok(()),
        ("integer", Value::String(text)) => ok_if(text.parse::<i64>().is_ok(), || {
            format!("{at}: {text} is no integer")
        }),
        ("boolean", Value::String(text)) => ok_if(text == "true" || text == "false", || {
            format!("{at}: {text} is no boolean")
        }),
        ("array", Value::Object(items)) => (0..items.len()).try_for_each(|index| {
            let item = items.get(&index.to_string());
            let item = item.ok_or_else(|| format!("{at}: element {index} is missing"))?;
            fits(item, &schema["items"], &format!("{at}[{index}]"))
        }),
        ("object", Value::Object(fields)) => fits_object(fields, schema, at),
        (kind, _) => Err(format!("{at}: {value} is no {kind}")),
    }
}

fn fits_object(fields: &Map<String, Value>, schema: &Value, at: &str) -> Result<(), String> {
    for (key, value) in fields {
        let at = format!("{at}[{key}]");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(_)) => fits(value, &schema["additionalProperties"], &at)?,
            (Value::Null, _) => return Err(format!("{at}: there is no such parameter")),
            (property, _) => fits(value, property, &at)?,
        }
    }
    let required = schema["required"].as_array().into_iter().flatten();
    required.filter_map(Value::as_str).try_for_each(|key| {
        ok_if(fields.contains_key(key), || {
            format!("{at}: {key} is required")
        })
    })
}

fn ok_if(is_fine: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if is_fine { Ok(()) } else { Err(why()) }
}

fn check(call: &StripeCall) -> Result<(), String> {
    fits(
        &tree(&call.params)?,
        parameters(call)?,
        call.operation.as_str(),
    )
}

fn cases() -> u32 {
    let asked = std::env::var("BURSAR_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(1_500)
}

fn runner() -> TestRunner {
    TestRunner::new(Config {
        cases: cases(),
        failure_persistence: None,
        ..Config::default()
    })
}

/// The parameters by which each operation names our command, or none: Stripe takes no metadata there.
fn metadata_is_due(operation: Operation, call: &StripeCall) -> bool {
    match operation {
        Operation::SubscriptionUpdate => {
            call.param("payment_behavior") != Some("pending_if_incomplete")
        }
        Operation::CustomerCreate
        | Operation::CustomerUpdate
        | Operation::CheckoutCreate
        | Operation::RefundCreate
        | Operation::PaymentCapture
        | Operation::AccountCreate
        | Operation::DisputeUpdate => true,
        Operation::PortalCreate
        | Operation::PaymentCancel
        | Operation::SubscriptionCancel
        | Operation::SubscriptionResume
        | Operation::InvoicePreview
        | Operation::InvoiceFinalize
        | Operation::AccountLinkCreate
        | Operation::LoginLinkCreate => false,
    }
}

/// What may go along with `pending_if_incomplete`: Stripe documentation, "Pending updates reference".
const MAY_WAIT: [&str; 9] = [
    "expand",
    "payment_behavior",
    "proration_behavior",
    "proration_date",
    "billing_cycle_anchor",
    "items",
    "trial_end",
    "trial_from_plan",
    "add_invoice_items",
];

#[test]
fn stripes_document_takes_every_call_there_can_be() {
    let seen = RefCell::new(BTreeSet::new());
    let outcome = runner().run(&calls(), |call| {
        seen.borrow_mut().insert(call.operation);
        check(&call).map_err(TestCaseError::fail)?;
        let takes_metadata = parameters(&call).unwrap()["properties"]["metadata"].is_object();
        let is_named = call.param("metadata[command_id]").is_some();
        prop_assert_eq!(is_named, metadata_is_due(call.operation, &call));
        let waits = call.param("payment_behavior") == Some("pending_if_incomplete");
        prop_assert!(is_named || waits || !takes_metadata, "{}", call.path);
        for (name, _) in call.params.iter().filter(|_| waits) {
            let top = name.split('[').next().unwrap();
            prop_assert!(MAY_WAIT.contains(&top), "{} cannot wait", name);
        }
        Ok(())
    });
    outcome.unwrap();
    let seen = seen.into_inner();
    let missing: Vec<&Operation> = Operation::ALL
        .iter()
        .filter(|o| !seen.contains(o))
        .collect();
    assert!(missing.is_empty(), "no case of {missing:?}");
    println!("calls={} operations={}", cases(), seen.len());
}

#[test]
fn the_document_refuses_what_is_wrong() {
    let good = StripeCall {
        operation: Operation::CheckoutCreate,
        scope: bursar_domain::ids::Scope::PLATFORM,
        method: Method::Post,
        path: "/v1/checkout/sessions".to_owned(),
        params: vec![("mode".to_owned(), "payment".to_owned())],
    };
    assert_eq!(check(&good), Ok(()));
    let with = |name: &str, value: &str| StripeCall {
        params: vec![(name.to_owned(), value.to_owned())],
        ..good.clone()
    };
    for wrong in [
        with("mode", "lease"),
        with("mods", "payment"),
        with("line_items[1][price]", "price_1"),
        with("line_items[0][quantity]", "1.5"),
        with("automatic_tax[enabled]", "yes"),
        with("automatic_tax[liability][type]", "self"),
        with("metadata[a][b]", "1"),
        with("customer_update", "auto"),
        StripeCall {
            path: "/v1/checkout/session".to_owned(),
            ..good.clone()
        },
        StripeCall {
            method: Method::Delete,
            ..good.clone()
        },
    ] {
        assert!(check(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_checkout_says_who_buys_what_on_everything_it_makes() {
    let outcome = runner().run(&checkouts(), |(order, call)| {
        let is_subscription = order.mode == CheckoutMode::Subscription;
        let (made, other) = if is_subscription {
            ("subscription_data", "payment_intent_data")
        } else {
            ("payment_intent_data", "subscription_data")
        };
        prop_assert_eq!(
            call.param("mode"),
            Some(if is_subscription {
                "subscription"
            } else {
                "payment"
            })
        );
        prop_assert_eq!(
            call.param("client_reference_id"),
            Some(order.tenant.as_str())
        );
        let quantity = order.quantity.to_string();
        for (key, value) in [
            ("tenant_id", Some(order.tenant.as_str())),
            ("plan_id", Some(order.plan_id.as_str())),
            ("command_id", call.param("metadata[command_id]")),
            ("order_id", order.order_id.as_deref()),
            ("quantity", Some(quantity.as_str())),
        ] {
            prop_assert_eq!(call.param(&format!("metadata[{key}]")), value);
            prop_assert_eq!(call.param(&format!("{made}[metadata][{key}]")), value);
        }
        prop_assert!(call.param("metadata[command_id]").is_some());
        prop_assert!(call.params.iter().all(|(name, _)| !name.starts_with(other)));
        let has_trial = call.param("subscription_data[trial_period_days]").is_some();
        prop_assert_eq!(has_trial, is_subscription && order.trial_days > 0);
        let (allows, discounts) = (
            call.param("allow_promotion_codes"),
            call.param("discounts[0][promotion_code]"),
        );
        prop_assert_eq!(discounts, order.promotion_code.as_deref());
        prop_assert_eq!(
            allows.is_some(),
            order.allow_promotion_codes && discounts.is_none()
        );
        let is_known = order.customer.is_some();
        prop_assert_eq!(
            call.param("customer_update[address]").is_some(),
            is_known && order.address_update
        );
        prop_assert_eq!(
            call.param("customer_update[name]").is_some(),
            is_known && order.tax_id_collection
        );
        if let Some(customer) = &order.customer {
            let last = call.params.last().unwrap();
            prop_assert_eq!(
                (last.0.as_str(), last.1.as_str()),
                ("customer", customer.as_str())
            );
        }
        prop_assert_eq!(
            call.param("automatic_tax[enabled]").is_some(),
            order.automatic_tax
        );
        Ok(())
    });
    outcome.unwrap();
}
