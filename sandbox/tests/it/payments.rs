//! One-time payments, holds, delayed methods, refunds, disputes, links and pages.

use crate::client::{World, world};
use serde_json::Value;

const DAY: i64 = 86_400;

async fn session(w: &World, more: &str) -> String {
    let form = format!(
        "mode=payment&success_url=http://shop/%3Fs=%7BCHECKOUT_SESSION_ID%7D&cancel_url=http://shop/no&line_items[0][price]={}&line_items[0][quantity]=1{more}",
        w.price("credits-10")
    );
    w.post("/v1/checkout/sessions", &form).await["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn state(w: &World, id: &str) -> (String, String) {
    let s = w.get(&format!("/v1/checkout/sessions/{id}")).await;
    (
        s["status"].as_str().unwrap().to_owned(),
        s["payment_status"].as_str().unwrap().to_owned(),
    )
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[tokio::test]
async fn the_hosted_page_pays_by_form_and_returns_by_303() {
    let w = world().await;
    let id = session(
        &w,
        "&metadata[n]=%3Cscript%3E&payment_intent_data[metadata][tenant_id]=t1",
    )
    .await;
    let page = w.send("GET", &format!("/pay/{id}"), &[], "").await.unwrap();
    let html = String::from_utf8_lossy(&page.bytes).into_owned();
    assert!(
        html.contains("SANDBOX")
            && html.contains("10.00 USD")
            && !html.contains("<script")
            && !html.contains("//cdn")
    );
    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    let declined = w
        .send(
            "POST",
            &format!("/pay/{id}"),
            &[],
            "email=a@example.com&card=0002",
        )
        .await
        .unwrap();
    assert_eq!(declined.status, 402);
    let paid = w
        .send(
            "POST",
            &format!("/pay/{id}"),
            &[],
            "email=a@example.com&card=4242",
        )
        .await
        .unwrap();
    assert_eq!(
        (paid.status, paid.header("location")),
        (303, format!("http://shop/?s={id}").as_str())
    );
    assert_eq!(state(&w, &id).await, pair("complete", "paid"));
    let done = w
        .get(&format!(
            "/v1/checkout/sessions/{id}?expand[]=payment_intent.latest_charge"
        ))
        .await;
    assert_eq!(done["payment_intent"]["metadata"]["tenant_id"], "t1");
    assert_eq!(done["payment_intent"]["latest_charge"]["paid"], true);
    assert_eq!(done["customer_details"]["email"], "a@example.com");
    assert!(done["customer"].is_null() && done["url"].is_null());
    assert_eq!(
        w.send("POST", &format!("/pay/{id}"), &[], "card=4242")
            .await
            .unwrap()
            .status,
        200,
        "a second click pays nothing"
    );
    assert_eq!(
        w.get("/v1/charges").await["data"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["paid"] == true)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_card_that_needs_authentication_goes_by_the_bank() {
    let w = world().await;
    let id = session(&w, "").await;
    let sent = w
        .send(
            "POST",
            &format!("/pay/{id}"),
            &[],
            "email=a@example.com&card=3184",
        )
        .await
        .unwrap();
    let bank = sent.header("location").to_owned();
    assert!(bank.starts_with("/authenticate/pi_"), "{bank}");
    assert_eq!(state(&w, &id).await, pair("open", "unpaid"));
    let refused = w.send("POST", &bank, &[], "answer=refuse").await.unwrap();
    assert_eq!(refused.header("location"), format!("/pay/{id}"));
    w.send(
        "POST",
        &format!("/pay/{id}"),
        &[],
        "email=a@example.com&card=3184",
    )
    .await
    .unwrap();
    let agreed = w.send("POST", &bank, &[], "answer=agree").await.unwrap();
    assert_eq!(
        (agreed.status, agreed.header("location")),
        (303, format!("http://shop/?s={id}").as_str())
    );
    assert_eq!(state(&w, &id).await, pair("complete", "paid"));
}

#[tokio::test]
async fn delayed_methods_complete_unpaid_and_settle_later() {
    let w = world().await;
    let (good, bad) = (session(&w, "").await, session(&w, "").await);
    w.control
        .pay_session(&good, "3201", Some("a@example.com"))
        .unwrap();
    w.control
        .pay_session(&bad, "3202", Some("a@example.com"))
        .unwrap();
    assert_eq!(state(&w, &good).await, pair("complete", "unpaid"));
    w.control.advance(DAY).unwrap();
    assert_eq!(state(&w, &good).await, pair("complete", "paid"));
    assert_eq!(state(&w, &bad).await, pair("complete", "unpaid"));
    let kinds = w.event_types();
    for kind in [
        "payment_intent.processing",
        "checkout.session.async_payment_succeeded",
        "checkout.session.async_payment_failed",
    ] {
        assert!(kinds.iter().any(|k| k == kind), "{kind}");
    }
}

#[tokio::test]
async fn sessions_expire_by_request_and_by_time() {
    let w = world().await;
    let (one, two) = (session(&w, "").await, session(&w, "").await);
    w.post(&format!("/v1/checkout/sessions/{one}/expire"), "")
        .await;
    assert_eq!(
        w.refused(&format!("/v1/checkout/sessions/{one}/expire"), "")
            .await
            .0,
        400
    );
    w.control.advance(DAY).unwrap();
    assert_eq!(state(&w, &two).await, pair("expired", "unpaid"));
    assert_eq!(
        w.event_types()
            .iter()
            .filter(|k| *k == "checkout.session.expired")
            .count(),
        2
    );
    w.control.pay_session(&two, "4242", None).unwrap_err();
}

#[tokio::test]
async fn a_hold_is_captured_in_part_released_or_lapses_after_a_week() {
    let w = world().await;
    let hold =
        "amount=10000&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method=manual";
    let part = w.post("/v1/payment_intents", hold).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let captured = w
        .post(
            &format!("/v1/payment_intents/{part}/capture"),
            "amount_to_capture=8000",
        )
        .await;
    assert_eq!(
        (
            captured["status"].as_str(),
            captured["amount_received"].as_i64()
        ),
        (Some("succeeded"), Some(8000))
    );
    let (_, error) = w
        .refused("/v1/refunds", &format!("payment_intent={part}&amount=8001"))
        .await;
    assert_eq!(error["param"], "amount");
    w.post("/v1/refunds", &format!("payment_intent={part}"))
        .await;
    let released = w.post("/v1/payment_intents", hold).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    w.post(
        &format!("/v1/payment_intents/{released}/cancel"),
        "cancellation_reason=abandoned",
    )
    .await;
    let lapsing = w.post("/v1/payment_intents", hold).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    w.control.advance(7 * DAY).unwrap();
    let lapsed = w
        .get(&format!(
            "/v1/payment_intents/{lapsing}?expand[]=latest_charge"
        ))
        .await;
    assert_eq!(
        (
            lapsed["status"].as_str(),
            lapsed["cancellation_reason"].as_str()
        ),
        (Some("canceled"), Some("automatic"))
    );
    assert_eq!(
        (
            lapsed["latest_charge"]["refunded"].as_bool(),
            lapsed["latest_charge"]["captured"].as_bool()
        ),
        (Some(true), Some(false))
    );
    let (_, error) = w
        .refused(&format!("/v1/payment_intents/{lapsing}/capture"), "")
        .await;
    assert_eq!(error["code"], "payment_intent_unexpected_state");
}

#[tokio::test]
async fn refunds_can_stay_pending_and_can_fail_afterwards() {
    let w = world().await;
    let mut ids = Vec::new();
    for card in ["pm_card_pendingRefund", "pm_card_refundFail"] {
        let pi = w
            .post(
                "/v1/payment_intents",
                &format!("amount=5000&currency=usd&confirm=true&payment_method={card}"),
            )
            .await;
        let refund = w
            .post(
                "/v1/refunds",
                &format!("payment_intent={}", pi["id"].as_str().unwrap()),
            )
            .await;
        ids.push((
            refund["id"].as_str().unwrap().to_owned(),
            refund["status"].clone(),
        ));
    }
    assert_eq!(
        (&ids[0].1, &ids[1].1),
        (&Value::from("pending"), &Value::from("succeeded"))
    );
    w.control.advance(60).unwrap();
    assert_eq!(
        w.get(&format!("/v1/refunds/{}", ids[0].0)).await["status"],
        "succeeded"
    );
    let failed = w
        .get(&format!("/v1/refunds/{}?expand[]=charge", ids[1].0))
        .await;
    assert_eq!(
        (
            failed["status"].as_str(),
            failed["charge"]["amount_refunded"].as_i64()
        ),
        (Some("failed"), Some(0))
    );
    assert!(w.event_types().contains(&"refund.failed".to_owned()));
}

#[tokio::test]
async fn staged_evidence_is_submitted_by_a_request_that_says_only_so() {
    let w = world().await;
    let form = "amount=5000&currency=usd&confirm=true&payment_method=pm_card_visa";
    let pi = w.post("/v1/payment_intents", form).await;
    let dispute = w
        .control
        .open_dispute(pi["id"].as_str().unwrap(), "fraudulent", false)
        .unwrap();
    let path = format!("/v1/disputes/{}", dispute["id"].as_str().unwrap());
    let staged = "evidence[customer_name]=Ada&submit=false";
    let staged = w.post(&path, staged).await;
    assert_eq!(staged["status"], "needs_response");
    let told = w.post(&path, "metadata[a]=b").await;
    assert_eq!(told["evidence_details"]["submission_count"], 0);
    let submitted = w.post(&path, "submit=true").await;
    assert_eq!(submitted["status"], "under_review");
    assert_eq!(submitted["evidence"]["customer_name"], "Ada");
    assert_eq!(submitted["evidence_details"]["submission_count"], 1);
    assert_eq!(w.refused(&path, "submit=true").await.0, 400);
}

#[tokio::test]
async fn a_dispute_takes_the_money_and_gives_it_back_when_won() {
    let w = world().await;
    let pi = w
        .post(
            "/v1/payment_intents",
            "amount=5000&currency=usd&confirm=true&payment_method=pm_card_visa",
        )
        .await;
    let seen = w.event_types().len();
    let dispute = w
        .control
        .open_dispute(pi["id"].as_str().unwrap(), "fraudulent", false)
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (_, error) = w
        .refused(
            "/v1/refunds",
            &format!("payment_intent={}", pi["id"].as_str().unwrap()),
        )
        .await;
    assert_eq!(error["code"], "charge_disputed");
    w.post(
        &format!("/v1/disputes/{dispute}"),
        "evidence[product_description]=A+thing&submit=false",
    )
    .await;
    w.post(
        &format!("/v1/disputes/{dispute}"),
        "evidence[uncategorized_text]=winning_evidence",
    )
    .await;
    assert_eq!(
        w.event_types().split_off(seen),
        [
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.updated",
            "charge.dispute.updated",
            "charge.dispute.funds_reinstated",
            "charge.dispute.closed"
        ]
    );
    let won = w.get(&format!("/v1/disputes/{dispute}")).await;
    let moved: i64 = won["balance_transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["amount"].as_i64().unwrap())
        .sum();
    assert_eq!((won["status"].as_str(), moved), (Some("won"), 0));
    assert_eq!(
        w.refused(&format!("/v1/disputes/{dispute}/close"), "")
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_payment_link_makes_a_session_of_the_visitor() {
    let w = world().await;
    let link = w
        .post(
            "/v1/payment_links",
            &format!(
                "line_items[0][price]={}&line_items[0][quantity]=1",
                w.price("pro")
            ),
        )
        .await;
    let visit = w
        .send(
            "GET",
            &format!(
                "/link/{}?client_reference_id=x%3Cy&prefilled_email=v@example.com",
                link["id"].as_str().unwrap()
            ),
            &[],
            "",
        )
        .await
        .unwrap();
    let id = visit
        .header("location")
        .strip_prefix("/pay/")
        .unwrap()
        .to_owned();
    w.control
        .pay_session(&id, "4242", Some("v@example.com"))
        .unwrap();
    let done = w.get(&format!("/v1/checkout/sessions/{id}")).await;
    assert_eq!(
        (
            done["payment_link"].as_str(),
            done["client_reference_id"].is_null()
        ),
        (link["id"].as_str(), true)
    );
    assert!(done["subscription"].is_string() && done["customer"].is_string());
}

#[tokio::test]
async fn the_portal_cancels_resumes_and_changes_the_card_of_its_customer_only() {
    let w = world().await;
    let (customer, sub) = w.subscriber("pro", "pm_card_visa").await;
    let (_, foreign) = w.subscriber("pro", "pm_card_visa").await;
    let portal = w
        .post(
            "/v1/billing_portal/sessions",
            &format!("customer={customer}&return_url=http://shop/"),
        )
        .await;
    let path = format!("/portal/{}", portal["id"].as_str().unwrap());
    assert_eq!(w.send("GET", &path, &[], "").await.unwrap().status, 200);
    let id = sub["id"].as_str().unwrap();
    for (form, ends) in [
        (format!("do=cancel&id={id}"), true),
        (format!("do=resume&id={id}"), false),
    ] {
        assert_eq!(w.send("POST", &path, &[], &form).await.unwrap().status, 303);
        assert_eq!(
            w.get(&format!("/v1/subscriptions/{id}")).await["cancel_at_period_end"],
            ends
        );
    }
    let form = format!("do=cancel&id={}", foreign["id"].as_str().unwrap());
    assert_eq!(w.send("POST", &path, &[], &form).await.unwrap().status, 400);
    w.send("POST", &path, &[], "do=card&card=0341")
        .await
        .unwrap();
    w.control.advance(31 * DAY + 3_600).unwrap();
    assert_eq!(
        w.get(&format!("/v1/subscriptions/{id}")).await["status"],
        "past_due"
    );
}

#[tokio::test]
async fn a_coupon_comes_off_the_session_and_off_one_invoice() {
    let w = world().await;
    w.post("/v1/coupons", "percent_off=25&duration=once&id=QUARTER")
        .await;
    let code = w
        .post("/v1/promotion_codes", "coupon=QUARTER&code=NOW")
        .await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let form = format!(
        "mode=subscription&success_url=http://s/&line_items[0][price]={}&line_items[0][quantity]=1&discounts[0][promotion_code]={code}",
        w.price("pro")
    );
    let session = w.post("/v1/checkout/sessions", &form).await;
    assert_eq!(
        (
            session["amount_total"].as_i64(),
            session["total_details"]["amount_discount"].as_i64()
        ),
        (Some(2175), Some(725))
    );
    w.control
        .pay_session(
            session["id"].as_str().unwrap(),
            "4242",
            Some("a@example.com"),
        )
        .unwrap();
    w.control.advance(31 * DAY + 3_600).unwrap();
    let invoices = w.get("/v1/invoices").await;
    let paid: Vec<i64> = invoices["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["amount_paid"].as_i64().unwrap())
        .collect();
    assert_eq!(paid, [2900, 2175]);
    let charges = w.get("/v1/charges").await;
    assert_eq!(charges["data"][1]["amount"], 2175);
    assert_eq!(w.get("/v1/coupons/QUARTER").await["times_redeemed"], 1);
}

#[tokio::test]
async fn what_would_make_amounts_wrong_is_refused_aloud() {
    let w = world().await;
    let form = format!(
        "mode=payment&success_url=http://s/&line_items[0][price]={}&line_items[0][quantity]=1&line_items[0][tax_rates][0]=txr_1",
        w.price("credits-10")
    );
    let (status, error) = w.refused("/v1/checkout/sessions", &form).await;
    assert_eq!(
        (status, error["code"].as_str()),
        (400, Some("sandbox_unsupported"))
    );
}
