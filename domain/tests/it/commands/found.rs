//! Where each order is looked for at Stripe, and which answer proves that it took effect.

use super::*;

struct Look {
    operation: Operation,
    path: &'static str,
    params: Vec<(&'static str, &'static str)>,
    /// What Stripe is asked.
    asked: &'static str,
    /// What proves it.
    done: Vec<Value>,
    /// What does not.
    open: Vec<Value>,
}

fn look(operation: Operation, path: &'static str, asked: &'static str) -> Look {
    Look {
        operation,
        path,
        params: Vec::new(),
        asked,
        done: Vec::new(),
        open: Vec::new(),
    }
}

fn begun(of: &Look) -> One {
    let params = of.params.iter();
    let order = CommandOrder {
        call: StripeCall {
            operation: of.operation,
            path: of.path.into(),
            params: params
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..refund().call
        },
        ..refund()
    };
    let mut one = One::begun(&order);
    one.result(&lost());
    one
}

fn check(looks: Vec<Look>) {
    for of in looks {
        let asked: Vec<String> = begun(&of)
            .effects
            .values()
            .filter_map(|effect| match effect {
                Effect::Reread(reread) => Some(&reread.target),
                _ => None,
            })
            .filter_map(|target| match target {
                RereadTarget::Lookup { path } => Some(path.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(asked, [of.asked], "{:?}", of.operation);
        for (objects, status) in [(&of.done, "succeeded"), (&of.open, "unknown")] {
            for object in objects {
                let mut one = begun(&of);
                one.look(object);
                assert_eq!(one.status(), status, "{:?}: {object}", of.operation);
            }
        }
    }
}

fn marked(mut object: Value) -> Value {
    object["metadata"] = json!({ "command_id": "cmd_1" });
    object
}

#[test]
fn what_has_a_state_of_its_own_is_told_by_that_state() {
    let state = |status: &str| json!({ "id": "x_1", "status": status });
    check(vec![
        Look {
            done: vec![state("succeeded")],
            open: vec![state("requires_capture"), state("canceled")],
            ..look(
                Operation::PaymentCapture,
                "/v1/payment_intents/pi_1/capture",
                "/v1/payment_intents/pi_1",
            )
        },
        Look {
            done: vec![state("canceled")],
            open: vec![state("requires_capture"), state("succeeded")],
            ..look(
                Operation::PaymentCancel,
                "/v1/payment_intents/pi_1/cancel",
                "/v1/payment_intents/pi_1",
            )
        },
        Look {
            done: vec![state("canceled")],
            open: vec![state("active")],
            ..look(
                Operation::SubscriptionCancel,
                "/v1/subscriptions/sub_1",
                "/v1/subscriptions/sub_1",
            )
        },
        Look {
            done: vec![state("active"), state("past_due")],
            open: vec![state("paused")],
            ..look(
                Operation::SubscriptionResume,
                "/v1/subscriptions/sub_1/resume",
                "/v1/subscriptions/sub_1",
            )
        },
        Look {
            done: vec![state("open"), state("paid")],
            open: vec![state("draft")],
            ..look(
                Operation::InvoiceFinalize,
                "/v1/invoices/in_1/finalize",
                "/v1/invoices/in_1",
            )
        },
        Look {
            done: vec![marked(state("under_review"))],
            open: vec![state("under_review")],
            ..look(
                Operation::DisputeUpdate,
                "/v1/disputes/du_1",
                "/v1/disputes/du_1",
            )
        },
    ]);
}

#[test]
fn a_change_is_told_by_its_mark_or_by_everything_it_asked_for() {
    let items = |price: &str, quantity: u32| {
        json!({ "id": "sub_1", "cancel_at_period_end": false, "items": { "data": [
            { "id": "si_0", "price": { "id": "price_other" }, "quantity": 9 },
            { "id": "si_1", "price": { "id": price }, "quantity": quantity },
        ] } })
    };
    let pending = |price: &str| {
        let mut object = items("price_old", 2);
        object["pending_update"] = json!({ "subscription_items": [
            { "id": "si_1", "price": { "id": price }, "quantity": 2 } ] });
        object
    };
    let update = |params| Look {
        params,
        ..look(
            Operation::SubscriptionUpdate,
            "/v1/subscriptions/sub_1",
            "/v1/subscriptions/sub_1",
        )
    };
    let ends = |ends: bool| json!({ "id": "sub_1", "cancel_at_period_end": ends });
    let person = |email: Value, name: &str| json!({ "id": "cus_1", "email": email, "name": name });
    check(vec![
        Look {
            done: vec![
                items("price_new", 2),
                pending("price_new"),
                marked(items("price_old", 2)),
            ],
            open: vec![
                items("price_old", 2),
                items("price_new", 3),
                pending("price_else"),
            ],
            ..update(vec![
                ("items[0][id]", "si_1"),
                ("items[0][price]", "price_new"),
                ("items[0][quantity]", "2"),
                ("proration_behavior", "none"),
            ])
        },
        // It names no item: the first is meant.
        Look {
            done: vec![items("price_old", 1)],
            open: vec![json!({ "id": "sub_1", "items": { "data": [] } })],
            ..update(vec![("items[0][price]", "price_other")])
        },
        Look {
            done: vec![ends(true)],
            open: vec![ends(false)],
            ..update(vec![("cancel_at_period_end", "true")])
        },
        // Nothing that the object shows was asked for: only the mark tells.
        Look {
            done: vec![marked(ends(true))],
            open: vec![ends(true)],
            ..update(vec![("proration_behavior", "none")])
        },
        Look {
            params: vec![("email", "a@example.com"), ("name", "Ada")],
            done: vec![person(json!("a@example.com"), "Ada")],
            open: vec![
                person(json!("b@example.com"), "Ada"),
                person(json!(null), "Ada"),
                person(json!("a@example.com"), "Bob"),
            ],
            ..look(
                Operation::CustomerUpdate,
                "/v1/customers/cus_1",
                "/v1/customers/cus_1",
            )
        },
    ]);
}

/// Of lists only those made since the order began, by clocks that may differ by five minutes.
#[test]
fn what_is_made_is_looked_for_in_lists_by_its_mark() {
    let list = |object: Value| json!({ "object": "list", "data": [object], "has_more": false });
    let mine = || list(marked(json!({ "id": "x_1" })));
    let other = || list(json!({ "id": "x_1", "metadata": { "command_id": "cmd_9" } }));
    let none = || json!({ "object": "list", "data": [], "has_more": true });
    let made = |operation, path, asked| Look {
        done: vec![mine()],
        open: vec![other(), none()],
        ..look(operation, path, asked)
    };
    check(vec![
        made(
            Operation::CustomerCreate,
            "/v1/customers",
            "/v1/customers?limit=100&created%5Bgte%5D=1747043700",
        ),
        made(
            Operation::AccountCreate,
            "/v1/accounts",
            "/v1/accounts?limit=100&created%5Bgte%5D=1747043700",
        ),
        made(
            Operation::CheckoutCreate,
            "/v1/checkout/sessions",
            "/v1/checkout/sessions?limit=100&created%5Bgte%5D=1747043700",
        ),
        Look {
            params: vec![("charge", "ch_1")],
            done: vec![mine()],
            open: vec![other()],
            ..look(
                Operation::RefundCreate,
                "/v1/refunds",
                "/v1/refunds?limit=100&charge=ch_1",
            )
        },
    ]);
}
