//! Addresses with a query: filters kept from page to page.

use super::visit::Visit;
use serde_json::{Value, json};

/// Text as it stands in a query or a path.
pub(super) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The list's next page: the page's own address with the filters that were given and the cursor. `null`: there is none.
pub(super) fn next_page(
    visit: &Visit,
    path: &str,
    filters: &[&'static str],
    page: &Value,
) -> Value {
    let Some(cursor) = page["nextCursor"].as_str() else {
        return Value::Null;
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in visit.given(filters) {
        query.append_pair(name, &value);
    }
    query.append_pair("cursor", cursor);
    json!(format!("{path}?{}", query.finish()))
}

/// What the filters hold, so that the form shows it again.
pub(super) fn filled(visit: &Visit, filters: &[&'static str]) -> Value {
    let pairs = filters
        .iter()
        .map(|name| ((*name).to_owned(), json!(visit.field(name).unwrap_or(""))));
    Value::Object(pairs.collect())
}
