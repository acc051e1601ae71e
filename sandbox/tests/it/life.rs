//! A subscription's life: checkout, renewals, failures, plan changes, trials, ends.

use crate::client::{T0, World, world, world_with};
use serde_json::Value;

const DAY: i64 = 86_400;

fn kinds_after(w: &World, seen: usize) -> Vec<String> {
    w.event_types().split_off(seen)
}

async fn checkout(w: &World, plan: &str, more: &str) -> Value {
    let mode = if plan == "credits-10" {
        "payment"
    } else {
        "subscription"
    };
    let form = format!(
        "mode={mode}&success_url=http://shop/&line_items[0][price]={}&line_items[0][quantity]=1{more}",
        w.price(plan)
    );
    w.post("/v1/checkout/sessions", &form).await
}

#[tokio::test]
async fn checkout_makes_the_subscription_only_after_payment_and_tells_it_in_stripes_order() {
    let w = world().await;
    let seeded = w.event_types().len();
    let session = checkout(
        &w,
        "pro",
        "&client_reference_id=t1&metadata[plan_id]=pro&subscription_data[metadata][tenant_id]=t1",
    )
    .await;
    assert_eq!(w.event_types().len(), seeded);
    assert!(
        w.get("/v1/subscriptions?status=all").await["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let id = session["id"].as_str().unwrap();
    w.control
        .pay_session(id, "0002", Some("ada@example.com"))
        .unwrap_err();
    assert!(
        w.get("/v1/subscriptions?status=all").await["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let seen = w.event_types().len();
    w.control
        .pay_session(id, "4242", Some("ada@example.com"))
        .unwrap();
    assert_eq!(
        kinds_after(&w, seen),
        [
            "customer.created",
            "payment_method.attached",
            "charge.succeeded",
            "payment_intent.succeeded",
            "customer.updated",
            "customer.subscription.created",
            "invoice.created",
            "invoice.finalized",
            "invoice.paid",
            "invoice.payment_succeeded",
            "checkout.session.completed"
        ]
    );
    let events = w.control.events();
    let of = |kind: &str| {
        events.iter().rev().find(|e| e["type"] == kind).unwrap()["data"]["object"].clone()
    };
    assert_eq!(of("customer.subscription.created")["status"], "active");
    assert_eq!(
        of("customer.subscription.created")["metadata"]["tenant_id"],
        "t1"
    );
    assert_eq!(of("invoice.created")["status"], "draft");
    assert_eq!(
        of("checkout.session.completed")["metadata"]["plan_id"],
        "pro"
    );
    assert_eq!(
        of("invoice.paid")["parent"]["subscription_details"]["metadata"]["tenant_id"],
        "t1"
    );
}

#[tokio::test]
async fn a_renewal_moves_the_period_drafts_for_an_hour_and_then_charges() {
    let w = world().await;
    let (_, sub) = w.subscriber("pro", "pm_card_visa").await;
    let end = sub["items"]["data"][0]["current_period_end"]
        .as_i64()
        .unwrap();
    assert_eq!(end, T0 + 31 * DAY);
    let seen = w.event_types().len();
    w.control.advance(31 * DAY).unwrap();
    assert_eq!(
        kinds_after(&w, seen),
        [
            "invoice.upcoming",
            "customer.subscription.updated",
            "invoice.created"
        ]
    );
    let seen = w.event_types().len();
    w.control.advance(3_600).unwrap();
    assert_eq!(
        kinds_after(&w, seen),
        [
            "invoice.finalized",
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded"
        ]
    );
    let events = w.control.events();
    let updated = events
        .iter()
        .find(|e| e["type"] == "customer.subscription.updated")
        .unwrap();
    assert_eq!(updated["created"], end);
    assert_eq!(
        updated["data"]["previous_attributes"]["items"]["data"][0]["current_period_end"],
        end
    );
    assert_eq!(
        updated["data"]["object"]["items"]["data"][0]["current_period_start"],
        end
    );
    assert!(updated["request"]["id"].is_null());
    let upcoming = events
        .iter()
        .find(|e| e["type"] == "invoice.upcoming")
        .unwrap();
    assert!(upcoming["data"]["object"].get("id").is_none());
    assert_eq!(upcoming["created"], end - 7 * DAY);
    let paid = events
        .iter()
        .rev()
        .find(|e| e["type"] == "invoice.paid")
        .unwrap();
    assert_eq!(
        paid["data"]["object"]["lines"]["data"][0]["period"]["start"],
        end
    );
    assert_eq!(paid["created"], end + 3_600);
}

#[tokio::test]
async fn a_failing_card_is_retried_three_times_and_then_ends_the_subscription() {
    let w = world().await;
    let (customer, sub) = w.subscriber("pro", "pm_card_visa").await;
    let id = sub["id"].as_str().unwrap();
    w.control.set_card(&customer, "0341").unwrap();
    w.control.advance(31 * DAY + 3_600).unwrap();
    let late = w
        .get(&format!("/v1/subscriptions/{id}?expand[]=latest_invoice"))
        .await;
    assert_eq!(late["status"], "past_due");
    assert_eq!(late["latest_invoice"]["status"], "open");
    assert_eq!(late["latest_invoice"]["attempt_count"], 1);
    assert_eq!(
        late["latest_invoice"]["next_payment_attempt"],
        T0 + 31 * DAY + 3_600 + 3 * DAY
    );
    w.control.advance(16 * DAY).unwrap();
    let over = w.get(&format!("/v1/subscriptions/{id}")).await;
    assert_eq!(over["status"], "canceled");
    assert_eq!(over["cancellation_details"]["reason"], "payment_failed");
    let failed = w
        .event_types()
        .iter()
        .filter(|t| *t == "invoice.payment_failed")
        .count();
    assert_eq!(failed, 4);
}

#[tokio::test]
async fn a_new_card_and_a_retry_bring_a_past_due_subscription_back() {
    let w = world().await;
    let (customer, sub) = w.subscriber("pro", "pm_card_visa").await;
    w.control.set_card(&customer, "0341").unwrap();
    w.control.advance(31 * DAY + 3_600).unwrap();
    w.control.set_card(&customer, "4242").unwrap();
    let seen = w.event_types().len();
    w.control.advance(3 * DAY).unwrap();
    let kinds = kinds_after(&w, seen);
    assert!(kinds.contains(&"invoice.paid".to_owned()), "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "customer.subscription.updated");
    let back = w
        .get(&format!(
            "/v1/subscriptions/{}",
            sub["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(back["status"], "active");
}

#[tokio::test]
async fn an_upgrade_in_mid_period_bills_exactly_half_the_difference() {
    let w = world().await;
    let (_, sub) = w.subscriber("hobby", "pm_card_visa").await;
    let item = sub["items"]["data"][0]["id"].as_str().unwrap();
    w.control.advance(31 * DAY / 2).unwrap();
    let form = format!(
        "items[0][id]={item}&items[0][price]={}&proration_behavior=always_invoice",
        w.price("pro")
    );
    let seen = w.event_types().len();
    let changed = w
        .post(
            &format!("/v1/subscriptions/{}", sub["id"].as_str().unwrap()),
            &form,
        )
        .await;
    let invoice = w
        .get(&format!(
            "/v1/invoices/{}",
            changed["latest_invoice"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (invoice["status"].as_str(), invoice["total"].as_i64()),
        (Some("paid"), Some((2900 - 900) / 2))
    );
    let amounts: Vec<i64> = invoice["lines"]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["amount"].as_i64().unwrap())
        .collect();
    assert_eq!(amounts, [-450, 1450]);
    assert_eq!(
        kinds_after(&w, seen),
        [
            "customer.subscription.updated",
            "invoiceitem.created",
            "invoiceitem.created",
            "invoice.created",
            "invoice.finalized",
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded"
        ]
    );
}

#[tokio::test]
async fn a_downgrade_is_credited_on_the_next_invoice() {
    let w = world().await;
    let (_, sub) = w.subscriber("pro", "pm_card_visa").await;
    let item = sub["items"]["data"][0]["id"].as_str().unwrap();
    w.control.advance(31 * DAY / 2).unwrap();
    let form = format!("items[0][id]={item}&items[0][price]={}", w.price("hobby"));
    w.post(
        &format!("/v1/subscriptions/{}", sub["id"].as_str().unwrap()),
        &form,
    )
    .await;
    w.control.advance(31 * DAY / 2 + 4_000).unwrap();
    let renewed = w
        .get(&format!(
            "/v1/invoices?subscription={}",
            sub["id"].as_str().unwrap()
        ))
        .await;
    let newest = &renewed["data"][0];
    assert_eq!(newest["billing_reason"], "subscription_cycle");
    assert_eq!(
        newest["total"], -100,
        "credit −1000 and the hobby month 900"
    );
    assert_eq!(
        (newest["status"].as_str(), newest["ending_balance"].as_i64()),
        (Some("paid"), Some(-100))
    );
    w.control.advance(31 * DAY).unwrap();
    let after = w
        .get(&format!(
            "/v1/invoices?subscription={}",
            sub["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        after["data"][0]["amount_paid"], 800,
        "the rest of the credit is used up"
    );
}

#[tokio::test]
async fn an_upgrade_whose_payment_fails_waits_as_a_pending_update_or_is_refused() {
    let w = world().await;
    let (customer, sub) = w.subscriber("hobby", "pm_card_visa").await;
    let path = format!("/v1/subscriptions/{}", sub["id"].as_str().unwrap());
    let item = sub["items"]["data"][0]["id"].as_str().unwrap();
    w.control.set_card(&customer, "0341").unwrap();
    let form = format!(
        "items[0][id]={item}&items[0][price]={}&proration_behavior=always_invoice",
        w.price("pro")
    );
    let (status, error) = w
        .refused(
            &path,
            &format!("{form}&payment_behavior=error_if_incomplete"),
        )
        .await;
    assert_eq!((status, error["type"].as_str()), (402, Some("card_error")));
    assert_eq!(
        w.get(&path).await["items"]["data"][0]["price"]["id"],
        w.price("hobby")
    );
    let pending = format!("{form}&payment_behavior=pending_if_incomplete");
    let (status, error) = w.refused(&path, &format!("{pending}&metadata[a]=1")).await;
    assert_eq!((status, error["param"].as_str()), (400, Some("metadata")));
    let waiting = w.post(&path, &pending).await;
    assert_eq!(waiting["items"]["data"][0]["price"]["id"], w.price("hobby"));
    assert_eq!(
        waiting["pending_update"]["subscription_items"][0]["price"]["id"],
        w.price("pro")
    );
    w.control.set_card(&customer, "4242").unwrap();
    w.post(
        &format!(
            "/v1/invoices/{}/pay",
            waiting["latest_invoice"].as_str().unwrap()
        ),
        "",
    )
    .await;
    let applied = w.get(&path).await;
    assert_eq!(applied["items"]["data"][0]["price"]["id"], w.price("pro"));
    assert!(applied["pending_update"].is_null());
    assert!(
        w.event_types()
            .contains(&"customer.subscription.pending_update_applied".to_owned())
    );
}

#[tokio::test]
async fn a_trial_begins_with_a_zero_invoice_and_ends_in_a_paid_period() {
    let w = world().await;
    let session = checkout(&w, "pro", "&subscription_data[trial_period_days]=14").await;
    w.control
        .pay_session(
            session["id"].as_str().unwrap(),
            "4242",
            Some("cyd@example.com"),
        )
        .unwrap();
    let done = w
        .get(&format!(
            "/v1/checkout/sessions/{}?expand[]=subscription.latest_invoice",
            session["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(done["payment_status"], "no_payment_required");
    assert_eq!(done["subscription"]["status"], "trialing");
    assert_eq!(done["subscription"]["latest_invoice"]["amount_paid"], 0);
    assert_eq!(done["subscription"]["latest_invoice"]["status"], "paid");
    w.control.advance(11 * DAY).unwrap();
    assert_eq!(
        w.event_types().last().unwrap(),
        "customer.subscription.trial_will_end"
    );
    w.control.advance(3 * DAY + 3_600).unwrap();
    let sub = w
        .get(&format!(
            "/v1/subscriptions/{}?expand[]=latest_invoice",
            done["subscription"]["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (
            sub["status"].as_str(),
            sub["latest_invoice"]["amount_paid"].as_i64()
        ),
        (Some("active"), Some(2900))
    );
    assert_eq!(
        sub["items"]["data"][0]["current_period_start"],
        T0 + 14 * DAY
    );
}

#[tokio::test]
async fn a_trial_without_a_card_can_pause_and_be_resumed() {
    let w = world().await;
    let customer = w.post("/v1/customers", "email=a@example.com").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let form = format!(
        "customer={customer}&items[0][price]={}&trial_period_days=7&trial_settings[end_behavior][missing_payment_method]=pause",
        w.price("pro")
    );
    let sub = w.post("/v1/subscriptions", &form).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    w.control.advance(7 * DAY).unwrap();
    assert_eq!(
        w.get(&format!("/v1/subscriptions/{sub}")).await["status"],
        "paused"
    );
    w.control.set_card(&customer, "4242").unwrap();
    let resumed = w
        .post(
            &format!("/v1/subscriptions/{sub}/resume"),
            "billing_cycle_anchor=now",
        )
        .await;
    assert_eq!(resumed["status"], "active");
    let kinds = w.event_types();
    assert!(
        kinds.contains(&"customer.subscription.paused".to_owned())
            && kinds.contains(&"customer.subscription.resumed".to_owned())
    );
}

#[tokio::test]
async fn cancellation_at_the_period_end_can_be_undone_and_otherwise_ends_without_an_invoice() {
    let w = world().await;
    let (_, sub) = w.subscriber("pro", "pm_card_visa").await;
    let path = format!("/v1/subscriptions/{}", sub["id"].as_str().unwrap());
    let marked = w.post(&path, "cancel_at_period_end=true").await;
    assert_eq!(marked["cancel_at"], T0 + 31 * DAY);
    assert!(w.post(&path, "cancel_at_period_end=false").await["canceled_at"].is_null());
    w.post(&path, "cancel_at_period_end=true").await;
    let seen = w.event_types().len();
    w.control.advance(32 * DAY).unwrap();
    assert_eq!(kinds_after(&w, seen), ["customer.subscription.deleted"]);
    assert_eq!(w.get(&path).await["ended_at"], T0 + 31 * DAY);
    assert_eq!(w.send("DELETE", &path, &[], "").await.unwrap().status, 404);
}

#[tokio::test]
async fn a_first_payment_that_fails_leaves_it_incomplete_until_23_hours_have_passed() {
    let w = world().await;
    let (_, sub) = w.subscriber("pro", "pm_card_chargeCustomerFail").await;
    assert_eq!(sub["status"], "incomplete");
    w.control.advance(23 * 3_600).unwrap();
    let over = w
        .get(&format!(
            "/v1/subscriptions/{}?expand[]=latest_invoice",
            sub["id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (
            over["status"].as_str(),
            over["latest_invoice"]["status"].as_str()
        ),
        (Some("incomplete_expired"), Some("void"))
    );
}

#[tokio::test]
async fn default_incomplete_becomes_active_when_its_intent_is_confirmed() {
    let w = world().await;
    let customer = w.post("/v1/customers", "email=a@example.com").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let form = format!(
        "customer={customer}&items[0][price]={}&payment_behavior=default_incomplete&expand[]=latest_invoice.confirmation_secret&expand[]=latest_invoice.payments",
        w.price("pro")
    );
    let sub = w.post("/v1/subscriptions", &form).await;
    assert_eq!(sub["status"], "incomplete");
    let secret = sub["latest_invoice"]["confirmation_secret"]["client_secret"]
        .as_str()
        .unwrap();
    let intent = sub["latest_invoice"]["payments"]["data"][0]["payment"]["payment_intent"]
        .as_str()
        .unwrap();
    assert!(secret.starts_with(intent));
    w.post(
        &format!("/v1/payment_intents/{intent}/confirm"),
        "payment_method=pm_card_visa",
    )
    .await;
    assert_eq!(
        w.get(&format!(
            "/v1/subscriptions/{}",
            sub["id"].as_str().unwrap()
        ))
        .await["status"],
        "active"
    );
}

#[tokio::test]
async fn the_same_seed_and_calls_give_the_same_events_byte_for_byte() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let w =
            world_with(|config| config.public_base_url = Some("http://sandbox".to_owned())).await;
        let (customer, _) = w.subscriber("pro", "pm_card_visa").await;
        w.control.advance(40 * DAY).unwrap();
        w.control.set_card(&customer, "0341").unwrap();
        w.control.advance(40 * DAY).unwrap();
        let mut events = w.control.events();
        for event in &mut events {
            // What was delivered where depends on the endpoints, not on the life.
            event["pending_webhooks"] = 0.into();
        }
        assert!(events.len() > 30);
        runs.push(serde_json::to_string(&events).unwrap());
    }
    assert!(runs[0] == runs[1]);
}

#[tokio::test]
async fn a_tax_id_is_collected_only_where_the_name_may_change() {
    let w = world().await;
    let customer = w.post("/v1/customers", "email=ada@example.com").await;
    let form = format!(
        "mode=subscription&success_url=https://app.example/&line_items[0][price]={}\
         &line_items[0][quantity]=1&tax_id_collection[enabled]=true",
        w.price("hobby")
    );
    w.post("/v1/checkout/sessions", &form).await;
    let known = format!("{form}&customer={}", customer["id"].as_str().unwrap());
    let (status, error) = w.refused("/v1/checkout/sessions", &known).await;
    assert_eq!(
        (status, error["param"].as_str()),
        (400, Some("tax_id_collection"))
    );
    let corrected = format!("{known}&customer_update[name]=auto");
    w.post("/v1/checkout/sessions", &corrected).await;
}

#[tokio::test]
async fn a_preview_of_prorations_says_as_of_when_and_the_change_then_costs_that() {
    let w = world().await;
    let (_, sub) = w.subscriber("hobby", "pm_card_visa").await;
    let (id, item) = (&sub["id"], &sub["items"]["data"][0]["id"]);
    let (id, item) = (id.as_str().unwrap(), item.as_str().unwrap());
    let preview = |date: &str| {
        format!(
            "subscription={id}&subscription_details[items][0][id]={item}&subscription_details[items][0][price]={}\
             &subscription_details[proration_behavior]=always_invoice{date}",
            w.price("pro")
        )
    };
    let path = "/v1/invoices/create_preview";
    let shown = w.post(path, &preview("")).await;
    let said = &shown["parent"]["subscription_details"]["subscription_proration_date"];
    let date = said.as_i64().unwrap();
    w.control.advance(31 * DAY / 2).unwrap();
    let later = w.post(path, &preview("")).await;
    assert!(later["amount_due"].as_i64() < shown["amount_due"].as_i64());
    let same = format!("&subscription_details[proration_date]={date}");
    let same = w.post(path, &preview(&same)).await;
    assert_eq!(same["amount_due"], shown["amount_due"]);
    let form = format!(
        "items[0][id]={item}&items[0][price]={}&proration_behavior=always_invoice&proration_date={date}\
         &expand[0]=latest_invoice",
        w.price("pro")
    );
    let changed = w.post(&format!("/v1/subscriptions/{id}"), &form).await;
    assert_eq!(
        changed["latest_invoice"]["amount_paid"],
        shown["amount_due"]
    );
}
