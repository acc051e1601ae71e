//! Stripe's side: the key decides the mode, the base must fit the key, the webhook secrets are a set.
//!
//! Invariants: a live key only ever goes to Stripe itself over TLS; an unsigned webhook can never be
//! accepted, because there is no configuration without a secret.
//! Not here: calling Stripe.
//! Failure: problems.
//! Source: Stripe documentation, "API keys", "Versioning", "Check the webhook signatures".

use secrecy::SecretString;

use super::{Checker, printable};
use crate::config::{Mode, Stripe, WEBHOOK_SECRETS_MAX, WebhookSecrets};
use crate::keys::WEBHOOK_SECRET_PATHS;
use crate::secret;
use crate::values::BaseUrl;

/// Stripe's own API host.
const STRIPE_HOST: &str = "api.stripe.com";

pub(super) fn stripe(checker: &mut Checker<'_>) -> Stripe {
    let api_key = checker.secret("stripe.api_key", |text| api_key_mode(text).map(|_| ()));
    let mode = mode(checker);
    let webhook_secrets = webhook_secrets(checker);
    if webhook_secrets.0.is_empty() && checker.required && nothing_given(checker) {
        checker.missing.push("STRIPE_WEBHOOK_SECRET".to_owned());
    }
    Stripe {
        api_key: api_key.unwrap_or_default(),
        mode,
        webhook_secrets,
        api_base: api_base(checker, mode),
        api_version: checker
            .optional("stripe.api_version", api_version)
            .unwrap_or_default(),
        customer_portal_url: checker.optional("stripe.customer_portal_url", |text| {
            let url = BaseUrl::parse(text)?;
            if url.is_https() || url.is_loopback() {
                Ok(url)
            } else {
                Err("customers are sent there, so it must be https".to_owned())
            }
        }),
    }
}

/// The mode by the key; test while there is no usable one, which is a problem of its own.
pub(super) fn mode(checker: &Checker<'_>) -> Mode {
    checker
        .text("stripe.api_key")
        .and_then(|text| api_key_mode(text).ok())
        .unwrap_or(Mode::Test)
}

fn nothing_given(checker: &Checker<'_>) -> bool {
    WEBHOOK_SECRET_PATHS
        .iter()
        .all(|path| checker.raw(path).is_none() && !checker.gathered.unusable.contains(path))
}

fn api_key_mode(text: &str) -> Result<Mode, String> {
    const WANTED: &str = "the secret key starts with sk_ or rk_";
    if text.starts_with("pk_") {
        return Err(format!("a publishable key (pk_…) was given; {WANTED}"));
    }
    if text.starts_with("whsec_") {
        return Err(format!("a webhook secret (whsec_…) was given; {WANTED}"));
    }
    if text.starts_with("sk_bursar_") {
        return Err(format!(
            "a key of Bursar's own (sk_bursar_…) was given; {WANTED}"
        ));
    }
    if text.starts_with("sk_org_") {
        return Err(
            "an organization key (sk_org_…) was given; use a key of one account".to_owned(),
        );
    }
    let kinds = [
        ("sk_test_", Mode::Test),
        ("rk_test_", Mode::Test),
        ("sk_live_", Mode::Live),
        ("rk_live_", Mode::Live),
    ];
    let found = kinds
        .iter()
        .find_map(|(prefix, mode)| text.strip_prefix(prefix).map(|rest| (rest, *mode)));
    let Some((rest, mode)) = found else {
        return Err("starts with none of sk_test_, rk_test_, sk_live_, rk_live_".to_owned());
    };
    // The shortest key the official CLI accepts has 12 characters.
    if rest.len() < 4 {
        return Err("is too short to be a key".to_owned());
    }
    Ok(mode)
}

fn api_base(checker: &mut Checker<'_>, mode: Mode) -> BaseUrl {
    let found = checker.optional("stripe.api_base", |text| {
        let base = BaseUrl::parse(text)?;
        if !base.path().is_empty() {
            return Err("has a path; give scheme, host and port alone".to_owned());
        }
        if !base.is_https() && !base.is_loopback() {
            return Err(
                "plain http would show the key to the network; use https, or a test double \
                        on this machine"
                    .to_owned(),
            );
        }
        let is_stripe = base.is_https() && base.origin() == format!("https://{STRIPE_HOST}");
        if mode.is_live() && !is_stripe {
            return Err(format!("a live key must only go to https://{STRIPE_HOST}"));
        }
        Ok(base)
    });
    found.unwrap_or_else(|| {
        BaseUrl::parse("https://api.stripe.com").expect("a constant that is an address")
    })
}

/// Checks `2025-04-30.basil`, or a date alone as older versions were named.
fn api_version(text: &str) -> Result<String, String> {
    let (date, name) = match text.split_once('.') {
        Some((date, name)) => (date, Some(name)),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let number = |part: &str, digits: usize| {
        (part.len() == digits)
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let date_fits = match parts.as_slice() {
        [year, month, day] => {
            number(year, 4).is_some_and(|year| year >= 2011)
                && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
                && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
        }
        _ => false,
    };
    let name_fits = name
        .is_none_or(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()));
    if date_fits && name_fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is not a version of Stripe's API, such as 2025-04-30.basil"
        ))
    }
}

/// Collects the set of webhook secrets from its four keys.
pub(crate) fn webhook_secrets(checker: &mut Checker<'_>) -> WebhookSecrets {
    let mut set: Vec<SecretString> = Vec::new();
    for path in WEBHOOK_SECRET_PATHS {
        let found = checker.list(path, |text| {
            printable(text)?;
            match text.strip_prefix("whsec_") {
                None => Err("does not start with whsec_".to_owned()),
                Some(rest) if rest.len() < 8 => Err("is too short to be a secret".to_owned()),
                Some(_) => Ok(SecretString::from(text)),
            }
        });
        for one in found {
            if set.iter().any(|known| secret::same(known, &one)) {
                let subject = checker.subject(path);
                checker
                    .warnings
                    .push(format!("{subject}: the same webhook secret is given twice"));
            } else {
                set.push(one);
            }
        }
    }
    if set.len() > WEBHOOK_SECRETS_MAX {
        let text = format!(
            "there are {} webhook secrets, {WEBHOOK_SECRETS_MAX} at most",
            set.len()
        );
        checker.problem(WEBHOOK_SECRET_PATHS[0], text);
        set.truncate(WEBHOOK_SECRETS_MAX);
    }
    WebhookSecrets(set)
}
