//! Shapes of notifications: endpoints, attempts, lines of the feed.

use super::{Schema, Shape, has, may, said, schema};
use crate::http::notifications::deliveries::STATUS_WORDS;

/// The schemas.
pub(super) const SCHEMAS: &[Schema] = &[
    schema(
        "NotificationEndpoint",
        "Where notifications are sent.",
        &[
            has("id", Shape::Text),
            has("url", Shape::Text),
            said(
                has("types", Shape::Texts),
                "What it hears; empty: everything.",
            ),
            said(may("tenantId", Shape::Text), "Null hears all tenants."),
            has("description", Shape::Text),
            has("status", Shape::Word(&["enabled", "disabled"])),
            may(
                "disabledReason",
                Shape::Word(&["gone", "failing", "by_hand"]),
            ),
            may("disabledAt", Shape::Time),
            said(
                may("failingSince", Shape::Time),
                "The first failure since the last success.",
            ),
            said(
                has("readOnly", Shape::Boolean),
                "It is the configuration's.",
            ),
            has("createdAt", Shape::Time),
            said(has("secret", Shape::Text), "Only when it was just made."),
            said(
                has("previousSecretUntil", Shape::Time),
                "Only of a rotation: until then the secret before signs too.",
            ),
            said(
                has("verify", Shape::Object),
                "Only of a new one: lines that verify, for `node` and `python`.",
            ),
        ],
    ),
    schema(
        "NotificationTest",
        "What came of a test.",
        &[
            has("notificationId", Shape::Text),
            has("type", Shape::Text),
            has("status", Shape::Word(STATUS_WORDS)),
            may("statusCode", Shape::Integer),
            has("latencyMs", Shape::Integer),
            may("error", Shape::Text),
            has("answer", Shape::Text),
        ],
    ),
    schema(
        "NotificationAttempt",
        "One attempt at an endpoint.",
        &[
            said(may("deliveryId", Shape::Text), "Null of a test."),
            has("notificationId", Shape::Text),
            has("type", Shape::Text),
            may("tenantId", Shape::Text),
            said(has("attempt", Shape::Integer), "From 1; 0 of a test."),
            has("at", Shape::Time),
            has("status", Shape::Word(STATUS_WORDS)),
            may("statusCode", Shape::Integer),
            has("latencyMs", Shape::Integer),
            may("error", Shape::Text),
            said(has("answer", Shape::Text), "The answer's first 200 bytes."),
            said(may("nextAttemptAt", Shape::Time), "Null: there is none."),
        ],
    ),
    schema(
        "NotificationDelivery",
        "A delivery that is tried again.",
        &[
            has("deliveryId", Shape::Text),
            has("notificationId", Shape::Text),
            has("type", Shape::Text),
            has("tenantId", Shape::Text),
            has("status", Shape::Word(&["pending"])),
        ],
    ),
    schema(
        "NotificationRetry",
        "What is tried again.",
        &[
            has("retried", Shape::Integer),
            has("hasMore", Shape::Boolean),
        ],
    ),
    schema(
        "NotificationFeed",
        "A page of the feed. Unlike a list's, its cursor is there also when nothing is.",
        &[
            has("data", Shape::Many("Notification")),
            said(has("hasMore", Shape::Boolean), "There is more now."),
            said(
                has("nextCursor", Shape::Text),
                "Give it as `after` to go on.",
            ),
            said(
                has("gap", Shape::Boolean),
                "Some were dropped for their age between `after` and the first.",
            ),
        ],
    ),
    schema(
        "Notification",
        "What applications are told.",
        &[
            said(has("id", Shape::Text), "The `webhook-id`."),
            has("type", Shape::Word(bursar_domain::notification::TYPES)),
            has("timestamp", Shape::Time),
            has("tenantId", Shape::Text),
            said(
                may("data", Shape::Object),
                "`tenantId`, `version`, `tenant` as it was then, `object`, `cause`; null once erased.",
            ),
        ],
    ),
];
