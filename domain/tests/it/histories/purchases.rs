//! Credits, Payment Links, several subscriptions.

use super::{HOBBY, History, PRO, checkout, day, paid, sub};
use crate::build::{MONTH, Story, customer, invoice, session, subscription, with};
use crate::corpus::T0;
use serde_json::{Value, json};

pub(super) fn purchases() -> Vec<History> {
    let m1 = T0 + MONTH;
    let bought = |id: &str,
                  at: i64,
                  customer: Option<&str>,
                  tenant: Option<&str>,
                  quantity: &str| {
        with(
            session(id, at, "payment", customer, tenant),
            json!({"metadata": {"plan_id": "credits-10", "command_id": "cmd_x", "quantity": quantity}}),
        )
    };
    let unpaid = |object: Value| with(object, json!({"payment_status": "unpaid"}));

    let mut credits = Story::default();
    credits
        .tell(
            "checkout.session.completed",
            T0 + 5,
            unpaid(bought("cs_1", T0, None, Some("t1"), "2")),
        )
        .tell(
            "checkout.session.async_payment_succeeded",
            T0 + day(4),
            bought("cs_1", T0, None, Some("t1"), "2"),
        )
        .tell(
            "checkout.session.completed",
            T0 + 9,
            bought("cs_2", T0, None, Some("t1"), "1"),
        )
        .tell(
            "checkout.session.expired",
            T0 + day(1),
            with(
                bought("cs_3", T0, None, Some("t1"), "5"),
                json!({"status": "expired", "payment_status": "unpaid"}),
            ),
        )
        .tell(
            "checkout.session.completed",
            T0 + 12,
            unpaid(bought("cs_4", T0, None, Some("t1"), "7")),
        )
        .tell(
            "checkout.session.async_payment_failed",
            T0 + day(3),
            unpaid(bought("cs_4", T0, None, Some("t1"), "7")),
        );

    let link = |object: Value| with(object, json!({"payment_link": "plink_1"}));
    let mut visitor = Story::default();
    let sold = link(with(
        session("cs_link", T0, "subscription", Some("cus_9"), Some("t1")),
        json!({"subscription": "sub_9", "metadata": {"plan_id": "pro"}}),
    ));
    let sub_9 = with(
        subscription("sub_9", "cus_9", "active", PRO, T0, m1),
        json!({"created": T0}),
    );
    let in_9 = with(
        invoice("in_9", "cus_9", "sub_9", "paid", T0, m1),
        json!({"status_transitions": {"paid_at": T0 + 2}}),
    );
    visitor
        .tell("checkout.session.completed", T0 + 3, sold)
        .tell("customer.created", T0, customer("cus_9", T0, None))
        .tell("customer.subscription.created", T0 + 2, sub_9)
        .tell(
            "invoice.created",
            T0 + 1,
            with(in_9.clone(), json!({"status": "draft", "amount_paid": 0})),
        )
        .tell("invoice.paid", T0 + 2, in_9.clone())
        .tell("invoice.payment_succeeded", T0 + 2, in_9);

    let mut both = Story::default();
    checkout(&mut both, "t1");
    let gone = with(
        sub("canceled", HOBBY, T0, m1),
        json!({"ended_at": T0 + day(6)}),
    );
    both.tell(
        "customer.subscription.created",
        T0 + 2,
        sub("active", HOBBY, T0, m1),
    )
    .tell("customer.subscription.deleted", T0 + day(6), gone)
    .tell(
        "customer.subscription.created",
        T0 + day(5),
        with(
            subscription("sub_2", "cus_1", "active", PRO, T0 + day(5), T0 + day(35)),
            json!({"created": T0 + day(5)}),
        ),
    )
    .tell(
        "invoice.paid",
        T0 + day(5),
        invoice("in_2", "cus_1", "sub_2", "paid", T0 + day(5), T0 + day(35)),
    )
    .tell(
        "checkout.session.completed",
        T0 + day(1),
        bought("cs_c", T0 + day(1), Some("cus_1"), Some("t1"), "1"),
    );

    let mut later = Story::default();
    checkout(&mut later, "t1");
    let gone = with(
        sub("canceled", HOBBY, T0, m1),
        json!({"ended_at": T0 + day(6)}),
    );
    later
        .tell(
            "customer.subscription.created",
            T0 + 2,
            sub("active", HOBBY, T0, m1),
        )
        .tell("invoice.paid", T0 + 3, paid("in_1", T0, m1))
        .tell("customer.subscription.deleted", T0 + day(6), gone)
        .tell(
            "customer.created",
            T0 - 90,
            customer("cus_1", T0 - 90, None),
        )
        .tell(
            "checkout.session.completed",
            T0 + day(8),
            bought("cs_c", T0 + day(8), Some("cus_1"), Some("t1"), "1"),
        );

    let mut moved = Story::default();
    moved
        .tell(
            "checkout.session.completed",
            T0 + 5,
            bought("cs_1", T0, Some("cus_1"), Some("t2"), "2"),
        )
        .tell(
            "checkout.session.completed",
            T0 - 5,
            with(
                session("cs_0", T0 - 60, "setup", Some("cus_1"), Some("t1")),
                json!({"payment_status": "no_payment_required"}),
            ),
        )
        .tell(
            "customer.created",
            T0 - 90,
            customer("cus_1", T0 - 90, Some("t3")),
        )
        .tell(
            "customer.updated",
            T0 + 1,
            with(
                customer("cus_1", T0 - 90, Some("t3")),
                json!({"name": "New"}),
            ),
        )
        .tell(
            "checkout.session.completed",
            T0 + 7,
            bought("cs_2", T0 + 1, None, Some("t2"), "1"),
        )
        .tell(
            "customer.subscription.created",
            T0 + 2,
            sub("active", PRO, T0, m1),
        );

    vec![
        History {
            name: "credits move with their customer to another tenant",
            events: moved.events,
            end: T0 + day(1),
            tenants: vec!["t3"],
            truth: vec![
                ("tenant", "t1", "/credits", json!(20)),
                ("tenant", "t1", "/status", json!("active")),
                ("tenant", "t2", "/credits", json!(10)),
                ("tenant", "t2", "/subscriptions", json!([])),
                ("tenant", "t3", "/status", json!("pending")),
                ("customer", "cus_1", "/name", json!("New")),
            ],
        },
        History {
            name: "credits: paid later, at once, expired, failed",
            events: credits.events,
            end: T0 + day(5),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/credits", json!(30)),
                ("tenant", "t1", "/status", json!("active")),
                ("session", "cs_1", "/paymentStatus", json!("paid")),
                ("session", "cs_3", "/status", json!("expired")),
                ("session", "cs_4", "/paymentStatus", json!("unpaid")),
            ],
        },
        History {
            name: "a payment link makes a tenant of its own and touches none",
            events: visitor.events,
            end: T0 + day(1),
            tenants: vec!["t1"],
            truth: vec![
                ("tenant", "t1", "/status", json!("pending")),
                ("tenant", "t1", "/subscriptions", json!([])),
                ("subscription", "sub_9", "/status", json!("active")),
            ],
        },
        History {
            name: "two subscriptions, one ends",
            events: both.events,
            end: T0 + day(7),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/subscription/id", json!("sub_2")),
                ("tenant", "t1", "/planId", json!("pro")),
                ("tenant", "t1", "/archivedAt", Value::Null),
                ("tenant", "t1", "/credits", json!(10)),
            ],
        },
        History {
            name: "credits bought after the end bring the tenant back",
            events: later.events,
            end: T0 + day(9),
            tenants: vec![],
            truth: vec![
                ("tenant", "t1", "/status", json!("active")),
                ("tenant", "t1", "/archivedAt", Value::Null),
                ("tenant", "t1", "/credits", json!(10)),
                ("tenant", "t1", "/license/state", json!("revoked")),
            ],
        },
    ]
}
