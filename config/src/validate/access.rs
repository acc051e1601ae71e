//! Who may call: operator key, token secret, and that no two secrets are the same.
//!
//! Invariants: a key that can be guessed is refused, and so is one value in two places, because
//! whoever learns one would hold both.
//! Not here: Stripe's own secrets (`stripe`).
//! Failure: problems.

use secrecy::{ExposeSecret, SecretString};

use super::Checker;
use crate::config::{Access, Config, MailTransport, Signup};
use crate::file::Value;
use crate::{secret, values};

/// Shortest operator key, in characters, and token secret, in bytes.
const KEY_LENGTH_MIN: usize = 32;

pub(super) fn access(checker: &mut Checker<'_>) -> Access {
    let admin_key = checker.secret("admin_key", |text| {
        if text.starts_with("sk_bursar_") || looks_like_stripe(text) {
            return Err("looks like a key of another kind; `bursar init` makes one".to_owned());
        }
        strong_key(text, "characters")
    });
    let jwt_secret = checker.optional("jwt_secret", |text| {
        if text.contains(['\n', '\r']) {
            return Err("holds a line break".to_owned());
        }
        strong_key(text, "bytes").map(|()| SecretString::from(text))
    });
    let jwt_secret_previous = checker.secret("jwt_secret_previous", |text| {
        if text.contains(['\n', '\r']) {
            return Err("holds a line break".to_owned());
        }
        strong_key(text, "bytes")
    });
    let admin_allow: Vec<_> = checker
        .list("admin_allow", values::ranges)
        .into_iter()
        .flatten()
        .collect();
    let given_nothing = matches!(
        checker.raw("admin_allow").map(|raw| &raw.value),
        Some(Value::List(items)) if items.is_empty()
    );
    if given_nothing {
        checker.problem("admin_allow", "allows nobody; name at least loopback");
    }
    if admin_allow.iter().any(values::Cidr::is_everything) {
        let subject = checker.subject("admin_allow");
        checker.warnings.push(format!(
            "{subject}: the operator's key is accepted from everywhere"
        ));
    }
    let signup = checker.word(
        "signup",
        &[
            ("open", Signup::Open),
            ("invite", Signup::Invite),
            ("off", Signup::Off),
        ],
    );
    Access {
        admin_key: admin_key.unwrap_or_default(),
        admin_allow,
        jwt_secret: jwt_secret.unwrap_or_default(),
        jwt_secret_previous,
        signup,
    }
}

/// Whether a text has the shape of one of Stripe's keys.
pub(super) fn looks_like_stripe(text: &str) -> bool {
    [
        "sk_test_", "sk_live_", "rk_test_", "rk_live_", "pk_test_", "pk_live_", "whsec_",
    ]
    .iter()
    .any(|prefix| text.starts_with(prefix))
}

pub(super) fn strong_key(text: &str, unit: &str) -> Result<(), String> {
    if text.len() < KEY_LENGTH_MIN {
        return Err(format!(
            "has {} {unit}, at least {KEY_LENGTH_MIN} are needed; `bursar init` makes one",
            text.len()
        ));
    }
    match secret::guessable(&SecretString::from(text)) {
        Some(reason) => Err(format!("{reason}; `bursar init` makes one")),
        None => Ok(()),
    }
}

/// Compares every secret with every other; two equal webhook secrets were already taken as one.
pub(super) fn no_two_alike(checker: &mut Checker<'_>, config: &Config) {
    let mut all: Vec<(&str, &SecretString)> = vec![
        ("admin_key", &config.access.admin_key),
        ("jwt_secret", &config.access.jwt_secret),
        ("stripe.api_key", &config.stripe.api_key),
    ];
    all.extend(
        config
            .access
            .jwt_secret_previous
            .iter()
            .map(|one| ("jwt_secret_previous", one)),
    );
    all.extend(
        config
            .metrics_token
            .iter()
            .map(|token| ("metrics_token", token)),
    );
    all.extend(
        config
            .stripe
            .webhook_secrets
            .0
            .iter()
            .map(|one| ("stripe.webhook_secrets", one)),
    );
    all.extend(
        config
            .outbound
            .endpoint
            .iter()
            .map(|(_, one)| ("outbound.secret", one)),
    );
    if let MailTransport::Mailgun { api_key, .. } = &config.mail.transport {
        all.push(("mail.mailgun_api_key", api_key));
    }
    for (index, (path, one)) in all.iter().enumerate() {
        if one.expose_secret().is_empty() {
            continue;
        }
        let twin = all[..index]
            .iter()
            .find(|(_, other)| secret::same(one, other));
        if let Some((other, _)) = twin {
            let other = Checker::key(other).variable;
            checker.problem(
                path,
                format!("is the same secret as {other}; each needs its own"),
            );
        }
    }
}
