//! Raw bytes on a socket: every row of the bad-input catalogue about HTTP itself (BH).

use crate::app::{App, Reply, SECRET, START_SECONDS, quick_limits};
use crate::catalogue::framing::{rows, webhook};
use crate::catalogue::wire::statuses;
use bursar::http::limits::Limits;
use bursar::http::server::{ControlSocket, Peer};
use bursar::stripe::signature::sign;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

#[tokio::test]
async fn framing_two_readers_could_read_differently_is_refused() {
    let app = App::with(quick_limits()).await;
    let rows = rows();
    let count = rows.len();
    for (row, bytes, expected) in rows {
        let answer = app.raw(&bytes).await;
        let got = statuses(&answer);
        assert!(
            got.len() == 1 && expected.contains(&got[0]),
            "{row}: {answer:?}"
        );
        assert!(!answer.to_lowercase().contains("\r\nserver:"), "{row}");
    }
    println!("framing_rows={count}");
    let preface = app.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(
        statuses(&preface).iter().all(|status| *status == 400),
        "BH15 {preface}"
    );
}

#[tokio::test]
async fn a_length_beside_chunks_is_dropped_and_the_tail_never_served() {
    let app = App::start().await;
    let body = "{\"a\":1}";
    let signature = sign(SECRET, body.as_bytes(), START_SECONDS);
    let bytes = format!(
        "POST /webhook HTTP/1.1\r\nHost: a\r\nStripe-Signature: {signature}\r\n\
         Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{body}\r\n0\r\n\r\n\
         GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
    );
    assert_eq!(statuses(&app.raw(bytes.as_bytes()).await), [200], "BH1");
}

#[tokio::test]
async fn a_body_cut_short_leaves_no_record() {
    let app = App::start().await;
    let mut stream = app.connect().await;
    let bytes = webhook(
        "Stripe-Signature: t=1,v1=00\r\nContent-Length: 100\r\n",
        "{\"id\"",
    );
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let got = statuses(&String::from_utf8_lossy(&answer));
    assert!(got.is_empty() || got == [400], "BH10 {got:?}");
    assert_eq!(
        app.gate.accepted.load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

#[tokio::test]
async fn silence_and_slowness_end_in_time() {
    let app = App::with(quick_limits()).await;
    let started = Instant::now();
    assert_eq!(
        statuses(&app.raw(b"POST /web").await),
        Vec::<u16>::new(),
        "BH12"
    );
    let head = started.elapsed();
    let started = Instant::now();
    assert_eq!(statuses(&app.raw(b"").await), Vec::<u16>::new(), "idle");
    let idle = started.elapsed();
    // The idle limit is three times the head's; half of that leaves room for a busy machine.
    assert!(idle > head, "{idle:?} {head:?}");
    let silent = app.raw(&webhook("Content-Length: 10\r\n", "{")).await;
    Reply::parse(&silent).is_problem(408);

    let mut stream = app.connect().await;
    stream
        .write_all(&webhook("Content-Length: 1000\r\n", ""))
        .await
        .unwrap();
    let dripping = async {
        loop {
            if stream.write_all(b" ").await.is_err() {
                break;
            }
            let mut byte = [0; 512];
            match tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await {
                Ok(Ok(read)) => return String::from_utf8_lossy(&byte[..read]).into_owned(),
                Ok(Err(_)) => break,
                Err(_) => {}
            }
        }
        String::new()
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), dripping)
        .await
        .unwrap();
    assert_eq!(statuses(&answer), [408], "BH13");
}

#[tokio::test]
async fn methods_and_paths_are_taken_as_they_were_sent() {
    let app = App::start().await;
    for method in ["TRACE", "post", "FOO", "PUT"] {
        let reply = app.send(&format!("{method} /livez"), &[], b"").await;
        reply.is_problem(405);
        assert_eq!(reply.header("allow"), Some("GET, HEAD"), "BH16 {method}");
    }
    let connect = app
        .raw(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(statuses(&connect), [405], "BH16");
    let absolute = app
        .raw(b"GET http://evil/livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(statuses(&absolute), [200], "BH17: routed by path only");
    for path in [
        "/a/..%2fwebhook",
        "//webhook",
        "/webhook%00",
        "/webhook.",
        "/api/v1/tenants/..%2f..%2flivez",
        "/livez/",
        "/LIVEZ",
    ] {
        let reply = app.operator(&format!("GET {path}"), "").await;
        reply.is_problem(404);
    }
    let reply = app.send("HEAD /livez", &[], b"").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_body_that_is_too_large_by_its_own_word_is_refused_unread() {
    let app = App::start().await;
    let announced = webhook("Expect: 100-continue\r\nContent-Length: 1073741824\r\n", "");
    let answer = app.raw(&announced).await;
    assert_eq!(statuses(&answer), [413], "BH19: no 100 Continue");
    let body = "a".repeat(64 << 10);
    let fits = app.send("GET /livez", &[], body.as_bytes()).await;
    assert_eq!(fits.status, 200, "BH22");
    let reply = app
        .send("GET /livez", &[], &vec![b'a'; (64 << 10) + 1])
        .await;
    reply.is_problem(413);
    let chunked = format!(
        "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}",
        (1 << 20) + 1,
        "a".repeat((1 << 20) + 1)
    );
    let bytes = format!("POST /webhook HTTP/1.1\r\nHost: a\r\n{chunked}\r\n0\r\n\r\n");
    Reply::parse(&app.raw(bytes.as_bytes()).await).is_problem(413);
}

#[tokio::test]
async fn a_pipelined_request_is_a_request_of_its_own() {
    let app = App::start().await;
    let bytes = b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
        GET /api/v1/tenants HTTP/1.1\r\nHost: a\r\n\r\n\
        GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(statuses(&app.raw(bytes).await), [400, 401, 200], "BH20");
}

#[tokio::test]
async fn too_many_idle_connections_close_the_oldest() {
    let limits = Limits {
        connections_max: 20,
        ..Limits::default()
    };
    let app = App::with(limits).await;
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(app.connect().await);
    }
    let reply = app.send("GET /livez", &[], b"").await;
    assert_eq!(reply.status, 200, "BH21");
    let mut byte = [0];
    let closed = tokio::time::timeout(Duration::from_secs(10), idle[0].read(&mut byte)).await;
    assert_eq!(closed.unwrap().unwrap_or(0), 0, "the oldest went first");
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let app = App::start().await;
    let mut idle = app.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut seen = vec![0; 4_096];
    assert!(idle.read(&mut seen).await.unwrap() > 0);
    let mut running = app.connect().await;
    let body = "{}";
    let signature = sign(SECRET, body.as_bytes(), START_SECONDS);
    let head = format!("Stripe-Signature: {signature}\r\nContent-Length: 2\r\n");
    running.write_all(&webhook(&head, "{")).await.unwrap();
    // Until the server has the head, the request is not running yet.
    while app.server.open_connections() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    app.drain();
    assert_eq!(
        idle.read(&mut seen).await.unwrap_or(0),
        0,
        "idle ones close at once"
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(tokio::net::TcpStream::connect(app.address).await.is_err());
    running.write_all(b"}").await.unwrap();
    let mut answer = Vec::new();
    running.read_to_end(&mut answer).await.unwrap();
    assert_eq!(statuses(&String::from_utf8_lossy(&answer)), [200]);
    let ended = tokio::time::timeout(Duration::from_secs(10), app.serving).await;
    assert!(ended.is_ok(), "the server ends once its connections did");
}

#[tokio::test]
async fn the_control_socket_has_the_operators_rights_and_nobody_elses_eyes() {
    use std::os::unix::fs::PermissionsExt;
    let app = App::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bursar.sock");
    let socket = ControlSocket::bind(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let serving = tokio::spawn(app.server.clone().run_unix(socket));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let request =
        b"GET /api/v1/webhook-events HTTP/1.1\r\nHost: bursar\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(statuses(&answer), [200]);
    app.drain();
    tokio::time::timeout(Duration::from_secs(10), serving)
        .await
        .unwrap()
        .unwrap();
    assert!(!path.exists(), "the file goes with the listener");
}

#[tokio::test]
async fn any_stream_is_served() {
    let app = App::start().await;
    let (mut near, far) = tokio::io::duplex(4_096);
    let server = app.server.clone();
    let peer = Peer::Address("192.0.2.1".parse().unwrap());
    tokio::spawn(async move { server.serve_connection(far, peer).await });
    let request = b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    near.write_all(request).await.unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"checks\""), "{answer}");
}

/// xorshift64*: enough to disturb bytes, and the same for the same seed everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }
    fn disturb(&mut self, bytes: &mut Vec<u8>) {
        const TOKENS: [&[u8]; 12] = [
            b"\r\n",
            b"\r\n\r\n",
            b"\0",
            b"%00",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"{\"a\":",
            b"\xff\xfe",
            b"Host: b\r\n",
            b"?cursor=00",
            b"Idempotency-Key: k\r\n",
            b"X-Tenant-Id: acme\r\n",
        ];
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len().max(1)).min(bytes.len());
            match self.below(4) {
                0 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                1 => bytes.truncate(at),
                2 => {
                    let token = TOKENS[self.below(TOKENS.len())];
                    bytes.splice(at..at, token.iter().copied());
                }
                _ => {
                    let end = (at + self.below(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
    }
}

#[tokio::test]
async fn disturbed_requests_are_answered_or_closed_and_never_500() {
    let seed = std::env::var("BURSAR_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let cases = std::env::var("BURSAR_CASES")
        .ok()
        .and_then(|s| s.parse().ok());
    let (seed, cases) = (seed.unwrap_or(0x5eed_u64), cases.unwrap_or(600));
    println!("seed={seed} cases={cases}");
    let app = App::with(quick_limits()).await;
    let key = crate::app::ADMIN_KEY;
    let signed = sign(SECRET, b"{}", START_SECONDS);
    let requests = [
        webhook(&format!("Stripe-Signature: {signed}\r\nContent-Length: 2\r\n"), "{}"),
        format!("GET /api/v1/tenants?limit=5&status=a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n").into_bytes(),
        format!("POST /api/v1/tenants HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n{{\"tenantId\":\"acme\",\"metadata\":{{\"k\":\"vvvvv\"}}}}").into_bytes(),
        format!("POST /api/v1/webhook-events/replay HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n{{\"dryRun\":true}}\r\n0\r\n\r\n").into_bytes(),
        format!("PATCH /api/v1/tenants/acme?name=x HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n").into_bytes(),
    ];
    let mut chance = Chance(seed.max(1));
    let mut seen = std::collections::BTreeMap::new();
    for case in 0..cases {
        let mut bytes = requests[chance.below(requests.len())].clone();
        chance.disturb(&mut bytes);
        let mut stream = app.connect().await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let ended = tokio::time::timeout(Duration::from_secs(20), reading).await;
        assert!(
            ended.is_ok(),
            "case {case} hangs: {:?}",
            String::from_utf8_lossy(&bytes)
        );
        for status in statuses(&String::from_utf8_lossy(&answer)) {
            assert_ne!(
                status,
                500,
                "case {case}: {:?}",
                String::from_utf8_lossy(&bytes)
            );
            *seen.entry(status).or_insert(0) += 1;
        }
    }
    println!("statuses={seen:?}");
    assert!(seen.len() >= 5, "{seen:?}");
    assert_eq!(app.send("GET /readyz", &[], b"").await.status, 200);
}
