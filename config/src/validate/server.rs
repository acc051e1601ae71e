//! The server's own side: addresses, store, logs, limits, and how events are read.
//!
//! Invariants: what opens the product to the network is said aloud; limits cannot contradict each
//! other; a store this build does not have is refused by its own code.
//! Not here: Stripe (`stripe`), mail (`outside`).
//! Failure: problems.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bursar_domain::settings::PaymentLinkCheckouts;
use secrecy::SecretString;

use super::Checker;
use crate::config::{
    Addresses, Config, ConnectOnboarding, EventRules, Limits, Log, LogFormat, Mode, Retention,
    StoreLocation, WEBHOOK_BODY_BYTES_MAX,
};
use crate::values::{self, BaseUrl, Cidr};

const ANY_LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A pod gets 30 s between its signal and its end; a longer drain would be cut off by a kill.
const DRAIN_SECONDS_MAX: i64 = 600;

pub(super) fn listen(checker: &mut Checker<'_>) -> SocketAddr {
    checker
        .optional("listen", values::listen)
        .unwrap_or(ANY_LOOPBACK)
}

pub(super) fn metrics_listen(checker: &mut Checker<'_>) -> SocketAddr {
    checker
        .optional("metrics_listen", values::listen)
        .unwrap_or(ANY_LOOPBACK)
}

pub(super) fn metrics_token(checker: &mut Checker<'_>) -> Option<SecretString> {
    checker.secret("metrics_token", |text| {
        if text.len() < 16 {
            return Err(format!(
                "has {} characters, at least 16 are needed",
                text.len()
            ));
        }
        Ok(())
    })
}

pub(super) fn trust_proxy(checker: &mut Checker<'_>) -> Vec<Cidr> {
    let ranges: Vec<Cidr> = checker
        .list("trust_proxy", values::ranges)
        .into_iter()
        .flatten()
        .collect();
    if ranges.iter().any(Cidr::is_everything) {
        let subject = checker.subject("trust_proxy");
        let text = "everybody may claim any client address, which defeats limits and the audit log";
        checker.warnings.push(format!("{subject}: {text}"));
    }
    ranges
}

pub(super) fn addresses(checker: &mut Checker<'_>, mode: Mode) -> Addresses {
    let app = checker.optional("app_base_url", |text| {
        let url = BaseUrl::parse(text)?;
        if url.is_https() || url.is_loopback() {
            Ok(url)
        } else {
            Err("mails link to it, so outside this machine it must be https".to_owned())
        }
    });
    let app = app.unwrap_or_else(|| {
        BaseUrl::parse("http://127.0.0.1:8087").expect("a constant that is an address")
    });
    let client = checker.optional("client_base_url", |text| {
        let url = BaseUrl::parse(text)?;
        secure_enough(&url, mode)?;
        Ok(url)
    });
    let further = checker.list("allowed_return_origins", |text| {
        let url = BaseUrl::parse(text)?;
        if !url.path().is_empty() {
            return Err("has a path; an origin is scheme, host and port alone".to_owned());
        }
        secure_enough(&url, mode)?;
        Ok(url)
    });
    for (path, urls) in [
        ("client_base_url", client.as_slice()),
        ("allowed_return_origins", &further),
    ] {
        for url in urls
            .iter()
            .filter(|url| !url.is_https() && !url.is_loopback())
        {
            let subject = checker.subject(path);
            let warning = format!("{subject}: customers return over plain http to {url}");
            checker.warnings.push(warning);
        }
    }
    let client = client.unwrap_or_else(|| app.clone());
    let mut return_origins = vec![client.origin()];
    for origin in further.iter().map(BaseUrl::origin) {
        if !return_origins.contains(&origin) {
            return_origins.push(origin);
        }
    }
    Addresses {
        app,
        client,
        return_origins,
    }
}

/// Where customers return to: plain http elsewhere is a test set-up, and only with a test key.
fn secure_enough(url: &BaseUrl, mode: Mode) -> Result<(), String> {
    if url.is_https() || url.is_loopback() || !mode.is_live() {
        return Ok(());
    }
    Err("customers return there; with a live key it must be https".to_owned())
}

pub(super) fn store(checker: &mut Checker<'_>) -> StoreLocation {
    let fallback = StoreLocation::Sled(PathBuf::from("data"));
    let Some(raw) = checker.raw("store") else {
        return fallback;
    };
    let text = checker.text("store").unwrap_or_default().trim();
    if let Some(path) = text.strip_prefix("sled:") {
        if path.trim().is_empty() {
            checker.problem("store", "names no folder; write sled:./data");
            return fallback;
        }
        return StoreLocation::Sled(raw.folder.join(path));
    }
    // The text may hold a password: only its scheme is repeated.
    let scheme = text.split(':').next().unwrap_or_default();
    let subject = checker.subject("store");
    if scheme == "postgres" || scheme == "postgresql" {
        let text = "store_not_in_this_build: this build keeps its state in the embedded store; set \
                    BURSAR_STORE=sled:./data";
        checker
            .problems
            .add_coded(subject, "store_not_in_this_build", text);
    } else if text.contains(':') && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        checker
            .problems
            .add(subject, format!("{scheme}: is no store; write sled:PATH"));
    } else {
        checker
            .problems
            .add(subject, "is no store; write sled:PATH, such as sled:./data");
    }
    fallback
}

pub(super) fn events(checker: &mut Checker<'_>) -> EventRules {
    let keys = checker.list("tenant_metadata_keys", |text| {
        // Stripe allows metadata keys of 40 characters, without square brackets.
        let fits = text.len() <= 40
            && !text.contains(['[', ']'])
            && !text.chars().any(|c| c.is_whitespace() || c.is_control());
        if fits {
            Ok(text.to_owned())
        } else {
            Err(format!("{text:?} is not a metadata key"))
        }
    });
    if keys.is_empty() {
        checker.problem(
            "tenant_metadata_keys",
            "names no key; the default is tenant_id,workspace_id",
        );
    }
    EventRules {
        tenant_metadata_keys: keys,
        payment_link_checkouts: checker.word(
            "payment_link_checkouts",
            &[
                ("create", PaymentLinkCheckouts::Create),
                ("hold", PaymentLinkCheckouts::Hold),
            ],
        ),
        connect_onboarding: checker.word(
            "connect_onboarding",
            &[
                ("operator", ConnectOnboarding::Operator),
                ("tenant", ConnectOnboarding::Tenant),
            ],
        ),
    }
}

pub(super) fn log(checker: &mut Checker<'_>) -> Log {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let filter = checker.optional("log", |text| {
        for directive in text.split(',').map(str::trim) {
            let level = directive.rsplit('=').next().unwrap_or_default();
            let level_fits = LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
            let target_only = !directive.contains('=')
                && directive.contains("::")
                && !directive.contains(char::is_whitespace);
            if !level_fits && !target_only {
                return Err(format!(
                    "{directive:?} is not a log filter; write a level ({}) or target=level",
                    LEVELS.join(", ")
                ));
            }
        }
        Ok(text.to_owned())
    });
    Log {
        filter: filter.unwrap_or_else(|| "info".to_owned()),
        format: checker.word(
            "log_format",
            &[
                ("auto", LogFormat::Auto),
                ("text", LogFormat::Text),
                ("json", LogFormat::Json),
            ],
        ),
    }
}

pub(super) fn drain(checker: &mut Checker<'_>) -> Duration {
    let seconds = checker.integer("drain_seconds", 1..=DRAIN_SECONDS_MAX);
    if seconds >= 30 {
        let subject = checker.subject("drain_seconds");
        let text =
            "Kubernetes kills a pod after 30 s unless terminationGracePeriodSeconds is raised";
        checker.warnings.push(format!("{subject}: {text}"));
    }
    Duration::from_secs(seconds.unsigned_abs())
}

/// Stripe redelivers for three days and lets one resend for 30.
const RETENTION_EVENTS_DAYS_MIN: i64 = 30;

pub(super) fn retention(checker: &mut Checker<'_>) -> Retention {
    let path = "retention_days.events";
    let events = checker.integer(path, 0..=36_500);
    if events != 0 && events < RETENTION_EVENTS_DAYS_MIN {
        let text = format!(
            "{events} days, but Stripe lets one resend for {RETENTION_EVENTS_DAYS_MIN}; 0 keeps everything"
        );
        checker.problem(path, text);
    }
    let mut days = |path: &str, min: i64| {
        u32::try_from(checker.integer(path, min..=36_500)).expect("the range is checked")
    };
    Retention {
        events_days: u32::try_from(events).ok().filter(|days| *days > 0),
        outbox_days: days("retention_days.outbox", 1),
        audit_days: days("retention_days.audit", 1),
    }
}

pub(super) fn limits(checker: &mut Checker<'_>) -> Limits {
    let problems_before = checker.problems.0.len();
    let mut number = |path: &str, min: i64, max: i64| {
        usize::try_from(checker.integer(path, min..=max)).expect("the range is checked")
    };
    let connections = number("limits.connections", 1, 65_536);
    let connections_per_address = number("limits.connections_per_address", 1, 65_536);
    let command_body_bytes = number("limits.command_body_bytes", 1_024, 16 << 20);
    let body_memory_bytes = number("limits.body_memory_bytes", 1 << 20, 1 << 40);
    let each_fits = checker.problems.0.len() == problems_before;
    if each_fits && connections_per_address > connections {
        let text = format!(
            "{connections_per_address} from one address, but limits.connections allows \
             {connections} in all"
        );
        checker.problem("limits.connections_per_address", text);
    }
    let longest = command_body_bytes.max(WEBHOOK_BODY_BYTES_MAX);
    if each_fits && body_memory_bytes < longest {
        let text = format!(
            "{body_memory_bytes} bytes for all bodies together, but a single one may have {longest}"
        );
        checker.problem("limits.body_memory_bytes", text);
    }
    let header_timeout = checker.period("limits.header_timeout", "100ms", "5m");
    let body_timeout = checker.period("limits.body_timeout", "100ms", "5m");
    let idle_timeout = checker.period("limits.idle_timeout", "1s", "1h");
    Limits {
        connections,
        connections_per_address,
        command_body_bytes,
        body_memory_bytes,
        header_timeout,
        body_timeout,
        idle_timeout,
    }
}

/// Says aloud what is open to the network, and refuses one address for two listeners.
pub(super) fn exposure(checker: &mut Checker<'_>, config: &Config) {
    let (listen, metrics) = (config.listen, config.metrics_listen);
    let same_host = listen.ip() == metrics.ip()
        || listen.ip().is_unspecified()
        || metrics.ip().is_unspecified();
    if listen.port() != 0 && listen.port() == metrics.port() && same_host {
        checker.problem(
            "metrics_listen",
            format!("{metrics} collides with BURSAR_LISTEN {listen}"),
        );
    }
    if !listen.ip().is_loopback() && config.trust_proxy.is_empty() {
        let subject = checker.subject("listen");
        checker.warnings.push(format!(
            "{subject}: {listen} is open to the network without TLS; put a proxy that has it in front"
        ));
    }
    if !metrics.ip().is_loopback() && config.metrics_token.is_none() {
        let subject = checker.subject("metrics_listen");
        checker.warnings.push(format!(
            "{subject}: {metrics} shows metrics to the network; set BURSAR_METRICS_TOKEN"
        ));
    }
}
