//! Heads and bodies that two readers could read differently, and those that are no HTTP (rows BH).

/// Row, bytes, the statuses that are right.
pub(crate) type Row = (&'static str, Vec<u8>, &'static [u16]);

pub(crate) fn webhook(extra: &str, body: &str) -> Vec<u8> {
    format!("POST /webhook HTTP/1.1\r\nHost: a\r\n{extra}\r\n{body}").into_bytes()
}

/// Each is answered once and the connection closed.
pub(crate) fn rows() -> Vec<Row> {
    let many = (0..200).fold(String::new(), |all, n| all + &format!("X-{n}: 1\r\n"));
    let long = format!("X-Long: {}\r\n", "a".repeat(100 << 10));
    let path = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70 << 10));
    let extension = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(20 << 10));
    vec![
        (
            "BH2 two lengths",
            webhook("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
            &[400],
        ),
        (
            "BH2 list",
            webhook("Content-Length: 2, 2\r\n", "{}"),
            &[400],
        ),
        ("BH2 plus", webhook("Content-Length: +2\r\n", "{}"), &[400]),
        ("BH2 minus", webhook("Content-Length: -1\r\n", "{}"), &[400]),
        ("BH2 hex", webhook("Content-Length: 0x2\r\n", "{}"), &[400]),
        (
            "BH2 2^64",
            webhook("Content-Length: 18446744073709551616\r\n", "{}"),
            &[400],
        ),
        (
            "BH3 equal lengths",
            webhook("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
            &[400],
        ),
        (
            "BH4 identity",
            webhook("Transfer-Encoding: identity\r\n", "{}"),
            &[400],
        ),
        (
            "BH4 chunked, identity",
            webhook("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
            &[400],
        ),
        (
            "BH4 xchunked",
            webhook("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        (
            "BH4 on 1.0",
            b"POST /webhook HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
            &[400],
        ),
        (
            "BH5 gzip, chunked",
            webhook("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        (
            "BH6 space before colon",
            webhook("Content-Length : 2\r\n", "{}"),
            &[400],
        ),
        ("BH6 folded", webhook("X-A: 1\r\n 2\r\n", ""), &[400]),
        ("BH6 bare CR", webhook("X-A: 1\r2\r\n", ""), &[400]),
        ("BH6 NUL", webhook("X-A: 1\0\r\n", ""), &[400]),
        (
            "BH8 no host",
            b"GET /livez HTTP/1.1\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            "BH8 two hosts",
            b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            "BH9 17 digits",
            webhook(
                "Transfer-Encoding: chunked\r\n",
                "00000000000000002\r\n{}\r\n0\r\n\r\n",
            ),
            &[400],
        ),
        (
            "BH9 0x2",
            webhook("Transfer-Encoding: chunked\r\n", "0x2\r\n{}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "BH9 extension",
            webhook("Transfer-Encoding: chunked\r\n", &extension),
            &[400],
        ),
        ("BH11 200 headers", webhook(&many, ""), &[431]),
        ("BH11 long header", webhook(&long, ""), &[431]),
        ("BH11 long path", path.into_bytes(), &[414, 431]),
        (
            "BH14 TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            &[400],
        ),
        ("BH14 garbage", b"\xff\xfe\xfd\r\n\r\n".to_vec(), &[400]),
        ("BH14 0.9", b"GET /livez\r\n\r\n".to_vec(), &[400]),
        (
            "BH14 1.2",
            b"GET /livez HTTP/1.2\r\nHost: a\r\n\r\n".to_vec(),
            &[400],
        ),
    ]
}
