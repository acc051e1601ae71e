//! Proofs that an address is somebody's: the link and the code of a verification, the link of a reset.
//!
//! Invariants: a new one kills the older; each is good once; a code has six digits, lives ten minutes and is refused
//! from the sixth try on even if it is right; at most four mails go out in an hour (the first and three again).
//! Links hold 256 random bits and are stored as their digest. A code is stored as an HMAC under a key the store does
//! not hold: whoever reads the store could try a million codes against a plain digest.

use crate::identity::UserId;
use crate::identity::records::{Read, read, spaces};
use crate::identity::secrets::{self, Token};
use crate::identity::tokens::Keys;
use bursar_domain::ids::Timestamp;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// How long a code is good.
pub const CODE_MINUTES: i64 = 10;
/// How long the link of a verification is good.
pub const LINK_MINUTES: i64 = 24 * 60;
/// How long the link of a reset is good.
pub const RESET_MINUTES: i64 = 30;
/// How often a code may be tried.
pub const TRIES_MAX: u32 = 5;
/// Mails in an hour: the first, and three again.
pub const SENDS_PER_HOUR: usize = 4;
const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// What is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// That the address is theirs.
    Verification,
    /// That they may set a new password.
    Reset,
    /// Nothing: it only counts mails that say that there is an account already.
    Notice,
}

impl Purpose {
    /// The key of a person's record for this.
    pub fn key(self, user: &UserId) -> String {
        let word = match self {
            Self::Verification => "verification",
            Self::Reset => "reset",
            Self::Notice => "notice",
        };
        format!("{user}/{word}")
    }
    const fn minutes(self) -> i64 {
        match self {
            Self::Verification => LINK_MINUTES,
            Self::Reset | Self::Notice => RESET_MINUTES,
        }
    }
}

/// What is kept of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Digest of the link's secret.
    pub link_sha256: String,
    /// HMAC of the code.
    pub code_mac: String,
    /// Until when the code is good.
    pub code_ends_at: Timestamp,
    /// Until when the link is good.
    pub ends_at: Timestamp,
    /// How often the code was tried.
    pub tries: u32,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// Mails of the last hour.
    pub sent: Vec<Timestamp>,
}

/// What the mail says.
#[derive(Debug)]
pub struct Sent {
    /// What the link carries.
    pub token: SecretString,
    /// The code.
    pub code: SecretString,
}

/// A person's record. # Errors: the store's.
pub async fn find(
    store: &dyn Store,
    user: &UserId,
    purpose: Purpose,
) -> Result<Option<Read<Proof>>, StoreError> {
    read(store, spaces::PROOF, &purpose.key(user)).await
}

fn code_mac(keys: &Keys, user: &UserId, link_sha256: &str, code: &str) -> String {
    keys.derived("code", &format!("{user}\n{link_sha256}\n{code}"))
}

/// A new proof in place of the one before. `None`: as many mails as may go out in an hour did.
/// # Errors: no random bytes.
pub fn renewed(
    keys: &Keys,
    user: &UserId,
    purpose: Purpose,
    before: Option<&Proof>,
    now: Timestamp,
) -> Result<Option<(Proof, Sent)>, StoreError> {
    let mut sent: Vec<Timestamp> = before.map(|b| b.sent.clone()).unwrap_or_default();
    sent.retain(|at| now.0 - at.0 < HOUR_MS);
    if sent.len() >= SENDS_PER_HOUR {
        return Ok(None);
    }
    sent.push(now);
    let (secret, code) = (secrets::new_secret()?, new_code()?);
    let link_sha256 = secrets::digest(secret.expose_secret());
    let proof = Proof {
        code_mac: code_mac(keys, user, &link_sha256, code.expose_secret()),
        link_sha256,
        code_ends_at: now.plus_ms(CODE_MINUTES * MINUTE_MS),
        ends_at: now.plus_ms(purpose.minutes() * MINUTE_MS),
        tries: 0,
        used_at: None,
        sent,
    };
    let id = user.as_str().trim_start_matches(UserId::PREFIX);
    let token = Token::join(id, &secret);
    Ok(Some((proof, Sent { token, code })))
}

/// Six digits, each value as likely as another.
fn new_code() -> Result<SecretString, StoreError> {
    loop {
        let mut random = [0; 4];
        secrets::fill(&mut random)?;
        let number = u32::from_be_bytes(random);
        // The last million that is not whole would favour its numbers.
        if number < u32::MAX / 1_000_000 * 1_000_000 {
            return Ok(format!("{:06}", number % 1_000_000).into());
        }
    }
}

/// Whose a link's token says it is, and its secret. `None`: it is none of ours.
pub fn read_token(text: &str) -> Option<(UserId, &str)> {
    let token = Token::parse(text)?;
    let user = UserId::parse(&format!("{}{}", UserId::PREFIX, token.id))?;
    Some((user, token.secret))
}

impl Proof {
    /// Whether a link's secret is right and good now, or was used before for something that is not finished.
    pub fn link_fits(&self, secret: &str, may_be_used: bool, now: Timestamp) -> bool {
        let is_right = secrets::fits(secret, &self.link_sha256);
        is_right && now < self.ends_at && (self.used_at.is_none() || may_be_used)
    }
    /// Tries a code: the record after the try, and whether the code is right and good. `None`: not even tried.
    pub fn try_code(
        &self,
        keys: &Keys,
        user: &UserId,
        code: &str,
        now: Timestamp,
    ) -> Option<(Self, bool)> {
        if self.tries >= TRIES_MAX || self.used_at.is_some() || now >= self.code_ends_at {
            return None;
        }
        let is_of = |keys: &Keys| code_mac(keys, user, &self.link_sha256, code);
        let mut macs = keys.all().map(is_of);
        let is_right = macs.any(|mac| secrets::is_same(&mac, &self.code_mac));
        let tried = Self {
            tries: self.tries + 1,
            ..self.clone()
        };
        Some((tried, is_right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_747_044_000);

    fn keys() -> Keys {
        Keys::new(
            &"a-secret-of-at-least-thirty-two-bytes".to_owned().into(),
            "https://b.example",
        )
    }

    fn proof(user: &UserId, before: Option<&Proof>, now: Timestamp) -> Option<(Proof, Sent)> {
        renewed(&keys(), user, Purpose::Verification, before, now).unwrap()
    }

    #[test]
    fn the_sixth_try_is_refused_even_if_it_is_right() {
        let user = UserId::new();
        let (mut kept, sent) = proof(&user, None, NOW).unwrap();
        let right = sent.code.expose_secret();
        assert!(right.len() == 6 && right.bytes().all(|b| b.is_ascii_digit()));
        let wrong = if right == "000000" {
            "000001"
        } else {
            "000000"
        };
        assert!(kept.try_code(&keys(), &user, right, NOW).unwrap().1);
        assert!(
            !kept
                .try_code(&keys(), &UserId::new(), right, NOW)
                .unwrap()
                .1
        );
        for _ in 0..TRIES_MAX {
            let (tried, is_right) = kept.try_code(&keys(), &user, wrong, NOW).unwrap();
            assert!(!is_right);
            kept = tried;
        }
        assert_eq!(kept.try_code(&keys(), &user, right, NOW), None);
    }

    #[test]
    fn a_code_lives_ten_minutes_and_a_link_a_day() {
        let user = UserId::new();
        let (kept, sent) = proof(&user, None, NOW).unwrap();
        let (_, secret) = read_token(sent.token.expose_secret()).unwrap();
        let code = sent.code.expose_secret();
        let late = NOW.plus_ms(CODE_MINUTES * MINUTE_MS);
        assert!(
            kept.try_code(&keys(), &user, code, late.plus_ms(-1))
                .unwrap()
                .1
        );
        assert_eq!(kept.try_code(&keys(), &user, code, late), None);
        let day = NOW.plus_ms(LINK_MINUTES * MINUTE_MS);
        assert!(kept.link_fits(secret, false, day.plus_ms(-1)));
        assert!(!kept.link_fits(secret, false, day));
        let used = Proof {
            used_at: Some(NOW),
            ..kept
        };
        assert!(!used.link_fits(secret, false, NOW) && used.link_fits(secret, true, NOW));
    }

    #[test]
    fn a_new_one_kills_the_older_and_three_go_out_again_in_an_hour() {
        let user = UserId::new();
        let (first, sent) = proof(&user, None, NOW).unwrap();
        let (owner, secret) = read_token(sent.token.expose_secret()).unwrap();
        assert_eq!(owner, user);
        let mut last = first;
        for n in 1..4 {
            let (next, _) = proof(&user, Some(&last), NOW.plus_ms(n)).unwrap();
            assert!(!next.link_fits(secret, false, NOW));
            last = next;
        }
        assert!(proof(&user, Some(&last), NOW.plus_ms(HOUR_MS - 1)).is_none());
        assert!(proof(&user, Some(&last), NOW.plus_ms(HOUR_MS)).is_some());
    }
}
