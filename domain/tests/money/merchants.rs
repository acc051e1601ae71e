//! Connected accounts and what belongs to the installation.

use crate::build::*;
use crate::histories::History;
use crate::orders::{Walk, holds, world};
use bursar_domain::decision::Disposition;
use bursar_domain::effect::Effect;
use bursar_domain::ids::{AccountId, Scope, TenantId, Timestamp};
use bursar_domain::link::LinkKey;
use bursar_domain::reread::{Reread, RereadTarget};
use bursar_domain::rows::RowKind;
use bursar_domain::testing::{World, event};
use serde_json::{Value, json};

fn account(enabled: bool, submitted: bool, due: Value) -> Value {
    json!({
        "id": "acct_m", "object": "account", "created": T0, "charges_enabled": enabled,
        "payouts_enabled": enabled, "details_submitted": submitted, "email": "owner@example.com",
        "requirements": { "currently_due": due, "past_due": [], "pending_verification": [],
            "disabled_reason": null, "current_deadline": null },
        "metadata": { "tenant_id": "shop" },
    })
}

fn capability(name: &str, status: &str) -> Value {
    json!({ "id": name, "object": "capability", "account": "acct_m", "status": status,
        "requested": true })
}

/// An event about the account, `seconds` after T0.
fn of_account(seconds: i64, n: u32, kind: &str, object: Value, previous: Option<Value>) -> Value {
    event(
        &format!("evt_{kind}_{seconds}_{n}"),
        kind,
        T0 + seconds,
        ACCOUNT,
        object,
        previous,
    )
}

fn left(seconds: i64) -> Value {
    let application = json!({ "id": "ca_1", "object": "application", "name": "Platform" });
    of_account(
        seconds,
        0,
        "account.application.deauthorized",
        application,
        None,
    )
}

fn history(name: &'static str, events: Vec<Value>, truth: Value) -> History {
    History {
        name,
        events,
        payment: "",
        truth: json!({}),
        books: Vec::new(),
        others: vec![("merchant", "acct_m", truth)],
        most: (0, 0),
    }
}

fn histories() -> Vec<History> {
    let updated = "account.updated";
    let fresh = || account(false, false, json!(["business_type"]));
    let onboarding = vec![
        of_account(10, 0, updated, fresh(), None),
        of_account(900, 0, updated, account(false, true, json!([])), None),
        of_account(
            1_500,
            0,
            "capability.updated",
            capability("card_payments", "active"),
            None,
        ),
        of_account(1_500, 0, updated, account(true, true, json!([])), None),
    ];
    let enabled = json!({ "chargesEnabled": true, "payoutsEnabled": true, "detailsSubmitted": true,
        "disabledReason": null, "deauthorized": false, "tenantId": "shop",
        "merchantAccountId": "acct_m", "capabilities": { "card_payments": "active" } });
    let mut gone = onboarding.clone();
    gone.push(left(9_000));
    gone.push(of_account(
        9_000,
        1,
        updated,
        account(false, true, json!([])),
        None,
    ));
    let mut back = gone.clone();
    back.pop();
    back.push(of_account(
        9_500,
        0,
        updated,
        account(true, true, json!([])),
        None,
    ));
    let one_second = vec![
        of_account(10, 0, updated, fresh(), None),
        of_account(
            10,
            1,
            updated,
            account(false, true, json!(["tax_id"])),
            Some(json!({ "details_submitted": false })),
        ),
        of_account(
            10,
            2,
            updated,
            account(true, true, json!(["tax_id"])),
            Some(json!({ "charges_enabled": false, "payouts_enabled": false })),
        ),
        of_account(
            10,
            3,
            updated,
            account(true, true, json!([])),
            Some(json!({ "requirements": { "currently_due": ["tax_id"] } })),
        ),
        of_account(
            10,
            4,
            "capability.updated",
            capability("card_payments", "pending"),
            None,
        ),
        of_account(
            10,
            5,
            "capability.updated",
            capability("card_payments", "active"),
            Some(json!({ "status": "pending" })),
        ),
    ];
    vec![
        history("an account is onboarded", onboarding, enabled.clone()),
        history(
            "an account disconnects",
            gone,
            json!({ "chargesEnabled": false,
            "payoutsEnabled": false, "deauthorized": true,
            "disabledReason": "application.deauthorized", "detailsSubmitted": true }),
        ),
        history(
            "an account disconnects and comes back",
            back,
            enabled.clone(),
        ),
        history(
            "an account changes four times in one second",
            one_second,
            enabled,
        ),
    ]
}

#[test]
fn every_order_of_an_accounts_events_ends_in_its_last_state() {
    for history in histories() {
        let mut walk = Walk::of(&history);
        walk.explore(&world(), &[]);
        walk.check();
    }
}

#[test]
fn an_account_waits_for_its_tenant_and_then_belongs_to_it() {
    let mut world = world();
    let merchant = LinkKey::Merchant(AccountId::parse(ACCOUNT).unwrap());
    world.links.remove(&merchant);
    let unknown = with(
        account(true, true, json!([])),
        json!({ "metadata": { "tenant_id": "later" } }),
    );
    world.deliver_json(&of_account(10, 0, "account.updated", unknown, None));
    assert!(
        world.row(RowKind::Merchant, ACCOUNT).is_none(),
        "parked until `later` exists"
    );
    assert_eq!(world.parked_count(), 1);
    world.deliver_json(&of_account(
        20,
        0,
        "account.updated",
        account(true, true, json!([])),
        None,
    ));
    holds(
        &world,
        RowKind::Merchant,
        ACCOUNT,
        &json!({ "tenantId": "shop" }),
        "shop exists",
    );
    let linked = world
        .links
        .get(&merchant)
        .and_then(|link| link.tenant.clone());
    assert_eq!(linked, Some(TenantId::parse("shop").unwrap()));
}

#[test]
fn an_ambiguous_second_is_settled_by_asking_stripe() {
    let mut world = world();
    let reread = Reread {
        scope: Scope::PLATFORM,
        target: RereadTarget::Account(AccountId::parse(ACCOUNT).unwrap()),
    };
    // Nothing tells which of the two came last; Stripe says it is the disabled one.
    let truth = account(false, true, json!(["tax_id"]));
    world.truth.insert(reread, (200, truth.to_string()));
    world.deliver_json(&of_account(
        10,
        0,
        "account.updated",
        account(true, true, json!([])),
        None,
    ));
    world.deliver_json(&of_account(10, 1, "account.updated", truth, None));
    holds(
        &world,
        RowKind::Merchant,
        ACCOUNT,
        &json!({ "chargesEnabled": false, "detailsSubmitted": true }),
        "after the answer",
    );
    assert_eq!(world.effects_of("reread").len(), 1);
}

fn notified(world: &World) -> Vec<String> {
    let kinds = world.effects.values().map(|intent| intent.kind.clone());
    let mut kinds: Vec<String> = kinds.filter(|kind| !kind.starts_with("reread")).collect();
    kinds.sort();
    kinds
}

#[test]
fn a_disconnected_account_is_alerted_once_and_told_to_the_application() {
    let mut world = world();
    world.deliver_json(&of_account(
        10,
        0,
        "account.updated",
        account(true, true, json!([])),
        None,
    ));
    world.deliver_json(&left(9_000));
    let stale = account(false, true, json!([]));
    world.deliver_json(&of_account(500, 7, "account.updated", stale, None));
    assert_eq!(
        notified(&world),
        [
            "alert.merchant_deauthorized",
            "notify.merchant.deauthorized",
            "notify.merchant.updated"
        ]
    );
}

#[test]
fn a_failed_payout_is_alerted_and_told_and_leaves_no_state() {
    let mut world = world();
    let payout = |status: &str| {
        json!({ "id": "po_1", "object": "payout", "status": status,
        "created": T0, "amount": 182_340, "currency": "usd", "failure_code": "account_closed" })
    };
    for (n, (kind, status)) in [
        ("payout.created", "in_transit"),
        ("payout.paid", "paid"),
        ("payout.failed", "failed"),
    ]
    .into_iter()
    .enumerate()
    {
        world.deliver_json(&of_account(
            10,
            u32::try_from(n).unwrap(),
            kind,
            payout(status),
            None,
        ));
    }
    let alerts = world.effects_of("alert.payout_failed");
    let [Effect::Alert(alert)] = alerts.as_slice() else {
        panic!("one alert: {alerts:?}");
    };
    assert_eq!(
        alert.text,
        "payout po_1 of 1823.40 usd: failed (account_closed)"
    );
    assert_eq!(world.effects.len(), 1);
    assert_eq!(world.timeline.len(), 3);
    assert!(
        world
            .timeline
            .iter()
            .all(|entry| entry.disposition == Disposition::Applied
                && entry.ids.contains(&"po_1".to_owned()))
    );
    assert!(world.rows.is_empty() && world.books.is_empty());
    assert!(world.snapshots.values().all(|(bytes, _)| bytes == b"{}"));
}

#[test]
fn a_review_of_nothing_known_stays_with_the_installation() {
    let mut world = world();
    let review = json!({ "id": "prv_9", "object": "review", "open": true, "reason": "rule",
        "charge": null, "payment_intent": null, "created": T0 });
    world.deliver_json(&at(5, "review.opened", PLATFORM, review));
    world.advance_to(Timestamp::from_seconds(T0 + 99_999));
    assert_eq!(world.effects_of("alert.review_opened").len(), 1);
    assert!(world.rows.is_empty());
}
