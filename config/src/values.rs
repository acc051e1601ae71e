//! Small typed values: durations, addresses, address ranges, base URLs, mail addresses.
//!
//! Invariants: every parser is total over text, bounded, and echoes no credentials in its errors.
//! Not here: which key takes which value (`validate`).
//! Failure: a sentence for a [`Problem`](crate::Problem).
//! Source: RFC 3986 (authority), RFC 4632 (CIDR), RFC 6761 (localhost).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Ten years: longer than any period here makes sense for.
const DURATION_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// Parses `250ms`, `15s`, `15m`, `24h`, `3d`. A number without a unit is refused.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const HINT: &str = "write a whole number and a unit: 250ms, 15s, 15m, 24h or 3d";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("{text:?} is not a duration; {HINT}"));
    }
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("{text:?} has no unit; {HINT}")),
        _ => return Err(format!("{text:?} is not a duration; {HINT}")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis_per_unit))
        .map(Duration::from_millis)
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| format!("{text:?} is longer than ten years"))
}

/// Parses an address to listen on: `127.0.0.1:8087`, `[::1]:8087`, `localhost:8087`; port 0 means any.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    const HINT: &str = "write an IP address and a port, such as 127.0.0.1:8087";
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("{text:?} has no port; {HINT}"));
    };
    let Ok(number) = port.parse::<u32>() else {
        return Err(format!("the port of {text:?} is not a number; {HINT}"));
    };
    let port = u16::try_from(number)
        .map_err(|_| format!("port {number} does not exist; ports end at 65535"))?;
    if host == "localhost" {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip = match bare {
        Some(host) => host.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    ip.map(|ip| SocketAddr::new(ip, port))
        .ok_or_else(|| format!("{host:?} is not an IP address; {HINT}"))
}

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Whether the range holds an address. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                shift == 32 || range.to_bits() >> shift == address.to_bits() >> shift
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                shift == 128 || range.to_bits() >> shift == address.to_bits() >> shift
            }
            _ => false,
        }
    }

    /// Whether the range is every address of its family.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// Reads `10.0.0.0/8`, or one address. # Errors: what is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(format!(
                "{text:?} is not an address range; write 10.0.0.0/8, loopback or private"
            ));
        };
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits)
                .ok_or_else(|| format!("{text:?}: the part after / must be 0 to {bits}"))?,
        };
        let range = Self { address, prefix };
        let start = range.start();
        if start != address {
            return Err(format!(
                "{text:?} has bits behind its prefix; did you mean {start}/{prefix}?"
            ));
        }
        Ok(range)
    }

    fn start(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix))
                    .unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix))
                    .unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Parses one item of a range list: a CIDR, an address, `loopback` or `private`.
pub(crate) fn ranges(text: &str) -> Result<Vec<Cidr>, String> {
    let names: &[&str] = match text {
        "loopback" => &["127.0.0.0/8", "::1/128"],
        // RFC 1918, RFC 4193, and link-local of both families.
        "private" => &[
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ],
        _ => return Cidr::parse(text).map(|range| vec![range]),
    };
    names.iter().map(|name| Cidr::parse(name)).collect()
}

/// An `http` or `https` address without credentials, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    https: bool,
    host: String,
    port: Option<u16>,
    path: String,
}

impl BaseUrl {
    /// Parses an address; trailing slashes are dropped.
    ///
    /// # Errors
    /// A sentence that says what is wrong and repeats no credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > 2_048 {
            return Err("is longer than 2,048 characters".to_owned());
        }
        if text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '\\')
        {
            return Err("holds white space or a character no address has".to_owned());
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("is not an address; it starts with https://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("starts neither with https:// nor with http://".to_owned()),
        };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        if authority.contains('@') {
            return Err("holds a user name or password; an address must not".to_owned());
        }
        if path.contains(['?', '#']) {
            return Err("holds a query or fragment; give the address alone".to_owned());
        }
        if !path.is_ascii() || path.split('/').any(|part| part == "..") {
            return Err("has a path this product cannot use".to_owned());
        }
        let (host, port) = host_and_port(authority)?;
        let default_port = if https { 443 } else { 80 };
        let port = port.filter(|port| *port != default_port);
        Ok(Self {
            https,
            host,
            port,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// Plain http to a socket; an unspecified address is reached as loopback.
    pub(crate) fn of_socket(socket: SocketAddr) -> Self {
        let host = match socket.ip() {
            ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let port = Some(socket.port()).filter(|port| *port != 80);
        Self {
            https: false,
            host,
            port,
            path: String::new(),
        }
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host, in lower case, IPv6 in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path without its trailing slash; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || bare
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// Scheme, host and port, as browsers send it in `Origin`.
    pub fn origin(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        match self.port {
            Some(port) => format!("{scheme}://{}:{port}", self.host),
            None => format!("{scheme}://{}", self.host),
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("has a [ without its ]")?;
            let ip: Ipv6Addr = host.parse().map_err(|_| "has a malformed IPv6 address")?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err("has something between ] and its port".to_owned()),
            };
            (format!("[{ip}]"), port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
            None => (authority.to_ascii_lowercase(), None),
        },
    };
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err("has a port that is not 1 to 65535".to_owned()),
        },
    };
    if !host.starts_with('[') {
        let plausible = !host.is_empty()
            && host.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        // `127.1` and `0x7f.1` are addresses to some resolvers and names to others.
        let last = host.rsplit('.').next().unwrap_or_default();
        let numeric = last.starts_with(|c: char| c.is_ascii_digit());
        if !plausible || (numeric && host.parse::<Ipv4Addr>().is_err()) {
            return Err("has no usable host name".to_owned());
        }
    }
    Ok((host, port))
}

/// Checks a mail address: one `@`, no white space, control characters or quotes.
pub(crate) fn mail_address(text: &str) -> Result<String, String> {
    let fine = text.len() <= 254
        && text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        })
        && !text
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || "\"<>(),;:\\".contains(c));
    if fine {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a mail address"))
    }
}

/// Checks a sender: `billing@example.com` or `Example <billing@example.com>`.
pub(crate) fn sender(text: &str) -> Result<String, String> {
    let address = match text.strip_suffix('>').and_then(|rest| rest.split_once('<')) {
        Some((name, address)) if !name.chars().any(|c| c.is_control() || c == '"') => address,
        Some(_) => return Err(format!("{text:?} has a name no mail can carry")),
        None => text,
    };
    mail_address(address).map(|_| text.to_owned())
}
