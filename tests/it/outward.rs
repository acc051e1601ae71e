//! What the service does towards others: reads at Stripe, figures for Prometheus.

use crate::app::Reply;
use bursar::http::limits::Limits;
use bursar::http::server::Server;
use bursar::stripe::read::ReadClient;
use bursar::telemetry::{catalogue, exporter};
use bursar_actors::ports::{ReadAnswer, ReadError, StripeRead};
use bursar_domain::ids::{AccountId, Scope};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Answers every request with these bytes; keeps what it was asked.
async fn stub(answer: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else {
                    break;
                };
                head.push(byte);
            }
            kept.lock().unwrap().push(String::from_utf8(head).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (base, asked)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

const DATED: &str = "Date: Mon, 12 May 2025 10:00:00 GMT\r\nRequest-Id: req_1\r\n";

async fn read(answer: String, scope: Scope) -> (Result<ReadAnswer, ReadError>, String) {
    let (base, asked) = stub(answer).await;
    let key = "sk_test_secret".to_owned().into();
    let client = ReadClient::new(&base, &key, "2025-04-30.basil").unwrap();
    let path = "/v1/subscriptions/sub_1?expand[]=items".to_owned();
    let outcome = client.get(scope, path).await;
    let head = asked.lock().unwrap().first().cloned().unwrap_or_default();
    (outcome, head)
}

#[tokio::test]
async fn a_read_names_the_key_the_version_and_the_account() {
    let body = "{\"id\":\"sub_1\"}";
    let scope = Scope(Some(AccountId::parse("acct_1").unwrap()));
    let (outcome, head) = read(answer("200 OK", DATED, body), scope).await;
    let expected = ReadAnswer {
        status: 200,
        date_unix: 1_747_044_000,
        body: body.as_bytes().to_vec(),
        request_id: "req_1".to_owned(),
    };
    assert_eq!(outcome.unwrap(), expected);
    let head = head.to_lowercase();
    for line in [
        "get /v1/subscriptions/sub_1?expand[]=items http/1.1",
        "authorization: bearer sk_test_secret",
        "stripe-version: 2025-04-30.basil",
        "stripe-account: acct_1",
    ] {
        assert!(head.contains(line), "{line} not in {head}");
    }
    let (outcome, head) = read(answer("404 Not Found", DATED, "{}"), Scope::PLATFORM).await;
    assert_eq!(outcome.unwrap().status, 404);
    assert!(!head.to_lowercase().contains("stripe-account"));
}

#[tokio::test]
async fn what_is_no_answer_is_told_apart_and_names_no_secret() {
    let error =
        "{\"error\":{\"type\":\"invalid_request_error\",\"code\":\"odd\",\"message\":\"Ada\"}}";
    let rows = [
        (answer("401 Unauthorized", DATED, ""), "Auth(401)"),
        (answer("403 Forbidden", DATED, ""), "Auth(403)"),
        (
            answer("429 Too Many", "Retry-After: 3\r\n", ""),
            "RateLimited { retry_after: Some(3s) }",
        ),
        (answer("500 Oops", DATED, ""), "Server(500)"),
        (answer("503 Away", DATED, ""), "Server(503)"),
        (
            answer("400 Bad", DATED, error),
            "Unexpected { status: 400, detail: \"odd\" }",
        ),
        (
            answer(
                "302 Found",
                "Location: http://127.0.0.1:1/\r\nDate: Mon, 12 May 2025 10:00:00 GMT\r\n",
                "",
            ),
            "Unexpected { status: 302, detail: \"no error code\" }",
        ),
        (
            answer("200 OK", "", "{}"),
            "Unexpected { status: 200, detail: \"the answer has no Date\" }",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nDate: Mon, 12 May 2025 10:00:00 GMT\r\n\r\n{"
                .to_owned(),
            "Network(\"the answer broke off\")",
        ),
    ];
    for (answer, expected) in rows {
        let (outcome, _) = read(answer, Scope::PLATFORM).await;
        let error = outcome.unwrap_err();
        assert_eq!(format!("{error:?}"), expected);
        assert!(!error.to_string().contains("sk_test"));
    }
    let key = "sk_test_secret".to_owned().into();
    let client = ReadClient::new("http://127.0.0.1:1", &key, "v").unwrap();
    let outcome = client.get(Scope::PLATFORM, "/v1/a".to_owned()).await;
    assert!(matches!(outcome, Err(ReadError::Network(_))), "{outcome:?}");
    let outcome = client
        .get(Scope::PLATFORM, "http://evil/v1/".to_owned())
        .await;
    assert!(
        matches!(outcome, Err(ReadError::Unexpected { .. })),
        "{outcome:?}"
    );
}

async fn scrape(address: std::net::SocketAddr, line: &str, token: Option<&str>) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let token = token.map(|t| format!("Authorization: Bearer {t}\r\n"));
    let request = format!(
        "{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n",
        token.unwrap_or_default()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    Reply::parse(&answer)
}

#[tokio::test]
async fn no_series_begins_with_traffic() {
    let recorder = exporter::builder(catalogue::every_catalogue())
        .unwrap()
        .build_recorder();
    let handle = recorder.handle();
    let series = || -> std::collections::BTreeSet<String> {
        let text = handle.render();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, _)| name.to_owned())
            .collect()
    };
    // The runtime of a test has one thread, which the service runs on as well.
    let _recording = metrics::set_default_local_recorder(&recorder);
    catalogue::register(catalogue::every_catalogue());
    let before = series();
    let app = crate::app::App::start().await;
    for route in bursar::http::routes::every_route() {
        let path = route.path.replace(['{', '}'], "");
        for method in ["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"] {
            let line = format!("{method} {path}");
            app.send(&line, &[], b"").await;
            app.send(&line, &[], b"{").await;
            app.operator(&line, "").await;
            app.operator(&line, r#"{"no":"such"}"#).await;
        }
    }
    for line in ["GET", "POST", "PATCH", "DELETE", "BREW"] {
        app.send(&format!("{line} /nowhere"), &[], b"").await;
        app.send(&format!("{line} /livez"), &[("Host", "b")], b"")
            .await;
    }
    let after = series();
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    assert!(after.iter().any(|name| name.contains("route=\"none\"")));
}

#[tokio::test]
async fn metrics_are_served_on_their_own_address_and_to_the_token_only() {
    let recorder = exporter::builder(catalogue::every_catalogue())
        .unwrap()
        .build_recorder();
    metrics::with_local_recorder(&recorder, || {
        catalogue::register(catalogue::every_catalogue());
        metrics::counter!("bursar_webhook_requests_total", "outcome" => "accepted").increment(3);
    });
    let token = Some("scrape-token".to_owned().into());
    let service = Arc::new(exporter::Exporter::new(recorder.handle(), token));
    let (_stop, draining) = watch::channel(false);
    let server = Server::new(service, Limits::default(), draining);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server.run_tcp(listener));
    assert_eq!(scrape(address, "GET /metrics", None).await.status, 401);
    assert_eq!(
        scrape(address, "GET /metrics", Some("scrape-toker"))
            .await
            .status,
        401
    );
    let reply = scrape(address, "GET /metrics", Some("scrape-token")).await;
    assert_eq!(reply.status, 200);
    assert!(
        reply
            .body
            .contains("bursar_webhook_requests_total{outcome=\"accepted\"} 3")
    );
    assert!(
        reply
            .body
            .contains("bursar_webhook_requests_total{outcome=\"duplicate\"} 0")
    );
    assert_eq!(
        scrape(address, "GET /livez", Some("scrape-token"))
            .await
            .status,
        404
    );
    assert_eq!(
        scrape(address, "POST /metrics", Some("scrape-token"))
            .await
            .status,
        405
    );
    let app = crate::app::App::start().await;
    app.send("GET /metrics", &[], b"").await.is_problem(404);
}
