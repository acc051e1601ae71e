//! Whose it is: conflicts, parking, deletion.

use super::{History, PRO, checkout, day, paid, sub};
use crate::build::{MONTH, Story, customer, invoice, session, with};
use crate::corpus::T0;
use serde_json::{Value, json};

pub(super) fn owners() -> Vec<History> {
    let m1 = T0 + MONTH;
    let mut conflict = Story::default();
    conflict
        .tell(
            "customer.created",
            T0 - 90,
            customer("cus_1", T0 - 90, Some("t2")),
        )
        .tell(
            "customer.subscription.created",
            T0 + 2,
            with(
                sub("active", PRO, T0, m1),
                json!({"metadata": {"tenant_id": "t3"}}),
            ),
        )
        .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1));
    checkout(&mut conflict, "t1");
    conflict
        .tell(
            "customer.updated",
            T0 + 5,
            customer("cus_1", T0 - 90, Some("t2")),
        )
        .tell("invoice.payment_succeeded", T0 + 3, paid("in_1", T0, m1));

    let mut two_sessions = Story::default();
    checkout(&mut two_sessions, "t1");
    let older = with(
        session("cs_0", T0 - 500, "subscription", Some("cus_1"), Some("t2")),
        json!({"subscription": "sub_1"}),
    );
    two_sessions
        .tell("checkout.session.completed", T0 + 4, older)
        .tell(
            "customer.subscription.created",
            T0 + 2,
            sub("active", PRO, T0, m1),
        )
        .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1))
        .tell(
            "customer.created",
            T0 - 90,
            customer("cus_1", T0 - 90, None),
        )
        .tell(
            "customer.subscription.updated",
            T0 + 9,
            with(
                sub("active", PRO, T0, m1),
                json!({"cancel_at_period_end": true}),
            ),
        );

    let mut parked = Story::default();
    parked
        .tell(
            "customer.subscription.created",
            T0 + 2,
            sub("active", PRO, T0, m1),
        )
        .tell(
            "invoice.created",
            T0 + 1,
            invoice("in_1", "cus_1", "sub_1", "draft", T0, m1),
        )
        .tell(
            "invoice.finalized",
            T0 + 2,
            invoice("in_1", "cus_1", "sub_1", "open", T0, m1),
        )
        .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1))
        .tell(
            "customer.created",
            T0 - 90,
            customer("cus_1", T0 - 90, None),
        )
        .tell(
            "customer.updated",
            T0 + 3,
            customer("cus_1", T0 - 90, Some("t1")),
        );

    let mut deleted = Story::default();
    checkout(&mut deleted, "t1");
    let gone = with(
        sub("canceled", PRO, T0, m1),
        json!({"ended_at": T0 + day(2)}),
    );
    deleted
        .tell(
            "customer.created",
            T0 - 90,
            customer("cus_1", T0 - 90, None),
        )
        .tell(
            "customer.subscription.created",
            T0 + 2,
            sub("active", PRO, T0, m1),
        )
        .tell(
            "customer.updated",
            T0 + day(3),
            with(customer("cus_1", T0 - 90, None), json!({"name": "Late"})),
        )
        .tell("customer.subscription.deleted", T0 + day(2), gone)
        .tell(
            "customer.deleted",
            T0 + day(2),
            customer("cus_1", T0 - 90, None),
        );

    vec![
        History {
            name: "references that disagree: a session's beats metadata",
            events: conflict.events,
            end: T0 + day(1),
            tenants: vec!["t2", "t3"],
            truth: vec![
                ("customer", "cus_1", "/tenantId", json!("t1")),
                ("subscription", "sub_1", "/tenantId", json!("t1")),
                ("invoice", "in_1", "/tenantId", json!("t1")),
                ("tenant", "t1", "/status", json!("active")),
                ("tenant", "t2", "/status", json!("pending")),
                ("tenant", "t2", "/stripeCustomerId", Value::Null),
                ("tenant", "t3", "/subscriptions", json!([])),
            ],
        },
        History {
            name: "two sessions disagree: the older object's word holds",
            events: two_sessions.events,
            end: T0 + day(1),
            tenants: vec![],
            truth: vec![
                ("customer", "cus_1", "/tenantId", json!("t2")),
                ("subscription", "sub_1", "/tenantId", json!("t2")),
                (
                    "tenant",
                    "t2",
                    "/subscription/cancelAtPeriodEnd",
                    json!(true),
                ),
                ("tenant", "t1", "/subscriptions", json!([])),
            ],
        },
        History {
            name: "parked until the customer names its tenant",
            events: parked.events,
            end: T0 + day(1),
            tenants: vec!["t1"],
            truth: vec![
                ("tenant", "t1", "/status", json!("active")),
                (
                    "tenant",
                    "t1",
                    "/license/validUntil",
                    json!("2025-06-11T10:00:00Z"),
                ),
                ("customer", "cus_1", "/tenantId", json!("t1")),
            ],
        },
        History {
            name: "a deleted customer, an update after",
            events: deleted.events,
            end: T0 + day(4),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/stripeCustomerId", Value::Null),
                ("tenant", "t1", "/archivedAt", json!("2025-05-14T10:00:00Z")),
                (
                    "customer",
                    "cus_1",
                    "/deletedAt",
                    json!("2025-05-14T10:00:00Z"),
                ),
                ("customer", "cus_1", "/name", json!("N")),
            ],
        },
    ]
}
