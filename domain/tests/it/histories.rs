//! Fixed histories of six or seven events and the state that is true after each, whatever the order.

use crate::build::{MONTH, Story, customer, invoice, session, subscription, with};
use crate::corpus::T0;
use serde_json::{Value, json};

pub(crate) const PRO: &str = "price_11ZgiQRNbDemoPlatfCt7QA7";
pub(crate) const HOBBY: &str = "price_hobby";

/// A history, its end, and what must hold then: `(row kind word, id, JSON pointer, value)`.
pub(crate) struct History {
    pub(crate) name: &'static str,
    pub(crate) events: Vec<Value>,
    /// Seconds; timers run until then.
    pub(crate) end: i64,
    /// Tenants an operator made before.
    pub(crate) tenants: Vec<&'static str>,
    pub(crate) truth: Vec<(&'static str, &'static str, &'static str, Value)>,
}

fn checkout(story: &mut Story, tenant: &str) {
    let sale = with(
        session("cs_1", T0 - 60, "subscription", Some("cus_1"), Some(tenant)),
        json!({"subscription": "sub_1"}),
    );
    story.tell("checkout.session.completed", T0 + 3, sale);
}

fn paid(id: &str, created: i64, end: i64) -> Value {
    with(
        invoice(id, "cus_1", "sub_1", "paid", created, end),
        json!({"attempt_count": 1, "status_transitions": {"paid_at": created + 5}}),
    )
}

fn sub(status: &str, price: &str, start: i64, end: i64) -> Value {
    with(
        subscription("sub_1", "cus_1", status, price, start, end),
        json!({"created": T0}),
    )
}

fn day(n: i64) -> i64 {
    n * 86_400
}

/// All fixed histories.
pub(crate) fn all() -> Vec<History> {
    let mut all = lives();
    all.extend(failures());
    all.extend(owners());
    all.extend(bursts());
    all.extend(purchases());
    all
}

fn lives() -> Vec<History> {
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

fn failures() -> Vec<History> {
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

fn owners() -> Vec<History> {
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

fn bursts() -> Vec<History> {
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

fn purchases() -> Vec<History> {
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
