//! Addresses of mail, as accounts are found by them.
//!
//! Rule: surrounding white space is dropped and the whole address is lower-cased (Unicode); nothing else is folded, so
//! `ada+shop@example.com` and `ada@example.com` are two accounts, and so are two spellings of one Unicode text.
//! Invariants: an address never names a record in clear: records are found by its HMAC-SHA-256 under a random key that
//! is made once per installation and kept in the store.

use crate::identity::records::{self, Commit, spaces};
use crate::identity::{UserId, secrets};
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;

/// The key under which addresses are looked up.
#[derive(Clone)]
pub struct AddressKey(Vec<u8>);

impl fmt::Debug for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressKey")
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    key: String,
}

/// Whose an address is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The account.
    pub user: UserId,
}

/// An address as it is stored, mailed to and compared.
pub fn normalised(address: &str) -> String {
    address.trim().to_lowercase()
}

impl AddressKey {
    /// The name of a record about this text. `about` keeps records of different sorts apart.
    pub fn name(&self, about: &str, text: &str) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(about.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }
    /// The name of an account's address, which is normalised first.
    pub fn of_address(&self, address: &str) -> String {
        self.name("address", &normalised(address))
    }
}

/// The installation's key, made if there is none yet. # Errors: the store's.
pub async fn key(store: &dyn Store) -> Result<AddressKey, StoreError> {
    loop {
        if let Some(kept) = records::read::<Kept>(store, spaces::KEY, "addresses").await? {
            let key = hex::decode(kept.value.key).map_err(|_| {
                StoreError::Invalid("the key of addresses cannot be read".to_owned())
            })?;
            return Ok(AddressKey(key));
        }
        let mut random = [0; 32];
        secrets::fill(&mut random)?;
        let key = hex::encode(random);
        // Somebody else may make one in between: theirs holds, and is read in the next round.
        Commit::default()
            .create(spaces::KEY, "addresses", &Kept { key }, None)?
            .run(store)
            .await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_store::MemStore;

    #[test]
    fn case_and_surrounding_space_do_not_make_another_account_and_a_plus_does() {
        let key = AddressKey(vec![7; 32]);
        let ada = key.of_address("ada@example.com");
        assert_eq!(key.of_address("  ADA@Example.COM "), ada);
        assert_ne!(key.of_address("ada+shop@example.com"), ada);
        assert_ne!(AddressKey(vec![8; 32]).of_address("ada@example.com"), ada);
        assert_ne!(key.name("login", "ada@example.com"), ada);
    }

    #[tokio::test]
    async fn the_key_is_made_once() {
        let store = MemStore::new().unwrap();
        let (one, other) = (key(&*store).await.unwrap(), key(&*store).await.unwrap());
        assert_eq!(one.of_address("a@b"), other.of_address("a@b"));
    }
}
