//! Rows of orders about subscriptions and invoices.

use super::post;
use crate::http::auth::Scope;
use crate::http::commands::{payment_intent, subscriptions};
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Param, Route, optional, required};
use bursar_domain::identity::Role;

const ORDER_IT: Auth = Auth::Tenant(&[Scope::Billing], Role::Admin);
/// What orders nothing, or lets a person pay what is owed.
const SELL: Auth = Auth::Tenant(&[Scope::Billing], Role::Member);

const FOR_TENANT: Param = optional(
    "tenantId",
    Kind::Tenant,
    "Whose, if X-Tenant-Id does not say.",
);
const QUANTITY: Kind = Kind::Integer(1, 999_999);
const PRORATION: Param = optional(
    "prorationBehavior",
    Kind::Choice(&["create_prorations", "always_invoice", "none"]),
    "How the rest of the period is settled; on the next invoice if not given.",
);
const PRORATION_DATE: Param = optional(
    "prorationDate",
    Kind::Time,
    "As of when: that of the preview, so that it costs what was shown.",
);

/// What an order about something at Stripe may answer.
const ORDER: &[Code] = &[
    Code::StateConflict,
    Code::StripeDeclined,
    Code::StripeRefused,
    Code::StripeUnavailable,
    Code::StripeCircuitOpen,
    Code::NotAppliedYet,
];
const CHANGE: &[Code] = &[
    Code::UnknownPlan,
    Code::StateConflict,
    Code::StripeTaxNotReady,
    Code::StripeDeclined,
    Code::StripeRefused,
    Code::StripeUnavailable,
    Code::StripeCircuitOpen,
    Code::NotAppliedYet,
];

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        tag: "orders",
        summary: "Changes a subscription's plan",
        description: "What may cost money at once waits for its payment: `pendingUpdate` says what will hold, \
                      `hostedInvoiceUrl` where it is paid. What costs nothing holds at once. The same plan and \
                      quantity order nothing.",
        params: &[
            FOR_TENANT,
            required("planId", Kind::Text(64), "The plan, of the catalogue."),
            optional(
                "quantity",
                QUANTITY,
                "How many; as many as now if not given.",
            ),
            PRORATION,
            PRORATION_DATE,
        ],
        holds: Holds::One("Subscription"),
        orders: true,
        codes: CHANGE,
        ..post(
            "/api/v1/billing/subscriptions/{id}/change-plan",
            "subscription_change_plan",
            ORDER_IT,
            subscriptions::change_plan,
        )
    },
    Route {
        tag: "orders",
        summary: "Says what a change of a subscription would cost",
        description: "Orders nothing. `amountDueNow` is asked for at once, `nextAmount` by the invoice after.",
        params: &[
            FOR_TENANT,
            optional("planId", Kind::Text(64), "The plan, of the catalogue."),
            optional(
                "quantity",
                QUANTITY,
                "How many; as many as now if not given.",
            ),
            PRORATION,
            PRORATION_DATE,
        ],
        holds: Holds::One("ChangePreview"),
        codes: CHANGE,
        ..post(
            "/api/v1/billing/subscriptions/{id}/preview",
            "subscription_preview",
            SELL,
            subscriptions::preview,
        )
    },
    Route {
        tag: "orders",
        summary: "Changes how many a subscription is for",
        params: &[
            FOR_TENANT,
            required("quantity", QUANTITY, "How many."),
            PRORATION,
        ],
        holds: Holds::One("Subscription"),
        orders: true,
        codes: CHANGE,
        ..post(
            "/api/v1/billing/subscriptions/{id}/quantity",
            "subscription_quantity",
            ORDER_IT,
            subscriptions::set_quantity,
        )
    },
    Route {
        tag: "orders",
        summary: "Ends a subscription, with its period if not told otherwise",
        params: &[
            FOR_TENANT,
            optional(
                "atPeriodEnd",
                Kind::Boolean,
                "`false`: now. What was paid stays paid.",
            ),
            optional(
                "reason",
                Kind::Text(500),
                "Why, in your words; kept at Stripe.",
            ),
        ],
        holds: Holds::One("Subscription"),
        orders: true,
        codes: ORDER,
        ..post(
            "/api/v1/billing/subscriptions/{id}/cancel",
            "subscription_cancel",
            ORDER_IT,
            subscriptions::cancel,
        )
    },
    Route {
        tag: "orders",
        summary: "Lets a subscription go on",
        description: "Calls a scheduled end off, or resumes a paused one; 409 where there is neither.",
        params: &[FOR_TENANT],
        holds: Holds::One("Subscription"),
        orders: true,
        codes: ORDER,
        ..post(
            "/api/v1/billing/subscriptions/{id}/resume",
            "subscription_resume",
            ORDER_IT,
            subscriptions::resume,
        )
    },
    Route {
        tag: "orders",
        summary: "What a page needs to let a person pay an invoice",
        description: "The intent Stripe made with the invoice; a draft is finalized first. The secret is shown and \
                      never stored.",
        params: &[FOR_TENANT],
        holds: Holds::One("PaymentIntentOpened"),
        orders: true,
        codes: ORDER,
        ..post(
            "/api/v1/billing/invoices/{invoiceId}/payment-intent",
            "invoice_payment_intent",
            SELL,
            payment_intent::open,
        )
    },
];
