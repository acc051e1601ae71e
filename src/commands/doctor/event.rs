//! One signed event through the public address: what changes bodies or swallows headers on the way shows here.
//!
//! Invariants: the type is none Bursar handles, so it is stored, ignored and changes no state; its bytes hold
//! what proxies like to tidy up.
//! Source: contract §3, "Stripe's side"; Stripe documentation, "Webhooks: event delivery behaviors" (a
//! redirect is a failure).

use super::finding::Findings;
use super::server::{Running, reachable};
use crate::stripe::endpoints::OUR_PATHS;
use crate::stripe::signature::sign;
use bursar_config::Config;
use secrecy::ExposeSecret;

/// The type of the event.
pub(super) const KIND: &str = "bursar.doctor";
const NAME: &str = "public address";

/// Sends it and says how far it came.
pub(super) async fn send(
    config: &Config,
    http: &reqwest::Client,
    running: &mut Running,
    found: &mut Findings,
) {
    if running.is_of_other_mode {
        found.skip(NAME, "the running process is in another mode");
        return;
    }
    let url = format!("{}{}", config.addresses.app, OUR_PATHS[0]);
    let id = format!("evt_doctor_{}", uuid::Uuid::now_v7().simple());
    let answer = post(config, http, &url, &id).await;
    let (status, received) = match answer {
        Ok(answer) => answer,
        Err(error)
            if error.is_connect() && config.addresses.app.is_loopback() && !running.is_there() =>
        {
            found.skip(NAME, "no process runs and APP_BASE_URL is on this machine");
            return;
        }
        Err(error) => {
            let why = if error.is_timeout() {
                "no answer in time"
            } else {
                "no connection, or no trusted certificate"
            };
            found.unreachable(
                NAME,
                format!("{url} cannot be reached from here: {why}"),
                "check APP_BASE_URL, its name and certificate, and whether this machine may reach it",
            );
            return;
        }
    };
    if status == 200 && received {
        arrived(running, &id, &url, found).await;
        return;
    }
    let direct = match (status, running.is_there()) {
        (400 | 401, true) => {
            let id = format!("evt_doctor_{}", uuid::Uuid::now_v7().simple());
            let url = format!("http://{}{}", reachable(config.listen), OUR_PATHS[0]);
            post(config, http, &url, &id)
                .await
                .ok()
                .map(|(status, _)| status)
        }
        _ => None,
    };
    let (text, next) = diagnosis(status, direct);
    found.fail(NAME, format!("{url} answered {status}: {text}"), next);
}

/// What an answer that is not ours means; `direct` is the answer without anything in between.
fn diagnosis(status: u16, direct: Option<u16>) -> (&'static str, &'static str) {
    match (status, direct) {
        (401, Some(200)) => (
            "the signature no longer fits, though it does on the machine itself: something in between changes the body",
            "let the proxy hand webhook bodies through untouched (no rewriting, no re-encoding)",
        ),
        (400, Some(200)) => (
            "the signature's header got lost in between",
            "let the proxy hand the header Stripe-Signature through",
        ),
        (401, _) => (
            "the secret given here is not the server's",
            "give the doctor the server's STRIPE_WEBHOOK_SECRET; after a change of the secret send the server SIGHUP",
        ),
        (400, _) => (
            "the delivery could not be read",
            "let the proxy hand body and headers through untouched",
        ),
        (200..300, _) => (
            "it is not Bursar that answers",
            "let APP_BASE_URL, and the proxy behind it, lead to Bursar's public address",
        ),
        (300..400, _) => (
            "a redirect, which Stripe does not follow",
            "register the address it leads to, and use https in APP_BASE_URL",
        ),
        (403..=405, _) => (
            "the path does not lead to Bursar",
            "let the proxy hand POST /webhook to Bursar without asking for credentials",
        ),
        (413, _) => (
            "a body of 1 KiB is too large for something in between",
            "allow bodies of 1 MiB",
        ),
        (503, _) => (
            "Bursar, or the proxy, is too busy or has no server behind it",
            "look at the process's readiness",
        ),
        _ => ("not what Bursar answers", "look at the proxy's log"),
    }
}

async fn arrived(running: &mut Running, id: &str, url: &str, found: &mut Findings) {
    let way = format!("a signed event came through {url} unchanged");
    if !running.is_there() {
        found.ok(
            NAME,
            format!(
                "{way}; what became of it was not looked at: no process of this data folder runs"
            ),
        );
        return;
    }
    match running.get(&format!("/api/v1/webhook-events/{id}")).await {
        Some((200, event)) if event["status"] == "ignored" => {
            found.ok(NAME, format!("{way}, was stored and, as it should be, ignored"));
        }
        Some((404, _)) => found.fail(
            NAME,
            format!("{url} accepted a signed event, but the process of this data folder does not have it"),
            "APP_BASE_URL leads to another bursar: correct it",
        ),
        Some((_, event)) => {
            let status = event["status"].as_str().unwrap_or("?");
            let text = format!("{way}, but is {status} instead of ignored");
            found.warn(NAME, text, "please report it");
        }
        None => found.ok(NAME, format!("{way}; the process does not show what became of it")),
    }
}

/// Posts a fresh event; the status, and whether the body is Bursar's receipt.
async fn post(
    config: &Config,
    http: &reqwest::Client,
    url: &str,
    id: &str,
) -> Result<(u16, bool), reqwest::Error> {
    let now = jiff::Timestamp::now().as_second();
    let body = body(
        id,
        now,
        config.stripe.mode.is_live(),
        &config.stripe.api_version,
    );
    let secrets = &config.stripe.webhook_secrets.0;
    let secret = secrets.first().map_or("", |secret| secret.expose_secret());
    let signature = sign(secret, body.as_bytes(), now);
    let answer = http
        .post(url)
        .header("stripe-signature", signature)
        .header("content-type", "application/json; charset=utf-8")
        .body(body)
        .send()
        .await?;
    let status = answer.status().as_u16();
    let json: serde_json::Value = answer.json().await.unwrap_or_default();
    Ok((status, json["received"] == true))
}

/// Printed as Stripe prints, with what a reader that writes JSON anew would change: an escape, a letter
/// beyond ASCII, a number with a zero to spare, a key twice as deep, blanks at line ends, an empty last line.
fn body(id: &str, created: i64, livemode: bool, version: &str) -> String {
    format!(
        "{{\n  \"id\": \"{id}\",\n  \"object\": \"event\",\n  \"api_version\": \"{version}\",\n  \
         \"created\": {created},\n  \"data\": {{\n    \"object\": {{\n      \"id\": \"doctor\",\n      \
         \"object\": \"bursar.doctor\",\n      \"amount\": 1.10, \n      \
         \"letters\": \"caf\\u00e9 caf\u{e9} \\/ & < > +  %2F\",\n      \"metadata\": {{}}\n    }}\n  }},\n  \
         \"livemode\": {livemode},\n  \"pending_webhooks\": 1,\n  \"request\": null,\n  \
         \"type\": \"{KIND}\"\n}}\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::ids::Timestamp;
    use bursar_domain::route::{Fate, route};
    use bursar_domain::settings::Settings;

    #[test]
    fn the_event_is_genuine_json_that_nobody_handles() {
        let body = body("evt_doctor_1", 1_747_044_000, false, "2025-04-30.basil");
        let routed = route(body.as_bytes(), &Settings::default(), Timestamp(0));
        assert!(matches!(routed.fate, Fate::Ignored { .. }), "{routed:?}");
        assert_eq!(routed.kind, KIND);
        let again: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_ne!(serde_json::to_string_pretty(&again).unwrap(), body);
    }

    #[test]
    fn an_answer_is_judged_by_what_the_machine_itself_says() {
        assert!(diagnosis(401, Some(200)).0.contains("changes the body"));
        assert!(diagnosis(401, Some(401)).0.contains("secret"));
        assert!(diagnosis(401, None).0.contains("secret"));
        assert!(diagnosis(400, Some(200)).1.contains("Stripe-Signature"));
        assert!(diagnosis(308, None).0.contains("redirect"));
        assert!(diagnosis(200, None).0.contains("not Bursar"));
    }
}
