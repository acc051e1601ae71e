//! Money and licences by the simplest arithmetic there is, against the core, over random histories.
//!
//! The sandbox lives a few months: people subscribe, change, fail to pay, pay, leave, buy, get money back, dispute.
//! The model reads Stripe's events in the order they happened and its balance, and keeps a handful of plain fields per
//! tenant; it knows nothing of the core's reducers. The core hears the same events in a random order with repeats, and
//! what it asks Stripe is answered. `BURSAR_MODEL_HISTORIES` histories (40) from `BURSAR_SEED` (0) on.

use super::run::Streams;
use bursar_config::{Config, DemoArgs};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::LedgerAccount;
use bursar_domain::effect::Effect;
use bursar_domain::fact::Order;
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_domain::reread::Reread;
use bursar_domain::rows::RowKind;
use bursar_domain::settings::Settings;
use bursar_domain::testing::World;
use bursar_sandbox::{PortableSandbox, SandboxConfig, SeedPlan, SharedClock};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const T0: i64 = 1_747_044_000;
const DAY: i64 = 86_400;
const TENANTS: u64 = 2;
/// Times the core is told anew because it asked for more.
const ROUNDS_MAX: usize = 8;

/// What the model knows of a tenant.
#[derive(Debug, Default)]
struct Tenant {
    status: String,
    price: String,
    ending: bool,
    /// The end of what was paid for.
    paid_until: i64,
    /// The first failure since the last payment.
    failed_at: Option<i64>,
    /// Stripe's balance, in minor units.
    balance: i64,
    has_subscription: bool,
}

/// A history at Stripe.
struct History {
    stripe: PortableSandbox,
    now: i64,
    customers: Vec<String>,
}

impl History {
    async fn post(&self, path: &str, form: &str) -> Value {
        let answer = self.stripe.call("POST", path, &[], form.to_owned()).await;
        serde_json::from_slice(&answer.unwrap().body).unwrap()
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let answer = self
            .stripe
            .call("GET", path, &[], String::new())
            .await
            .unwrap();
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(value["has_more"] != true, "{path} has more");
        value["data"].as_array().cloned().unwrap_or_default()
    }

    fn wait(&mut self, seconds: i64) {
        self.now += seconds;
        self.stripe.control().advance(seconds).unwrap();
    }

    fn price(&self, key: &str) -> String {
        let found = self
            .stripe
            .seeded()
            .iter()
            .find(|plan| plan.lookup_key == key);
        found.unwrap().price_id.clone()
    }

    /// Lives a few months.
    async fn live(seed: u64) -> Self {
        let clock = SharedClock::frozen_at_ms(T0 * 1_000);
        let stripe = PortableSandbox::new(&SandboxConfig {
            clock: Arc::new(clock),
            seed,
            seed_plans: SeedPlan::demo(),
            ..SandboxConfig::default()
        });
        let mut history = Self {
            stripe: stripe.unwrap(),
            now: T0,
            customers: Vec::new(),
        };
        let dice = Streams::new(seed);
        for n in 0..TENANTS {
            let form = format!("email=t{n}%40example.com&metadata[tenant_id]=t{n}");
            let id = history.post("/v1/customers", &form).await["id"]
                .as_str()
                .unwrap()
                .to_owned();
            history
                .stripe
                .control()
                .set_card(&id, "4242424242424242")
                .unwrap();
            history.customers.push(id);
            history.wait(60);
        }
        let mut subscriptions = vec![None::<String>; TENANTS as usize];
        for _ in 0..dice.with("length", |dice| dice.within(4, 12)) {
            let (of, what, wait) = dice.with("lives", |dice| {
                (
                    dice.below(TENANTS) as usize,
                    dice.below(10),
                    dice.within(60, 20 * DAY as u64),
                )
            });
            let customer = history.customers[of].clone();
            match (what, subscriptions[of].clone()) {
                (0..4, None) => {
                    let plan = dice.with("plans", |dice| *dice.pick(&["hobby", "pro"]));
                    let form = format!(
                        "customer={customer}&items[0][price]={}&metadata[tenant_id]=t{of}",
                        history.price(plan)
                    );
                    let made = history.post("/v1/subscriptions", &form).await;
                    subscriptions[of] = made["id"].as_str().map(str::to_owned);
                }
                (0, Some(id)) => {
                    let is_ending = dice.with("plans", |dice| dice.percent(50));
                    let form = format!("cancel_at_period_end={is_ending}");
                    history
                        .post(&format!("/v1/subscriptions/{id}"), &form)
                        .await;
                }
                (1 | 2, Some(_)) => {
                    let card = dice.with("cards", |dice| {
                        *dice.pick(&["4000000000000341", "4242424242424242"])
                    });
                    history.stripe.control().set_card(&customer, card).unwrap();
                }
                (3, Some(id)) if dice.with("plans", |dice| dice.percent(30)) => {
                    let path = format!("/v1/subscriptions/{id}");
                    let answer = history
                        .stripe
                        .call("DELETE", &path, &[], String::new())
                        .await;
                    answer.unwrap();
                }
                (4..8, _) => history.buy(&dice, of, &customer).await,
                _ => {}
            }
            history.wait(wait as i64);
        }
        history.wait(DAY);
        history
    }

    /// A payment, and perhaps some of it back or a dispute about it.
    async fn buy(&mut self, dice: &Streams, of: usize, customer: &str) {
        let (amount, fate) = dice.with("buys", |dice| (dice.within(500, 9_000), dice.below(6)));
        let form = format!(
            "amount={amount}&currency=usd&confirm=true&payment_method=pm_card_visa&customer={customer}\
             &metadata[tenant_id]=t{of}"
        );
        let made = self.post("/v1/payment_intents", &form).await;
        let id = made["id"].as_str().unwrap().to_owned();
        self.wait(3_600);
        match fate {
            0 | 1 => {
                for _ in 0..=fate {
                    let form = format!("payment_intent={id}&amount={}", amount / 3);
                    self.post("/v1/refunds", &form).await;
                    self.wait(60);
                }
            }
            2 => {
                let opened = self.stripe.control().open_dispute(&id, "fraudulent", false);
                self.wait(DAY);
                let won = dice.with("buys", |dice| dice.percent(50));
                if let Ok(dispute) = opened {
                    let dispute = dispute["id"].as_str().unwrap_or_default().to_owned();
                    self.stripe.control().decide_dispute(&dispute, won).unwrap();
                }
            }
            _ => {}
        }
    }

    /// The model: one pass over what happened, in the order it did.
    async fn model(&self, events: &[Value]) -> Vec<Tenant> {
        let mut tenants: Vec<Tenant> = (0..TENANTS).map(|_| Tenant::default()).collect();
        for event in events {
            let object = &event["data"]["object"];
            let Some(of) = self
                .customers
                .iter()
                .position(|id| object["customer"] == id.as_str())
            else {
                continue;
            };
            let (tenant, at) = (&mut tenants[of], event["created"].as_i64().unwrap());
            match event["type"].as_str().unwrap() {
                "customer.subscription.created"
                | "customer.subscription.updated"
                | "customer.subscription.deleted" => {
                    tenant.has_subscription = true;
                    tenant.status = object["status"].as_str().unwrap().to_owned();
                    tenant.price = object["items"]["data"][0]["price"]["id"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                    tenant.ending = object["cancel_at_period_end"] == true;
                }
                "invoice.paid" => {
                    let lines = object["lines"]["data"].as_array().into_iter().flatten();
                    let ends = lines.filter_map(|line| line["period"]["end"].as_i64());
                    tenant.paid_until = ends.fold(tenant.paid_until, i64::max);
                    tenant.failed_at = None;
                }
                "invoice.payment_failed" => {
                    tenant.failed_at.get_or_insert(at);
                }
                _ => {}
            }
        }
        for (of, balance) in self.balances().await.into_iter().enumerate() {
            tenants[of].balance = balance;
        }
        tenants
    }

    /// What Stripe holds for each tenant.
    async fn balances(&self) -> Vec<i64> {
        let mut payer: BTreeMap<String, usize> = BTreeMap::new();
        for charge in self.list("/v1/charges?limit=100").await {
            let of = self
                .customers
                .iter()
                .position(|id| charge["customer"] == id.as_str());
            payer.insert(charge["id"].as_str().unwrap().to_owned(), of.unwrap());
        }
        for path in ["/v1/refunds?limit=100", "/v1/disputes?limit=100"] {
            for one in self.list(path).await {
                let of = payer[one["charge"].as_str().unwrap()];
                payer.insert(one["id"].as_str().unwrap().to_owned(), of);
            }
        }
        let mut sums = vec![0; TENANTS as usize];
        for txn in self.list("/v1/balance_transactions?limit=100").await {
            if let Some(of) = payer.get(txn["source"].as_str().unwrap_or_default()) {
                sums[*of] += txn["net"].as_i64().unwrap();
            }
        }
        sums
    }

    /// The core, told everything in this order, with what it asks for answered.
    async fn told(&self, settings: &Settings, order: &[&Value]) -> World {
        let mut truth: BTreeMap<Reread, (u16, String)> = BTreeMap::new();
        for _ in 0..ROUNDS_MAX {
            let mut world = World::new(settings.clone(), Timestamp::from_seconds(self.now));
            world.truth.clone_from(&truth);
            for n in 0..TENANTS {
                let tenant = TenantId::parse(&format!("t{n}")).unwrap();
                let order = Order::TenantCreate {
                    name: None,
                    email: None,
                    metadata: BTreeMap::new(),
                    timezone: None,
                };
                world.order(AggregateKey::Tenant(tenant), &format!("create-{n}"), &order);
            }
            for event in order {
                world.deliver_json(event);
            }
            world.advance_to(Timestamp::from_seconds(self.now + 120));
            let mut asked = 0;
            for intent in world.effects.values() {
                if let Ok(Effect::Reread(reread)) = Effect::from_payload(&intent.payload)
                    && !truth.contains_key(&reread)
                {
                    let answer = self
                        .stripe
                        .call("GET", &reread.path(), &[], String::new())
                        .await
                        .unwrap();
                    truth.insert(
                        reread,
                        (
                            answer.status,
                            String::from_utf8_lossy(&answer.body).into_owned(),
                        ),
                    );
                    asked += 1;
                }
            }
            if asked == 0 {
                return world;
            }
        }
        panic!("the core never stops asking");
    }
}

fn settings(history: &History) -> Settings {
    let plans = ["hobby", "pro"].map(|key| {
        format!("[[plan]]\nid = \"{key}\"\nstripe_price_id = \"{}\"\n[plan.subscription]\nfeatures = [\"{key}\"]\n", history.price(key))
    });
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config::for_demo(&DemoArgs {
        listen: any,
        metrics_listen: any,
        data_dir: "/data".into(),
        stripe_api_base: "http://127.0.0.1:9".to_owned(),
        mail_server: None,
        plans_toml: Some(plans.concat()),
    });
    config.unwrap().reducer_settings("")
}

/// Where the core and the model differ.
fn differences(history: &History, tenants: &[Tenant], world: &World) -> Vec<String> {
    let mut out = Vec::new();
    for (n, tenant) in tenants.iter().enumerate() {
        let name = format!("t{n}");
        let of_tenant = world.books.iter().filter(|((_, of, _, account, _), _)| {
            *of == name && *account == LedgerAccount::StripeBalance
        });
        let booked: i64 = of_tenant.map(|(_, amount)| amount).sum();
        if booked != tenant.balance {
            out.push(format!(
                "{name}: {booked} booked, {} at Stripe",
                tenant.balance
            ));
        }
        if !tenant.has_subscription {
            continue;
        }
        let Some(row) = world.row(RowKind::Tenant, &name) else {
            out.push(format!("{name} is not known"));
            continue;
        };
        let license = match tenant.status.as_str() {
            "active" | "trialing" => "active",
            "past_due"
                if tenant
                    .failed_at
                    .is_some_and(|at| history.now + 120 < at + 7 * DAY) =>
            {
                "grace"
            }
            _ => "revoked",
        };
        let plan = if tenant.price == history.price("pro") {
            "pro"
        } else {
            "hobby"
        };
        let until =
            (tenant.paid_until > 0).then(|| Timestamp::from_seconds(tenant.paid_until).rfc3339());
        for (pointer, expected) in [
            ("/license/state", json!(license)),
            ("/license/validUntil", json!(until)),
            ("/planId", json!(plan)),
            ("/subscription/status", json!(tenant.status)),
            ("/subscription/cancelAtPeriodEnd", json!(tenant.ending)),
        ] {
            let found = row.pointer(pointer).unwrap_or(&Value::Null);
            if *found != expected {
                out.push(format!(
                    "{name}: {pointer} is {found}, by the model {expected}: {tenant:?}"
                ));
            }
        }
    }
    out
}

async fn compare(seed: u64) -> (usize, Vec<String>) {
    let history = History::live(seed).await;
    let events = history.stripe.events_after(0);
    let tenants = history.model(&events).await;
    let settings = settings(&history);
    let mut order: Vec<&Value> = events.iter().collect();
    Streams::new(seed).with("order", |dice| {
        for _ in 0..events.len() / 4 {
            order.push(&events[dice.below(events.len() as u64) as usize]);
        }
        for n in (1..order.len()).rev() {
            order.swap(n, dice.below(n as u64 + 1) as usize);
        }
    });
    let world = history.told(&settings, &order).await;
    (events.len(), differences(&history, &tenants, &world))
}

#[test]
fn the_core_says_what_plain_arithmetic_says() {
    let (first, histories) = (
        super::env_number("BURSAR_SEED", 0),
        super::env_number("BURSAR_MODEL_HISTORIES", 40),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (mut events, mut wrong) = (0, 0);
    for seed in first..first + histories {
        let (told, differences) = runtime.block_on(compare(seed));
        events += told;
        if !differences.is_empty() {
            wrong += 1;
            println!("seed={seed} {}", differences.join("\n    "));
            println!(
                "    again: BURSAR_SEED={seed} BURSAR_MODEL_HISTORIES=1 cargo test --features mutants --test sim arithmetic -- --nocapture"
            );
        }
    }
    println!("model histories={histories} events={events} differences={wrong}");
    assert_eq!(wrong, 0);
}
