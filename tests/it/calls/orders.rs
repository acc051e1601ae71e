//! Any order there can be, as the call it becomes.

use bursar::stripe::requests::ProrationBehavior;
use bursar::stripe::requests::checkout::{
    CaptureMethod, PlanCheckout, SaleCheckout, SaleLine, plan, sale, with_customer,
};
use bursar::stripe::requests::connect::{
    NewAccount, Onboarding, account, account_link, login_link,
};
use bursar::stripe::requests::customers::{
    CustomerChange, NewCustomer, PortalVisit, create, portal, update,
};
use bursar::stripe::requests::disputes::{Evidence, EvidenceField, evidence};
use bursar::stripe::requests::invoices::{ChangePreview, finalize, preview};
use bursar::stripe::requests::payments::{
    CancelReason, Cancellation, Capture, Paid, Refund, RefundReason, cancel, capture, refund,
};
use bursar::stripe::requests::subscriptions::{
    CancelNow, ItemChange, PeriodEnd, UnpaidChange, at_period_end, cancel_now, change, no_end,
    resume,
};
use bursar_domain::ids::{
    AccountId, ChargeId, CommandId, CustomerId, DisputeId, InvoiceId, ObjectId, PaymentIntentId,
    PriceId, Scope, SubscriptionId, TenantId,
};
use bursar_domain::money::Currency;
use bursar_domain::plans::CheckoutMode;
use bursar_domain::stripe_call::StripeCall;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn id<T: std::fmt::Debug>(
    prefix: &'static str,
    parse: fn(&str) -> Result<T, bursar_domain::ids::IdError>,
) -> impl Strategy<Value = T> {
    // Ids are opaque: whatever the type lets through may come.
    prop_oneof![9 => "[a-zA-Z0-9]{1,24}", 1 => "[!\"$-.0->@-~]{1,12}"]
        .prop_map(move |rest| parse(&format!("{prefix}{rest}")).unwrap())
}

fn command() -> impl Strategy<Value = CommandId> {
    id("cmd_", CommandId::parse)
}

fn tenant() -> impl Strategy<Value = TenantId> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,63}".prop_map(|text| TenantId::parse(&text).unwrap())
}

fn scope() -> impl Strategy<Value = Scope> {
    option::of(id("acct_", AccountId::parse)).prop_map(Scope)
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9 &=+%#;\\[\\]]{1,30}", "\\PC{1,30}"]
}

fn url() -> impl Strategy<Value = String> {
    "https://[a-z]{1,9}\\.example/[a-z]{0,9}\\?a=[a-z&=%0-9]{0,9}\\{CHECKOUT_SESSION_ID\\}"
}

fn proration() -> impl Strategy<Value = Option<ProrationBehavior>> {
    option::of(select(ProrationBehavior::ALL.to_vec()))
}

prop_compose! {
    fn plan_order()(
        ids in (tenant(), "[a-z][a-z0-9-]{0,20}", id("price_", PriceId::parse), option::of(id("cus_", CustomerId::parse))),
        mode in select(vec![CheckoutMode::Payment, CheckoutMode::Subscription]),
        (quantity, trial_days) in (1_u64..1_000_000, 0_u32..400),
        (promotion_code, order_id) in (option::of("promo_[a-z0-9]{1,9}"), option::of(words())),
        urls in (url(), url()),
        switches in any::<[bool; 4]>(),
    ) -> PlanCheckout {
        let (tenant, plan_id, price, customer) = ids;
        let [automatic_tax, allow_promotion_codes, address_update, tax_id_collection] = switches;
        PlanCheckout {
            tenant, plan_id, price, mode, customer, quantity, trial_days, promotion_code, order_id,
            success_url: urls.0, cancel_url: urls.1,
            automatic_tax, allow_promotion_codes, address_update, tax_id_collection,
        }
    }
}

prop_compose! {
    fn sale_order()(
        (tenant, account) in (tenant(), id("acct_", AccountId::parse)),
        lines in vec((words(), 0_u64..100_000_000, 1_u64..1_000), 1..12),
        currency in select(vec!["usd", "jpy", "kwd"]),
        capture in select(vec![CaptureMethod::Automatic, CaptureMethod::Manual]),
        application_fee_minor in option::of(0_u64..1_000),
        (customer_email, order_id) in (option::of(words()), option::of(words())),
        urls in (url(), url()),
    ) -> SaleCheckout {
        let lines = lines.into_iter().map(|(name, unit_amount_minor, quantity)| SaleLine {
            name, unit_amount_minor, quantity,
        });
        SaleCheckout {
            tenant, account, lines: lines.collect(), currency: Currency::parse(currency).unwrap(),
            capture, application_fee_minor, customer_email, order_id,
            success_url: urls.0, cancel_url: urls.1,
        }
    }
}

pub(super) fn checkouts() -> impl Strategy<Value = (PlanCheckout, StripeCall)> {
    (plan_order(), command()).prop_map(|(order, command)| {
        let call = plan(&order, &command);
        (order, call)
    })
}

fn late_customers() -> impl Strategy<Value = StripeCall> {
    (plan_order(), command(), id("cus_", CustomerId::parse)).prop_map(
        |(order, command, customer)| {
            let early = PlanCheckout {
                customer: Some(customer.clone()),
                ..order.clone()
            };
            let late = PlanCheckout {
                customer: None,
                ..order
            };
            let late = with_customer(plan(&late, &command), &customer);
            assert_eq!(late, plan(&early, &command));
            assert_eq!(late.params.last().unwrap().0, "customer");
            assert_eq!(with_customer(late.clone(), &customer), late);
            late
        },
    )
}

fn customers() -> impl Strategy<Value = StripeCall> {
    let names = (option::of(words()), option::of(words()));
    let metadata = btree_map(
        "[a-z_]{1,40}|tenant_id|command_id|a\\[b\\]",
        option::of(words()),
        0..6,
    );
    let subject = (tenant(), id("cus_", CustomerId::parse));
    (subject, names, metadata, option::of(url()), command(), 0..3).prop_map(
        |((tenant, customer), (name, email), metadata, return_url, command, which)| match which {
            0 => create(
                &NewCustomer {
                    tenant,
                    name,
                    email,
                },
                &command,
            ),
            1 => update(
                &CustomerChange {
                    customer,
                    name,
                    email,
                    metadata,
                },
                &command,
            ),
            _ => portal(&PortalVisit {
                customer,
                return_url,
            }),
        },
    )
}

fn payments() -> impl Strategy<Value = StripeCall> {
    let ids = (
        id("pi_", PaymentIntentId::parse),
        id("ch_", ChargeId::parse),
    );
    let amounts = (option::of(1..i64::MAX as u64), option::of(0_u64..1_000));
    let reasons = (
        option::of(select(RefundReason::ALL.to_vec())),
        option::of(select(CancelReason::ALL.to_vec())),
    );
    (scope(), ids, amounts, reasons, command(), 0..4).prop_map(
        |(
            scope,
            (intent, charge),
            (amount_minor, application_fee_minor),
            reasons,
            command,
            which,
        )| {
            let by = |payment| Refund {
                scope: scope.clone(),
                payment,
                amount_minor,
                reason: reasons.0,
            };
            match which {
                0 => refund(&by(Paid::Intent(intent)), &command),
                1 => refund(&by(Paid::Charge(charge)), &command),
                2 => capture(
                    &Capture {
                        scope,
                        intent,
                        amount_minor,
                        application_fee_minor,
                    },
                    &command,
                ),
                _ => cancel(&Cancellation {
                    scope,
                    intent,
                    reason: reasons.1,
                }),
            }
        },
    )
}

fn subscriptions() -> impl Strategy<Value = StripeCall> {
    let ids = (
        id("sub_", SubscriptionId::parse),
        id("si_", ObjectId::parse),
    );
    let wishes = (
        option::of(id("price_", PriceId::parse)),
        option::of(1_u64..1_000),
        proration(),
        option::of(0..2_000_000_000_i64),
    );
    let unpaid = select(vec![UnpaidChange::Waits, UnpaidChange::Holds]);
    (
        ids,
        wishes,
        unpaid,
        any::<[bool; 2]>(),
        option::of(words()),
        command(),
        0..5,
    )
        .prop_map(
            |(
                (subscription, item),
                (price, quantity, proration, date),
                unpaid,
                [a, b],
                comment,
                command,
                which,
            )| {
                match which {
                    0 => change(
                        &ItemChange {
                            subscription,
                            item,
                            price,
                            quantity,
                            proration,
                            proration_date_seconds: date,
                            unpaid,
                        },
                        &command,
                    ),
                    1 => at_period_end(
                        &PeriodEnd {
                            subscription,
                            ends: a,
                            comment,
                        },
                        &command,
                    ),
                    2 => cancel_now(&CancelNow {
                        subscription,
                        invoice_now: a,
                        prorate: b,
                        comment,
                    }),
                    3 if a => resume(&subscription),
                    3 => no_end(&subscription, &command),
                    _ => preview(&ChangePreview {
                        subscription,
                        item,
                        price,
                        quantity,
                        proration,
                        proration_date_seconds: date,
                    }),
                }
            },
        )
}

fn others() -> impl Strategy<Value = StripeCall> {
    let fields: Vec<EvidenceField> = EvidenceField::all().collect();
    let said = btree_map(select(fields), words(), 0..6);
    let ids = (
        tenant(),
        id("acct_", AccountId::parse),
        id("du_", DisputeId::parse),
        id("in_", InvoiceId::parse),
    );
    let wishes = (option::of(words()), option::of("[A-Z]{2}"), url(), url());
    (ids, wishes, said, scope(), any::<bool>(), command(), 0..5).prop_map(
        |(
            (tenant, merchant, dispute, invoice),
            (email, country, refresh_url, return_url),
            fields,
            scope,
            submit,
            command,
            which,
        )| {
            match which {
                0 => account(
                    &NewAccount {
                        tenant,
                        email,
                        country,
                    },
                    &command,
                ),
                1 => account_link(&Onboarding {
                    account: merchant,
                    refresh_url,
                    return_url,
                }),
                2 => login_link(&merchant),
                3 => finalize(&invoice),
                _ => evidence(
                    &Evidence {
                        scope,
                        dispute,
                        fields,
                        submit,
                    },
                    &command,
                ),
            }
        },
    )
}

/// Every call the builders can make.
pub(super) fn calls() -> impl Strategy<Value = StripeCall> {
    let sales = (sale_order(), command()).prop_map(|(order, command)| sale(&order, &command));
    let plans = checkouts().prop_map(|(_, call)| call);
    prop_oneof![
        plans,
        late_customers(),
        sales,
        customers(),
        payments(),
        subscriptions(),
        others()
    ]
}
