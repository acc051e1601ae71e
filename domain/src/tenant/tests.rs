//! A tenant's parts one by one: which stands for it, and how much is kept.

use super::*;
use crate::link::LinkKey;
use crate::message::LicenseState;
use crate::plans::Catalogue;
use std::collections::BTreeMap;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_747_044_000 + seconds)
}

fn tenant() -> TenantId {
    TenantId::parse("t1").unwrap()
}

fn sub(status: &str, license: LicenseState) -> SubscriptionSummary {
    SubscriptionSummary {
        status: status.to_owned(),
        license,
        ..SubscriptionSummary::default()
    }
}

fn hear(state: &mut TenantState, from: &str, message: Message) -> Outcome {
    let from = AggregateKey::parse(from).unwrap();
    state.join_message(&from, &message, &tenant())
}

fn subscription_heard(state: &mut TenantState, id: &str, summary: Option<SubscriptionSummary>) {
    let id = SubscriptionId::parse(id).unwrap();
    let message = Message::SubscriptionSummary {
        scope: Scope::PLATFORM,
        id: id.clone(),
        summary,
    };
    hear(state, &format!("subscription:/{id}"), message);
}

fn best(state: &TenantState) -> &str {
    let all = status::ranked(&state.subscriptions);
    all.first().map_or("", |((_, id), _)| id.as_str())
}

/// Every pair in either order of ids: the one that gives more stands for the tenant.
#[test]
fn the_subscription_that_gives_most_stands_for_the_tenant() {
    use LicenseState::{Active, Grace, None, Revoked};
    let ranks = [
        sub("active", Active),
        sub("trialing", Active),
        sub("past_due", Active),
        sub("past_due", Grace),
        sub("active", Revoked),
        sub("past_due", Revoked),
        sub("unpaid", Revoked),
        sub("paused", Revoked),
        sub("incomplete", None),
        sub("a new word", None),
        sub("canceled", Revoked),
        sub("incomplete_expired", None),
    ];
    for (n, better) in ranks.iter().enumerate() {
        for worse in &ranks[n + 1..] {
            for (first, second, expected) in [(better, worse, "sub_1"), (worse, better, "sub_2")] {
                let mut state = TenantState::default();
                subscription_heard(&mut state, "sub_1", Some(first.clone()));
                subscription_heard(&mut state, "sub_2", Some(second.clone()));
                assert_eq!(best(&state), expected, "{better:?} and {worse:?}");
            }
        }
    }
}

#[test]
fn of_equal_subscriptions_the_living_then_the_newest_then_the_first_by_id_stands() {
    let of = |created: i64, ended: Option<i64>| SubscriptionSummary {
        created: Some(at(created)),
        ended_at: ended.map(at),
        ..sub("canceled", LicenseState::Revoked)
    };
    for (first, second, expected) in [
        (of(5, None), of(5, None), "sub_1"),
        (of(5, None), of(6, None), "sub_2"),
        (of(9, Some(20)), of(5, Some(30)), "sub_2"),
        (of(5, Some(30)), of(9, Some(30)), "sub_2"),
    ] {
        let mut state = TenantState::default();
        subscription_heard(&mut state, "sub_1", Some(first));
        subscription_heard(&mut state, "sub_2", Some(second));
        assert_eq!(best(&state), expected);
    }
}

#[test]
fn of_more_subscriptions_than_are_kept_the_one_that_ended_first_goes_and_its_end_stays() {
    let ended = |seconds: i64| SubscriptionSummary {
        ended_at: Some(at(seconds)),
        ..sub("canceled", LicenseState::Revoked)
    };
    let mut state = TenantState::default();
    subscription_heard(
        &mut state,
        "sub_00",
        Some(sub("active", LicenseState::Active)),
    );
    for n in 1..32 {
        subscription_heard(&mut state, &format!("sub_{n:02}"), Some(ended(100 - n)));
    }
    assert_eq!((state.subscriptions.len(), state.ended_last), (32, None));
    subscription_heard(&mut state, "sub_99", Some(ended(500)));
    assert_eq!(
        (state.subscriptions.len(), state.ended_last),
        (32, Some(at(69)))
    );
    let kept: Vec<&str> = state
        .subscriptions
        .keys()
        .map(|(_, id)| id.as_str())
        .collect();
    assert!(kept.contains(&"sub_00") && kept.contains(&"sub_99") && !kept.contains(&"sub_31"));
    subscription_heard(&mut state, "sub_99", None);
    assert_eq!(
        (state.subscriptions.len(), state.ended_last),
        (31, Some(at(69)))
    );
}

#[test]
fn the_newest_customer_and_account_that_are_still_there_are_the_tenants() {
    let customer = |state: &mut TenantState, id: &str, summary: Option<(i64, bool)>| {
        let id = CustomerId::parse(id).unwrap();
        let summary = summary.map(|(created, deleted)| CustomerSummary {
            created: Some(at(created)),
            deleted,
        });
        let message = Message::CustomerSummary {
            scope: Scope::PLATFORM,
            id: id.clone(),
            summary,
        };
        hear(state, &format!("customer:/{id}"), message);
    };
    let account = |state: &mut TenantState, id: &str, summary: Option<(i64, bool)>| {
        let account = AccountId::parse(id).unwrap();
        let summary = summary.map(|(created, deauthorized)| MerchantSummary {
            created: Some(at(created)),
            deauthorized,
            ..MerchantSummary::default()
        });
        hear(
            state,
            &format!("merchant:{id}"),
            Message::MerchantSummary { account, summary },
        );
    };
    let mut state = TenantState::default();
    let shown = |state: &TenantState| {
        let customer = state.customer().map(ToString::to_string);
        (
            customer.unwrap_or_default(),
            state.merchant().map_or(String::new(), ToString::to_string),
        )
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(shown(&state), pair("", ""));
    for (n, created, gone) in [("b", 5, false), ("a", 7, false), ("c", 9, true)] {
        customer(&mut state, &format!("cus_{n}"), Some((created, gone)));
        account(&mut state, &format!("acct_{n}"), Some((created, gone)));
    }
    assert_eq!(shown(&state), pair("cus_a", "acct_a"));
    customer(&mut state, "cus_a", None);
    account(&mut state, "acct_a", None);
    assert_eq!(shown(&state), pair("cus_b", "acct_b"));
    for n in 10..24 {
        customer(&mut state, &format!("cus_{n}"), Some((1, false)));
        account(&mut state, &format!("acct_{n}"), Some((1, false)));
    }
    assert_eq!((state.customers.len(), state.merchants.len()), (16, 16));
    assert_eq!(shown(&state), pair("cus_b", "acct_b"));
    customer(&mut state, "cus_24", Some((1, false)));
    account(&mut state, "acct_24", Some((1, false)));
    assert_eq!((state.customers.len(), state.merchants.len()), (16, 16));
}

#[test]
fn credits_are_sums_of_differences_and_of_who_paid_the_latest_are_kept() {
    let sums = |granted, reversed, paid: Option<i64>| Sums {
        granted,
        reversed,
        paid_at: paid.map(at),
    };
    let mut state = TenantState::default();
    let tell = |state: &mut TenantState, n: i64, old, new| {
        hear(
            state,
            &format!("session:/cs_{n:02}"),
            Message::CreditSums { old, new },
        );
    };
    tell(&mut state, 0, sums(0, 0, None), sums(30, 0, Some(900)));
    tell(
        &mut state,
        0,
        sums(30, 0, Some(900)),
        sums(20, 5, Some(900)),
    );
    assert_eq!(
        (state.granted, state.reversed, state.credits()),
        (20, 5, 15)
    );
    for n in 1..16 {
        tell(&mut state, n, sums(0, 0, None), sums(1, 0, Some(n)));
    }
    assert_eq!(state.credits_paid.len(), 16);
    assert!(state.credits_paid.values().any(|paid| *paid == at(1)));
    tell(&mut state, 16, sums(0, 0, None), sums(1, 0, Some(16)));
    assert_eq!(state.credits_paid.len(), 16);
    assert_eq!(
        state.credits_paid.values().min(),
        Some(&at(2)),
        "the oldest is forgotten"
    );
    assert_eq!(
        (state.credits(), state.credits_paid_at()),
        (31, Some(at(900)))
    );
    tell(&mut state, 0, sums(20, 5, Some(900)), sums(0, 0, None));
    assert_eq!(
        (state.credits(), state.credits_paid_at()),
        (16, Some(at(16)))
    );
}

#[test]
fn a_debit_takes_all_there_is_and_not_one_more() {
    let settings = Settings::default();
    let links = BTreeMap::new();
    let mut ctx = Ctx {
        now: at(0),
        settings: &settings,
        links: &links,
        shown_version: None,
    };
    let debit = |state: &mut TenantState, amount: u64, ctx: &Ctx<'_>| {
        let reference = "job-1".to_owned();
        let outcome = state.join_order(&tenant(), &Order::CreditsDebit { amount, reference }, ctx);
        (outcome.disposition.as_str(), outcome.reason)
    };
    let with = |credits| TenantState {
        created_at: Some(at(0)),
        granted: credits,
        ..TenantState::default()
    };
    let refused = |reason: &str| ("ignored", reason.to_owned());
    assert_eq!(debit(&mut with(10), 10, &ctx), ("applied", String::new()));
    assert_eq!(
        debit(&mut with(10), 11, &ctx),
        refused("insufficient_credits")
    );
    assert_eq!(
        debit(&mut with(10), 0, &ctx),
        refused("amount is out of range")
    );
    assert_eq!(
        debit(&mut with(10), u64::MAX, &ctx),
        refused("amount is out of range")
    );
    assert_eq!(
        debit(&mut TenantState::default(), 1, &ctx),
        refused("no such tenant")
    );
    let mut paid = with(10);
    debit(&mut paid, 4, &ctx);
    assert_eq!(paid.credits(), 6);
    let key: LinkKey = orders::debit_key(&tenant(), "job-1");
    let known = BTreeMap::from([(
        key,
        LinkTarget {
            tenant: Some(tenant()),
        },
    )]);
    ctx.links = &known;
    let again = ("duplicate", "this reference was debited already".to_owned());
    assert_eq!(debit(&mut paid, 4, &ctx), again);
    assert_eq!(paid.credits(), 6);
}

#[test]
fn an_erased_tenant_takes_no_name_again_but_may_be_cleared() {
    let settings = Settings::default();
    let links = BTreeMap::new();
    let ctx = Ctx {
        now: at(0),
        settings: &settings,
        links: &links,
        shown_version: Some(3),
    };
    let patch = |name: Option<&str>, email: Option<&str>, version| Order::TenantPatch {
        name: name.map(str::to_owned),
        email: email.map(str::to_owned),
        metadata: None,
        timezone: None,
        contract_reference: None,
        expected_version: version,
    };
    for (erased, order, applied) in [
        (true, patch(Some("Ada"), None, None), false),
        (true, patch(None, Some("a@example.com"), None), false),
        (true, patch(Some(""), Some(""), None), true),
        (true, patch(None, None, None), true),
        (false, patch(Some("Ada"), None, None), true),
        (false, patch(None, None, Some(3)), true),
        (false, patch(None, None, Some(2)), false),
    ] {
        let mut state = TenantState {
            created_at: Some(at(0)),
            is_erased: erased,
            ..TenantState::default()
        };
        let outcome = state.join_order(&tenant(), &order, &ctx);
        assert_eq!(
            outcome.disposition.as_str() == "applied",
            applied,
            "{order:?}"
        );
    }
}

#[test]
fn what_never_was_or_ended_is_shown_as_such() {
    let catalogue = Catalogue::default();
    let word = |state: &TenantState| status::derive(state, &catalogue).status;
    assert_eq!(word(&TenantState::default()), "pending");
    let ended = TenantState {
        ended_last: Some(at(0)),
        ..TenantState::default()
    };
    assert_eq!(word(&ended), "canceled");
    for (status, shown) in [
        ("trialing", "trialing"),
        ("active", "active"),
        ("past_due", "past_due"),
        ("unpaid", "suspended"),
        ("paused", "suspended"),
        ("incomplete", "pending"),
        ("a new word", "pending"),
        ("incomplete_expired", "canceled"),
        ("canceled", "canceled"),
    ] {
        let mut state = TenantState::default();
        subscription_heard(&mut state, "sub_1", Some(sub(status, LicenseState::None)));
        assert_eq!(word(&state), shown, "{status}");
    }
}

#[test]
fn it_expires_when_it_is_to_end_or_has_ended_and_began_with_the_first_that_lives() {
    let catalogue = Catalogue::default();
    let of = |created, ends: bool, ended: Option<i64>| SubscriptionSummary {
        created: Some(at(created)),
        current_period_end: Some(at(1_000)),
        cancel_at_period_end: ends,
        ended_at: ended.map(at),
        ..sub("active", LicenseState::Active)
    };
    let derived = |all: Vec<SubscriptionSummary>| {
        let mut state = TenantState::default();
        for (n, one) in all.into_iter().enumerate() {
            subscription_heard(&mut state, &format!("sub_{n}"), Some(one));
        }
        let standing = status::derive(&state, &catalogue);
        (
            standing.expires_at,
            standing.started_at,
            standing.archived_at,
        )
    };
    let (end, none) = (Some(at(1_000)), None);
    assert_eq!(derived(vec![of(5, false, None)]), (none, Some(at(5)), none));
    assert_eq!(derived(vec![of(5, true, None)]), (end, Some(at(5)), none));
    assert_eq!(
        derived(vec![of(5, false, Some(50))]),
        (end, Some(at(5)), Some(at(50)))
    );
    let two = vec![of(5, false, None), of(3, false, None)];
    assert_eq!(derived(two), (none, Some(at(3)), none));
    let one_ended = vec![of(9, false, None), of(3, false, Some(50))];
    assert_eq!(derived(one_ended), (none, Some(at(9)), none));
}
