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
            has("bodyBytes", Shape::Integer),
            said(
                has("bodyDropped", Shape::Boolean),
                "The body was dropped by retention; what it did is still there.",
            ),
            said(
                may("bodySha256", Shape::Text),
                "Only of a single event; null once erased.",
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
        "Settled",
        "What became of many things that waited, or would become of them.",
        &[
            has("matched", Shape::Integer),
            has("done", Shape::Integer),
            has("skipped", Shape::Integer),
            has("dryRun", Shape::Boolean),
            has("hasMore", Shape::Boolean),
            said(
                may("nextCursor", Shape::Text),
                "Goes on after the last one of this answer, with the same filter.",
            ),
            said(
                has("items", Shape::Many("SettledItem")),
                "At most 200 of them; the counts are of all.",
            ),
        ],
    ),
    schema(
        "SettledItem",
        "One of them.",
        &[
            has("id", Shape::Text),
            has("outcome", Shape::Word(&["done", "skipped"])),
            has("reason", Shape::Text),
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
        "Drift",
        "One field of one object that is not what Stripe says.",
        &[
            has("objectId", Shape::Text),
            has("object", Shape::Text),
            may("account", Shape::Text),
            said(
                has("field", Shape::Text),
                "A field of the object as this API shows it; `ledger`: money not booked; `personal`: a \
                 personal field; `unknown`: nobody told of the object.",
            ),
            may("from", Shape::Any),
            may("to", Shape::Any),
        ],
    ),
    schema(
        "ReconcileTrouble",
        "Something a comparison could not do.",
        &[
            may("account", Shape::Text),
            has("object", Shape::Text),
            has("error", Shape::Text),
        ],
    ),
    schema(
        "ReconcileWindow",
        "The time a comparison looked at.",
        &[may("from", Shape::Time), may("to", Shape::Time)],
    ),
    schema(
        "Reconciliation",
        "A comparison with Stripe.",
        &[
            has("runId", Shape::Text),
            has(
                "status",
                Shape::Word(&["none", "running", "done", "failed"]),
            ),
            may("startedAt", Shape::Time),
            may("finishedAt", Shape::Time),
            has("mode", Shape::Word(&["check", "repair", "import"])),
            has("window", Shape::Is("ReconcileWindow")),
            said(has("lookedAt", Shape::Integer), "Events and objects read."),
            said(
                has("missing", Shape::Integer),
                "Events that were never delivered.",
            ),
            said(
                has("drifted", Shape::Integer),
                "Objects that differ from Stripe's.",
            ),
            said(has("repaired", Shape::Integer), "Taken in."),
            said(
                has("failed", Shape::Integer),
                "Could not be read or taken in; `errors` says why.",
            ),
            said(
                has("byObject", Shape::Object),
                "The same figures by kind of object, as Stripe calls it; `event`: events.",
            ),
            said(has("drift", Shape::Many("Drift")), "At most 100."),
            has("errors", Shape::Many("ReconcileTrouble")),
            said(
                has("hasMore", Shape::Boolean),
                "It ended at its bound; the next one goes on.",
            ),
            said(
                has("stripeFailed", Shape::Boolean),
                "Stripe did not answer; the next one goes on.",
            ),
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
        "ApiKey",
        "A key of one tenant.",
        &[
            has("id", Shape::Text),
            has("tenantId", Shape::Text),
            has("name", Shape::Text),
            has("role", Shape::Word(crate::http::api_keys::ROLE_WORDS)),
            has("createdAt", Shape::Time),
            said(has("createdBy", Shape::Text), "`user:<id>`, `operator`."),
            may("expiresAt", Shape::Time),
            said(may("lastUsedOn", Shape::Text), "A day, `2025-05-12`."),
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
        "Backup",
        "A consistent copy of the store, in one file.",
        &[
            has("path", Shape::Text),
            said(has("record", Shape::Integer), "The last record in it."),
            said(
                has("chainHead", Shape::Text),
                "Number and hash of that record, as the digest shows them.",
            ),
            has("files", Shape::Integer),
            has("bytes", Shape::Integer),
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
