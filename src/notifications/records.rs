//! What is kept of notifications, and under which names.
//!
//! Invariants: numbers of the feed are written with 20 digits, so that the store's order of keys is theirs; a key of the
//! queue begins with its endpoint and tenant, so that one stream is one run of keys; a body is sealed under the tenant's
//! key, a secret and an attempt under the endpoint's, nothing else here is personal.
//! Not here: when they are written.

use bursar_domain::decision::EffectId;
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_domain::notification::passes;
use bursar_domain::rows::Subject;
use bursar_store::api::Keep;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Endpoints, by id.
pub const ENDPOINTS: &str = "ntf_endpoint";
/// Their secrets, by id.
pub const SECRETS: &str = "ntf_secret";
/// The feed, by number, without what is personal.
pub const FEED: &str = "ntf_feed";
/// The bodies, by number.
pub const BODIES: &str = "ntf_body";
/// Numbers, by the notification's id.
pub const NUMBERS: &str = "ntf_number";
/// The last number given out.
pub const LAST: &str = "ntf_last";
/// The one key of [`LAST`].
pub const LAST_KEY: &str = "number";
/// What is to be delivered: endpoint, tenant, number.
pub const QUEUE: &str = "ntf_queue";
/// What was given up: endpoint, number.
pub const FAILED: &str = "ntf_failed";
/// The latest attempts: endpoint, slot.
pub const ATTEMPTS: &str = "ntf_attempt";

/// Attempts kept of an endpoint.
pub const ATTEMPTS_KEPT: u64 = 100;

/// The id of a notification, its `webhook-id`: the effect's, whatever crashed in between.
pub fn notification_id(effect: &EffectId) -> String {
    format!("ntf_{}", effect.0)
}

/// The id of a notification's delivery to an endpoint: unique within the endpoint.
pub fn delivery_id(notification: &str) -> String {
    format!("nd_{}", notification.trim_start_matches("ntf_"))
}

/// The notification of a delivery.
pub fn notification_of(delivery: &str) -> Option<String> {
    delivery
        .strip_prefix("nd_")
        .map(|rest| format!("ntf_{rest}"))
}

/// A number as a key.
pub fn number_key(number: u64) -> String {
    format!("{number:020}")
}

/// The key of a delivery that waits.
pub fn queue_key(endpoint: &str, tenant: &str, number: u64) -> String {
    format!("{endpoint}/{tenant}/{number:020}")
}

/// Endpoint, tenant and number of such a key.
pub fn queue_parts(key: &str) -> Option<(&str, &str, u64)> {
    let mut parts = key.splitn(3, '/');
    Some((parts.next()?, parts.next()?, parts.next()?.parse().ok()?))
}

/// The key of a delivery that was given up.
pub fn failed_key(endpoint: &str, number: u64) -> String {
    format!("{endpoint}/{number:020}")
}

/// The key of an attempt: the latest ones go round.
pub fn attempt_key(endpoint: &str, count: u64) -> String {
    format!("{endpoint}/{:02}", count % ATTEMPTS_KEPT)
}

/// Under whose key an endpoint's secret and attempts are.
pub fn endpoint_subject(endpoint: &str) -> Subject {
    Subject(format!("endpoint:{endpoint}"))
}

/// Where notifications are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `ne_…`.
    pub id: String,
    /// The address.
    pub url: String,
    /// Types and groups (`payment.*`) it hears; none: all.
    pub types: Vec<String>,
    /// The one tenant it hears of; `None`: all.
    pub tenant: Option<TenantId>,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was made, or enabled again: attempts made before do not count.
    pub enabled_at: Timestamp,
    /// It is sent nothing, and why.
    pub disabled: Option<Disabled>,
    /// The first failed attempt since the last success.
    pub failing_since: Option<Timestamp>,
}

/// Why and when an endpoint was disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// `gone`, `failing` or `by_hand`.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Endpoint {
    /// Whether a notification of this type and tenant is for it.
    pub fn hears(&self, kind: &str, tenant: &TenantId) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant) && passes(&self.types, kind)
    }
    /// The address less what may be a secret in it.
    pub fn shown_host(&self) -> String {
        let host = reqwest::Url::parse(&self.url).ok();
        let host = host.and_then(|url| url.host_str().map(str::to_owned));
        host.unwrap_or_else(|| "an unreadable address".to_owned())
    }
}

/// What signs.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    /// `whsec_…`.
    pub current: String,
    /// Replaced ones that still sign, until when.
    pub previous: Vec<(String, Timestamp)>,
}

impl Secrets {
    /// All that sign now, the newest first.
    pub fn at(&self, now: Timestamp) -> Vec<&str> {
        let previous = self.previous.iter().filter(|(_, until)| *until > now);
        let previous = previous.map(|(secret, _)| secret.as_str());
        std::iter::once(self.current.as_str())
            .chain(previous)
            .collect()
    }
}

/// A line of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedEntry {
    /// `ntf_…`.
    pub id: String,
    /// The type.
    pub kind: String,
    /// The tenant.
    pub tenant: TenantId,
    /// When it was told.
    pub at: Timestamp,
}

/// A delivery that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Attempts that failed.
    pub attempts: u32,
    /// Not before.
    pub due_at: Timestamp,
    /// The last attempt, or when it was queued.
    pub touched_at: Timestamp,
}

impl Queued {
    /// One that was not tried yet.
    pub const fn new(now: Timestamp) -> Self {
        Self {
            attempts: 0,
            due_at: now,
            touched_at: now,
        }
    }
}

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts the endpoint's attempts.
    pub count: u64,
    /// The notification.
    pub notification: String,
    /// Its type.
    pub kind: String,
    /// Its tenant.
    pub tenant: Option<TenantId>,
    /// The how-manieth at this delivery; 0: a test.
    pub number: u32,
    /// When.
    pub at: Timestamp,
    /// How long until the answer.
    pub latency_ms: u64,
    /// The answer's status.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// The answer's first bytes.
    pub answer: String,
    /// When the next attempt is due.
    pub next_at: Option<Timestamp>,
}

/// Reads a record. One that cannot be read is a defect, and logged.
pub fn read<T: DeserializeOwned>(space: &str, key: &str, bytes: &[u8]) -> Option<T> {
    match serde_json::from_slice(bytes) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(space, key, %error, "a kept record cannot be read");
            None
        }
    }
}

/// A record to write.
pub fn put<T: Serialize>(space: &'static str, key: String, record: &T) -> Keep {
    let value = serde_json::to_vec(record).expect("records are plain values with text keys");
    Keep {
        space,
        key,
        value: Some(value),
        subject: None,
    }
}

/// A record to remove.
pub const fn gone(space: &'static str, key: String) -> Keep {
    Keep {
        space,
        key,
        value: None,
        subject: None,
    }
}

/// The same record, sealed.
pub fn sealed(keep: Keep, subject: Subject) -> Keep {
    Keep {
        subject: Some(subject),
        ..keep
    }
}
