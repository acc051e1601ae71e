//! A checker for the subset of JSON Schema that Stripe's document uses.

use serde_json::Value;
use std::collections::BTreeMap;

/// A document with `components.schemas`.
pub(crate) struct Schemas {
    all: Value,
}

impl Schemas {
    pub(crate) fn basil() -> Self {
        Self::read("openapi-product-2025-04-30.basil.json")
    }

    pub(crate) fn older() -> Self {
        Self::read("schemas-2024-06-20.json")
    }

    fn read(name: &str) -> Self {
        let path = format!(
            "{}/../tests/corpus/stripe/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let document: Value = serde_json::from_str(&text).unwrap();
        let all = if document["components"]["schemas"].is_object() {
            document["components"]["schemas"].clone()
        } else {
            document["schemas"].clone()
        };
        assert!(
            all["charge"].is_object(),
            "{name} has no schema of a charge"
        );
        Self { all }
    }

    /// Whether there is a schema for this kind of object.
    pub(crate) fn knows(&self, kind: &str) -> bool {
        self.all[kind].is_object()
    }

    /// Everything about `value` that its kind's schema does not allow, unknown keys included.
    pub(crate) fn faults(&self, kind: &str, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(&self.all[kind], value, kind, &mut faults);
        faults
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let kind = name.rsplit('/').next().unwrap_or_default();
            return self.check(&self.all[kind], value, at, faults);
        }
        if value.is_null() {
            if schema["nullable"] != true && !any_nullable(schema) {
                faults.push(format!("{at} is null"));
            }
            return;
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            return self.check_any(choices, value, at, faults);
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            faults.push(format!("{at} is {value}, not one of the enum"));
        }
        let fits = match schema["type"].as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some("array") => value.is_array(),
            Some("object") => value.is_object(),
            _ => true,
        };
        if !fits {
            faults.push(format!("{at} is {value}, not of type {}", schema["type"]));
            return;
        }
        if let Some(items) = value.as_array() {
            for (n, item) in items.iter().enumerate() {
                self.check(&schema["items"], item, &format!("{at}[{n}]"), faults);
            }
        }
        self.check_fields(schema, value, at, faults);
    }

    fn check_any(&self, choices: &[Value], value: &Value, at: &str, faults: &mut Vec<String>) {
        let mut best: Option<Vec<String>> = None;
        for choice in choices {
            let mut found = Vec::new();
            self.check(choice, value, at, &mut found);
            if best.as_ref().is_none_or(|b| found.len() < b.len()) {
                best = Some(found);
            }
        }
        faults.extend(best.unwrap_or_default());
    }

    fn check_fields(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let (Some(fields), Some(properties)) =
            (value.as_object(), schema["properties"].as_object())
        else {
            return;
        };
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !fields.contains_key(name) {
                faults.push(format!("{at}.{name} is missing"));
            }
        }
        for (name, inner) in fields {
            match properties.get(name) {
                Some(expected) => self.check(expected, inner, &format!("{at}.{name}"), faults),
                None if schema["additionalProperties"].is_object() => {}
                None => faults.push(format!("{at}.{name} is unknown")),
            }
        }
    }
}

fn any_nullable(schema: &Value) -> bool {
    schema["anyOf"]
        .as_array()
        .is_some_and(|all| all.iter().any(|s| s["nullable"] == true))
}

/// Faults of many objects, each with how often it was seen.
pub(crate) fn tally(faults: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for fault in faults {
        *tally.entry(fault).or_default() += 1;
    }
    tally
}

#[test]
fn the_checker_accepts_stripes_own_sample_events_and_sees_damage() {
    let schemas = Schemas::basil();
    let folder = format!(
        "{}/../tests/corpus/stripe/events/2025-04-30.basil",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let event: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut object = event["data"]["object"].clone();
        if event["type"] == "invoice.upcoming" {
            object["id"] = "in_none".into();
        }
        let kind = object["object"].as_str().unwrap().to_owned();
        let mut faults = schemas.faults(&kind, &object);
        // A free-form map, the one finding the data's README names.
        faults.retain(|f| !f.contains("use_stripe_sdk"));
        assert!(faults.is_empty(), "{path:?}: {faults:?}");
        object["id"] = 5.into();
        assert!(
            !schemas.faults(&kind, &object).is_empty() || kind == "application",
            "{path:?}"
        );
        seen += 1;
    }
    assert!(seen > 80, "{seen}");
}
