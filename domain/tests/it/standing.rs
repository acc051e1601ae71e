//! What a tenant, its invoices and its claims come to: step by step, each rule where it turns.

use crate::build::{MONTH, with};
use crate::corpus::T0;
use crate::mails::{Desk, subscribed};
use crate::tenants::{bought, row};
use bursar_domain::claims::Claims;
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::link::{Claim, ClaimSource};
use bursar_domain::rows::RowKind;
use serde_json::{Value, json};

const DAY: i64 = 86_400;
const END: i64 = T0 + MONTH;

#[test]
fn each_change_of_a_tenants_status_is_told_by_its_word() {
    let mut desk = Desk::new();
    let told = |desk: &Desk| -> Vec<String> {
        let kinds = desk.world.effects.values().map(|effect| &effect.kind);
        let mut kinds: Vec<String> = kinds
            .filter_map(|kind| kind.strip_prefix("notify.tenant."))
            .map(str::to_owned)
            .collect();
        kinds.sort();
        kinds
    };
    let steps: [(&str, Value, &str, &[&str]); 6] = [
        ("active", json!({}), "active", &["activated", "created"]),
        (
            "past_due",
            json!({}),
            "past_due",
            &["activated", "created", "past_due"],
        ),
        (
            "unpaid",
            json!({}),
            "suspended",
            &["activated", "created", "past_due", "suspended"],
        ),
        (
            "paused",
            json!({}),
            "suspended",
            &["activated", "created", "past_due", "suspended"],
        ),
        (
            "active",
            json!({}),
            "active",
            &["activated", "activated", "created", "past_due", "suspended"],
        ),
        (
            "canceled",
            json!({ "ended_at": T0 + 60 }),
            "canceled",
            &[
                "activated",
                "activated",
                "archived",
                "canceled",
                "created",
                "past_due",
                "suspended",
            ],
        ),
    ];
    for (n, (status, fields, word, all)) in steps.into_iter().enumerate() {
        desk.subscription(T0 + 10 * n as i64, status, fields);
        assert_eq!(row(&desk.world, "t1")["status"], word, "step {n}");
        assert_eq!(told(&desk), all, "step {n}");
    }
}

#[test]
fn credits_bought_after_the_end_keep_a_tenant_and_those_before_do_not() {
    for (seconds, status) in [
        (40, "canceled"),
        (49, "canceled"),
        (50, "canceled"),
        (51, "active"),
    ] {
        let mut desk = subscribed();
        desk.subscription(T0 + 50, "canceled", json!({ "ended_at": T0 + 50 }));
        assert_eq!(row(&desk.world, "t1")["status"], "canceled");
        assert_ne!(row(&desk.world, "t1")["archivedAt"], Value::Null);
        desk.hears(
            "checkout.session.completed",
            T0 + seconds,
            bought("cs_1", "t1", 1),
        );
        let shown = row(&desk.world, "t1");
        assert_eq!(shown["status"], status, "bought at {seconds}");
        assert_eq!(
            shown["archivedAt"].is_null(),
            status == "active",
            "{seconds}"
        );
    }
}

#[test]
fn without_its_invoice_grace_begins_when_the_subscription_was_late() {
    let mut desk = subscribed();
    let later = json!({ "items": { "object": "list", "data": [{ "id": "si_1", "quantity": 1,
        "current_period_start": END, "current_period_end": END + MONTH,
        "price": { "id": crate::histories::PRO } }] } });
    desk.subscription(END + 60, "past_due", later);
    let license = row(&desk.world, "t1")["license"].clone();
    assert_eq!(license["state"], "grace");
    let until = Timestamp::from_seconds(END + 60 + 7 * DAY).rfc3339();
    assert_eq!(license["graceUntil"], until.as_str());
}

#[test]
fn an_open_invoice_is_overdue_once_it_failed_waits_for_its_payer_or_is_past_its_day() {
    let overdue = |desk: &Desk| {
        let row = desk.world.row(RowKind::Invoice, "in_1");
        row.unwrap()["overdue"].clone()
    };
    let due = json!({ "due_date": END + DAY });
    let mut desk = subscribed();
    desk.invoice("invoice.finalized", END, "open", due.clone());
    assert_eq!(overdue(&desk), false);
    desk.at(END + DAY - 1);
    assert_eq!(overdue(&desk), false);
    desk.at(END + DAY + 1);
    assert_eq!(overdue(&desk), true);
    desk.invoice("invoice.paid", END + 2 * DAY, "paid", due);
    assert_eq!(overdue(&desk), false);
    for kind in ["invoice.payment_failed", "invoice.payment_action_required"] {
        let mut desk = subscribed();
        desk.invoice(kind, END, "open", json!({}));
        assert_eq!(overdue(&desk), true, "{kind}");
        desk.invoice("invoice.voided", END + 1, "void", json!({}));
        assert_eq!(overdue(&desk), false, "{kind}");
    }
}

#[test]
fn a_deleted_customer_stays_as_it_was_whatever_is_heard_later() {
    let mut desk = subscribed();
    let named = |name: &str| {
        with(
            crate::build::customer("cus_1", T0, Some("t1")),
            json!({ "name": name }),
        )
    };
    desk.hears("customer.created", T0, named("Ada"));
    desk.hears("customer.deleted", T0 + 10, named("Ada"));
    desk.hears("customer.updated", T0 + 20, named("Bob"));
    let key = (RowKind::Customer, Scope::PLATFORM, "cus_1".to_owned());
    let customer = &desk.world.rows[&key];
    assert_eq!(customer.status, "deleted");
    let personal: Value =
        serde_json::from_slice(&customer.personal.as_ref().unwrap().fields).unwrap();
    assert_eq!(personal["name"], "Ada");
}

fn claim(tenant: &str, created: i64) -> Claim {
    Claim {
        source: ClaimSource::Metadata(0),
        created: Timestamp::from_seconds(created),
        object_id: "pi_1".to_owned(),
        tenant: TenantId::parse(tenant).unwrap(),
    }
}

#[test]
fn of_claims_the_least_holds_and_two_tenants_disagree() {
    let mut claims = Claims::default();
    assert!(!claims.disagree() && claims.least().is_none());
    assert!(claims.join(claim("a", 5)));
    assert!(!claims.join(claim("a", 5)), "nothing new");
    assert!(!claims.join(claim("a", 9)), "the earlier one holds");
    assert!(!claims.disagree());
    assert!(claims.join(claim("b", 3)));
    assert!(claims.disagree());
    assert_eq!(claims.least().unwrap().tenant.as_str(), "b");
    assert!(claims.join(claim("a", 1)));
    assert_eq!(claims.least().unwrap().tenant.as_str(), "a");
}

#[test]
fn of_more_tenants_than_are_kept_the_latest_is_forgotten() {
    let mut claims = Claims::default();
    for n in 1..=17 {
        assert_eq!(claims.join(claim(&format!("t{n}"), n)), n <= 16, "{n}");
    }
    assert_eq!(claims.iter().count(), 16);
    assert!(
        claims.join(claim("t0", 0)),
        "an earlier one takes its place"
    );
    let kept: Vec<&str> = claims.iter().map(|claim| claim.tenant.as_str()).collect();
    assert!(kept.contains(&"t0") && !kept.contains(&"t16"), "{kept:?}");
}
