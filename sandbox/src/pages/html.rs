//! The frame of every page, escaping, and money and days in words.
//!
//! Invariants: `escape` covers text and quoted attributes.
//! Not here: contents.
//! Failure: none.
//! Source of outside rules: HTML Living Standard, "Escaping a string"; Stripe documentation, "Currencies".

use serde_json::Value;

/// One style sheet, light and dark.
pub(crate) const STYLE: &str = include_str!("style.css");

/// A whole page.
pub(crate) fn page(title: &str, body: &str) -> String {
    framed(title, "", body)
}

/// A whole page with room for tables.
pub(crate) fn wide_page(title: &str, body: &str) -> String {
    framed(title, " class=\"wide\"", body)
}

fn framed(title: &str, width: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{} · SANDBOX</title><link rel=\"stylesheet\" href=\"/style.css\"></head><body>\
         <header><strong>SANDBOX</strong> no money moves here</header><main{width}>{body}</main></body></html>",
        escape(title)
    )
}

/// What went wrong, to stand beside the control it is about: that names it by `aria-describedby`.
pub(crate) fn error(id: &str, words: &str) -> String {
    format!(
        "<p class=\"error\" id=\"{id}\" role=\"alert\">{}</p>",
        escape(words)
    )
}

/// One row of a radio group: name and key, what it is, what it does. The first focus goes to it with `focus`.
pub(crate) fn choice(
    name: &str,
    key: &str,
    is: &str,
    does: &str,
    checked: bool,
    focus: bool,
) -> String {
    let checked = if checked { " checked" } else { "" };
    let focus = if focus { " autofocus" } else { "" };
    format!(
        "<label class=\"choice\"><input type=\"radio\" name=\"{name}\" value=\"{key}\"{checked}{focus}>\
         <span>{is}<small>{does}</small></span></label>"
    )
}

/// A status of Stripe's in words.
pub(crate) fn words(status: &str) -> String {
    escape(&status.replace('_', " "))
}

/// A day, e.g. `25 November 2026`.
pub(crate) fn day(unix_seconds: i64) -> String {
    jiff::Timestamp::from_second(unix_seconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%-d %B %Y")
        .to_string()
}

/// What a price costs each time: `29.00 USD`, softly `each month`.
pub(crate) fn price(price: &Value) -> String {
    let amount = money(
        price["unit_amount"].as_i64().unwrap_or(0),
        price["currency"].as_str().unwrap_or_default(),
    );
    format!("{amount}{}", every(price))
}

/// The rhythm of a price with a space before it; nothing for one that is paid once.
pub(crate) fn every(price: &Value) -> String {
    let Some(interval) = price["recurring"]["interval"].as_str() else {
        return String::new();
    };
    match price["recurring"]["interval_count"].as_i64() {
        Some(count) if count > 1 => format!(
            " <span class=\"soft\">every {count} {}s</span>",
            escape(interval)
        ),
        _ => format!(" <span class=\"soft\">each {}</span>", escape(interval)),
    }
}

/// Text made safe for element content and quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Minor units in the currency's usual form, e.g. `29.00 USD`.
pub(crate) fn money(amount: i64, currency: &str) -> String {
    const WHOLE: &[&str] = &[
        "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
        "xof", "xpf",
    ];
    const THOUSANDTHS: &[&str] = &["bhd", "jod", "kwd", "omr", "tnd"];
    let unit = escape(&currency.to_uppercase());
    let sign = if amount < 0 { "−" } else { "" };
    let amount = amount.unsigned_abs();
    match currency {
        c if WHOLE.contains(&c) => format!("{sign}{amount} {unit}"),
        c if THOUSANDTHS.contains(&c) => {
            format!("{sign}{}.{:03} {unit}", amount / 1000, amount % 1000)
        }
        _ => format!("{sign}{}.{:02} {unit}", amount / 100, amount % 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn markup_in_text_stays_text() {
        assert_eq!(
            escape("<a href=\"x\">'&"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;"
        );
        assert!(page("<script>", "").contains("&lt;script&gt;"));
    }

    #[test]
    fn money_follows_the_currency() {
        assert_eq!(money(2900, "usd"), "29.00 USD");
        assert_eq!(money(-5, "eur"), "−0.05 EUR");
        assert_eq!(money(500, "jpy"), "500 JPY");
        assert_eq!(money(1230, "kwd"), "1.230 KWD");
    }

    #[test]
    fn a_price_is_said_with_its_rhythm() {
        let price_of = |recurring| {
            price(&json!({"unit_amount": 2900, "currency": "usd", "recurring": recurring}))
        };
        assert_eq!(price_of(json!(null)), "29.00 USD");
        let monthly = json!({"interval": "month", "interval_count": 1});
        assert_eq!(
            price_of(monthly),
            "29.00 USD <span class=\"soft\">each month</span>"
        );
        let quarterly = json!({"interval": "month", "interval_count": 3});
        assert_eq!(
            price_of(quarterly),
            "29.00 USD <span class=\"soft\">every 3 months</span>"
        );
    }

    #[test]
    fn a_day_is_written_without_ambiguity() {
        assert_eq!(day(1_747_044_000), "12 May 2025");
    }
}
