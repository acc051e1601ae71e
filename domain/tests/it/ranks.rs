//! Of words said in one second, which one stands, and which one nothing follows.

use bursar_domain::ids::Timestamp;
use bursar_domain::register::{Joined, Origin, Ranked, Register, SNAPSHOTS_MAX};
use bursar_domain::stripe_wire::{
    Account, Capability, Customer, Invoice, PaymentIntent, Session, Subscription, WireObject,
};

/// Each is what it is listed as: the rank, and whether it is an end.
fn check<T: Ranked>(make: impl Fn(&str) -> T, words: &[(&str, u8, bool)]) {
    for (word, rank, is_final) in words {
        let object = make(word);
        assert_eq!(
            (object.rank(), object.is_final()),
            (*rank, *is_final),
            "{word}"
        );
    }
}

fn word(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn statuses_rank_as_an_object_lives() {
    let subscription = |text: &str| Subscription {
        status: word(text),
        ..Subscription::default()
    };
    check(
        subscription,
        &[
            ("incomplete", 0, false),
            ("trialing", 1, false),
            ("active", 2, false),
            ("paused", 3, false),
            ("past_due", 4, false),
            ("unpaid", 5, false),
            ("a new word", 6, false),
            ("canceled", 9, true),
            ("incomplete_expired", 9, true),
        ],
    );
    let invoice = |text: &str| Invoice {
        status: word(text),
        ..Invoice::default()
    };
    check(
        invoice,
        &[
            ("draft", 0, false),
            ("open", 1, false),
            ("a new word", 1, false),
            ("uncollectible", 2, false),
            ("paid", 3, true),
            ("void", 3, true),
        ],
    );
    let intent = |text: &str| PaymentIntent {
        status: word(text),
        ..PaymentIntent::default()
    };
    check(
        intent,
        &[
            ("requires_payment_method", 0, false),
            ("requires_confirmation", 1, false),
            ("requires_action", 2, false),
            ("processing", 3, false),
            ("requires_capture", 4, false),
            ("canceled", 8, true),
            ("succeeded", 9, true),
        ],
    );
    let capability = |text: &str| Capability {
        status: word(text),
        ..Capability::default()
    };
    check(
        capability,
        &[
            ("inactive", 0, false),
            ("pending", 1, false),
            ("active", 2, false),
        ],
    );
}

#[test]
fn a_session_ends_expired_or_paid() {
    let session = |status: &str, payment: &str| Session {
        status: word(status),
        payment_status: word(payment),
        ..Session::default()
    };
    for (status, payment, rank, is_final) in [
        ("open", "unpaid", 0, false),
        ("open", "paid", 0, false),
        ("complete", "unpaid", 2, false),
        ("expired", "unpaid", 3, true),
        ("complete", "paid", 9, true),
        ("complete", "no_payment_required", 9, true),
    ] {
        let one = session(status, payment);
        assert_eq!(
            (one.rank(), one.is_final()),
            (rank, is_final),
            "{status} {payment}"
        );
    }
}

#[test]
fn an_account_that_may_more_ranks_higher_and_never_ends() {
    let account = |may: [bool; 3]| Account {
        charges_enabled: Some(may[0]),
        payouts_enabled: Some(may[1]),
        details_submitted: Some(may[2]),
        ..Account::default()
    };
    for (may, rank) in [
        ([false, false, false], 0),
        ([true, false, false], 1),
        ([false, true, false], 1),
        ([false, false, true], 1),
        ([true, true, false], 2),
        ([true, true, true], 3),
    ] {
        assert_eq!(
            (account(may).rank(), account(may).is_final()),
            (rank, false)
        );
    }
    assert_eq!(Account::default().rank(), 0);
    let deleted = |deleted| Customer {
        deleted,
        ..Customer::default()
    };
    assert!(deleted(Some(true)).is_final());
    assert!(!deleted(Some(false)).is_final() && !deleted(None).is_final());
    assert_eq!(deleted(Some(true)).rank(), 0);
}

const AT: Timestamp = Timestamp(1_747_044_000_000);

fn said(seconds: i64) -> Origin {
    Origin {
        at: AT.plus_ms(seconds * 1_000),
        reread: false,
        birth: false,
        previous: None,
    }
}

fn status<T: WireObject + Ranked>(register: &Register<T>, of: fn(&T) -> &Option<String>) -> String {
    register
        .value()
        .and_then(|one| of(one).clone())
        .unwrap_or_default()
}

fn subscription(text: &str) -> Subscription {
    Subscription {
        status: word(text),
        ..Subscription::default()
    }
}

#[test]
fn a_later_word_stands_an_earlier_one_is_old_and_an_end_absorbs() {
    let mut register = Register::default();
    let now = |register: &Register<Subscription>| status(register, |one| &one.status);
    assert_eq!((register.value(), register.at()), (None, None));
    assert!(!register.is_tied() && !register.is_reread());
    assert_eq!(register.join(subscription("active"), said(5)), Joined::Kept);
    assert_eq!(register.join(subscription("active"), said(5)), Joined::Same);
    assert_eq!(register.join(subscription("active"), said(4)), Joined::Same);
    assert_eq!(
        register.join(subscription("unpaid"), said(4)),
        Joined::Older
    );
    assert_eq!(
        (now(&register).as_str(), register.at()),
        ("active", Some(said(5).at))
    );
    assert_eq!(register.join(subscription("active"), said(6)), Joined::Same);
    assert_eq!(register.at(), Some(said(6).at), "said again later");
    assert_eq!(
        register.join(subscription("canceled"), said(1)),
        Joined::Kept
    );
    assert_eq!(
        register.join(subscription("active"), said(9)),
        Joined::Older
    );
    assert_eq!(
        (now(&register).as_str(), register.at()),
        ("canceled", Some(said(1).at))
    );
}

#[test]
fn an_answer_beats_the_events_of_its_second_and_a_tie_is_asked_once_that_is_over() {
    let now = AT.plus_ms(300);
    let mut register = Register::default();
    register.join(subscription("trialing"), said(5));
    assert!(!register.is_tied());
    register.join(subscription("unpaid"), said(5));
    assert!(register.is_tied(), "two words of one second");
    assert_eq!(status(&register, |one| &one.status), "unpaid", "by rank");
    assert_eq!(register.asked_at(now), now);
    let answer = Origin::reread(said(5).at);
    assert_eq!(
        register.join(subscription("active"), answer.clone()),
        Joined::Kept
    );
    assert!(register.is_reread() && !register.is_tied());
    assert_eq!(status(&register, |one| &one.status), "active");
    assert_eq!(
        register.join(subscription("paused"), said(5)),
        Joined::Older
    );
    register.join(subscription("past_due"), answer);
    assert!(register.is_tied(), "two answers of one second");
    assert_eq!(register.asked_at(now), now.plus_ms(1_000));
}

#[test]
fn of_words_without_a_time_none_is_sure() {
    let nowhen = |reread| Origin {
        at: Timestamp(0),
        reread,
        ..said(0)
    };
    let mut register = Register::default();
    register.join(subscription("active"), nowhen(false));
    assert!(register.is_tied());
    register.join(subscription("active"), nowhen(true));
    assert!(!register.is_tied(), "Stripe was asked");
}

#[test]
fn an_objects_birth_is_before_everything_else_of_its_second() {
    let born = Origin {
        birth: true,
        ..said(5)
    };
    let mut register = Register::default();
    register.join(subscription("unpaid"), born);
    register.join(subscription("active"), said(5));
    assert_eq!(status(&register, |one| &one.status), "active");
    assert!(!register.is_tied());
}

#[test]
fn of_more_words_than_are_kept_of_one_second_the_lowest_go_first() {
    let invoice = |n: usize, text: &str| Invoice {
        number: Some(format!("N-{n:03}")),
        status: word(text),
        ..Invoice::default()
    };
    let mut register = Register::default();
    for n in 0..=SNAPSHOTS_MAX {
        register.join(invoice(n, "open"), said(5));
    }
    register.join(invoice(0, "uncollectible"), said(5));
    let again = register.clone();
    register.join(invoice(0, "draft"), said(5));
    assert_eq!(register, again, "it is the first to be forgotten");
    assert_eq!(status(&register, |one| &one.status), "uncollectible");
}
