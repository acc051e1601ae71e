//! Rows of notifications: endpoints, deliveries, the feed.

use super::{CREATED_AFTER, CREATED_BEFORE, CURSOR, LIMIT, TENANT, WAIT, get, post, row, status};
use crate::http::auth::Scope;
use crate::http::notifications::{deliveries, endpoints, feed};
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Param, Route, Verb, optional, required};
use bursar_domain::identity::Role;
use bursar_domain::notification::TYPES;

const ENDPOINTS: Auth = Auth::Tenant(&[Scope::Notifications], Role::Admin);
const FEED: Auth = Auth::Tenant(&[Scope::Notifications], Role::Viewer);
const TAG: &str = "notifications";

const HEARD: Param = optional(
    "types",
    Kind::Texts(50),
    "Only these types, or groups such as `payment.*`; without any, all.",
);
const DESCRIPTION: Param = optional("description", Kind::Text(255), "For people.");
const WHOSE: Param = optional(
    "tenantId",
    Kind::Tenant,
    "The one tenant it hears of; without one it hears of all.",
);
const URL_HELP: &str =
    "https, without credentials, and not inside the network. What it answers but 2xx is a failure.";

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        tag: TAG,
        summary: "Lists the endpoints, newest first",
        description: "`ne_config`, which comes first, is the pair of the configuration.",
        params: &[LIMIT, CURSOR, TENANT],
        holds: Holds::Page("NotificationEndpoint"),
        ..get(
            "/api/v1/notification-endpoints",
            "notification_endpoints_list",
            ENDPOINTS,
            endpoints::list,
        )
    },
    Route {
        tag: TAG,
        summary: "Adds an endpoint; its secret is shown once",
        description: "Notifications are signed after Standard Webhooks. A tenant's come in order, the next after the one \
                      before was taken; ten attempts in about three days. Receivers drop what is older than the `version` they have.",
        params: &[
            required("url", Kind::Text(2_048), URL_HELP),
            HEARD,
            WHOSE,
            DESCRIPTION,
        ],
        status: 201,
        holds: Holds::One("NotificationEndpoint"),
        codes: &[Code::Refused],
        ..post(
            "/api/v1/notification-endpoints",
            "notification_endpoints_create",
            ENDPOINTS,
            endpoints::create,
        )
    },
    Route {
        tag: TAG,
        summary: "One endpoint",
        holds: Holds::One("NotificationEndpoint"),
        ..get(
            "/api/v1/notification-endpoints/{id}",
            "notification_endpoints_get",
            ENDPOINTS,
            endpoints::get,
        )
    },
    Route {
        tag: TAG,
        summary: "Changes an endpoint",
        params: &[
            optional("url", Kind::Text(2_048), URL_HELP),
            HEARD,
            DESCRIPTION,
            optional(
                "enabled",
                Kind::Boolean,
                "`false` stops deliveries, `true` goes on with them.",
            ),
        ],
        holds: Holds::One("NotificationEndpoint"),
        codes: &[Code::StateConflict],
        ..row(
            Verb::Patch,
            "/api/v1/notification-endpoints/{id}",
            "notification_endpoints_patch",
            ENDPOINTS,
            endpoints::patch,
        )
    },
    Route {
        tag: TAG,
        summary: "Removes an endpoint, and what waits for it",
        status: 204,
        codes: &[Code::StateConflict],
        ..row(
            Verb::Delete,
            "/api/v1/notification-endpoints/{id}",
            "notification_endpoints_delete",
            ENDPOINTS,
            endpoints::remove,
        )
    },
    Route {
        tag: TAG,
        summary: "Takes a disabled endpoint into use again",
        description: "What waits is sent at once. What came meanwhile was given up: `/retry` sends it.",
        holds: Holds::One("NotificationEndpoint"),
        ..post(
            "/api/v1/notification-endpoints/{id}/enable",
            "notification_endpoints_enable",
            ENDPOINTS,
            endpoints::enable,
        )
    },
    Route {
        tag: TAG,
        summary: "Replaces the secret; both sign for a while",
        params: &[optional(
            "overlapHours",
            Kind::Integer(0, 168),
            "How long the secret of before signs too; 24 if not given.",
        )],
        holds: Holds::One("NotificationEndpoint"),
        codes: &[Code::StateConflict],
        ..post(
            "/api/v1/notification-endpoints/{id}/rotate-secret",
            "notification_endpoints_rotate_secret",
            ENDPOINTS,
            endpoints::rotate,
        )
    },
    Route {
        tag: TAG,
        summary: "Sends a test now and says what came of it",
        description: "Its `data` has `\"test\": true`, no tenant's state and version 0; its type is the one given, else the \
                      first the endpoint names, else `tenant.activated`. It is not tried again and in no feed.",
        params: &[optional("type", Kind::Choice(TYPES), "The type it has.")],
        holds: Holds::One("NotificationTest"),
        ..post(
            "/api/v1/notification-endpoints/{id}/test",
            "notification_endpoints_test",
            ENDPOINTS,
            endpoints::test,
        )
    },
    Route {
        tag: TAG,
        summary: "The last 100 attempts, newest first",
        params: &[LIMIT, CURSOR, status(deliveries::STATUS_WORDS)],
        holds: Holds::Page("NotificationAttempt"),
        ..get(
            "/api/v1/notification-endpoints/{id}/deliveries",
            "notification_deliveries_list",
            ENDPOINTS,
            deliveries::list,
        )
    },
    Route {
        tag: TAG,
        summary: "Delivers one again",
        description: "Also what was delivered before, as long as the feed holds it.",
        holds: Holds::One("NotificationDelivery"),
        ..post(
            "/api/v1/notification-endpoints/{id}/deliveries/{deliveryId}/retry",
            "notification_deliveries_retry",
            ENDPOINTS,
            deliveries::retry_one,
        )
    },
    Route {
        tag: TAG,
        summary: "Delivers again what was given up, by filter",
        description: "At most 1,000 at a time, oldest first; while `hasMore`, ask again.",
        params: &[HEARD, TENANT, CREATED_AFTER, CREATED_BEFORE],
        holds: Holds::One("NotificationRetry"),
        ..post(
            "/api/v1/notification-endpoints/{id}/retry",
            "notification_deliveries_retry_many",
            ENDPOINTS,
            deliveries::retry_given_up,
        )
    },
    Route {
        tag: TAG,
        summary: "Every notification, oldest first, for who cannot receive",
        description: "Give `nextCursor` as `after` to go on; it is there also when nothing is. `gap` says that some were \
                      dropped for their age in between: 30 days and 100,000 are kept.",
        params: &[
            optional(
                "after",
                Kind::Text(2_048),
                "`nextCursor` of the answer before, or a notification's id.",
            ),
            LIMIT,
            TENANT,
            HEARD,
            WAIT,
        ],
        holds: Holds::One("NotificationFeed"),
        codes: &[Code::CursorInvalid],
        ..get(
            "/api/v1/notifications",
            "notifications_list",
            FEED,
            feed::list,
        )
    },
];
