//! Passwords: argon2id on a small pool of blocking threads.
//!
//! Rule: 8 to 256 characters without NUL, in Unicode's normal form C, so that one password typed on two systems is one;
//! nothing is cut off and nothing else is changed.
//!
//! Invariants: two hashes at a time, each over 19 MiB; behind them a bounded queue, and then 503. Whoever is unknown
//! costs the same work as whoever gave a wrong password.

use crate::http::problem::{Code, FieldCode, FieldError, Problem};
use crate::identity::secrets;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use icu_normalizer::ComposingNormalizerBorrowed;
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// Hashes at a time.
const RUNNING: usize = 2;
/// Hashes in hand, those that run included. A hash takes some 20 ms, so whoever is taken waits half a second at most.
const IN_HAND: usize = 48;
/// Characters of a password.
pub const CHARS: std::ops::RangeInclusive<usize> = 8..=256;
const SALT_BYTES: usize = 16;
/// What an unknown person's password is compared with: the default parameters, and a result nobody can meet.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The pool.
#[derive(Debug)]
pub struct Pool {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    done: Arc<AtomicU64>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(IN_HAND)),
            running: Arc::new(Semaphore::new(RUNNING)),
            done: Arc::default(),
        }
    }
}

/// A password as it is hashed. # Errors: 422 outside the rule, whoever it is for.
pub fn accepted(field: &str, given: &str) -> Result<SecretString, Problem> {
    let normal = ComposingNormalizerBorrowed::new_nfc().normalize(given);
    let fits = CHARS.contains(&normal.chars().count()) && !normal.contains('\0');
    if fits {
        return Ok(normal.into_owned().into());
    }
    let detail = "a password has 8 to 256 characters, none of them NUL";
    Err(Problem {
        errors: vec![FieldError {
            field: field.to_owned(),
            code: FieldCode::OutOfRange,
            detail: detail.to_owned(),
        }],
        ..Problem::new(Code::Refused, detail)
    })
}

impl Pool {
    /// The PHC string of a password. # Errors: 503 if too many wait.
    pub async fn hash(&self, password: SecretString) -> Result<String, Problem> {
        let mut salt = [0; SALT_BYTES];
        secrets::fill(&mut salt)?;
        let work = move || {
            let hash = Argon2::default()
                .hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
            hash.map(|hash| hash.to_string())
        };
        self.run(work).await?.map_err(|error| {
            tracing::error!(%error, "a password cannot be hashed");
            Problem::new(Code::Internal, "the password could not be hashed")
        })
    }
    /// Whether a password fits a PHC string; without one, the same work and `false`. # Errors: 503 if too many wait.
    pub async fn fits(
        &self,
        password: SecretString,
        stored: Option<&str>,
    ) -> Result<bool, Problem> {
        let is_somebodys = stored.is_some();
        let stored = stored.unwrap_or(NOBODYS).to_owned();
        let work = move || {
            let password = password.expose_secret().as_bytes();
            Argon2::default()
                .verify_password(password, stored.as_str())
                .is_ok()
        };
        Ok(self.run(work).await? && is_somebodys)
    }
    /// How many hashes were made so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let full = || {
            Problem::new(
                Code::Overloaded,
                "too many people log in at once; ask again",
            )
        };
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| full())?;
        let turn = Arc::clone(&self.running).acquire_owned().await;
        let turn = turn.map_err(|_| full())?;
        let done = Arc::clone(&self.done);
        let hashing = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also if whoever asked has left.
            let _held = (place, turn);
            done.fetch_add(1, Ordering::SeqCst);
            work()
        });
        hashing.await.map_err(|error| {
            tracing::error!(%error, "a hash did not end");
            Problem::new(Code::Internal, "the password could not be hashed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_in_either_unicode_form_and_no_other() {
        let pool = Pool::default();
        let composed = accepted("password", "caf\u{e9}-au-lait").unwrap();
        let split = accepted("password", "cafe\u{301}-au-lait").unwrap();
        let hash = pool.hash(composed).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(pool.fits(split.clone(), Some(&hash)).await.unwrap());
        let other = accepted("password", "cafe-au-lait").unwrap();
        assert!(!pool.fits(other, Some(&hash)).await.unwrap());
        assert!(!pool.fits(split, None).await.unwrap());
        assert_eq!(pool.done(), 4, "nobody costs as much as somebody");
    }

    #[tokio::test]
    async fn what_nobodys_password_is_compared_with_can_be_read() {
        let read = argon2::password_hash::phc::PasswordHash::new(NOBODYS).unwrap();
        assert_eq!(read.hash.unwrap().len(), 32);
    }

    #[test]
    fn passwords_have_a_length_and_no_nul() {
        for bad in ["", "seven77", "12345678\0", &"a".repeat(257)] {
            assert_eq!(accepted("password", bad).unwrap_err().code, Code::Refused);
        }
        for good in ["eight888", &"\u{fc}".repeat(256), "tab\tand\nline"] {
            assert!(accepted("password", good).is_ok());
        }
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_is_refused_at_once() {
        let pool = Arc::new(Pool::default());
        let gate = Arc::new(std::sync::Barrier::new(RUNNING + 1));
        let mut held = Vec::new();
        for n in 0..IN_HAND {
            let (pool, gate) = (Arc::clone(&pool), Arc::clone(&gate));
            let work = move || {
                if n < RUNNING {
                    gate.wait();
                }
            };
            held.push(tokio::spawn(async move { pool.run(work).await }));
            tokio::task::yield_now().await;
        }
        let refused = pool.run(|| ()).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.retry_after_seconds),
            (Code::Overloaded, Some(1))
        );
        tokio::task::spawn_blocking(move || gate.wait())
            .await
            .unwrap();
        for each in held {
            each.await.unwrap().unwrap();
        }
        pool.run(|| ()).await.unwrap();
    }
}
