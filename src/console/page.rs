//! How a page is made: the templates, what stands around each, and the headers it is sent with.
//!
//! Invariants: undefined values are errors, and every text is escaped; no script, no outside host, no form to
//! elsewhere; nothing is cached; an address of ours is told to nobody else.

use super::form;
use super::money;
use crate::http::answer::Answer;
use crate::http::edge::Edge;
use crate::http::problem::{Code, Problem};
use bursar_domain::ids::Timestamp;
use hyper::StatusCode;
use minijinja::value::{Serde, Value as Shown};
use minijinja::{Environment, State, UndefinedBehavior};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// What a page may load and where its forms may lead.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
                                 frame-ancestors 'none'; base-uri 'none'";
const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = include_str!("style.css");

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        /// Every template there is.
        pub(super) const TEMPLATES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("templates/", $name))),)*];
    };
}

templates![
    "audit.html",
    "base.html",
    "checkout.html",
    "choose.html",
    "circuits.html",
    "endpoint.html",
    "endpoints.html",
    "event.html",
    "events.html",
    "explain.html",
    "keys.html",
    "login.html",
    "macros.html",
    "mailed.html",
    "members.html",
    "outbox.html",
    "overview.html",
    "payment.html",
    "payments.html",
    "problem.html",
    "reconcile.html",
    "refund.html",
    "replay.html",
    "secret.html",
    "setup.html",
    "sold.html",
    "tenant.html",
    "tenants.html",
    "traffic.html",
    "unclaimed.html",
];

/// One entry of the navigation.
pub(super) struct Link {
    pub(super) path: &'static str,
    pub(super) text: &'static str,
    /// The route whose right one needs to see it.
    pub(super) of: &'static str,
}

const fn link(path: &'static str, text: &'static str, of: &'static str) -> Link {
    Link { path, text, of }
}

/// The navigation, in the order of how often it is needed at night.
pub(super) const LINKS: &[Link] = &[
    link("/console", "Overview", "tenants_list"),
    link("/console/tenants", "Tenants", "tenants_list"),
    link("/console/payments", "Payments", "payments_list"),
    link("/console/events", "Events", "webhook_events_list"),
    link("/console/unclaimed", "Unclaimed", "unclaimed_list"),
    link("/console/outbox", "Outbox", "outbox"),
    link(
        "/console/endpoints",
        "Notifications",
        "notification_endpoints_list",
    ),
    link("/console/circuits", "Circuits", "circuits_list"),
    link("/console/traffic", "Traffic", "circuits_list"),
    link("/console/reconcile", "Reconcile", "reconcile_report"),
    link("/console/keys", "Keys", "api_keys_list"),
    link("/console/members", "Members", "members_list"),
    link("/console/audit", "Audit", "audit"),
    link("/console/setup", "Set-up", "circuits_list"),
];

/// What stands around a page.
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) signed: bool,
    pub(super) path: &'static str,
    /// The one tenant the page is about, which its links and forms name too.
    pub(super) tenant: Option<String>,
    pub(super) csrf: String,
    pub(super) who: Value,
    pub(super) links: Vec<&'static Link>,
    pub(super) said: &'static str,
    pub(super) livemode: bool,
    pub(super) version: &'static str,
    pub(super) now: Timestamp,
}

impl Frame {
    /// Around a page nobody is signed in at.
    pub(super) fn unsigned(title: &str, edge: &Edge) -> Self {
        Self {
            title: title.to_owned(),
            signed: false,
            path: "",
            tenant: None,
            csrf: String::new(),
            who: json!({"name": "", "role": "", "tenants": []}),
            links: Vec::new(),
            said: "",
            livemode: edge.settings.domain.livemode,
            version: edge.settings.version,
            now: edge.now(),
        }
    }
    fn shown(&self, template: &str) -> Value {
        let is_here = |link: &&&Link| {
            let below = format!("{}/", link.path);
            self.path == link.path || (link.path != "/console" && self.path.starts_with(&below))
        };
        let here = self.links.iter().find(is_here).map(|link| link.path);
        let links = self.links.iter().map(
            |link| json!({"path": link.path, "text": link.text, "here": Some(link.path) == here}),
        );
        json!({
            "template": template, "title": self.title, "signed": self.signed, "csrf": self.csrf,
            "tenant": self.tenant, "who": self.who, "links": links.collect::<Vec<_>>(),
            "said": self.said, "livemode": self.livemode, "version": self.version,
            "now": self.now.rfc3339(),
        })
    }
}

/// What a page says after something was done: a closed list, so that nobody's link puts words into our mouth.
pub(super) fn said(word: &str) -> &'static str {
    const SAID: &[(&str, &str)] = &[
        ("signed-out", "You are signed out."),
        (
            "refunded",
            "The refund is made. Stripe’s event confirms it within seconds.",
        ),
        (
            "under-way",
            "The order is taken. Stripe has not said yet how it ended; Bursar asks until it is known.",
        ),
        ("captured", "The payment is captured."),
        ("canceled", "The authorization is released."),
        (
            "dismissed",
            "The event is set aside, with your reason in the audit trail.",
        ),
        ("claimed", "It is the tenant’s now."),
        ("retried", "It is due again, and is tried now."),
        ("reset", "The circuit is closed. What waited goes out now."),
        (
            "revoked",
            "The key is revoked. It is refused from the next request on.",
        ),
        ("invited", "The invitation is on its way by mail."),
        ("changed", "The change holds from their next request on."),
        ("removed", "Removed."),
        ("enabled", "Deliveries go on."),
        ("deleted", "The endpoint is gone, and what waited for it."),
        (
            "compared",
            "The comparison began. This page shows how far it is.",
        ),
    ];
    SAID.iter()
        .find(|(known, _)| *known == word)
        .map_or("", |(_, text)| text)
}

/// A path of the console that also names the tenant one is in.
pub(super) fn linked(path: &str, tenant: Option<&str>) -> String {
    match tenant {
        Some(tenant) if !path.contains("tenantId=") => {
            let with = if path.contains('?') { '&' } else { '?' };
            format!("{path}{with}tenantId={tenant}")
        }
        _ => path.to_owned(),
    }
}

/// 303 to a page of ours.
pub(super) fn see_other(path: &str) -> Answer {
    let answer = Answer::empty(StatusCode::SEE_OTHER).with("location", path);
    answer.with("cache-control", "no-store")
}

/// The stylesheet, under an address that changes with it.
pub(super) fn style() -> Answer {
    let answer = Answer::of(StatusCode::OK, "text/css; charset=utf-8", STYLE);
    answer.with("cache-control", "public, max-age=300")
}

/// Renders a page. # Errors: it cannot be rendered (a defect).
pub(super) fn render(
    status: StatusCode,
    template: &'static str,
    frame: &Frame,
    holds: Value,
) -> Result<Answer, Problem> {
    let html = rendered(template, frame, holds)?;
    let answer = with_headers(Answer::of(status, HTML, html));
    // Not `no-referrer`: browsers then send a form without its origin, which we ask for.
    Ok(answer.with("referrer-policy", "same-origin"))
}

fn rendered(template: &'static str, frame: &Frame, holds: Value) -> Result<String, Problem> {
    let mut context = frame.shown(template);
    if let (Some(context), Value::Object(holds)) = (context.as_object_mut(), holds) {
        context.extend(holds);
    }
    let template = ENGINE.get_template(template);
    let html = template.and_then(|template| template.render(Shown::from(Serde(context))));
    html.map_err(|error| {
        // The cause names a template and a line; values are not part of it.
        tracing::error!(
            page = error.name().unwrap_or(""),
            line = error.line().unwrap_or(0),
            reason = error.detail().unwrap_or(""),
            "a page of the console cannot be rendered"
        );
        Problem::new(Code::Internal, "the page cannot be shown; it was logged")
    })
}

/// The page a link in a mail leads to, around what [`crate::http::people`] says. Its address holds a token, so nobody is
/// told where one came from. # Errors: as [`render`].
pub(crate) fn mailed(
    edge: &Edge,
    status: StatusCode,
    title: &str,
    holds: Value,
) -> Result<Answer, Problem> {
    let frame = Frame::unsigned(title, edge);
    let html = rendered("mailed.html", &frame, holds)?;
    Ok(with_headers(Answer::of(status, HTML, html)).with("referrer-policy", "no-referrer"))
}

fn with_headers(answer: Answer) -> Answer {
    answer
        .with("content-security-policy", POLICY)
        .with("cross-origin-opener-policy", "same-origin")
        .with("cache-control", "no-store")
}

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(engine);

fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    for (name, text) in TEMPLATES {
        engine
            .add_template(name, text)
            .expect("the templates are ours, and a test reads each");
    }
    engine.add_filter("money", money_shown);
    engine.add_filter("when", when);
    engine.add_filter("words", words);
    engine.add_filter("tone", |status: &str| tone(status));
    engine.add_filter("value", value_shown);
    engine.add_filter("enc", |text: &str| form::encoded(text));
    engine.add_filter("short", short);
    engine.add_filter("pretty", |value: Shown| {
        serde_json::to_string_pretty(&value).unwrap_or_default()
    });
    engine.add_function("link", link_to);
    engine.add_function("new_key", || uuid::Uuid::now_v7().to_string());
    engine
}

fn link_to(state: &State<'_, '_>, path: &str) -> String {
    let tenant = state.lookup("tenant");
    let tenant = tenant.as_ref().and_then(Shown::as_str);
    linked(path, tenant)
}

fn money_shown(amount: Shown, currency: Shown) -> String {
    match (amount.as_i64(), currency.as_str()) {
        (Some(amount), Some(currency)) => money::shown(amount, currency),
        _ => "–".to_owned(),
    }
}

/// A time as people read it, with its zone said; `–` for none.
fn when(at: Shown) -> Shown {
    let Some(text) = at.as_str() else {
        return "–".into();
    };
    let Ok(time) = text.parse::<jiff::Timestamp>() else {
        return text.into();
    };
    let exact = time.strftime("%Y-%m-%dT%H:%M:%SZ");
    let shown = time.strftime("%-d %b %Y, %H:%M");
    // Both are digits and letters of ours.
    Shown::from_safe_string(format!(
        "<time datetime=\"{exact}\" title=\"{exact}\">{shown}&nbsp;UTC</time>"
    ))
}

/// `past_due` as `past due`; `–` for none.
fn words(word: Shown) -> String {
    match word.as_str() {
        Some("") | None => "–".to_owned(),
        Some(word) => word.replace('_', " "),
    }
}

/// How a status is coloured: the word beside says the same.
fn tone(status: &str) -> &'static str {
    match status {
        "active" | "applied" | "succeeded" | "done" | "closed" | "ok" | "enabled" | "paid"
        | "complete" | "won" | "delivered" | "ready" | "replayed" => "good",
        "dead" | "failed" | "open" | "revoked" | "unpaid" | "suspended" | "disabled" | "fail"
        | "lost" | "past_due" | "canceled" | "given_up" | "expired" => "bad",
        "parked"
        | "pending"
        | "half_open"
        | "grace"
        | "warn"
        | "unknown"
        | "processing"
        | "trialing"
        | "requires_action"
        | "requires_capture"
        | "needs_response"
        | "warning_needs_response"
        | "initiated"
        | "running"
        | "invited"
        | "retry"
        | "requires_payment_method"
        | "unclaimed" => "warn",
        _ => "plain",
    }
}

/// A changed value in one line.
fn value_shown(value: Shown) -> String {
    let time = value.as_str().filter(|text| text.ends_with('Z'));
    if let Some(Ok(time)) = time.map(str::parse::<jiff::Timestamp>) {
        return time.strftime("%-d %b %Y, %H:%M UTC").to_string();
    }
    match value.as_str() {
        Some(text) => short(text),
        None if value.is_none() => "none".to_owned(),
        None => short(&serde_json::to_string(&value).unwrap_or_default()),
    }
}

fn short(text: &str) -> String {
    const SHOWN_MAX: usize = 120;
    if text.chars().count() <= SHOWN_MAX {
        return text.to_owned();
    }
    text.chars().take(SHOWN_MAX).chain(['…']).collect()
}
