//! Lives without trouble.

use super::{HOBBY, History, PRO, checkout, day, paid, sub};
use crate::build::{MONTH, Story, customer, with};
use crate::corpus::T0;
use serde_json::json;

pub(super) fn lives() -> Vec<History> {
    let (m1, m2) = (T0 + MONTH, T0 + 2 * MONTH);
    let mut life = Story::default();
    checkout(&mut life, "t1");
    life.tell(
        "customer.created",
        T0 - 90,
        customer("cus_1", T0 - 90, None),
    )
    .tell(
        "customer.subscription.created",
        T0 + 2,
        sub("active", PRO, T0, m1),
    )
    .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1))
    .tell("invoice.payment_succeeded", T0 + 3, paid("in_1", T0, m1))
    .tell(
        "customer.subscription.updated",
        m1 + 4,
        sub("active", PRO, m1, m2),
    )
    .tell("invoice.paid", m1 + 3600, paid("in_2", m1, m2));

    let mut ended = Story::default();
    checkout(&mut ended, "t1");
    let going = with(
        sub("active", PRO, T0, m1),
        json!({"cancel_at_period_end": true}),
    );
    let gone = with(
        sub("canceled", PRO, T0, m1),
        json!({"cancel_at_period_end": true, "ended_at": m1, "canceled_at": T0 + day(3),
            "cancellation_details": {"reason": "cancellation_requested"}}),
    );
    ended
        .tell(
            "customer.subscription.created",
            T0 + 2,
            sub("active", PRO, T0, m1),
        )
        .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1))
        .tell_after(
            "customer.subscription.updated",
            T0 + day(3),
            going,
            Some(json!({"cancel_at_period_end": false})),
        )
        .tell("customer.subscription.deleted", m1 + 1, gone.clone())
        .tell(
            "customer.subscription.updated",
            m1 + 2,
            with(
                sub("active", PRO, T0, m1),
                json!({"cancel_at_period_end": true}),
            ),
        );

    let mut trial = Story::default();
    checkout(&mut trial, "t1");
    let trialing = with(
        sub("trialing", PRO, T0, T0 + day(14)),
        json!({"trial_end": T0 + day(14)}),
    );
    let zero = with(
        paid("in_0", T0, T0 + day(14)),
        json!({"amount_due": 0, "amount_paid": 0}),
    );
    let after = with(
        sub("active", PRO, T0 + day(14), T0 + day(44)),
        json!({"trial_end": T0 + day(14)}),
    );
    trial
        .tell("customer.subscription.created", T0 + 1, trialing.clone())
        .tell("invoice.paid", T0 + 1, zero)
        .tell(
            "customer.subscription.trial_will_end",
            T0 + day(11),
            trialing,
        )
        .tell_after(
            "customer.subscription.updated",
            T0 + day(14),
            after,
            Some(json!({"status": "trialing"})),
        )
        .tell(
            "invoice.paid",
            T0 + day(14) + 3600,
            paid("in_1", T0 + day(14), T0 + day(44)),
        );

    let mut change = Story::default();
    checkout(&mut change, "t1");
    change
        .tell("customer.subscription.created", T0 + 2, sub("active", HOBBY, T0, m1))
        .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1))
        .tell("customer.subscription.updated", T0 + day(5), sub("active", PRO, T0, m1))
        .tell("invoice.paid", T0 + day(5), paid("in_2", T0 + day(5), m1))
        .tell("customer.subscription.updated", T0 + day(9), with(sub("active", PRO, T0, m1), json!({"items": {"data": [
            {"id": "si_1", "quantity": 4, "current_period_start": T0, "current_period_end": m1, "price": {"id": PRO}}]}})));

    vec![
        History {
            name: "a subscription's life over one renewal",
            events: life.events,
            end: m1 + day(1),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/status", json!("active")),
                (
                    "tenant",
                    "t1",
                    "/license/validUntil",
                    json!("2025-07-11T10:00:00Z"),
                ),
                ("tenant", "t1", "/license/stale", json!(false)),
                ("tenant", "t1", "/stripeCustomerId", json!("cus_1")),
                ("invoice", "in_1", "/status", json!("paid")),
                ("subscription", "sub_1", "/tenantId", json!("t1")),
            ],
        },
        History {
            name: "canceled at the period's end, a late update after",
            events: ended.events,
            end: m1 + day(1),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/status", json!("canceled")),
                ("tenant", "t1", "/license/state", json!("revoked")),
                ("tenant", "t1", "/archivedAt", json!("2025-06-11T10:00:00Z")),
                (
                    "tenant",
                    "t1",
                    "/contract/endReason",
                    json!("cancellation_requested"),
                ),
                ("subscription", "sub_1", "/status", json!("canceled")),
            ],
        },
        History {
            name: "a trial that becomes paid",
            events: trial.events,
            end: T0 + day(20),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/status", json!("active")),
                (
                    "tenant",
                    "t1",
                    "/license/validUntil",
                    json!("2025-06-25T10:00:00Z"),
                ),
                ("invoice", "in_0", "/amountPaid", json!(0)),
            ],
        },
        History {
            name: "a plan change and more seats",
            events: change.events,
            end: T0 + day(10),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/planId", json!("pro")),
                ("tenant", "t1", "/subscription/quantity", json!(4)),
                (
                    "tenant",
                    "t1",
                    "/license/features",
                    json!(["export", "sso"]),
                ),
            ],
        },
    ]
}
