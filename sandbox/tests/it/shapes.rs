//! Every object told and answered validates against Stripe's schemas, of basil and of the older version.

use crate::client::{Receiver, World, world, world_with};
use crate::schema::{Schemas, tally};
use serde_json::Value;

const DAY: i64 = 86_400;

/// A life with a bit of everything.
async fn live(w: &World) {
    let (customer, sub) = w.subscriber("pro", "pm_card_visa").await;
    let sub_path = format!("/v1/subscriptions/{}", sub["id"].as_str().unwrap());
    let item = sub["items"]["data"][0]["id"].as_str().unwrap();
    w.control.advance(10 * DAY).unwrap();
    let hobby = w.price("hobby");
    w.post(
        &sub_path,
        &format!("items[0][id]={item}&items[0][price]={hobby}"),
    )
    .await;
    w.control.set_card(&customer, "0341").unwrap();
    let pro = w.price("pro");
    w.post(&sub_path, &format!("items[0][id]={item}&items[0][price]={pro}&proration_behavior=always_invoice&payment_behavior=pending_if_incomplete")).await;
    w.control.advance(40 * DAY).unwrap();
    w.control.set_card(&customer, "4242").unwrap();
    w.control.advance(10 * DAY).unwrap();
    w.send("DELETE", &sub_path, &[], "").await.unwrap();
    for card in ["4242", "3201", "3202", "0259", "1976", "5423", "3184"] {
        for (mode, plan, more) in [
            ("payment", "credits-10", ""),
            (
                "subscription",
                "pro",
                "&subscription_data[trial_period_days]=5&automatic_tax[enabled]=true",
            ),
        ] {
            let form = format!(
                "mode={mode}&success_url=http://s/&cancel_url=http://c/&line_items[0][price]={}&line_items[0][quantity]=2&metadata[a]=b{more}",
                w.price(plan)
            );
            let session = w.post("/v1/checkout/sessions", &form).await;
            w.control
                .pay_session(session["id"].as_str().unwrap(), card, Some("b@example.com"))
                .unwrap();
        }
    }
    w.post(
        "/v1/checkout/sessions",
        &format!(
            "mode=payment&success_url=http://s/&line_items[0][price]={}&line_items[0][quantity]=1",
            w.price("credits-10")
        ),
    )
    .await;
    let account = w
        .post(
            "/v1/accounts",
            "type=express&capabilities[transfers][requested]=true&email=m@example.com",
        )
        .await;
    w.control.onboard(account["id"].as_str().unwrap()).unwrap();
    for card in [
        "pm_card_pendingRefund",
        "pm_card_refundFail",
        "pm_card_visa",
    ] {
        let pi = w
            .post(
                "/v1/payment_intents",
                &format!(
                    "amount=5000&currency=usd&confirm=true&payment_method={card}&metadata[x]=y"
                ),
            )
            .await;
        w.post(
            "/v1/refunds",
            &format!(
                "payment_intent={}&amount=1000&reason=duplicate",
                pi["id"].as_str().unwrap()
            ),
        )
        .await;
    }
    let held = w.post("/v1/payment_intents", "amount=5000&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method=manual").await;
    w.post(
        &format!(
            "/v1/payment_intents/{}/capture",
            held["id"].as_str().unwrap()
        ),
        "amount_to_capture=700",
    )
    .await;
    w.post(
        "/v1/payment_intents",
        "amount=5000&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method=manual",
    )
    .await;
    w.refused(
        "/v1/payment_intents",
        "amount=5000&currency=usd&confirm=true&payment_method=pm_card_chargeDeclined",
    )
    .await;
    w.post(
        "/v1/coupons",
        "amount_off=500&currency=usd&duration=repeating&duration_in_months=2&id=FIVE",
    )
    .await;
    let (_, discounted) = w.subscriber("hobby", "pm_card_visa").await;
    let path = format!("/v1/subscriptions/{}", discounted["id"].as_str().unwrap());
    w.post(&path, "discounts[0][coupon]=FIVE").await;
    w.post("/v1/payouts", "amount=100&currency=usd").await;
    let dispute = w.get("/v1/disputes").await["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    w.post(
        &format!("/v1/disputes/{dispute}"),
        "evidence[uncategorized_text]=winning_evidence&submit=true",
    )
    .await;
    w.control.advance(40 * DAY).unwrap();
    w.send("DELETE", &format!("/v1/customers/{customer}"), &[], "")
        .await
        .unwrap();
    w.control
        .deauthorize(account["id"].as_str().unwrap())
        .unwrap();
}

#[tokio::test]
async fn every_event_of_a_long_life_validates_against_the_basil_schemas_without_unknown_keys() {
    let w = world().await;
    live(&w).await;
    let schemas = Schemas::basil();
    let events = w.control.events();
    let mut faults = Vec::new();
    let mut kinds = std::collections::BTreeSet::new();
    let known: Value = serde_json::from_str(include_str!(
        "../../../tests/corpus/stripe/event-types-2025-04-30.basil.json"
    ))
    .unwrap();
    let listing = known.to_string();
    for event in &events {
        let kind = event["type"].as_str().unwrap();
        kinds.insert(kind.to_owned());
        if !listing.contains(&format!("\"{kind}\"")) {
            faults.push(format!("no such event type: {kind}"));
        }
        let mut object = event["data"]["object"].clone();
        if kind == "invoice.upcoming" {
            object["id"] = "upcoming_in_x".into();
        }
        let resource = object["object"].as_str().unwrap().to_owned();
        assert!(schemas.knows(&resource), "{resource}");
        faults.extend(
            schemas
                .faults(&resource, &object)
                .into_iter()
                .map(|f| format!("{kind}: {f}")),
        );
        faults.extend(
            schemas
                .faults("event", event)
                .into_iter()
                .filter(|f| !f.starts_with("event.data")),
        );
    }
    println!(
        "schemas: events={} types={} faults={}",
        events.len(),
        kinds.len(),
        faults.len()
    );
    assert!(kinds.len() >= 45, "{}: {kinds:?}", kinds.len());
    assert!(faults.is_empty(), "{:#?}", tally(faults));
}

#[tokio::test]
async fn every_list_answers_objects_that_validate() {
    let w = world().await;
    live(&w).await;
    let customer = w.post("/v1/customers", "email=p@example.com&address[country]=DE&shipping[name]=P&shipping[address][line1]=1+Way").await;
    w.post(
        "/v1/billing_portal/sessions",
        &format!(
            "customer={}&return_url=http://x/",
            customer["id"].as_str().unwrap()
        ),
    )
    .await;
    w.post(
        "/v1/payment_links",
        &format!(
            "line_items[0][price]={}&line_items[0][quantity]=1&metadata[k]=v",
            w.price("pro")
        ),
    )
    .await;
    w.post(
        "/v1/webhook_endpoints",
        "url=http://127.0.0.1:1/&enabled_events[]=*",
    )
    .await;
    w.post("/v1/coupons", "percent_off=20&duration=once&id=TWENTY")
        .await;
    w.post("/v1/promotion_codes", "coupon=TWENTY&code=NOW")
        .await;
    w.post("/v1/test_helpers/test_clocks", "frozen_time=1747044000")
        .await;
    let schemas = Schemas::basil();
    let mut faults = Vec::new();
    let mut count = 0;
    for path in [
        "products",
        "prices",
        "coupons",
        "promotion_codes",
        "customers",
        "payment_intents",
        "charges",
        "refunds",
        "disputes",
        "invoices",
        "invoice_payments",
        "subscriptions?status=all&limit=50",
        "checkout/sessions",
        "payment_links",
        "balance_transactions",
        "payouts",
        "webhook_endpoints",
        "billing_portal/configurations",
        "radar/early_fraud_warnings",
        "test_helpers/test_clocks",
        "invoiceitems",
    ] {
        let list = w.get(&format!("/v1/{path}")).await;
        let rows = list["data"].as_array().unwrap();
        assert!(!rows.is_empty(), "{path} lists nothing");
        for object in rows {
            count += 1;
            let kind = object["object"].as_str().unwrap();
            faults.extend(
                schemas
                    .faults(kind, object)
                    .into_iter()
                    .map(|f| format!("{path}: {f}")),
            );
        }
    }
    println!("schemas: listed={count} faults={}", faults.len());
    assert!(faults.is_empty(), "{:#?}", tally(faults));
}

#[tokio::test]
async fn webhooks_can_be_rendered_in_the_shape_of_2024_06_20() {
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let w = world_with(|config| {
        config.webhook_url = Some(url);
        config.older_event_shapes = true;
        config.delivery_concurrency = 4;
    })
    .await;
    let (_, sub) = w.subscriber("pro", "pm_card_visa").await;
    w.control.advance(31 * DAY + 3_600).unwrap();
    w.post(
        "/v1/checkout/sessions",
        &format!(
            "mode=payment&success_url=http://s/&line_items[0][price]={}&line_items[0][quantity]=1",
            w.price("credits-10")
        ),
    )
    .await;
    let expected = w
        .control
        .events()
        .iter()
        .filter(|e| !e["type"].as_str().unwrap().starts_with("pr"))
        .count();
    receiver.wait_for(expected).await;
    let schemas = Schemas::older();
    let mut faults = Vec::new();
    let mut seen_invoice = false;
    for event in receiver.events() {
        assert_eq!(event["api_version"], "2024-06-20");
        let mut object = event["data"]["object"].clone();
        if event["type"] == "invoice.upcoming" {
            object["id"] = "upcoming_in_x".into();
        }
        let kind = object["object"].as_str().unwrap().to_owned();
        if kind == "invoice" {
            seen_invoice = true;
            assert_eq!(object["subscription"], sub["id"]);
        }
        if schemas.knows(&kind) {
            faults.extend(
                schemas
                    .faults(&kind, &object)
                    .into_iter()
                    .map(|f| format!("{}: {f}", event["type"])),
            );
        }
    }
    assert!(seen_invoice);
    assert!(faults.is_empty(), "{:#?}", tally(faults));
}
