//! The mail server is away for an hour: money goes on, and afterwards everything arrives, once.

use super::world::by_id;
use crate::stage::Stage;
use bursar_sandbox::MailFault;
use bursar_store::api::EffectStatus;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_without_a_mail_server_delays_no_money_and_loses_no_mail() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    stage.stripe.set_mail_fault(Some(MailFault::Down), None, 0);
    for n in 0..6 {
        let tenant = format!("m{n}");
        stage.tenant(&bursar, &tenant).await;
        stage.buys(&tenant, "hobby").await;
    }
    stage.delivered().await;
    bursar.settle().await;
    // Nobody was told, and everybody has what was paid for.
    for n in 0..6 {
        let tenant = bursar
            .get(&format!("/api/v1/tenants/m{n}"))
            .await
            .ok()
            .unwrap();
        assert_eq!(tenant["license"]["state"], "active", "{tenant:#}");
    }
    let waiting = bursar.mails(EffectStatus::Pending).await.len();
    assert_eq!(waiting, 12, "a receipt and an invitation each");
    // An hour in steps, with attempts in between, and a restart in its middle.
    for _ in 0..30 {
        stage.stripe.advance(60).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let bursar = stage.again(bursar, |_| {}).await;
    stage.tell(&bursar);
    for _ in 0..30 {
        stage.stripe.advance(60).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tried = stage.stripe.mails_tried();
    assert!(tried > 0, "nobody knocked");
    assert_eq!(stage.stripe.mails().len(), 0);
    assert_eq!(bursar.mails(EffectStatus::Pending).await.len(), waiting);
    stage.stripe.set_mail_fault(None, None, 0);
    bursar.mailed(&stage).await;
    let caught = stage.stripe.mails();
    let counts = by_id(&caught);
    println!(
        "mail outage: tried={tried} waiting={waiting} caught={} distinct={}",
        caught.len(),
        counts.len()
    );
    assert_eq!(
        (caught.len(), counts.len()),
        (waiting, waiting),
        "{counts:#?}"
    );
    let subjects = caught.iter().map(|mail| mail.subject.as_str());
    let receipts = subjects.filter(|subject| subject.starts_with("Receipt from"));
    assert_eq!(receipts.count(), 6);
}
