//! Alerts reach operators, the first at once and the others together; and what failed is ordered again.

use super::world::by_id;
use crate::stage::Stage;
use bursar_sandbox::{Caught, MailFault};
use bursar_store::api::EffectStatus;
use serde_json::json;

fn told(stage: &Stage) -> Vec<Caught> {
    let caught = stage.stripe.mails().into_iter();
    let operators = |mail: &Caught| mail.to == ["operator@bursar.test"];
    caught.filter(operators).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_alerts_is_two_mails_ten_minutes_apart() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    let mut intents = Vec::new();
    for n in 0..8 {
        let tenant = format!("t{n}");
        stage.tenant(&bursar, &tenant).await;
        let session = stage.buys(&tenant, "credits-10").await;
        intents.push(session["payment_intent"].as_str().unwrap().to_owned());
    }
    stage.delivered().await;
    bursar.settle().await;
    let first = stage.stripe.open_dispute(&intents[0], "fraudulent", false);
    let first = first.unwrap()["id"].as_str().unwrap().to_owned();
    stage.delivered().await;
    for looks in 0.. {
        if told(&stage).len() == 1 {
            break;
        }
        assert!(
            looks < 1_000,
            "nobody was told: {:#?}",
            bursar.mails(EffectStatus::Pending).await
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(
        told(&stage)[0]
            .subject
            .ends_with(&format!("Dispute: {first}")),
        "{:#?}",
        told(&stage)
    );
    for intent in &intents[1..] {
        stage
            .stripe
            .open_dispute(intent, "fraudulent", false)
            .unwrap();
    }
    // A genuine delivery that says nothing usable.
    assert_eq!(stage.deliver(&bursar, b"[]".to_vec()).await, 200);
    stage.delivered().await;
    bursar.settle().await;
    let bursar = stage.again(bursar, |_| {}).await;
    stage.stripe.advance(300).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(told(&stage).len(), 1, "{:#?}", told(&stage));
    bursar.mailed(&stage).await;
    let told = told(&stage);
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[1].subject.ends_with("8 alerts"), "{:#?}", told[1]);
    for said in ["Dispute (dispute): 7", "Dead letters (dead_letter): 1"] {
        assert!(told[1].text.contains(said), "{said}: {}", told[1].text);
    }
    println!("alerts: raised=9 mails={}", told.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_mail_is_told_of_and_an_operator_orders_it_again() {
    let stage = Stage::set().await;
    let bursar = stage.bursar().await;
    stage.tell(&bursar);
    stage.tenant(&bursar, "acme").await;
    stage
        .stripe
        .set_mail_fault(Some(MailFault::Refused), Some(1), 0);
    stage.buys("acme", "credits-10").await;
    stage.delivered().await;
    bursar.settle().await;
    bursar.mailed(&stage).await;
    let failed = bursar.mails(EffectStatus::Failed).await;
    let [mail] = failed.as_slice() else {
        panic!("{failed:#?}");
    };
    assert_eq!(mail.note, "the mail server answered 550");
    let path = format!("/api/v1/outbox/{}/retry", mail.id.0);
    let again = bursar.post(&path, &json!({})).await.ok().unwrap();
    assert_eq!(
        (&again["status"], &again["attempts"]),
        (&json!("pending"), &json!(0))
    );
    bursar.mailed(&stage).await;
    assert_eq!(bursar.post(&path, &json!({})).await.status, 409);
    assert_eq!(
        bursar
            .post("/api/v1/outbox/none/retry", &json!({}))
            .await
            .status,
        404
    );
    let caught = stage.stripe.mails();
    let receipts: Vec<_> = caught
        .iter()
        .filter(|mail| mail.subject.starts_with("Receipt"))
        .collect();
    assert_eq!(
        (receipts.len(), by_id(&caught).len()),
        (1, caught.len()),
        "{caught:#?}"
    );
    let told = told(&stage);
    assert!(
        told.iter().any(|mail| mail.text.contains("mail.receipt")),
        "{told:#?}"
    );
    let audit = bursar.get("/api/v1/audit").await.ok().unwrap();
    let line = audit["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["action"] == "effect.retried");
    assert_eq!(line.unwrap()["objectId"], mail.id.0, "{audit:#}");
}
