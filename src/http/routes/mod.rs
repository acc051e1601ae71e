//! The route table: every endpoint there is, once.
//!
//! Routing, authentication, parsing, metric labels, `/openapi.json` and `/docs` all follow from
//! these rows, so they cannot disagree.

mod api_keys;
mod audits;
mod billing;
mod connect;
mod money;
mod notifications;
mod operators;
mod orders;
mod people;
mod subscriptions;

use crate::http::limits::WAIT_SECONDS_MAX;
use crate::http::problem::Code;
use crate::http::route::{Auth, Handler, Holds, Kind, Param, Route, Verb, optional};
use crate::http::{docs, health, openapi, webhook};

const PUBLIC: &[Route] = &[
    Route {
        aliases: &["/webhooks/stripe", "/api/v1/billing/stripe/webhook"],
        summary: "Receives Stripe's events",
        description: "200 once the event is durable, and not before. 503 asks Stripe to send it \
                      again. A genuine event that is unusable or not handled is stored and \
                      answered 200 all the same: sending it again would change nothing.",
        tag: "stripe",
        holds: Holds::One("Received"),
        codes: &[
            Code::SignatureMissing,
            Code::SignatureMalformed,
            Code::SignatureMismatch,
            Code::SignatureExpired,
        ],
        ..post("/webhook", "webhook", Auth::Stripe, webhook::receive)
    },
    Route {
        aliases: &["/webhooks/stripe", "/api/v1/billing/stripe/webhook"],
        summary: "Explains what the address is for",
        tag: "stripe",
        status: 405,
        holds: Holds::Nothing,
        ..get(
            "/webhook",
            "webhook_explain",
            Auth::Public,
            webhook::explain,
        )
    },
    Route {
        summary: "Says that the process runs",
        tag: "health",
        holds: Holds::One("Live"),
        ..get("/livez", "livez", Auth::Public, health::live)
    },
    Route {
        summary: "Says whether requests are taken, check by check",
        description: "503 while a check fails. Stripe's outage never fails it.",
        tag: "health",
        holds: Holds::One("Ready"),
        ..get("/readyz", "readyz", Auth::Public, health::ready)
    },
    Route {
        aliases: &["/healthz", "/api/v1/health"],
        summary: "Readiness, version and mode",
        description: "503 while a check fails.",
        tag: "health",
        holds: Holds::One("Health"),
        ..get("/health", "health", Auth::Public, health::health)
    },
    Route {
        summary: "Where everything is",
        tag: "about",
        holds: Holds::One("Discovery"),
        ..get("/", "discovery", Auth::Public, health::discovery)
    },
    Route {
        summary: "This document",
        tag: "about",
        holds: Holds::One("OpenApi"),
        ..get("/openapi.json", "openapi", Auth::Public, openapi::serve)
    },
    Route {
        summary: "This document as a page",
        tag: "about",
        holds: Holds::Text("text/html"),
        ..get("/docs", "docs", Auth::Public, docs::serve)
    },
];

const fn row(
    verb: Verb,
    path: &'static str,
    label: &'static str,
    auth: Auth,
    run: Handler,
) -> Route {
    Route {
        verb,
        path,
        aliases: &[],
        auth,
        label,
        tag: "",
        summary: "",
        description: "",
        params: &[],
        status: 200,
        holds: Holds::Nothing,
        takes_form: false,
        orders: false,
        codes: &[],
        handler: run,
    }
}
const fn get(path: &'static str, label: &'static str, auth: Auth, run: Handler) -> Route {
    row(Verb::Get, path, label, auth, run)
}
const fn post(path: &'static str, label: &'static str, auth: Auth, run: Handler) -> Route {
    row(Verb::Post, path, label, auth, run)
}

const LIMIT: Param = optional(
    "limit",
    Kind::Integer(1, 100),
    "Page size; 20 if not given.",
);
const CURSOR: Param = optional(
    "cursor",
    Kind::Text(2_048),
    "`nextCursor` of the page before; bound to the other parameters.",
);
const TENANT: Param = optional("tenantId", Kind::Tenant, "Only this tenant's.");
/// The filter by one of these.
const fn status(words: &'static [&'static str]) -> Param {
    optional("status", Kind::Choice(words), "Only this status.")
}
const CREATED_AFTER: Param = optional("createdAfter", Kind::Time, "From this time on.");
const CREATED_BEFORE: Param = optional("createdBefore", Kind::Time, "Before this time.");
const ACCOUNT: Param = optional(
    "account",
    Kind::Id,
    "The connected account the object lives on; the platform's own comes first without it.",
);
const WAIT: Param = optional(
    "waitSeconds",
    Kind::Integer(0, WAIT_SECONDS_MAX),
    "Waits up to so long for news before answering.",
);
/// Filters of a list whose objects have one of these statuses.
const fn list(words: &'static [&'static str]) -> [Param; 6] {
    [
        LIMIT,
        CURSOR,
        TENANT,
        status(words),
        CREATED_AFTER,
        CREATED_BEFORE,
    ]
}
const SINGLE: &[Param] = &[TENANT, ACCOUNT];

/// Every row.
pub fn every_route() -> impl Iterator<Item = &'static Route> {
    PUBLIC
        .iter()
        .chain(billing::ROWS)
        .chain(orders::ROWS)
        .chain(money::ROWS)
        .chain(connect::ROWS)
        .chain(subscriptions::ROWS)
        .chain(api_keys::ROWS)
        .chain(people::ROWS)
        .chain(operators::ROWS)
        .chain(audits::ROWS)
        .chain(notifications::ROWS)
}

/// Every path with its row: aliases too, and Stripe's with a trailing slash, which people enter in
/// its dashboard.
pub fn every_path() -> impl Iterator<Item = (&'static str, &'static Route)> {
    const SLASHED: [&str; 3] = [
        "/webhook/",
        "/webhooks/stripe/",
        "/api/v1/billing/stripe/webhook/",
    ];
    let plain = every_route().flat_map(|route| {
        let paths = std::iter::once(route.path).chain(route.aliases.iter().copied());
        paths.map(move |path| (path, route))
    });
    let slashed = every_route()
        .filter(|route| route.path == "/webhook")
        .flat_map(|route| SLASHED.iter().map(move |path| (*path, route)));
    let pages = crate::console::ROWS.iter().map(|page| (page.path, page));
    plain.chain(slashed).chain(pages)
}

/// The row of this label. # Panics: there is none, which a test of the console's rows keeps from happening.
pub fn labelled(label: &str) -> &'static Route {
    every_route()
        .find(|route| route.label == label)
        .expect("the label is one of the table's")
}

/// The table's own text of a parameter's name.
pub fn param_name(name: &str) -> &'static str {
    const NAMES: [&str; 6] = [
        "id",
        "tenantId",
        "invoiceId",
        "feature",
        "name",
        "deliveryId",
    ];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("")
}

/// Names of the parameters in a path.
pub fn params_of(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_complete_and_their_names_are_unique() {
        let (mut labels, mut paths) = (BTreeSet::new(), BTreeSet::new());
        for route in every_route() {
            assert!(labels.insert(route.label), "{} twice", route.label);
            assert!(
                !route.summary.is_empty() && !route.tag.is_empty(),
                "{}",
                route.label
            );
            let names: BTreeSet<_> = route.params.iter().map(|p| p.name).collect();
            assert_eq!(names.len(), route.params.len(), "{}", route.label);
            for name in params_of(route.path) {
                assert_eq!(param_name(name), name, "{}", route.path);
                assert!(!names.contains(name), "{} is path and field", name);
            }
        }
        for (path, route) in every_path() {
            assert!(paths.insert((path, route.verb)), "{path} twice");
        }
    }
}
