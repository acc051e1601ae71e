//! The shapes of answers, for the OpenAPI document and `/docs`.
//!
//! Invariants: every schema a route names is here; names of fields are the contract's (§4).

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// Minor units of the currency beside it.
    Money,
    /// `true` or `false`.
    Boolean,
    /// RFC 3339, UTC.
    Time,
    /// One of these.
    Word(&'static [&'static str]),
    /// Another schema.
    Is(&'static str),
    /// A list of another schema.
    Many(&'static str),
    /// A list of texts.
    Texts,
    /// An object of any shape.
    Object,
    /// Any JSON value.
    Any,
}

/// A field of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// It may be `null`.
    pub nullable: bool,
    /// In words, or nothing.
    pub help: &'static str,
}

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

impl Field {
    /// The field in words, for people.
    pub fn words(&self) -> String {
        let shape = match self.shape {
            Shape::Text => "text".to_owned(),
            Shape::Integer => "whole number".to_owned(),
            Shape::Money => "whole number of minor units".to_owned(),
            Shape::Boolean => "true or false".to_owned(),
            Shape::Time => "time".to_owned(),
            Shape::Word(words) => format!("one of {}", words.join(", ")),
            Shape::Is(name) => name.to_owned(),
            Shape::Many(name) => format!("list of {name}"),
            Shape::Texts => "list of texts".to_owned(),
            Shape::Object => "object".to_owned(),
            Shape::Any => "any value".to_owned(),
        };
        let null = if self.nullable { ", or null" } else { "" };
        if self.help.is_empty() {
            return format!("{shape}{null}");
        }
        format!("{shape}{null}. {}", self.help)
    }
}

const fn has(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        nullable: false,
        help: "",
    }
}
const fn may(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        nullable: true,
        help: "",
    }
}
const fn said(field: Field, help: &'static str) -> Field {
    Field { help, ..field }
}
const fn schema(name: &'static str, help: &'static str, fields: &'static [Field]) -> Schema {
    Schema { name, help, fields }
}

const SUBSCRIPTION_STATUS: &[&str] = &[
    "incomplete",
    "incomplete_expired",
    "trialing",
    "active",
    "past_due",
    "canceled",
    "unpaid",
    "paused",
];
const DISPOSITIONS: &[&str] = &["applied", "stale", "duplicate", "ignored", "parked", "dead"];

/// Every schema.
pub const SCHEMAS: &[Schema] = &[
    schema(
        "Received",
        "The event is durable.",
        &[
            has("received", Shape::Boolean),
            said(
                has("duplicate", Shape::Boolean),
                "Only if it was durable before.",
            ),
        ],
    ),
    schema("Live", "The process runs.", &[has("status", Shape::Text)]),
    schema(
        "Check",
        "One named check.",
        &[
            has("name", Shape::Text),
            has("ok", Shape::Boolean),
            has("detail", Shape::Text),
        ],
    ),
    schema(
        "Ready",
        "Readiness.",
        &[
            has("status", Shape::Word(&["ready", "not_ready"])),
            has("checks", Shape::Many("Check")),
        ],
    ),
    schema(
        "Health",
        "Readiness, version and mode.",
        &[
            has("status", Shape::Word(&["ok", "degraded"])),
            has("version", Shape::Text),
            has("livemode", Shape::Boolean),
            has("checks", Shape::Many("Check")),
        ],
    ),
    schema(
        "Discovery",
        "Where everything is.",
        &[
            has("name", Shape::Text),
            has("version", Shape::Text),
            has("openapi", Shape::Text),
            has("docs", Shape::Text),
            has("health", Shape::Text),
            has("webhook", Shape::Text),
            has("api", Shape::Text),
        ],
    ),
    schema(
        "OpenApi",
        "An OpenAPI 3.1 document.",
        &[has("openapi", Shape::Text)],
    ),
    schema(
        "License",
        "What a tenant may do.",
        &[
            has(
                "state",
                Shape::Word(&["none", "active", "grace", "revoked"]),
            ),
            said(
                may("validUntil", Shape::Time),
                "The end of what was paid for; exclusive.",
            ),
            has("features", Shape::Texts),
        ],
    ),
    schema(
        "Contract",
        "A tenant's contract.",
        &[
            may("reference", Shape::Text),
            may("startedAt", Shape::Time),
            may("expiresAt", Shape::Time),
            may("endedAt", Shape::Time),
            may("endReason", Shape::Text),
        ],
    ),
    schema(
        "SubscriptionSummary",
        "A subscription as its tenant shows it.",
        &[
            has("id", Shape::Text),
            has("status", Shape::Word(SUBSCRIPTION_STATUS)),
            may("planId", Shape::Text),
            may("priceId", Shape::Text),
            may("quantity", Shape::Integer),
            may("currentPeriodEnd", Shape::Time),
            has("cancelAtPeriodEnd", Shape::Boolean),
            may("trialEnd", Shape::Time),
            has("discounts", Shape::Any),
        ],
    ),
    schema(
        "Tenant",
        "A customer of the installation.",
        &[
            has("tenantId", Shape::Text),
            may("name", Shape::Text),
            may("email", Shape::Text),
            has(
                "status",
                Shape::Word(&[
                    "pending",
                    "trialing",
                    "active",
                    "past_due",
                    "suspended",
                    "canceled",
                ]),
            ),
            may("planId", Shape::Text),
            may("priceId", Shape::Text),
            has("credits", Shape::Integer),
            may("archivedAt", Shape::Time),
            has("livemode", Shape::Boolean),
            has("license", Shape::Is("License")),
            may("contract", Shape::Is("Contract")),
            may("stripeCustomerId", Shape::Text),
            may("merchantAccountId", Shape::Text),
            may("subscription", Shape::Is("SubscriptionSummary")),
            has("subscriptions", Shape::Many("SubscriptionSummary")),
            said(
                has("version", Shape::Integer),
                "Grows with every change; the ETag.",
            ),
        ],
    ),
    schema(
        "Entitlement",
        "Whether a feature may be used.",
        &[
            has("feature", Shape::Text),
            has("allowed", Shape::Boolean),
            has(
                "reason",
                Shape::Word(&[
                    "licensed",
                    "in_grace",
                    "free_plan",
                    "license_revoked",
                    "no_license",
                    "not_in_plan",
                ]),
            ),
            may("until", Shape::Time),
            said(
                may("limit", Shape::Integer),
                "How much of it; null: no bound.",
            ),
            said(
                has("stale", Shape::Boolean),
                "Stripe has not said lately; it is being asked.",
            ),
        ],
    ),
    schema(
        "Export",
        "Everything kept about a tenant.",
        &[
            has("tenant", Shape::Is("Tenant")),
            has("customers", Shape::Many("Customer")),
            has("subscriptions", Shape::Many("Subscription")),
            has("invoices", Shape::Many("Invoice")),
            has("payments", Shape::Many("Payment")),
            has("refunds", Shape::Many("Refund")),
            has("disputes", Shape::Many("Dispute")),
            has("checkoutSessions", Shape::Many("CheckoutSession")),
            has("merchantAccounts", Shape::Many("Merchant")),
            has("creditEntries", Shape::Many("CreditEntry")),
            has("timeline", Shape::Many("TimelineEntry")),
            said(
                has("truncated", Shape::Boolean),
                "A list held more than 10,000.",
            ),
        ],
    ),
    schema(
        "Erased",
        "Personal data that is gone.",
        &[
            has("tenantId", Shape::Text),
            has("erasedSubjects", Shape::Integer),
            said(
                has("complete", Shape::Boolean),
                "False: there was more; ask again.",
            ),
        ],
    ),
    schema(
        "Debit",
        "Credits that were spent.",
        &[has("credits", Shape::Integer), may("entryId", Shape::Text)],
    ),
    schema(
        "CreditEntry",
        "A grant, reversal or debit.",
        &[has("id", Shape::Text), may("createdAt", Shape::Time)],
    ),
    schema(
        "Plan",
        "A plan of the catalogue.",
        &[
            has("id", Shape::Text),
            has("name", Shape::Text),
            has("priceIds", Shape::Texts),
            may("mode", Shape::Word(&["payment", "subscription"])),
            has("revokeOn", Shape::Texts),
            has("isDefault", Shape::Boolean),
            has("credits", Shape::Integer),
            has("features", Shape::Texts),
            has("limits", Shape::Object),
            has("trialDays", Shape::Integer),
            has("graceDays", Shape::Integer),
            has("minQuantity", Shape::Integer),
            may("maxQuantity", Shape::Integer),
        ],
    ),
    schema(
        "Subscription",
        "A subscription.",
        &[
            has("id", Shape::Text),
            may("tenantId", Shape::Text),
            has("status", Shape::Word(SUBSCRIPTION_STATUS)),
            may("planId", Shape::Text),
            may("priceId", Shape::Text),
            may("quantity", Shape::Integer),
            may("currentPeriodEnd", Shape::Time),
            has("cancelAtPeriodEnd", Shape::Boolean),
            may("trialEnd", Shape::Time),
            may("stripeCustomerId", Shape::Text),
            may("createdAt", Shape::Time),
        ],
    ),
    schema(
        "Invoice",
        "An invoice.",
        &[
            has("id", Shape::Text),
            may("tenantId", Shape::Text),
            may("subscriptionId", Shape::Text),
            may("number", Shape::Text),
            may("status", Shape::Text),
            has("amountDue", Shape::Money),
            has("amountPaid", Shape::Money),
            has("currency", Shape::Text),
            said(
                has("overdue", Shape::Boolean),
                "Open, and an attempt failed or it is past due.",
            ),
            has("attemptCount", Shape::Integer),
            may("nextPaymentAttempt", Shape::Time),
            may("periodEnd", Shape::Time),
            may("dueDate", Shape::Time),
            may("paidAt", Shape::Time),
            may("hostedInvoiceUrl", Shape::Text),
            may("invoicePdf", Shape::Text),
            may("createdAt", Shape::Time),
        ],
    ),
    schema(
        "Payment",
        "A payment: intent, charges and what became of them.",
        &[
            has("id", Shape::Text),
            may("tenantId", Shape::Text),
            has("status", Shape::Text),
            has("amount", Shape::Money),
            has("amountCaptured", Shape::Money),
            has("amountRefunded", Shape::Money),
            has("currency", Shape::Text),
            has("disputed", Shape::Boolean),
            may("captureMethod", Shape::Text),
            may("invoiceId", Shape::Text),
            may("subscriptionId", Shape::Text),
            may("failureCode", Shape::Text),
            may("declineCode", Shape::Text),
            may("failureMessage", Shape::Text),
            may("createdAt", Shape::Time),
        ],
    ),
    schema(
        "Refund",
        "A refund.",
        &[
            has("id", Shape::Text),
            may("tenantId", Shape::Text),
            has("paymentId", Shape::Text),
            has("status", Shape::Text),
            has("amount", Shape::Money),
            has("currency", Shape::Text),
            may("reason", Shape::Text),
            may("failureReason", Shape::Text),
            may("createdAt", Shape::Time),
        ],
    ),
    schema(
        "Dispute",
        "A dispute.",
        &[
            has("id", Shape::Text),
            may("tenantId", Shape::Text),
            has("paymentId", Shape::Text),
            has("status", Shape::Text),
            has("amount", Shape::Money),
            has("currency", Shape::Text),
            may("reason", Shape::Text),
            may("evidenceDueBy", Shape::Time),
            may("createdAt", Shape::Time),
        ],
    ),
    schema(
        "Customer",
        "A customer of Stripe's.",
        &[
            has("id", Shape::Text),
            may("tenantId", Shape::Text),
            may("email", Shape::Text),
            may("name", Shape::Text),
            has("taxIds", Shape::Any),
            may("deletedAt", Shape::Time),
            may("createdAt", Shape::Time),
        ],
    ),
    schema(
        "CheckoutSession",
        "An order.",
        &[
            has("id", Shape::Text),
            may("orderId", Shape::Text),
            may("tenantId", Shape::Text),
            may("planId", Shape::Text),
            may("mode", Shape::Text),
            has("status", Shape::Word(&["open", "complete", "expired"])),
            may("paymentStatus", Shape::Text),
            may("amountTotal", Shape::Money),
            may("currency", Shape::Text),
            may("subscriptionId", Shape::Text),
            may("paymentId", Shape::Text),
            may("createdAt", Shape::Time),
            may("completedAt", Shape::Time),
        ],
    ),
    schema(
        "Merchant",
        "A tenant's Connect account.",
        &[
            has("merchantAccountId", Shape::Text),
            has("chargesEnabled", Shape::Boolean),
            has("payoutsEnabled", Shape::Boolean),
            has("detailsSubmitted", Shape::Boolean),
            has("requirements", Shape::Any),
            may("disabledReason", Shape::Text),
        ],
    ),
    schema(
        "Change",
        "A field that changed.",
        &[
            has("field", Shape::Text),
            may("from", Shape::Any),
            may("to", Shape::Any),
        ],
    ),
    schema(
        "TimelineEntry",
        "What happened, and what it changed.",
        &[
            has("at", Shape::Time),
            has(
                "source",
                Shape::Word(&["event", "command", "reread", "timer", "operator"]),
            ),
            has("sourceId", Shape::Text),
            has("kind", Shape::Text),
            has("objectId", Shape::Text),
            has("summary", Shape::Text),
            has("changed", Shape::Many("Change")),
            has("disposition", Shape::Word(DISPOSITIONS)),
            may("tenantId", Shape::Text),
        ],
    ),
    schema(
        "LedgerEntry",
        "One signed amount: a debit is positive, a credit negative.",
        &[
            has("account", Shape::Word(crate::http::history::ACCOUNT_WORDS)),
            has("amount", Shape::Money),
            has("currency", Shape::Text),
            said(has("source", Shape::Text), "The Stripe id of the movement."),
            has("at", Shape::Time),
            may("tenantId", Shape::Text),
            may("paymentId", Shape::Text),
        ],
    ),
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
            has("bodySha256", Shape::Text),
            has("bodyBytes", Shape::Integer),
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
            has("diff", Shape::Many("Replayed")),
        ],
    ),
    schema(
        "Unclaimed",
        "Something that waits for a tenant.",
        &[has("id", Shape::Text), may("createdAt", Shape::Time)],
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
            has("name", Shape::Text),
            has("state", Shape::Word(&["closed", "half_open", "open"])),
            may("since", Shape::Time),
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
];
