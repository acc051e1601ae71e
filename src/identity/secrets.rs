//! Random secrets and their digests.
//!
//! Invariants: a secret has 256 random bits, so that a plain SHA-256 of it is enough to store; digests are compared in
//! constant time. What has fewer bits (a six-digit code) is digested under a key that the store does not hold.

use bursar_store::error::StoreError;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const SECRET_BYTES: usize = 32;

/// Random bytes. # Errors: the system has none.
pub fn fill(bytes: &mut [u8]) -> Result<(), StoreError> {
    #[cfg(feature = "crashpoints")]
    if bursar_domain::crashpoints::drawn(bytes) {
        return Ok(());
    }
    aws_lc_rs::rand::fill(bytes).map_err(|_| {
        tracing::error!("the system gives no random bytes");
        StoreError::Invalid("no random bytes could be had".to_owned())
    })
}

/// A new secret of 64 hexadecimal digits. # Errors: no random bytes.
pub fn new_secret() -> Result<SecretString, StoreError> {
    let mut random = [0; SECRET_BYTES];
    fill(&mut random)?;
    Ok(hex::encode(random).into())
}

/// A new id of 32 hexadecimal digits that sorts by time.
pub fn new_id() -> String {
    #[cfg(feature = "crashpoints")]
    {
        let mut bytes = [0; 16];
        if bursar_domain::crashpoints::drawn(&mut bytes) {
            return hex::encode(bytes);
        }
    }
    uuid::Uuid::now_v7().simple().to_string()
}

/// SHA-256 of a text, in hexadecimal.
pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Whether a presented secret has the stored digest, in constant time.
pub fn fits(presented: &str, stored_digest: &str) -> bool {
    is_same(&digest(presented), stored_digest)
}

/// Whether two texts are the same, in a time that tells only their lengths.
pub fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// Whether a text is so many bytes in lower-case hexadecimal.
pub fn is_hex(text: &str, bytes: usize) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == bytes * 2 && text.bytes().all(digit)
}

/// A token of two parts: what finds its record, and the secret. `<id>.<secret>`.
#[derive(Debug)]
pub struct Token<'a> {
    /// Finds the record.
    pub id: &'a str,
    /// What is compared.
    pub secret: &'a str,
}

impl<'a> Token<'a> {
    /// Reads one; `None`: it is none of ours.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        (is_hex(id, 16) && is_hex(secret, SECRET_BYTES)).then_some(Self { id, secret })
    }
    /// Writes one.
    pub fn join(id: &str, secret: &SecretString) -> SecretString {
        format!("{id}.{}", secret.expose_secret()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is() {
        let (id, secret) = (new_id(), new_secret().unwrap());
        let text = Token::join(&id, &secret);
        let token = Token::parse(text.expose_secret()).unwrap();
        assert_eq!(token.id, id);
        assert!(fits(token.secret, &digest(secret.expose_secret())));
        assert!(!fits(&id, &digest(secret.expose_secret())));
        for bad in [
            "",
            ".",
            "a.b",
            &id,
            &format!("{id}."),
            &text.expose_secret().to_uppercase(),
        ] {
            assert!(Token::parse(bad).is_none(), "{bad}");
        }
    }
}
