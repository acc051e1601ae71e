//! A sandbox to order at, and the common first orders.

use super::{client, command};
use bursar::stripe::requests::checkout::{
    CaptureMethod, PlanCheckout, SaleCheckout, SaleLine, plan, sale, with_customer,
};
use bursar::stripe::requests::connect::{
    NewAccount, Onboarding, account, account_link, login_link,
};
use bursar::stripe::requests::customers::{NewCustomer, create};
use bursar::stripe::write::WriteClient;
use bursar_actors::ports::{CallEnd, StripeWrite};
use bursar_domain::ids::{AccountId, CustomerId, PaymentIntentId, PriceId, TenantId};
use bursar_domain::money::Currency;
use bursar_domain::plans::CheckoutMode;
use bursar_domain::stripe_call::{Operation, StripeCall};
use bursar_sandbox::{Control, Sandbox, SandboxConfig, SeedPlan, SharedClock};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// 2025-05-12T10:00:00Z.
const T0_SECONDS: i64 = 1_747_044_000;

pub(super) struct World {
    sandbox: Sandbox,
    pub(super) control: Control,
    pub(super) client: WriteClient,
    sent: usize,
}

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
}

pub(super) fn customer_id(value: &Value) -> CustomerId {
    CustomerId::parse(text(value, "id")).unwrap()
}

impl World {
    pub(super) async fn start() -> Self {
        let sandbox = bursar_sandbox::start(SandboxConfig {
            clock: Arc::new(SharedClock::frozen_at_ms(T0_SECONDS * 1_000)),
            seed_plans: SeedPlan::demo(),
            ..SandboxConfig::default()
        })
        .await
        .unwrap();
        Self {
            client: client(sandbox.base_url()),
            control: sandbox.control(),
            sandbox,
            sent: 0,
        }
    }
    pub(super) fn price(&self, plan: &str) -> PriceId {
        let seeded = self.sandbox.seeded().iter();
        let found = seeded.clone().find(|seeded| seeded.lookup_key == plan);
        PriceId::parse(&found.unwrap().price_id).unwrap()
    }
    pub(super) async fn end(&self, call: StripeCall, key: &str) -> CallEnd {
        let within = Duration::from_secs(30);
        self.client.send(call, key.to_owned(), within).await
    }
    /// A call that must succeed, twice: the second time its first answer comes again.
    pub(super) async fn took(&mut self, call: StripeCall) -> Value {
        self.sent += 1;
        let key = format!("key-{}", self.sent);
        let CallEnd::Answer(first) = self.end(call.clone(), &key).await else {
            panic!("no answer to {call:?}");
        };
        let body: Value = serde_json::from_slice(&first.body).unwrap();
        assert_eq!(first.status, 200, "{call:?}: {body}");
        assert_eq!((first.date_unix, first.is_replayed), (self.now(), false));
        assert!(first.request_id.starts_with("req_"));
        if call.operation != Operation::SubscriptionCancel {
            let CallEnd::Answer(again) = self.end(call.clone(), &key).await else {
                panic!("no second answer to {call:?}");
            };
            assert!(again.is_replayed && again.body == first.body, "{call:?}");
        }
        body
    }
    pub(super) fn now(&self) -> i64 {
        self.control.now_unix_ms() / 1_000
    }
    pub(super) async fn customer(&mut self) -> CustomerId {
        let order = NewCustomer {
            tenant: tenant(),
            name: Some("Ada & Söhne = 100 %".to_owned()),
            email: Some("ada+bills@example.com".to_owned()),
        };
        let made = self.took(create(&order, &command("cmd_customer"))).await;
        assert_eq!(text(&made, "name"), "Ada & Söhne = 100 %");
        assert_eq!(text(&made, "email"), "ada+bills@example.com");
        assert_eq!(text(&made["metadata"], "tenant_id"), "t-1");
        customer_id(&made)
    }
    /// A subscription bought through Checkout.
    pub(super) async fn subscriber(&mut self) -> (CustomerId, Value) {
        let customer = self.customer().await;
        let order = checkout(self.price("hobby"), CheckoutMode::Subscription);
        let call = with_customer(plan(&order, &command("cmd_buy")), &customer);
        let session = self.took(call).await;
        let paid = self.control.pay_session(text(&session, "id"), "4242", None);
        let id = text(&paid.unwrap(), "subscription").to_owned();
        (customer, self.control.object(&id).unwrap())
    }
    /// A merchant that may sell.
    pub(super) async fn merchant(&mut self) -> AccountId {
        let order = NewAccount {
            tenant: tenant(),
            email: Some("shop@example.com".to_owned()),
            country: Some("DE".to_owned()),
        };
        let made = self.took(account(&order, &command("cmd_account"))).await;
        assert_eq!(text(&made, "type"), "express");
        let merchant = AccountId::parse(text(&made, "id")).unwrap();
        let link = self
            .took(account_link(&Onboarding {
                account: merchant.clone(),
                refresh_url: "https://app.example/again?a=1&b=2".to_owned(),
                return_url: "https://app.example/back".to_owned(),
            }))
            .await;
        assert!(text(&link, "url").starts_with("http"));
        self.control.onboard(merchant.as_str()).unwrap();
        let login = self.took(login_link(&merchant)).await;
        assert!(text(&login, "url").starts_with("http"));
        merchant
    }
    /// A payment of a merchant's customer, made through its checkout.
    pub(super) async fn sold(
        &mut self,
        merchant: &AccountId,
        capture: CaptureMethod,
        fee: Option<u64>,
    ) -> PaymentIntentId {
        let line = |name: &str, unit_amount_minor, quantity| SaleLine {
            name: name.to_owned(),
            unit_amount_minor,
            quantity,
        };
        let order = SaleCheckout {
            tenant: tenant(),
            account: merchant.clone(),
            lines: vec![line("Tea [green] & more", 500, 2), line("Cup", 1_000, 1)],
            currency: Currency::parse("eur").unwrap(),
            capture,
            application_fee_minor: fee,
            customer_email: Some("buyer@example.com".to_owned()),
            order_id: Some("order 7".to_owned()),
            success_url: "https://shop.example/?s={CHECKOUT_SESSION_ID}".to_owned(),
            cancel_url: "https://shop.example/no".to_owned(),
        };
        let session = self.took(sale(&order, &command("cmd_sale"))).await;
        assert_eq!(session["amount_total"], 2_000);
        let paid = self.control.pay_session(text(&session, "id"), "4242", None);
        let intent = PaymentIntentId::parse(text(&paid.unwrap(), "payment_intent")).unwrap();
        let seen = self.control.object(intent.as_str()).unwrap();
        assert_eq!(seen["metadata"]["command_id"], "cmd_sale");
        assert_eq!(seen["metadata"]["order_id"], "order 7");
        intent
    }
}

pub(super) fn tenant() -> TenantId {
    TenantId::parse("t-1").unwrap()
}

pub(super) fn checkout(price: PriceId, mode: CheckoutMode) -> PlanCheckout {
    PlanCheckout {
        tenant: tenant(),
        plan_id: "hobby".to_owned(),
        price,
        mode,
        customer: None,
        quantity: 3,
        trial_days: 0,
        promotion_code: None,
        order_id: Some("o & o".to_owned()),
        success_url: "https://app.example/checkout?success=true&session_id={CHECKOUT_SESSION_ID}"
            .to_owned(),
        cancel_url: "https://app.example/checkout?canceled=true".to_owned(),
        automatic_tax: true,
        allow_promotion_codes: true,
        address_update: true,
        tax_id_collection: true,
    }
}
