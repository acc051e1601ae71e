//! How many of a plan may be had.

use crate::http::problem::{FieldCode, Problem};
use crate::http::route::Call;
use bursar_domain::plans::{Plan, PlanEffect};

/// How many the caller asks for.
pub(super) fn asked(call: &Call) -> Option<u64> {
    let asked = call.fields.integer("quantity")?;
    u64::try_from(asked).ok()
}

/// The fewest of a plan.
pub(super) fn least(plan: &Plan) -> u64 {
    match &plan.effect {
        PlanEffect::Subscription(terms) => terms.min_quantity.max(1),
        _ => 1,
    }
}

/// So many, if the plan is sold in that quantity. # Errors: 400.
pub(super) fn in_range(plan: &Plan, quantity: u64) -> Result<u64, Problem> {
    let most = match &plan.effect {
        PlanEffect::Subscription(terms) => terms.max_quantity,
        _ => None,
    };
    let least = least(plan);
    if quantity < least || most.is_some_and(|most| quantity > most) {
        let most = most.map_or_else(|| "more".to_owned(), |most| most.to_string());
        let detail = format!(
            "`{}` is sold in quantities from {least} to {most}, not {quantity}",
            plan.id
        );
        return Err(Problem::field("quantity", FieldCode::OutOfRange, detail));
    }
    Ok(quantity)
}
