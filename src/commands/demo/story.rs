//! The life that `bursar demo` plays: what is done, and what must be true afterwards.
//!
//! Invariants: every act is an order to Bursar as a product's backend gives it, or what a visitor does on Stripe's
//! pages, or time and a bank (the sandbox's controls); every expectation reads Bursar's public HTTP. Nothing reaches
//! into either process.

use super::world::{Expectation, Failure, Want, World};
use serde_json::Value;

/// One step of the story.
pub(super) struct Step {
    /// What happens, for people.
    pub(super) title: &'static str,
    /// Does it.
    pub(super) act: for<'a> fn(&'a mut World) -> Act<'a>,
    /// What must be true of the tenant or object afterwards.
    pub(super) expect: fn(&World) -> Expectation,
}

/// The boxed future of an act.
pub(super) type Act<'a> = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

const DAY_SECONDS: i64 = 86_400;
/// A month and the hour a renewal invoice stays a draft.
const MONTH_SECONDS: i64 = 31 * DAY_SECONDS + 2 * 3_600;

fn tenant(fields: &[(&'static str, Want)]) -> Expectation {
    Expectation {
        path: "/api/v1/tenants/acme".to_owned(),
        fields: fields.to_vec(),
    }
}

fn word(text: &str) -> Want {
    Want::Is(Value::from(text))
}

fn number(value: i64) -> Want {
    Want::Is(Value::from(value))
}

/// The story, in order.
pub(super) const STORY: &[Step] = &[
    Step {
        title: "a visitor pays for hobby on the checkout page",
        act: |world| Box::pin(async move { world.subscribe("hobby").await }),
        expect: |_| {
            tenant(&[
                ("status", word("active")),
                ("planId", word("hobby")),
                ("license.state", word("active")),
                ("subscription.status", word("active")),
            ])
        },
    },
    Step {
        title: "a month later the subscription renews",
        act: |world| {
            Box::pin(async move {
                world.remember("license.validUntil").await?;
                world.advance(MONTH_SECONDS).await
            })
        },
        expect: |world| {
            tenant(&[
                ("license.state", word("active")),
                ("license.validUntil", world.later_than_remembered()),
            ])
        },
    },
    Step {
        title: "the next renewal's card is declined",
        act: |world| {
            Box::pin(async move {
                world.use_card("0341").await?;
                world.advance(MONTH_SECONDS).await
            })
        },
        expect: |_| {
            tenant(&[
                ("status", word("past_due")),
                ("license.state", word("grace")),
            ])
        },
    },
    Step {
        title: "seven days of grace run out",
        act: |world| Box::pin(async move { world.advance(8 * DAY_SECONDS).await }),
        expect: |_| {
            tenant(&[
                ("status", word("past_due")),
                ("license.state", word("revoked")),
            ])
        },
    },
    Step {
        title: "a new card pays the open invoice",
        act: |world| Box::pin(async move { world.pay_open_invoice("4242").await }),
        expect: |_| {
            tenant(&[
                ("status", word("active")),
                ("license.state", word("active")),
            ])
        },
    },
    Step {
        title: "the tenant moves up to pro, prorated now",
        act: |world| Box::pin(async move { world.change_plan("pro").await }),
        expect: |_| {
            tenant(&[
                ("planId", word("pro")),
                ("subscription.planId", word("pro")),
            ])
        },
    },
    Step {
        title: "the tenant buys ten credits once",
        act: |world| Box::pin(async move { world.buy_credits().await }),
        expect: |_| tenant(&[("credits", number(10))]),
    },
    Step {
        title: "half of that payment is refunded",
        act: |world| Box::pin(async move { world.refund_half().await }),
        expect: |_| tenant(&[("credits", number(5))]),
    },
    Step {
        title: "the bank disputes the rest",
        act: |world| Box::pin(async move { world.dispute().await }),
        expect: |world| Expectation {
            path: format!("/api/v1/payments/{}", world.credit_payment()),
            fields: vec![
                ("disputed", Want::Is(Value::from(true))),
                ("amountRefunded", number(500)),
            ],
        },
    },
    Step {
        title: "the dispute is lost, the credits with it",
        act: |world| Box::pin(async move { world.lose_dispute().await }),
        expect: |_| tenant(&[("credits", number(0))]),
    },
    Step {
        title: "the tenant cancels at once",
        act: |world| Box::pin(async move { world.cancel().await }),
        expect: |_| {
            tenant(&[
                ("status", word("canceled")),
                ("license.state", word("revoked")),
                ("subscription.status", word("canceled")),
                ("archivedAt", Want::Something),
            ])
        },
    },
];
