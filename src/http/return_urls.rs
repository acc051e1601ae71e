//! Where a customer may be sent after Stripe's pages.
//!
//! Invariants: a URL leads to an origin that is configured, or it is refused; what decides is the same reading of scheme,
//! host and port that the configuration itself goes through, so the two cannot disagree; the text is sent on unchanged.
//! Not here: which pages exist behind an origin.
//! Failure: [`ReturnUrlRefused`]: the rule that was broken, and the origins there are. It repeats nothing of the URL.
//! Source: contract §2 (`CLIENT_BASE_URL`, `ALLOWED_RETURN_ORIGINS`), §3 "Billing"; WHATWG URL, "Origin" (a `\` ends the
//! host for a browser, which is why none is taken).

use bursar_config::{Addresses, BaseUrl};
use std::fmt;

/// Longer is no address a person is sent to.
pub const URL_BYTES_MAX: usize = 2_048;

/// The rule a URL breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// 1 to 2,048 characters.
    Length,
    /// ASCII without blanks, controls and `\`.
    Characters,
    /// `https://` or `http://`, then a host.
    Absolute,
    /// No user name or password.
    UserInfo,
    /// `http` leads to this machine only, or to an origin configured so.
    PlainHttp,
    /// One of the configured origins.
    Origin,
}

impl Rule {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "must have 1 to 2,048 characters",
            Self::Characters => {
                "must be ASCII without blanks, control characters and backslashes; percent-encode them"
            }
            Self::Absolute => "must be absolute: https:// and a host",
            Self::UserInfo => "must not hold a user name or password",
            Self::PlainHttp => "must be https; plain http leads to this machine only",
            Self::Origin => "must lead to an allowed origin",
        }
    }
}

/// Why a customer is not sent there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnUrlRefused {
    /// The rule.
    pub rule: Rule,
    /// The origins there are.
    pub allowed: Vec<String>,
}

impl fmt::Display for ReturnUrlRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = self.allowed.join(", ");
        let rule = self.rule.as_str();
        write!(f, "{rule}; allowed are {allowed} (ALLOWED_RETURN_ORIGINS)")
    }
}

/// The configured origins, and the places customers go to when a request names none.
#[derive(Clone, Debug)]
pub struct ReturnUrls {
    allowed: Vec<String>,
    front: String,
}

impl ReturnUrls {
    /// Of a configuration: the origins of `APP_BASE_URL` and `CLIENT_BASE_URL`, and `ALLOWED_RETURN_ORIGINS`.
    pub fn new(addresses: &Addresses) -> Self {
        let mut allowed = Vec::new();
        let own = [addresses.client.origin(), addresses.app.origin()];
        for origin in own.iter().chain(&addresses.return_origins) {
            if !allowed.contains(origin) {
                allowed.push(origin.clone());
            }
        }
        Self {
            allowed,
            front: addresses.client.to_string(),
        }
    }
    /// The origins there are.
    pub fn allowed(&self) -> &[String] {
        &self.allowed
    }
    /// The given URL, if a customer may be sent there. # Errors: see [`ReturnUrlRefused`].
    pub fn checked(&self, url: &str) -> Result<String, ReturnUrlRefused> {
        match self.broken(url) {
            None => Ok(url.to_owned()),
            Some(rule) => Err(ReturnUrlRefused {
                rule,
                allowed: self.allowed.clone(),
            }),
        }
    }
    /// Where one who paid goes to: the given URL, or the front end. Stripe fills the session's id in.
    ///
    /// # Errors
    /// See [`ReturnUrlRefused`].
    pub fn success(&self, url: Option<&str>) -> Result<String, ReturnUrlRefused> {
        let place = "checkout?success=true&session_id={CHECKOUT_SESSION_ID}";
        self.given_or(url, place)
    }
    /// Where one who did not pay goes to: the given URL, or the front end. # Errors: see [`ReturnUrlRefused`].
    pub fn cancel(&self, url: Option<&str>) -> Result<String, ReturnUrlRefused> {
        self.given_or(url, "checkout?canceled=true")
    }
    /// Where a merchant comes back to from Stripe's form: the given URL, or the front end.
    ///
    /// # Errors
    /// See [`ReturnUrlRefused`].
    pub fn onboarded(&self, url: Option<&str>) -> Result<String, ReturnUrlRefused> {
        self.given_or(url, "connect?returned=true")
    }
    /// Where a merchant is sent whose way into the form was spent: the given URL, or the front end, which asks for a
    /// new one.
    ///
    /// # Errors
    /// See [`ReturnUrlRefused`].
    pub fn onboard_again(&self, url: Option<&str>) -> Result<String, ReturnUrlRefused> {
        self.given_or(url, "connect?refresh=true")
    }
    fn given_or(&self, url: Option<&str>, place: &str) -> Result<String, ReturnUrlRefused> {
        match url {
            Some(url) => self.checked(url),
            None => Ok(format!("{}/{place}", self.front)),
        }
    }
    fn broken(&self, url: &str) -> Option<Rule> {
        if !(1..=URL_BYTES_MAX).contains(&url.len()) {
            return Some(Rule::Length);
        }
        if !url.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
            return Some(Rule::Characters);
        }
        let Some((_, rest)) = url.split_once("://") else {
            return Some(Rule::Absolute);
        };
        let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, _) = rest.split_at(host_end);
        if authority.contains('@') {
            return Some(Rule::UserInfo);
        }
        let place = &url[..url.len() - rest.len() + host_end];
        let Ok(place) = BaseUrl::parse(place) else {
            return Some(Rule::Absolute);
        };
        if self.allowed.contains(&place.origin()) {
            return None;
        }
        // An http origin that is configured was judged there: it is this machine's, or the key is a test key.
        if !place.is_https() && !place.is_loopback() {
            return Some(Rule::PlainHttp);
        }
        Some(Rule::Origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls() -> ReturnUrls {
        let base = |text| BaseUrl::parse(text).unwrap();
        ReturnUrls::new(&Addresses {
            app: base("https://billing.example"),
            client: base("https://app.example/shop/"),
            return_origins: vec![
                "https://app.example".to_owned(),
                "https://other.example:8443".to_owned(),
                "http://localhost:3000".to_owned(),
                "http://staging.lan".to_owned(),
            ],
        })
    }

    #[test]
    fn a_configured_origin_is_taken_and_sent_on_unchanged() {
        for url in [
            "https://app.example",
            "https://app.example/a/../b?x={CHECKOUT_SESSION_ID}&y=%20#z",
            "HTTPS://App.Example:443/",
            "https://app.example?u=https://evil.example/@x",
            "https://app.example#@evil.example",
            "https://billing.example/done",
            "https://other.example:8443/",
            "http://localhost:3000/back",
            "http://staging.lan/back",
        ] {
            assert_eq!(urls().checked(url).as_deref(), Ok(url));
        }
    }

    #[test]
    fn every_other_place_is_refused_by_its_rule() {
        let long = format!("https://app.example/{}", "a".repeat(2_048));
        for (url, rule) in [
            ("", Rule::Length),
            (long.as_str(), Rule::Length),
            ("https://app.example/ü", Rule::Characters),
            ("https://app.example/a b", Rule::Characters),
            ("https://app.example\t/", Rule::Characters),
            ("https://evil.example\\@app.example/", Rule::Characters),
            ("\nhttps://app.example/", Rule::Characters),
            ("/checkout", Rule::Absolute),
            ("//app.example/", Rule::Absolute),
            ("app.example/", Rule::Absolute),
            ("https:app.example", Rule::Absolute),
            ("https:///app.example", Rule::Absolute),
            ("https://", Rule::Absolute),
            ("javascript://app.example/%0Aalert(1)", Rule::Absolute),
            ("myapp://app.example/", Rule::Absolute),
            ("javascript:alert(1)//https://app.example", Rule::Absolute),
            ("https://app.example:0/", Rule::Absolute),
            ("https://app.example:x/", Rule::Absolute),
            ("https://app.example./", Rule::Absolute),
            ("https://%61pp.example/", Rule::Absolute),
            ("https://app.example@evil.example/", Rule::UserInfo),
            ("https://u:p@app.example/", Rule::UserInfo),
            ("http://app.example/", Rule::PlainHttp),
            ("http://evil.example/", Rule::PlainHttp),
            ("http://localhost:3001/", Rule::Origin),
            ("https://localhost:3000/", Rule::Origin),
            ("https://evil.example/?https://app.example", Rule::Origin),
            ("https://app.example.evil.example/", Rule::Origin),
            ("https://evilapp.example/", Rule::Origin),
            ("https://app.example:8443/", Rule::Origin),
            ("https://sub.app.example/", Rule::Origin),
        ] {
            let refused = urls().checked(url).unwrap_err();
            assert_eq!(refused.rule, rule, "{url}");
            assert_eq!(refused.allowed, urls().allowed());
        }
    }

    #[test]
    fn a_refusal_names_the_rule_and_what_is_allowed_and_nothing_else() {
        let refused = urls()
            .success(Some("https://evil.example/secret"))
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "must lead to an allowed origin; allowed are https://app.example, \
             https://billing.example, https://other.example:8443, http://localhost:3000, \
             http://staging.lan (ALLOWED_RETURN_ORIGINS)"
        );
    }

    #[test]
    fn without_a_url_customers_return_to_the_front_end() {
        let urls = urls();
        assert_eq!(
            urls.success(None).unwrap(),
            "https://app.example/shop/checkout?success=true&session_id={CHECKOUT_SESSION_ID}"
        );
        assert_eq!(
            urls.cancel(None).unwrap(),
            "https://app.example/shop/checkout?canceled=true"
        );
        assert_eq!(
            urls.onboarded(None).unwrap(),
            "https://app.example/shop/connect?returned=true"
        );
        assert_eq!(
            urls.onboard_again(None).unwrap(),
            "https://app.example/shop/connect?refresh=true"
        );
        for url in [urls.success(None).unwrap(), urls.cancel(None).unwrap()] {
            assert_eq!(urls.checked(&url), Ok(url));
        }
    }
}
