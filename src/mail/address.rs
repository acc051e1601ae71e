//! An address mail can be sent to.
//!
//! Invariants: no control character, white space, quote, angle bracket, comma or backslash can be in it, so that it is
//! one recipient and one line in every header and every command of SMTP. Quoted local parts and addresses beyond
//! ASCII are refused: nobody needs the first, and the second need a server that says it takes them.
//! Not here: whether anybody reads what is sent there.
//! Failure: [`NoAddress`], which does not repeat what was given.
//! Source: RFC 5321 §4.1.2 (`Dot-string`, `Domain`), §4.5.3.1 (lengths).

use sha2::{Digest, Sha256};
use std::fmt;

/// Longest address.
const BYTES_MAX: usize = 254;
/// Longest part before the `@`.
const LOCAL_BYTES_MAX: usize = 64;
/// What may stand before the `@` beside letters, digits and dots.
const LOCAL_SIGNS: &[u8] = b"!#$%&'*+/=?^_`{|}~-";

/// A checked address. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: String,
    at: usize,
}

/// What was given is no address mail can be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address mail can be sent to")]
pub struct NoAddress;

impl Address {
    /// Checks an address.
    ///
    /// # Errors
    /// [`NoAddress`].
    pub fn parse(text: &str) -> Result<Self, NoAddress> {
        let at = text.find('@').ok_or(NoAddress)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        if text.len() <= BYTES_MAX && is_local(local) && is_domain(domain) {
            let text = text.to_owned();
            return Ok(Self { text, at });
        }
        Err(NoAddress)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Behind the `@`.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// Names the recipient of one effect without telling who it is: eight hex digits.
    pub fn tag(&self, salt: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(salt.as_bytes());
        hash.update([0]);
        hash.update(self.text.to_ascii_lowercase().as_bytes());
        hex::encode(&hash.finalize()[..4])
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.tag(""))
    }
}

fn is_local(local: &str) -> bool {
    let is_atom = |atom: &str| {
        let fits = |b: &u8| b.is_ascii_alphanumeric() || LOCAL_SIGNS.contains(b);
        !atom.is_empty() && atom.as_bytes().iter().all(fits)
    };
    local.len() <= LOCAL_BYTES_MAX && local.split('.').all(is_atom)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
        (1..=63).contains(&label.len())
            && label.as_bytes().iter().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_addresses_pass_and_whatever_could_be_two_recipients_does_not() {
        for good in [
            "a@b.test",
            "ada+x@sub.example.com",
            "o'neil@example.com",
            "a@localhost",
        ] {
            assert_eq!(
                Address::parse(good).map(|a| a.as_str().to_owned()),
                Ok(good.into())
            );
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c.test",
            "\"a b\"@c.test",
            "a@c.test\r\nRCPT TO:<x@y.test>",
            "a\n@c.test",
            "a@c.test,b@c.test",
            "<a@c.test>",
            "a@[127.0.0.1]",
            ".a@c.test",
            "a..b@c.test",
            "a@-c.test",
            "a@c..test",
            "a\u{0}@c.test",
            "\u{fc}@c.test",
            "a@c.test>",
            "a(x)@c.test",
            "a@c.test ",
            "a;b@c.test",
        ] {
            assert_eq!(Address::parse(bad), Err(NoAddress), "{bad:?}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        assert_eq!(Address::parse(&long), Err(NoAddress));
    }

    #[test]
    fn debug_does_not_tell_the_address() {
        let address = Address::parse("ada@example.com").unwrap();
        assert!(!format!("{address:?}").contains("ada"));
        assert_ne!(address.tag("e1"), address.tag("e2"));
    }
}
