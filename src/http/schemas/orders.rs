//! Shapes of orders to Stripe.

use super::{Schema, Shape, has, may, said, schema};
use crate::http::words;

/// The schemas.
pub(super) const SCHEMAS: &[Schema] = &[
    schema(
        "CheckoutOpened",
        "A checkout session a visitor can be sent to.",
        &[
            has("sessionUrl", Shape::Text),
            has("sessionId", Shape::Text),
        ],
    ),
    schema(
        "PortalOpened",
        "A portal session a customer can be sent to.",
        &[has("portalUrl", Shape::Text)],
    ),
    schema(
        "AccountLink",
        "A way into Stripe's form for merchants.",
        &[has("url", Shape::Text), may("expiresAt", Shape::Time)],
    ),
    schema(
        "LoginLink",
        "A way into the Express dashboard.",
        &[has("url", Shape::Text)],
    ),
    schema(
        "ChangePreview",
        "What a change of a subscription would cost.",
        &[
            said(has("amountDueNow", Shape::Money), "Asked for at once."),
            said(has("nextAmount", Shape::Money), "The invoice after that."),
            has("currency", Shape::Text),
            has("lines", Shape::Many("PreviewLine")),
            said(
                may("prorationDate", Shape::Time),
                "Hand it to change-plan, and the change costs what was shown.",
            ),
        ],
    ),
    schema(
        "PreviewLine",
        "A line of the invoice a change would bring.",
        &[
            may("description", Shape::Text),
            has("amount", Shape::Money),
            has("currency", Shape::Text),
            may("periodStart", Shape::Time),
            may("periodEnd", Shape::Time),
            said(
                has("proration", Shape::Boolean),
                "It settles the rest of the period.",
            ),
        ],
    ),
    schema(
        "PendingUpdate",
        "A change that holds once its invoice is paid.",
        &[
            may("planId", Shape::Text),
            may("priceId", Shape::Text),
            may("quantity", Shape::Integer),
            may("expiresAt", Shape::Time),
        ],
    ),
    schema(
        "PaymentIntentOpened",
        "What a page needs to let a person pay an invoice.",
        &[
            has("clientSecret", Shape::Text),
            has("paymentIntentId", Shape::Text),
        ],
    ),
    schema(
        "CommandPending",
        "An order whose outcome is not known yet.",
        &[
            has("commandId", Shape::Text),
            has("status", Shape::Word(words::COMMAND)),
        ],
    ),
    schema(
        "Command",
        "One order to Stripe.",
        &[
            has("id", Shape::Text),
            has("kind", Shape::Word(words::COMMAND_KIND)),
            has("operation", Shape::Text),
            has("tenantId", Shape::Text),
            may("merchantAccountId", Shape::Text),
            said(
                has("status", Shape::Word(words::COMMAND)),
                "`unknown`: nobody can know yet; never said of what is known.",
            ),
            said(may("objectId", Shape::Text), "What it made or changed."),
            said(
                has("confirmed", Shape::Boolean),
                "Stripe's event has told of it.",
            ),
            may("error", Shape::Is("CommandError")),
            may("message", Shape::Text),
            may("stripeRequestId", Shape::Text),
            said(
                has("generation", Shape::Integer),
                "Which Stripe key it is under; raised only on evidence that the earlier one did nothing.",
            ),
            has("evidenceOfAbsence", Shape::Many("Absence")),
            may("awaits", Shape::Text),
            said(may("after", Shape::Text), "Sent once this one is over."),
            said(has("free", Shape::Boolean), "What it makes costs nothing."),
            has("orderedBy", Shape::Text),
            has("createdAt", Shape::Time),
            may("endedAt", Shape::Time),
        ],
    ),
    schema(
        "CommandError",
        "Why an order failed.",
        &[
            has("code", Shape::Text),
            may("stripeStatus", Shape::Integer),
            may("stripeCode", Shape::Text),
            may("declineCode", Shape::Text),
            may("param", Shape::Text),
        ],
    ),
    schema(
        "Absence",
        "A look at Stripe that did not find what was ordered.",
        &[
            has("generation", Shape::Integer),
            has("look", Shape::Integer),
            has("at", Shape::Time),
        ],
    ),
];
