//! Where Stripe sends people back to: only to addresses that were allowed.
//!
//! Invariants: an address from a request is used only if its origin is on the list; plain http only on loopback.
//! Source: contract §2 (`CLIENT_BASE_URL`, `ALLOWED_RETURN_ORIGINS`).

use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use reqwest::Url;

/// Longest address; Stripe takes 5,000 characters.
const BYTES_MAX: usize = 2_048;
/// Stripe writes the session's id in its place; as it stands it is no part of an address.
const PLACEHOLDER: &str = "{CHECKOUT_SESSION_ID}";

/// An address the request names, if it names one. # Errors: 422.
pub(super) fn checked(call: &Call, field: &str) -> Result<Option<String>, Problem> {
    let Some(text) = call.fields.text(field) else {
        return Ok(None);
    };
    let allowed = &call.edge.settings.billing.return_origins;
    rule_broken(text, allowed).map_or_else(
        || Ok(Some(text.to_owned())),
        |rule| {
            let detail = format!("`{field}` {rule}; allowed origins: {}", allowed.join(", "));
            Err(Problem::new(Code::ReturnUrlNotAllowed, detail))
        },
    )
}

/// Where a checkout leads to, paid and not. # Errors: 422.
pub(super) fn of_checkout(call: &Call) -> Result<(String, String), Problem> {
    let base = call
        .edge
        .settings
        .billing
        .client_base_url
        .trim_end_matches('/');
    let success = checked(call, "successUrl")?;
    let cancel = checked(call, "cancelUrl")?;
    Ok((
        success.unwrap_or_else(|| format!("{base}/checkout?success=true&session_id={PLACEHOLDER}")),
        cancel.unwrap_or_else(|| format!("{base}/checkout?canceled=true")),
    ))
}

/// The rule an address breaks.
fn rule_broken(text: &str, allowed: &[String]) -> Option<String> {
    if text.len() > BYTES_MAX {
        return Some(format!("is longer than {BYTES_MAX} bytes"));
    }
    // Browsers drop these silently, so two readers could see two addresses.
    if text.bytes().any(|byte| byte <= b' ' || byte == b'\\') {
        return Some("holds white space, control characters or a backslash".to_owned());
    }
    let Ok(url) = Url::parse(&text.replace(PLACEHOLDER, "cs")) else {
        return Some("is no absolute address".to_owned());
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Some("is neither http nor https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("holds a user name or password".to_owned());
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if url.scheme() == "http" && !is_loopback {
        return Some("is http and not on this machine".to_owned());
    }
    let origin = url.origin().ascii_serialization();
    let is_allowed = allowed
        .iter()
        .any(|one| one.trim_end_matches('/') == origin);
    (!is_allowed).then(|| format!("has the origin {origin}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_pass_however_they_are_dressed_up() {
        let allowed = [
            "https://app.example.com".to_owned(),
            "http://localhost:3000".to_owned(),
        ];
        for good in [
            "https://app.example.com/checkout?session_id={CHECKOUT_SESSION_ID}",
            "https://APP.example.com:443/x#y",
            "http://localhost:3000",
        ] {
            assert_eq!(rule_broken(good, &allowed), None, "{good}");
        }
        for bad in [
            "https://evil.example/x",
            "https://app.example.com.evil.example/",
            "https://app.example.com@evil.example/",
            "https://user:pw@app.example.com/",
            "//app.example.com/",
            "/checkout",
            "javascript:alert(1)",
            "http://app.example.com/",
            "https://app.example.com:8443/",
            "https://evil.example\\@app.example.com/",
            "https://app.example.com/\tx",
            "http://localhost:3001/",
            "",
        ] {
            assert!(rule_broken(bad, &allowed).is_some(), "{bad}");
        }
        assert!(
            rule_broken(
                &format!("https://app.example.com/{}", "x".repeat(3_000)),
                &allowed
            )
            .is_some()
        );
    }
}
