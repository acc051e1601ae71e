//! Rows for operators: deliveries, what is unclaimed, keys, the outbox, the audit trail.

use super::{
    ACCOUNT, CREATED_AFTER, CREATED_BEFORE, CURSOR, LIMIT, TENANT, get, post, row, status,
};
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Param, Route, Verb, optional, required};
use crate::http::set_aside::{SESSIONS_MAX, WAITING_WORDS};
use crate::http::webhook_events::STATUS_WORDS;
use crate::http::{
    history, operators, reads, reconcile, replays, service_keys, set_aside, webhook_events, words,
};

const EVENT_STATUS: Param = status(STATUS_WORDS);
const TYPES: Param = optional("types", Kind::Texts(50), "Only these event types.");
const RECEIVED_AFTER: Param = optional("receivedAfter", Kind::Time, "Received from then on.");
const RECEIVED_BEFORE: Param = optional("receivedBefore", Kind::Time, "Received before then.");
const EVENT_ACCOUNT: Param = optional(
    "account",
    Kind::Id,
    "The connected account, where several accounts have an event of this id.",
);
const DRY_RUN: Param = optional(
    "dryRun",
    Kind::Boolean,
    "Only says what would be done; nothing is changed.",
);
const SCOPE_WORDS: &[&str] = &[
    "tenants:read",
    "tenants:write",
    "billing",
    "refunds",
    "credits",
    "connect",
    "notifications",
];

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        tag: "webhook events",
        summary: "Lists what Stripe delivered, newest first",
        params: &[
            LIMIT,
            CURSOR,
            TENANT,
            EVENT_STATUS,
            TYPES,
            RECEIVED_AFTER,
            RECEIVED_BEFORE,
        ],
        holds: Holds::Page("WebhookEvent"),
        ..get(
            "/api/v1/webhook-events",
            "webhook_events_list",
            Auth::Operator,
            webhook_events::list,
        )
    },
    Route {
        tag: "webhook events",
        summary: "One delivery, with its body",
        params: &[EVENT_ACCOUNT],
        holds: Holds::One("WebhookEvent"),
        ..get(
            "/api/v1/webhook-events/{id}",
            "webhook_events_get",
            Auth::Operator,
            webhook_events::get,
        )
    },
    Route {
        tag: "webhook events",
        summary: "Does one delivery again",
        params: &[EVENT_ACCOUNT, DRY_RUN],
        holds: Holds::One("Replay"),
        ..post(
            "/api/v1/webhook-events/{id}/replay",
            "webhook_events_replay",
            Auth::Operator,
            replays::replay_one,
        )
    },
    Route {
        tag: "webhook events",
        summary: "Does deliveries again, by filter",
        description: "At most 1,000 at a time, in order of receipt; while `hasMore`, give \
                      `nextCursor` as `cursor` with the same filter for the next ones. Without any filter only a `dryRun` is allowed.",
        params: &[
            TENANT,
            EVENT_STATUS,
            TYPES,
            RECEIVED_AFTER,
            RECEIVED_BEFORE,
            DRY_RUN,
            CURSOR,
        ],
        holds: Holds::One("Replay"),
        ..post(
            "/api/v1/webhook-events/replay",
            "webhook_events_replay_filtered",
            Auth::Operator,
            replays::replay_filtered,
        )
    },
    Route {
        tag: "webhook events",
        summary: "Sets a dead or parked delivery aside",
        params: &[
            EVENT_ACCOUNT,
            required(
                "reason",
                Kind::Text(500),
                "Why, for whoever reads it later.",
            ),
        ],
        holds: Holds::One("WebhookEvent"),
        codes: &[Code::StateConflict],
        ..post(
            "/api/v1/webhook-events/{id}/dismiss",
            "webhook_events_dismiss",
            Auth::Operator,
            webhook_events::dismiss,
        )
    },
    Route {
        tag: "webhook events",
        summary: "Sets dead or parked deliveries aside, by filter",
        description: "At most 1,000 at a time, in order of receipt; while `hasMore`, give \
                      `nextCursor` as `cursor` with the same filter for the next ones. Each has its line in the audit trail.",
        params: &[
            required("status", Kind::Choice(WAITING_WORDS), "Which of the two."),
            required(
                "reason",
                Kind::Text(500),
                "Why, for whoever reads it later.",
            ),
            TENANT,
            TYPES,
            RECEIVED_AFTER,
            RECEIVED_BEFORE,
            DRY_RUN,
            CURSOR,
        ],
        holds: Holds::One("Settled"),
        ..post(
            "/api/v1/webhook-events/dismiss",
            "webhook_events_dismiss_filtered",
            Auth::Operator,
            set_aside::dismiss_events,
        )
    },
    Route {
        tag: "unclaimed",
        summary: "Lists what waits for a tenant",
        params: &[
            LIMIT,
            CURSOR,
            status(words::SESSION),
            CREATED_AFTER,
            CREATED_BEFORE,
        ],
        holds: Holds::Page("CheckoutSession"),
        ..get(
            "/api/v1/unclaimed",
            "unclaimed_list",
            Auth::Operator,
            reads::unclaimed,
        )
    },
    Route {
        tag: "unclaimed",
        summary: "Gives what waits to a tenant",
        params: &[required("tenantId", Kind::Tenant, "Whose it is."), ACCOUNT],
        holds: Holds::One("Claimed"),
        codes: &[Code::StateConflict, Code::NotAppliedYet],
        ..post(
            "/api/v1/unclaimed/{id}/claim",
            "unclaimed_claim",
            Auth::Operator,
            operators::claim,
        )
    },
    Route {
        tag: "unclaimed",
        summary: "Gives several of what waits to one tenant",
        description: "What is not unclaimed is skipped, and said.",
        params: &[
            required("ids", Kind::Texts(SESSIONS_MAX), "Their ids."),
            required("tenantId", Kind::Tenant, "Whose they are."),
            ACCOUNT,
            DRY_RUN,
        ],
        holds: Holds::One("Settled"),
        codes: &[Code::NotFound, Code::NotAppliedYet],
        ..post(
            "/api/v1/unclaimed/claim",
            "unclaimed_claim_many",
            Auth::Operator,
            set_aside::claim_many,
        )
    },
    Route {
        tag: "unclaimed",
        summary: "Sets aside what nobody will claim",
        description: "It leaves the list; its payment stays in the books, and it can still be claimed. At most 100 at a \
                      time: those of `ids`, else those of the time named, with `cursor` for the next ones.",
        params: &[
            optional("ids", Kind::Texts(SESSIONS_MAX), "Their ids."),
            required(
                "reason",
                Kind::Text(500),
                "Why, for whoever reads it later.",
            ),
            CREATED_AFTER,
            CREATED_BEFORE,
            ACCOUNT,
            DRY_RUN,
            CURSOR,
        ],
        holds: Holds::One("Settled"),
        codes: &[Code::NotAppliedYet],
        ..post(
            "/api/v1/unclaimed/dismiss",
            "unclaimed_dismiss",
            Auth::Operator,
            set_aside::dismiss_unclaimed,
        )
    },
    Route {
        tag: "operations",
        summary: "What belongs to no object, oldest first",
        description: "Payouts, and reviews of charges nobody knows.",
        params: &[LIMIT, CURSOR],
        holds: Holds::Page("TimelineEntry"),
        ..get(
            "/api/v1/timeline",
            "installation_timeline",
            Auth::Operator,
            history::of_installation,
        )
    },
    Route {
        tag: "operations",
        summary: "Effects decided, and what became of them",
        params: &[
            LIMIT,
            CURSOR,
            status(operators::EFFECT_STATUS_WORDS),
            optional(
                "lane",
                Kind::Choice(operators::LANE_WORDS),
                "Only this lane.",
            ),
        ],
        holds: Holds::Page("Effect"),
        ..get(
            "/api/v1/outbox",
            "outbox",
            Auth::Operator,
            operators::outbox,
        )
    },
    Route {
        tag: "operations",
        summary: "Performs an effect again that failed",
        description: "For mail, notifications, accounts and alerts that are `failed` or `dead`: it is pending again, \
                      under the same Message-ID or `webhook-id`, with no attempts counted.",
        holds: Holds::One("Effect"),
        codes: &[Code::StateConflict],
        ..post(
            "/api/v1/outbox/{id}/retry",
            "outbox_retry",
            Auth::Operator,
            operators::retry,
        )
    },
    Route {
        tag: "operations",
        summary: "Who changed what",
        params: &[LIMIT, CURSOR, TENANT],
        holds: Holds::Page("AuditEntry"),
        ..get(
            "/api/v1/audit",
            "audit",
            Auth::Operator,
            operators::audit_trail,
        )
    },
    Route {
        tag: "operations",
        summary: "Circuit breakers towards the outside",
        description: "`stripe` for Stripe as a whole, `stripe:acct_…` for each connected account \
                      that was refused in a row, and one per other lane. Open: calls failed and \
                      nothing is sent; half open: one call at a time is tried; three that succeed \
                      close it. Nothing is lost meanwhile: effects wait in the outbox.",
        params: &[LIMIT, CURSOR],
        holds: Holds::Page("Circuit"),
        ..get(
            "/api/v1/circuits",
            "circuits_list",
            Auth::Operator,
            operators::circuits,
        )
    },
    Route {
        tag: "operations",
        summary: "Closes a circuit by hand",
        description: "For when the far side is known to work again. What is due begins; \
                      if calls still fail, the circuit opens again. 409 if it is closed.",
        holds: Holds::Page("Circuit"),
        codes: &[Code::StateConflict],
        ..post(
            "/api/v1/circuits/{name}/reset",
            "circuits_reset",
            Auth::Operator,
            operators::reset_circuit,
        )
    },
    Route {
        tag: "operations",
        summary: "The comparison with Stripe under way, else the last one",
        holds: Holds::One("Reconciliation"),
        ..get(
            "/api/v1/reconcile",
            "reconcile_report",
            Auth::Operator,
            reconcile::report,
        )
    },
    Route {
        tag: "operations",
        summary: "Compares with Stripe, and repairs if told to",
        description: "Looks for events that were never delivered (Stripe lists 30 days of them) and \
                      for objects whose state here is not Stripe's. `repair` takes in what is found, \
                      on the same path as a delivery; `import` fills a store without billing rows. \
                      Waits for the end for some seconds, then answers 202 with the report so far: \
                      ask GET. While `hasMore`, ask again: the next run goes on.",
        params: &[
            optional(
                "repair",
                Kind::Boolean,
                "Takes in what is missing or differs.",
            ),
            optional("import", Kind::Boolean, "Takes in everything there is."),
            optional(
                "since",
                Kind::Time,
                "Looks back until then; without it, until where the last one looked.",
            ),
        ],
        holds: Holds::One("Reconciliation"),
        codes: &[Code::ReconcileRunning, Code::StoreNotEmpty],
        ..post(
            "/api/v1/reconcile",
            "reconcile_start",
            Auth::Operator,
            reconcile::start,
        )
    },
    Route {
        tag: "keys",
        summary: "Makes a service key",
        description: "The key is in the answer and nowhere else, ever.",
        params: &[
            required("name", Kind::Text(100), "What it is for."),
            required("scopes", Kind::Choices(SCOPE_WORDS, 7), "What it may do."),
        ],
        status: 201,
        holds: Holds::One("ServiceKey"),
        codes: &[Code::SecretShownOnce],
        ..post(
            "/api/v1/service-keys",
            "service_keys_create",
            Auth::Operator,
            service_keys::create,
        )
    },
    Route {
        tag: "keys",
        summary: "Lists service keys",
        params: &[LIMIT, CURSOR],
        holds: Holds::Page("ServiceKey"),
        ..get(
            "/api/v1/service-keys",
            "service_keys_list",
            Auth::Operator,
            service_keys::list,
        )
    },
    Route {
        tag: "keys",
        summary: "Revokes a service key",
        description: "It is refused from the next request on.",
        status: 204,
        ..row(
            Verb::Delete,
            "/api/v1/service-keys/{id}",
            "service_keys_revoke",
            Auth::Operator,
            service_keys::revoke,
        )
    },
];

#[cfg(test)]
mod tests {
    use crate::http::auth::Scope;

    #[test]
    fn the_words_for_scopes_are_the_scopes() {
        let words: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        assert_eq!(words, super::SCOPE_WORDS);
    }
}
