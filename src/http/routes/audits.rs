//! Rows of the audit: the digest, and the fold made again.

use super::{get, post};
use crate::http::audits;
use crate::http::route::{Auth, Holds, Route};

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        summary: "The order-free digest of the state, and the journal's head",
        tag: "operations",
        holds: Holds::One("Digest"),
        ..get("/api/v1/digest", "digest", Auth::Operator, audits::digest)
    },
    Route {
        summary: "Folds the stored inputs again and compares with the live state",
        description: "Reads the whole store; what cannot be compared (other reducer revisions or \
                      settings, erased bodies) is counted.",
        tag: "operations",
        holds: Holds::One("Verification"),
        ..post("/api/v1/verify", "verify", Auth::Operator, audits::verify)
    },
];
