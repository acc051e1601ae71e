//! Mail through a server of one's own, over SMTP.
//!
//! Invariants: TLS or nothing, except on this machine; the envelope has one recipient, and it is the checked address.
//! Not here: the wire (`lettre`).
//! Failure: 4xx is this recipient's and tried again; 5xx is final, but a refused login (53x), which a better password
//! ends; no connection is everybody's.
//! Source: RFC 5321 §4.2.1 (codes), RFC 4954 §6 (530, 534, 535, 538), RFC 8314 (465 and 587).

use super::{SendError, Transport, WAIT};
use crate::mail::letter::{Letter, Sender};
use bursar_actors::ports::PortFuture;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{Error, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use percent_encoding::percent_decode_str;
use std::net::IpAddr;

/// Connections kept.
const CONNECTIONS_MAX: u32 = 4;

/// Sends through a server.
pub struct Smtp {
    mailer: AsyncSmtpTransport<Tokio1Executor>,
    sender: Sender,
}

/// A server, read from its URL.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
    /// From the first byte, and not by STARTTLS.
    is_wrapped: bool,
    user: Option<(String, String)>,
}

impl Server {
    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_wrapped = match scheme {
            "smtps" => true,
            "smtp" => false,
            _ => return None,
        };
        let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
        let (user, host) = match rest.rsplit_once('@') {
            None => (None, rest),
            Some((user, host)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                (Some((decoded(name)?, decoded(password)?)), host)
            }
        };
        let usual = if is_wrapped { 465 } else { 587 };
        let host = host.trim_end_matches('/');
        let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => (address, port.strip_prefix(':').map(str::to_owned)),
            None => match host.split_once(':') {
                Some((host, port)) => (host, Some(port.to_owned())),
                None => (host, None),
            },
        };
        let port = port.map_or(Some(usual), |port| port.parse().ok())?;
        Some(Self {
            host: host.to_owned(),
            port,
            is_wrapped,
            user,
        })
    }

    fn is_here(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl Smtp {
    /// For the server of a URL; connects with the first letter.
    ///
    /// # Errors
    /// The URL cannot be used, without repeating it; or TLS cannot be set up.
    pub fn new(url: &str, sender: Sender) -> Result<Self, String> {
        let server = Server::parse(url).ok_or("SMTP_URL cannot be used")?;
        let tls = match (server.is_wrapped, server.is_here()) {
            (false, true) => Tls::None,
            (is_wrapped, _) => {
                let parameters = TlsParameters::new(server.host.clone());
                let parameters = parameters.map_err(|_| "TLS cannot be set up".to_owned())?;
                if is_wrapped {
                    Tls::Wrapper(parameters)
                } else {
                    Tls::Required(parameters)
                }
            }
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host)
            .port(server.port)
            .tls(tls)
            .timeout(Some(WAIT))
            .pool_config(PoolConfig::new().max_size(CONNECTIONS_MAX));
        if let Some((name, password)) = server.user {
            builder = builder.credentials(Credentials::new(name, password));
        }
        let mailer = builder.build();
        Ok(Self { mailer, sender })
    }
}

impl Transport for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }
    fn send<'a>(&'a self, letter: &'a Letter) -> PortFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            let mime = self.sender.mime(letter).map_err(SendError::Refused)?;
            match self.mailer.send(mime).await {
                Ok(_) => Ok(()),
                Err(error) => Err(judge(&error)),
            }
        })
    }
}

fn judge(error: &Error) -> SendError {
    let Some(code) = error.status() else {
        let why = match () {
            () if error.is_timeout() => "no answer in time",
            () if error.is_tls() => "no TLS with the mail server",
            () if error.is_client() => {
                "the mail server lacks what is needed (TLS or a way to log in)"
            }
            () => "no connection to the mail server",
        };
        return SendError::away(why);
    };
    of_code(u16::from(code))
}

fn of_code(code: u16) -> SendError {
    let why = format!("the mail server answered {code}");
    match code {
        421 | 530 | 534 | 535 | 538 => SendError::away(why),
        500.. => SendError::Refused(why),
        _ => SendError::Deferred(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_how_and_as_whom() {
        let server = Server::parse("smtps://user:pa%40ss%3A@mail.example.com").unwrap();
        assert_eq!(
            (server.host.as_str(), server.port),
            ("mail.example.com", 465)
        );
        assert_eq!(server.user, Some(("user".into(), "pa@ss:".into())));
        let server = Server::parse("smtp://mail.example.com").unwrap();
        assert_eq!(
            (server.port, server.is_here(), server.user),
            (587, false, None)
        );
        let server = Server::parse("smtp://[::1]:2525").unwrap();
        assert_eq!((server.port, server.is_here()), (2525, true));
        assert_eq!(Server::parse("http://mail.example.com"), None);
        assert_eq!(Server::parse("smtp://mail.example.com:x"), None);
    }

    #[test]
    fn a_refused_login_can_be_mended_and_an_unknown_mailbox_cannot() {
        assert!(matches!(of_code(535), SendError::Unreachable { .. }));
        assert!(matches!(of_code(421), SendError::Unreachable { .. }));
        assert!(matches!(of_code(451), SendError::Deferred(_)));
        assert!(matches!(of_code(550), SendError::Refused(_)));
    }
}
