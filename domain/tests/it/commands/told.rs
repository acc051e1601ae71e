//! What people and applications are told of an order.

use super::*;

#[test]
fn each_end_is_told_to_applications_and_none_of_a_customer_kept_in_step() {
    let told = |one: &One| -> Vec<String> {
        let kinds = one.effects.values().filter_map(|effect| match effect {
            Effect::Notify(notify) => Some(notify.kind.clone()),
            _ => None,
        });
        kinds.collect()
    };
    let gave_up = |generation| CallResult::GaveUp {
        code: "stripe_unavailable".into(),
        reason: "no connection".into(),
        generation,
    };
    let mut one = One::begun(&refund());
    assert!(told(&one).is_empty());
    one.result(&gave_up(1));
    one.result(&gave_up(1));
    assert_eq!(told(&one), ["command.failed"]);
    one.order(&Order::CommandAgain {});
    one.result(&gave_up(1));
    assert_eq!(told(&one), ["command.failed", "command.failed"]);
    one.order(&Order::CommandAgain {});
    one.result(&made());
    one.seen("refund.created");
    let mut all = told(&one);
    all.sort();
    assert_eq!(
        all,
        ["command.failed", "command.failed", "command.succeeded"]
    );
    let mut quiet = One::begun(&CommandOrder {
        kind: CommandKind::CustomerSync,
        ..refund()
    });
    quiet.result(&made());
    assert!(told(&quiet).is_empty());
}

fn mailed(one: &One) -> Vec<&str> {
    let mails = one.effects.values().filter_map(|effect| match effect {
        Effect::Mail(mail) => Some(mail.template.as_str()),
        _ => None,
    });
    let mut mails: Vec<&str> = mails.collect();
    mails.sort_unstable();
    mails
}

#[test]
fn an_order_that_takes_ten_minutes_is_told_once_and_so_is_its_end() {
    let late = |one: &mut One| {
        one.now_ms = 600_000;
        let source = InputSource::Timer(key(), "delayed".into(), T0);
        one.hear(source, "delayed", Vec::new());
    };
    for is_sent in [true, false] {
        let mut one = One::begun(&refund());
        if is_sent {
            one.order(&unsure());
        }
        late(&mut one);
        one.order(&unsure());
        assert_eq!(
            (one.status(), mailed(&one)),
            ("unknown", vec!["order_delayed"])
        );
        one.seen("refund.created");
        one.seen("refund.updated");
        assert_eq!(mailed(&one), ["order_delayed", "order_done"]);
    }
    let mut quick = One::begun(&refund());
    quick.order(&unsure());
    quick.seen("refund.created");
    late(&mut quick);
    assert_eq!((quick.status(), mailed(&quick).len()), ("succeeded", 0));
    // Nobody waits for a page that is not open any more.
    let mut checkout = refund();
    checkout.kind = bursar_domain::command::CommandKind::Checkout;
    let mut page = One::begun(&checkout);
    page.order(&unsure());
    late(&mut page);
    assert_eq!(mailed(&page).len(), 0);
}

#[test]
fn an_order_that_took_long_and_failed_is_told_as_failed_in_its_own_words() {
    let refused = || answered(402, false, &json!({"error": {"code": "card_declined"}}));
    let waits = [
        (CommandKind::ChangePlan, "the change of your plan"),
        (CommandKind::SetQuantity, "the change of the quantity"),
        (
            CommandKind::CancelSubscription,
            "the cancellation of your subscription",
        ),
        (
            CommandKind::ResumeSubscription,
            "the resumption of your subscription",
        ),
        (CommandKind::Refund, "your refund"),
    ];
    for (kind, words) in waits {
        let mut one = One::begun(&CommandOrder { kind, ..refund() });
        one.order(&unsure());
        one.now_ms = 600_000;
        let source = InputSource::Timer(key(), "delayed".into(), T0);
        one.hear(source, "delayed", Vec::new());
        one.result(&refused());
        assert_eq!(
            (one.status(), mailed(&one)),
            ("failed", vec!["order_delayed", "order_failed"])
        );
        for effect in one.effects.values() {
            if let Effect::Mail(mail) = effect {
                assert_eq!(mail.params["order"], words);
                assert_eq!(mail.params["commandId"], "cmd_1");
            }
        }
    }
    let mut quick = One::begun(&refund());
    quick.result(&refused());
    assert_eq!((quick.status(), mailed(&quick).len()), ("failed", 0));
}

#[test]
fn what_is_erased_of_an_order_is_the_person_and_nothing_else() {
    let mut order = refund();
    let of_a_person = [
        "email",
        "name",
        "customer_email",
        "evidence[customer_name]",
        "cancellation_details[comment]",
    ];
    let plain = ["items[0][price]", "names", "email_count", "metadata[x]"];
    for name in of_a_person.into_iter().chain(plain) {
        let value = format!("value of {name}");
        order.call.params.push((name.to_owned(), value));
    }
    let mut one = One::begun(&order);
    let kept = |one: &One, name: &str| {
        let snapshot = String::from_utf8_lossy(one.snapshot.as_ref().unwrap());
        snapshot.contains(&format!("\"value of {name}\""))
    };
    for name in of_a_person.into_iter().chain(plain) {
        assert!(kept(&one, name), "{name}");
    }
    one.order(&Order::Erase {});
    for name in of_a_person {
        assert!(!kept(&one, name), "{name}");
    }
    for name in plain {
        assert!(kept(&one, name), "{name}");
    }
}
