//! Access that ends before its time because the money went back.

use crate::build::{MONTH, invoice, subscription, with};
use crate::corpus::{T0, settings, subscription_plan};
use crate::histories::PRO;
use crate::tenants::{create, row, tell, world_with};
use bursar_domain::plans::{Plan, RevokeOn};
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn a_full_refund_ends_access_only_where_the_plan_says_so() {
    for (revoke_on, license) in [
        (BTreeSet::new(), "active"),
        (BTreeSet::from([RevokeOn::FullRefund]), "revoked"),
    ] {
        let mut settings = settings();
        settings.catalogue.plans[1] = Plan {
            revoke_on,
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
        let refund = json!({"id": "re_1", "object": "refund", "created": T0 + 5, "amount": 2000,
            "currency": "usd", "charge": "ch_1", "payment_intent": "pi_1", "status": "succeeded", "metadata": {}});
        tell(&mut world, "evt_5", "refund.created", T0 + 5, refund);
        assert_eq!(row(&world, "t1")["license"]["state"], license);
        assert_eq!(row(&world, "t1")["status"], "active");
    }
}
