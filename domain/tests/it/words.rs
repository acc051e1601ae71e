//! Words and plain rules that others build on: what each is called, and where each rule turns.

use crate::corpus::{T0, settings};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::command::{CallEffect, CallResult, CommandKind};
use bursar_domain::decision::{Disposition, Lane};
use bursar_domain::effect::Effect;
use bursar_domain::fact::{Order, is_conditional};
use bursar_domain::ids::{ChargeId, CommandId, EventId, PriceId, Scope, TenantId, Timestamp};
use bursar_domain::input::{InputSource, StoredInput};
use bursar_domain::link::LinkKey;
use bursar_domain::listing::{Listed, is_same_event};
use bursar_domain::lookups;
use bursar_domain::money::{Currency, Money};
use bursar_domain::notification::{Disable, RETRY_AFTER_MS_MAX, pause_ms, says_slow, wait_ms};
use bursar_domain::reread::{Answer, RereadTarget};
use bursar_domain::route::is_handled;
use bursar_domain::rows::{Row, RowKind, RowWrite};
use bursar_domain::stripe_call::{Method, Operation, StripeCall};
use bursar_domain::testing::event;
use serde_json::json;
use serde_json::value::RawValue;

#[test]
fn each_thing_has_the_word_lists_and_labels_show() {
    let dispositions = [
        Disposition::Applied,
        Disposition::Stale,
        Disposition::Duplicate,
        Disposition::Ignored,
        Disposition::Parked,
        Disposition::Dead,
    ];
    assert_eq!(
        dispositions.map(Disposition::as_str),
        ["applied", "stale", "duplicate", "ignored", "parked", "dead"]
    );
    assert_eq!(
        Listed::ALL.map(Listed::as_str),
        [
            "account",
            "customer",
            "checkout.session",
            "subscription",
            "invoice",
            "payment_intent",
            "charge",
            "refund",
            "dispute"
        ]
    );
    assert_eq!(
        CommandKind::ALL.map(CommandKind::as_str),
        [
            "customer",
            "customer_sync",
            "checkout",
            "sale",
            "portal",
            "refund",
            "capture",
            "cancel_payment",
            "change_plan",
            "set_quantity",
            "cancel_subscription",
            "resume_subscription",
            "finalize_invoice",
            "connect_account",
            "account_link",
            "login_link",
            "dispute_evidence"
        ]
    );
    assert_eq!(
        Lane::ALL.map(Lane::as_str),
        [
            "stripe",
            "stripe_refund",
            "stripe_read",
            "stripe_background",
            "mail",
            "notify",
            "identity",
            "alert"
        ]
    );
    assert_eq!(
        [Disable::Gone, Disable::Failing].map(|why| (why.as_str(), why.sentence())),
        [
            ("gone", "it answered 410, that it wants nothing any more"),
            (
                "failing",
                "all attempts at a notification failed and nothing arrived for three days"
            ),
        ]
    );
}

#[test]
fn each_order_has_its_word() {
    let tenant = TenantId::parse("t1").unwrap();
    let reason = "no".to_owned();
    let orders = [
        (patch(None), "tenant.patch"),
        (
            Order::CreditsDebit {
                amount: 1,
                reference: reason.clone(),
            },
            "credits.debit",
        ),
        (Order::UnclaimedClaim { tenant }, "unclaimed.claim"),
        (
            Order::UnclaimedDismiss {
                reason: reason.clone(),
            },
            "unclaimed.dismiss",
        ),
        (Order::CommandAgain {}, "command.again"),
        (
            Order::CommandUnsure {
                generation: 1,
                reason,
            },
            "command.unsure",
        ),
        (Order::Erase {}, "erase"),
    ];
    for (order, word) in orders {
        assert_eq!(order.kind(), word);
        let body: serde_json::Value = serde_json::from_slice(&order.to_body()).unwrap();
        assert!(body.to_string().contains(word), "{body}");
    }
}

#[test]
fn what_costs_nothing_may_be_given_up_and_nothing_else() {
    let free = Operation::ALL.into_iter().filter(|one| one.is_free());
    let free: Vec<&str> = free.map(Operation::as_str).collect();
    assert_eq!(
        free,
        [
            "checkout_create",
            "portal_create",
            "invoice_preview",
            "account_link_create",
            "login_link_create"
        ]
    );
}

#[test]
fn a_call_goes_out_by_the_lane_of_its_kind() {
    let lane = |kind| {
        Effect::Call(CallEffect {
            command: CommandId::parse("cmd_1").unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            kind,
            generation: 1,
            call: StripeCall {
                operation: Operation::RefundCreate,
                scope: Scope::PLATFORM,
                method: Method::Post,
                path: "/v1/refunds".to_owned(),
                params: Vec::new(),
            },
            patience_ms: None,
        })
        .lane()
    };
    for kind in CommandKind::ALL {
        let expected = match kind {
            CommandKind::Refund => Lane::StripeRefund,
            CommandKind::CustomerSync => Lane::StripeBackground,
            _ => Lane::Stripe,
        };
        assert_eq!(lane(kind), expected, "{}", kind.as_str());
    }
}

#[test]
fn a_time_prints_as_people_read_it_and_rounds_down() {
    assert_eq!(
        Timestamp(1_747_044_000_250).to_string(),
        "2025-05-12T10:00:00.25Z"
    );
    assert_eq!(Timestamp(i64::MAX).rfc3339(), format!("{}ms", i64::MAX));
    assert_eq!(Timestamp(-1).seconds(), -1);
    assert_eq!(Timestamp(1_999).seconds(), 1);
    assert_eq!(Timestamp(5).plus_ms(-7), Timestamp(-2));
    assert_eq!(
        Timestamp::from_seconds(i64::MAX / 10),
        Timestamp(i64::MAX),
        "far stays far"
    );
}

#[test]
fn money_adds_and_nothing_has_no_sign() {
    let usd = |minor| Money::new(minor, Currency::parse("usd").unwrap());
    assert_eq!(usd(300).checked_add(usd(-41)), Ok(usd(259)));
    assert_eq!(usd(0).to_string(), "0.00 usd");
    assert_eq!(usd(-1).to_string(), "-0.01 usd");
}

#[test]
fn waits_spread_over_their_whole_tenth_and_pauses_double_to_five_minutes() {
    let day = 86_400_000;
    let extra = (0..400).map(|seed| wait_ms(9, &seed.to_string(), None).unwrap() - day);
    let extra: Vec<i64> = extra.collect();
    assert!(extra.iter().all(|ms| (0..=day / 10).contains(ms)));
    assert!(extra.iter().any(|ms| *ms > day * 95 / 1_000), "{extra:?}");
    assert!(extra.iter().any(|ms| *ms < day * 5 / 1_000), "{extra:?}");
    assert_eq!((wait_ms(0, "", None), wait_ms(10, "", None)), (None, None));
    assert_eq!(wait_ms(1, "", Some(60_000)), Some(60_000));
    let pauses = (0..9).map(|n| pause_ms(n, None));
    let pauses: Vec<i64> = pauses.collect();
    assert_eq!(
        pauses,
        [
            5_000, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000
        ]
    );
    assert_eq!(pause_ms(1, Some(7_000)), 7_000);
    assert_eq!(
        (pause_ms(1, Some(-1)), pause_ms(1, Some(i64::MAX))),
        (5_000, RETRY_AFTER_MS_MAX)
    );
    for (status, slow) in [
        (200, false),
        (429, true),
        (502, true),
        (503, false),
        (504, true),
    ] {
        assert_eq!(says_slow(status), slow, "{status}");
    }
}

fn patch(expected_version: Option<u64>) -> Order {
    Order::TenantPatch {
        name: None,
        email: None,
        metadata: None,
        timezone: None,
        contract_reference: None,
        expected_version,
    }
}

#[test]
fn only_an_order_that_names_a_version_depends_on_it() {
    let input = |source: InputSource, order: &Order| StoredInput {
        seq: 1,
        source,
        kind: order.kind().to_owned(),
        received_at: Timestamp::from_seconds(T0),
        body: order.to_body(),
    };
    let ordered = || InputSource::Operator("ord_1".to_owned());
    assert!(is_conditional(&input(ordered(), &patch(Some(3)))));
    assert!(!is_conditional(&input(ordered(), &patch(None))));
    assert!(!is_conditional(&input(ordered(), &Order::Erase {})));
    let raw = InputSource::Raw("00".to_owned());
    assert!(!is_conditional(&input(raw, &patch(Some(3)))));
}

#[test]
fn a_decision_about_a_debit_looks_whether_its_reference_was_used() {
    let debit = Order::CreditsDebit {
        amount: 1,
        reference: "job-1".to_owned(),
    };
    let wanted = |key: &str, order: &Order| {
        let input = StoredInput {
            seq: 1,
            source: InputSource::Operator("ord_1".to_owned()),
            kind: order.kind().to_owned(),
            received_at: Timestamp::from_seconds(T0),
            body: order.to_body(),
        };
        lookups(
            &AggregateKey::parse(key).unwrap(),
            None,
            &input,
            &settings(),
        )
    };
    let asked = wanted("tenant:t1", &debit);
    assert!(
        matches!(asked.as_slice(), [LinkKey::Command(_)]),
        "{asked:?}"
    );
    assert_ne!(
        wanted("tenant:t2", &debit),
        asked,
        "each tenant has its own"
    );
    assert_eq!(wanted("tenant:t1", &Order::Erase {}), []);
}

#[test]
fn only_a_write_of_its_own_row_is_one_a_tenant_was_shown_under() {
    let t1 = AggregateKey::parse("tenant:t1").unwrap();
    let put = |kind, account: &str, id: &str| {
        RowWrite::Put(Row {
            kind,
            scope: scope(account),
            id: id.to_owned(),
            tenant: None,
            created_at: None,
            status: String::new(),
            hidden: false,
            value: Vec::new(),
            personal: None,
        })
    };
    let delete = |kind, account: &str, id: &str| RowWrite::Delete {
        kind,
        scope: scope(account),
        id: id.to_owned(),
    };
    let alias = RowWrite::Alias {
        kind: RowKind::Tenant,
        scope: Scope::PLATFORM,
        alias: "t1".to_owned(),
        id: "t1".to_owned(),
    };
    for (write, own) in [
        (put(RowKind::Tenant, "", "t1"), true),
        (put(RowKind::Tenant, "", "t2"), false),
        (put(RowKind::Tenant, "acct_1", "t1"), false),
        (put(RowKind::Customer, "", "t1"), false),
        (delete(RowKind::Tenant, "", "t1"), true),
        (delete(RowKind::Tenant, "", "t2"), false),
        (delete(RowKind::Tenant, "acct_1", "t1"), false),
        (alias, false),
    ] {
        let last = std::slice::from_ref(&write);
        assert_eq!(t1.rewrites_own_row(last), own, "{write:?}");
        let customer = AggregateKey::parse("customer:/cus_1").unwrap();
        assert!(!customer.rewrites_own_row(last));
    }
    assert!(!t1.rewrites_own_row(&[]));
}

fn scope(account: &str) -> Scope {
    Scope(bursar_domain::ids::AccountId::parse(account).ok())
}

#[test]
fn answers_and_results_are_equal_in_all_they_say_or_not_at_all() {
    let answer = Answer {
        target: RereadTarget::Charge(ChargeId::parse("ch_1").unwrap()),
        status: 200,
        date: T0,
        body: RawValue::from_string(r#"{"id":"ch_1"}"#.to_owned()).ok(),
    };
    assert_eq!(answer, answer.clone());
    let others = [
        Answer {
            target: RereadTarget::Charge(ChargeId::parse("ch_2").unwrap()),
            ..answer.clone()
        },
        Answer {
            status: 404,
            ..answer.clone()
        },
        Answer {
            date: T0 + 1,
            ..answer.clone()
        },
        Answer {
            body: RawValue::from_string("{}".to_owned()).ok(),
            ..answer.clone()
        },
    ];
    for other in others {
        assert_ne!(other, answer);
    }
    let gave_up = |code: &str| CallResult::GaveUp {
        generation: 1,
        code: code.to_owned(),
        reason: String::new(),
    };
    assert_eq!(gave_up("rate_limited"), gave_up("rate_limited"));
    assert_ne!(gave_up("rate_limited"), gave_up("stripe_unavailable"));
}

#[test]
fn two_bodies_of_an_event_are_the_same_but_for_what_delivery_adds() {
    let body = |object: serde_json::Value| {
        let event = event("evt_1", "customer.updated", T0, "", object, None);
        event.to_string().into_bytes()
    };
    let ada = body(json!({ "id": "cus_1", "name": "Ada" }));
    assert!(is_same_event(&ada, &ada));
    assert!(!is_same_event(&ada, &body(json!({ "id": "cus_1" }))));
    assert!(is_same_event(b"no json", b"no json"));
    assert!(!is_same_event(b"no json", b"neither"));
    assert!(!is_same_event(&ada, b"no json"));
}

#[test]
fn a_plan_is_found_by_its_price() {
    let catalogue = settings().catalogue;
    let of = |price: &str| {
        let price = PriceId::parse(price).unwrap();
        catalogue.plan_id_by_price_id(&price).map(str::to_owned)
    };
    assert_eq!(of("price_hobby").as_deref(), Some("hobby"));
    assert_eq!(of("price_credits").as_deref(), Some("credits-10"));
    assert_eq!(of("price_else"), None);
    assert!(catalogue.free().is_none());
}

#[test]
fn types_nobody_handles_are_not_handled() {
    assert!(is_handled("invoice.paid") && is_handled("review.opened"));
    for kind in ["", "invoice", "invoice.paid2", "product.created"] {
        assert!(!is_handled(kind), "{kind}");
    }
}

#[test]
fn an_input_is_known_by_the_id_people_see() {
    let named = |source: InputSource| (source.dedup_text(), source.public_id());
    let id = EventId::parse("evt_1").unwrap();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        named(InputSource::Event(Scope::PLATFORM, id)),
        pair("event:/evt_1", "evt_1")
    );
    assert_eq!(
        named(InputSource::Raw("00".to_owned())),
        pair("raw:00", "raw_00")
    );
    let key = AggregateKey::parse("tenant:t1").unwrap();
    assert_eq!(
        named(InputSource::Message(key, 7, 2)),
        pair("message:tenant:t1@7.2", "message:tenant:t1@7.2")
    );
}
