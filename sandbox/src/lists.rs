//! Lists with cursors, filters and search, and plain retrieval.
//!
//! Invariants: newest first; `limit` 1 to 100, 10 by default; a cursor names an existing object.
//! Not here: lists with rules of their own (`api`).
//! Failure: 400 for bad limits and cursors, 404 for unknown ids.
//! Source of outside rules: Stripe API reference, "Pagination", "Search".

use crate::error::ApiError;
use crate::world::World;
use serde_json::{Value, json};

/// One page of the objects of a kind that pass `keep`.
///
/// # Errors
/// 400 for a bad `limit`, or both cursors; 404 for a cursor that names nothing.
pub(crate) fn page(
    w: &World,
    kind: &str,
    url: &str,
    p: &Value,
    keep: impl Fn(&Value) -> bool,
) -> Result<Value, ApiError> {
    let created = created_range(&p["created"]);
    let rows: Vec<Value> = w
        .newest(kind)
        .filter(|v| {
            let at = v["created"]
                .as_i64()
                .or_else(|| v["date"].as_i64())
                .unwrap_or(0);
            created.is_none_or(|(from, to)| (from..=to).contains(&at)) && keep(v)
        })
        .cloned()
        .collect();
    page_of(rows, url, p)
}

/// One page of rows that are newest first.
///
/// # Errors
/// As [`page`].
pub(crate) fn page_of(rows: Vec<Value>, url: &str, p: &Value) -> Result<Value, ApiError> {
    let limit = limit(p)?;
    let (after, before) = (p["starting_after"].as_str(), p["ending_before"].as_str());
    if after.is_some() && before.is_some() {
        let message = "You can only pass one of these parameters: starting_after, ending_before";
        return Err(ApiError::invalid("ending_before", None, message));
    }
    let position = |id: &str, param: &str| {
        rows.iter()
            .position(|v| v["id"] == id)
            .ok_or_else(|| ApiError::no_such("object", id, param))
    };
    let (start, end, has_more) = match (after, before) {
        (Some(id), _) => {
            let start = position(id, "starting_after")? + 1;
            let end = (start + limit).min(rows.len());
            (start, end, end < rows.len())
        }
        (None, Some(id)) => {
            let end = position(id, "ending_before")?;
            let start = end.saturating_sub(limit);
            (start, end, start > 0)
        }
        (None, None) => (0, limit.min(rows.len()), rows.len() > limit),
    };
    Ok(json!({"object": "list", "url": url, "has_more": has_more, "data": rows[start..end]}))
}

fn limit(p: &Value) -> Result<usize, ApiError> {
    let limit = p["limit"].as_i64().unwrap_or(10);
    usize::try_from(limit)
        .ok()
        .filter(|n| (1..=100).contains(n))
        .ok_or_else(|| {
            let message =
                format!("This value must be between 1 and 100 (it currently is '{limit}').");
            ApiError::invalid("limit", Some("parameter_invalid_integer"), &message)
        })
}

fn created_range(created: &Value) -> Option<(i64, i64)> {
    if let Some(at) = created.as_i64() {
        return Some((at, at));
    }
    created.as_object()?;
    let from = created["gte"]
        .as_i64()
        .or_else(|| created["gt"].as_i64().map(|t| t.saturating_add(1)));
    let to = created["lte"]
        .as_i64()
        .or_else(|| created["lt"].as_i64().map(|t| t.saturating_sub(1)));
    Some((from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX)))
}

/// Resources served by plain lists and retrieval: path, kind, equality filters.
const PLAIN: &[(&str, &str, &[&str])] = &[
    ("products", "product", &["active", "url"]),
    ("prices", "price", &[]),
    ("coupons", "coupon", &[]),
    (
        "promotion_codes",
        "promotion_code",
        &["active", "code", "customer"],
    ),
    ("customers", "customer", &["email", "test_clock"]),
    ("payment_methods", "payment_method", &[]),
    ("payment_intents", "payment_intent", &["customer"]),
    (
        "charges",
        "charge",
        &["customer", "payment_intent", "transfer_group"],
    ),
    ("refunds", "refund", &["charge", "payment_intent"]),
    ("disputes", "dispute", &["charge", "payment_intent"]),
    (
        "invoices",
        "invoice",
        &["collection_method", "customer", "status"],
    ),
    ("invoiceitems", "invoiceitem", &["customer", "invoice"]),
    ("invoice_payments", "invoice_payment", &[]),
    ("subscriptions", "subscription", &[]),
    ("checkout/sessions", "checkout.session", &[]),
    ("payment_links", "payment_link", &["active"]),
    ("accounts", "account", &[]),
    (
        "balance_transactions",
        "balance_transaction",
        &["currency", "source", "type"],
    ),
    ("payouts", "payout", &["status", "destination"]),
    ("webhook_endpoints", "webhook_endpoint", &[]),
    (
        "billing_portal/configurations",
        "billing_portal.configuration",
        &["active", "is_default"],
    ),
    (
        "radar/early_fraud_warnings",
        "radar.early_fraud_warning",
        &["charge", "payment_intent"],
    ),
    ("reviews", "review", &[]),
    ("test_helpers/test_clocks", "test_helpers.test_clock", &[]),
];

/// Serves the plain `GET`s.
///
/// # Errors
/// 404 for unknown ids and paths without handler.
pub(crate) fn generic(
    w: &World,
    path: &str,
    id: &str,
    _second: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    if let Some(base) = path.strip_suffix("/search") {
        return search(w, base, p);
    }
    for (base, kind, filters) in PLAIN {
        if path == *base {
            let url = format!("/v1/{base}");
            return page(w, kind, &url, p, |v| {
                let of_subscription = p["subscription"].is_null()
                    || *kind != "invoice"
                    || v["parent"]["subscription_details"]["subscription"] == p["subscription"];
                of_subscription
                    && filters.iter().all(|f| p[f].is_null() || p[f] == v[f])
                    && (*kind != "account" || v["id"] != w.platform)
            });
        }
        let rest = path
            .strip_prefix(base)
            .and_then(|rest| rest.strip_prefix('/'));
        if rest.is_some_and(|rest| rest.starts_with('{') && !rest.contains('/')) {
            return w.need(kind, id, rest.map_or("id", |r| r.trim_matches(['{', '}'])));
        }
    }
    Err(ApiError::unrecognized_url("GET", &format!("/v1/{path}")))
}

fn search(w: &World, base: &str, p: &Value) -> Result<Value, ApiError> {
    let kind = PLAIN
        .iter()
        .find(|(path, ..)| *path == base)
        .map_or("", |(_, kind, _)| kind);
    let clauses = parse_query(p["query"].as_str().unwrap_or_default())?;
    let limit = limit(p)?;
    let skip: usize = match p["page"].as_str() {
        None => 0,
        Some(cursor) => cursor.parse().map_err(|_| {
            ApiError::invalid(
                "page",
                None,
                "Invalid page: use next_page of the last answer.",
            )
        })?,
    };
    let hits: Vec<Value> = w
        .newest(kind)
        .filter(|v| {
            clauses.iter().all(|(field, key, wanted)| {
                let found = if field == "metadata" {
                    &v["metadata"][key]
                } else {
                    &v[field]
                };
                match found {
                    Value::String(s) => s == wanted,
                    other => format!("{other}").as_str() == wanted.as_str(),
                }
            })
        })
        .cloned()
        .collect();
    let end = (skip + limit).min(hits.len());
    let has_more = end < hits.len();
    Ok(json!({
        "object": "search_result", "url": format!("/v1/{base}/search"), "has_more": has_more,
        "next_page": has_more.then(|| end.to_string()),
        "data": hits.get(skip..end).unwrap_or_default(),
    }))
}

type Clause = (String, String, String);

/// `field:'value'` and `metadata['key']:'value'`, joined by AND.
fn parse_query(query: &str) -> Result<Vec<Clause>, ApiError> {
    let bad = || {
        let message =
            "This sandbox's search takes field:'value' and metadata['key']:'value' joined by AND.";
        ApiError::invalid("query", None, message)
    };
    let mut clauses = Vec::new();
    for clause in query.split(" AND ") {
        let (field, value) = clause.trim().split_once(':').ok_or_else(bad)?;
        let value = value.trim_matches(['\'', '"']).to_owned();
        match field.strip_prefix("metadata[") {
            Some(rest) => {
                let key = rest
                    .strip_suffix(']')
                    .ok_or_else(bad)?
                    .trim_matches(['\'', '"']);
                clauses.push(("metadata".to_owned(), key.to_owned(), value));
            }
            None => clauses.push((field.to_owned(), String::new(), value)),
        }
    }
    Ok(clauses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &Value) -> Vec<i64> {
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["n"].as_i64().unwrap())
            .collect()
    }

    #[test]
    fn cursors_walk_both_ways_without_gap_or_repeat() {
        let rows: Vec<Value> = (0..25)
            .rev()
            .map(|n| json!({"id": format!("o{n}"), "n": n}))
            .collect();
        let first = page_of(rows.clone(), "/u", &json!({})).unwrap();
        assert_eq!(ids(&first), (15..25).rev().collect::<Vec<_>>());
        assert_eq!(first["has_more"], true);
        let older = page_of(
            rows.clone(),
            "/u",
            &json!({"starting_after": "o15", "limit": 100}),
        )
        .unwrap();
        assert_eq!(ids(&older), (0..15).rev().collect::<Vec<_>>());
        assert_eq!(older["has_more"], false);
        let newer = page_of(
            rows.clone(),
            "/u",
            &json!({"ending_before": "o15", "limit": 3}),
        )
        .unwrap();
        assert_eq!(ids(&newer), [18, 17, 16]);
        assert_eq!(newer["has_more"], true);
        assert_eq!(
            page_of(rows, "/u", &json!({"limit": 0}))
                .unwrap_err()
                .status,
            400
        );
    }
}
