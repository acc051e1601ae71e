//! Shapes of what people get: tokens, sessions, themselves, members.

use super::{Schema, Shape, has, may, said, schema};
use bursar_domain::identity::Role;

/// The schemas.
pub(super) const SCHEMAS: &[Schema] = &[
    schema(
        "Sent",
        "What was done, in one word, whoever the address belongs to.",
        &[has(
            "status",
            Shape::Word(&["verification_sent", "reset_sent", "password_set"]),
        )],
    ),
    schema(
        "Verified",
        "A verified address.",
        &[
            has("status", Shape::Word(&["verified"])),
            said(may("tenantId", Shape::Text), "The tenant that appeared."),
        ],
    ),
    schema(
        "Tokens",
        "Tokens, in this service's names and in those of RFC 6749; or, for the console, what goes with its cookie.",
        &[
            said(
                has("accessToken", Shape::Text),
                "Absent with a cookie, as are the others.",
            ),
            has("refreshToken", Shape::Text),
            has("tokenType", Shape::Word(&["Bearer"])),
            said(has("expiresIn", Shape::Integer), "Seconds."),
            has("access_token", Shape::Text),
            has("refresh_token", Shape::Text),
            has("token_type", Shape::Word(&["Bearer"])),
            has("expires_in", Shape::Integer),
            said(
                has("csrfToken", Shape::Text),
                "With a cookie alone: what unsafe requests send as X-CSRF-Token.",
            ),
        ],
    ),
    schema(
        "Joined",
        "A place that was accepted.",
        &[
            has("tenantId", Shape::Text),
            has("role", Shape::Word(Role::WORDS)),
            has("userId", Shape::Text),
        ],
    ),
    schema(
        "Session",
        "Where a person is signed in.",
        &[
            has("id", Shape::Text),
            has("kind", Shape::Word(&["tokens", "console"])),
            said(
                has("current", Shape::Boolean),
                "The one this request came with.",
            ),
            has("createdAt", Shape::Time),
            has("lastUsedAt", Shape::Time),
            has("expiresAt", Shape::Time),
        ],
    ),
    schema(
        "Membership",
        "A place in a tenant.",
        &[
            has("tenantId", Shape::Text),
            has("tenantName", Shape::Text),
            has("role", Shape::Word(Role::WORDS)),
        ],
    ),
    schema(
        "Me",
        "The person who asks.",
        &[
            has("id", Shape::Text),
            has("email", Shape::Text),
            has("name", Shape::Text),
            may("defaultTenantId", Shape::Text),
            has("memberships", Shape::Many("Membership")),
            has("createdAt", Shape::Time),
        ],
    ),
    schema(
        "User",
        "A person, as the operator sees them.",
        &[
            has("id", Shape::Text),
            has("email", Shape::Text),
            has("name", Shape::Text),
            has("status", Shape::Word(&["active", "unverified"])),
            has("createdAt", Shape::Time),
        ],
    ),
    schema(
        "Member",
        "Somebody who belongs to a tenant, or is invited to.",
        &[
            said(
                has("id", Shape::Text),
                "Of the person, or of the invitation.",
            ),
            may("email", Shape::Text),
            may("name", Shape::Text),
            has("role", Shape::Word(Role::WORDS)),
            has("status", Shape::Word(&["active", "invited", "expired"])),
            has("createdAt", Shape::Time),
            may("expiresAt", Shape::Time),
        ],
    ),
];
