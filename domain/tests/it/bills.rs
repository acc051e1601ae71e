//! Invoices and their mails, what belongs to the installation alone, and what a timeline shows as changed.

use crate::build::{MONTH, customer, invoice, with};
use crate::corpus::{T0, settings};
use crate::tenants::{create, tell, world_with};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::effect::Effect;
use bursar_domain::fact::Order;
use bursar_domain::ids::TenantId;
use bursar_domain::rows::RowKind;
use bursar_domain::settings::{Receipts, Settings};
use bursar_domain::testing::{World, event};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn billed(settings: Settings, events: &[(&str, &str, Value)]) -> World {
    let mut world = world_with(settings);
    create(&mut world, "t1");
    for (n, (kind, id, fields)) in (0_i64..).zip(events) {
        let status = fields["status"].as_str().unwrap();
        let object = with(
            invoice(id, "cus_1", "sub_1", status, T0, T0 + MONTH),
            with(fields.clone(), json!({ "metadata": { "tenant_id": "t1" } })),
        );
        tell(&mut world, &format!("evt_{n}"), kind, T0 + n, object);
    }
    world
}

fn paid(fields: Value) -> Value {
    with(json!({ "status": "paid" }), fields)
}

#[test]
fn an_invoice_was_paid_when_stripe_says_else_when_it_said_so_first() {
    let at = |events: &[(&str, &str, Value)]| {
        let world = billed(settings(), events);
        world.row(RowKind::Invoice, "in_1").unwrap()["paidAt"].clone()
    };
    let open = || ("invoice.finalized", "in_1", json!({ "status": "open" }));
    let told = |kind, fields| (kind, "in_1", paid(fields));
    assert_eq!(at(&[open()]), Value::Null);
    assert_eq!(
        at(&[open(), told("invoice.paid", json!({}))]),
        "2025-05-12T10:00:01Z"
    );
    let twice = [
        told("invoice.paid", json!({})),
        told("invoice.updated", json!({ "number": "N" })),
    ];
    assert_eq!(at(&twice), "2025-05-12T10:00:00Z");
    let said = json!({ "status_transitions": { "paid_at": T0 - 60 } });
    assert_eq!(at(&[told("invoice.paid", said)]), "2025-05-12T09:59:00Z");
}

#[test]
fn a_mail_of_an_invoice_says_what_was_paid_or_what_is_owed() {
    let mails = |kind: &str, fields: Value| {
        let world = billed(settings(), &[(kind, "in_1", fields)]);
        let mails = world.effects.values().filter_map(|effect| {
            match Effect::from_payload(&effect.payload).unwrap() {
                Effect::Mail(mail) => Some((mail.template, mail.params)),
                _ => None,
            }
        });
        mails.collect::<Vec<_>>()
    };
    let receipt = mails("invoice.paid", paid(json!({ "amount_paid": 1_500 })));
    assert_eq!((receipt.len(), receipt[0].0.as_str()), (1, "receipt"));
    assert_eq!(receipt[0].1["amount"], "15.00 usd");
    let owed = json!({ "status": "open", "amount_paid": 0, "attempt_count": 2,
        "next_payment_attempt": T0 + 60 });
    let failed = mails("invoice.payment_failed", owed);
    assert_eq!((failed.len(), failed[0].0.as_str()), (1, "payment_failed"));
    let params = &failed[0].1;
    assert_eq!(
        (params["amount"].as_str(), params["attempt"].as_str()),
        ("20.00 usd", "2")
    );
    assert_eq!(params["nextAttempt"], "2025-05-12T10:01:00Z");
    assert_eq!(
        mails("invoice.paid", paid(json!({ "amount_paid": 0 }))).len(),
        0
    );
}

#[test]
fn invoices_share_one_receipt_where_only_the_first_payment_gets_one() {
    let receipts = |receipts| {
        let settings = Settings {
            receipts,
            ..settings()
        };
        let events = ["in_1", "in_2"].map(|id| ("invoice.paid", id, paid(json!({}))));
        billed(settings, &events).effects_of("mail.receipt").len()
    };
    assert_eq!(receipts(Receipts::First), 1);
    assert_eq!(receipts(Receipts::Off), 0);
    assert_eq!(receipts(settings().receipts), 2);
}

#[test]
fn which_payments_paid_an_invoice_is_asked_where_it_cost_something_and_does_not_say() {
    let asked = |kind, fields| {
        let world = billed(settings(), &[(kind, "in_1", fields)]);
        let rereads = world.effects_of("reread").into_iter();
        let targets = rereads.map(|effect| match effect {
            Effect::Reread(reread) => reread.path(),
            other => panic!("{other:?}"),
        });
        targets
            .filter(|path| path.contains("invoice_payments"))
            .count()
    };
    assert_eq!(asked("invoice.paid", paid(json!({}))), 1);
    assert_eq!(asked("invoice.paid", paid(json!({ "amount_paid": 0 }))), 0);
    assert_eq!(
        asked("invoice.paid", paid(json!({ "payment_intent": "pi_1" }))),
        0
    );
    assert_eq!(
        asked(
            "invoice.finalized",
            json!({ "status": "open", "amount_paid": 5 })
        ),
        0
    );
}

#[test]
fn a_failed_attempt_is_told_once_each() {
    let told = |attempts: &[u64]| {
        let events: Vec<(&str, &str, Value)> = attempts
            .iter()
            .map(|attempt| {
                let fields = json!({ "status": "open", "attempt_count": attempt });
                ("invoice.payment_failed", "in_1", fields)
            })
            .collect();
        billed(settings(), &events)
            .effects_of("notify.invoice.payment_failed")
            .len()
    };
    for (attempts, count) in [
        (vec![1], 1),
        (vec![1, 1], 1),
        (vec![1, 2], 2),
        (vec![1, 2, 3], 3),
    ] {
        assert_eq!(told(&attempts), count, "{attempts:?}");
    }
}

#[test]
fn what_belongs_to_no_payment_is_told_of_the_installation_under_its_ids() {
    let entry = |kind: &str, account: &str, object: Value| {
        let mut world = world_with(settings());
        world.deliver_json(&event("evt_1", kind, T0, account, object, None));
        let alerts: Vec<String> = world.effects.values().map(|one| one.kind.clone()).collect();
        let last = world.timeline.last().cloned();
        (last.map(|last| (last.summary, last.ids)), alerts)
    };
    let warning = json!({ "id": "issfr_1", "object": "radar.early_fraud_warning",
        "charge": null, "payment_intent": null });
    let (told, alerts) = entry("radar.early_fraud_warning.created", "", warning);
    let (summary, ids) = told.unwrap();
    assert_eq!(summary, "early fraud warning issfr_1 names no payment");
    assert!(ids.contains(&"issfr_1".to_owned()), "{ids:?}");
    assert_eq!(alerts, ["alert.early_fraud_warning"]);
    let payout = json!({ "id": "po_1", "object": "payout", "amount": 500, "currency": "usd",
        "status": "failed", "failure_code": "no_account" });
    let (told, alerts) = entry("payout.failed", "acct_m", payout.clone());
    let (summary, ids) = told.unwrap();
    assert_eq!(summary, "payout po_1 of 5.00 usd: failed (no_account)");
    assert!(
        ids.contains(&"po_1".to_owned()) && ids.contains(&"acct_m".to_owned()),
        "{ids:?}"
    );
    assert_eq!(alerts, ["alert.payout_failed"]);
    let made = with(payout, json!({ "status": "pending" }));
    let (told, alerts) = entry("payout.created", "", made);
    assert_eq!(told.unwrap().0, "payout po_1 of 5.00 usd: pending");
    assert_eq!(alerts, Vec::<String>::new());
}

#[test]
fn a_timeline_shows_each_field_that_changed_from_what_to_what() {
    let mut world = world_with(settings());
    create(&mut world, "t1");
    let metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let order = Order::TenantPatch {
        name: None,
        email: None,
        metadata: Some(metadata),
        timezone: None,
        contract_reference: None,
        expected_version: None,
    };
    let key = AggregateKey::Tenant(TenantId::parse("t1").unwrap());
    world.order(key, "patch", &order);
    let changed = |world: &World| -> Vec<(String, String, String)> {
        let last = world.timeline.last().unwrap();
        let all = last.changed.iter();
        all.map(|one| (one.field.clone(), one.from.clone(), one.to.clone()))
            .collect()
    };
    let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(
        changed(&world),
        [
            three("metadata", "{}", "null"),
            three("metadata.a", "null", "\"b\"")
        ]
    );
    tell(
        &mut world,
        "evt_1",
        "customer.created",
        T0,
        customer("cus_1", T0, Some("t1")),
    );
    let of_customer = world
        .timeline
        .iter()
        .find(|one| one.kind == "customer.created");
    let fields = &of_customer.unwrap().changed;
    let owner = fields.iter().find(|one| one.field == "tenantId").unwrap();
    assert_eq!((owner.from.as_str(), owner.to.as_str()), ("null", "\"t1\""));
    assert!(fields.iter().all(|one| one.from != one.to));
}
