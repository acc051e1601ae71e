//! Rows of orders about payments, refunds and disputes.

use super::{ACCOUNT, TENANT, post};
use crate::http::auth::Scope;
use crate::http::commands::disputes::{self, text};
use crate::http::commands::{payments, refunds};
use crate::http::problem::Code;
use crate::http::route::{Auth, Holds, Kind, Param, Route, optional, required};
use bursar_domain::identity::Role;

const MONEY: Auth = Auth::Tenant(&[Scope::Billing], Role::Admin);
const REFUNDS: Auth = Auth::Tenant(&[Scope::Refunds], Role::Admin);

const CODES: &[Code] = &[
    Code::StateConflict,
    Code::Refused,
    Code::StripeDeclined,
    Code::StripeRefused,
    Code::StripeUnavailable,
    Code::StripeCircuitOpen,
    Code::NotAppliedYet,
];
const AMOUNT: Kind = Kind::Integer(1, 99_999_999_999);

const EVIDENCE: &[Param] = &[
    TENANT,
    ACCOUNT,
    optional(
        "draft",
        Kind::Boolean,
        "Only kept at Stripe, which is the default; `false` hands it to the bank, once and for good.",
    ),
    text("accessActivityLog", "How the buyer used what was bought."),
    text("billingAddress", "Of the buyer."),
    text(
        "cancellationPolicyDisclosure",
        "How and when the policy was shown.",
    ),
    text(
        "cancellationRebuttal",
        "Why the subscription was not canceled.",
    ),
    text("customerEmailAddress", "Of the buyer."),
    text("customerName", "Of the buyer."),
    text("customerPurchaseIp", "From where it was bought."),
    text(
        "duplicateChargeExplanation",
        "What makes the two charges different.",
    ),
    text("duplicateChargeId", "The other charge's id."),
    text("productDescription", "What was sold."),
    text(
        "refundPolicyDisclosure",
        "How and when the policy was shown.",
    ),
    text("refundRefusalExplanation", "Why no money was returned."),
    text("serviceDate", "When the service was given."),
    text("shippingAddress", "Where it was sent."),
    text("shippingCarrier", "By whom."),
    text("shippingDate", "When."),
    text("shippingTrackingNumber", "The carrier's number."),
    text("uncategorizedText", "Anything else."),
];

/// The rows.
pub(super) const ROWS: &[Route] = &[
    Route {
        tag: "orders",
        summary: "Takes the money of an authorized payment",
        description: "All of it, or `amount`; the rest is released. `pending` until Stripe's event confirms it. A \
                      repeat under the same Idempotency-Key takes nothing more.",
        params: &[
            TENANT,
            ACCOUNT,
            optional(
                "amount",
                AMOUNT,
                "How much, in Stripe's minor unit; all if not given.",
            ),
        ],
        holds: Holds::One("Payment"),
        orders: true,
        codes: CODES,
        ..post(
            "/api/v1/payments/{id}/capture",
            "payments_capture",
            MONEY,
            payments::capture,
        )
    },
    Route {
        tag: "orders",
        summary: "Calls off a payment whose money was not taken",
        description: "An authorization is released. `pending` until Stripe's event confirms it.",
        params: &[
            TENANT,
            ACCOUNT,
            optional(
                "reason",
                Kind::Choice(&[
                    "abandoned",
                    "duplicate",
                    "fraudulent",
                    "requested_by_customer",
                ]),
                "Why.",
            ),
        ],
        holds: Holds::One("Payment"),
        orders: true,
        codes: CODES,
        ..post(
            "/api/v1/payments/{id}/cancel",
            "payments_cancel",
            MONEY,
            payments::cancel,
        )
    },
    Route {
        tag: "orders",
        summary: "Gives money back",
        description: "Two requests without an Idempotency-Key are two refunds: send one, and a repeat under it is the \
                      same refund. Without `amount` all that is left goes back. `pending` until Stripe's event \
                      confirms it. More than is left, or a disputed payment, is refused by Stripe (422).",
        params: &[
            TENANT,
            ACCOUNT,
            required(
                "paymentId",
                Kind::Id,
                "The payment, by its intent's or its charge's id.",
            ),
            optional(
                "amount",
                AMOUNT,
                "How much, in Stripe's minor unit; all that is left if not given.",
            ),
            optional(
                "reason",
                Kind::Choice(&["duplicate", "fraudulent", "requested_by_customer"]),
                "Why.",
            ),
        ],
        status: 201,
        holds: Holds::One("Refund"),
        orders: true,
        codes: CODES,
        ..post(
            "/api/v1/refunds",
            "refunds_create",
            REFUNDS,
            refunds::create,
        )
    },
    Route {
        tag: "orders",
        summary: "Drafts evidence for a dispute, or submits it",
        description: "Drafts may be repeated; a field keeps its last text, an empty one takes it back. `draft=false` \
                      hands everything drafted and said to the bank: once, and not after `evidenceDueBy` (409). At \
                      most 150,000 characters together.",
        params: EVIDENCE,
        holds: Holds::One("Dispute"),
        orders: true,
        codes: CODES,
        ..post(
            "/api/v1/disputes/{id}/evidence",
            "disputes_evidence",
            MONEY,
            disputes::evidence,
        )
    },
];
