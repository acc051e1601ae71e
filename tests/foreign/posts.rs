//! POSTs by our write client: replays, keys used for another request, and each way a call can end.

use crate::{KEY, Mock, VERSION};
use bursar::stripe::write::WriteClient;
use bursar_actors::ports::{CallAnswer, CallEnd, StripeWrite};
use bursar_domain::ids::Scope;
use bursar_domain::stripe_call::{Method, Operation, StripeCall};
use serde_json::Value;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

fn call(path: &str, params: &[(&str, &str)]) -> StripeCall {
    StripeCall {
        // The word of metrics; the mock knows charges and refunds alone.
        operation: Operation::RefundCreate,
        scope: Scope::PLATFORM,
        method: Method::Post,
        path: path.to_owned(),
        params: params
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn charge(amount: &str, source: &str) -> StripeCall {
    call(
        "/v1/charges",
        &[("amount", amount), ("currency", "usd"), ("source", source)],
    )
}

fn answer(end: CallEnd) -> CallAnswer {
    match end {
        CallEnd::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn json(answer: &CallAnswer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// Runs them; how many there were.
pub(crate) async fn every_case(mock: &Mock) -> u32 {
    let ours = WriteClient::new(&mock.base, &Mock::key(KEY), VERSION).unwrap();
    let run = uuid::Uuid::now_v7().simple().to_string();
    let send = |call: StripeCall, key: &str| ours.send(call, format!("{run}-{key}"), WITHIN);

    // The same key and request: one charge, answered again and told as a replay.
    let first = answer(send(charge("2000", "tok_visa"), "once").await);
    let again = answer(send(charge("2000", "tok_visa"), "once").await);
    assert_eq!((first.status, first.is_replayed), (200, false));
    assert_eq!((again.status, again.is_replayed), (200, true));
    assert_eq!(json(&first)["id"], json(&again)["id"]);
    assert!(!first.request_id.is_empty() && first.request_id != again.request_id);

    // The same key for another request.
    let misused = send(charge("2001", "tok_visa"), "once").await;
    assert!(matches!(misused, CallEnd::KeyReused { .. }), "{misused:?}");

    // A refund sent three times is one.
    let id = json(&first)["id"].as_str().unwrap().to_owned();
    for attempt in 0..3 {
        let refund = call("/v1/refunds", &[("charge", &id), ("amount", "500")]);
        let refund = answer(send(refund, "refund").await);
        assert_eq!((refund.status, refund.is_replayed), (200, attempt > 0));
    }
    let read: Value = mock.look(&format!("/v1/charges/{id}")).await;
    assert_eq!(read["amount_refunded"], 500);

    // 429: surely not executed, so the same key may be used again, and then it happens once.
    let limited = || charge("700", &format!("tok_429|tok_visa|{run}")[..]);
    let end = send(limited(), "limited").await;
    assert!(matches!(end, CallEnd::RateLimited { .. }), "{end:?}");
    let end = answer(send(limited(), "limited").await);
    assert_eq!((end.status, end.is_replayed), (200, false));

    // 500: nobody can know; under this key it stays so, and that is told.
    let end = send(charge("700", "tok_500"), "broken").await;
    assert!(
        matches!(
            end,
            CallEnd::Unknown {
                is_replayed: false,
                ..
            }
        ),
        "{end:?}"
    );
    let end = send(charge("700", "tok_500"), "broken").await;
    assert!(
        matches!(
            end,
            CallEnd::Unknown {
                is_replayed: true,
                ..
            }
        ),
        "{end:?}"
    );

    // Refusals are answers: a declined card, and a parameter that is missing.
    let declined = answer(send(charge("700", "tok_chargeDeclined"), "declined").await);
    assert_eq!(
        (declined.status, &json(&declined)["error"]["code"]),
        (402, &"card_declined".into())
    );
    let wrong = answer(send(call("/v1/charges", &[("currency", "usd")]), "wrong").await);
    assert_eq!(
        (wrong.status, &json(&wrong)["error"]["param"]),
        (400, &"amount".into())
    );

    // A key of no use, and nobody there.
    let refused =
        WriteClient::new(&mock.base, &Mock::key("rk_test_unknown_to_it"), VERSION).unwrap();
    let end = refused
        .send(charge("700", "tok_visa"), format!("{run}-refused"), WITHIN)
        .await;
    assert!(
        matches!(end, CallEnd::KeyRefused { status: 401, .. }),
        "{end:?}"
    );
    let nowhere = WriteClient::new("http://127.0.0.1:9", &Mock::key(KEY), VERSION).unwrap();
    let end = nowhere
        .send(charge("700", "tok_visa"), format!("{run}-nowhere"), WITHIN)
        .await;
    assert!(matches!(end, CallEnd::NotSent { .. }), "{end:?}");
    14
}
