//! How a letter leaves: a small trait and its four forms.
//!
//! Invariants: one call sends one letter to one address, at most once; a reason holds no address and no words of the
//! other side, which like to repeat it.
//! Not here: retries and their times (the lane), who gets what (`mail`).
//! Failure: [`SendError`] says whether asking again can help.

mod file;
mod held;
mod log;
mod mailgun;
mod smtp;

pub use file::ToFiles;
pub use held::Held;
pub use log::ToLog;
pub use mailgun::Mailgun;
pub use smtp::Smtp;

use crate::mail::letter::Letter;
use bursar_actors::ports::PortFuture;
use std::time::Duration;

/// Longest wait for the other side.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// Why a letter did not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Refused for good.
    Refused(String),
    /// Not by this process.
    Held,
    /// Not now, for this recipient.
    Deferred(String),
    /// Not now, for anybody: nobody answers, our login is refused, or we are too quick.
    Unreachable {
        /// In words.
        why: String,
        /// When to come back, if the other side said so.
        after: Option<Duration>,
    },
}

impl SendError {
    fn away(why: impl Into<String>) -> Self {
        Self::Unreachable {
            why: why.into(),
            after: None,
        }
    }
}

/// Sends letters.
pub trait Transport: Send + Sync + 'static {
    /// Its name, as in `MAIL_TRANSPORT`.
    fn name(&self) -> &'static str;
    /// Sends one; no retries of its own.
    fn send<'a>(&'a self, letter: &'a Letter) -> PortFuture<'a, Result<(), SendError>>;
}
