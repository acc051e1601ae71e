//! Another plan or quantity.
//!
//! Invariants: the same plan and quantity order nothing, nor does what waits for its payment already, so nobody is
//! billed twice for one change. What is not named stays as it is at Stripe, not as it is here.

use super::cost::{self, Bought};
use super::item::{self, Item};
use super::{Subject, answer, conflict, live, must_live, page_of, subject};
use crate::http::answer::Answer;
use crate::http::commands::{Ended, Plan, command_id, find, quantity, run};
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::stripe::requests::ProrationBehavior;
use crate::stripe::requests::subscriptions::{ItemChange, change};
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{PriceId, Scope};
use bursar_domain::plans::{CheckoutMode, mode_of};
use serde_json::Value;

/// What is asked for, beside what there is.
pub(super) struct Wish {
    pub(super) item: Item,
    /// The new price and all Stripe says of it; `None`: the present one.
    pub(super) price: Option<(PriceId, Value)>,
    /// The new quantity; `None`: the present one.
    pub(super) quantity: Option<u64>,
    pub(super) proration: Option<ProrationBehavior>,
}

impl Wish {
    fn is_nothing(&self) -> bool {
        self.price.is_none() && self.quantity.is_none()
    }
    fn price_id(&self) -> Option<&PriceId> {
        self.price.as_ref().map(|(id, _)| id)
    }
    pub(super) fn old(&self) -> Bought<'_> {
        Bought {
            price: &self.item.price,
            quantity: self.item.quantity.unwrap_or(1),
        }
    }
    pub(super) fn new_one(&self) -> Bought<'_> {
        Bought {
            price: self
                .price
                .as_ref()
                .map_or(&self.item.price, |(_, price)| price),
            quantity: self.quantity.or(self.item.quantity).unwrap_or(1),
        }
    }
    /// Whether the item of a pending update is as wished.
    fn waits_in(&self, subscription: &Value) -> bool {
        let items = subscription["pending_update"]["subscription_items"].as_array();
        let mut items = items.into_iter().flatten();
        let new = self.new_one();
        items.any(|one| {
            one["id"] == self.item.id.as_str()
                && one["price"]["id"] == new.price["id"]
                && one["quantity"].as_u64().unwrap_or(1) == new.quantity
        })
    }
}

/// Reads what is asked for. # Errors: 400, 409, 422; 502 and 503 when the new price cannot be read.
pub(super) async fn wish(call: &Call, subscription: &Value) -> Result<Wish, Problem> {
    must_live(subscription["status"].as_str().unwrap_or_default())?;
    let catalogue = &call.edge.settings.domain.catalogue;
    let item = item::of(subscription, catalogue)?;
    let asked = quantity::asked(call);
    let named = call.fields.text("planId");
    if named.is_none() && asked.is_none() {
        let detail = "say what changes: `planId`, `quantity`, or both";
        return Err(Problem::field("planId", FieldCode::Required, detail));
    }
    let plan = match named {
        Some(id) => {
            let plan = catalogue.plan(id);
            let sold =
                plan.filter(|plan| mode_of(&plan.effect) == Some(CheckoutMode::Subscription));
            let unknown = || {
                let detail = "the catalogue sells no subscription under this id";
                Problem::new(Code::UnknownPlan, detail)
            };
            Some(sold.ok_or_else(unknown)?)
        }
        None => item.plan(catalogue),
    };
    let present = item.price["id"].as_str().unwrap_or_default();
    let mut price = None;
    if let Some(plan) = plan {
        quantity::in_range(plan, asked.or(item.quantity).unwrap_or(1))?;
        // Whoever has an older price of the plan keeps it.
        if !plan.price_ids.iter().any(|id| id.as_str() == present) {
            price = plan.price_ids.first().cloned();
        }
    }
    let price = match price {
        Some(id) => {
            let read = new_price(call, &id).await?;
            Some((id, read))
        }
        None => None,
    };
    let proration = call.fields.text("prorationBehavior");
    Ok(Wish {
        quantity: asked.filter(|asked| Some(*asked) != item.quantity),
        price,
        item,
        proration: proration.and_then(ProrationBehavior::parse),
    })
}

async fn new_price(call: &Call, id: &PriceId) -> Result<Value, Problem> {
    let path = format!("/v1/prices/{}", super::super::live::escaped(id.as_str()));
    let read = super::super::live::read(call, Scope::PLATFORM, path).await;
    read.map_err(|problem| match problem.code {
        Code::NotFound => Problem::new(
            Code::UnknownPlan,
            format!("the catalogue names {id}, and Stripe has no such price"),
        ),
        _ => problem,
    })
}

fn order(call: &Call, subject: &Subject, subscription: &Value, wish: &Wish) -> ItemChange {
    ItemChange {
        subscription: subject.id.clone(),
        item: wish.item.id.clone(),
        price: wish.price_id().cloned(),
        quantity: wish.quantity,
        proration: wish.proration,
        proration_date_seconds: call.fields.time("prorationDate").map(|at| at.seconds()),
        unpaid: cost::unpaid(subscription, wish.old(), wish.new_one(), wish.proration),
    }
}

async fn ordered(call: Call, kind: CommandKind) -> Result<Answer, Problem> {
    let subject = subject(&call).await?;
    let id = command_id(&call);
    let mut plan = None;
    if find(&call, &id).await?.is_none() {
        must_live(subject.status())?;
        let subscription = live(&call, &subject).await?;
        let wish = wish(&call, &subscription).await?;
        if wish.is_nothing() || wish.waits_in(&subscription) {
            return answer(&call, &subject, page_of(&subscription), |_| true).await;
        }
        plan = Some(Plan {
            kind,
            tenant: subject.tenant.clone(),
            call: change(&order(&call, &subject, &subscription, &wish), &id),
            objects: vec![subject.id.to_string()],
            awaits: None,
        });
    }
    let plan = async { plan.ok_or_else(|| conflict("the order is gone; ask again")) };
    match run(&call, id, plan).await? {
        Ended::Succeeded(command) => {
            let as_ordered = |row: &Value| is_applied(&call, row);
            let page = Some(command.text("url").to_owned()).filter(|url| !url.is_empty());
            answer(&call, &subject, page, as_ordered).await
        }
        Ended::Pending(answer) => Ok(answer),
    }
}

/// Whether a row shows what the request asks for, done or waiting.
fn is_applied(call: &Call, row: &Value) -> bool {
    let shows = |shown: &Value| {
        let plan = call.fields.text("planId");
        let quantity = quantity::asked(call);
        plan.is_none_or(|plan| shown["planId"] == plan)
            && quantity.is_none_or(|quantity| shown["quantity"] == quantity)
    };
    shows(row) || shows(&row["pendingUpdate"])
}

/// `POST /api/v1/billing/subscriptions/{id}/change-plan`.
pub fn change_plan(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(ordered(call, CommandKind::ChangePlan))
}

/// `POST /api/v1/billing/subscriptions/{id}/quantity`.
pub fn set_quantity(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(ordered(call, CommandKind::SetQuantity))
}
