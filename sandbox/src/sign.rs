//! The `Stripe-Signature` header.
//!
//! Invariants: one `v1` per secret over `t.body`, keyed with the whole secret text.
//! Not here: checking (the receiver's work).
//! Failure: none.
//! Source of outside rules: Stripe documentation, "Webhooks: verify manually".

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Lower-case hex of HMAC-SHA256 over `t.body`.
pub fn v1(secret: &str, unix_seconds: i64, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// The whole header, one `v1` for each secret.
pub fn header(secrets: &[String], unix_seconds: i64, body: &[u8]) -> String {
    let mut header = format!("t={unix_seconds}");
    for secret in secrets {
        header.push_str(",v1=");
        header.push_str(&v1(secret, unix_seconds, body));
    }
    header
}
