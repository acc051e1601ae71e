//! The shape of keys of ours: made from random bytes, shown once, stored as a hash.
//!
//! Shape: `sk_bursar_<id>_<secret>`; the id (24 hex digits) is public and finds the record; it begins
//! with the time left until the end of time, so that the store's order of keys is newest first. The
//! secret (64 hex digits, 32 random bytes) is compared as SHA-256 in constant time. A plain hash is
//! right for a secret of that size: there is nothing to guess.
//! Not here: whose a key is (`service_keys`, `api_keys`).

use crate::http::problem::{Code, Problem};
use crate::identity::secrets;
use bursar_domain::ids::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "sk_bursar_";
const ID_BYTES: usize = 12;
const SECRET_BYTES: usize = 32;
/// The last millisecond six bytes can count: in the year 10889.
const TIME_MAX: u64 = (1 << 48) - 1;

/// A key as it was presented.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// Its public part.
    pub id: &'a str,
    secret: &'a str,
}

impl<'a> Presented<'a> {
    /// `None`: it is not shaped like a key of ours.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let hex_of = |text: &str, bytes: usize| {
            text.len() == bytes * 2 && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let fits = hex_of(id, ID_BYTES) && hex_of(secret, SECRET_BYTES);
        fits.then_some(Self { id, secret })
    }
    /// Whether its secret is the one behind this hash.
    pub fn fits(&self, secret_sha256: &str) -> bool {
        secret_sha256
            .as_bytes()
            .ct_eq(hash(self.secret).as_bytes())
            .into()
    }
}

/// A key just drawn.
pub struct Drawn {
    /// Its public part.
    pub id: String,
    /// What is stored of its secret.
    pub secret_sha256: String,
    /// What is shown, once.
    pub key: String,
}

/// Draws a key whose id sorts before every earlier one. # Errors: no random bytes.
pub fn draw(now: Timestamp) -> Result<Drawn, Problem> {
    let since_1970 = u64::try_from(now.0).unwrap_or(0).min(TIME_MAX);
    let id = format!("{:012x}{}", TIME_MAX - since_1970, random_hex(6)?);
    let secret = random_hex(SECRET_BYTES)?;
    Ok(Drawn {
        secret_sha256: hash(&secret),
        key: format!("{PREFIX}{id}_{secret}"),
        id,
    })
}

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn random_hex(bytes: usize) -> Result<String, Problem> {
    let mut random = vec![0; bytes];
    secrets::fill(&mut random)
        .map_err(|_| Problem::new(Code::Internal, "no random bytes could be had"))?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_fits_its_own_hash_and_sorts_before_the_one_before_it() {
        let first = draw(Timestamp(1)).unwrap();
        let second = draw(Timestamp(2)).unwrap();
        assert!(second.id < first.id);
        let presented = Presented::parse(&first.key).unwrap();
        assert_eq!(presented.id, first.id);
        assert!(presented.fits(&first.secret_sha256) && !presented.fits(&second.secret_sha256));
        for bad in [
            "",
            "sk_bursar_",
            "sk_bursar_a_b",
            &first.key[1..],
            &first.key[..80],
        ] {
            assert!(Presented::parse(bad).is_none(), "{bad}");
        }
    }
}
