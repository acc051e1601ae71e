//! Who keeps the accounts of those who paid.
//!
//! Invariants: Cognito has everything it needs or is refused; AWS's own variables mean nothing until
//! a user pool is named, since machines at Amazon set them for their own reasons.
//! Not here: asking Cognito (`provisioning` of the binary).
//! Failure: problems.
//! Source: Amazon Cognito user pools API reference, `AdminCreateUser` (`UserPoolId`, attribute names).

use super::Checker;
use super::outside::https_or_loopback;
use crate::config::{Cognito, IdentityProvider};
use crate::values::BaseUrl;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    BuiltIn,
    Cognito,
    Off,
}

pub(super) fn provider(checker: &mut Checker<'_>) -> IdentityProvider {
    let pool = checker.optional("identity.cognito_user_pool_id", pool_id);
    let named = checker.optional("identity.provider", |text| match text {
        "built_in" => Ok(Kind::BuiltIn),
        "cognito" => Ok(Kind::Cognito),
        "off" => Ok(Kind::Off),
        _ => Err(format!("{text:?} is none of built_in, cognito, off")),
    });
    let has_pool = checker.raw("identity.cognito_user_pool_id").is_some();
    let kind = match named {
        Some(kind) => kind,
        None if has_pool => Kind::Cognito,
        None => Kind::BuiltIn,
    };
    if has_pool && kind != Kind::Cognito {
        let text = "is set, and BURSAR_IDENTITY_PROVIDER names another provider";
        checker.problem("identity.cognito_user_pool_id", text);
    }
    match kind {
        Kind::BuiltIn => IdentityProvider::BuiltIn,
        Kind::Off => IdentityProvider::Off,
        Kind::Cognito => cognito(checker, pool),
    }
}

fn cognito(checker: &mut Checker<'_>, pool: Option<String>) -> IdentityProvider {
    if cfg!(not(feature = "cognito")) {
        let text = "is cognito, and this build has no Cognito: build with `--features cognito`";
        checker.problem("identity.provider", text);
    }
    for path in [
        "identity.cognito_user_pool_id",
        "identity.aws_access_key_id",
        "identity.aws_secret_access_key",
    ] {
        if checker.raw(path).is_none() {
            let text = format!("needs {}, which is not set", Checker::key(path).variable);
            checker.problem("identity.provider", text);
        }
    }
    let user_pool_id = pool.unwrap_or_default();
    // A pool's id begins with its region.
    let of_pool = user_pool_id.split('_').next().unwrap_or("").to_owned();
    let region = checker.optional("identity.aws_region", region);
    let region = region.filter(|_| of_pool.is_empty()).unwrap_or(of_pool);
    let endpoint = checker.optional("identity.cognito_endpoint", https_or_loopback);
    let usual = format!("https://cognito-idp.{region}.amazonaws.com");
    let usual = BaseUrl::parse(&usual).or_else(|_| BaseUrl::parse("https://amazonaws.com"));
    IdentityProvider::Cognito(Cognito {
        user_pool_id,
        endpoint: endpoint.unwrap_or_else(|| usual.expect("a constant that is an address")),
        region,
        tenant_attribute: checker.optional("identity.cognito_tenant_attribute", attribute),
        access_key_id: checker
            .optional("identity.aws_access_key_id", word)
            .unwrap_or_default(),
        secret_access_key: checker
            .secret("identity.aws_secret_access_key", |text| {
                word(text).map(drop)
            })
            .unwrap_or_default(),
        session_token: checker.secret("identity.aws_session_token", |text| word(text).map(drop)),
    })
}

fn pool_id(text: &str) -> Result<String, String> {
    let (place, name) = text.split_once('_').unwrap_or((text, ""));
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if text.len() > 55 || !named || region(place).is_err() {
        return Err("is no id of a user pool, such as eu-central-1_AbCdEfGhI".to_owned());
    }
    Ok(text.to_owned())
}

fn region(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > 40 || !text.bytes().all(fits) {
        return Err("is no region, such as eu-central-1".to_owned());
    }
    Ok(text.to_owned())
}

fn attribute(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'-');
    if text.is_empty() || text.len() > 32 || !text.bytes().all(fits) {
        return Err("is no name of an attribute, such as custom:tenant_id".to_owned());
    }
    Ok(text.to_owned())
}

fn word(text: &str) -> Result<String, String> {
    if text.bytes().all(|b| b.is_ascii_graphic()) && !text.is_empty() {
        return Ok(text.to_owned());
    }
    Err("holds a blank or control character".to_owned())
}
