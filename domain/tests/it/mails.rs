//! What a tenant is written and told of its subscription and invoices: step by step, each fact once.

use crate::build::{MONTH, invoice, subscription, with};
use crate::corpus::{T0, settings};
use crate::histories::PRO;
use crate::tenants::{create, tell, world_with};
use bursar_domain::ids::{EventId, Timestamp};
use bursar_domain::plans::PlanEffect;
use bursar_domain::settings::Settings;
use bursar_domain::testing::World;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const DAY: i64 = 86_400;
const END: i64 = T0 + MONTH;

/// Tenant `t1`, and what it has been told so far.
pub(crate) struct Desk {
    pub(crate) world: World,
    told: BTreeSet<String>,
    events: usize,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let mut world = world_with(settings);
        create(&mut world, "t1");
        let mut desk = Self {
            world,
            told: BTreeSet::new(),
            events: 0,
        };
        desk.news();
        desk
    }

    /// The kinds of mail and notifications since the last look, without those of the tenant itself.
    fn news(&mut self) -> Vec<String> {
        let effects = self.world.effects.iter();
        let new = effects.filter(|(id, _)| self.told.insert(id.0.clone()));
        let mut kinds: Vec<String> = new.map(|(_, effect)| effect.kind.clone()).collect();
        kinds.retain(|kind| {
            kind.starts_with("mail.")
                || kind.starts_with("alert.")
                || (kind.starts_with("notify.") && !kind.starts_with("notify.tenant."))
        });
        kinds.sort();
        kinds
    }

    pub(crate) fn at(&mut self, seconds: i64) -> Vec<String> {
        self.world.advance_to(Timestamp::from_seconds(seconds));
        self.news()
    }

    /// Delivers an event when it is made.
    pub(crate) fn hears(&mut self, kind: &str, at: i64, object: Value) -> Vec<String> {
        self.events += 1;
        let id = format!("evt_{:03}", self.events);
        assert!(EventId::parse(&id).is_ok());
        let now = self.world.now.max(Timestamp::from_seconds(at));
        self.world.advance_to(now);
        tell(&mut self.world, &id, kind, at, object);
        self.news()
    }

    pub(crate) fn subscription(&mut self, at: i64, status: &str, fields: Value) -> Vec<String> {
        let object = with(
            subscription("sub_1", "cus_1", status, PRO, T0, END),
            json!({ "metadata": { "tenant_id": "t1" } }),
        );
        self.hears("customer.subscription.updated", at, with(object, fields))
    }

    pub(crate) fn invoice(
        &mut self,
        kind: &str,
        at: i64,
        status: &str,
        fields: Value,
    ) -> Vec<String> {
        let object = invoice("in_1", "cus_1", "sub_1", status, END, END + MONTH);
        self.hears(kind, at, with(object, fields))
    }
}

/// A tenant whose first month is paid.
pub(crate) fn subscribed() -> Desk {
    subscribed_to(settings())
}

fn subscribed_to(settings: Settings) -> Desk {
    let mut desk = Desk::with(settings);
    let first = desk.subscription(T0, "active", json!({}));
    assert_eq!(first, ["notify.subscription.created"]);
    let paid = invoice("in_0", "cus_1", "sub_1", "paid", T0, END);
    let told = desk.hears("invoice.paid", T0 + 1, paid);
    assert_eq!(told, ["mail.receipt", "notify.invoice.paid"]);
    desk
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_renewal_that_fails_is_told_by_attempt_reminded_of_ended_and_undone() {
    let mut desk = subscribed();
    let failed = ["mail.payment_failed", "notify.invoice.payment_failed"];
    let attempt = |n: u64| json!({ "attempt_count": n });
    let fails = "invoice.payment_failed";
    assert_eq!(desk.invoice(fails, END, "open", attempt(1)), failed);
    let late = desk.subscription(END + 1, "past_due", json!({}));
    assert_eq!(
        late,
        ["notify.license.grace", "notify.subscription.updated"]
    );
    assert_eq!(desk.invoice(fails, END + 9, "open", attempt(1)), NOTHING);
    assert_eq!(desk.invoice(fails, END + 60, "open", attempt(2)), failed);
    assert_eq!(desk.at(END + 4 * DAY - 1), NOTHING);
    assert_eq!(desk.at(END + 4 * DAY), ["mail.grace_ending"]);
    assert_eq!(desk.at(END + 7 * DAY - 1), NOTHING);
    assert_eq!(
        desk.at(END + 7 * DAY),
        ["mail.access_revoked", "notify.license.revoked"]
    );
    assert_eq!(desk.at(END + 9 * DAY), NOTHING);
    let paid = desk.invoice("invoice.paid", END + 9 * DAY, "paid", attempt(3));
    let active = desk.subscription(END + 9 * DAY, "active", json!({}));
    let mut all = [paid, active].concat();
    all.sort();
    assert_eq!(
        all,
        [
            "mail.access_restored",
            "mail.receipt",
            "notify.invoice.paid",
            "notify.license.renewed",
            "notify.license.restored",
            "notify.subscription.updated",
        ]
    );
}

#[test]
fn changes_of_a_subscription_are_told_once_each() {
    let mut desk = subscribed();
    let updated = |mail: &str| vec![mail.to_owned(), "notify.subscription.updated".to_owned()];
    let more = json!([{ "id": "si_1", "quantity": 3, "current_period_start": T0,
        "current_period_end": END, "price": { "id": PRO } }]);
    let more = || json!({ "items": { "object": "list", "data": more } });
    let ends = || with(more(), json!({ "cancel_at_period_end": true }));
    assert_eq!(
        desk.subscription(T0 + 10, "active", more()),
        updated("mail.plan_changed")
    );
    assert_eq!(desk.subscription(T0 + 11, "active", more()), NOTHING);
    assert_eq!(
        desk.subscription(T0 + 20, "active", ends()),
        updated("mail.cancellation_scheduled")
    );
    assert_eq!(
        desk.subscription(T0 + 30, "active", more()),
        updated("mail.cancellation_undone")
    );
    let gone = with(more(), json!({ "ended_at": T0 + 40 }));
    assert_eq!(
        desk.subscription(T0 + 40, "canceled", gone.clone()),
        [
            "mail.subscription_canceled",
            "notify.license.revoked",
            "notify.subscription.canceled",
        ]
    );
    assert_eq!(desk.subscription(T0 + 41, "canceled", gone), NOTHING);
}

#[test]
fn the_end_of_a_trial_is_told_while_it_is_one() {
    let mut desk = Desk::new();
    let trial = |tenant: &str| {
        with(
            subscription("sub_1", "cus_1", "trialing", PRO, T0, T0 + 7 * DAY),
            json!({ "metadata": { "tenant_id": tenant }, "trial_end": T0 + 7 * DAY }),
        )
    };
    desk.hears("customer.subscription.created", T0, trial("t1"));
    let will_end = "customer.subscription.trial_will_end";
    assert_eq!(
        desk.hears(will_end, T0 + 4 * DAY, trial("t1")),
        ["mail.trial_ending", "notify.subscription.trial_ending"]
    );
    assert_eq!(desk.hears(will_end, T0 + 4 * DAY + 1, trial("t1")), NOTHING);
}

#[test]
fn an_invoice_that_waits_for_its_payer_or_cannot_be_made_is_told_once() {
    let mut desk = subscribed();
    let action = "invoice.payment_action_required";
    assert_eq!(
        desk.invoice(action, END, "open", json!({})),
        ["mail.action_required"]
    );
    assert_eq!(desk.invoice(action, END + 1, "open", json!({})), NOTHING);
    let mut desk = subscribed();
    assert_eq!(
        desk.invoice(action, END, "paid", json!({})),
        [
            "mail.receipt",
            "notify.invoice.paid",
            "notify.license.renewed"
        ]
    );
    let mut desk = subscribed();
    let broken = "invoice.finalization_failed";
    let said = [
        "alert.invoice_finalization_failed",
        "mail.invoice_finalization_failed",
    ];
    assert_eq!(desk.invoice(broken, END, "draft", json!({})), said);
    assert_eq!(desk.invoice(broken, END + 1, "draft", json!({})), NOTHING);
    let mut desk = subscribed();
    assert_eq!(desk.invoice(broken, END, "open", json!({})), NOTHING);
}

#[test]
fn an_invoice_of_nothing_has_no_receipt() {
    let mut desk = subscribed();
    let free = json!({ "amount_due": 0, "amount_paid": 0 });
    assert_eq!(
        desk.invoice("invoice.paid", END, "paid", free),
        ["notify.invoice.paid", "notify.license.renewed"]
    );
}

/// The reminder comes three days before the end, and not at all where grace is no longer than that.
#[test]
fn grace_lasts_as_long_as_the_plan_says() {
    for (days, reminder) in [(3, None), (4, Some(1)), (12, Some(9))] {
        let mut settings = settings();
        for plan in &mut settings.catalogue.plans {
            if let PlanEffect::Subscription(terms) = &mut plan.effect {
                terms.grace_days = days;
            }
        }
        let mut desk = subscribed_to(settings);
        let attempt = json!({ "attempt_count": 1 });
        desk.invoice("invoice.payment_failed", END, "open", attempt);
        desk.subscription(END + 1, "past_due", json!({}));
        if let Some(reminder) = reminder {
            assert_eq!(desk.at(END + reminder * DAY - 1), NOTHING, "{days}");
            assert_eq!(desk.at(END + reminder * DAY), ["mail.grace_ending"]);
        }
        assert_eq!(desk.at(END + i64::from(days) * DAY - 1), NOTHING, "{days}");
        assert_eq!(
            desk.at(END + i64::from(days) * DAY),
            ["mail.access_revoked", "notify.license.revoked"],
            "{days}"
        );
    }
}
