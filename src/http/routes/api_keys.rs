//! Rows of a tenant's API keys.

use super::orders::FOR_TENANT;
use super::{CURSOR, LIMIT, TENANT, get, post, row};
use crate::http::api_keys::{self, ROLE_WORDS};
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Route, Verb, optional, required};
use bursar_domain::identity::Role;

const KEYS: Auth = Auth::PersonOf(Role::Admin);

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        tag: "keys",
        summary: "Makes a key of the tenant",
        description: "For programs of the tenant: what it may do is its role's. Nobody makes one above their own \
                      role; a tenant has at most a hundred. The key is in the answer and nowhere else, ever.",
        params: &[
            FOR_TENANT,
            required("name", Kind::Text(100), "What it is for."),
            required("role", Kind::Choice(ROLE_WORDS), "What it may do."),
            optional("expiresAt", Kind::Time, "When it ends; never if not given."),
        ],
        status: 201,
        holds: Holds::One("ApiKey"),
        codes: &[Code::NotFound, Code::Refused, Code::SecretShownOnce],
        ..post(
            "/api/v1/api-keys",
            "api_keys_create",
            KEYS,
            api_keys::create,
        )
    },
    Route {
        tag: "keys",
        summary: "Lists the tenant's keys, newest first",
        params: &[LIMIT, CURSOR, TENANT],
        holds: Holds::Page("ApiKey"),
        codes: &[Code::NotFound],
        ..get("/api/v1/api-keys", "api_keys_list", KEYS, api_keys::list)
    },
    Route {
        tag: "keys",
        summary: "Revokes a key of the tenant",
        description: "It is refused from the next request on.",
        status: 204,
        ..row(
            Verb::Delete,
            "/api/v1/api-keys/{id}",
            "api_keys_revoke",
            KEYS,
            api_keys::revoke,
        )
    },
];
