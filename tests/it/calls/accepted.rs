//! Every kind of order, sent to the sandbox: it takes them, does them once, and its faults end as they should.

use super::command;
use super::world::{World, checkout, text};
use bursar::stripe::requests::ProrationBehavior;
use bursar::stripe::requests::checkout::{CaptureMethod, PlanCheckout, plan};
use bursar::stripe::requests::customers::{CustomerChange, PortalVisit, portal, update};
use bursar::stripe::requests::disputes::{Evidence, EvidenceField, evidence};
use bursar::stripe::requests::invoices::{ChangePreview, finalize, preview};
use bursar::stripe::requests::payments::{
    CancelReason, Cancellation, Capture, Paid, Refund, RefundReason, cancel, capture, refund,
};
use bursar::stripe::requests::subscriptions::{
    CancelNow, ItemChange, PeriodEnd, UnpaidChange, at_period_end, cancel_now, change, resume,
};
use bursar_actors::ports::CallEnd;
use bursar_domain::ids::{ChargeId, DisputeId, InvoiceId, ObjectId, Scope, SubscriptionId};
use bursar_domain::plans::CheckoutMode;
use bursar_domain::stripe_call::{Method, Operation, StripeCall};
use proptest::collection::btree_map;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;

#[tokio::test]
async fn the_sandbox_takes_checkouts_of_every_switch() {
    let mut world = World::start().await;
    let known = world.customer().await;
    let prices = [
        (world.price("hobby"), CheckoutMode::Subscription),
        (world.price("credits-10"), CheckoutMode::Payment),
    ];
    let mut taken = 0;
    for bits in 0..64_u32 {
        let is_on = |bit: u32| bits >> bit & 1 == 1;
        for (price, mode) in prices.clone() {
            let order = PlanCheckout {
                customer: is_on(0).then(|| known.clone()),
                // A customer without an address cannot be taxed unless the address may be saved.
                automatic_tax: is_on(1) && (is_on(3) || !is_on(0)),
                allow_promotion_codes: is_on(2),
                address_update: is_on(3),
                tax_id_collection: is_on(4),
                trial_days: if is_on(5) { 14 } else { 0 },
                ..checkout(price, mode)
            };
            let session = world.took(plan(&order, &command("cmd_buy"))).await;
            assert_eq!(text(&session, "client_reference_id"), "t-1");
            assert_eq!(text(&session["metadata"], "order_id"), "o & o");
            assert!(text(&session, "success_url").ends_with("session_id={CHECKOUT_SESSION_ID}"));
            taken += 1;
        }
    }
    assert_eq!(taken, 128);
    let coupon = made_by_hand(
        "/v1/coupons",
        &[("percent_off", "25"), ("duration", "once")],
    );
    let coupon = world.took(coupon).await;
    let code = [("coupon", text(&coupon, "id")), ("code", "SPRING")];
    let code = world.took(made_by_hand("/v1/promotion_codes", &code)).await;
    let order = PlanCheckout {
        promotion_code: Some(text(&code, "id").to_owned()),
        ..checkout(world.price("hobby"), CheckoutMode::Subscription)
    };
    let session = world.took(plan(&order, &command("cmd_buy"))).await;
    assert_eq!(session["amount_total"], 2_025);
}

#[tokio::test]
async fn the_sandbox_takes_every_change_of_a_subscription() {
    let mut world = World::start().await;
    let (customer, sub) = world.subscriber().await;
    assert_eq!(sub["metadata"]["command_id"], "cmd_buy");
    let id = SubscriptionId::parse(text(&sub, "id")).unwrap();
    let item = ObjectId::parse(text(&sub["items"]["data"][0], "id")).unwrap();
    let wished = ChangePreview {
        subscription: id.clone(),
        item: item.clone(),
        price: Some(world.price("pro")),
        quantity: None,
        proration: Some(ProrationBehavior::AlwaysInvoice),
        proration_date_seconds: Some(world.now()),
    };
    let shown = world.took(preview(&wished)).await;
    let order = ItemChange {
        subscription: id.clone(),
        item,
        price: wished.price,
        quantity: None,
        proration: wished.proration,
        proration_date_seconds: wished.proration_date_seconds,
        unpaid: UnpaidChange::Waits,
    };
    let command = command("cmd_change");
    let changed = world.took(change(&order, &command)).await;
    assert_eq!(
        changed["items"]["data"][0]["price"]["id"],
        order.price.as_ref().unwrap().as_str()
    );
    assert_eq!(changed["items"]["data"].as_array().unwrap().len(), 1);
    assert_eq!(changed["latest_invoice"]["amount_due"], shown["amount_due"]);
    let fewer = ItemChange {
        price: None,
        quantity: Some(1),
        proration: Some(ProrationBehavior::None),
        unpaid: UnpaidChange::Holds,
        ..order
    };
    let changed = world.took(change(&fewer, &command)).await;
    assert_eq!(changed["items"]["data"][0]["quantity"], 1);
    assert_eq!(changed["metadata"]["command_id"], "cmd_change");
    for ends in [true, false] {
        let order = PeriodEnd {
            subscription: id.clone(),
            ends,
            comment: Some("too dear".to_owned()),
        };
        let seen = world.took(at_period_end(&order, &command)).await;
        assert_eq!(seen["cancel_at_period_end"], ends);
    }
    let visit = PortalVisit {
        customer,
        return_url: Some("https://app.example/".to_owned()),
    };
    let visit = world.took(portal(&visit)).await;
    assert!(text(&visit, "url").starts_with("http"));
    let now = CancelNow {
        subscription: id.clone(),
        invoice_now: false,
        prorate: true,
        comment: Some("a=b & c".to_owned()),
    };
    let seen = world.took(cancel_now(&now)).await;
    assert_eq!(seen["status"], "canceled");
    assert_eq!(seen["cancellation_details"]["comment"], "a=b & c");
    let CallEnd::Answer(refused) = world.end(resume(&id), "k").await else {
        panic!("no answer");
    };
    assert_eq!(refused.status, 400);
}

#[tokio::test]
async fn the_sandbox_takes_every_order_about_money_and_merchants() {
    let mut world = World::start().await;
    let merchant = world.merchant().await;
    let scope = Scope(Some(merchant.clone()));
    let sold = world
        .sold(&merchant, CaptureMethod::Manual, Some(100))
        .await;
    let order = Capture {
        scope: scope.clone(),
        intent: sold.clone(),
        amount_minor: Some(1_500),
        application_fee_minor: Some(50),
    };
    let taken = world.took(capture(&order, &command("cmd_capture"))).await;
    assert_eq!(
        (&taken["status"], &taken["amount_received"]),
        (&"succeeded".into(), &1_500.into())
    );
    let by = |payment, amount_minor| Refund {
        scope: scope.clone(),
        payment,
        amount_minor,
        reason: Some(RefundReason::RequestedByCustomer),
    };
    let back = world
        .took(refund(
            &by(Paid::Intent(sold), Some(200)),
            &command("cmd_refund"),
        ))
        .await;
    assert_eq!(back["amount"], 200);
    assert_eq!(back["metadata"]["command_id"], "cmd_refund");
    let charge = ChargeId::parse(text(&taken, "latest_charge")).unwrap();
    let back = world
        .took(refund(
            &by(Paid::Charge(charge), None),
            &command("cmd_rest"),
        ))
        .await;
    assert_eq!(back["amount"], 1_300);
    let held = world.sold(&merchant, CaptureMethod::Manual, None).await;
    let order = Cancellation {
        scope: scope.clone(),
        intent: held,
        reason: Some(CancelReason::Abandoned),
    };
    let off = world.took(cancel(&order)).await;
    assert_eq!(off["status"], "canceled");

    let sold = world.sold(&merchant, CaptureMethod::Automatic, None).await;
    let dispute = world
        .control
        .open_dispute(sold.as_str(), "product_not_received", false)
        .unwrap();
    let dispute = DisputeId::parse(text(&dispute, "id")).unwrap();
    let said = |submit, text: &str| Evidence {
        scope: scope.clone(),
        dispute: dispute.clone(),
        fields: BTreeMap::from([(
            EvidenceField::parse("uncategorized_text").unwrap(),
            text.to_owned(),
        )]),
        submit,
    };
    let draft = world
        .took(evidence(
            &said(false, "sent on 1 May"),
            &command("cmd_draft"),
        ))
        .await;
    assert_eq!(draft["evidence_details"]["submission_count"], 0);
    let done = world
        .took(evidence(
            &said(true, "winning_evidence"),
            &command("cmd_say"),
        ))
        .await;
    assert_eq!(done["evidence_details"]["submission_count"], 1);
    assert_eq!(done["metadata"]["command_id"], "cmd_say");
}

#[tokio::test]
async fn a_customer_changes_key_by_key() {
    let mut world = World::start().await;
    let customer = world.customer().await;
    let change = |pairs: &[(&str, Option<&str>)]| CustomerChange {
        customer: customer.clone(),
        name: None,
        email: Some("new@example.com".to_owned()),
        metadata: pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned)))
            .collect(),
    };
    let odd = "1 + 1 = 2 & ;%5B é 😀";
    let first = change(&[
        ("a", Some(odd)),
        ("b", Some("2")),
        ("tenant_id", Some("t-2")),
        ("c[d]", Some("3")),
    ]);
    let seen = world.took(update(&first, &command("cmd_1"))).await;
    assert_eq!(
        seen["metadata"],
        serde_json::json!({"a": odd, "b": "2", "tenant_id": "t-1", "command_id": "cmd_1"})
    );
    let seen = world
        .took(update(&change(&[("b", None)]), &command("cmd_2")))
        .await;
    assert_eq!(
        seen["metadata"],
        serde_json::json!({"a": odd, "tenant_id": "t-1", "command_id": "cmd_2"})
    );
    assert_eq!(seen["name"], "Ada & Söhne = 100 %");
    assert_eq!(seen["email"], "new@example.com");
}

#[tokio::test]
async fn a_draft_is_closed_and_a_paused_subscription_goes_on() {
    let mut world = World::start().await;
    let (_, sub) = world.subscriber().await;
    let id = text(&sub, "id").to_owned();
    // To just after the next period began: its invoice is a draft for an hour.
    let end = sub["items"]["data"][0]["current_period_end"]
        .as_i64()
        .unwrap();
    world.control.advance(end - world.now() + 60).unwrap();
    let renewed = world.control.object(&id).unwrap();
    let invoice = InvoiceId::parse(text(&renewed, "latest_invoice")).unwrap();
    assert_eq!(
        world.control.object(invoice.as_str()).unwrap()["status"],
        "draft"
    );
    let open = world.took(finalize(&invoice)).await;
    assert_eq!(open["status"], "open");

    let paused = paused(&mut world).await;
    let on = world.took(resume(&paused)).await;
    assert_ne!(on["status"], "paused");
}

/// A call no order of ours becomes.
fn made_by_hand(path: &str, params: &[(&str, &str)]) -> StripeCall {
    let owned = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    StripeCall {
        operation: Operation::CheckoutCreate,
        scope: Scope::PLATFORM,
        method: Method::Post,
        path: path.to_owned(),
        params: owned.collect(),
    }
}

/// A subscription whose trial ended without a card.
async fn paused(world: &mut World) -> SubscriptionId {
    let customer = world.customer().await;
    let made = made_by_hand(
        "/v1/subscriptions",
        &[
            ("customer", customer.as_str()),
            ("items[0][price]", world.price("hobby").as_str()),
            ("trial_period_days", "7"),
            (
                "trial_settings[end_behavior][missing_payment_method]",
                "pause",
            ),
        ],
    );
    let made = world.took(made).await;
    world.control.advance(8 * 86_400).unwrap();
    world.control.set_card(customer.as_str(), "4242").unwrap();
    let id = text(&made, "id");
    assert_eq!(world.control.object(id).unwrap()["status"], "paused");
    SubscriptionId::parse(id).unwrap()
}

#[tokio::test]
async fn any_text_arrives_as_it_was_ordered() {
    let mut world = World::start().await;
    let customer = world.customer().await;
    let texts = btree_map("[a-z]{1,40}", "(?s).{1,120}", 1..40);
    let mut runner = TestRunner::deterministic();
    for _ in 0..40 {
        let sent: BTreeMap<String, String> = texts.new_tree(&mut runner).unwrap().current();
        let order = CustomerChange {
            customer: customer.clone(),
            name: None,
            email: None,
            metadata: sent
                .clone()
                .into_iter()
                .map(|(k, v)| (k, Some(v)))
                .collect(),
        };
        let seen = world.took(update(&order, &command("cmd_text"))).await;
        for (key, value) in &sent {
            assert_eq!(seen["metadata"][key], value.as_str(), "{key}");
        }
        // An object holds 50 keys.
        let forget = CustomerChange {
            metadata: sent.into_keys().map(|key| (key, None)).collect(),
            ..order
        };
        world.took(update(&forget, &command("cmd_text"))).await;
    }
}
