//! Amounts as people read and type them.
//!
//! Invariants: whole numbers of Stripe's minor unit, never a float; what is typed is taken exactly or refused.

use bursar_domain::money::Currency;

/// `1234` of `usd` as `12.34 USD`.
pub(super) fn shown(amount_minor: i64, currency: &str) -> String {
    let Ok(known) = Currency::parse(currency) else {
        return format!("{amount_minor} {currency}");
    };
    let code = currency.to_uppercase();
    format!("{} {code}", typed(amount_minor, known))
}

/// The number alone, as it would be typed.
pub(super) fn typed(amount_minor: i64, currency: Currency) -> String {
    let places = currency.exponent();
    let sign = if amount_minor < 0 { "-" } else { "" };
    let (absolute, unit) = (amount_minor.unsigned_abs(), 10_u64.pow(places));
    let grouped = grouped(absolute / unit);
    match places as usize {
        0 => format!("{sign}{grouped}"),
        width => format!("{sign}{grouped}.{:0width$}", absolute % unit),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// What somebody typed, in minor units: `12`, `12.3`, `12.34`, with a comma too. `None`: it is no such amount, or has
/// more places than the currency.
pub(super) fn parsed(text: &str, currency: Currency) -> Option<i64> {
    let plain: String = text
        .trim()
        .chars()
        .filter(|c| !matches!(c, '\u{202f}' | '\u{a0}' | ' '))
        .map(|c| if c == ',' { '.' } else { c })
        .collect();
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
    let places = currency.exponent() as usize;
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fits = !whole.is_empty()
        && whole.len() <= 12
        && part.len() <= places
        && is_number(whole)
        && is_number(part)
        && (part.is_empty() != plain.contains('.'));
    let digits = format!("{whole}{part:0<places$}");
    fits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_typed_as_it_is_shown_and_nothing_else_is_taken() {
        let usd = Currency::parse("usd").unwrap();
        let (jpy, kwd) = (
            Currency::parse("jpy").unwrap(),
            Currency::parse("kwd").unwrap(),
        );
        for amount in [0, 1, 99, 100, 2_900, 123_456_789] {
            for currency in [usd, jpy, kwd] {
                assert_eq!(parsed(&typed(amount, currency), currency), Some(amount));
            }
        }
        assert_eq!(shown(123_456_789, "usd"), "1\u{202f}234\u{202f}567.89 USD");
        assert_eq!(shown(-500, "jpy"), "-500 JPY");
        assert_eq!(parsed("12,3", usd), Some(1_230));
        assert_eq!(parsed("12", usd), Some(1_200));
        for bad in [
            "", ".", "1.", ".5", "-1", "1.234", "1e3", "1.2.3", "0x1", "1,234.00",
        ] {
            assert_eq!(parsed(bad, usd), None, "{bad}");
        }
        assert_eq!(parsed("5.0", jpy), None);
    }
}
