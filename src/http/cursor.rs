//! Cursors: where a list goes on, bound to the query that made them.
//!
//! Shape: hex of `mac (16 bytes) | key of the store`. The MAC covers the query (list, filters and
//! whose eyes saw it), so an altered cursor, or one of another query, is 400 and never a wrong page.

use crate::http::auth::AdminAccess;
use crate::http::problem::{Code, Problem};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

const MAC_BYTES: usize = 16;
/// Keys of the store are short: two ids of 255 bytes and change.
const CURSOR_DIGITS_MAX: usize = 2_048;

/// The key cursors are bound with.
pub struct CursorKey(Hmac<Sha256>);

impl CursorKey {
    /// Derives the key from the operator's, so that cursors survive restarts.
    pub fn derive(admin: &AdminAccess) -> Self {
        Self(admin.derive(b"bursar cursors v1"))
    }
    fn mac(&self, query: &str, key: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = self.0.clone();
        mac.update(&(query.len() as u64).to_be_bytes());
        mac.update(query.as_bytes());
        mac.update(key);
        let full = mac.finalize().into_bytes();
        let mut short = [0; MAC_BYTES];
        short.copy_from_slice(&full[..MAC_BYTES]);
        short
    }
    /// Wraps a key of the store.
    pub fn wrap(&self, query: &str, key: &[u8]) -> String {
        let mut bytes = self.mac(query, key).to_vec();
        bytes.extend_from_slice(key);
        hex::encode(bytes)
    }
    /// Unwraps a cursor. # Errors: 400 `cursor_invalid`.
    pub fn unwrap(&self, query: &str, cursor: &str) -> Result<Vec<u8>, Problem> {
        let invalid = || {
            let detail = "the cursor was altered, or belongs to a query with other filters";
            Problem::new(Code::CursorInvalid, detail)
        };
        if cursor.len() > CURSOR_DIGITS_MAX {
            return Err(invalid());
        }
        let bytes = hex::decode(cursor).map_err(|_| invalid())?;
        if bytes.len() <= MAC_BYTES {
            return Err(invalid());
        }
        let (mac, key) = bytes.split_at(MAC_BYTES);
        if bool::from(self.mac(query, key).ct_eq(mac)) {
            return Ok(key.to_vec());
        }
        Err(invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_serves_only_the_query_that_made_it() {
        let admin = AdminAccess::new("k".repeat(32).into(), Vec::new());
        let key = CursorKey::derive(&admin);
        let cursor = key.wrap("payments|tenantId=a", b"\x01\x02");
        assert_eq!(
            key.unwrap("payments|tenantId=a", &cursor).unwrap(),
            b"\x01\x02"
        );
        assert!(key.unwrap("payments|tenantId=b", &cursor).is_err());
        for position in 0..cursor.len() {
            let mut altered = cursor.clone().into_bytes();
            altered[position] = if altered[position] == b'0' {
                b'1'
            } else {
                b'0'
            };
            let altered = String::from_utf8(altered).unwrap();
            assert!(key.unwrap("payments|tenantId=a", &altered).is_err());
        }
        let long = "00".repeat(5_000);
        for bad in ["", "zz", "00", &cursor[..32], long.as_str()] {
            assert!(key.unwrap("payments|tenantId=a", bad).is_err(), "{bad:.20}");
        }
    }
}
