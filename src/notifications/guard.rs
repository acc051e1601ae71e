//! Where an endpoint may point: nowhere inside.
//!
//! A stranger who may set an address could make this server ask its own network. So an address must be https without
//! credentials, and whatever its name resolves to, at every attempt anew, must be a public unicast address; the
//! connection goes to the very address that was checked, since the resolver that checks is the client's.
//!
//! Invariants: one forbidden address among several refuses the name; redirects and proxies are not followed (`attempt`).
//! With `BURSAR_OUTBOUND_ALLOW_PRIVATE` private and loopback addresses are allowed, and plain http to loopback; metadata
//! services never are.
//! Source: IANA special-purpose address registries; OWASP, "Server-Side Request Forgery Prevention".

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Longest address taken.
const URL_BYTES_MAX: usize = 2_048;

/// Why an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    allow_private: bool,
}

impl Guard {
    /// Rules that allow private addresses or do not.
    pub const fn new(allow_private: bool) -> Self {
        Self { allow_private }
    }

    /// Reads an address as far as it can be judged without resolving its name. # Errors: the rule it breaks.
    pub fn check(self, text: &str) -> Result<Url, Refused> {
        let refuse = |why: &str| Err(Refused(why.to_owned()));
        if text.len() > URL_BYTES_MAX {
            return refuse("the address is longer than 2048 bytes");
        }
        let Ok(url) = Url::parse(text) else {
            return refuse("this is no address such as https://app.example.com/bursar");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("an address must not hold credentials");
        }
        let Some(host) = url.host_str() else {
            return refuse("the address names no host");
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let literal: Option<IpAddr> = bare.parse().ok();
        let name = bare.trim_end_matches('.').to_ascii_lowercase();
        let is_local_name = name == "localhost" || name.ends_with(".localhost");
        let is_loopback = literal.map_or(is_local_name, |ip| ip.to_canonical().is_loopback());
        let is_plain_but_here = url.scheme() == "http" && is_loopback && self.allow_private;
        if url.scheme() != "https" && !is_plain_but_here {
            return refuse("the address must begin with https://");
        }
        if let Some(ip) = literal {
            self.admits(ip)?;
        } else if is_local_name && !self.allow_private {
            return refuse("the address is this machine's own");
        }
        Ok(url)
    }

    /// Whether a connection may go there. # Errors: what kind of address it is.
    pub fn admits(self, ip: IpAddr) -> Result<(), Refused> {
        match kind_of(ip.to_canonical()) {
            Kind::Public => Ok(()),
            Kind::Inside(_) if self.allow_private => Ok(()),
            Kind::Inside(word) | Kind::Never(word) => {
                Err(Refused(format!("{ip} is a {word} address")))
            }
        }
    }
}

/// What may be reached at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Public,
    /// The inside: allowed where the operator says so.
    Inside(&'static str),
    /// Nothing that could receive, or a metadata service.
    Never(&'static str),
}

fn kind_of(ip: IpAddr) -> Kind {
    match ip {
        IpAddr::V4(ip) => kind_of_v4(ip),
        IpAddr::V6(ip) => kind_of_v6(ip),
    }
}

fn kind_of_v4(ip: Ipv4Addr) -> Kind {
    match ip.octets() {
        [127, ..] => Kind::Inside("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Kind::Inside("private"),
        [100, 64..=127, ..] => Kind::Inside("shared"),
        [169, 254, ..] => Kind::Never("link-local"),
        [0, ..] => Kind::Never("unspecified"),
        [224..=239, ..] => Kind::Never("multicast"),
        [240..=255, ..] => Kind::Never("reserved"),
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Kind::Never("documentation"),
        [192, 88, 99, _] => Kind::Never("relay"),
        [198, 18 | 19, ..] => Kind::Never("benchmark"),
        _ => Kind::Public,
    }
}

fn kind_of_v6(ip: Ipv6Addr) -> Kind {
    let segments = ip.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        match kind_of_v4(Ipv4Addr::new(a, b, c, d)) {
            Kind::Public => Kind::Public,
            // Whether a gateway is there is not known here, so not even where the inside is allowed.
            Kind::Inside(word) | Kind::Never(word) => Kind::Never(word),
        }
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Inside("loopback"),
        [0, 0, 0, 0, 0, 0, 0, 0] => Kind::Never("unspecified"),
        // AWS's metadata service.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254] => Kind::Never("metadata"),
        [0xfc00..=0xfdff, ..] => Kind::Inside("private"),
        [0xfe80..=0xfebf, ..] => Kind::Never("link-local"),
        [0xfec0..=0xfeff, ..] => Kind::Never("site-local"),
        [0xff00..=0xffff, ..] => Kind::Never("multicast"),
        // NAT64, 6to4: an IPv4 address inside.
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        [0x0064, 0xff9b, 1, ..] => Kind::Never("translation"),
        [0x2001, 0x0000, ..] => Kind::Never("tunnel"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Kind::Never("documentation"),
        [0x2001, 0x0001..=0x01ff, ..] => Kind::Never("special"),
        [0x0100, 0, 0, 0, ..] => Kind::Never("discard"),
        // Unicast that is given out begins with 2 or 3; the deprecated compatible form is among the rest.
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Never("reserved"),
    }
}

/// Says which addresses a name has.
pub trait Lookup: Send + Sync + 'static {
    /// Its addresses now.
    fn lookup(&self, name: String) -> LookupFuture;
}

/// The answer to a look-up.
pub type LookupFuture =
    std::pin::Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Lookup for SystemNames {
    fn lookup(&self, name: String) -> LookupFuture {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A resolver that hands out checked addresses only.
pub struct GuardedNames {
    guard: Guard,
    names: Arc<dyn Lookup>,
}

impl GuardedNames {
    /// Checks what `names` finds.
    pub fn new(guard: Guard, names: Arc<dyn Lookup>) -> Self {
        Self { guard, names }
    }
}

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, looking) = (self.guard, self.names.lookup(name.as_str().to_owned()));
        Box::pin(async move {
            let found = looking.await?;
            for ip in &found {
                guard.admits(*ip)?;
            }
            // The client puts the address's own port in place of 0.
            let checked = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(checked) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_unicast_addresses_are_reached() {
        let (strict, open) = (Guard::new(false), Guard::new(true));
        for (ip, is_strict_ok, is_open_ok) in [
            ("8.8.8.8", true, true),
            ("2606:4700::1111", true, true),
            ("::ffff:8.8.8.8", true, true),
            ("172.15.0.1", true, true),
            ("172.32.0.1", true, true),
            ("100.63.255.255", true, true),
            ("127.0.0.1", false, true),
            ("127.255.255.254", false, true),
            ("::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("10.1.2.3", false, true),
            ("172.16.0.1", false, true),
            ("172.31.255.255", false, true),
            ("192.168.0.1", false, true),
            ("::ffff:192.168.0.1", false, true),
            ("100.64.0.1", false, true),
            ("fd12::1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fd00:ec2::254", false, false),
            ("fe80::1", false, false),
            ("fec0::1", false, false),
            ("0.0.0.0", false, false),
            ("0.1.2.3", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("ff02::1", false, false),
            ("255.255.255.255", false, false),
            ("240.0.0.1", false, false),
            ("192.0.2.1", false, false),
            ("198.18.0.1", false, false),
            ("64:ff9b::7f00:1", false, false),
            ("64:ff9b::808:808", true, true),
            ("2002:a00:1::", false, false),
            ("2001::1", false, false),
            ("2001:db8::1", false, false),
            ("::127.0.0.1", false, false),
            ("100::1", false, false),
        ] {
            let parsed: IpAddr = ip.parse().unwrap();
            assert_eq!(strict.admits(parsed).is_ok(), is_strict_ok, "{ip}");
            assert_eq!(open.admits(parsed).is_ok(), is_open_ok, "{ip}");
        }
    }

    #[test]
    fn addresses_are_https_without_credentials_and_not_inside() {
        let (strict, open) = (Guard::new(false), Guard::new(true));
        for (url, is_strict_ok, is_open_ok) in [
            ("https://app.example.com/hook?x=1", true, true),
            ("https://8.8.8.8:8443/", true, true),
            ("http://app.example.com/", false, false),
            ("http://10.0.0.1/", false, false),
            ("https://user@app.example.com/", false, false),
            ("https://user:pw@app.example.com/", false, false),
            ("https://localhost/", false, true),
            ("https://sub.localhost./", false, true),
            ("http://localhost:3000/", false, true),
            ("http://127.0.0.1:3000/", false, true),
            ("http://[::1]:3000/", false, true),
            ("https://[::ffff:10.0.0.1]/", false, true),
            // The same address as a number, in octal, in hex: read as a browser reads them.
            ("https://2130706433/", false, true),
            ("https://0177.0.0.1/", false, true),
            ("https://0x7f.1/", false, true),
            ("https://169.254.169.254/latest/meta-data", false, false),
            ("ftp://app.example.com/", false, false),
            ("file:///etc/passwd", false, false),
            ("https://", false, false),
            ("app.example.com", false, false),
        ] {
            assert_eq!(strict.check(url).is_ok(), is_strict_ok, "{url}");
            assert_eq!(open.check(url).is_ok(), is_open_ok, "{url}");
        }
        assert!(
            strict
                .check(&format!("https://a.example/{}", "x".repeat(2_100)))
                .is_err()
        );
    }
}
