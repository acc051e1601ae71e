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
