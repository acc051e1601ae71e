//! The frame of every page, escaping, and money in words.
//!
//! Invariants: `escape` covers text and quoted attributes.
//! Not here: contents.
//! Failure: none.
//! Source of outside rules: HTML Living Standard, "Escaping a string"; Stripe documentation, "Currencies".

/// One style sheet, light and dark.
pub(crate) const STYLE: &str = ":root{color-scheme:light dark;--ink:#16202b;--paper:#f6f7f9;--card:#fff;--line:#767f8a;--go:#1d4ed8;--go-ink:#fff;--note:#7a4300;--note-bg:#fff3d6}\
@media(prefers-color-scheme:dark){:root{--ink:#e8edf2;--paper:#10161d;--card:#19222c;--line:#7f8b98;--go:#93b4ff;--go-ink:#0b1220;--note:#ffd891;--note-bg:#3a2a0a}}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
header{background:var(--note-bg);color:var(--note);padding:.6rem 1rem;text-align:center}\
main{max-width:40rem;margin:1.5rem auto;padding:1.5rem;background:var(--card);border:1px solid var(--line);border-radius:.6rem;overflow-wrap:anywhere}\
h1{font-size:1.5rem;margin:0 0 .75rem}h2{font-size:1.1rem;margin:1.5rem 0 .5rem}\
label{display:block;margin:.75rem 0}input{font:inherit;color:inherit;background:var(--paper);border:1px solid var(--line);border-radius:.35rem;padding:.5rem;width:100%}\
button{font:inherit;cursor:pointer;background:var(--go);color:var(--go-ink);border:0;border-radius:.35rem;padding:.55rem .9rem;min-height:2.75rem}\
.cards{display:grid;gap:.6rem}.cards button{width:100%;text-align:left}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid var(--line)}caption{text-align:left;font-weight:600;padding:.35rem 0}\
a{color:var(--go)}:focus-visible{outline:3px solid var(--go);outline-offset:2px}\
.error{border:2px solid #b3261e;border-radius:.35rem;padding:.6rem}ul{padding-left:1.2rem}";

/// A whole page.
pub(crate) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{} · SANDBOX</title><link rel=\"stylesheet\" href=\"/style.css\"></head><body>\
         <header role=\"banner\"><strong>SANDBOX</strong> no money moves here</header><main>{body}</main></body></html>",
        escape(title)
    )
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
}
