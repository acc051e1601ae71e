//! Fixed histories of one payment each: what Stripe says, and what is true in the end.

use crate::build::*;
use crate::returned::{disputes, refunds};
use serde_json::{Value, json};

/// What happened to one payment.
pub(crate) struct History {
    /// A sentence.
    pub(crate) name: &'static str,
    /// Every event, in the order in which Stripe made them.
    pub(crate) events: Vec<Value>,
    /// The payment's id.
    pub(crate) payment: &'static str,
    /// Fields of the payment that are true in the end.
    pub(crate) truth: Value,
    /// Books in the end: (account, minor units of usd); accounts not named are at zero.
    pub(crate) books: Vec<(&'static str, i64)>,
    /// Other rows in the end: (kind, id, fields).
    pub(crate) others: Vec<(&'static str, &'static str, Value)>,
    /// Most that was ever captured and refunded (the refunds that failed later count here).
    pub(crate) most: (i64, i64),
}

pub(crate) fn history(
    name: &'static str,
    events: Vec<Value>,
    truth: Value,
    books: Vec<(&'static str, i64)>,
    most: (i64, i64),
) -> History {
    History {
        name,
        events,
        payment: "pi_1",
        truth,
        books,
        others: Vec::new(),
        most,
    }
}

pub(crate) fn paid(account: &str) -> Vec<Value> {
    vec![
        at(
            0,
            "payment_intent.created",
            account,
            intent("requires_payment_method"),
        ),
        at(2, "charge.succeeded", account, charge("succeeded")),
        at(2, "payment_intent.succeeded", account, intent("succeeded")),
    ]
}

pub(crate) fn refunded_charge(refunded: i64) -> Value {
    let fields = json!({ "amount_refunded": refunded, "refunded": refunded == 2_000 });
    with(charge("succeeded"), fields)
}

/// All of them.
pub(crate) fn all() -> Vec<History> {
    let mut all = payments();
    all.extend(captures());
    all.extend(refunds());
    all.extend(disputes());
    all
}

fn payments() -> Vec<History> {
    let failed_intent = with(
        intent("requires_payment_method"),
        json!({ "latest_charge": "ch_0", "last_payment_error":
            { "code": "card_declined", "decline_code": "generic_decline", "message": "Declined." } }),
    );
    let failed_charge = with(
        charge("failed"),
        json!({ "id": "ch_0", "failure_code": "card_declined", "failure_message": "Declined.",
            "outcome": { "reason": "generic_decline" } }),
    );
    let lone = |status: &str| with(charge(status), json!({ "payment_intent": null }));
    let guest_intent = |status: &str| with(intent(status), json!({ "customer": null }));
    let guest_charge = with(charge("succeeded"), json!({ "customer": null }));
    let mut first_failed = vec![
        at(1, "charge.failed", PLATFORM, failed_charge.clone()),
        at(
            1,
            "payment_intent.payment_failed",
            PLATFORM,
            failed_intent.clone(),
        ),
        at(
            60,
            "payment_intent.processing",
            PLATFORM,
            intent("processing"),
        ),
    ];
    first_failed.extend(paid(PLATFORM).into_iter().map(|mut event| {
        let later = event["created"].as_i64().unwrap() + 60;
        event["created"] = if event["type"] == "payment_intent.created" {
            T0.into()
        } else {
            later.into()
        };
        event
    }));
    let delayed = |status: &str| with(intent(status), json!({ "latest_charge": "ch_1" }));
    let all_paid = vec![("stripe_balance", 2_000), ("revenue", -2_000)];
    let done = json!({ "status": "succeeded", "amountCaptured": 2_000, "amountRefunded": 0,
        "needsReview": false, "failureCode": null, "tenantId": "acme" });
    vec![
        history(
            "a first attempt fails and the second succeeds",
            first_failed,
            done.clone(),
            all_paid.clone(),
            (2_000, 0),
        ),
        history(
            "an attempt fails and nothing follows",
            vec![
                at(
                    0,
                    "payment_intent.created",
                    PLATFORM,
                    intent("requires_payment_method"),
                ),
                at(
                    0,
                    "payment_intent.requires_action",
                    PLATFORM,
                    intent("requires_action"),
                ),
                at(3, "charge.failed", PLATFORM, failed_charge),
                at(3, "payment_intent.payment_failed", PLATFORM, failed_intent),
            ],
            json!({ "status": "requires_payment_method", "amountCaptured": 0, "amountRefunded": 0,
            "failureCode": "card_declined", "declineCode": "generic_decline",
            "failureMessage": "Declined.", "needsReview": false }),
            vec![],
            (0, 0),
        ),
        history(
            "a delayed method pays after days",
            vec![
                at(
                    0,
                    "payment_intent.created",
                    PLATFORM,
                    intent("requires_payment_method"),
                ),
                at(
                    1,
                    "payment_intent.requires_action",
                    PLATFORM,
                    intent("requires_action"),
                ),
                at(
                    2,
                    "payment_intent.processing",
                    PLATFORM,
                    delayed("processing"),
                ),
                at(9_000, "charge.succeeded", PLATFORM, charge("succeeded")),
                at(
                    9_000,
                    "payment_intent.succeeded",
                    PLATFORM,
                    delayed("succeeded"),
                ),
                at(9_100, "charge.refunded", PLATFORM, refunded_charge(500)),
                at(
                    9_100,
                    "refund.created",
                    PLATFORM,
                    refund("re_1", "succeeded", 500),
                ),
            ],
            json!({ "status": "succeeded", "amountCaptured": 2_000, "amountRefunded": 500 }),
            vec![
                ("stripe_balance", 1_500),
                ("revenue", -2_000),
                ("refunds", 500),
            ],
            (2_000, 500),
        ),
        history(
            "a guest pays and nobody is named",
            vec![
                at(
                    0,
                    "payment_intent.created",
                    PLATFORM,
                    guest_intent("requires_payment_method"),
                ),
                at(
                    1,
                    "payment_intent.processing",
                    PLATFORM,
                    guest_intent("processing"),
                ),
                at(2, "charge.succeeded", PLATFORM, guest_charge.clone()),
                at(
                    2,
                    "payment_intent.succeeded",
                    PLATFORM,
                    guest_intent("succeeded"),
                ),
                at(
                    90,
                    "charge.refunded",
                    PLATFORM,
                    with(refunded_charge(2_000), json!({ "customer": null })),
                ),
                at(
                    90,
                    "refund.created",
                    PLATFORM,
                    refund("re_1", "succeeded", 2_000),
                ),
            ],
            json!({ "status": "succeeded", "amountCaptured": 2_000, "amountRefunded": 2_000,
            "tenantId": null, "stripeCustomerId": null }),
            vec![("revenue", -2_000), ("refunds", 2_000)],
            (2_000, 2_000),
        ),
        History {
            payment: "ch_1",
            others: vec![("refund", "re_1", json!({ "paymentId": "ch_1" }))],
            ..history(
                "a charge without an intent is its own payment",
                vec![
                    at(
                        0,
                        "charge.succeeded",
                        PLATFORM,
                        with(
                            lone("succeeded"),
                            json!({ "captured": false, "amount_captured": 0 }),
                        ),
                    ),
                    at(5, "charge.captured", PLATFORM, lone("succeeded")),
                    at(
                        90,
                        "charge.refunded",
                        PLATFORM,
                        with(lone("succeeded"), json!({ "amount_refunded": 700 })),
                    ),
                    at(
                        90,
                        "refund.created",
                        PLATFORM,
                        with(
                            refund("re_1", "pending", 700),
                            json!({ "payment_intent": null }),
                        ),
                    ),
                    at(
                        91,
                        "refund.updated",
                        PLATFORM,
                        with(
                            refund("re_1", "succeeded", 700),
                            json!({ "payment_intent": null }),
                        ),
                    ),
                ],
                json!({ "status": "succeeded", "amountCaptured": 2_000, "amountRefunded": 700,
                "stripePaymentIntentId": null, "stripeChargeId": "ch_1" }),
                vec![
                    ("stripe_balance", 1_300),
                    ("revenue", -2_000),
                    ("refunds", 700),
                ],
                (2_000, 700),
            )
        },
        history(
            "everything of one payment in one second",
            vec![
                at(
                    2,
                    "payment_intent.created",
                    PLATFORM,
                    intent("requires_payment_method"),
                ),
                at(
                    2,
                    "payment_intent.requires_action",
                    PLATFORM,
                    intent("requires_action"),
                ),
                at(
                    2,
                    "payment_intent.processing",
                    PLATFORM,
                    intent("processing"),
                ),
                at(2, "charge.succeeded", PLATFORM, charge("succeeded")),
                at(2, "payment_intent.succeeded", PLATFORM, intent("succeeded")),
                at(
                    2,
                    "refund.created",
                    PLATFORM,
                    refund("re_1", "pending", 100),
                ),
                at(
                    2,
                    "refund.updated",
                    PLATFORM,
                    refund("re_1", "succeeded", 100),
                ),
            ],
            json!({ "status": "succeeded", "amountCaptured": 2_000, "amountRefunded": 100,
            "needsReview": false }),
            vec![
                ("stripe_balance", 1_900),
                ("revenue", -2_000),
                ("refunds", 100),
            ],
            (2_000, 100),
        ),
    ]
}

fn captures() -> Vec<History> {
    let manual = |status: &str, fields: Value| {
        with(
            with(intent(status), json!({ "capture_method": "manual" })),
            fields,
        )
    };
    let held = || {
        with(
            charge("succeeded"),
            json!({ "captured": false, "amount_captured": 0 }),
        )
    };
    let part = |refunded: i64| {
        with(
            charge("succeeded"),
            json!({ "amount_captured": 1_600, "amount_refunded": refunded }),
        )
    };
    let begin = vec![
        at(
            0,
            "payment_intent.created",
            PLATFORM,
            manual("requires_payment_method", json!({})),
        ),
        at(
            1,
            "payment_intent.amount_capturable_updated",
            PLATFORM,
            manual("requires_capture", json!({ "amount_capturable": 2_000 })),
        ),
        at(1, "charge.succeeded", PLATFORM, held()),
    ];
    let mut partial = begin.clone();
    partial.extend([
        at(50, "charge.captured", PLATFORM, part(400)),
        at(
            50,
            "payment_intent.succeeded",
            PLATFORM,
            manual("succeeded", json!({ "amount_received": 1_600 })),
        ),
        at(
            99,
            "refund.created",
            PLATFORM,
            refund("re_1", "succeeded", 300),
        ),
        at(99, "charge.refunded", PLATFORM, part(700)),
    ]);
    let mut canceled = begin.clone();
    canceled.extend([
        at(
            50,
            "payment_intent.canceled",
            PLATFORM,
            manual("canceled", json!({ "latest_charge": "ch_1" })),
        ),
        at(
            50,
            "charge.refunded",
            PLATFORM,
            with(
                held(),
                json!({ "amount_refunded": 2_000, "refunded": true }),
            ),
        ),
        at(
            50,
            "refund.created",
            PLATFORM,
            refund("re_1", "succeeded", 2_000),
        ),
    ]);
    let mut expired = begin;
    expired.extend([
        at(
            604_800,
            "charge.expired",
            PLATFORM,
            with(
                held(),
                json!({ "amount_refunded": 2_000, "refunded": true }),
            ),
        ),
        at(
            604_800,
            "payment_intent.canceled",
            PLATFORM,
            manual("canceled", json!({ "cancellation_reason": "automatic" })),
        ),
    ]);
    vec![
        history(
            "captured in part, and a part of that refunded",
            partial,
            json!({ "status": "succeeded", "amount": 2_000, "amountCaptured": 1_600,
                "amountRefunded": 300, "captureMethod": "manual", "needsReview": false }),
            vec![
                ("stripe_balance", 1_300),
                ("revenue", -1_600),
                ("refunds", 300),
            ],
            (1_600, 300),
        ),
        history(
            "held and captured within one second",
            vec![
                at(2, "charge.succeeded", PLATFORM, held()),
                at(2, "charge.captured", PLATFORM, part(400)),
                at(
                    2,
                    "charge.captured",
                    PLATFORM,
                    with(held(), json!({ "status": "pending" })),
                ),
                at(
                    2,
                    "refund.created",
                    PLATFORM,
                    refund("re_1", "succeeded", 1_600),
                ),
                at(2, "charge.refunded", PLATFORM, part(2_000)),
            ],
            json!({ "status": "succeeded", "amountCaptured": 1_600, "amountRefunded": 1_600 }),
            vec![("revenue", -1_600), ("refunds", 1_600)],
            (1_600, 1_600),
        ),
        history(
            "authorized, then canceled: the release is no refund",
            canceled,
            json!({ "status": "canceled", "amountCaptured": 0, "amountRefunded": 0,
                "needsReview": false }),
            vec![],
            (0, 0),
        ),
        history(
            "authorized, and the authorization expires",
            expired,
            json!({ "status": "canceled", "amountCaptured": 0, "amountRefunded": 0 }),
            vec![],
            (0, 0),
        ),
    ]
}
