//! The sandbox's whole state: objects per account, events, and what falls due.
//!
//! Invariants: everything is a function of the calls made, the seed and the times given; one lock
//! guards it all; keys beginning with `__` are the sandbox's own and never leave `public`.
//! Not here: HTTP, sockets, wall clocks; what each resource does (`api`, `billing`).
//! Failure: handlers validate first and then act; a declined payment leaves its traces, as at Stripe.
//! Source of outside rules: Stripe API reference, "Events", "Connect: making API calls".

use crate::error::ApiError;
use crate::ids::IdGen;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

/// The API version whose shapes the sandbox stores.
pub(crate) const API_VERSION: &str = "2025-04-30.basil";

/// Something that happens by itself at a time; checked against the state when it comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A subscription's period ends, or its trial, or its cancellation date.
    PeriodEnd(String),
    /// `invoice.upcoming` for a subscription.
    Upcoming(String),
    /// `customer.subscription.trial_will_end`.
    TrialWillEnd(String),
    /// An `incomplete` subscription's 23 hours are over.
    IncompleteExpires(String),
    /// A draft invoice becomes final.
    FinalizeInvoice(String),
    /// The next automatic attempt to collect an invoice.
    RetryInvoice(String),
    /// A checkout session expires.
    SessionExpires(String),
    /// A delayed payment method settles.
    IntentSettles(String),
    /// An authorization lapses uncaptured.
    AuthorizationLapses(String),
    /// A test card's dispute or fraud warning arrives.
    DisputeArrives(String),
    /// A refund moves on (pending to succeeded, succeeded to failed).
    RefundMoves(String),
    /// A payout moves on.
    PayoutMoves(String),
}

/// The objects of one account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    objects: HashMap<String, Value>,
    order: BTreeMap<String, Vec<String>>,
}

/// Which API request caused what happens now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    /// `req_…`, absent when the sandbox acts by itself.
    pub id: Option<String>,
    /// The caller's idempotency key.
    pub idempotency_key: Option<String>,
}

/// Everything the sandbox knows.
#[derive(Debug)]
pub(crate) struct World {
    /// The time of the operation that runs, unix seconds.
    pub now: i64,
    /// The account the operation acts for.
    pub account: String,
    /// The platform's own account.
    pub platform: String,
    /// Where the sandbox is reachable, without trailing slash.
    pub base_url: String,
    /// Ids and chances.
    pub ids: IdGen,
    /// The request that runs.
    pub cause: Cause,
    /// Events made since the last drain: (account, event id).
    pub outbox: Vec<(String, String)>,
    /// What becomes of a subscription when all retries failed: `cancel`, `unpaid` or `past_due`.
    pub dunning_end: String,
    accounts: BTreeMap<String, Account>,
    schedule: BTreeSet<(i64, u64, String, Due)>,
    schedule_seq: u64,
    /// Counts of objects made per `metadata.command_id`: (command id, kind) → count.
    pub side_effects: BTreeMap<(String, String), u64>,
}

fn blanks() -> &'static Map<String, Value> {
    static BLANKS: OnceLock<Map<String, Value>> = OnceLock::new();
    BLANKS.get_or_init(|| {
        serde_json::from_str(include_str!("../data/blanks.json"))
            .expect("the blank objects are JSON, a test reads them")
    })
}

/// A copy of a part of the blank objects, e.g. `card_details`.
pub(crate) fn blank_part(name: &str) -> Value {
    blanks().get(name).cloned().unwrap_or(Value::Null)
}

impl World {
    /// An empty world with one platform account.
    pub(crate) fn new(seed: u64, now: i64, base_url: &str) -> Self {
        let mut ids = IdGen::new(seed);
        let platform = ids.id("acct", 16);
        let mut accounts = BTreeMap::new();
        accounts.insert(platform.clone(), Account::default());
        let mut world = Self {
            now,
            account: platform.clone(),
            platform: platform.clone(),
            base_url: base_url.to_owned(),
            ids,
            cause: Cause::default(),
            outbox: Vec::new(),
            dunning_end: "cancel".to_owned(),
            accounts,
            schedule: BTreeSet::new(),
            schedule_seq: 0,
            side_effects: BTreeMap::new(),
        };
        let mut own = world.blank("account");
        own["id"] = json!(platform);
        own["type"] = json!("standard");
        own["charges_enabled"] = json!(true);
        own["payouts_enabled"] = json!(true);
        own["details_submitted"] = json!(true);
        own["controller"] = json!({"type": "account"});
        own["external_accounts"]["url"] =
            json!(format!("/v1/accounts/{platform}/external_accounts"));
        world.insert(own);
        world
    }

    fn here(&self) -> &Account {
        self.accounts
            .get(&self.account)
            .expect("the current account is opened before it is entered")
    }

    fn here_mut(&mut self) -> &mut Account {
        self.accounts.entry(self.account.clone()).or_default()
    }

    /// Opens the books of a connected account.
    pub(crate) fn open_account(&mut self, id: &str) {
        self.accounts.entry(id.to_owned()).or_default();
    }

    /// Whether the account exists (platform or connected).
    pub(crate) fn has_account(&self, id: &str) -> bool {
        self.accounts.contains_key(id)
    }

    /// Ids of all accounts, the platform's among them.
    pub(crate) fn account_ids(&self) -> Vec<String> {
        self.accounts.keys().cloned().collect()
    }

    /// Runs `f` as another account.
    pub(crate) fn within<T>(&mut self, account: &str, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.account, account.to_owned());
        let result = f(self);
        self.account = outer;
        result
    }

    /// A blank object of a kind, made now, without id.
    pub(crate) fn blank(&self, kind: &str) -> Value {
        let mut value = blank_part(kind);
        if value.get("created").is_some() {
            value["created"] = json!(self.now);
        }
        value
    }

    /// A blank object with a fresh id of this prefix.
    pub(crate) fn fresh(&mut self, kind: &str, prefix: &str) -> Value {
        let mut value = self.blank(kind);
        let length = match prefix {
            "cus" | "prod" | "si" => 14,
            "cs_test" => 58,
            _ => 24,
        };
        value["id"] = json!(self.ids.id(prefix, length));
        value
    }

    /// Stores a new object in the current account.
    pub(crate) fn insert(&mut self, value: Value) {
        let id = text(&value, "id");
        let kind = text(&value, "object");
        if let Some(command) = value["metadata"]["command_id"].as_str() {
            *self
                .side_effects
                .entry((command.to_owned(), kind.clone()))
                .or_default() += 1;
        }
        let account = self.here_mut();
        account.order.entry(kind).or_default().push(id.clone());
        account.objects.insert(id, value);
    }

    /// Forgets an object.
    pub(crate) fn remove(&mut self, id: &str) {
        let account = self.here_mut();
        if let Some(gone) = account.objects.remove(id) {
            let kind = text(&gone, "object");
            if let Some(order) = account.order.get_mut(&kind) {
                order.retain(|other| other != id);
            }
        }
    }

    /// The object with this id, of any kind.
    pub(crate) fn any(&self, id: &str) -> Option<&Value> {
        self.here().objects.get(id)
    }

    /// The object with this id if it is of this kind.
    pub(crate) fn get(&self, kind: &str, id: &str) -> Option<&Value> {
        self.any(id).filter(|v| v["object"] == kind)
    }

    /// An account object of the platform's books.
    pub(crate) fn platform_account(&self, id: &str) -> Option<&Value> {
        self.accounts
            .get(&self.platform)?
            .objects
            .get(id)
            .filter(|v| v["object"] == "account")
    }

    /// A copy of the object with this id.
    ///
    /// # Errors
    /// 404 `resource_missing`, naming `param`.
    pub(crate) fn need(&self, kind: &str, id: &str, param: &str) -> Result<Value, ApiError> {
        self.get(kind, id).cloned().ok_or_else(|| {
            let what = match kind {
                "checkout.session" => "checkout.session",
                "radar.early_fraud_warning" => "issfr",
                other => other.rsplit('.').next().unwrap_or(other),
            };
            ApiError::no_such(what, id, param)
        })
    }

    /// All objects of a kind, newest first.
    pub(crate) fn newest(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let account = self.here();
        let ids = account.order.get(kind).map_or(&[][..], Vec::as_slice);
        ids.iter().rev().filter_map(|id| account.objects.get(id))
    }

    /// How many objects of a kind there are.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.here().order.get(kind).map_or(0, Vec::len)
    }

    /// Replaces or changes a stored object; returns it before and after. Unknown ids change nothing.
    pub(crate) fn change(&mut self, id: &str, f: impl FnOnce(&mut Value)) -> (Value, Value) {
        let Some(stored) = self.here_mut().objects.get_mut(id) else {
            return (Value::Null, Value::Null);
        };
        let before = stored.clone();
        f(stored);
        (before, stored.clone())
    }

    /// Changes an object and reports the difference as an event, if there is one.
    pub(crate) fn change_and_tell(
        &mut self,
        id: &str,
        kind: &str,
        f: impl FnOnce(&mut Value),
    ) -> Value {
        let (before, after) = self.change(id, f);
        self.tell_change(kind, &before, &after);
        after
    }

    /// Makes an event of a new state with the old values, if anything visible changed.
    pub(crate) fn tell_change(&mut self, kind: &str, before: &Value, after: &Value) {
        let previous = difference(&public(before), &public(after));
        if previous.as_object().is_some_and(|p| !p.is_empty()) {
            self.event(kind, after, Some(previous));
        }
    }

    /// Makes an event of an object's present state.
    pub(crate) fn tell(&mut self, kind: &str, object: &Value) {
        self.event(kind, object, None);
    }

    fn event(&mut self, kind: &str, object: &Value, previous: Option<Value>) {
        let group = kind.split('.').next().unwrap_or(kind);
        let prefix = if matches!(group, "charge" | "payment_intent" | "refund") {
            "evt_3"
        } else {
            "evt_1"
        };
        let id = self.ids.id("evt", 24).replacen("evt_", prefix, 1);
        let mut snapshot = public(object);
        if kind == "invoice.upcoming"
            && let Some(fields) = snapshot.as_object_mut()
        {
            fields.remove("id");
        }
        let mut data = json!({"object": snapshot});
        if let Some(previous) = previous {
            data["previous_attributes"] = previous;
        }
        let mut event = json!({
            "id": id, "object": "event", "api_version": API_VERSION, "created": self.now,
            "data": data, "livemode": false, "pending_webhooks": 0, "type": kind,
            "request": {"id": self.cause.id, "idempotency_key": self.cause.idempotency_key},
        });
        if self.account != self.platform {
            event["account"] = json!(self.account);
        }
        self.insert(event);
        self.outbox.push((self.account.clone(), id));
    }

    /// Lets something happen at a time (unix seconds) in the current account.
    pub(crate) fn schedule(&mut self, at: i64, due: Due) {
        self.schedule_seq += 1;
        self.schedule
            .insert((at, self.schedule_seq, self.account.clone(), due));
    }

    /// Takes the earliest thing due at or before `until`.
    pub(crate) fn take_due(&mut self, until: i64) -> Option<(i64, String, Due)> {
        if self.schedule.first()?.0 > until {
            return None;
        }
        let (at, _, account, due) = self.schedule.pop_first()?;
        Some((at, account, due))
    }

    /// When the next thing is due.
    pub(crate) fn next_due_at(&self) -> Option<i64> {
        self.schedule.first().map(|(at, ..)| *at)
    }
}

/// A string field, empty when absent.
pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// An integer field, 0 when absent.
pub(crate) fn int(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or(0)
}

/// The object without the sandbox's own keys.
pub(crate) fn public(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(key, _)| !key.starts_with("__"))
                .map(|(key, inner)| (key.clone(), public(inner)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(public).collect()),
        other => other.clone(),
    }
}

/// The old values of what changed: nested for hashes, whole for arrays, null where nothing was.
fn difference(before: &Value, after: &Value) -> Value {
    let mut out = Map::new();
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        return Value::Object(out);
    };
    for key in old
        .keys()
        .chain(new.keys().filter(|k| !old.contains_key(*k)))
    {
        let was = old.get(key).unwrap_or(&Value::Null);
        let is = new.get(key).unwrap_or(&Value::Null);
        if was == is {
            continue;
        }
        let value = match (was, is) {
            (Value::Object(_), Value::Object(_)) => difference(was, is),
            _ => was.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_attributes_hold_old_values_nested_for_hashes_whole_for_arrays() {
        let before = json!({"a": 1, "h": {"x": 1, "y": 2}, "l": [1], "same": true, "__own": 1});
        let after = json!({"a": 2, "h": {"x": 3, "y": 2}, "l": [1, 2], "same": true, "n": 5});
        assert_eq!(
            difference(&public(&before), &public(&after)),
            json!({"a": 1, "h": {"x": 1}, "l": [1], "n": null})
        );
    }

    #[test]
    fn things_fall_due_in_order_of_time_then_of_scheduling() {
        let mut world = World::new(1, 100, "http://x");
        world.schedule(300, Due::Upcoming("b".into()));
        world.schedule(200, Due::Upcoming("a".into()));
        world.schedule(300, Due::Upcoming("c".into()));
        assert_eq!(world.take_due(199), None);
        let order: Vec<_> = std::iter::from_fn(|| world.take_due(300))
            .map(|(at, ..)| at)
            .collect();
        assert_eq!(order, [200, 300, 300]);
    }
}
