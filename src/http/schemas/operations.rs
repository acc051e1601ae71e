//! Shapes of what operators look at: deliveries, replays, effects, the audit trail, keys.

use super::{DISPOSITIONS, Schema, Shape, has, may, said, schema};

/// The schemas.
pub(super) const SCHEMAS: &[Schema] = &[
    schema(
        "Explained",
        "Everything that names an id.",
        &[
            has("id", Shape::Text),
            has("inputs", Shape::Many("WebhookEvent")),
            has("timeline", Shape::Many("TimelineEntry")),
            has("truncated", Shape::Boolean),
        ],
    ),
    schema(
        "WebhookEvent",
        "A delivery as stored.",
        &[
            said(
                has("id", Shape::Text),
                "The event's id, or `raw_<hash>` for what is no event.",
            ),
            may("account", Shape::Text),
            has("type", Shape::Text),
            has(
                "status",
                Shape::Word(crate::http::webhook_events::STATUS_WORDS),
            ),
            may("disposition", Shape::Word(DISPOSITIONS)),
            has("reason", Shape::Text),
            has("parkedOn", Shape::Texts),
            may("addressedTo", Shape::Text),
            may("createdAt", Shape::Time),
            has("receivedAt", Shape::Time),
            may("endedAt", Shape::Time),
            may("tenantId", Shape::Text),
            has("objectIds", Shape::Texts),
            has("bodySha256", Shape::Text),
            has("bodyBytes", Shape::Integer),
            said(
                has("bodyDropped", Shape::Boolean),
                "The body was dropped by retention; what it did is still there.",
            ),
            said(
                may("body", Shape::Any),
                "Only of a single event; null once erased.",
            ),
        ],
    ),
    schema(
        "Replayed",
        "One event of a replay.",
        &[
            has("id", Shape::Text),
            has("type", Shape::Text),
            has("outcome", Shape::Word(&["replayed", "skipped"])),
            has("reason", Shape::Text),
            has("status", Shape::Text),
            has("changed", Shape::Many("Change")),
        ],
    ),
    schema(
        "Replay",
        "What doing events again did, or would do.",
        &[
            has("matched", Shape::Integer),
            has("replayed", Shape::Integer),
            has("unchanged", Shape::Integer),
            has("skipped", Shape::Integer),
            has("dryRun", Shape::Boolean),
            has("hasMore", Shape::Boolean),
            said(
                may("nextCursor", Shape::Text),
                "Goes on after the last event of this answer, with the same filter.",
            ),
            has("diff", Shape::Many("Replayed")),
        ],
    ),
    schema(
        "Claimed",
        "Something that found its tenant.",
        &[
            has("id", Shape::Text),
            has("tenantId", Shape::Text),
            has("claimed", Shape::Boolean),
        ],
    ),
    schema(
        "Effect",
        "Something to do outside, and what became of it.",
        &[
            has("id", Shape::Text),
            has("aggregate", Shape::Text),
            has("lane", Shape::Word(crate::http::operators::LANE_WORDS)),
            has("kind", Shape::Text),
            has(
                "status",
                Shape::Word(crate::http::operators::EFFECT_STATUS_WORDS),
            ),
            has("attempts", Shape::Integer),
            has("note", Shape::Text),
            has("decidedAt", Shape::Time),
            has("dueAt", Shape::Time),
            may("settledAt", Shape::Time),
        ],
    ),
    schema(
        "AuditEntry",
        "Who changed what.",
        &[
            has("at", Shape::Time),
            has("actor", Shape::Text),
            has("action", Shape::Text),
            has("objectId", Shape::Text),
            may("tenantId", Shape::Text),
            has("requestId", Shape::Text),
            has("detail", Shape::Text),
        ],
    ),
    schema(
        "Circuit",
        "A circuit breaker.",
        &[
            said(
                has("name", Shape::Text),
                "`stripe`, `stripe:acct_…`, or a lane that does not go to Stripe.",
            ),
            has("state", Shape::Word(&["closed", "half_open", "open"])),
            may("since", Shape::Time),
        ],
    ),
    schema(
        "ServiceKey",
        "A service key.",
        &[
            has("id", Shape::Text),
            has("name", Shape::Text),
            has("scopes", Shape::Texts),
            has("createdAt", Shape::Time),
            said(has("key", Shape::Text), "Only in the answer that made it."),
        ],
    ),
    schema(
        "Digest",
        "What the state and the journal come to.",
        &[
            said(
                has("stateDigest", Shape::Text),
                "The same for any order of arrival.",
            ),
            said(
                has("chainHead", Shape::Text),
                "Number and hash of the journal's last record.",
            ),
        ],
    ),
    schema(
        "Verification",
        "The stored inputs folded again, beside the live state.",
        &[
            has("applies", Shape::Integer),
            has("inputs", Shape::Integer),
            has("compared", Shape::Integer),
            said(
                has("notCompared", Shape::Integer),
                "Decided by other reducers or settings, or dropped by retention.",
            ),
            said(has("erased", Shape::Integer), "Bodies that were erased."),
            said(
                has("droppedBodies", Shape::Integer),
                "Bodies of kept commits that retention dropped; in `notCompared`.",
            ),
            said(
                has("droppedCommits", Shape::Integer),
                "Commits whose records retention dropped; in `notCompared`.",
            ),
            said(
                has("journalRecords", Shape::Integer),
                "Records walked, from `firstRecord` on.",
            ),
            has("firstRecord", Shape::Integer),
            has("checkpoints", Shape::Integer),
            has("aggregates", Shape::Integer),
            has("ledgerEntries", Shape::Integer),
            said(
                has("mismatches", Shape::Integer),
                "Anything but 0 is a defect.",
            ),
            has("findings", Shape::Texts),
            has("stateDigest", Shape::Text),
            has("chainHead", Shape::Text),
        ],
    ),
];
