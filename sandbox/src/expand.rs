//! Expansion of ids into objects, and the fields that exist only when expanded.
//!
//! Invariants: only fields the document marks expandable, at most four levels deep.
//! Not here: events (never expanded).
//! Failure: 400 "This property cannot be expanded".
//! Source of outside rules: Stripe API reference, "Expanding Responses".

use crate::error::ApiError;
use crate::table;
use crate::world::{World, public, text};
use serde_json::{Value, json};

/// Fields absent unless expanded: resource, field.
const ON_DEMAND: &[(&str, &str)] = &[
    ("invoice", "payments"),
    ("invoice", "confirmation_secret"),
    ("checkout.session", "line_items"),
    ("payment_link", "line_items"),
    ("charge", "refunds"),
    ("customer", "subscriptions"),
    ("customer", "sources"),
    ("customer", "tax_ids"),
];

/// Expands every path of `expand[]` in an answer.
///
/// # Errors
/// 400 for a path that is no expandable property or too deep.
pub(crate) fn expand(w: &World, answer: &mut Value, paths: &Value) -> Result<(), ApiError> {
    for path in paths
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        let parts: Vec<&str> = path.split('.').collect();
        let depth = parts.iter().filter(|part| **part != "data").count();
        if depth > 4 {
            let message = format!("You cannot expand more than 4 levels of a property ({path}).");
            return Err(ApiError::invalid(
                "expand",
                Some("property_expansion_max_depth"),
                &message,
            ));
        }
        step(w, answer, &parts, "", "")?;
    }
    Ok(())
}

fn step(w: &World, node: &mut Value, path: &[&str], kind: &str, at: &str) -> Result<(), ApiError> {
    if let Value::Array(items) = node {
        return items
            .iter_mut()
            .try_for_each(|item| step(w, item, path, kind, at));
    }
    let Some((field, rest)) = path.split_first() else {
        return Ok(());
    };
    let own = text(node, "object");
    let (kind, at) = if own.is_empty() || own == "search_result" {
        (kind.to_owned(), at.to_owned())
    } else {
        (own, String::new())
    };
    if node.is_null() {
        return Ok(());
    }
    if node.get(*field).is_none()
        && let Some(made) = on_demand(w, node, &kind, field)
    {
        node[*field] = made;
    }
    let here = if at.is_empty() {
        (*field).to_owned()
    } else {
        format!("{at}.{field}")
    };
    let refused = || {
        let message = format!(
            "This property cannot be expanded ({here}). You may want to try expanding a different property."
        );
        Err(ApiError::invalid("expand", None, &message))
    };
    let expandable = table::expandable(&kind).contains(&here);
    match node.get_mut(*field) {
        None if expandable => Ok(()),
        None => refused(),
        Some(Value::String(_)) if !expandable => refused(),
        Some(target @ Value::String(_)) => {
            if let Some(found) = lookup(w, target.as_str().unwrap_or_default()) {
                *target = found;
            }
            step(w, target, rest, &kind, &here)
        }
        Some(Value::Array(items)) => {
            for item in items.iter_mut() {
                let found = item.as_str().and_then(|id| lookup(w, id));
                if let Some(found) = found {
                    *item = found;
                }
            }
            items
                .iter_mut()
                .try_for_each(|item| step(w, item, rest, &kind, &here))
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) => Ok(()),
        Some(inner) => step(w, inner, rest, &kind, &here),
    }
}

fn lookup(w: &World, id: &str) -> Option<Value> {
    match w.any(id) {
        Some(v) if v["object"] == "__deleted_customer" => {
            Some(json!({"id": id, "object": "customer", "deleted": true}))
        }
        Some(v) => Some(public(v)),
        None => w.platform_account(id).map(public),
    }
}

fn listed(url: String, rows: Vec<Value>) -> Value {
    json!({"object": "list", "data": rows, "has_more": false, "url": url})
}

fn on_demand(w: &World, node: &Value, kind: &str, field: &str) -> Option<Value> {
    if !ON_DEMAND.contains(&(kind, field)) {
        return None;
    }
    let id = text(node, "id");
    let rows = |of: &str, by: &str| -> Vec<Value> {
        w.newest(of)
            .filter(|v| v[by] == id.as_str())
            .take(10)
            .map(public)
            .collect()
    };
    Some(match (kind, field) {
        ("invoice", "payments") => listed(
            format!("/v1/invoice_payments?invoice={id}"),
            rows("invoice_payment", "invoice"),
        ),
        ("invoice", _) => {
            let intent = w
                .any(&id)
                .and_then(|v| v["__intent"].as_str())
                .and_then(|pi| w.get("payment_intent", pi));
            intent.map_or(
                Value::Null,
                |pi| json!({"client_secret": pi["client_secret"], "type": "payment_intent"}),
            )
        }
        (_, "line_items") => {
            let items = w
                .any(&id)
                .map(|v| public(&v["__items"]))
                .unwrap_or(json!([]));
            let base = if kind == "payment_link" {
                "payment_links"
            } else {
                "checkout/sessions"
            };
            listed(
                format!("/v1/{base}/{id}/line_items"),
                items.as_array().cloned().unwrap_or_default(),
            )
        }
        ("charge", _) => listed(
            format!("/v1/charges/{id}/refunds"),
            rows("refund", "charge"),
        ),
        ("customer", "subscriptions") => {
            let mut subs = rows("subscription", "customer");
            subs.retain(|s| s["status"] != "canceled");
            listed(format!("/v1/customers/{id}/subscriptions"), subs)
        }
        (_, other) => listed(format!("/v1/customers/{id}/{other}"), Vec::new()),
    })
}
