//! What a command makes of each thing it hears, and what it tells others of its end.

use super::*;
use bursar_domain::command::command_of_key;
use bursar_domain::ids::CustomerId;
use bursar_domain::link::Claim;

fn ordered(kind: CommandKind, operation: Operation, path: &str) -> CommandOrder {
    CommandOrder {
        kind,
        call: StripeCall {
            operation,
            path: path.to_owned(),
            ..refund().call
        },
        ..refund()
    }
}

fn customer() -> CommandOrder {
    ordered(
        CommandKind::Customer,
        Operation::CustomerCreate,
        "/v1/customers",
    )
}

fn alerts(one: &One) -> Vec<&str> {
    let codes = one.effects.values().filter_map(|effect| match effect {
        Effect::Alert(alert) => Some(alert.code.as_str()),
        _ => None,
    });
    codes.collect()
}

fn gave_up(generation: u32) -> CallResult {
    CallResult::GaveUp {
        generation,
        code: "stripe_unavailable".to_owned(),
        reason: "connect".to_owned(),
    }
}

fn awaited_by(one: &mut One, n: usize) -> Decision {
    let from = AggregateKey::Command(CommandId::parse(&format!("cmd_w{n}")).unwrap());
    one.message(&from, Message::CommandAwaited {})
}

fn ends_told(one: &One) -> Vec<(String, Option<String>, String)> {
    let ends = one.told.iter().filter_map(|(to, message)| match message {
        Message::CommandEnded { customer, code } => {
            let customer = customer.as_ref().map(ToString::to_string);
            Some((to.to_string(), customer, code.clone()))
        }
        _ => None,
    });
    ends.collect()
}

#[test]
fn whoever_waits_for_a_customer_is_told_which_it_is_or_why_there_is_none() {
    let told = |customer: Option<&str>, code: &str| {
        let customer = customer.map(str::to_owned);
        vec![("command:cmd_w1".to_owned(), customer, code.to_owned())]
    };
    let mut one = One::begun(&customer());
    awaited_by(&mut one, 1);
    assert_eq!(ends_told(&one), []);
    one.result(&answered(
        200,
        false,
        &json!({ "id": "cus_1", "object": "customer" }),
    ));
    assert_eq!(ends_told(&one), told(Some("cus_1"), ""));
    let mut one = One::begun(&customer());
    awaited_by(&mut one, 1);
    one.result(&answered(
        400,
        false,
        &json!({ "error": { "code": "email_invalid" } }),
    ));
    assert_eq!(ends_told(&one), told(None, "refused"));
}

#[test]
fn what_a_command_made_is_claimed_for_its_tenant() {
    let claimed = |order: &CommandOrder, object: Value| {
        let mut one = One::begun(order);
        one.result(&answered(200, false, &object));
        let claims = one.told.iter().filter_map(|(to, message)| match message {
            Message::Claim {
                claim: Claim { tenant, .. },
            } => Some((to.to_string(), tenant.to_string())),
            _ => None,
        });
        claims.collect::<Vec<_>>()
    };
    let to = |key: &str| vec![(key.to_owned(), "acme".to_owned())];
    let made = |id: &str| json!({ "id": id });
    assert_eq!(claimed(&customer(), made("cus_1")), to("customer:/cus_1"));
    let mut account = ordered(
        CommandKind::ConnectAccount,
        Operation::AccountCreate,
        "/v1/accounts",
    );
    assert_eq!(claimed(&account, made("acct_1")), to("merchant:acct_1"));
    account.call.scope = Scope(bursar_domain::ids::AccountId::parse("acct_9").ok());
    assert_eq!(claimed(&account, made("acct_1")), []);
    assert_eq!(claimed(&refund(), made("re_1")), []);
}

#[test]
fn a_command_that_waits_for_a_customer_is_sent_with_it_or_fails_with_its_reason() {
    let order = CommandOrder {
        awaits: CommandId::parse("cmd_0").ok(),
        ..refund()
    };
    let from = AggregateKey::parse("command:cmd_0").unwrap();
    let ended = |customer: Option<&str>, code: &str| Message::CommandEnded {
        customer: customer.and_then(|id| CustomerId::parse(id).ok()),
        code: code.to_owned(),
    };
    let mut one = One::begun(&order);
    assert_eq!((one.calls().len(), one.status()), (0, "initiated"));
    one.message(&from, ended(Some("cus_1"), ""));
    let param = one.effects.values().find_map(|effect| match effect {
        Effect::Call(call) => call.call.param("customer").map(str::to_owned),
        _ => None,
    });
    assert_eq!((one.calls(), param.as_deref()), (vec![1], Some("cus_1")));
    one.message(&from, ended(None, "declined"));
    assert_eq!(one.status(), "initiated", "it has its customer");
    let mut one = One::begun(&order);
    one.message(&from, ended(None, "declined"));
    assert_eq!(
        (one.status(), &one.row["error"]["code"]),
        ("failed", &json!("declined"))
    );
    one.message(&from, ended(None, "other"));
    assert_eq!(one.row["error"]["code"], "declined");
    let tied = CommandOrder {
        awaits: None,
        after: CommandId::parse("cmd_0").ok(),
        ..refund()
    };
    let mut one = One::begun(&tied);
    assert_eq!(one.calls().len(), 0);
    let stranger = AggregateKey::parse("command:cmd_7").unwrap();
    one.message(&stranger, ended(Some("cus_1"), ""));
    assert_eq!(one.calls().len(), 0, "not its turn yet");
    one.message(&from, ended(None, "refused"));
    assert_eq!((one.calls(), one.status()), (vec![1], "initiated"));
}

#[test]
fn what_was_given_up_may_be_ordered_again_and_nothing_else() {
    let mut one = One::begun(&refund());
    let again = one.order(&Order::CommandAgain {});
    assert_eq!(again.disposition.as_str(), "ignored");
    let other = one.result(&gave_up(2));
    assert_eq!(
        (other.disposition.as_str(), one.status()),
        ("ignored", "initiated")
    );
    one.result(&gave_up(1));
    assert_eq!(
        (one.status(), &one.row["endedAt"].is_null()),
        ("failed", &false)
    );
    one.order(&Order::CommandAgain {});
    assert_eq!(
        (one.status(), &one.row["endedAt"]),
        ("initiated", &Value::Null)
    );
    assert_eq!(one.calls(), [1, 1], "under the same key");
    let id = effect_id(&key(), "call.refund_create", "1.2");
    assert!(one.effects.contains_key(&id));
    one.result(&answered(
        402,
        false,
        &json!({ "error": { "code": "card_declined" } }),
    ));
    let again = one.order(&Order::CommandAgain {});
    assert_eq!(
        (again.disposition.as_str(), one.status()),
        ("ignored", "failed")
    );
    let mut one = One::default();
    assert_eq!(
        one.order(&Order::CommandAgain {}).disposition.as_str(),
        "ignored"
    );
    one = One::begun(&refund());
    one.order(&unsure());
    let late = one.result(&gave_up(1));
    assert_eq!(
        (late.disposition.as_str(), one.status()),
        ("ignored", "unknown")
    );
}

#[test]
fn what_costs_nothing_is_given_up_when_unknown_and_sent_under_another_key() {
    let portal = ordered(
        CommandKind::Portal,
        Operation::PortalCreate,
        "/v1/billing_portal/sessions",
    );
    let mut one = One::begun(&portal);
    one.result(&lost());
    assert_eq!((one.status(), one.looks()), ("failed", 0));
    one.order(&Order::CommandAgain {});
    assert_eq!((one.calls(), one.status()), (vec![1, 2], "initiated"));
    let patience = one.effects.values().filter_map(|effect| match effect {
        Effect::Call(call) => Some((call.generation, call.patience_ms)),
        _ => None,
    });
    let patience: BTreeMap<u32, Option<u64>> = patience.collect();
    assert_eq!(patience, BTreeMap::from([(1, Some(15_000)), (2, None)]));
    assert_eq!(one.row["generation"], 2);
}

#[test]
fn only_a_subscription_that_is_gone_is_looked_for_instead_of_refused() {
    let missing = || {
        answered(
            404,
            false,
            &json!({ "error": { "code": "resource_missing" } }),
        )
    };
    let cancel = || {
        ordered(
            CommandKind::CancelSubscription,
            Operation::SubscriptionCancel,
            "/v1/subscriptions/sub_1",
        )
    };
    let mut one = One::begun(&cancel());
    one.result(&missing());
    assert_eq!((one.status(), one.looks()), ("unknown", 1));
    let mut one = One::begun(&cancel());
    one.result(&answered(
        400,
        false,
        &json!({ "error": { "code": "other" } }),
    ));
    assert_eq!((one.status(), one.looks()), ("failed", 0));
    let mut one = One::begun(&refund());
    one.result(&missing());
    assert_eq!((one.status(), one.looks()), ("failed", 0));
    assert_eq!(one.row["error"]["code"], "refused");
}

#[test]
fn a_payer_is_sent_to_the_invoice_a_change_left_open() {
    let change = |operation| {
        ordered(
            CommandKind::ChangePlan,
            operation,
            "/v1/subscriptions/sub_1",
        )
    };
    let object = |status: &str| {
        json!({ "id": "sub_1", "latest_invoice": { "status": status,
            "hosted_invoice_url": "https://invoice.example/1" } })
    };
    let url = |order: &CommandOrder, object: Value, erased: bool| {
        let mut one = One::begun(order);
        if erased {
            one.order(&unsure());
            one.order(&Order::Erase {});
        }
        let decision = one.result(&answered(200, false, &object));
        let personal = decision.rows.iter().find_map(|write| match write {
            RowWrite::Put(row) => row.personal.clone(),
            _ => None,
        });
        let fields = personal.map(|personal| serde_json::from_slice::<Value>(&personal.fields));
        fields.map(|fields| fields.unwrap()["url"].clone())
    };
    let update = change(Operation::SubscriptionUpdate);
    let page = Some(json!("https://invoice.example/1"));
    assert_eq!(url(&update, object("open"), false), page);
    assert_eq!(url(&update, object("open"), true), None);
    assert_eq!(url(&update, object("paid"), false), None);
    assert_eq!(
        url(
            &change(Operation::SubscriptionResume),
            object("open"),
            false
        ),
        None
    );
    let own = json!({ "id": "sub_1", "url": "https://pay.example/2" });
    assert_eq!(
        url(&update, own, false),
        Some(json!("https://pay.example/2"))
    );
}

#[test]
fn looks_come_slower_until_a_person_must_look() {
    let mut one = One::begun(&refund());
    let due = |decision: &Decision| {
        let looks = decision
            .effects
            .iter()
            .filter(|effect| effect.kind == "reread");
        let mut times = looks.map(|look| look.due_at.0 - T0.0);
        (times.next(), times.next())
    };
    let mut waits = Vec::new();
    let mut last = one.result(&CallResult::KeyReused {
        generation: 1,
        last_try_at: T0,
        request_id: "req_1".to_owned(),
    });
    assert_eq!(
        (one.status(), alerts(&one)),
        ("unknown", vec!["idempotency_key_reused"])
    );
    let none = json!({ "object": "list", "data": [], "has_more": false });
    while let (Some(ms), None) = due(&last) {
        waits.push(ms);
        last = one.look(&none);
    }
    assert_eq!(waits.len(), 200);
    assert!(
        waits.windows(2).all(|two| two[0] < two[1]),
        "{:?}",
        &waits[..8]
    );
    let apart: Vec<i64> = waits.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(
        apart[6..].iter().all(|ms| *ms == 600_000),
        "{:?}",
        &apart[..12]
    );
    assert!(
        apart[..4].iter().all(|ms| *ms < 600_000),
        "{:?}",
        &apart[..12]
    );
    assert_eq!(
        (one.calls(), one.status()),
        (vec![1], "unknown"),
        "never sent again"
    );
}

#[test]
fn a_long_list_is_looked_through_page_by_page_at_once() {
    let mut one = One::begun(&refund());
    one.result(&lost());
    let page = |id: &str, more: bool| json!({ "object": "list", "has_more": more, "data": [{ "id": id, "metadata": {} }] });
    let decision = one.look(&page("re_7", true));
    let due: Vec<i64> = decision.effects.iter().map(|e| e.due_at.0 - T0.0).collect();
    assert_eq!(due, [0]);
    let paths = |decision: &Decision| -> Vec<String> {
        let effects = decision.effects.iter();
        let read = effects.map(|effect| Effect::from_payload(&effect.payload).unwrap());
        read.filter_map(|effect| match effect {
            Effect::Reread(reread) => Some(reread.path()),
            _ => None,
        })
        .collect()
    };
    assert!(paths(&decision)[0].ends_with("&starting_after=re_7"));
    let next = one.look(&page("re_8", false));
    assert!(
        !paths(&next)[0].contains("starting_after"),
        "{:?}",
        paths(&next)
    );
    assert_eq!(one.status(), "unknown");
}

#[test]
fn what_was_called_failed_and_happened_is_alerted_and_nothing_else_is() {
    let mut one = One::begun(&refund());
    one.result(&made());
    one.seen("refund.created");
    assert_eq!(alerts(&one), Vec::<&str>::new());
    let mut one = One::begun(&refund());
    one.result(&answered(
        402,
        false,
        &json!({ "error": { "code": "card_declined" } }),
    ));
    assert_eq!(alerts(&one), Vec::<&str>::new());
    one.seen("refund.created");
    assert_eq!(alerts(&one), ["command_failed_but_happened"]);
    assert_eq!(
        (one.status(), &one.row["objectId"]),
        ("succeeded", &json!("re_1"))
    );
    assert_eq!(one.row["stripeRequestId"], Value::Null);
    let mut one = One::begun(&refund());
    one.seen("refund.created");
    one.result(&made());
    one.seen("refund.created");
    assert_eq!(
        one.row["stripeRequestId"], "req_1",
        "a later proof keeps it"
    );
}

#[test]
fn what_is_unknown_of_another_key_or_after_the_end_is_no_news() {
    let unsure_of = |generation| Order::CommandUnsure {
        generation,
        reason: "timeout".to_owned(),
    };
    let mut one = One::begun(&refund());
    assert_eq!(one.order(&unsure_of(2)).disposition.as_str(), "ignored");
    assert_eq!(one.status(), "initiated");
    one.order(&unsure_of(1));
    assert_eq!(one.status(), "unknown");
    one.result(&made());
    assert_eq!(one.order(&unsure_of(1)).disposition.as_str(), "ignored");
    assert_eq!(one.status(), "succeeded");
}

#[test]
fn an_order_erased_before_it_was_sent_ends_and_one_that_was_sent_goes_on() {
    let waiting = CommandOrder {
        after: CommandId::parse("cmd_0").ok(),
        ..refund()
    };
    let mut one = One::begun(&waiting);
    one.order(&Order::Erase {});
    assert_eq!((one.status(), one.calls().len()), ("failed", 0));
    let mut one = One::begun(&refund());
    one.order(&Order::Erase {});
    assert_eq!(one.status(), "initiated");
    let mut one = One::begun(&refund());
    one.result(&made());
    one.order(&Order::Erase {});
    assert_eq!(one.status(), "succeeded");
    let mut one = One::default();
    one.order(&Order::Erase {});
    one.order(&Order::CommandBegin(Box::new(refund())));
    assert_eq!(one.calls().len(), 0, "what is erased is not sent");
}

#[test]
fn a_key_names_its_command_and_only_ours_do() {
    let of = |key: &str| command_of_key(key).map(|id| id.to_string());
    assert_eq!(of("bursar_cmd_1_2").as_deref(), Some("cmd_1"));
    for key in ["cmd_1_2", "bursar_cmd", "bursar_cmd_x", "bursar__1", ""] {
        assert_eq!(of(key), None, "{key}");
    }
}

#[test]
fn a_timer_and_a_key_of_its_own_hold_only_while_they_are_needed() {
    let timers = |decision: &Decision| -> Vec<(String, Option<i64>)> {
        let timers = decision.timers.iter();
        let read = timers.map(|one| (one.name.clone(), one.at.map(|at| at.0 - T0.0)));
        read.collect()
    };
    let begin = |order: &CommandOrder| {
        let mut one = One::default();
        let decision = one.order(&Order::CommandBegin(Box::new(order.clone())));
        (one, decision)
    };
    let (mut one, begun) = begin(&refund());
    assert_eq!(timers(&begun), [("delayed".to_owned(), Some(600_000))]);
    assert_eq!(
        begun.snapshot_subject.map(|subject| subject.0),
        Some("tenant:acme".to_owned())
    );
    let ended = one.result(&made());
    assert_eq!(timers(&ended), [("delayed".to_owned(), None)]);
    let erased = one.order(&Order::Erase {});
    assert_eq!(
        (erased.snapshot.is_some(), erased.snapshot_subject),
        (true, None)
    );
    let (_, begun) = begin(&customer());
    assert_eq!(timers(&begun), [], "nobody waits for it in words");
    let (mut one, _) = begin(&customer());
    let unknown = one.order(&unsure());
    assert_eq!(
        timers(&unknown),
        [("unknown_24h".to_owned(), Some(86_400_000))]
    );
}

#[test]
fn what_has_no_id_names_none_and_what_is_read_again_goes_to_its_payment() {
    let mut one = One::begun(&refund());
    one.result(&answered(200, false, &json!({})));
    assert_eq!(
        (one.status(), &one.row["objectId"]),
        ("succeeded", &Value::Null)
    );
    let mut one = One::begun(&refund());
    let body = json!({ "id": "re_1", "object": "refund", "payment_intent": "pi_1" });
    one.result(&answered(200, true, &body));
    assert_eq!(one.told.len(), 0);
    let answer = Answer {
        target: RereadTarget::Refund(RefundId::parse("re_1").unwrap()),
        status: 200,
        date: T0.seconds() + 5,
        body: RawValue::from_string(body.to_string()).ok(),
    };
    let read = serde_json::to_vec(&answer).unwrap();
    let source = InputSource::Effect(EffectId("e9".to_owned()));
    let decision = one.hear(source, "reread", read);
    let told: Vec<String> = one.told.iter().map(|(to, _)| to.to_string()).collect();
    assert_eq!(told, ["payment:/pi_1"]);
    assert_eq!(decision.disposition.as_str(), "applied");
    assert!(decision.timeline.is_empty(), "nothing shown changed");
}
