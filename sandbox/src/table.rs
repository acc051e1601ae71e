//! The table of operations and parameters compiled from Stripe's OpenAPI document.
//!
//! Invariants: a parameter the document does not name is refused; values that pass have the
//! document's type (integers are numbers, arrays are arrays).
//! Not here: rules between parameters (each handler has its own).
//! Failure: 400 in Stripe's words, naming the parameter.
//! Source of outside rules: `data/parameters.json`, compiled by `tools/compile_table.py`; the paths
//! of the Stripe CLI that no document describes are listed in `EXTRA`.

use crate::error::ApiError;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::OnceLock;

/// Operations the official CLI uses although the public document lacks them.
const EXTRA: &[(&str, &str)] = &[
    (
        "GET /v1/payment_pages/{session}",
        r#"{"o":{"expand":{"a":"s"}}}"#,
    ),
    (
        "POST /v1/payment_pages/{session}/confirm",
        r#"{"o":{"payment_method":"s","expected_amount":"i","expand":{"a":"s"},"key":"s","eid":"s"},"r":["payment_method"]}"#,
    ),
    ("POST /v1/invoiceitems", INVOICE_ITEM),
    ("POST /v1/invoiceitems/{invoiceitem}", INVOICE_ITEM_CHANGE),
    (
        "GET /v1/invoiceitems",
        r#"{"o":{"customer":"s","invoice":"s","pending":"b","limit":"i","starting_after":"s","ending_before":"s","created":{"|":["i",{"o":{"gt":"i","gte":"i","lt":"i","lte":"i"}}]},"expand":{"a":"s"}}}"#,
    ),
    (
        "GET /v1/invoiceitems/{invoiceitem}",
        r#"{"o":{"expand":{"a":"s"}}}"#,
    ),
    ("DELETE /v1/invoiceitems/{invoiceitem}", r#"{"o":{}}"#),
];

const INVOICE_ITEM: &str = r#"{"o":{"customer":"s","amount":"i","currency":"s","description":"s","discountable":"b","invoice":"s","subscription":"s","quantity":"i","unit_amount_decimal":"s","pricing":{"o":{"price":"s"}},"period":{"o":{"start":"i","end":"i"},"r":["start","end"]},"metadata":{"|":[{"e":[""]},"m"]},"expand":{"a":"s"}},"r":["customer"]}"#;

const INVOICE_ITEM_CHANGE: &str = r#"{"o":{"amount":"i","description":"s","quantity":"i","discountable":"b","metadata":{"|":[{"e":[""]},"m"]},"expand":{"a":"s"}}}"#;

/// One row of the table: method, path template and the accepted parameters.
#[derive(Debug)]
pub(crate) struct Operation {
    /// `"POST /v1/refunds"` with `{…}` where ids stand.
    pub name: String,
    method: String,
    segments: Vec<String>,
    parameters: Value,
}

struct Table {
    operations: Vec<Operation>,
    expandable: HashMap<String, Vec<String>>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let raw: Value = serde_json::from_str(include_str!("../data/parameters.json"))
            .expect("the compiled table is JSON, a test reads it");
        let mut operations = Vec::new();
        for (name, parameters) in raw["operations"].as_object().into_iter().flatten() {
            operations.push(operation(name, parameters.clone()));
        }
        for (name, parameters) in EXTRA {
            let parameters =
                serde_json::from_str(parameters).expect("a constant of this file, a test reads it");
            operations.push(operation(name, parameters));
        }
        let expandable = raw["expandable"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| {
                let fields = v.as_array().into_iter().flatten().filter_map(Value::as_str);
                (k.clone(), fields.map(str::to_owned).collect())
            });
        Table {
            operations,
            expandable: expandable.collect(),
        }
    })
}

fn operation(name: &str, parameters: Value) -> Operation {
    let (method, path) = name.split_once(' ').unwrap_or(("GET", name));
    let segments = path
        .split('/')
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect();
    Operation {
        name: name.to_owned(),
        method: method.to_owned(),
        segments,
        parameters,
    }
}

/// Finds the operation for a request; literal segments win over `{…}`. Also returns the ids.
pub(crate) fn find(method: &str, path: &str) -> Option<(&'static Operation, Vec<String>)> {
    let wanted: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let mut best: Option<(usize, &Operation)> = None;
    for op in &table().operations {
        if op.method != method || op.segments.len() != wanted.len() {
            continue;
        }
        let mut literal = 0;
        let fits = op.segments.iter().zip(&wanted).all(|(pattern, part)| {
            literal += usize::from(pattern == part);
            pattern == part || pattern.starts_with('{')
        });
        if fits && best.is_none_or(|(most, _)| literal > most) {
            best = Some((literal, op));
        }
    }
    let (_, op) = best?;
    let ids = op
        .segments
        .iter()
        .zip(&wanted)
        .filter(|(pattern, _)| pattern.starts_with('{'));
    Some((op, ids.map(|(_, part)| (*part).to_owned()).collect()))
}

/// The fields of a resource that may be expanded, as dotted paths.
pub(crate) fn expandable(object: &str) -> &'static [String] {
    table().expandable.get(object).map_or(&[], Vec::as_slice)
}

/// Names of all operations.
#[cfg(test)]
pub(crate) fn operation_names() -> impl Iterator<Item = &'static str> {
    table().operations.iter().map(|op| op.name.as_str())
}

impl Operation {
    /// Checks names and types and returns the typed parameters.
    ///
    /// # Errors
    /// 400 `parameter_unknown`, `parameter_missing`, `parameter_invalid_integer` and the like.
    pub(crate) fn check(&self, raw: &Map<String, Value>) -> Result<Value, ApiError> {
        typed_object(raw, &self.parameters, "")
    }
}

fn named(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}[{key}]")
    }
}

fn typed_object(raw: &Map<String, Value>, kind: &Value, at: &str) -> Result<Value, ApiError> {
    let properties = kind["o"].as_object();
    let mut out = Map::new();
    for (key, value) in raw {
        let name = named(at, key);
        let Some(expected) = properties.and_then(|p| p.get(key)) else {
            let message = format!("Received unknown parameter: {name}");
            return Err(ApiError::invalid(
                &name,
                Some("parameter_unknown"),
                &message,
            ));
        };
        out.insert(key.clone(), typed(value, expected, &name)?);
    }
    for key in kind["r"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if out.get(key).is_none_or(|v| v == "") && !accepts_empty(kind, key) {
            return Err(ApiError::missing(&named(at, key)));
        }
    }
    Ok(Value::Object(out))
}

fn accepts_empty(kind: &Value, key: &str) -> bool {
    kind["o"][key]["|"]
        .as_array()
        .is_some_and(|all| all.iter().any(|k| k["e"][0] == ""))
}

fn typed(raw: &Value, kind: &Value, at: &str) -> Result<Value, ApiError> {
    if let Some(choices) = kind["|"].as_array() {
        return one_of(raw, choices, at);
    }
    if let Some(allowed) = kind["e"].as_array() {
        return enumerated(raw, allowed, at);
    }
    if kind.get("a").is_some() {
        return array(raw, &kind["a"], at);
    }
    if kind.get("o").is_some() {
        return match raw {
            Value::Object(inner) => typed_object(inner, kind, at),
            Value::String(s) if s.is_empty() => Ok(json!("")),
            _ => Err(ApiError::invalid(at, None, "Invalid object")),
        };
    }
    scalar(raw, kind.as_str().unwrap_or("*"), at)
}

fn scalar(raw: &Value, kind: &str, at: &str) -> Result<Value, ApiError> {
    if kind == "*" || kind == "m" && raw.is_object() {
        return Ok(raw.clone());
    }
    let Some(text) = raw.as_str() else {
        return Err(ApiError::invalid(
            at,
            None,
            &format!("Invalid string: {raw}"),
        ));
    };
    match kind {
        "i" if text.is_empty() => Ok(json!("")),
        "i" => text.parse::<i64>().map(Value::from).map_err(|_| {
            let message = format!("Invalid integer: {text}");
            ApiError::invalid(at, Some("parameter_invalid_integer"), &message)
        }),
        "b" => match text {
            "true" => Ok(json!(true)),
            "false" => Ok(json!(false)),
            _ => Err(ApiError::invalid(
                at,
                None,
                &format!("Invalid boolean: {text}"),
            )),
        },
        "m" if !text.is_empty() => Err(ApiError::invalid(at, None, "Invalid object")),
        // Decimals stay text: the sandbox calculates in integers only.
        _ => Ok(raw.clone()),
    }
}

fn enumerated(raw: &Value, allowed: &[Value], at: &str) -> Result<Value, ApiError> {
    if allowed.contains(raw) {
        return Ok(raw.clone());
    }
    let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).take(40).collect();
    let field = at.rsplit('[').next().unwrap_or(at).trim_end_matches(']');
    let list = match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{}, or {last}", rest.join(", ")),
        _ => names.join(""),
    };
    Err(ApiError::invalid(
        at,
        None,
        &format!("Invalid {field}: must be one of {list}"),
    ))
}

fn array(raw: &Value, element: &Value, at: &str) -> Result<Value, ApiError> {
    match raw {
        Value::Object(items) => {
            let mut indexed = Vec::new();
            for (key, value) in items {
                let Ok(index) = key.parse::<u32>() else {
                    return Err(ApiError::invalid(at, None, "Invalid array"));
                };
                indexed.push((index, value));
            }
            indexed.sort_by_key(|(index, _)| *index);
            let typed_items = indexed
                .into_iter()
                .map(|(i, v)| typed(v, element, &named(at, &i.to_string())));
            Ok(Value::Array(typed_items.collect::<Result<_, _>>()?))
        }
        Value::String(s) if s.is_empty() => Ok(json!([])),
        _ => Err(ApiError::invalid(at, None, "Invalid array")),
    }
}

/// Takes the first alternative that fits; the error of the likeliest one otherwise.
fn one_of(raw: &Value, choices: &[Value], at: &str) -> Result<Value, ApiError> {
    let is_hash = raw.is_object();
    let mut first_error = None;
    for choice in choices {
        let takes_hash = choice.get("a").is_some() || choice.get("o").is_some() || choice == "m";
        if is_hash != takes_hash {
            continue;
        }
        match typed(raw, choice, at) {
            Ok(value) => return Ok(value),
            Err(error) if first_error.is_none() || choice.get("e").is_none() => {
                first_error = Some(error);
            }
            Err(_) => {}
        }
    }
    Err(first_error.unwrap_or_else(|| ApiError::invalid(at, None, "Invalid value")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::tree;

    fn check(op: &str, form: &str) -> Result<Value, ApiError> {
        let (method, path) = op.split_once(' ').unwrap();
        find(method, path)
            .expect(op)
            .0
            .check(&tree(&[form.as_bytes()]).unwrap())
    }

    #[test]
    fn unknown_missing_and_mistyped_parameters_are_named() {
        let unknown = check("POST /v1/refunds", "charg=ch_1").unwrap_err();
        assert_eq!(unknown.body["code"], "parameter_unknown");
        assert_eq!(unknown.body["param"], "charg");
        let nested = check("POST /v1/checkout/sessions", "line_items[0][prise]=x").unwrap_err();
        assert_eq!(nested.body["param"], "line_items[0][prise]");
        let missing = check("POST /v1/payment_intents", "amount=5").unwrap_err();
        assert_eq!(missing.body["code"], "parameter_missing");
        assert_eq!(missing.body["param"], "currency");
        let integer = check("POST /v1/refunds", "amount=1.5").unwrap_err();
        assert_eq!(integer.body["code"], "parameter_invalid_integer");
        assert!(check("POST /v1/refunds", "reason=because").is_err());
    }

    #[test]
    fn values_get_the_types_of_the_document() {
        let typed = check(
            "POST /v1/checkout/sessions",
            "mode=payment&line_items[0][quantity]=2&metadata[0]=a&expand[]=customer&automatic_tax[enabled]=true",
        )
        .unwrap();
        assert_eq!(typed["line_items"][0]["quantity"], 2);
        assert_eq!(typed["metadata"]["0"], "a");
        assert_eq!(typed["automatic_tax"]["enabled"], true);
    }

    #[test]
    fn literal_paths_win_over_ids() {
        assert_eq!(
            find("GET", "/v1/customers/search").unwrap().0.name,
            "GET /v1/customers/search"
        );
        assert_eq!(find("GET", "/v1/customers/cus_1").unwrap().1, ["cus_1"]);
        assert!(find("GET", "/v1/nothing").is_none());
        assert!(operation_names().count() > 150);
    }
}
