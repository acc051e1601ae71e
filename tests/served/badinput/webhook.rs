//! Stripe's door (BW).

use super::{Tally, World, at_once};
use crate::catalogue::deliveries::{altered, event, odd_bodies, signature_rows};
use crate::child::{WEBHOOK_SECRET, unix_now};
use bursar::stripe::signature::sign;
use std::time::{Duration, Instant};

const RECEIVED: &str = r#"{"received":true}"#;

pub(super) async fn rows(world: &World, tally: &mut Tally) {
    refused(world, tally).await;
    odd(world, tally).await;
    forms(world, tally).await;
    repeated(world, tally).await;
}

async fn refused(world: &World, tally: &mut Tally) {
    for (row, header, body, status, code) in signature_rows(WEBHOOK_SECRET, unix_now()) {
        let headers: Vec<(&str, &str)> = header
            .iter()
            .map(|value| ("Stripe-Signature", value.as_str()))
            .collect();
        let reply = world.send("POST /webhook", &headers, &body).await;
        tally.is(row, &reply, &[status]);
        let said = reply.code();
        tally.case(row, said == code, || format!("{said} and not {code}"));
    }
    let body = event("evt_1", unix_now());
    let good = sign(WEBHOOK_SECRET, &body, unix_now());
    let long = format!("{good},{}", vec!["v1=00"; 4_000].join(","));
    let headers = [("Stripe-Signature", long.as_str())];
    let reply = world.send("POST /webhook", &headers, &body).await;
    tally.is("BW12", &reply, &[431]);
    let twice = [("Stripe-Signature", good.as_str()); 2];
    tally.is(
        "BW13",
        &world.send("POST /webhook", &twice, &body).await,
        &[400],
    );
    let page = world.operator("GET /api/v1/webhook-events", "").await;
    let stored = page.json()["data"].as_array().unwrap().len();
    tally.case("BW1", stored == 0, || format!("{stored} were stored"));
    let second = good.replace("v1=", &format!("v1={},v1=", "0".repeat(64)));
    let headers = [("Stripe-Signature", second.as_str())];
    tally.is(
        "BW8",
        &world.send("POST /webhook", &headers, &body).await,
        &[200],
    );
}

/// Stored whole and answered 200, with the status it should have once it was applied.
async fn odd(world: &World, tally: &mut Tally) {
    let bodies = odd_bodies(unix_now());
    for (row, body, status) in &bodies {
        let reply = world.deliver(body).await;
        let is_new = reply.status == 200 && reply.body == RECEIVED;
        tally.case(row, is_new, || format!("{reply:?}"));
        let newest = world
            .operator("GET /api/v1/webhook-events?limit=1", "")
            .await;
        let newest = newest.json()["data"][0].clone();
        let Some(status) = status else {
            continue;
        };
        // What only its reducer can judge is judged a moment later.
        let path = format!(
            "GET /api/v1/webhook-events/{}",
            newest["id"].as_str().unwrap()
        );
        let started = Instant::now();
        let mut is = newest["status"].clone();
        while is != *status && started.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let account = newest["account"].as_str().map(|a| format!("?account={a}"));
            let path = format!("{path}{}", account.unwrap_or_default());
            is = world.operator(&path, "").await.json()["status"].clone();
        }
        tally.case(row, is == *status, || {
            format!("is {is}, not {status}: {newest}")
        });
    }
}

async fn forms(world: &World, tally: &mut Tally) {
    let big = vec![b' '; 5 << 20];
    let signature = sign(WEBHOOK_SECRET, &big, unix_now());
    let headers = [("Stripe-Signature", signature.as_str())];
    tally.is(
        "BW28",
        &world.send("POST /webhook", &headers, &big).await,
        &[413],
    );
    let body = event("evt_form", unix_now());
    let signature = sign(WEBHOOK_SECRET, &body, unix_now());
    for (row, header, value, status) in [
        ("BW33", "Content-Encoding", "gzip", 415),
        ("BW32", "Content-Type", "text/plain", 200),
    ] {
        let headers = [("Stripe-Signature", signature.as_str()), (header, value)];
        tally.is(
            row,
            &world.send("POST /webhook", &headers, &body).await,
            &[status],
        );
    }
    for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
        let reply = world.send(&format!("{method} /webhook"), &[], b"").await;
        tally.is("BW36", &reply, &[405]);
        let allow = reply.header("allow");
        tally.case("BW36", allow == Some("POST"), || {
            format!("Allow: {allow:?}")
        });
    }
}

async fn repeated(world: &World, tally: &mut Tally) {
    let now = unix_now();
    tally.is(
        "BW24",
        &world.deliver(&event("evt_first", now)).await,
        &[200],
    );
    let other = altered("evt_first", now, |event| event["created"] = 5.into());
    let reply = world.deliver(&other).await;
    tally.case("BW24", reply.body.contains("duplicate"), || {
        reply.body.clone()
    });
    let shown = world
        .operator("GET /api/v1/webhook-events/evt_first", "")
        .await;
    let kept = shown.json()["body"]["created"].clone();
    tally.case("BW24", kept == now, || {
        format!("the first body is not kept: {kept}")
    });
    let body = event("evt_hundred", now);
    let replies = at_once((0..100).map(|_| world.deliver(&body))).await;
    let new = replies
        .iter()
        .filter(|reply| reply.body == RECEIVED)
        .count();
    let good = replies.iter().filter(|reply| reply.status == 200).count();
    tally.case("BW35", (new, good) == (1, 100), || {
        format!("new={new} of {good}")
    });
}
