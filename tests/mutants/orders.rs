//! Shuffled and repeated deliveries in the world in memory.

use crate::Dice;
use bursar_domain::ids::{AccountId, CustomerId, Scope, TenantId, Timestamp};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::settings::Settings;
use bursar_domain::testing::{World, event};
use serde_json::{Value, json};

const T0: i64 = 1_747_044_000;
const MONTH: i64 = 30 * 86_400;
const ACCOUNT: &str = "acct_m";

fn world() -> World {
    let mut world = World::new(Settings::default(), Timestamp::from_seconds(T0 + 86_400));
    let tenant = |text: &str| TenantId::parse(text).expect("a tenant");
    let customer = CustomerId::parse("cus_1").expect("an id");
    let account = AccountId::parse(ACCOUNT).expect("an id");
    let links = [
        (LinkKey::Tenant(tenant("acme")), "acme"),
        (LinkKey::Tenant(tenant("shop")), "shop"),
        (LinkKey::Customer(Scope::PLATFORM, customer), "acme"),
        (LinkKey::Merchant(account), "shop"),
    ];
    for (key, of) in links {
        let tenant = Some(tenant(of));
        world.links.insert(key, LinkTarget { tenant });
    }
    world
}

fn subscription(status: &str, start: i64) -> Value {
    json!({"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": status,
        "created": T0, "start_date": T0, "cancel_at_period_end": false, "cancel_at": null,
        "canceled_at": null, "ended_at": null, "trial_end": null, "latest_invoice": null,
        "discounts": [], "metadata": {}, "currency": "usd", "livemode": false,
        "items": {"object": "list", "data": [{"id": "si_1", "quantity": 1,
            "current_period_start": start, "current_period_end": start + MONTH,
            "price": {"id": "price_1"}}]}})
}

fn intent(id: &str, status: &str, amount: u64) -> Value {
    let received = if status == "succeeded" { amount } else { 0 };
    json!({"id": id, "object": "payment_intent", "status": status, "created": T0,
        "amount": amount, "amount_received": received, "amount_capturable": 0,
        "currency": "usd", "customer": null, "latest_charge": null,
        "capture_method": "automatic", "last_payment_error": null, "metadata": {}})
}

/// What Stripe tells, in the order it happened, and what is true in the end:
/// `(list, account, id, status)`.
struct History {
    events: Vec<Value>,
    truth: Vec<(RowKind, &'static str, String, String)>,
}

/// A subscription that goes back and forth, and payments of the platform and of a connected account
/// whose events have the same ids.
fn history(dice: &mut Dice) -> History {
    let mut events = Vec::new();
    let mut truth = Vec::new();
    let mut status = "active";
    let created = subscription(status, T0);
    events.push(event(
        "evt_s0",
        "customer.subscription.created",
        T0,
        "",
        created,
        None,
    ));
    for n in 1..=2 + dice.below(4) as i64 {
        status = ["active", "past_due", "paused"][dice.below(3) as usize];
        let told = subscription(status, T0 + n);
        let id = format!("evt_s{n}");
        events.push(event(
            &id,
            "customer.subscription.updated",
            T0 + n * 60,
            "",
            told,
            None,
        ));
    }
    truth.push((
        RowKind::Subscription,
        "",
        "sub_1".to_owned(),
        status.to_owned(),
    ));
    for (account, pay) in [("", "pi_a"), (ACCOUNT, "pi_b")] {
        let amount = 500 + dice.below(5_000);
        let steps = [
            ("created", "requires_payment_method"),
            ("processing", "processing"),
            ("succeeded", "succeeded"),
        ];
        for (n, (kind, status)) in (0_i64..).zip(steps) {
            let told = intent(pay, status, amount);
            let (id, kind) = (format!("evt_p{n}"), format!("payment_intent.{kind}"));
            events.push(event(&id, &kind, T0 + n * 30, account, told, None));
        }
        truth.push((
            RowKind::Payment,
            account,
            pay.to_owned(),
            "succeeded".to_owned(),
        ));
    }
    History { events, truth }
}

fn scope_of(account: &str) -> Scope {
    Scope((!account.is_empty()).then(|| AccountId::parse(account).expect("an id")))
}

fn after<'e>(events: impl IntoIterator<Item = &'e Value>) -> World {
    let mut world = world();
    for event in events {
        world.deliver_json(event);
    }
    world
}

/// P3 and P4: whatever the order and the repetition, the state is that of the order told, and true.
pub(crate) fn any_order_ends_in_the_truth(seed: u64) -> Result<(), String> {
    let mut dice = Dice(seed);
    let history = history(&mut dice);
    let told = after(&history.events);
    let mut order: Vec<&Value> = history.events.iter().collect();
    for _ in 0..dice.below(5) {
        order.push(&history.events[dice.below(history.events.len() as u64) as usize]);
    }
    dice.shuffle(&mut order);
    let shuffled = after(order);
    for (kind, account, id, status) in &history.truth {
        let place = (*kind, scope_of(account), id.clone());
        let Some(row) = shuffled.rows.get(&place) else {
            return Err(format!("no {kind:?} {account}/{id}"));
        };
        if row.status != *status {
            return Err(format!(
                "{kind:?} {account}/{id} is {}, in truth {status}",
                row.status
            ));
        }
    }
    if told.state() != shuffled.state() {
        return Err(format!(
            "two states:\n{}\n{}",
            told.state(),
            shuffled.state()
        ));
    }
    Ok(())
}
