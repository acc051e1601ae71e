//! Renewals that fail.

use super::{History, PRO, checkout, day, paid, sub};
use crate::build::{MONTH, Story, invoice, with};
use crate::corpus::T0;
use serde_json::json;

pub(super) fn failures() -> Vec<History> {
    let (m1, m2) = (T0 + MONTH, T0 + 2 * MONTH);
    let failed = |attempt: i64| {
        with(
            invoice("in_2", "cus_1", "sub_1", "open", m1, m2),
            json!({"attempt_count": attempt}),
        )
    };
    let start = |story: &mut Story| {
        checkout(story, "t1");
        story
            .tell(
                "customer.subscription.created",
                T0 + 2,
                sub("active", PRO, T0, m1),
            )
            .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1));
    };
    let mut recovered = Story::default();
    start(&mut recovered);
    recovered
        .tell("invoice.payment_failed", m1 + 3600, failed(1))
        .tell(
            "customer.subscription.updated",
            m1 + 3601,
            sub("past_due", PRO, m1, m2),
        )
        .tell(
            "invoice.paid",
            m1 + day(3),
            with(paid("in_2", m1, m2), json!({"attempt_count": 2})),
        )
        .tell(
            "customer.subscription.updated",
            m1 + day(3) + 1,
            sub("active", PRO, m1, m2),
        );

    let grace = |end: i64| {
        let mut story = Story::default();
        start(&mut story);
        story
            .tell(
                "customer.subscription.updated",
                m1 + 4,
                sub("active", PRO, m1, m2),
            )
            .tell("invoice.payment_failed", m1 + 3600, failed(1))
            .tell(
                "customer.subscription.updated",
                m1 + 3601,
                sub("past_due", PRO, m1, m2),
            )
            .tell("invoice.payment_failed", m1 + day(3), failed(2));
        (story.events, end)
    };
    let in_grace = grace(m1 + 3600 + day(7) - 1);
    let after_grace = grace(m1 + 3600 + day(7));

    let mut gone = Story::default();
    start(&mut gone);
    gone.tell("invoice.payment_failed", m1 + 3600, failed(1))
        .tell(
            "customer.subscription.updated",
            m1 + 3601,
            sub("past_due", PRO, m1, m2),
        )
        .tell(
            "customer.subscription.updated",
            m1 + day(8),
            sub("unpaid", PRO, m1, m2),
        )
        .tell(
            "invoice.marked_uncollectible",
            m1 + day(9),
            with(failed(4), json!({"status": "uncollectible"})),
        );

    let mut unheard = Story::default();
    start(&mut unheard);
    unheard
        .tell(
            "customer.subscription.updated",
            m1 + 3601,
            sub("past_due", PRO, m1, m2),
        )
        .tell(
            "customer.subscription.updated",
            m1 + day(2),
            with(sub("past_due", PRO, m1, m2), json!({"discounts": ["di_1"]})),
        )
        .tell(
            "invoice.created",
            m1 + 10,
            invoice("in_2", "cus_1", "sub_1", "draft", m1, m2),
        );

    let grace_truth = |state: &str| {
        vec![
            ("tenant", "t1", "/status", json!("past_due")),
            ("tenant", "t1", "/license/state", json!(state)),
            (
                "tenant",
                "t1",
                "/license/validUntil",
                json!("2025-06-11T10:00:00Z"),
            ),
            ("invoice", "in_2", "/overdue", json!(true)),
            ("invoice", "in_2", "/attemptCount", json!(2)),
        ]
    };
    vec![
        History {
            name: "a failed renewal and its recovery",
            events: recovered.events,
            end: m1 + day(20),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/status", json!("active")),
                ("tenant", "t1", "/license/state", json!("active")),
                (
                    "tenant",
                    "t1",
                    "/license/validUntil",
                    json!("2025-07-11T10:00:00Z"),
                ),
                ("invoice", "in_2", "/overdue", json!(false)),
                ("invoice", "in_2", "/status", json!("paid")),
            ],
        },
        History {
            name: "grace, one second before its end",
            events: in_grace.0,
            end: in_grace.1,
            tenants: vec![],
            truth: grace_truth("grace"),
        },
        History {
            name: "grace, at its end",
            events: after_grace.0,
            end: after_grace.1,
            tenants: vec![],
            truth: grace_truth("revoked"),
        },
        History {
            name: "retries exhausted, unpaid",
            events: gone.events,
            end: m1 + day(30),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/status", json!("suspended")),
                ("tenant", "t1", "/license/state", json!("revoked")),
                ("invoice", "in_2", "/status", json!("uncollectible")),
            ],
        },
        History {
            name: "past due without a word of the failure",
            events: unheard.events,
            end: m1 + 3601 + day(7),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/license/state", json!("revoked")),
                ("tenant", "t1", "/subscription/discounts", json!(["di_1"])),
            ],
        },
    ]
}
