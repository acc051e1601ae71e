//! The payment processor as the rest of the program sees it: the two calls a product cannot do without, and the way
//! back.
//!
//! Invariants: a delivery is verified before anything in it is read; what an order becomes and what a delivery means
//! follow from their own content and the settings, so nothing here waits or fails for outside reasons.
//! Not here: sending a call (`crate::stripe::write`), making a delivery durable (`crate::http::webhook`), the secrets'
//! rotation (`crate::http::edge`).
//! Failure: [`Refusal`] for a delivery that is not the processor's.
//! Source: contract §3, "Stripe's side"; Stripe API reference, "Webhook Endpoints".

use crate::http::limits::WEBHOOK_BODY_BYTES_MAX;
use crate::stripe::requests::checkout::{PlanCheckout, plan};
use crate::stripe::requests::customers::{PortalVisit, portal};
use crate::stripe::signature::{Genuine, Refusal, SecretSet, TOLERANCE_SECONDS};
use bursar_domain::ids::{CommandId, Timestamp};
use bursar_domain::route::{HANDLED, Routed};
use bursar_domain::settings::Settings;
use bursar_domain::stripe_call::StripeCall;
use hyper::HeaderMap;

/// The header that holds the signature.
const SIGNATURE: &str = "stripe-signature";

/// What a delivery is judged by.
#[derive(Clone, Copy)]
pub struct Receiving<'a> {
    /// The secrets that are good now.
    pub secrets: &'a SecretSet,
    /// The reducers' settings.
    pub settings: &'a Settings,
    /// The time.
    pub now: Timestamp,
}

/// A delivery that is the processor's, addressed.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Which secret fitted, and when it was signed.
    pub genuine: Genuine,
    /// Where it goes.
    pub routed: Routed,
}

/// How the processor has to be told to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Paths we listen on; the first is the one to give away.
    pub paths: &'static [&'static str],
    /// Where the signature is.
    pub signature_header: &'static str,
    /// How old, or how far ahead, a signature may be.
    pub tolerance_seconds: i64,
    /// The longest body taken.
    pub body_bytes_max: usize,
    /// What to deliver.
    pub event_types: &'static [&'static str],
    /// In which version's shape.
    pub api_version: &'static str,
}

/// A payment processor. There is one; this is its outline.
pub trait PaymentProcessor: Send + Sync + 'static {
    /// Its name in paths, logs and answers.
    fn id(&self) -> &'static str;
    /// The call that opens a checkout for a plan.
    fn create_checkout_session(&self, order: &PlanCheckout, command: &CommandId) -> StripeCall;
    /// The call whose answer holds the address of the customer portal.
    fn fetch_customer_portal_url(&self, visit: &PortalVisit) -> StripeCall;
    /// Verifies and addresses a delivery. # Errors: it is not the processor's.
    fn webhook(
        &self,
        receiving: Receiving<'_>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Delivery, Refusal>;
    /// How it has to be told to deliver.
    fn webhook_config(&self) -> WebhookConfig;
}

/// Stripe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stripe;

impl PaymentProcessor for Stripe {
    fn id(&self) -> &'static str {
        "stripe"
    }
    fn create_checkout_session(&self, order: &PlanCheckout, command: &CommandId) -> StripeCall {
        plan(order, command)
    }
    fn fetch_customer_portal_url(&self, visit: &PortalVisit) -> StripeCall {
        portal(visit)
    }
    fn webhook(
        &self,
        receiving: Receiving<'_>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Delivery, Refusal> {
        let mut sent = headers.get_all(SIGNATURE).iter();
        let first = sent.next().map(|value| value.as_bytes());
        if sent.next().is_some() {
            return Err(Refusal::Malformed("Stripe-Signature was sent twice"));
        }
        let now_seconds = receiving.now.seconds();
        let genuine = receiving.secrets.verify(first, body, now_seconds)?;
        bursar_domain::step!("KW2");
        let routed = bursar_domain::route(body, receiving.settings, receiving.now);
        Ok(Delivery { genuine, routed })
    }
    fn webhook_config(&self) -> WebhookConfig {
        WebhookConfig {
            paths: &[
                "/webhook",
                "/webhooks/stripe",
                "/api/v1/billing/stripe/webhook",
            ],
            signature_header: SIGNATURE,
            tolerance_seconds: TOLERANCE_SECONDS,
            body_bytes_max: WEBHOOK_BODY_BYTES_MAX,
            event_types: &HANDLED,
            api_version: "2025-04-30.basil",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::route::{Auth, Verb};
    use crate::stripe::signature::sign;
    use bursar_domain::ids::{PriceId, TenantId};
    use bursar_domain::plans::CheckoutMode;

    const BODY: &[u8] = include_bytes!(
        "../tests/corpus/stripe/events/2025-04-30.basil/checkout.session.completed.json"
    );

    fn processor() -> Box<dyn PaymentProcessor> {
        Box::new(Stripe)
    }

    fn received(headers: &[String], body: &[u8]) -> Result<Delivery, Refusal> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(SIGNATURE, header.parse().unwrap());
        }
        let receiving = Receiving {
            secrets: &SecretSet::new(["whsec_old", "whsec_new"]),
            settings: &Settings::default(),
            now: Timestamp::from_seconds(1_000),
        };
        processor().webhook(receiving, &map, body)
    }

    #[test]
    fn a_genuine_delivery_comes_back_addressed() {
        let header = sign("whsec_new", BODY, 990);
        let header = std::slice::from_ref(&header);
        let delivery = received(header, BODY).unwrap();
        assert_eq!(delivery.genuine.secret_position, 2);
        assert_eq!(delivery.routed.kind, "checkout.session.completed");
        assert!(matches!(
            delivery.routed.fate,
            bursar_domain::Fate::Pending { .. }
        ));
        let refusal = received(header, b"{}").unwrap_err();
        assert_eq!(refusal, Refusal::NoMatch);
        assert_eq!(received(&[], BODY).unwrap_err(), Refusal::Missing);
        let twice = received(&[header[0].clone(), header[0].clone()], BODY).unwrap_err();
        assert!(matches!(twice, Refusal::Malformed(_)));
    }

    #[test]
    fn the_paths_are_those_of_the_route_table() {
        let config = processor().webhook_config();
        let mut served: Vec<&str> = Vec::new();
        for route in crate::http::routes::every_route() {
            if route.verb == Verb::Post && matches!(route.auth, Auth::Stripe) {
                served.push(route.path);
                served.extend(route.aliases);
            }
        }
        assert_eq!(config.paths, served);
        assert!(config.paths[2].contains(processor().id()));
    }

    #[test]
    fn every_type_asked_for_is_one_of_stripes() {
        let list = include_str!("../tests/corpus/stripe/event-types-2025-04-30.basil.json");
        let config = processor().webhook_config();
        let unknown: Vec<&&str> = config
            .event_types
            .iter()
            .filter(|kind| !list.contains(&format!("\"{kind}\"")))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn the_port_orders_what_the_builders_write() {
        let order = PlanCheckout {
            tenant: TenantId::parse("t-1").unwrap(),
            plan_id: "pro".to_owned(),
            price: PriceId::parse("price_1").unwrap(),
            mode: CheckoutMode::Subscription,
            customer: None,
            quantity: 1,
            trial_days: 0,
            promotion_code: None,
            order_id: None,
            success_url: "https://app.example/".to_owned(),
            cancel_url: "https://app.example/".to_owned(),
            automatic_tax: false,
            allow_promotion_codes: false,
            address_update: false,
            tax_id_collection: false,
        };
        let command = CommandId::parse("cmd_1").unwrap();
        let call = processor().create_checkout_session(&order, &command);
        assert_eq!(call.path, "/v1/checkout/sessions");
        let visit = PortalVisit {
            customer: bursar_domain::ids::CustomerId::parse("cus_1").unwrap(),
            return_url: None,
        };
        let call = processor().fetch_customer_portal_url(&visit);
        assert_eq!(call.param("customer"), Some("cus_1"));
    }
}
