//! Fixed histories of six or seven events and the state that is true after each, whatever the order.

mod bursts;
mod failures;
mod lives;
mod owners;
mod purchases;

use crate::build::{Story, invoice, session, subscription, with};
use crate::corpus::T0;
use serde_json::{Value, json};

pub(crate) const PRO: &str = "price_11ZgiQRNbDemoPlatfCt7QA7";
pub(crate) const HOBBY: &str = "price_hobby";

/// A history, its end, and what must hold then: `(row kind word, id, JSON pointer, value)`.
pub(crate) struct History {
    pub(crate) name: &'static str,
    pub(crate) events: Vec<Value>,
    /// Seconds; timers run until then.
    pub(crate) end: i64,
    /// Tenants an operator made before.
    pub(crate) tenants: Vec<&'static str>,
    pub(crate) truth: Vec<(&'static str, &'static str, &'static str, Value)>,
}

fn checkout(story: &mut Story, tenant: &str) {
    let sale = with(
        session("cs_1", T0 - 60, "subscription", Some("cus_1"), Some(tenant)),
        json!({"subscription": "sub_1"}),
    );
    story.tell("checkout.session.completed", T0 + 3, sale);
}

fn paid(id: &str, created: i64, end: i64) -> Value {
    with(
        invoice(id, "cus_1", "sub_1", "paid", created, end),
        json!({"attempt_count": 1, "status_transitions": {"paid_at": created + 5}}),
    )
}

fn sub(status: &str, price: &str, start: i64, end: i64) -> Value {
    with(
        subscription("sub_1", "cus_1", status, price, start, end),
        json!({"created": T0}),
    )
}

fn day(n: i64) -> i64 {
    n * 86_400
}

/// All fixed histories.
pub(crate) fn all() -> Vec<History> {
    let mut all = lives::lives();
    all.extend(failures::failures());
    all.extend(owners::owners());
    all.extend(bursts::bursts());
    all.extend(purchases::purchases());
    all
}
