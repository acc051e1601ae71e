//! Two tenants that have everything, told apart by their amounts, ids and addresses.
//!
//! Amounts are primes and no two are the same, so that a sum, an average or a copy of the other's is seen.

use super::callers::api_key;
use crate::app::{App, START_SECONDS};
use crate::story::{get, scenario};
use bursar_domain::identity::Role;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A tenant's own marks.
#[derive(Clone, Debug)]
pub(super) struct House {
    pub(super) tenant: &'static str,
    mark: &'static str,
    email: &'static str,
    primes: [u64; 6],
}

pub(super) const OURS: House = House {
    tenant: "ws_aaa",
    mark: "Zaa",
    email: "ada-aa@example.com",
    primes: [10_007, 10_009, 10_037, 10_039, 9_967, 9_973],
};
pub(super) const THEIRS: House = House {
    tenant: "ws_bbb",
    mark: "Zbb",
    email: "bob-bb@example.com",
    primes: [20_011, 20_021, 20_023, 20_029, 19_993, 19_997],
};

impl House {
    /// What of this house a text tells.
    pub(super) fn told_by(&self, text: &str) -> Option<String> {
        for word in [self.tenant, self.mark, self.email] {
            if text.contains(word) {
                return Some(word.to_owned());
            }
        }
        // As pages show an amount.
        for prime in self.primes {
            let shown = format!("{}.{:02}", prime / 100, prime % 100);
            if text.contains(&shown) {
                return Some(shown);
            }
        }
        // Whole words: digits within an id are no amount.
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let mut amounts = words.filter_map(|word| word.parse().ok());
        let is_told = |amount: &u64| self.primes.contains(amount);
        amounts.find(is_told).map(|amount| amount.to_string())
    }

    /// A flow of the corpus as this tenant's, with ids and amounts of its own.
    fn flow(&self, name: &str, copy: usize) -> Vec<Value> {
        let events = scenario(name).into_iter();
        let mut events: Vec<Value> = events.map(|event| self.own(event, copy)).collect();
        for event in &mut events {
            let object = &mut event["data"]["object"];
            if object["object"] == "account" {
                object["metadata"] = json!({"tenant_id": self.tenant});
            }
        }
        events
    }
    fn own(&self, value: Value, copy: usize) -> Value {
        match value {
            Value::String(text) => Value::String(self.own_text(&text, copy)),
            Value::Number(number) => match number.as_u64() {
                Some(2_000) => json!(self.primes[copy]),
                Some(1_500) => json!(self.primes[2 + copy]),
                _ => Value::Number(number),
            },
            Value::Array(all) => all.into_iter().map(|one| self.own(one, copy)).collect(),
            Value::Object(all) => all
                .into_iter()
                .map(|(key, one)| (key, self.own(one, copy)))
                .collect(),
            other => other,
        }
    }
    fn own_text(&self, text: &str, copy: usize) -> String {
        const KINDS: [&str; 14] = [
            "evt", "cus", "pi", "ch", "py", "sub", "si", "in", "cs", "du", "dp", "re", "acct",
            "txn",
        ];
        let kind = text.split('_').next().unwrap_or("");
        match text {
            "ws_42" => self.tenant.to_owned(),
            "ada@example.com" => self.email.to_owned(),
            "Ada Lovelace" => format!("{} Lovelace", self.mark),
            _ if KINDS.contains(&kind) && text.contains('_') && !text.contains(' ') => {
                format!("{text}{}{copy}", self.mark)
            }
            _ => text.to_owned(),
        }
    }
}

/// Ids of a tenant's things, by list; `absent` ones for whoever has none.
pub(super) type Things = BTreeMap<&'static str, String>;

/// The lists whose objects are named in paths.
pub(super) const LISTS: [&str; 11] = [
    "subscriptions",
    "invoices",
    "payments",
    "refunds",
    "disputes",
    "customers",
    "checkout-sessions",
    "commands",
    "merchantAccountId",
    "api-keys",
    "notification-endpoints",
];

/// An endpoint of a tenant that hears nothing that happens here.
pub(super) async fn endpoint(app: &App, tenant: &str, description: &str) -> String {
    let body = json!({"tenantId": tenant, "url": "https://app.example.com/hook",
        "types": ["merchant.deauthorized"], "description": description});
    let path = "POST /api/v1/notification-endpoints";
    let made = app.operator(path, &body.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

/// The same, to be removed: those nobody removed go first, since there is room for 16 only.
pub(super) async fn spare_endpoint(app: &App, tenant: &str) -> String {
    let path = format!("/api/v1/notification-endpoints?tenantId={tenant}&limit=100");
    let all = get(app, &path).await;
    for one in all["data"].as_array().unwrap() {
        if one["description"] != "kept" {
            let id = one["id"].as_str().unwrap();
            let line = format!("DELETE /api/v1/notification-endpoints/{id}");
            app.operator(&line, "").await;
        }
    }
    endpoint(app, tenant, "spare").await
}

async fn deliver(app: &App, events: &[Value]) {
    for event in events {
        let reply = app.deliver(event.to_string().as_bytes()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    app.settle().await;
}

/// Gives a tenant two of everything; answers one of each.
pub(super) async fn furnish(app: &App, house: &House) -> Things {
    let body = json!({"tenantId": house.tenant, "name": format!("{} Ltd", house.mark)});
    app.operator("POST /api/v1/tenants", &body.to_string())
        .await;
    for copy in 0..2 {
        for name in [
            "new_subscription_checkout",
            "one_time_payment_checkout",
            "dispute_won",
        ] {
            deliver(app, &house.flow(name, copy)).await;
        }
        // Until before the account disconnects.
        let mut merchant = house.flow("connect_onboarding", copy);
        merchant.pop();
        deliver(app, &merchant).await;
        let payment = format!("/api/v1/payments?tenantId={}&limit=100", house.tenant);
        let payments = get(app, &payment).await;
        let amount = house.primes[copy];
        let of_amount = payments["data"].as_array().unwrap().iter();
        let paid = of_amount.clone().find(|one| one["amount"] == amount);
        let paid = paid.unwrap_or_else(|| panic!("no payment of {amount} in {payments}"));
        deliver(app, &[refund(house, copy, paid)]).await;
        api_key(app, house.tenant, Role::Viewer).await;
        endpoint(app, house.tenant, "kept").await;
        app.clock.step(1_000);
    }
    for _ in 0..2 {
        let order = json!({"tenantId": house.tenant, "planId": "credits-10"}).to_string();
        let reply =
            crate::authz::matrix::in_the_background(app, "/api/v1/checkout-sessions", &order);
        assert_eq!(reply.await.status, 202);
        app.settle().await;
    }
    things(app, house).await
}

fn refund(house: &House, copy: usize, paid: &Value) -> Value {
    json!({
        "id": format!("evt_refund{}{copy}", house.mark), "object": "event",
        "api_version": "2025-04-30.basil", "created": START_SECONDS + 60, "livemode": false,
        "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null},
        "type": "refund.created",
        "data": {"object": {
            "id": format!("re_1{}{copy}", house.mark), "object": "refund",
            "amount": house.primes[4 + copy], "currency": "usd", "created": START_SECONDS + 60,
            "charge": paid["stripeChargeId"], "payment_intent": paid["stripePaymentIntentId"],
            "metadata": {}, "reason": "requested_by_customer", "status": "succeeded",
        }},
    })
}

async fn things(app: &App, house: &House) -> Things {
    let mut things = Things::new();
    for list in LISTS {
        let id = if list == "merchantAccountId" {
            let path = format!("/api/v1/connect/account?tenantId={}", house.tenant);
            get(app, &path).await["id"].clone()
        } else {
            let path = format!("/api/v1/{list}?tenantId={}&limit=100", house.tenant);
            let found = get(app, &path).await;
            let all = found["data"].as_array().unwrap();
            assert!(all.len() >= 2, "{}: {list} {found}", house.tenant);
            all[0]["id"].clone()
        };
        things.insert(list, id.as_str().unwrap().to_owned());
    }
    things
}
