//! Copying parameters into objects: metadata, nullable strings, amounts.
//!
//! Invariants: an empty string unsets; metadata keeps within Stripe's limits.
//! Not here: which fields a resource has.
//! Failure: 400 naming the parameter.
//! Source of outside rules: Stripe API reference, "Metadata".

use crate::error::ApiError;
use serde_json::{Map, Value, json};

/// Merges `metadata` into an object: an empty value removes a key, an empty hash removes all.
///
/// # Errors
/// 400 above 50 keys, 40 characters of key or 500 of value.
pub(crate) fn metadata(object: &mut Value, p: &Value) -> Result<(), ApiError> {
    metadata_at(&mut object["metadata"], &p["metadata"])
}

/// The same for a map at another place.
///
/// # Errors
/// As [`metadata`].
pub(crate) fn metadata_at(target: &mut Value, given: &Value) -> Result<(), ApiError> {
    if given.is_null() {
        return Ok(());
    }
    if given == "" {
        *target = json!({});
        return Ok(());
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return Ok(());
    };
    for (key, value) in given.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        if key.chars().count() > 40 || text.chars().count() > 500 {
            let message = "Metadata keys have at most 40 characters, values at most 500.";
            return Err(ApiError::invalid(
                &format!("metadata[{key}]"),
                None,
                message,
            ));
        }
        if text.is_empty() {
            map.remove(key);
        } else {
            map.insert(key.clone(), json!(text));
        }
    }
    if map.len() > 50 {
        return Err(ApiError::invalid(
            "metadata",
            None,
            "Metadata has at most 50 keys.",
        ));
    }
    Ok(())
}

/// Copies the named fields where given; an empty string becomes null.
pub(crate) fn copy(object: &mut Value, p: &Value, names: &[&str]) {
    for name in names {
        match p.get(*name) {
            None | Some(Value::Null) => {}
            Some(given) if given == "" => object[*name] = Value::Null,
            Some(given) => object[*name] = given.clone(),
        }
    }
}

/// Copies a hash field by field, so that what was not given stays.
pub(crate) fn copy_hash(object: &mut Value, p: &Value, name: &str) {
    let Some(given) = p[name].as_object() else {
        return;
    };
    if !object[name].is_object() {
        object[name] = json!({});
    }
    for (key, value) in given {
        object[name][key] = if value == "" {
            Value::Null
        } else {
            value.clone()
        };
    }
}

/// A parameter as a string, if given and not empty.
pub(crate) fn given<'a>(p: &'a Value, name: &str) -> Option<&'a str> {
    p[name].as_str().filter(|s| !s.is_empty())
}

/// A required string parameter.
///
/// # Errors
/// 400 `parameter_missing`.
pub(crate) fn required<'a>(p: &'a Value, name: &str) -> Result<&'a str, ApiError> {
    given(p, name).ok_or_else(|| ApiError::missing(name))
}

/// A lower-case three-letter currency.
///
/// # Errors
/// 400 when it is none.
pub(crate) fn currency(p: &Value, name: &str) -> Result<String, ApiError> {
    let code = required(p, name)?.to_ascii_lowercase();
    if code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase()) {
        return Ok(code);
    }
    let message = format!("Invalid currency: {code}. Stripe currently supports ISO 4217 codes.");
    Err(ApiError::invalid(name, None, &message))
}

/// An address with all of its keys.
pub(crate) fn address(given: &Value) -> Value {
    if !given.is_object() {
        return Value::Null;
    }
    let mut out = json!({});
    for key in ["city", "country", "line1", "line2", "postal_code", "state"] {
        out[key] = match given.get(key) {
            Some(value) if value != "" => value.clone(),
            _ => Value::Null,
        };
    }
    out
}
