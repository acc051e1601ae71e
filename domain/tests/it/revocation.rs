//! Access that ends before its time because the money went back.

use crate::build::{MONTH, invoice, subscription, with};
use crate::corpus::{T0, settings, subscription_plan};
use crate::histories::PRO;
use crate::tenants::{create, row, tell, world_with};
use bursar_domain::plans::{Plan, RevokeOn};
use serde_json::{Value, json};

/// The licence of a tenant that paid for its subscription, by a plan that revokes so, after an event about the payment.
fn license_after(revoke_on: &[RevokeOn], kind: &str, object: Value) -> String {
    let mut settings = settings();
    settings.catalogue.plans[1] = Plan {
        revoke_on: revoke_on.iter().copied().collect(),
        ..subscription_plan("pro", PRO, &["sso"])
    };
    let mut world = world_with(settings);
    create(&mut world, "t1");
    let named = json!({"metadata": {"tenant_id": "t1"}});
    let sub = with(
        subscription("sub_1", "cus_1", "active", PRO, T0, T0 + MONTH),
        named,
    );
    tell(
        &mut world,
        "evt_1",
        "customer.subscription.created",
        T0,
        sub,
    );
    let paid = with(
        invoice("in_1", "cus_1", "sub_1", "paid", T0, T0 + MONTH),
        json!({"payment_intent": "pi_1"}),
    );
    tell(&mut world, "evt_2", "invoice.paid", T0 + 1, paid);
    let intent = json!({"id": "pi_1", "object": "payment_intent", "created": T0, "amount": 2000,
        "amount_received": 2000, "currency": "usd", "customer": "cus_1", "status": "succeeded",
        "latest_charge": "ch_1", "metadata": {}});
    tell(
        &mut world,
        "evt_3",
        "payment_intent.succeeded",
        T0 + 1,
        intent,
    );
    let charge = json!({"id": "ch_1", "object": "charge", "created": T0, "amount": 2000,
        "amount_captured": 2000, "amount_refunded": 0, "captured": true, "refunded": false,
        "currency": "usd", "customer": "cus_1", "payment_intent": "pi_1", "status": "succeeded",
        "metadata": {}});
    tell(&mut world, "evt_4", "charge.succeeded", T0 + 1, charge);
    tell(&mut world, "evt_5", kind, T0 + 5, object);
    assert_eq!(row(&world, "t1")["status"], "active");
    let state = &row(&world, "t1")["license"]["state"];
    state.as_str().unwrap().to_owned()
}

fn refund(amount: i64) -> Value {
    json!({"id": "re_1", "object": "refund", "created": T0 + 5, "amount": amount, "currency": "usd",
        "charge": "ch_1", "payment_intent": "pi_1", "status": "succeeded", "metadata": {}})
}

fn dispute(status: &str) -> Value {
    json!({"id": "du_1", "object": "dispute", "created": T0 + 5, "amount": 2000, "currency": "usd",
        "charge": "ch_1", "payment_intent": "pi_1", "status": status, "reason": "fraudulent",
        "balance_transactions": [], "metadata": {}})
}

#[test]
fn money_that_went_back_ends_access_only_where_the_plan_says_so() {
    let (full, lost) = (RevokeOn::FullRefund, RevokeOn::DisputeLost);
    let refunded =
        |revoke_on: &[RevokeOn], amount| license_after(revoke_on, "refund.created", refund(amount));
    assert_eq!(refunded(&[], 2_000), "active");
    assert_eq!(refunded(&[lost], 2_000), "active");
    assert_eq!(refunded(&[full], 1_999), "active");
    assert_eq!(refunded(&[full], 2_000), "revoked");
    let disputed = |revoke_on: &[RevokeOn], status| {
        license_after(revoke_on, "charge.dispute.closed", dispute(status))
    };
    assert_eq!(disputed(&[], "lost"), "active");
    assert_eq!(disputed(&[full], "lost"), "active");
    for status in ["needs_response", "under_review", "won"] {
        assert_eq!(disputed(&[full, lost], status), "active", "{status}");
    }
    assert_eq!(disputed(&[lost], "lost"), "revoked");
}
