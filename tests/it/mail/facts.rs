//! One mail for one fact of business, however many events tell it and in whatever order.

use super::world::by_id;
use crate::stage::{DAY, Stage};
use std::collections::BTreeMap;

/// How often each subject went to each address.
fn subjects(stage: &Stage) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for mail in stage.stripe.mails() {
        let key = (mail.to.join(","), mail.subject);
        *counts.entry(key).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_told_by_many_events_twice_over_is_one_receipt() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    stage.tenant(&bursar, "acme").await;
    stage.buys("acme", "hobby").await;
    stage.delivered().await;
    stage.pass(33 * DAY).await;
    bursar.settle().await;
    stage.tell_everything(&bursar).await;
    bursar.mailed(&stage).await;
    let told = |kind: &str| {
        stage
            .stripe
            .events()
            .iter()
            .filter(|event| event["type"] == kind)
            .count()
    };
    assert_eq!(
        (told("invoice.paid"), told("invoice.payment_succeeded")),
        (2, 2)
    );
    let caught = stage.stripe.mails();
    let receipts = caught
        .iter()
        .filter(|mail| mail.subject.starts_with("Receipt"))
        .count();
    assert_eq!(
        (receipts, by_id(&caught).len()),
        (2, caught.len()),
        "{:#?}",
        subjects(&stage)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_renewal_is_told_step_by_step_and_each_step_once() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    stage.stripe.set_dunning_end("past_due");
    stage.tenant(&bursar, "acme").await;
    let session = stage.buys("acme", "hobby").await;
    stage.delivered().await;
    let customer = session["customer"].as_str().unwrap();
    stage.stripe.set_card(customer, "0341").unwrap();
    // Its own steps: what falls due is decided at its own time.
    for _ in 0..42 {
        stage.pass(DAY).await;
        bursar.settle().await;
    }
    stage.stripe.set_card(customer, "4242").unwrap();
    stage.pass(3 * DAY).await;
    let invoice = bursar
        .get("/api/v1/invoices?status=open")
        .await
        .ok()
        .unwrap();
    for open in invoice["data"].as_array().unwrap() {
        let path = format!("/v1/invoices/{}/pay", open["id"].as_str().unwrap());
        stage.post(None, &path, "").await;
    }
    stage.delivered().await;
    bursar.settle().await;
    stage.tell_everything(&bursar).await;
    bursar.mailed(&stage).await;
    let subjects = subjects(&stage);
    println!("{subjects:#?}");
    let count = |start: &str| -> usize {
        let like = subjects
            .iter()
            .filter(|((_, subject), _)| subject.starts_with(start));
        like.map(|(_, count)| count).sum()
    };
    let failures = stage.stripe.events();
    let failures = failures
        .iter()
        .filter(|event| event["type"] == "invoice.payment_failed")
        .count();
    assert!(failures > 1, "{failures}");
    assert_eq!(count("Your payment of"), failures, "{subjects:#?}");
    for once in ["Access ends on", "Access has ended", "Access is back"] {
        assert_eq!(count(once), 1, "{once}: {subjects:#?}");
    }
    let caught = stage.stripe.mails();
    assert_eq!(by_id(&caught).len(), caught.len());
    let pay = caught
        .iter()
        .find(|mail| mail.subject.starts_with("Your payment of"))
        .unwrap();
    let link = format!("Pay now: {}/invoices/", stage.sandbox.base_url());
    assert!(pay.text.contains(&link), "{pay:#?}");
    assert!(pay.text.contains("for acme Inc"), "{pay:#?}");
}
