//! The console's rows: every page and every form, with the route whose right each needs.
//!
//! Invariants: a row without such a route needs a session all the same; only the sign-in and the stylesheet are open.

use super::{
    audit, checkout, circuits, endpoints, events, explain, keys, members, outbox, overview,
    payments, reconcile, setup, signing, tenants, unclaimed,
};
use crate::http::route::{Auth, CONSOLE_TAG, Handler, Holds, Kind, Param, Route, Verb, optional};

/// Fields of a page: what every page takes, and its own. The route a page asks says what they may hold.
macro_rules! fields {
    ($($name:literal),* $(,)?) => {
        &[
            optional("tenantId", Kind::Tenant, "The tenant one is in."),
            optional("said", Kind::Text(40), "What was done."),
            // Random digits may look like a card's number.
            optional("csrf", Kind::Secret, "The session's token."),
            optional("key", Kind::Secret, "The form's own key."),
            optional("cursor", Kind::Secret, "The page of a list."),
            $(optional($name, Kind::Text(2_048), "As the route asked takes it."),)*
        ]
    };
}

const fn row(
    verb: Verb,
    path: &'static str,
    auth: Auth,
    params: &'static [Param],
    handler: Handler,
) -> Route {
    Route {
        verb,
        path,
        aliases: &[],
        auth,
        label: CONSOLE_TAG,
        tag: CONSOLE_TAG,
        summary: "",
        description: "",
        params,
        status: 200,
        holds: Holds::Text("text/html"),
        takes_form: true,
        orders: false,
        codes: &[],
        handler,
    }
}

const fn page(
    path: &'static str,
    of: &'static str,
    params: &'static [Param],
    handler: Handler,
) -> Route {
    row(Verb::Get, path, Auth::Console(of), params, handler)
}

const fn act(
    path: &'static str,
    of: &'static str,
    params: &'static [Param],
    handler: Handler,
) -> Route {
    row(Verb::Post, path, Auth::Console(of), params, handler)
}

const PLAIN: &[Param] = fields![];
const SIGN_IN: &[Param] = &[
    optional("next", Kind::Text(2_048), "Where to go then."),
    optional("said", Kind::Text(40), "What was done."),
    optional("email", Kind::Text(320), "A person's address."),
    optional("password", Kind::Secret, "A person's password."),
    optional("operatorKey", Kind::Secret, "The operator's key."),
];

/// Every row.
pub const ROWS: &[Route] = &[
    row(
        Verb::Get,
        "/console/style.css",
        Auth::Public,
        &[],
        signing::style,
    ),
    row(
        Verb::Get,
        "/console/login",
        Auth::Public,
        SIGN_IN,
        signing::form,
    ),
    row(
        Verb::Post,
        "/console/login",
        Auth::Public,
        SIGN_IN,
        signing::sign_in,
    ),
    act("/console/logout", "", PLAIN, signing::sign_out),
    page("/console/choose", "", PLAIN, signing::choose),
    page("/console", "tenants_list", PLAIN, overview::show),
    page(
        "/console/traffic",
        "circuits_list",
        PLAIN,
        circuits::traffic,
    ),
    page(
        "/console/tenants",
        "tenants_list",
        fields!["status", "archived"],
        tenants::list,
    ),
    page("/console/tenants/{id}", "tenants_get", PLAIN, tenants::show),
    page(
        "/console/explain",
        "explain",
        fields!["id", "all"],
        explain::show,
    ),
    page(
        "/console/payments",
        "payments_list",
        fields!["status", "createdAfter", "createdBefore"],
        payments::list,
    ),
    page(
        "/console/payments/{id}",
        "payments_get",
        PLAIN,
        payments::show,
    ),
    page(
        "/console/payments/{id}/refund",
        "refunds_create",
        fields!["amount", "reason"],
        payments::preview,
    ),
    act(
        "/console/payments/{id}/refund",
        "refunds_create",
        fields!["amountMinor", "reason"],
        payments::refund,
    ),
    act(
        "/console/payments/{id}/capture",
        "payments_capture",
        PLAIN,
        payments::capture,
    ),
    act(
        "/console/payments/{id}/cancel",
        "payments_cancel",
        PLAIN,
        payments::cancel,
    ),
    act(
        "/console/checkout",
        "checkout_open",
        fields!["planId", "to"],
        checkout::open,
    ),
    page(
        "/console/sold",
        "checkout_sessions_get",
        fields!["session_id", "canceled"],
        checkout::sold,
    ),
    page(
        "/console/events",
        "webhook_events_list",
        fields!["status", "types", "receivedAfter", "receivedBefore"],
        events::list,
    ),
    page(
        "/console/events/{id}",
        "webhook_events_get",
        fields!["account"],
        events::show,
    ),
    act(
        "/console/events/replay",
        "webhook_events_replay_filtered",
        fields![
            "status",
            "types",
            "receivedAfter",
            "receivedBefore",
            "dryRun"
        ],
        events::replay_filtered,
    ),
    act(
        "/console/events/{id}/replay",
        "webhook_events_replay",
        fields!["account", "dryRun"],
        events::replay,
    ),
    act(
        "/console/events/{id}/dismiss",
        "webhook_events_dismiss",
        fields!["account", "reason"],
        events::dismiss,
    ),
    page(
        "/console/unclaimed",
        "unclaimed_list",
        PLAIN,
        unclaimed::list,
    ),
    act(
        "/console/unclaimed/{id}/claim",
        "unclaimed_claim",
        fields!["to", "account"],
        unclaimed::claim,
    ),
    page(
        "/console/outbox",
        "outbox",
        fields!["status", "lane"],
        outbox::list,
    ),
    act(
        "/console/outbox/{id}/retry",
        "outbox_retry",
        PLAIN,
        outbox::retry,
    ),
    page(
        "/console/endpoints",
        "notification_endpoints_list",
        PLAIN,
        endpoints::list,
    ),
    act(
        "/console/endpoints",
        "notification_endpoints_create",
        fields!["url", "types", "description"],
        endpoints::create,
    ),
    page(
        "/console/endpoints/{id}",
        "notification_endpoints_get",
        PLAIN,
        endpoints::show,
    ),
    act(
        "/console/endpoints/{id}/rotate-secret",
        "notification_endpoints_rotate_secret",
        fields!["overlapHours"],
        endpoints::rotate,
    ),
    act(
        "/console/endpoints/{id}/test",
        "notification_endpoints_test",
        PLAIN,
        endpoints::test,
    ),
    act(
        "/console/endpoints/{id}/enable",
        "notification_endpoints_enable",
        PLAIN,
        endpoints::enable,
    ),
    act(
        "/console/endpoints/{id}/delete",
        "notification_endpoints_delete",
        PLAIN,
        endpoints::delete,
    ),
    act(
        "/console/endpoints/{id}/deliveries/{deliveryId}/retry",
        "notification_deliveries_retry",
        PLAIN,
        endpoints::retry,
    ),
    page("/console/circuits", "circuits_list", PLAIN, circuits::list),
    act(
        "/console/circuits/{name}/reset",
        "circuits_reset",
        PLAIN,
        circuits::reset,
    ),
    page(
        "/console/reconcile",
        "reconcile_report",
        PLAIN,
        reconcile::show,
    ),
    act(
        "/console/reconcile",
        "reconcile_start",
        fields!["repair"],
        reconcile::start,
    ),
    page("/console/keys", "api_keys_list", PLAIN, keys::list),
    act(
        "/console/keys",
        "api_keys_create",
        fields!["name", "role"],
        keys::create,
    ),
    act(
        "/console/keys/{id}/revoke",
        "api_keys_revoke",
        PLAIN,
        keys::revoke,
    ),
    act(
        "/console/service-keys",
        "service_keys_create",
        fields!["name", "scopes"],
        keys::create_service,
    ),
    act(
        "/console/service-keys/{id}/revoke",
        "service_keys_revoke",
        PLAIN,
        keys::revoke_service,
    ),
    page("/console/members", "members_list", PLAIN, members::list),
    act(
        "/console/members",
        "members_invite",
        fields!["email", "role"],
        members::invite,
    ),
    act(
        "/console/members/{id}/role",
        "members_change",
        fields!["role"],
        members::change,
    ),
    act(
        "/console/members/{id}/remove",
        "members_remove",
        PLAIN,
        members::remove,
    ),
    page("/console/audit", "audit", PLAIN, audit::list),
    page("/console/setup", "circuits_list", PLAIN, setup::show),
];
