//! Many words in one second.

use super::{HOBBY, History, PRO, checkout, day, paid, sub};
use crate::build::{MONTH, Story, invoice, with};
use crate::corpus::T0;
use serde_json::json;

pub(super) fn bursts() -> Vec<History> {
    let m1 = T0 + MONTH;
    let mut one_second = Story::default();
    checkout(&mut one_second, "t1");
    let two = with(
        sub("active", PRO, T0, m1),
        json!({"cancel_at_period_end": true}),
    );
    one_second
        .tell("customer.subscription.created", T0 + 2, sub("incomplete", HOBBY, T0, m1))
        .tell_after("customer.subscription.updated", T0 + 2, sub("active", HOBBY, T0, m1), Some(json!({"status": "incomplete"})))
        .tell_after("customer.subscription.updated", T0 + 2, sub("active", PRO, T0, m1), Some(json!({"items": {"data": [
            {"id": "si_1", "quantity": 1, "current_period_start": T0, "current_period_end": m1, "price": {"id": HOBBY}}]}})))
        .tell_after("customer.subscription.updated", T0 + 2, two, Some(json!({"cancel_at_period_end": false})))
        .tell("invoice.paid", T0 + 2, paid("in_1", T0, m1));

    let mut back = Story::default();
    checkout(&mut back, "t1");
    let seats = |n: i64| {
        with(
            sub("active", PRO, T0, m1),
            json!({"items": {"data": [{"id": "si_1", "quantity": n,
            "current_period_start": T0, "current_period_end": m1, "price": {"id": PRO}}]}}),
        )
    };
    let before = |n: i64| {
        Some(
            json!({"items": {"data": [{"id": "si_1", "quantity": n, "current_period_start": T0,
            "current_period_end": m1, "price": {"id": PRO}}]}}),
        )
    };
    back.tell("customer.subscription.created", T0 + 2, seats(9))
        .tell_after("customer.subscription.updated", T0 + 5, seats(5), before(9))
        .tell_after("customer.subscription.updated", T0 + 5, seats(7), before(5))
        .tell_after("customer.subscription.updated", T0 + 5, seats(2), before(7))
        .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1));

    let mut ranked = Story::default();
    checkout(&mut ranked, "t1");
    ranked
        .tell(
            "customer.subscription.updated",
            T0 + 5,
            sub("active", PRO, T0, m1),
        )
        .tell(
            "customer.subscription.updated",
            T0 + 5,
            sub("past_due", PRO, T0, m1),
        )
        .tell(
            "invoice.created",
            T0 + 5,
            invoice("in_1", "cus_1", "sub_1", "draft", T0, m1),
        )
        .tell(
            "invoice.finalized",
            T0 + 5,
            invoice("in_1", "cus_1", "sub_1", "open", T0, m1),
        )
        .tell(
            "invoice.updated",
            T0 + 5,
            with(
                invoice("in_1", "cus_1", "sub_1", "open", T0, m1),
                json!({"attempt_count": 1}),
            ),
        );

    let mut voided = Story::default();
    checkout(&mut voided, "t1");
    let open = invoice("in_1", "cus_1", "sub_1", "open", T0, m1);
    voided
        .tell(
            "customer.subscription.created",
            T0 + 2,
            sub("incomplete", PRO, T0, m1),
        )
        .tell(
            "invoice.payment_failed",
            T0 + 3,
            with(open.clone(), json!({"attempt_count": 1})),
        )
        .tell(
            "invoice.voided",
            T0 + 82_800,
            with(open.clone(), json!({"status": "void", "attempt_count": 1})),
        )
        .tell(
            "customer.subscription.updated",
            T0 + 82_800,
            sub("incomplete_expired", PRO, T0, m1),
        )
        .tell(
            "invoice.updated",
            T0 + 82_801,
            with(open, json!({"attempt_count": 1})),
        );

    vec![
        History {
            name: "four words in one second, told apart by previous_attributes",
            events: one_second.events,
            end: T0 + day(1),
            tenants: vec![],
            truth: vec![
                ("subscription", "sub_1", "/planId", json!("pro")),
                ("subscription", "sub_1", "/cancelAtPeriodEnd", json!(true)),
                ("tenant", "t1", "/status", json!("active")),
            ],
        },
        History {
            name: "seats up and down within a second",
            events: back.events,
            end: T0 + day(1),
            tenants: vec![],
            truth: vec![("tenant", "t1", "/subscription/quantity", json!(2))],
        },
        History {
            name: "a tie only rank can settle",
            events: ranked.events,
            end: T0 + day(1),
            tenants: vec![],
            truth: vec![
                ("subscription", "sub_1", "/status", json!("past_due")),
                ("invoice", "in_1", "/status", json!("open")),
            ],
        },
        History {
            name: "an incomplete subscription expires, its invoice is void",
            events: voided.events,
            end: T0 + day(2),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/status", json!("canceled")),
                ("tenant", "t1", "/license/state", json!("none")),
                ("invoice", "in_1", "/status", json!("void")),
                ("invoice", "in_1", "/overdue", json!(false)),
            ],
        },
    ]
}
