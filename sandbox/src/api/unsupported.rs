//! Parameters Stripe takes that would change amounts here if they were honoured, and are not.
//!
//! Invariants: what would make a number wrong is refused aloud, never dropped.
//! Not here: parameters without effect on money or state; they are accepted and some are ignored.
//! Failure: 400 `sandbox_unsupported`, naming the parameter.
//! Source of outside rules: none.

use crate::error::ApiError;
use serde_json::Value;

/// Operation without `/v1/`, and the parameters; `[]` stands for every element.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "POST prices",
        &[
            "tiers",
            "transform_quantity",
            "custom_unit_amount",
            "currency_options",
        ],
    ),
    (
        "POST subscriptions",
        &[
            "add_invoice_items",
            "backdate_start_date",
            "billing_cycle_anchor",
            "default_tax_rates",
            "items[].tax_rates",
            "items[].discounts",
            "transfer_data",
        ],
    ),
    (
        "POST subscriptions/{subscription_exposed_id}",
        &[
            "add_invoice_items",
            "default_tax_rates",
            "items[].tax_rates",
            "items[].discounts",
            "transfer_data",
        ],
    ),
    (
        "POST checkout/sessions",
        &[
            "shipping_options",
            "line_items[].tax_rates",
            "line_items[].dynamic_tax_rates",
            "subscription_data.billing_cycle_anchor",
            "subscription_data.default_tax_rates",
            "optional_items",
        ],
    ),
    (
        "POST payment_links",
        &["shipping_options", "optional_items"],
    ),
    (
        "POST invoices",
        &[
            "discounts",
            "default_tax_rates",
            "shipping_cost",
            "from_invoice",
        ],
    ),
];

/// Refuses what would silently give wrong amounts.
pub(crate) fn refuse(method: &str, path: &str, p: &Value) -> Result<(), ApiError> {
    let name = format!("{method} {path}");
    let refused = REFUSED.iter().find(|(operation, _)| *operation == name);
    for parameter in refused.into_iter().flat_map(|(_, list)| list.iter()) {
        let given = match parameter.split_once("[].") {
            Some((list, field)) => p[list]
                .as_array()
                .into_iter()
                .flatten()
                .any(|v| is_given(&v[field])),
            None => is_given(parameter.split('.').fold(p, |v, part| &v[part])),
        };
        if given {
            let message = format!(
                "This sandbox does not honour {parameter} and refuses it rather than answer wrong amounts."
            );
            return Err(ApiError::invalid(
                parameter,
                Some("sandbox_unsupported"),
                &message,
            ));
        }
    }
    Ok(())
}

fn is_given(value: &Value) -> bool {
    !value.is_null() && value != "" && !value.as_array().is_some_and(Vec::is_empty)
}
