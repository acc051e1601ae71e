//! Whether Stripe's list of webhook endpoints is what Bursar needs. Used by `doctor` and by the watch of `serve`.
//!
//! Invariants: pure: the list and what is expected in, findings out; events may be spread over several
//! endpoints, so what is heard is judged over all of them together.
//! Not here: asking Stripe (`read`), telling anybody (`endpoint_watch`, `commands::doctor`).
//! Failure: a list that cannot be read is an error in words; nothing is concluded from it.
//! Source: Stripe API reference, "Webhook Endpoints"; Stripe documentation, "Connect webhooks" (an endpoint
//! of a Connect application names it in `application`).

mod words;

use bursar_domain::route::HANDLED;
use serde::Deserialize;

/// The path of the read, one page: Stripe allows fewer endpoints than it holds.
pub const LIST_PATH: &str = "/v1/webhook_endpoints?limit=100";

/// The paths one handler answers, best known first.
pub const OUR_PATHS: [&str; 3] = [
    "/webhook",
    "/webhooks/stripe",
    "/api/v1/billing/stripe/webhook",
];

/// Events that say what another handled event says as well, in our version's shapes: nothing is lost without.
const TWINS: [(&str, &str); 2] = [
    ("invoice.payment_succeeded", "invoice.paid"),
    ("charge.refund.updated", "refund.updated"),
];

/// Beginnings of the types that happen on connected accounts and matter to Bursar.
const ON_MERCHANTS: [&str; 7] = [
    "account.",
    "capability.",
    "charge.",
    "checkout.session.",
    "payment_intent.",
    "payout.",
    "refund.",
];
/// Beginnings of the types that only connected accounts have.
const OF_MERCHANTS_ALONE: [&str; 2] = ["account.", "capability."];

/// One endpoint, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Endpoint {
    /// `we_…`
    pub id: String,
    /// Where it sends.
    pub url: String,
    /// `enabled` or `disabled`.
    pub status: String,
    /// Types, or `*`.
    pub enabled_events: Vec<String>,
    /// The version of its events; none: the account's default.
    #[serde(default)]
    pub api_version: Option<String>,
    /// The Connect application, for an endpoint that hears connected accounts.
    #[serde(default)]
    pub application: Option<String>,
}

impl Endpoint {
    fn audience(&self) -> Audience {
        match self.application {
            Some(_) => Audience::Connect,
            None => Audience::Account,
        }
    }
    fn hears(&self, kind: &str) -> bool {
        self.enabled_events
            .iter()
            .any(|event| event == "*" || event == kind)
    }
}

/// Reads Stripe's list. # Errors: what is wrong with it, in words.
pub fn read_list(body: &[u8]) -> Result<Vec<Endpoint>, String> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Endpoint>,
    }
    let list: Result<List, _> = serde_json::from_slice(body);
    list.map(|list| list.data)
        .map_err(|_| "Stripe's list of webhook endpoints cannot be read".to_owned())
}

/// Whose events an endpoint hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The platform's own.
    Account,
    /// Those of connected accounts.
    Connect,
}

impl Audience {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Account, Self::Connect];
    /// Its word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Connect => "connect",
        }
    }
    /// The handled types it must hear.
    pub fn needed(self) -> impl Iterator<Item = &'static str> {
        let starts = |kind: &str, with: &[&str]| with.iter().any(|start| kind.starts_with(start));
        HANDLED.into_iter().filter(move |kind| match self {
            Self::Account => !starts(kind, &OF_MERCHANTS_ALONE),
            Self::Connect => starts(kind, &ON_MERCHANTS),
        })
    }
}

/// What endpoints must fit.
#[derive(Clone, Debug)]
pub struct Expected {
    /// `APP_BASE_URL` without a trailing slash.
    pub base_url: String,
    /// `STRIPE_API_VERSION`.
    pub version: String,
    /// Connected accounts matter here.
    pub has_merchants: bool,
}

impl Expected {
    /// Stripe's servers cannot reach this address.
    pub fn is_on_this_machine(&self) -> bool {
        let rest = self.base_url.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or_default();
        let is_loopback = host.starts_with("127.") || host.starts_with("[::1]");
        is_loopback || host == "localhost" || host.starts_with("localhost:")
    }
    fn is_ours(&self, url: &str) -> bool {
        let url = plain(url);
        let base = plain(&self.base_url);
        OUR_PATHS.iter().any(|path| url == format!("{base}{path}"))
    }
}

/// An address in the form in which two that mean the same are equal.
fn plain(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let usual_port = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(usual_port).unwrap_or(&host);
    format!("{scheme}://{host}{}", path.trim_end_matches('/'))
}

/// What is wrong, or worth knowing, about the endpoints of one audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// None sends here. Another address that looks like ours, if there is one.
    Missing {
        /// Its URL.
        elsewhere: Option<String>,
    },
    /// Every one that sends here is disabled; the first.
    Disabled {
        /// Its id.
        id: String,
    },
    /// Types that Bursar handles and nobody sends.
    LacksEvents {
        /// The first endpoint's id.
        id: String,
        /// In the order of the alphabet.
        types: Vec<&'static str>,
    },
    /// It renders events in another version, or in whatever the account's default is.
    OtherVersion {
        /// Its id.
        id: String,
        /// The version; none: the account's default.
        version: Option<String>,
    },
    /// Several send the same events here.
    Twice {
        /// Their ids.
        ids: Vec<String>,
    },
}

/// The state of one audience, for a gauge: the worst finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is wrong.
    Ok,
    /// Nobody is connected, so no such endpoint is needed.
    NotNeeded,
    /// See [`Finding`].
    Missing,
    /// See [`Finding`].
    Disabled,
    /// See [`Finding`].
    LacksEvents,
    /// See [`Finding`].
    OtherVersion,
    /// Stripe could not be asked.
    Unknown,
}

impl State {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::NotNeeded,
        Self::Missing,
        Self::Disabled,
        Self::LacksEvents,
        Self::OtherVersion,
        Self::Unknown,
    ];
    /// Its word in metrics and alerts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotNeeded => "not_needed",
            Self::Missing => "missing",
            Self::Disabled => "disabled",
            Self::LacksEvents => "lacks_events",
            Self::OtherVersion => "other_version",
            Self::Unknown => "unknown",
        }
    }
}

/// The judgement over one audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whose events.
    pub audience: Audience,
    /// For a gauge.
    pub state: State,
    /// What to tell, worst first.
    pub findings: Vec<Finding>,
    /// The enabled endpoints that send here.
    pub ids: Vec<String>,
}

/// Judges Stripe's list; one verdict for each audience.
pub fn judge(endpoints: &[Endpoint], expected: &Expected) -> [Verdict; 2] {
    Audience::ALL.map(|audience| judge_one(endpoints, expected, audience))
}

fn judge_one(endpoints: &[Endpoint], expected: &Expected, audience: Audience) -> Verdict {
    let of_audience = || endpoints.iter().filter(|e| e.audience() == audience);
    let ours: Vec<&Endpoint> = of_audience().filter(|e| expected.is_ours(&e.url)).collect();
    let enabled: Vec<&Endpoint> = ours
        .iter()
        .filter(|e| e.status == "enabled")
        .copied()
        .collect();
    let ids = enabled.iter().map(|e| e.id.clone()).collect();
    let verdict = |state, findings| Verdict {
        audience,
        state,
        findings,
        ids,
    };
    if audience == Audience::Connect && !expected.has_merchants {
        return verdict(State::NotNeeded, Vec::new());
    }
    let Some(first) = enabled.first() else {
        return match ours.first() {
            Some(disabled) => {
                let id = disabled.id.clone();
                verdict(State::Disabled, vec![Finding::Disabled { id }])
            }
            None => {
                let ends_like_ours =
                    |e: &&Endpoint| OUR_PATHS.iter().any(|path| plain(&e.url).ends_with(path));
                let elsewhere = of_audience().find(ends_like_ours).map(|e| e.url.clone());
                verdict(State::Missing, vec![Finding::Missing { elsewhere }])
            }
        };
    };
    let mut findings = Vec::new();
    let mut state = State::Ok;
    let types = lacking(&enabled, audience);
    if !types.is_empty() {
        state = State::LacksEvents;
        let id = first.id.clone();
        findings.push(Finding::LacksEvents { id, types });
    }
    for endpoint in &enabled {
        if endpoint.api_version.as_deref() != Some(expected.version.as_str()) {
            if state == State::Ok {
                state = State::OtherVersion;
            }
            findings.push(Finding::OtherVersion {
                id: endpoint.id.clone(),
                version: endpoint.api_version.clone(),
            });
        }
    }
    let twice = |kind: &str| enabled.iter().filter(|e| e.hears(kind)).count() > 1;
    if audience.needed().any(twice) {
        let ids = enabled.iter().map(|e| e.id.clone()).collect();
        findings.push(Finding::Twice { ids });
    }
    verdict(state, findings)
}

fn lacking(enabled: &[&Endpoint], audience: Audience) -> Vec<&'static str> {
    let heard = |kind: &str| enabled.iter().any(|endpoint| endpoint.hears(kind));
    let by_twin = |kind: &str| {
        let twin = TWINS.iter().find(|(type_, _)| *type_ == kind);
        twin.is_some_and(|(_, other)| heard(other))
    };
    let lacks = |kind: &&'static str| !heard(kind) && !by_twin(kind);
    audience.needed().filter(lacks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "2025-04-30.basil";

    fn expected(has_merchants: bool) -> Expected {
        Expected {
            base_url: "https://pay.example.com".into(),
            version: VERSION.into(),
            has_merchants,
        }
    }
    fn endpoint(id: &str, url: &str, events: &[&str]) -> Endpoint {
        Endpoint {
            id: id.into(),
            url: url.into(),
            status: "enabled".into(),
            enabled_events: events.iter().map(|e| (*e).to_owned()).collect(),
            api_version: Some(VERSION.into()),
            application: None,
        }
    }
    fn connect(mut endpoint: Endpoint) -> Endpoint {
        endpoint.application = Some("ca_1".into());
        endpoint
    }
    const OURS: &str = "https://pay.example.com/webhook";

    #[test]
    fn each_list_gets_the_verdict_a_person_would_give() {
        let all: Vec<&str> = HANDLED.to_vec();
        let without = |gone: &str| -> Vec<&str> {
            let kept = HANDLED.into_iter().filter(|kind| *kind != gone);
            kept.collect()
        };
        let changed = |change: fn(&mut Endpoint)| {
            let mut one = endpoint("we_1", OURS, &["*"]);
            change(&mut one);
            vec![one]
        };
        let half = HANDLED.split_at(HANDLED.len() / 2);
        let table: Vec<(&str, Vec<Endpoint>, State, usize)> = vec![
            (
                "everything",
                vec![endpoint("we_1", OURS, &["*"])],
                State::Ok,
                0,
            ),
            (
                "each type",
                vec![endpoint("we_1", OURS, &all)],
                State::Ok,
                0,
            ),
            (
                "a twin less",
                vec![endpoint(
                    "we_1",
                    OURS,
                    &without("invoice.payment_succeeded"),
                )],
                State::Ok,
                0,
            ),
            (
                "types of merchants are not asked of the account",
                vec![endpoint("we_1", OURS, &without("account.updated"))],
                State::Ok,
                0,
            ),
            (
                "one type less",
                vec![endpoint("we_1", OURS, &without("charge.refunded"))],
                State::LacksEvents,
                1,
            ),
            ("no endpoint", vec![], State::Missing, 1),
            (
                "another path",
                vec![endpoint("we_1", "https://pay.example.com/hook", &["*"])],
                State::Missing,
                1,
            ),
            (
                "another host",
                vec![endpoint("we_1", "https://old.example.com/webhook", &["*"])],
                State::Missing,
                1,
            ),
            (
                "a Connect endpoint alone",
                vec![connect(endpoint("we_1", OURS, &["*"]))],
                State::Missing,
                1,
            ),
            (
                "an alias, a port and a slash",
                vec![endpoint(
                    "we_1",
                    "HTTPS://Pay.Example.com:443/webhooks/stripe/?a=b",
                    &["*"],
                )],
                State::Ok,
                0,
            ),
            (
                "disabled",
                changed(|e| e.status = "disabled".into()),
                State::Disabled,
                1,
            ),
            (
                "no version",
                changed(|e| e.api_version = None),
                State::OtherVersion,
                1,
            ),
            (
                "an older version",
                changed(|e| e.api_version = Some("2024-06-20".into())),
                State::OtherVersion,
                1,
            ),
            (
                "two halves",
                vec![
                    endpoint("we_1", OURS, half.0),
                    endpoint("we_2", OURS, half.1),
                ],
                State::Ok,
                0,
            ),
            (
                "two wholes",
                vec![
                    endpoint("we_1", OURS, &["*"]),
                    endpoint("we_2", "https://pay.example.com/webhooks/stripe", &["*"]),
                ],
                State::Ok,
                1,
            ),
            (
                "a disabled twin",
                [
                    changed(|e| e.status = "disabled".into()),
                    vec![endpoint("we_2", OURS, &["*"])],
                ]
                .concat(),
                State::Ok,
                0,
            ),
        ];
        for (name, list, state, findings) in table {
            let [account, connect] = judge(&list, &expected(false));
            assert_eq!(
                (account.state, account.findings.len()),
                (state, findings),
                "{name}: {account:?}"
            );
            assert_eq!(connect.state, State::NotNeeded, "{name}");
        }
    }

    #[test]
    fn merchants_need_an_endpoint_of_their_own() {
        let account = endpoint("we_1", OURS, &["*"]);
        let types: Vec<&str> = Audience::Connect.needed().collect();
        assert!(types.contains(&"account.updated") && !types.contains(&"invoice.paid"));
        for (list, state) in [
            (vec![account.clone()], State::Missing),
            (
                vec![account.clone(), connect(endpoint("we_2", OURS, &types))],
                State::Ok,
            ),
            (
                vec![
                    account.clone(),
                    connect(endpoint("we_2", OURS, &types[1..])),
                ],
                State::LacksEvents,
            ),
        ] {
            let [own, merchants] = judge(&list, &expected(true));
            assert_eq!((own.state, merchants.state), (State::Ok, state), "{list:?}");
        }
    }

    #[test]
    fn our_paths_are_the_ones_the_router_answers() {
        let routes: Vec<_> = crate::http::routes::every_route()
            .filter(|r| r.path == "/webhook")
            .collect();
        assert!(!routes.is_empty());
        for route in routes {
            let paths = std::iter::once(route.path).chain(route.aliases.iter().copied());
            assert_eq!(paths.collect::<Vec<_>>(), OUR_PATHS, "{}", route.label);
        }
    }

    #[test]
    fn a_list_of_another_shape_is_no_empty_list() {
        assert!(read_list(br#"{"object":"list"}"#).is_err());
        assert!(read_list(br#"{"data":[{"id":"we_1"}]}"#).is_err());
        assert_eq!(read_list(br#"{"data":[]}"#).unwrap(), []);
    }
}
