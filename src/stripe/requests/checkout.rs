//! Checkout sessions: plans sold to tenants, and sales of a merchant.
//!
//! Invariants: the metadata of the session stands on the subscription or payment intent it makes, too, because Stripe
//! copies none; `allow_promotion_codes` and `discounts` never together; `customer_update` only with `customer`;
//! `customer` is the last parameter, so it can be added when it is known.
//! Source: Stripe API reference, "Checkout Sessions", "Create"; contract §2 (switches), §3 "Billing".

use super::draft::Draft;
use bursar_domain::ids::{AccountId, CommandId, CustomerId, PriceId, Scope, TenantId};
use bursar_domain::money::Currency;
use bursar_domain::plans::CheckoutMode;
use bursar_domain::stripe_call::{Operation, StripeCall};

const PATH: &str = "/v1/checkout/sessions";

/// A plan sold to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanCheckout {
    /// Who buys.
    pub tenant: TenantId,
    /// What, in our words.
    pub plan_id: String,
    /// What, in Stripe's.
    pub price: PriceId,
    /// Once or recurring (`bursar_domain::plans::mode_of`).
    pub mode: CheckoutMode,
    /// The tenant's customer; none while it is being made ([`with_customer`]).
    pub customer: Option<CustomerId>,
    /// How many.
    pub quantity: u64,
    /// Days before the first payment; only a subscription has any.
    pub trial_days: u32,
    /// `promo_…`: the id of a promotion code, not the word a customer types.
    pub promotion_code: Option<String>,
    /// The caller's own name for the order.
    pub order_id: Option<String>,
    /// Where a customer who paid goes to.
    pub success_url: String,
    /// Where one who did not goes to.
    pub cancel_url: String,
    /// `CHECKOUT_AUTOMATIC_TAX`.
    pub automatic_tax: bool,
    /// `CHECKOUT_PROMOTION_CODES`; a given code stands in its place.
    pub allow_promotion_codes: bool,
    /// `CHECKOUT_ADDRESS_UPDATE`.
    pub address_update: bool,
    /// `CHECKOUT_TAX_ID_COLLECTION`.
    pub tax_id_collection: bool,
}

/// `POST /v1/checkout/sessions` on the platform.
pub fn plan(order: &PlanCheckout, command: &CommandId) -> StripeCall {
    let mut metadata = vec![
        ("tenant_id", order.tenant.to_string()),
        ("plan_id", order.plan_id.clone()),
        ("command_id", command.to_string()),
    ];
    if let Some(order_id) = &order.order_id {
        metadata.push(("order_id", order_id.clone()));
    }
    metadata.push(("quantity", order.quantity.to_string()));
    let (mode, made) = match order.mode {
        CheckoutMode::Subscription => ("subscription", "subscription_data"),
        CheckoutMode::Payment => ("payment", "payment_intent_data"),
    };
    let has_trial = order.mode == CheckoutMode::Subscription && order.trial_days > 0;
    let trial_days = order.trial_days.to_string();
    let promotion_code = order.promotion_code.as_deref();
    let allows_codes = order.allow_promotion_codes && promotion_code.is_none();
    let call = Draft::post(Operation::CheckoutCreate, &Scope::PLATFORM, PATH)
        .set("mode", mode)
        .set("client_reference_id", &order.tenant)
        .set("line_items[0][price]", &order.price)
        .set("line_items[0][quantity]", order.quantity)
        .set("success_url", &order.success_url)
        .set("cancel_url", &order.cancel_url)
        .hash("metadata", &metadata)
        .hash(&format!("{made}[metadata]"), &metadata)
        .set_if(
            has_trial,
            "subscription_data[trial_period_days]",
            &trial_days,
        )
        .set_some("discounts[0][promotion_code]", promotion_code)
        .set_if(allows_codes, "allow_promotion_codes", "true")
        .set_if(order.automatic_tax, "automatic_tax[enabled]", "true")
        .set_if(
            order.tax_id_collection,
            "tax_id_collection[enabled]",
            "true",
        )
        .set_if(order.address_update, "billing_address_collection", "auto")
        .done();
    match &order.customer {
        Some(customer) => with_customer(call, customer),
        None => call,
    }
}

/// The call for this customer, who was not known when it was written. What the customer may correct at checkout is read
/// from the call, not from today's configuration, so that a restart with other switches sends the same bytes:
/// `billing_address_collection=auto` (what Stripe does anyway) stands for `CHECKOUT_ADDRESS_UPDATE`, and collecting a tax
/// id makes Stripe demand that the name may change. A call that names a customer stays as it is.
pub fn with_customer(mut call: StripeCall, customer: &CustomerId) -> StripeCall {
    if call.param("customer").is_some() {
        return call;
    }
    let saves_address = call.param("billing_address_collection").is_some();
    let saves_name = call.param("tax_id_collection[enabled]").is_some();
    for (is_saved, name) in [
        (saves_address, "customer_update[address]"),
        (saves_name, "customer_update[name]"),
    ] {
        if is_saved {
            call.params.push((name.to_owned(), "auto".to_owned()));
        }
    }
    call.params
        .push(("customer".to_owned(), customer.to_string()));
    call
}

/// One line of a merchant's sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleLine {
    /// What it is, for the buyer.
    pub name: String,
    /// Price of one, minor units.
    pub unit_amount_minor: u64,
    /// How many.
    pub quantity: u64,
}

/// When the money of a sale is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMethod {
    /// At once.
    Automatic,
    /// By an order of its own, within days.
    Manual,
}

impl CaptureMethod {
    /// Stripe's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::Manual => "manual",
        }
    }
    /// Reads Stripe's word.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Automatic, Self::Manual];
        all.into_iter().find(|one| one.as_str() == text)
    }
}

/// A sale of a merchant's to somebody we do not know: a direct charge on its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleCheckout {
    /// The merchant's tenant.
    pub tenant: TenantId,
    /// The merchant's account.
    pub account: AccountId,
    /// What is sold.
    pub lines: Vec<SaleLine>,
    /// In which currency, all of it.
    pub currency: Currency,
    /// When the money is taken.
    pub capture: CaptureMethod,
    /// What the platform keeps, minor units.
    pub application_fee_minor: Option<u64>,
    /// Filled in for the buyer.
    pub customer_email: Option<String>,
    /// The caller's own name for the order.
    pub order_id: Option<String>,
    /// Where a buyer who paid goes to.
    pub success_url: String,
    /// Where one who did not goes to.
    pub cancel_url: String,
}

/// `POST /v1/checkout/sessions` on the merchant's account.
pub fn sale(order: &SaleCheckout, command: &CommandId) -> StripeCall {
    let mut metadata = vec![
        ("tenant_id", order.tenant.to_string()),
        ("command_id", command.to_string()),
    ];
    if let Some(order_id) = &order.order_id {
        metadata.push(("order_id", order_id.clone()));
    }
    let scope = Scope(Some(order.account.clone()));
    let mut draft = Draft::post(Operation::CheckoutCreate, &scope, PATH)
        .set("mode", "payment")
        .set("client_reference_id", &order.tenant);
    for (index, line) in order.lines.iter().enumerate() {
        let at = format!("line_items[{index}]");
        draft = draft
            .set(format!("{at}[price_data][currency]"), order.currency)
            .set(format!("{at}[price_data][product_data][name]"), &line.name)
            .set(
                format!("{at}[price_data][unit_amount]"),
                line.unit_amount_minor,
            )
            .set(format!("{at}[quantity]"), line.quantity);
    }
    draft
        .set("success_url", &order.success_url)
        .set("cancel_url", &order.cancel_url)
        .hash("metadata", &metadata)
        .hash("payment_intent_data[metadata]", &metadata)
        .set(
            "payment_intent_data[capture_method]",
            order.capture.as_str(),
        )
        .set_some(
            "payment_intent_data[application_fee_amount]",
            order.application_fee_minor,
        )
        .set_some("customer_email", order.customer_email.as_deref())
        .done()
}
