//! Rows of orders to Stripe, and what became of them.

use super::{TENANT, WAIT, get, list, post};
use crate::http::auth::Scope;
use crate::http::commands::{checkout, portal, read};
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Param, Route, optional};
use crate::http::words;
use bursar_domain::identity::Role;

const SELL: Auth = Auth::Tenant(&[Scope::Billing], Role::Member);
const READ: Auth = Auth::Tenant(
    &[
        Scope::TenantsRead,
        Scope::Billing,
        Scope::Refunds,
        Scope::Connect,
    ],
    Role::Viewer,
);

const CHECKOUT: &[Code] = &[
    Code::SubscriptionExists,
    Code::UnknownPlan,
    Code::ReturnUrlNotAllowed,
    Code::StripeTaxNotReady,
    Code::StripeDeclined,
    Code::StripeRefused,
    Code::StripeUnavailable,
    Code::StripeCircuitOpen,
    Code::NotAppliedYet,
];
const PORTAL: &[Code] = &[
    Code::NoCustomer,
    Code::ReturnUrlNotAllowed,
    Code::StripeRefused,
    Code::StripeUnavailable,
    Code::StripeCircuitOpen,
    Code::NotAppliedYet,
];

pub(super) const URL: Kind = Kind::Text(2_048);
pub(super) const FOR_TENANT: Param = optional(
    "tenantId",
    Kind::Tenant,
    "For which tenant, if X-Tenant-Id does not say.",
);
const COMMANDS: &[Param] = &list(words::COMMAND);

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        aliases: &["/api/v1/checkout-sessions"],
        tag: "orders",
        summary: "Opens a checkout session",
        description: "For a plan: `planId`. For a sale of the tenant as a merchant, a direct charge on its account: \
                      `merchantAccountId` and `lineItems`. The tenant's customer is made once. A repeat under the same \
                      Idempotency-Key answers the same session, also while Stripe is down.",
        params: &[
            FOR_TENANT,
            optional("planId", Kind::Text(64), "The plan, of the catalogue."),
            optional(
                "priceId",
                Kind::Id,
                "One of the plan's prices; its first if not given.",
            ),
            optional("quantity", Kind::Integer(1, 999_999), "How many."),
            optional(
                "customerId",
                Kind::Id,
                "A customer of the tenant's; its own if not given.",
            ),
            optional("email", Kind::Email, "For a customer that is made."),
            optional(
                "promotionCode",
                Kind::Text(255),
                "The code customers type, or its `promo_` id.",
            ),
            optional("orderId", Kind::Text(255), "Your own name for the order."),
            optional("successUrl", URL, "Where a paying visitor comes back to."),
            optional("cancelUrl", URL, "Where one who did not pay comes back to."),
            optional(
                "allowMultiple",
                Kind::Boolean,
                "Also while a subscription lives.",
            ),
            optional(
                "merchantAccountId",
                Kind::Id,
                "The tenant's Connect account that sells.",
            ),
            optional("lineItems", Kind::LineItems, "What it sells."),
            optional(
                "captureMethod",
                Kind::Choice(&["automatic", "manual"]),
                "When the money is taken.",
            ),
            optional(
                "applicationFeeAmount",
                Kind::Integer(0, 99_999_999),
                "What the platform keeps.",
            ),
            optional("customerEmail", Kind::Email, "Filled in for the buyer."),
        ],
        holds: Holds::One("CheckoutOpened"),
        orders: true,
        codes: CHECKOUT,
        ..post(
            "/api/v1/billing/stripe/checkout",
            "checkout_open",
            SELL,
            checkout::open,
        )
    },
    Route {
        tag: "orders",
        summary: "Opens a session of Stripe's customer portal",
        description: "While Stripe cannot be asked, the configured static portal is answered.",
        params: &[
            FOR_TENANT,
            optional(
                "customerId",
                Kind::Id,
                "The customer; the tenant's own if not given.",
            ),
            optional("returnUrl", URL, "Where the way back leads to."),
        ],
        holds: Holds::One("PortalOpened"),
        orders: true,
        codes: PORTAL,
        ..post(
            "/api/v1/billing/stripe/portal",
            "portal_open",
            SELL,
            portal::open,
        )
    },
    Route {
        tag: "orders",
        summary: "Lists orders to Stripe, newest first",
        params: COMMANDS,
        holds: Holds::Page("Command"),
        ..get("/api/v1/commands", "commands_list", READ, read::list)
    },
    Route {
        tag: "orders",
        summary: "What became of an order, waiting for its end if asked to",
        description: "`unknown` is an outcome nobody can know yet; it becomes definite by itself.",
        params: &[
            TENANT,
            WAIT,
            optional(
                "confirmed",
                Kind::Boolean,
                "Waits until Stripe's event has told of it, too.",
            ),
        ],
        holds: Holds::One("Command"),
        ..get("/api/v1/commands/{id}", "commands_get", READ, read::get)
    },
];
