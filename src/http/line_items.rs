//! The lines of a sale as a request gives them.
//!
//! Source: contract §3 "Billing"; Stripe API reference, "Checkout Sessions" (at most 100 lines).

use serde_json::Value;

/// Most lines of one sale.
pub const LINES_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 250;
const AMOUNT_MINOR_MAX: u64 = 99_999_999;
const QUANTITY_MAX: u64 = 999_999;
const FIELDS: [&str; 4] = ["name", "amount", "currency", "quantity"];

/// What such a field must be, in words.
pub const RULE: &str = "a list of 1 to 100 lines {name, amount, currency, quantity}: a name of 1 to 250 characters, an \
                        amount of 1 to 99999999 in the currency's minor unit, a currency of three letters, a quantity \
                        of 1 to 999999 (1 if not given)";

/// Whether a value is such a list.
pub fn fits(value: &Value) -> bool {
    let Some(lines) = value.as_array() else {
        return false;
    };
    (1..=LINES_MAX).contains(&lines.len()) && lines.iter().all(is_line)
}

fn is_line(line: &Value) -> bool {
    let Some(fields) = line.as_object() else {
        return false;
    };
    let number =
        |name: &str, most: u64| line[name].as_u64().is_some_and(|n| (1..=most).contains(&n));
    let name = line["name"].as_str().map(str::trim).unwrap_or_default();
    let currency = line["currency"].as_str().unwrap_or_default();
    fields.keys().all(|key| FIELDS.contains(&key.as_str()))
        && (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && !name.chars().any(char::is_control)
        && number("amount", AMOUNT_MINOR_MAX)
        && (line["quantity"].is_null() || number("quantity", QUANTITY_MAX))
        && currency.len() == 3
        && currency.bytes().all(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_whole_or_refused() {
        let line = json!({"name": "Mug", "amount": 1200, "currency": "eur", "quantity": 2});
        assert!(fits(&json!([line])));
        assert!(fits(
            &json!([{"name": "Mug", "amount": 1200, "currency": "eur"}])
        ));
        for (field, value) in [
            ("name", json!("")),
            ("name", json!("x".repeat(251))),
            ("amount", json!(0)),
            ("amount", json!(-5)),
            ("amount", json!(12.5)),
            ("amount", json!("12")),
            ("currency", json!("EUR")),
            ("quantity", json!(0)),
            ("colour", json!("red")),
        ] {
            let mut bad = line.clone();
            bad[field] = value.clone();
            assert!(!fits(&json!([bad])), "{field} {value}");
        }
        assert!(!fits(&json!([])) && !fits(&json!(vec![line; 101])) && !fits(&json!({})));
    }
}
