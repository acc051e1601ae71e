//! The parts of a payment one by one: which of two words stands, and how much is kept.

use super::charge::{Charge, ChargeSaid};
use super::dispute::{Dispute, DisputeSaid};
use super::elsewhere::Elsewhere;
use super::fees::{FeeSaid, Fees};
use super::missing::Missing;
use super::refund::{Refund, RefundSaid};
use super::state::{Fact, Payment};
use super::watch::{ReviewSaid, WarningSaid};
use super::*;
use crate::ids::{BalanceTransactionId, ChargeId, InvoiceId, RefundId, SessionId, SubscriptionId};
use crate::message::Grant;
use crate::money::Currency;
use crate::stripe_wire::read_object;
use serde_json::{Value, json};

const T0: i64 = 1_747_044_000;

fn at(seconds: i64) -> Origin {
    Origin {
        at: Timestamp::from_seconds(T0 + seconds),
        reread: false,
        birth: false,
        previous: None,
    }
}

fn object<T: WireObject>(base: Value, fields: Value) -> T {
    let mut all = base;
    for (name, value) in fields.as_object().unwrap() {
        all[name] = value.clone();
    }
    read_object(&all.to_string()).unwrap()
}

fn charge(seconds: i64, fields: Value) -> ChargeSaid {
    let base = json!({ "id": "ch_1", "object": "charge", "status": "succeeded", "amount": 2_000,
        "amount_captured": 2_000, "captured": true, "currency": "usd", "created": T0 });
    ChargeSaid::read(&object(base, fields), &at(seconds)).unwrap()
}

fn refund(seconds: i64, fields: Value) -> RefundSaid {
    let base = json!({ "id": "re_1", "object": "refund", "status": "succeeded", "amount": 500,
        "currency": "usd", "charge": "ch_1" });
    RefundSaid::read(&object(base, fields), &at(seconds)).unwrap()
}

fn dispute(seconds: i64, kind: &str, fields: Value) -> DisputeSaid {
    let base = json!({ "id": "du_1", "object": "dispute", "status": "needs_response",
        "amount": 2_000, "currency": "usd", "charge": "ch_1" });
    DisputeSaid::read(kind, &object(base, fields), &at(seconds)).unwrap()
}

#[test]
fn words_rank_as_a_part_of_a_payment_lives() {
    let disputes = [
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "lost",
        "appeal_needs_response",
        "appeal_under_review",
        "prevented",
        "won",
    ];
    for (rank, status) in (0_u8..).zip(disputes) {
        assert_eq!(DisputeSaid::rank_of(status), rank, "{status}");
    }
    assert_eq!(DisputeSaid::rank_of("a new word"), 3);
    for (rank, status) in [
        (0, "pending"),
        (0, "a new word"),
        (1, "requires_action"),
        (2, "succeeded"),
        (3, "failed"),
        (3, "canceled"),
    ] {
        assert_eq!(RefundSaid::rank_of(status), rank, "{status}");
    }
    let charges = ["pending", "succeeded", "failed"].map(ChargeSaid::rank_of);
    assert_eq!(charges, [0, 1, 1]);
}

#[test]
fn of_two_words_on_a_charge_the_greater_stands_whichever_is_heard_first() {
    let pending = charge(9, json!({ "status": "pending", "captured": false }));
    let held = charge(5, json!({ "captured": false, "disputed": true }));
    let taken = charge(3, json!({}));
    let later = charge(7, json!({ "amount_refunded": 300 }));
    let all = [pending, held, taken, later.clone()];
    for first in 0..all.len() {
        let mut joined = Charge::from_said(all[first].clone());
        for said in all.iter().cycle().skip(first + 1).take(all.len()) {
            joined.join(Charge::from_said(said.clone()));
        }
        assert_eq!(joined.best, later);
        assert!(joined.disputed && joined.succeeded && !joined.failed && !joined.released);
        assert!(!joined.contradicts());
    }
}

#[test]
fn a_charge_with_two_ends_contradicts_until_stripe_was_asked() {
    let failed = Charge::from_said(charge(5, json!({ "status": "failed" })));
    let mut both = Charge::from_said(charge(3, json!({})));
    assert!(!both.contradicts() && !failed.contradicts());
    both.join(failed);
    assert!(both.contradicts());
    let reread = ChargeSaid {
        reread: true,
        ..charge(20, json!({}))
    };
    both.join(Charge::from_said(reread));
    assert!(!both.contradicts());
    let let_go = charge(9, json!({ "captured": false, "refunded": true }));
    assert!(let_go.released && !charge(9, json!({ "refunded": true })).released);
}

#[test]
fn a_refund_is_there_since_it_was_made_or_first_told_of() {
    let since = |said: RefundSaid| Refund::from_said(said).since.seconds() - T0;
    assert_eq!(since(refund(5, json!({}))), 5);
    assert_eq!(since(refund(5, json!({ "created": T0 + 2 }))), 2);
    assert_eq!(since(refund(5, json!({ "created": T0 + 8 }))), 5);
    let mut joined = Refund::from_said(refund(5, json!({})));
    assert!(!joined.failed && !joined.canceled && joined.counts() && !joined.contradicts());
    joined.join(Refund::from_said(refund(3, json!({ "status": "failed" }))));
    assert_eq!(
        (joined.since.seconds() - T0, joined.best.status.as_str()),
        (3, "failed")
    );
    assert!(joined.failed && !joined.canceled && !joined.counts() && !joined.contradicts());
    joined.join(Refund::from_said(refund(
        2,
        json!({ "status": "canceled" }),
    )));
    assert!(joined.canceled && joined.contradicts());
    assert_eq!(joined.best.status, "failed", "the later of two ends");
}

#[test]
fn what_a_dispute_moved_is_what_was_shown_else_what_was_said() {
    let shown = |amount: i64, currency: &str| {
        json!({ "balance_transactions": [{ "id": "txn_1", "amount": amount, "currency": currency,
            "created": T0 + 7, "fee": 1_500 }] })
    };
    let said = |said: DisputeSaid| {
        let moved = Dispute::from_said(said).movements().into_iter();
        let moved = moved.map(|(id, amount, at)| (id, amount, at.seconds() - T0));
        moved.collect::<Vec<_>>()
    };
    let one = |id: &str, amount, at| vec![(id.to_owned(), amount, at)];
    let withdrawn = "charge.dispute.funds_withdrawn";
    let reinstated = "charge.dispute.funds_reinstated";
    assert_eq!(said(dispute(5, "charge.dispute.created", json!({}))), []);
    assert_eq!(
        said(dispute(5, withdrawn, json!({}))),
        one("du_1:withdrawn", -2_000, 5)
    );
    assert_eq!(
        said(dispute(5, reinstated, json!({}))),
        one("du_1:reinstated", 2_000, 5)
    );
    assert_eq!(
        said(dispute(5, withdrawn, shown(-1_900, "usd"))),
        one("txn_1", -1_900, 7)
    );
    assert_eq!(
        said(dispute(5, withdrawn, shown(-1_700, "eur"))),
        one("txn_1", -2_000, 7),
        "in another currency the disputed amount"
    );
    let mut both = one("txn_1", -1_900, 7);
    both.extend(one("du_1:reinstated", 2_000, 5));
    assert_eq!(said(dispute(5, reinstated, shown(-1_900, "usd"))), both);
    let mut joined = Dispute::from_said(dispute(9, withdrawn, json!({})));
    joined.join(Dispute::from_said(dispute(5, withdrawn, json!({}))));
    joined.join(Dispute::from_said(dispute(7, reinstated, json!({}))));
    let times = [joined.withdrawn_at, joined.reinstated_at];
    assert_eq!(times.map(|at| at.unwrap().seconds() - T0), [5, 7]);
    assert_eq!(joined.best.said_at, at(9).at);
}

#[test]
fn a_dispute_is_over_won_lost_prevented_or_as_a_closed_warning() {
    for (status, closed, lost) in [
        ("needs_response", false, false),
        ("under_review", false, false),
        ("warning_needs_response", false, false),
        ("warning_closed", true, false),
        ("appeal_under_review", false, false),
        ("prevented", true, false),
        ("won", true, false),
        ("lost", true, true),
    ] {
        let one = Dispute::from_said(dispute(5, "", json!({ "status": status })));
        assert_eq!((one.closed(), one.lost()), (closed, lost), "{status}");
    }
}

fn answer(target: RereadTarget, seconds: i64, body: Value) -> Answer {
    Answer {
        target,
        status: 200,
        date: T0 + seconds,
        body: serde_json::value::RawValue::from_string(body.to_string()).ok(),
    }
}

#[test]
fn only_what_is_another_payments_is_passed_on_and_each_object_as_it_was_last() {
    let own = PaymentId::parse("ch_1").unwrap();
    let of_charge = |seconds, intent: Value| {
        let body = json!({ "id": "ch_1", "object": "charge", "status": "succeeded", "amount": 2_000,
            "currency": "usd", "payment_intent": intent });
        answer(
            RereadTarget::Charge(ChargeId::parse("ch_1").unwrap()),
            seconds,
            body,
        )
    };
    let of_refund = |seconds| {
        let target = RereadTarget::Refund(RefundId::parse("re_1").unwrap());
        answer(target, seconds, json!({ "id": "re_1" }))
    };
    let mut elsewhere = Elsewhere::default();
    assert!(!elsewhere.takes(&of_refund(1), &own));
    assert!(!elsewhere.takes(&of_charge(1, Value::Null), &own));
    assert!(
        !elsewhere.takes(&of_charge(1, json!("ch_1")), &own),
        "its own"
    );
    assert_eq!(elsewhere, Elsewhere::default());
    assert!(elsewhere.takes(&of_charge(5, json!("pi_1")), &own));
    assert!(elsewhere.takes(&of_charge(6, json!("pi_2")), &own));
    assert_eq!(
        elsewhere.payment().map(PaymentId::as_str),
        Some("pi_1"),
        "the first decides"
    );
    let passed = |elsewhere: &Elsewhere| {
        let mut projection = Projection::default();
        elsewhere.project(&mut projection, &Scope::PLATFORM);
        let messages = projection.messages.into_values();
        let mut dates: Vec<(String, i64)> = messages
            .map(|slot| match slot.message {
                Message::Answer(answer) => (answer.target.id().to_owned(), answer.date - T0),
                other => panic!("{other:?}"),
            })
            .collect();
        dates.sort();
        dates
    };
    let pair = |id: &str, date| (id.to_owned(), date);
    assert_eq!(passed(&elsewhere), [pair("ch_1", 6)]);
    for (seconds, kept) in [(4, 4), (3, 3), (9, 9), (8, 9)] {
        assert!(elsewhere.takes(&of_refund(seconds), &own));
        let newest = kept.max(4);
        assert_eq!(
            passed(&elsewhere),
            [pair("ch_1", 6), pair("re_1", newest)],
            "{seconds}"
        );
    }
    let same = elsewhere.clone();
    let other_words = answer(
        RereadTarget::Refund(RefundId::parse("re_1").unwrap()),
        9,
        json!({ "id": "re_1", "amount": 1 }),
    );
    assert!(elsewhere.takes(&other_words, &own));
    assert_eq!(elsewhere, same, "of one second the first");
    let fee = RereadTarget::BalanceTransaction(BalanceTransactionId::parse("txn_1").unwrap());
    assert!(!elsewhere.takes(&answer(fee, 9, json!({})), &own));
}

#[test]
fn of_more_objects_than_are_passed_on_the_last_by_id_are_left() {
    let own = PaymentId::parse("ch_1").unwrap();
    let mut elsewhere = Elsewhere::default();
    let charge = json!({ "id": "ch_1", "object": "charge", "status": "succeeded", "amount": 1,
        "currency": "usd", "payment_intent": "pi_1" });
    let target = RereadTarget::Charge(ChargeId::parse("ch_1").unwrap());
    assert!(elsewhere.takes(&answer(target, 1, charge), &own));
    for n in 0..40 {
        let id = RefundId::parse(&format!("re_{n:02}")).unwrap();
        assert!(elsewhere.takes(&answer(RereadTarget::Refund(id), 1, json!({})), &own));
    }
    let mut projection = Projection::default();
    elsewhere.project(&mut projection, &Scope::PLATFORM);
    assert_eq!(projection.messages.len(), 32);
}

fn txn(n: usize) -> BalanceTransactionId {
    BalanceTransactionId::parse(&format!("txn_{n:04}")).unwrap()
}

#[test]
fn of_two_words_on_a_fee_the_newer_stands_and_no_more_are_kept_than_may_be() {
    let fee = |seconds, stripe| FeeSaid {
        said_at: at(seconds).at,
        stripe,
        application: 0,
        currency: Currency::parse("usd").unwrap(),
        at: at(0).at,
    };
    let mut fees = Fees::default();
    assert!(fees.name(txn(1)) && !fees.name(txn(1)));
    assert!(fees.name(txn(2)));
    let asked = |fees: &Fees| fees.questions().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(asked(&fees), ["fee:txn_0001", "fee:txn_0002"]);
    assert!(fees.join(txn(1), fee(5, 59)));
    assert_eq!(asked(&fees), ["fee:txn_0002"]);
    assert!(!fees.join(txn(1), fee(5, 59)), "no news");
    assert!(!fees.join(txn(1), fee(4, 99)), "older");
    assert!(fees.join(txn(1), fee(6, 61)));
    let known: Vec<i64> = fees.iter().map(|(_, fee)| fee.stripe).collect();
    assert_eq!(known, [61]);
    for n in 0..600 {
        fees.name(txn(n));
        fees.join(txn(n), fee(9, 1));
    }
    assert_eq!((fees.iter().count(), asked(&fees).len()), (512, 0));
}

#[test]
fn a_warning_or_review_is_what_was_said_last_and_a_closed_review_stays_closed() {
    let warning = |seconds, actionable: bool| {
        let wire = object(
            json!({ "id": "issfr_1", "object": "radar.early_fraud_warning", "charge": "ch_1" }),
            json!({ "actionable": actionable }),
        );
        Fact::Warning(WarningSaid::read(&wire, &at(seconds)).unwrap())
    };
    let review = |seconds, open: bool| {
        let wire = object(
            json!({ "id": "prv_1", "object": "review", "charge": "ch_1", "reason": "rule" }),
            json!({ "open": open }),
        );
        Fact::Review(ReviewSaid::read(&wire, &at(seconds)).unwrap())
    };
    let mut payment = Payment::default();
    assert_eq!(payment.join(warning(5, true)), Joined::Kept);
    assert_eq!(payment.join(warning(5, true)), Joined::Same);
    assert_eq!(payment.join(warning(4, false)), Joined::Older);
    assert!(payment.warnings["issfr_1"].actionable);
    assert_eq!(payment.join(warning(6, false)), Joined::Kept);
    assert!(!payment.warnings["issfr_1"].actionable);
    assert_eq!(payment.join(review(5, false)), Joined::Kept);
    assert_eq!(payment.join(review(9, true)), Joined::Older);
    assert!(payment.reviews["prv_1"].closed);
}

#[test]
fn an_invoice_or_purchase_named_again_is_no_news() {
    let (one, two) = (
        InvoiceId::parse("in_1").unwrap(),
        InvoiceId::parse("in_2").unwrap(),
    );
    let sold = SubscriptionId::parse("sub_1").ok();
    let mut payment = Payment::default();
    assert!(payment.pays(one.clone(), None) && !payment.pays(one.clone(), None));
    assert!(payment.pays(one.clone(), sold.clone()) && !payment.pays(one.clone(), sold.clone()));
    assert!(!payment.pays(one, None), "what is known stays known");
    assert!(payment.pays(two, None));
    assert_eq!(payment.invoices.values().flatten().count(), 1);
    let session = SessionId::parse("cs_1").unwrap();
    let grant = |credits| {
        Some(Grant {
            credits,
            plan_id: "credits-10".to_owned(),
            paid_at: at(0).at,
            tenant: None,
        })
    };
    assert!(payment.bought(session.clone(), grant(10)));
    assert!(!payment.bought(session.clone(), grant(10)));
    assert!(payment.bought(session.clone(), grant(20)));
    assert!(payment.bought(session.clone(), None) && !payment.bought(session, None));
}

#[test]
fn what_is_missing_is_asked_after_a_minute_once_and_never_more_than_sixteen() {
    let id = PaymentId::parse("pi_1").unwrap();
    let mut payment = Payment::default();
    for n in 0..20 {
        let fields = json!({ "id": format!("ch_{n:02}") });
        payment.join(Fact::Charge(charge(0, fields)));
    }
    let mut missing = Missing::default();
    missing.update(&payment, &id, at(0).at);
    assert_eq!(missing.due(), Some(at(60).at));
    missing.update(&payment, &id, at(30).at);
    assert_eq!(
        missing.due(),
        Some(at(60).at),
        "it waits since it was missed first"
    );
    missing.ask(at(59).at);
    assert_eq!(missing.questions(&payment, &id).len(), 0);
    missing.ask(at(60).at);
    assert_eq!(missing.due(), None);
    let asked = missing.questions(&payment, &id);
    assert_eq!(asked.len(), 16);
    missing.update(&payment, &id, at(90).at);
    assert_eq!(
        (missing.due(), missing.questions(&payment, &id)),
        (None, asked)
    );
    let told = json!({ "id": "ch_00", "balance_transaction": "txn_1" });
    payment.join(Fact::Charge(charge(70, told)));
    missing.update(&payment, &id, at(90).at);
    assert_eq!(
        missing.questions(&payment, &id).len(),
        15,
        "what came is not asked"
    );
    assert_eq!(
        missing.due(),
        Some(at(150).at),
        "and makes room for another"
    );
}

#[test]
fn a_payment_is_found_by_every_id_of_its_parts() {
    let mut state = PaymentState::default();
    let customer = json!({ "customer": "cus_1", "invoice": "in_1" });
    state.payment.join(Fact::Charge(charge(0, customer)));
    state.payment.join(Fact::Refund(refund(0, json!({}))));
    state.payment.join(Fact::Dispute(dispute(0, "", json!({}))));
    let ids = state.ids(&PaymentId::parse("pi_1").unwrap());
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(ids, ["ch_1", "cus_1", "du_1", "in_1", "pi_1", "re_1"]);
}

#[test]
fn an_answer_is_news_once_whatever_was_asked() {
    let pi = PaymentId::parse("pi_1").unwrap();
    let of = |target: RereadTarget, body: Value| answer(target, 9, body);
    let answers = [
        of(
            RereadTarget::Refund(RefundId::parse("re_1").unwrap()),
            json!({ "id": "re_1", "object": "refund", "status": "succeeded", "amount": 5,
                "currency": "usd", "charge": "ch_1" }),
        ),
        of(
            RereadTarget::Dispute(crate::ids::DisputeId::parse("du_1").unwrap()),
            json!({ "id": "du_1", "object": "dispute", "status": "lost", "amount": 5,
                "currency": "usd", "charge": "ch_1" }),
        ),
        of(
            RereadTarget::Charge(ChargeId::parse("ch_1").unwrap()),
            json!({ "id": "ch_1", "status": "succeeded", "amount": 5, "currency": "usd",
                "balance_transaction": { "id": "txn_1", "fee": 1, "currency": "usd" } }),
        ),
        of(
            RereadTarget::BalanceTransaction(txn(7)),
            json!({ "id": "txn_0007", "fee": 1, "currency": "usd" }),
        ),
        of(
            RereadTarget::PaymentIntent(crate::ids::PaymentIntentId::parse("pi_1").unwrap()),
            json!({ "id": "pi_1", "status": "processing", "amount": 5, "currency": "usd" }),
        ),
    ];
    let mut state = PaymentState::default();
    let mut said = |answer: &Answer| state.join_answer(answer, &pi).disposition.as_str();
    for answer in &answers {
        assert_eq!(said(answer), "applied", "{answer:?}");
        assert_eq!(said(answer), "duplicate", "{answer:?}");
    }
    let payment = &state.payment;
    assert_eq!(
        (
            payment.refunds.len(),
            payment.disputes.len(),
            payment.charges.len()
        ),
        (1, 1, 1)
    );
    assert_eq!(
        (payment.fees.iter().count(), payment.intent.status()),
        (2, Some("processing"))
    );
}
