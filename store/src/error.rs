//! What can go wrong in the store, and what to do about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file in a sentence after what was tried with it.
fn about(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!(" {}", file.display()))
}

/// A failed word. Outcomes of the domain are values, not errors.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The queue is full; nothing was written. Try again.
    #[error("the store is busy")]
    Busy,
    /// The disk is past its watermark; nothing was written.
    #[error("the disk is nearly full ({free_bytes} bytes free): intake is refused")]
    Full {
        /// Bytes left.
        free_bytes: u64,
    },
    /// The store is closing or closed.
    #[error("the store is closed")]
    Closed,
    /// The caller broke a rule of the trait; nothing was written.
    #[error("refused: {0}")]
    Invalid(String),
    /// Stored data is not what was written.
    #[error("damage in {file} at byte {offset}: {kind}")]
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        kind: String,
    },
    /// Another process holds the store.
    #[error("the store is held by process {pid}")]
    Locked {
        /// Its id, 0 if unknown.
        pid: u32,
    },
    /// It was written by a newer version, or for another installation.
    #[error("{0}")]
    Incompatible(String),
    /// The operating system refused; whether a write took effect is unknown to the caller.
    #[error("{operation}{} failed: {cause}", about(file.as_deref()))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file or folder, where it is one.
        file: Option<PathBuf>,
        /// Why it failed: part of the sentence, since logs show one.
        cause: std::io::Error,
    },
}

/// What a caller should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try again later.
    Retryable,
    /// Trying again changes nothing.
    Permanent,
    /// The process should end; the platform restarts it.
    Fatal,
}

impl StoreError {
    /// What to do about it.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Busy | Self::Full { .. } | Self::Closed => ErrorClass::Retryable,
            Self::Invalid(_) | Self::Locked { .. } | Self::Incompatible(_) => ErrorClass::Permanent,
            Self::Damaged { .. } | Self::Io { .. } => ErrorClass::Fatal,
        }
    }
    /// The same error for another caller (an I/O error keeps its kind and words).
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::Busy => Self::Busy,
            Self::Full { free_bytes } => Self::Full {
                free_bytes: *free_bytes,
            },
            Self::Closed => Self::Closed,
            Self::Invalid(why) => Self::Invalid(why.clone()),
            Self::Damaged { file, offset, kind } => Self::Damaged {
                file: file.clone(),
                offset: *offset,
                kind: kind.clone(),
            },
            Self::Locked { pid } => Self::Locked { pid: *pid },
            Self::Incompatible(why) => Self::Incompatible(why.clone()),
            Self::Io {
                operation,
                file,
                cause,
            } => Self::Io {
                operation,
                file: file.clone(),
                cause: std::io::Error::new(cause.kind(), cause.to_string()),
            },
        }
    }
    /// How long a refused sender should wait.
    pub const fn retry_after(&self) -> Duration {
        match self {
            Self::Full { .. } => Duration::from_secs(60),
            _ => Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_operation_names_its_file_and_its_cause_for_every_caller() {
        let error = StoreError::Io {
            operation: "opening",
            file: Some(PathBuf::from("/data/journal/mark")),
            cause: std::io::Error::other("no"),
        };
        for error in [error.again(), error] {
            assert_eq!(error.to_string(), "opening /data/journal/mark failed: no");
        }
        let nowhere = StoreError::Io {
            operation: "starting the committer",
            file: None,
            cause: std::io::Error::other("no"),
        };
        assert_eq!(nowhere.to_string(), "starting the committer failed: no");
    }
}
