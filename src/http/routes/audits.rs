//! Rows of the audit: the digest, and the fold made again.

use super::{get, post};
use crate::http::audits;
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Route, required};

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        summary: "The order-free digest of the state, and the journal's head",
        tag: "operations",
        holds: Holds::One("Digest"),
        ..get("/api/v1/digest", "digest", Auth::Operator, audits::digest)
    },
    Route {
        summary: "Writes a consistent copy of the store into a new file, while it serves",
        description: "Only over the control socket: `bursar backup FILE`.",
        tag: "operations",
        params: &[required(
            "path",
            Kind::Text(4096),
            "The file, as a whole path; it must not exist.",
        )],
        holds: Holds::One("Backup"),
        codes: &[Code::Refused, Code::StateConflict],
        ..post("/api/v1/backup", "backup", Auth::Operator, audits::backup)
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
