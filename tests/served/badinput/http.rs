//! HTTP itself (BH).

use super::{Tally, World};
use crate::catalogue::framing::{rows as framing, webhook};
use crate::catalogue::wire::{Reply, raw, statuses};
use crate::child::{WEBHOOK_SECRET, unix_now};
use bursar::stripe::signature::sign;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) async fn rows(world: &World, tally: &mut Tally) {
    for (row, bytes, expected) in framing() {
        let answer = world.raw(&bytes).await;
        let got = statuses(&answer);
        let is_right = got.len() == 1 && expected.contains(&got[0]);
        tally.case(row, is_right, || answer.clone());
        let names_itself = answer.to_lowercase().contains("\r\nserver:");
        tally.case(row, !names_itself, || answer.clone());
    }
    let preface = world.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let is_closed = statuses(&preface).iter().all(|status| *status == 400);
    tally.case("BH15", is_closed, || preface.clone());
    one_connection(world, tally).await;
    methods_and_paths(world, tally).await;
    bodies(world, tally).await;
}

async fn one_connection(world: &World, tally: &mut Tally) {
    let body = r#"{"a":1}"#;
    let signature = sign(WEBHOOK_SECRET, body.as_bytes(), unix_now());
    let bytes = format!(
        "POST /webhook HTTP/1.1\r\nHost: a\r\nStripe-Signature: {signature}\r\n\
         Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{body}\r\n0\r\n\r\n\
         GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    let got = statuses(&world.raw(bytes.as_bytes()).await);
    tally.case("BH1", got == [200], || format!("{got:?}"));
    let bytes = b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
        GET /api/v1/tenants HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let got = statuses(&world.raw(bytes).await);
    tally.case("BH20", got == [400, 401, 200], || format!("{got:?}"));
    let lines = world
        .raw(b"GET /livez HTTP/1.1\nHost: a\nConnection: close\n\n")
        .await;
    let got = statuses(&lines);
    tally.case("BH7", got == [200] || got == [400], || format!("{got:?}"));
    let mut stream = TcpStream::connect(world.server.address()).await.unwrap();
    let half = webhook(
        "Stripe-Signature: t=1,v1=00\r\nContent-Length: 100\r\n",
        "{",
    );
    stream.write_all(&half).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let got = statuses(&String::from_utf8_lossy(&answer));
    tally.case("BH10", got.is_empty() || got == [400], || {
        format!("{got:?}")
    });
}

async fn methods_and_paths(world: &World, tally: &mut Tally) {
    for method in ["TRACE", "post", "FOO", "PUT"] {
        let reply = world.send(&format!("{method} /livez"), &[], b"").await;
        tally.is("BH16", &reply, &[405]);
    }
    let connect = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n";
    let got = statuses(&world.raw(connect).await);
    tally.case("BH16", got == [405], || format!("{got:?}"));
    let absolute = b"GET http://evil/livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let got = statuses(&world.raw(absolute).await);
    tally.case("BH17", got == [200] || got == [400], || format!("{got:?}"));
    for path in [
        "/a/..%2fwebhook",
        "//webhook",
        "/webhook%00",
        "/webhook.",
        "/api/v1/tenants/..%2f..%2flivez",
        "/livez/",
        "/LIVEZ",
    ] {
        let reply = world.operator(&format!("GET {path}"), "").await;
        tally.is("BH18", &reply, &[404]);
    }
}

async fn bodies(world: &World, tally: &mut Tally) {
    let announced = webhook("Expect: 100-continue\r\nContent-Length: 1073741824\r\n", "");
    let got = statuses(&world.raw(&announced).await);
    tally.case("BH19", got == [413], || format!("{got:?}"));
    let fits = world.send("GET /livez", &[], &vec![b'a'; 64 << 10]).await;
    tally.is("BH22", &fits, &[200]);
    let more = world
        .send("GET /livez", &[], &vec![b'a'; (64 << 10) + 1])
        .await;
    tally.is("BH22", &more, &[413]);
    let size = (1 << 20) + 1;
    let chunked = format!(
        "POST /webhook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n",
        "a".repeat(size)
    );
    let reply = Reply::parse(&world.raw(chunked.as_bytes()).await);
    tally.is("BW28", &reply, &[413]);
}

/// Silence and slowness end: by the server, with the word there is for it.
pub(super) async fn slow(address: SocketAddr) -> Vec<(&'static str, bool, String)> {
    let half_a_line = raw(address, b"POST /web");
    let silent = webhook("Content-Length: 10\r\n", "{");
    let silent = raw(address, &silent);
    let (half_a_line, silent, dripping) = tokio::join!(half_a_line, silent, dripping(address));
    let (line, half) = (statuses(&half_a_line), statuses(&silent));
    let slowly = statuses(&dripping);
    vec![
        ("BH12", line.is_empty() || line == [408], half_a_line),
        ("BH13", half == [408], silent),
        ("BH13", slowly == [408], dripping),
    ]
}

/// A byte now and then, until the server has had enough.
async fn dripping(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = webhook("Content-Length: 1000\r\n", "");
    stream.write_all(&head).await.unwrap();
    for _ in 0..300 {
        if stream.write_all(b" ").await.is_err() {
            return "closed without a word".to_owned();
        }
        let mut bytes = [0; 512];
        let reading = stream.read(&mut bytes);
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(200), reading).await {
            let read = read.unwrap_or(0);
            return String::from_utf8_lossy(&bytes[..read]).into_owned();
        }
    }
    "still open".to_owned()
}
