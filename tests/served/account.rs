//! A store and the key's account: the first account the service was of is the store's, another ends it with 65.

use crate::child::{Server, Settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WITHIN: Duration = Duration::from_secs(60);

/// Answers every request with this account, and counts those for it.
async fn stripe_of(account: &'static str) -> (String, Arc<AtomicU64>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let body =
                format!(r#"{{"object":"account","id":"{account}","data":[],"has_more":false}}"#);
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                 date: Thu, 26 Nov 2026 00:00:00 GMT\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            if head.starts_with(b"GET /v1/account ") {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (base, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_account_ends_the_service_and_its_own_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::in_folder(folder.path());
    let (own, asked) = stripe_of("acct_own").await;
    let (other, _) = stripe_of("acct_other").await;
    for round in 1..=2 {
        let mut server = Server::start(&settings.clone().env("STRIPE_API_BASE", &own));
        let since = Instant::now();
        while asked.load(Ordering::SeqCst) < round {
            assert!(since.elapsed() < WITHIN, "it never asked whose key it is");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // What was answered is written down before a stop ends.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(server.terminate(), Some(0), "round {round}");
    }
    let mut server = Server::start(&settings.env("STRIPE_API_BASE", &other));
    let since = Instant::now();
    while server.runs() {
        assert!(
            since.elapsed() < WITHIN,
            "it goes on with another account's books"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = server.log();
    assert_eq!(server.exit_code(), Some(65), "{log}");
    assert!(
        log.contains("acct_own") && log.contains("acct_other"),
        "{log}"
    );
}
