//! Signing after Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, one signature per secret that is valid.
//!
//! Invariants: the bytes signed are the bytes sent; a secret is `whsec_` and the base64 of 24 to 64 random bytes.
//! Source: Standard Webhooks 1.0, "Signature scheme".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
const SECRET_BYTES: usize = 32;

/// Randomness could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// So many random bytes, as hex. # Errors: the system gives none.
pub fn random_hex(bytes: usize) -> Result<String, NoRandomness> {
    let mut random = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| NoRandomness)?;
    Ok(hex::encode(random))
}

/// A new secret. # Errors: no randomness.
pub fn new_secret() -> Result<String, NoRandomness> {
    let mut random = [0; SECRET_BYTES];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| NoRandomness)?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(random)))
}

/// The header's value; empty if no secret can be read.
pub fn signature(secrets: &[&str], id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
    let signatures = secrets.iter().filter_map(|secret| {
        let key = STANDARD.decode(secret.strip_prefix(PREFIX)?).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
        mac.update(format!("{id}.{timestamp_seconds}.").as_bytes());
        mac.update(body);
        Some(format!(
            "v1,{}",
            STANDARD.encode(mac.finalize().into_bytes())
        ))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        let signed = signature(
            &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_valid_secret_signs_and_no_two_new_ones_are_the_same() {
        let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(one, other);
        let both = signature(&[&one, &other], "ntf_1", 7, b"{}");
        let parts: Vec<&str> = both.split(' ').collect();
        assert_eq!(parts[0], signature(&[&one], "ntf_1", 7, b"{}"));
        assert_eq!(parts[1], signature(&[&other], "ntf_1", 7, b"{}"));
        assert_ne!(parts[0], signature(&[&one], "ntf_1", 8, b"{}"));
        assert_eq!(signature(&["whsec_%"], "ntf_1", 7, b"{}"), "");
    }
}
