//! How a call can end, over a socket that does as it is told.

use super::{VERSION, client, command};
use bursar::stripe::requests::customers::{NewCustomer, create};
use bursar::stripe::requests::subscriptions::{CancelNow, cancel_now, resume};
use bursar_actors::ports::{CallAnswer, CallEnd, StripeWrite};
use bursar_domain::ids::{AccountId, ObjectId, Scope, SubscriptionId, TenantId};
use bursar_domain::stripe_call::StripeCall;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const WITHIN: Duration = Duration::from_secs(20);

/// What the server does with each connection.
#[derive(Clone)]
enum Act {
    /// Reads the request, answers these bytes, closes.
    Answer(String),
    /// Reads the request and says nothing.
    Hang,
    /// Closes without having read.
    CloseUnread,
    /// Reads the request, then closes.
    CloseRead,
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut awaited = None;
    while awaited.is_none_or(|length| request.len() < length) {
        let Ok(byte) = stream.read_u8().await else {
            break;
        };
        request.push(byte);
        if awaited.is_none() && request.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request).to_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            awaited = Some(request.len() + length.unwrap_or(0_usize));
        }
    }
    String::from_utf8(request).unwrap()
}

async fn server(act: Act) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut hanging = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if matches!(act, Act::CloseUnread) {
                kept.lock().unwrap().push(String::new());
                continue;
            }
            let request = read_request(&mut stream).await;
            kept.lock().unwrap().push(request);
            match &act {
                // Whoever asked may have heard enough and gone.
                Act::Answer(answer) => drop(stream.write_all(answer.as_bytes()).await),
                Act::Hang => hanging.push(stream),
                Act::CloseUnread | Act::CloseRead => {}
            }
        }
    });
    (base, asked)
}

fn order() -> StripeCall {
    let order = NewCustomer {
        tenant: TenantId::parse("t-1").unwrap(),
        name: Some("A & B = C+ü".to_owned()),
        email: None,
    };
    create(&order, &command("cmd_1"))
}

async fn end(act: Act, within: Duration) -> (CallEnd, Vec<String>) {
    let (base, asked) = server(act).await;
    let end = client(&base)
        .send(order(), "key-1".to_owned(), within)
        .await;
    let asked = asked.lock().unwrap().clone();
    (end, asked)
}

fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    ))
}

const DATED: &str = "Date: Mon, 12 May 2025 10:00:00 GMT\r\nRequest-Id: req_1\r\n";
const REFUSAL: &str =
    r#"{"error":{"type":"invalid_request_error","code":"odd","message":"No ada@example.com"}}"#;

fn unknown(reason: &str) -> CallEnd {
    CallEnd::Unknown {
        reason: reason.to_owned(),
        should_retry: None,
        is_replayed: false,
        retry_after: None,
    }
}

fn answered(status: u16, body: &str) -> CallEnd {
    CallEnd::Answer(CallAnswer {
        status,
        date_unix: 1_747_044_000,
        request_id: "req_1".to_owned(),
        is_replayed: false,
        body: body.as_bytes().to_vec(),
    })
}

async fn ends_as(rows: Vec<(Act, CallEnd)>) {
    for (act, expected) in rows {
        let (end, asked) = end(act, WITHIN).await;
        assert_eq!(end, expected);
        assert_eq!(asked.len(), 1, "{end:?} was asked for again");
        let told = match &end {
            CallEnd::Answer(_) => String::new(),
            other => format!("{other:?}"),
        };
        assert!(
            !told.contains("ada@") && !told.contains("sk_test"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_definite_word_of_stripes_is_an_answer() {
    let mut rows = vec![
        (answer("200 OK", DATED, "{}"), answered(200, "{}")),
        (
            answer("201 Made", DATED, r#"{"id":"a"}"#),
            answered(201, r#"{"id":"a"}"#),
        ),
    ];
    for status in [400, 402, 404, 422, 424] {
        rows.push((
            answer(&format!("{status} No"), DATED, REFUSAL),
            answered(status, REFUSAL),
        ));
    }
    let CallEnd::Answer(plain) = answered(400, REFUSAL) else {
        unreachable!("made as an answer");
    };
    let replay = format!("{DATED}Idempotent-Replayed: true\r\n");
    let replayed = CallAnswer {
        is_replayed: true,
        ..plain.clone()
    };
    rows.push((
        answer("400 No", &replay, REFUSAL),
        CallEnd::Answer(replayed),
    ));
    let undated = CallAnswer {
        date_unix: 0,
        request_id: String::new(),
        ..plain
    };
    rows.push((answer("400 No", "", REFUSAL), CallEnd::Answer(undated)));
    ends_as(rows).await;
}

#[tokio::test]
async fn what_was_surely_not_executed_is_told_apart() {
    let reused = r#"{"error":{"type":"idempotency_error","message":"Keys for …"}}"#;
    let in_use = r#"{"error":{"type":"invalid_request_error","code":"idempotency_key_in_use"}}"#;
    let refused = |status, detail: &str| CallEnd::KeyRefused {
        status,
        detail: detail.to_owned(),
    };
    let limited = |seconds: Option<u64>, reason: Option<&str>| CallEnd::RateLimited {
        retry_after: seconds.map(Duration::from_secs),
        reason: reason.map(str::to_owned),
    };
    let mut rows = vec![
        (answer("401 No", DATED, REFUSAL), refused(401, "odd")),
        (
            answer("403 No", DATED, "<html>"),
            refused(403, "no error of Stripe's"),
        ),
        (
            answer("409 No", DATED, in_use),
            CallEnd::InProgress { retry_after: None },
        ),
        (
            answer("409 No", "Retry-After: 2\r\n", "busy"),
            CallEnd::InProgress {
                retry_after: Some(Duration::from_secs(2)),
            },
        ),
        (
            answer(
                "429 No",
                "Retry-After: 7\r\nStripe-Rate-Limited-Reason: endpoint-rate\r\n",
                REFUSAL,
            ),
            limited(Some(7), Some("endpoint-rate")),
        ),
        (
            answer("429 No", "Retry-After: 86400\r\n", ""),
            limited(Some(60), None),
        ),
        (
            answer(
                "429 No",
                "Retry-After: Mon, 12 May 2025 10:00:00 GMT\r\n",
                "",
            ),
            limited(None, None),
        ),
        (
            answer("429 No", "Stripe-Rate-Limited-Reason: ada@x\r\n", ""),
            limited(None, None),
        ),
    ];
    for status in [400, 401, 404, 409, 429, 500] {
        let reused_end = CallEnd::KeyReused {
            request_id: "req_1".to_owned(),
        };
        rows.push((answer(&format!("{status} No"), DATED, reused), reused_end));
    }
    ends_as(rows).await;
}

#[tokio::test]
async fn what_nobody_can_know_is_unknown() {
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20));
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}".to_owned();
    let cut_refusal = "HTTP/1.1 400 No\r\nContent-Length: 999\r\n\r\n{\"error\":{}".to_owned();
    let moved = "Location: http://127.0.0.1:1/v1/customers\r\n";
    let saved = "Stripe-Should-Retry: false\r\nIdempotent-Replayed: true\r\nRetry-After: 5\r\n";
    let gone = "the connection broke before an answer";
    ends_as(vec![
        (Act::CloseUnread, unknown(gone)),
        (Act::CloseRead, unknown(gone)),
        (Act::Answer("SSH-2.0-x\r\n".to_owned()), unknown(gone)),
        (Act::Answer(cut), unknown("200, but the answer broke off")),
        (
            Act::Answer(cut_refusal),
            unknown("400, but the answer broke off"),
        ),
        (
            answer("200 OK", DATED, "{\"id\": \"cut o"),
            unknown("200 with a body that is no JSON object"),
        ),
        (
            answer("200 OK", DATED, "[]"),
            unknown("200 with a body that is no JSON object"),
        ),
        (
            answer("204 OK", DATED, ""),
            unknown("204 with a body that is no JSON object"),
        ),
        (
            answer("200 OK", DATED, &huge),
            unknown("200, but the answer is larger than 4 MiB"),
        ),
        (
            answer("302 Found", moved, ""),
            unknown("302: a redirect is not followed"),
        ),
        (
            answer("307 Again", moved, "{}"),
            unknown("307: a redirect is not followed"),
        ),
        (
            answer("400 No", DATED, "<html>proxy</html>"),
            unknown("400, but not Stripe's answer"),
        ),
        (
            answer("404 No", DATED, r#"{"error":"invalid_grant"}"#),
            unknown("404, but not Stripe's answer"),
        ),
        (
            answer("413 No", DATED, "{}"),
            unknown("413, but not Stripe's answer"),
        ),
        (
            answer("503 Away", DATED, REFUSAL),
            unknown("the server answered 503"),
        ),
        (
            answer("500 Oops", saved, REFUSAL),
            CallEnd::Unknown {
                reason: "the server answered 500".to_owned(),
                should_retry: Some(false),
                is_replayed: true,
                retry_after: Some(Duration::from_secs(5)),
            },
        ),
    ])
    .await;
    let (late, asked) = end(Act::Hang, Duration::from_millis(200)).await;
    assert_eq!(late, unknown("no whole answer in time"));
    assert_eq!(asked.len(), 1);
    let late = Act::Answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{".to_owned());
    let (base, _) = server(late).await;
    let broken = client(&base).send(order(), "k".to_owned(), WITHIN).await;
    assert_eq!(broken, unknown("200, but the answer broke off"));
}

#[tokio::test]
async fn no_connection_means_not_sent() {
    let refused = CallEnd::NotSent {
        reason: "the connection was refused or could not be secured".to_owned(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let (plain, asked) = server(Act::Answer("no TLS here\r\n".to_owned())).await;
    for base in [
        format!("http://{closed}"),
        plain.replace("http://", "https://"),
        "http://no-such-host.invalid".to_owned(),
    ] {
        let end = client(&base).send(order(), "k".to_owned(), WITHIN).await;
        assert_eq!(end, refused, "{base}");
    }
    assert!(
        asked
            .lock()
            .unwrap()
            .iter()
            .all(|asked| !asked.contains("cmd_1"))
    );
}

#[tokio::test]
async fn an_order_that_names_another_place_is_not_sent() {
    let (base, asked) = server(answer("200 OK", DATED, "{}")).await;
    let client = client(&base);
    let up = SubscriptionId::parse("..").unwrap();
    let mut elsewhere = order();
    elsewhere.path = "@127.0.0.1:1/v1/customers".to_owned();
    for call in [resume(&up), elsewhere] {
        let end = client.send(call, "k".to_owned(), WITHIN).await;
        assert!(matches!(end, CallEnd::NotSent { .. }), "{end:?}");
    }
    let end = client.send(order(), "a\nb".to_owned(), WITHIN).await;
    assert!(matches!(end, CallEnd::NotSent { .. }), "{end:?}");
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn the_wire_carries_key_version_account_and_form() {
    let (base, asked) = server(answer("200 OK", DATED, "{}")).await;
    let client = client(&base);
    let on_account = StripeCall {
        scope: Scope(Some(AccountId::parse("acct_1").unwrap())),
        ..order()
    };
    for call in [on_account.clone(), on_account] {
        client.send(call, "key-1".to_owned(), WITHIN).await;
    }
    let now = CancelNow {
        subscription: SubscriptionId::parse("sub_1").unwrap(),
        invoice_now: true,
        prorate: false,
        comment: Some("too dear & slow".to_owned()),
    };
    client
        .send(cancel_now(&now), "key-2".to_owned(), WITHIN)
        .await;
    let item = ObjectId::parse("sub_1").unwrap();
    let paused = SubscriptionId::parse(item.as_str()).unwrap();
    client
        .send(resume(&paused), "key-3".to_owned(), WITHIN)
        .await;
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked[0], asked[1], "the same order is not the same bytes");
    let lowered = asked[0].to_lowercase();
    for line in [
        "post /v1/customers http/1.1\r\n",
        "authorization: bearer sk_test_0123456789\r\n",
        &format!("stripe-version: {VERSION}\r\n"),
        "stripe-account: acct_1\r\n",
        "idempotency-key: key-1\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        &format!("user-agent: bursar/{}\r\n", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(lowered.contains(line), "{line} not in {lowered}");
    }
    assert!(asked[0].ends_with(
        "\r\n\r\nname=A+%26+B+%3D+C%2B%C3%BC&metadata%5Btenant_id%5D=t-1&metadata%5Bcommand_id%5D=cmd_1"
    ));
    assert!(asked[2].starts_with(
        "DELETE /v1/subscriptions/sub_1?invoice_now=true&prorate=false\
         &cancellation_details%5Bcomment%5D=too+dear+%26+slow HTTP/1.1\r\n"
    ));
    assert!(asked[2].ends_with("\r\n\r\n") && !asked[2].contains("stripe-account"));
    assert!(asked[3].ends_with("\r\n\r\nbilling_cycle_anchor=now"));
}

#[tokio::test]
async fn a_connection_that_dies_under_a_second_order_does_not_send_it_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let first = read_request(&mut stream).await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{DATED}\r\n{{}}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let second = read_request(&mut stream).await;
            *count.lock().unwrap() += usize::from(!first.is_empty());
            *count.lock().unwrap() += usize::from(!second.is_empty());
        }
    });
    let client = client(&base);
    let first = client.send(order(), "k-1".to_owned(), WITHIN).await;
    assert_eq!(first, answered(200, "{}"));
    let second = client.send(order(), "k-2".to_owned(), WITHIN).await;
    assert_eq!(second, unknown("the connection broke before an answer"));
    assert_eq!(*asked.lock().unwrap(), 2);
}
