//! Secrets: how they are described, compared, generated, and checked for being guessable.
//!
//! Invariants: no function here returns or prints any part of a secret but a well-known prefix such
//! as `sk_test_`; a fingerprint is 32 bits of a hash and only shown for values too long to guess.
//! Not here: which keys are secret (`keys`).
//! Failure: randomness that cannot be had is an error of `generate`, never a weak key.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Prefixes that tell the kind of a secret and nothing about it.
const KNOWN_PREFIXES: [&str; 9] = [
    "sk_test_",
    "sk_live_",
    "rk_test_",
    "rk_live_",
    "pk_test_",
    "pk_live_",
    "whsec_",
    "sk_bursar_",
    "smtps://",
];

/// Shorter secrets get no fingerprint: 32 bits of their hash would help to guess them.
const FINGERPRINT_CHARS_MIN: usize = 24;

/// Describes a secret: `set (sk_test_…, 107 chars) 3fa81c02`, the last word being its fingerprint.
pub fn describe(secret: &SecretString) -> String {
    let value = secret.expose_secret();
    let chars = value.chars().count();
    let prefix = KNOWN_PREFIXES
        .iter()
        .find(|prefix| value.starts_with(**prefix));
    let kind = prefix
        .map(|prefix| format!("{prefix}…, "))
        .unwrap_or_default();
    match fingerprint(secret) {
        Some(print) => format!("set ({kind}{chars} chars) {print}"),
        None => format!("set ({kind}{chars} chars)"),
    }
}

/// Eight hex digits by which two environments can be compared; none for short secrets.
pub fn fingerprint(secret: &SecretString) -> Option<String> {
    let value = secret.expose_secret();
    if value.chars().count() < FINGERPRINT_CHARS_MIN {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(b"bursar configuration fingerprint\0");
    hash.update(value.as_bytes());
    let digest = hash.finalize();
    Some(
        digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

/// Whether two secrets are the same. Only used at start, where timing tells nobody anything.
pub(crate) fn same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}

/// Says why a key that should be random visibly is not.
pub(crate) fn guessable(secret: &SecretString) -> Option<&'static str> {
    // Placeholders of example files; a random key contains none of them.
    const PLACEHOLDERS: [&str; 8] = [
        "changeme",
        "change-me",
        "change_me",
        "your-secret",
        "your_secret",
        "placeholder",
        "password",
        "insecure",
    ];
    let value = secret.expose_secret().to_ascii_lowercase();
    if PLACEHOLDERS.iter().any(|word| value.contains(word)) {
        return Some("looks like the placeholder of an example");
    }
    let mut distinct: Vec<char> = value.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    // 32 random hex digits hold fewer than 6 different ones about once in 10^9.
    (distinct.len() < 6).then_some("repeats a few characters, anybody can guess it")
}

/// The system's source of randomness failed.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system's random number source failed")]
pub struct NoRandomness;

/// Generates a secret of 32 random bytes, as 64 hex digits after the prefix.
///
/// # Errors
/// [`NoRandomness`] when the system cannot give random bytes.
pub fn generate(prefix: &str) -> Result<SecretString, NoRandomness> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
    let mut value = String::with_capacity(prefix.len() + 64);
    value.push_str(prefix);
    for byte in bytes {
        value.push_str(&format!("{byte:02x}"));
    }
    Ok(SecretString::from(value))
}
