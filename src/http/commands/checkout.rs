//! `POST /api/v1/checkout-sessions`: a plan sold to a tenant, or a sale of its own as a merchant.
//!
//! Invariants: who pays is the caller's tenant; a customer or account of another one is 404; a trial is given once per
//! tenant; nothing is sold twice unasked (409 while a subscription lives).
//! Source: contract §2 (plans), §3 "Billing".

use super::quantity::in_range;
use super::{Ended, Payer, Plan, command_id, customer_named, payer, run, tenant_of, urls};
use crate::http::answer::Answer;
use crate::http::order::visible_row;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::checkout::{
    self, CaptureMethod, PlanCheckout, SaleCheckout, SaleLine,
};
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{AccountId, CommandId, CustomerId, PriceId, Scope, TenantId};
use bursar_domain::money::Currency;
use bursar_domain::plans::{CheckoutMode, Plan as Sold, PlanEffect, mode_of};
use bursar_domain::rows::RowKind;
use bursar_store::query::{RowQuery, RowView};
use serde_json::{Value, json};

/// Subscriptions of a tenant looked through for an earlier trial.
const TRIALS_LOOKED_AT: usize = 100;

/// `POST /api/v1/checkout-sessions`.
pub fn open(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let (tenant, row) = tenant_of(&call).await?;
        let id = command_id(&call);
        let is_sale = call.fields.text("merchantAccountId").is_some();
        let ended = if is_sale {
            run(&call, id.clone(), sale(&call, &id, tenant)).await?
        } else {
            run(&call, id.clone(), plan(&call, &id, tenant, &row)).await?
        };
        match ended {
            Ended::Succeeded(command) => {
                let body =
                    json!({"sessionUrl": command.text("url"), "sessionId": command.object_id()});
                Ok(Answer::json(&body).holding_link())
            }
            Ended::Pending(answer) => Ok(answer),
        }
    })
}

async fn plan(
    call: &Call,
    id: &CommandId,
    tenant: TenantId,
    row: &RowView,
) -> Result<Plan, Problem> {
    let (sold, price) = for_sale(call)?;
    let mode = mode_of(&sold.effect).ok_or_else(|| unknown_plan("this plan has no price"))?;
    let asked = super::quantity::asked(call);
    let quantity = in_range(sold, asked.unwrap_or(super::quantity::least(sold)))?;
    let is_recurring = mode == CheckoutMode::Subscription;
    if is_recurring && call.fields.boolean("allowMultiple") != Some(true) && has_live_one(row) {
        let detail = "the tenant has a live subscription: change its plan, or say allowMultiple";
        return Err(Problem::new(Code::SubscriptionExists, detail));
    }
    let named = match call.fields.text("customerId") {
        Some(customer) => Some(customer_named(call, customer, &tenant).await?),
        None => None,
    };
    let (success, cancel) = urls::of_checkout(call)?;
    let switches = call.edge.settings.billing.checkout;
    let trial_days = match &sold.effect {
        PlanEffect::Subscription(terms) if terms.trial_days > 0 => {
            if had_trial(call, &tenant).await? {
                0
            } else {
                terms.trial_days
            }
        }
        _ => 0,
    };
    let promotion_code = super::promotion::code(call).await?;
    // Last, since it may order a customer: nothing is made for a request that is refused.
    let payer = match named {
        Some(customer) => Payer::Known(customer),
        None => payer(call, &tenant, row).await?,
    };
    let order = PlanCheckout {
        tenant: tenant.clone(),
        plan_id: sold.id.clone(),
        price,
        mode,
        customer: None,
        quantity,
        trial_days,
        promotion_code,
        order_id: call.fields.text("orderId").map(str::to_owned),
        success_url: success,
        cancel_url: cancel,
        automatic_tax: switches.automatic_tax,
        allow_promotion_codes: switches.promotion_codes,
        address_update: switches.address_update,
        tax_id_collection: switches.tax_id_collection,
    };
    let mut request = checkout::plan(&order, id);
    let awaits = match &payer {
        Payer::Known(customer) => {
            request = checkout::with_customer(request, customer);
            None
        }
        Payer::Made(command) => {
            // The customer's own parameter comes last, once it is known.
            let placeholder = CustomerId::parse("awaited").expect("a word is an id");
            request = checkout::with_customer(request, &placeholder);
            request.params.pop();
            Some(command.clone())
        }
    };
    Ok(Plan {
        kind: CommandKind::Checkout,
        objects: vec![tenant.to_string()],
        tenant,
        call: request,
        awaits,
    })
}

fn unknown_plan(detail: &str) -> Problem {
    Problem::new(Code::UnknownPlan, detail)
}

/// The plan asked for and the price it is sold under.
fn for_sale(call: &Call) -> Result<(&Sold, PriceId), Problem> {
    let Some(plan_id) = call.fields.text("planId") else {
        let detail = "say what is bought: `planId`, or `merchantAccountId` with `lineItems`";
        return Err(Problem::field("planId", FieldCode::Required, detail));
    };
    let catalogue = &call.edge.settings.domain.catalogue;
    let sold = catalogue.plan(plan_id).ok_or_else(|| {
        let known: Vec<&str> = catalogue
            .plans
            .iter()
            .map(|plan| plan.id.as_str())
            .collect();
        unknown_plan(&format!("the catalogue has {}", known.join(", ")))
    })?;
    let price = match call.fields.text("priceId") {
        Some(text) => sold.price_ids.iter().find(|price| price.as_str() == text),
        None => sold.price_ids.first(),
    };
    let price = price.ok_or_else(|| unknown_plan("the plan is not sold under this price"))?;
    Ok((sold, price.clone()))
}

fn has_live_one(row: &RowView) -> bool {
    let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    let over = |status: &Value| matches!(status.as_str(), Some("canceled" | "incomplete_expired"));
    let all = stored["subscriptions"].as_array();
    all.is_some_and(|all| all.iter().any(|one| !over(&one["status"])))
}

async fn had_trial(call: &Call, tenant: &TenantId) -> Result<bool, Problem> {
    let query = RowQuery {
        kind: RowKind::Subscription,
        tenant: Some(tenant.clone()),
        status: None,
        created_after: None,
        created_before: None,
        hidden: false,
        after: None,
        limit: TRIALS_LOOKED_AT,
    };
    let rows = call.edge.store.rows(&call.reach(), query).await?;
    let tried = |row: &RowView| {
        let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
        !stored["trialEnd"].is_null()
    };
    // Who had that many had one.
    Ok(rows.next.is_some() || rows.items.iter().any(tried))
}

async fn sale(call: &Call, id: &CommandId, tenant: TenantId) -> Result<Plan, Problem> {
    let account = call.fields.text("merchantAccountId").unwrap_or_default();
    let reach = call.caller.reach(Some(&tenant));
    let merchant = visible_row(&call.edge, RowKind::Merchant, account, Some(""), &reach).await?;
    let account = AccountId::parse(&merchant.id).map_err(|_| Problem::not_found())?;
    let (lines, currency) = lines(call)?;
    let total = lines.iter().try_fold(0_u64, |sum, line| {
        sum.checked_add(line.unit_amount_minor.checked_mul(line.quantity)?)
    });
    let fee = call
        .fields
        .integer("applicationFeeAmount")
        .and_then(|fee| u64::try_from(fee).ok());
    if total.is_none_or(|total| fee.is_some_and(|fee| fee > total)) {
        let detail = "the fee cannot be more than the lines together";
        return Err(Problem::field(
            "applicationFeeAmount",
            FieldCode::OutOfRange,
            detail,
        ));
    }
    let (success, cancel) = urls::of_checkout(call)?;
    let capture = call
        .fields
        .text("captureMethod")
        .and_then(CaptureMethod::parse);
    let order = SaleCheckout {
        tenant: tenant.clone(),
        account: account.clone(),
        lines,
        currency,
        capture: capture.unwrap_or(CaptureMethod::Automatic),
        application_fee_minor: fee,
        customer_email: call.fields.text("customerEmail").map(str::to_owned),
        order_id: call.fields.text("orderId").map(str::to_owned),
        success_url: success,
        cancel_url: cancel,
    };
    let request = checkout::sale(&order, id);
    debug_assert_eq!(request.scope, Scope(Some(account.clone())));
    Ok(Plan {
        kind: CommandKind::Sale,
        objects: vec![tenant.to_string(), account.to_string()],
        tenant,
        call: request,
        awaits: None,
    })
}

/// The lines of a sale, all of one currency.
fn lines(call: &Call) -> Result<(Vec<SaleLine>, Currency), Problem> {
    let wrong = |detail: &str| Problem::field("lineItems", FieldCode::Malformed, detail);
    let items = call.fields.value("lineItems").and_then(Value::as_array);
    let items = items.ok_or_else(|| wrong("`lineItems` is required with `merchantAccountId`"))?;
    let mut lines = Vec::new();
    let mut currencies = Vec::new();
    for item in items {
        let number = |name: &str| item[name].as_u64();
        lines.push(SaleLine {
            name: item["name"].as_str().unwrap_or_default().to_owned(),
            unit_amount_minor: number("amount").unwrap_or_default(),
            quantity: number("quantity").unwrap_or(1),
        });
        currencies.push(item["currency"].as_str().unwrap_or_default());
    }
    currencies.sort_unstable();
    currencies.dedup();
    match currencies.as_slice() {
        [one] => {
            let currency = Currency::parse(one).map_err(|_| wrong("no such currency"))?;
            Ok((lines, currency))
        }
        _ => Err(wrong("all lines of a sale must be of one currency")),
    }
}
