//! SIGTERM on the real binary, with clients that do not let go.

use crate::child::{Server, Settings};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const DRAIN_SECONDS: u32 = 6;

async fn start(folder: &std::path::Path) -> Server {
    let settings = Settings::in_folder(folder).drain_seconds(DRAIN_SECONDS);
    let mut server = Server::start(&settings);
    server.wait_ready().await;
    server
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url().trim_start_matches("http://")).unwrap()
}

/// Asks once and keeps the connection, on any stream.
fn keep_alive<S: Read + Write>(mut stream: S) -> S {
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: bursar.test\r\n\r\n")
        .unwrap();
    let mut answer = [0; 1_024];
    let length = stream.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    stream
}

/// Sends a head and half of the body it announces.
fn hang(server: &Server) -> TcpStream {
    let mut stream = connect(server);
    stream
        .write_all(
            b"POST /webhook HTTP/1.1\r\nHost: bursar.test\r\nContent-Length: 20\r\n\r\n{\"half\":",
        )
        .unwrap();
    // Until the head was read, the connection counts as idle.
    std::thread::sleep(Duration::from_millis(300));
    stream
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_waits_for_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path()).await;
    let mut public = keep_alive(connect(&server));
    let mut control = keep_alive(UnixStream::connect(server.socket()).unwrap());
    let asked = Instant::now();
    assert_eq!(server.terminate(), Some(0));
    let most = Duration::from_secs(DRAIN_SECONDS.into()) / 2;
    assert!(asked.elapsed() < most, "an idle connection was waited for");
    assert_eq!(public.read(&mut [0; 16]).unwrap(), 0, "it was closed");
    assert_eq!(control.read(&mut [0; 16]).unwrap(), 0, "it was closed");
    assert!(!server.socket().exists(), "the socket is taken away");
}

#[tokio::test]
async fn a_request_that_hangs_is_cut_off_before_the_drain_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path()).await;
    let hung = hang(&server);
    let asked = Instant::now();
    assert_eq!(server.terminate(), Some(0), "everything else ended in time");
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(DRAIN_SECONDS.into()), "{took:?}");
    drop(hung);
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = start(dir.path()).await;
    let hung = hang(&server);
    server.send_terminate();
    std::thread::sleep(Duration::from_millis(500));
    assert!(server.runs(), "the hung request is waited for");
    let asked = Instant::now();
    server.send_terminate();
    assert_eq!(server.exit_code(), Some(143));
    let most = Duration::from_secs(DRAIN_SECONDS.into()) / 4;
    assert!(asked.elapsed() < most, "it went on draining");
    drop(hung);
}
