//! A mail server that keeps what it is given.
//!
//! Invariants: lines, mails, recipients, connections and idle time are bounded; any login is taken; no TLS, so it
//! belongs on this machine.
//! Not here: sending mail on, which it never does.
//! Failure: faults only where somebody asked for them.
//! Source of outside rules: RFC 5321; RFC 4954 (`AUTH`); RFC 1870 (`SIZE`).

use super::{MAIL_BYTES_MAX, MailFault, read};
use crate::server::Shared;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Longest line: RFC 5321 asks for 512 of a command and 1000 of text; long ones are common.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Recipients of one mail.
const RECIPIENTS_MAX: usize = 100;
/// Longest silence.
const IDLE: Duration = Duration::from_secs(60);

/// Serves until it is dropped.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            // A client that goes away is no news.
            let _ = Session::new(stream, shared).serve().await;
            drop(permit);
        });
    }
}

struct Session {
    stream: BufReader<TcpStream>,
    shared: Arc<Shared>,
    from: Option<String>,
    to: Vec<String>,
}

enum Next {
    Go,
    Quit,
}

impl Session {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        Self {
            stream: BufReader::new(stream),
            shared,
            from: None,
            to: Vec::new(),
        }
    }

    fn is_down(&self) -> bool {
        let fault = self.shared.mails().fault();
        fault.is_some_and(|asked| asked.kind == MailFault::Down)
    }

    async fn serve(mut self) -> io::Result<()> {
        if self.is_down() {
            // Counted, and used up if it was asked for so often.
            let _ = self.shared.mails().strike();
            return Ok(());
        }
        self.say("220 sandbox ESMTP").await?;
        loop {
            let Some(line) = self.line().await? else {
                return Ok(());
            };
            if self.is_down() {
                return Ok(());
            }
            if matches!(self.obey(&line).await?, Next::Quit) {
                return Ok(());
            }
        }
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.write_all(b"\r\n").await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(IDLE, read_line(&mut self.stream, &mut bytes));
        match read.await {
            Ok(Ok(0)) | Err(_) => Ok(None),
            Ok(Ok(_)) => Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())),
            Ok(Err(error)) => Err(error),
        }
    }

    async fn obey(&mut self, line: &str) -> io::Result<Next> {
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.say("250-sandbox").await?;
                self.say("250-8BITMIME").await?;
                self.say(&format!("250-SIZE {MAIL_BYTES_MAX}")).await?;
                self.say("250 AUTH PLAIN LOGIN").await?;
            }
            "HELO" | "NOOP" => self.say("250 ok").await?,
            "RSET" => {
                self.reset();
                self.say("250 ok").await?;
            }
            "QUIT" => {
                self.say("221 bye").await?;
                return Ok(Next::Quit);
            }
            "AUTH" => self.login(line).await?,
            "MAIL" => match (path(line, "MAIL FROM:"), &self.from) {
                (Some(from), None) => {
                    self.from = Some(from);
                    self.say("250 ok").await?;
                }
                (Some(_), Some(_)) => self.say("503 a sender is known already").await?,
                (None, _) => self.say("501 MAIL FROM:<address>").await?,
            },
            "RCPT" => self.recipient(line).await?,
            "DATA" if self.from.is_none() || self.to.is_empty() => {
                self.say("503 who to whom?").await?;
            }
            "DATA" => return self.data().await,
            _ => self.say("502 not known here").await?,
        }
        Ok(Next::Go)
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    async fn login(&mut self, line: &str) -> io::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let asks = match (
            words.get(1).map(|word| word.to_ascii_uppercase()),
            words.len(),
        ) {
            (Some(how), 3..) if how == "PLAIN" => 0,
            (Some(how), _) if how == "PLAIN" => 1,
            (Some(how), 3..) if how == "LOGIN" => 1,
            (Some(how), _) if how == "LOGIN" => 2,
            _ => return self.say("504 PLAIN or LOGIN").await,
        };
        for _ in 0..asks {
            self.say("334 ").await?;
            if self.line().await?.is_none() {
                return Ok(());
            }
        }
        self.say("235 ok").await
    }

    async fn recipient(&mut self, line: &str) -> io::Result<()> {
        let Some(to) = path(line, "RCPT TO:").filter(|_| self.from.is_some()) else {
            return self.say("501 RCPT TO:<address> after a sender").await;
        };
        if self.to.len() >= RECIPIENTS_MAX {
            return self.say("452 too many recipients").await;
        }
        let asked = self.shared.mails().strike();
        match asked.map(|asked| (asked.kind, asked.seconds)) {
            Some((MailFault::Later, _)) => return self.say("451 4.3.0 later, please").await,
            Some((MailFault::Refused, _)) => return self.say("550 5.1.1 no such mailbox").await,
            Some((MailFault::Slow, seconds)) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            Some((MailFault::Down, _)) | None => {}
        }
        self.to.push(to);
        self.say("250 ok").await
    }

    async fn data(&mut self) -> io::Result<Next> {
        self.say("354 go on").await?;
        let mut raw = Vec::new();
        let mut is_too_large = false;
        loop {
            let mut line = Vec::new();
            let read = tokio::time::timeout(IDLE, read_line(&mut self.stream, &mut line)).await;
            if !matches!(read, Ok(Ok(1..))) {
                return Ok(Next::Quit);
            }
            if line == b".\r\n" || line == b".\n" {
                break;
            }
            let text = line.strip_prefix(b".").unwrap_or(&line);
            is_too_large |= raw.len() + text.len() > MAIL_BYTES_MAX;
            if !is_too_large {
                raw.extend_from_slice(text);
            }
        }
        if is_too_large {
            self.reset();
            self.say("552 5.3.4 larger than 1 MiB").await?;
            return Ok(Next::Go);
        }
        let from = self.from.take().unwrap_or_default();
        let to = std::mem::take(&mut self.to);
        let now = self.shared.clock.now_unix_ms();
        self.shared.mails().put(read(now, from, to, &raw));
        self.say("250 2.0.0 caught").await?;
        Ok(Next::Go)
    }
}

/// One line with its end, at most [`LINE_BYTES_MAX`]; a longer one comes in pieces.
async fn read_line(stream: &mut BufReader<TcpStream>, line: &mut Vec<u8>) -> io::Result<usize> {
    stream.take(LINE_BYTES_MAX).read_until(b'\n', line).await
}

/// What stands between the angle brackets.
fn path(line: &str, verb: &str) -> Option<String> {
    let head = line.get(..verb.len())?;
    if !head.eq_ignore_ascii_case(verb) {
        return None;
    }
    let rest = line.get(verb.len()..)?.trim_start();
    let (inside, _) = rest.strip_prefix('<')?.split_once('>')?;
    Some(inside.to_owned())
}
