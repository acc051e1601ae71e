//! Form and query parameters with Stripe's bracket keys, as a tree.
//!
//! Invariants: leaves are strings; `a[]=` gets running indexes; depth and count are bounded.
//! Not here: types and names (`table`).
//! Failure: a clear 400 for too many, too deep or contradicting keys.
//! Source of outside rules: stripe-node `stringifyRequestData`, stripe-python `_api_encode`.

use crate::error::ApiError;
use serde_json::{Map, Value};

/// Most keys in one request.
const KEYS_MAX: usize = 2_000;
/// Deepest nesting of brackets.
const DEPTH_MAX: usize = 10;

/// Parses `a[b][0]=c&…` pairs into a tree of objects with string leaves.
///
/// # Errors
/// 400 when there are too many keys, they nest too deep, or one key is both a value and a hash.
pub(crate) fn tree(parts: &[&[u8]]) -> Result<Map<String, Value>, ApiError> {
    let mut root = Map::new();
    let mut count = 0;
    for part in parts {
        for (key, value) in form_urlencoded::parse(part) {
            count += 1;
            if count > KEYS_MAX {
                return Err(ApiError::invalid(
                    "",
                    None,
                    "Too many parameters in one request.",
                ));
            }
            insert(&mut root, &split(&key)?, &value, &key)?;
        }
    }
    Ok(root)
}

fn split(key: &str) -> Result<Vec<String>, ApiError> {
    let Some(open) = key.find('[') else {
        return Ok(vec![key.to_owned()]);
    };
    let mut path = vec![key[..open].to_owned()];
    let mut rest = &key[open..];
    while let Some(inner) = rest.strip_prefix('[') {
        let Some(close) = inner.find(']') else { break };
        path.push(inner[..close].to_owned());
        rest = &inner[close + 1..];
    }
    if !rest.is_empty() || path[0].is_empty() {
        return Err(ApiError::invalid(
            key,
            None,
            &format!("Invalid parameter name: {key}"),
        ));
    }
    if path.len() > DEPTH_MAX {
        return Err(ApiError::invalid(key, None, "Parameters nest too deep."));
    }
    Ok(path)
}

fn insert(
    node: &mut Map<String, Value>,
    path: &[String],
    value: &str,
    whole: &str,
) -> Result<(), ApiError> {
    let clash = || {
        let message = format!("Invalid parameter: {whole} is given both as a value and as a hash");
        ApiError::invalid(whole, None, &message)
    };
    let Some((first, rest)) = path.split_first() else {
        return Ok(());
    };
    let key = if first.is_empty() {
        next_index(node, rest)
    } else {
        first.clone()
    };
    if rest.is_empty() {
        if node.get(&key).is_some_and(Value::is_object) {
            return Err(clash());
        }
        node.insert(key, Value::String(value.to_owned()));
        return Ok(());
    }
    match node.entry(key).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(inner) => insert(inner, rest, value, whole),
        _ => Err(clash()),
    }
}

/// `a[]=x&a[]=y` counts up; `a[][b]=1&a[][c]=2` stays with one element until a field repeats.
fn next_index(node: &Map<String, Value>, rest: &[String]) -> String {
    let Some(last) = node.len().checked_sub(1) else {
        return "0".to_owned();
    };
    if let (Some(field), Some(Value::Object(open))) = (rest.first(), node.get(&last.to_string()))
        && !open.contains_key(field)
    {
        return last.to_string();
    }
    node.len().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn brackets_nest_and_empty_brackets_count_up() {
        let parsed = tree(&[b"a[b][0][c]=1&e[]=x&e[]=y&l[][p]=1&l[][q]=2&l[][p]=3"]).unwrap();
        assert_eq!(
            Value::Object(parsed),
            json!({"a": {"b": {"0": {"c": "1"}}}, "e": {"0": "x", "1": "y"},
                   "l": {"0": {"p": "1", "q": "2"}, "1": {"p": "3"}}})
        );
    }

    #[test]
    fn a_key_that_is_value_and_hash_is_refused() {
        assert_eq!(tree(&[b"a=1&a[b]=2"]).unwrap_err().status, 400);
        assert_eq!(tree(&[b"a[b]=2&a=1"]).unwrap_err().status, 400);
        assert_eq!(tree(&[b"a[b=2"]).unwrap_err().status, 400);
    }
}
