//! Fixed histories in which money goes back: refunds and disputes.

use crate::build::*;
use crate::histories::{History, history, paid, refunded_charge};
use serde_json::json;

pub(crate) fn refunds() -> Vec<History> {
    let mut connect = paid(ACCOUNT);
    connect.extend([
        at(
            100,
            "refund.created",
            ACCOUNT,
            refund("re_1", "succeeded", 500),
        ),
        at(100, "charge.refunded", ACCOUNT, refunded_charge(500)),
        at(
            200,
            "refund.created",
            ACCOUNT,
            refund("re_2", "succeeded", 1_500),
        ),
        at(200, "charge.refunded", ACCOUNT, refunded_charge(2_000)),
    ]);
    let mut failed = paid(PLATFORM);
    failed.extend([
        at(
            100,
            "refund.created",
            PLATFORM,
            refund("re_1", "pending", 800),
        ),
        at(
            101,
            "refund.updated",
            PLATFORM,
            refund("re_1", "succeeded", 800),
        ),
        at(101, "charge.refunded", PLATFORM, refunded_charge(800)),
        at(
            900,
            "refund.failed",
            PLATFORM,
            with(
                refund("re_1", "failed", 800),
                json!({ "failure_reason": "lost_or_stolen_card" }),
            ),
        ),
    ]);
    let mut canceled = paid(PLATFORM);
    canceled.extend([
        at(
            100,
            "refund.created",
            PLATFORM,
            refund("re_1", "requires_action", 800),
        ),
        at(
            300,
            "refund.updated",
            PLATFORM,
            refund("re_1", "canceled", 800),
        ),
        at(
            400,
            "refund.created",
            PLATFORM,
            refund("re_2", "succeeded", 2_000),
        ),
    ]);
    let mut both_ends = paid(PLATFORM);
    both_ends.extend([
        at(
            100,
            "refund.created",
            PLATFORM,
            refund("re_1", "succeeded", 800),
        ),
        at(
            300,
            "refund.updated",
            PLATFORM,
            refund("re_1", "canceled", 800),
        ),
        at(
            300,
            "refund.failed",
            PLATFORM,
            refund("re_1", "failed", 800),
        ),
    ]);
    let mut too_large = paid(PLATFORM);
    too_large.extend([
        at(
            100,
            "refund.created",
            PLATFORM,
            refund("re_1", "succeeded", 1_500),
        ),
        at(100, "charge.refunded", PLATFORM, refunded_charge(1_500)),
        at(
            200,
            "refund.created",
            PLATFORM,
            refund("re_2", "succeeded", 1_500),
        ),
    ]);
    let mut older_types = paid(PLATFORM);
    older_types.extend([
        at(100, "charge.refunded", PLATFORM, refunded_charge(400)),
        at(
            101,
            "charge.refund.updated",
            PLATFORM,
            refund("re_1", "succeeded", 400),
        ),
        at(
            100,
            "refund.created",
            PLATFORM,
            refund("re_1", "pending", 400),
        ),
    ]);
    vec![
        History {
            others: vec![(
                "refund",
                "re_2",
                json!({ "status": "succeeded", "amount": 1_500,
                "tenantId": "shop", "merchantAccountId": "acct_m" }),
            )],
            ..history(
                "a direct charge refunded in part, then in full",
                connect,
                json!({ "status": "succeeded", "amountCaptured": 2_000, "amountRefunded": 2_000,
                    "tenantId": "shop", "merchantAccountId": "acct_m" }),
                vec![],
                (2_000, 2_000),
            )
        },
        History {
            others: vec![(
                "refund",
                "re_1",
                json!({ "status": "failed", "amount": 800,
                "failureReason": "lost_or_stolen_card", "paymentId": "pi_1" }),
            )],
            ..history(
                "a refund fails days after it succeeded",
                failed,
                json!({ "amountCaptured": 2_000, "amountRefunded": 0, "needsReview": false }),
                vec![("stripe_balance", 2_000), ("revenue", -2_000)],
                (2_000, 800),
            )
        },
        history(
            "a refund is canceled and another one made",
            canceled,
            json!({ "amountCaptured": 2_000, "amountRefunded": 2_000, "needsReview": false }),
            vec![("revenue", -2_000), ("refunds", 2_000)],
            (2_000, 2_800),
        ),
        history(
            "a refund is said to have failed and to be canceled",
            both_ends,
            json!({ "amountRefunded": 0, "needsReview": true }),
            vec![("stripe_balance", 2_000), ("revenue", -2_000)],
            (2_000, 800),
        ),
        history(
            "more is refunded than was captured",
            too_large,
            json!({ "amountCaptured": 2_000, "amountRefunded": 3_000, "needsReview": true }),
            vec![
                ("stripe_balance", -1_000),
                ("revenue", -2_000),
                ("refunds", 3_000),
            ],
            (2_000, 3_000),
        ),
        history(
            "a refund told by the older event types",
            older_types,
            json!({ "amountRefunded": 400, "needsReview": false }),
            vec![
                ("stripe_balance", 1_600),
                ("revenue", -2_000),
                ("refunds", 400),
            ],
            (2_000, 400),
        ),
    ]
}

pub(crate) fn disputes() -> Vec<History> {
    let taken = || moved("txn_out", -2_000, T0 + 500);
    let back = || moved("txn_in", 2_000, T0 + 800);
    let intent_paid = || at(2, "payment_intent.succeeded", PLATFORM, intent("succeeded"));
    let charge_paid = || at(2, "charge.succeeded", PLATFORM, charge("succeeded"));
    let created = || {
        at(
            500,
            "charge.dispute.created",
            PLATFORM,
            dispute("needs_response", vec![taken()]),
        )
    };
    let withdrawn = |moves| {
        at(
            500,
            "charge.dispute.funds_withdrawn",
            PLATFORM,
            dispute("needs_response", moves),
        )
    };
    let updated = || {
        at(
            600,
            "charge.dispute.updated",
            PLATFORM,
            dispute("under_review", vec![taken()]),
        )
    };
    let reinstated = |moves| {
        at(
            800,
            "charge.dispute.funds_reinstated",
            PLATFORM,
            dispute("won", moves),
        )
    };
    let won = || {
        at(
            800,
            "charge.dispute.closed",
            PLATFORM,
            dispute("won", vec![taken(), back()]),
        )
    };
    let lost = || {
        at(
            800,
            "charge.dispute.closed",
            PLATFORM,
            dispute("lost", vec![taken()]),
        )
    };
    let warning = json!({ "id": "issfr_1", "object": "radar.early_fraud_warning", "actionable": true,
        "charge": "ch_1", "payment_intent": "pi_1", "created": T0 + 400, "fraud_type": "misc" });
    let review = |open: bool| {
        json!({ "id": "prv_1", "object": "review", "open": open, "reason": "rule",
        "charge": "ch_1", "payment_intent": "pi_1", "created": T0 + 3 })
    };
    let gone = vec![("revenue", -2_000), ("disputes", 2_000)];
    let kept = vec![("stripe_balance", 2_000), ("revenue", -2_000)];
    let disputed = |review: bool| {
        json!({ "disputed": true, "amountRefunded": 0,
        "amountCaptured": 2_000, "needsReview": review })
    };
    let row = |status: &str| {
        vec![(
            "dispute",
            "du_1",
            json!({ "status": status, "amount": 2_000,
        "paymentId": "pi_1", "reason": "fraudulent", "evidenceDueBy": "2025-05-12T12:30:00Z" }),
        )]
    };
    let merchants = paid(ACCOUNT).into_iter().skip(1).chain([
        at(
            500,
            "charge.dispute.created",
            ACCOUNT,
            dispute("needs_response", vec![]),
        ),
        at(
            500,
            "charge.dispute.funds_withdrawn",
            ACCOUNT,
            dispute("needs_response", vec![]),
        ),
        at(
            800,
            "charge.dispute.closed",
            ACCOUNT,
            dispute("lost", vec![taken()]),
        ),
    ]);
    vec![
        History {
            others: row("won"),
            ..history(
                "a dispute is won and the money comes back",
                vec![
                    charge_paid(),
                    created(),
                    withdrawn(vec![taken()]),
                    updated(),
                    reinstated(vec![taken(), back()]),
                    won(),
                ],
                disputed(false),
                kept.clone(),
                (2_000, 0),
            )
        },
        History {
            others: row("lost"),
            ..history(
                "a dispute is lost",
                vec![
                    intent_paid(),
                    charge_paid(),
                    created(),
                    withdrawn(vec![taken()]),
                    updated(),
                    lost(),
                ],
                disputed(false),
                gone.clone(),
                (2_000, 0),
            )
        },
        History {
            others: row("won"),
            ..history(
                "the events prove what no transaction shows",
                vec![
                    charge_paid(),
                    at(
                        500,
                        "charge.dispute.created",
                        PLATFORM,
                        dispute("needs_response", vec![]),
                    ),
                    withdrawn(vec![]),
                    reinstated(vec![]),
                    at(
                        800,
                        "charge.dispute.closed",
                        PLATFORM,
                        dispute("won", vec![]),
                    ),
                ],
                disputed(false),
                kept.clone(),
                (2_000, 0),
            )
        },
        History {
            others: row("lost"),
            ..history(
                "a warning, then a dispute that is lost",
                vec![
                    charge_paid(),
                    intent_paid(),
                    at(400, "radar.early_fraud_warning.created", PLATFORM, warning),
                    created(),
                    withdrawn(vec![]),
                    lost(),
                ],
                disputed(false),
                gone,
                (2_000, 0),
            )
        },
        History {
            others: row("won"),
            ..history(
                "a dispute is lost and then won after all",
                vec![
                    charge_paid(),
                    created(),
                    withdrawn(vec![taken()]),
                    lost(),
                    at(
                        2_000,
                        "charge.dispute.updated",
                        PLATFORM,
                        dispute("won", vec![taken(), back()]),
                    ),
                ],
                disputed(false),
                kept.clone(),
                (2_000, 0),
            )
        },
        history(
            "an inquiry is closed and no money moves",
            vec![
                charge_paid(),
                intent_paid(),
                at(
                    500,
                    "charge.dispute.created",
                    PLATFORM,
                    dispute("warning_needs_response", vec![]),
                ),
                at(
                    600,
                    "charge.dispute.updated",
                    PLATFORM,
                    dispute("warning_under_review", vec![]),
                ),
                at(
                    900,
                    "charge.dispute.closed",
                    PLATFORM,
                    dispute("warning_closed", vec![]),
                ),
            ],
            disputed(false),
            kept.clone(),
            (2_000, 0),
        ),
        history(
            "a direct charge is disputed and lost",
            merchants.collect(),
            disputed(false),
            vec![],
            (2_000, 0),
        ),
        history(
            "a review is opened and closed",
            vec![
                at(
                    0,
                    "payment_intent.created",
                    PLATFORM,
                    intent("requires_payment_method"),
                ),
                charge_paid(),
                intent_paid(),
                at(3, "review.opened", PLATFORM, review(true)),
                at(900, "review.closed", PLATFORM, review(false)),
            ],
            json!({ "disputed": false, "status": "succeeded" }),
            kept,
            (2_000, 0),
        ),
    ]
}
