//! Commands: what their attempts, looks and events make of them, in any order.

use bursar_domain::aggregate::AggregateKey;
use bursar_domain::command::{CallResult, CommandKind, CommandOrder, Seen};
use bursar_domain::decision::{Decision, EffectId, EntrySource};
use bursar_domain::effect::{Effect, effect_id};
use bursar_domain::fact::{CALL, Order};
use bursar_domain::ids::{AccountId, CommandId, PaymentId, RefundId, Scope, TenantId, Timestamp};
use bursar_domain::input::{Ctx, InputSource, StoredInput};
use bursar_domain::link::LinkKey;
use bursar_domain::message::{Cause, Envelope, Message};
use bursar_domain::reread::{Answer, RereadTarget};
use bursar_domain::rows::{RowKind, RowWrite};
use bursar_domain::settings::Settings;
use bursar_domain::stripe_call::{Method, Operation, StripeCall};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

mod found;
mod heard;
mod told;

const T0: Timestamp = Timestamp(1_747_044_000_000);

fn key() -> AggregateKey {
    AggregateKey::Command(CommandId::parse("cmd_1").unwrap())
}

fn refund() -> CommandOrder {
    CommandOrder {
        kind: CommandKind::Refund,
        tenant: TenantId::parse("acme").unwrap(),
        by: "operator".into(),
        call: StripeCall {
            operation: Operation::RefundCreate,
            scope: Scope::PLATFORM,
            method: Method::Post,
            path: "/v1/refunds".into(),
            params: vec![
                ("payment_intent".into(), "pi_1".into()),
                ("metadata[command_id]".into(), "cmd_1".into()),
            ],
        },
        objects: vec!["pi_1".into()],
        awaits: None,
        after: None,
        patience_ms: Some(15_000),
    }
}

/// One command and what it decided so far.
#[derive(Clone, Default)]
struct One {
    snapshot: Option<Vec<u8>>,
    seq: u64,
    now_ms: i64,
    effects: BTreeMap<EffectId, Effect>,
    told: Vec<(AggregateKey, Message)>,
    row: Value,
}

impl One {
    fn begun(order: &CommandOrder) -> Self {
        let mut one = Self::default();
        one.order(&Order::CommandBegin(Box::new(order.clone())));
        one
    }
    fn hear(&mut self, source: InputSource, kind: &str, body: Vec<u8>) -> Decision {
        self.seq += 1;
        let input = StoredInput {
            seq: self.seq,
            source,
            kind: kind.into(),
            received_at: T0,
            body,
        };
        let settings = Settings::default();
        let ctx = Ctx {
            now: T0.plus_ms(self.now_ms),
            settings: &settings,
            links: &BTreeMap::new(),
            shown_version: None,
        };
        let decision = bursar_domain::decide(&key(), self.snapshot.as_deref(), &input, &ctx);
        if let Some(snapshot) = &decision.snapshot {
            self.snapshot = Some(snapshot.clone());
        }
        for effect in &decision.effects {
            let read = Effect::from_payload(&effect.payload).unwrap();
            self.effects.insert(effect.id.clone(), read);
        }
        for message in &decision.messages {
            let envelope: Envelope = serde_json::from_slice(&message.payload).unwrap();
            self.told.push((message.to.clone(), envelope.message));
        }
        for write in &decision.rows {
            if let RowWrite::Put(row) = write
                && row.kind == RowKind::Command
            {
                self.row = serde_json::from_slice(&row.value).unwrap();
            }
        }
        decision
    }
    fn order(&mut self, order: &Order) -> Decision {
        let id = format!("ord_{}", self.seq);
        self.hear(InputSource::Operator(id), order.kind(), order.to_body())
    }
    fn result(&mut self, result: &CallResult) -> Decision {
        let id = EffectId(format!("call{}", self.seq));
        let body = serde_json::to_vec(result).unwrap();
        self.hear(InputSource::Effect(id), CALL, body)
    }
    fn look(&mut self, body: &Value) -> Decision {
        let answer = Answer {
            target: RereadTarget::Lookup {
                path: "/v1/refunds".into(),
            },
            status: 200,
            date: T0.seconds(),
            body: RawValue::from_string(body.to_string()).ok(),
        };
        let id = EffectId(format!("look{}", self.seq));
        let body = serde_json::to_vec(&answer).unwrap();
        self.hear(InputSource::Effect(id), "reread", body)
    }
    fn seen(&mut self, kind: &str) -> Decision {
        let from = AggregateKey::parse("payment:/pi_1").unwrap();
        let seen = Seen {
            kind: kind.into(),
            scope: Scope::PLATFORM,
            object_id: "re_1".into(),
        };
        self.message(&from, Message::CommandSeen(seen))
    }
    fn message(&mut self, from: &AggregateKey, message: Message) -> Decision {
        let envelope = Envelope {
            cause: Cause {
                source: EntrySource::Event,
                source_id: "evt_1".into(),
                kind: "message".into(),
                at: T0,
            },
            from: from.clone(),
            message,
        };
        let source = InputSource::Message(from.clone(), self.seq, 0);
        self.hear(
            source,
            "command_seen",
            serde_json::to_vec(&envelope).unwrap(),
        )
    }
    fn status(&self) -> &str {
        self.row["status"].as_str().unwrap()
    }
    fn calls(&self) -> Vec<u32> {
        let calls = self.effects.values().filter_map(|effect| match effect {
            Effect::Call(call) => Some(call.generation),
            _ => None,
        });
        let mut calls: Vec<u32> = calls.collect();
        calls.sort_unstable();
        calls
    }
    fn looks(&self) -> usize {
        let is_look = |effect: &&Effect| matches!(effect, Effect::Reread(reread) if matches!(reread.target, RereadTarget::Lookup { .. }));
        self.effects.values().filter(is_look).count()
    }
}

fn answered(status: u16, is_replayed: bool, body: &Value) -> CallResult {
    CallResult::Answered {
        generation: 1,
        status,
        date: T0.seconds(),
        request_id: "req_1".into(),
        is_replayed,
        body: RawValue::from_string(body.to_string()).ok(),
    }
}

fn made() -> CallResult {
    answered(
        200,
        false,
        &json!({"id": "re_1", "object": "refund", "payment_intent": "pi_1", "status": "succeeded"}),
    )
}

fn lost() -> CallResult {
    CallResult::Indeterminate {
        generation: 1,
        last_try_at: T0,
        reason: "500".into(),
    }
}

fn unsure() -> Order {
    Order::CommandUnsure {
        generation: 1,
        reason: "timeout".into(),
    }
}

#[test]
fn one_order_is_one_call_under_one_key() {
    let mut one = One::begun(&refund());
    assert_eq!((one.status(), one.calls()), ("initiated", vec![1]));
    one.order(&Order::CommandBegin(Box::new(refund())));
    assert_eq!(one.calls(), [1]);
    let Some(Effect::Call(call)) = one.effects.values().next() else {
        panic!("a call");
    };
    assert_eq!(call.key(), "bursar_cmd_1_1");
    let id = effect_id(&key(), "call.refund_create", "1.1");
    assert!(one.effects.contains_key(&id));
}

#[test]
fn an_answer_ends_it_and_goes_to_the_payment_it_belongs_to() {
    let mut one = One::begun(&refund());
    one.result(&made());
    assert_eq!(one.status(), "succeeded");
    assert_eq!(one.row["objectId"], "re_1");
    let (to, Message::Answer(answer)) = &one.told[0] else {
        panic!("{:?}", one.told);
    };
    assert_eq!(to.to_string(), "payment:/pi_1");
    assert_eq!(
        answer.target,
        RereadTarget::Refund(RefundId::parse("re_1").unwrap())
    );
    // What an event of the same second tells is newer than what the order made.
    assert_eq!(answer.date, T0.seconds() - 1);
    // The answer is told once, whatever comes later.
    one.seen("refund.created");
    assert_eq!(one.told.len(), 1);
    assert_eq!(one.row["confirmed"], true);
}

#[test]
fn a_replayed_answer_is_old_so_its_object_is_read_again() {
    let mut one = One::begun(&refund());
    let body = json!({"id": "re_1", "object": "refund", "payment_intent": "pi_1"});
    one.result(&answered(200, true, &body));
    assert_eq!(one.status(), "succeeded");
    assert!(one.told.is_empty(), "{:?}", one.told);
    let reads =
        |effect: &Effect| matches!(effect, Effect::Reread(reread) if reread.target.id() == "re_1");
    assert!(one.effects.values().any(reads));
}

#[test]
fn a_refusal_says_what_stripe_said_and_is_final() {
    let mut one = One::begun(&refund());
    let error = json!({"error": {"type": "card_error", "code": "card_declined",
        "decline_code": "insufficient_funds", "param": "amount", "message": "Ann's card"}});
    one.result(&answered(402, false, &error));
    assert_eq!(one.status(), "failed");
    assert_eq!(one.row["error"]["code"], "declined");
    assert_eq!(one.row["error"]["stripeCode"], "card_declined");
    assert_eq!(one.row["error"]["declineCode"], "insufficient_funds");
    assert!(!one.row.to_string().contains("Ann"), "{}", one.row);
    one.order(&Order::CommandAgain {});
    assert_eq!((one.status(), one.calls()), ("failed", vec![1]));
}

#[test]
fn what_never_left_may_be_given_up_and_ordered_again_under_the_same_key() {
    let gave_up = CallResult::GaveUp {
        generation: 1,
        code: "stripe_unavailable".into(),
        reason: "refused".into(),
    };
    let mut one = One::begun(&refund());
    one.result(&gave_up);
    assert_eq!(one.status(), "failed");
    one.order(&Order::CommandAgain {});
    assert_eq!((one.status(), one.calls()), ("initiated", vec![1, 1]));
    // What may have happened is never given up.
    let mut one = One::begun(&refund());
    one.order(&unsure());
    one.result(&gave_up);
    assert_eq!(one.status(), "unknown");
}

#[test]
fn what_is_erased_before_it_was_sent_ends_and_is_not_sent_again() {
    // Still waiting for its customer: nothing will make it go on.
    let waiting = CommandOrder {
        awaits: CommandId::parse("cmd_0").ok(),
        ..refund()
    };
    let mut one = One::begun(&waiting);
    one.order(&Order::Erase {});
    assert_eq!((one.status(), one.calls()), ("failed", vec![]));
    let first_end = one.row["endedAt"].clone();
    one.now_ms += 1_000;
    one.order(&Order::CommandAgain {});
    assert_eq!((one.status(), one.calls()), ("failed", vec![]));
    assert_ne!(one.row["endedAt"], first_end, "whoever asked again hears");
    // On its way: its end is Stripe's to tell.
    let mut one = One::begun(&refund());
    one.order(&Order::Erase {});
    assert_eq!((one.status(), one.calls()), ("initiated", vec![1]));
    // Unknown, and then known not to have happened.
    one.order(&unsure());
    one.result(&lost());
    for _ in 1..=5 {
        one.look(&json!({"object": "list", "data": []}));
    }
    assert_eq!((one.status(), one.calls()), ("failed", vec![1]));
}

#[test]
fn only_two_late_looks_that_find_nothing_raise_the_generation() {
    let mut one = One::begun(&refund());
    one.order(&unsure());
    one.result(&lost());
    assert_eq!((one.status(), one.looks()), ("unknown", 1));
    let empty =
        json!({"object": "list", "data": [{"id": "re_9", "metadata": {"command_id": "cmd_9"}}]});
    for n in 1..=4 {
        one.look(&empty);
        assert_eq!(one.calls(), [1], "after look {n}");
    }
    one.look(&empty);
    assert_eq!((one.status(), one.calls()), ("initiated", vec![1, 2]));
    assert_eq!(one.row["evidenceOfAbsence"].as_array().unwrap().len(), 2);
    // A late word on the first key changes nothing.
    one.result(&lost());
    assert_eq!(one.status(), "initiated");
}

#[test]
fn a_look_that_finds_it_ends_it_at_once() {
    let mut one = One::begun(&refund());
    one.result(&lost());
    // It stands on the second page of a long list.
    let page =
        json!({"object": "list", "has_more": true, "data": [{"id": "re_7", "metadata": {}}]});
    one.look(&page);
    assert_eq!((one.status(), one.looks()), ("unknown", 2));
    let found =
        json!({"id": "re_1", "payment_intent": "pi_1", "metadata": {"command_id": "cmd_1"}});
    one.look(&json!({"object": "list", "has_more": false, "data": [found]}));
    assert!(matches!(&one.told[0].1, Message::Answer(answer) if answer.target.id() == "re_1"));
    assert_eq!(one.status(), "succeeded");
    assert_eq!(
        (one.row["objectId"].as_str(), one.calls()),
        (Some("re_1"), vec![1])
    );
}

#[test]
fn a_key_known_for_another_request_is_never_followed_by_a_new_one() {
    let mut one = One::begun(&refund());
    one.result(&CallResult::KeyReused {
        generation: 1,
        last_try_at: T0,
        request_id: "req_2".into(),
    });
    for _ in 0..20 {
        one.look(&json!({"object": "list", "data": []}));
    }
    assert_eq!((one.status(), one.calls()), ("unknown", vec![1]));
    let is_alert = |effect: &Effect| matches!(effect, Effect::Alert(alert) if alert.code == "idempotency_key_reused");
    assert!(one.effects.values().any(is_alert));
}

#[test]
fn a_day_of_not_knowing_alarms() {
    let mut one = One::begun(&refund());
    let decision = one.order(&unsure());
    let timer = &decision.timers[0];
    assert_eq!(timer.at, Some(T0.plus_ms(24 * 3_600_000)));
    one.now_ms = 24 * 3_600_000;
    let source = InputSource::Timer(key(), timer.name.clone(), T0);
    one.hear(source, &timer.name.clone(), Vec::new());
    let is_alert =
        |effect: &Effect| matches!(effect, Effect::Alert(alert) if alert.code == "command_unknown");
    assert!(one.effects.values().any(is_alert));
    assert_eq!(one.status(), "unknown");
}

#[test]
fn answer_event_and_doubt_end_the_same_in_every_order() {
    type Step = fn(&mut One);
    let steps: [Step; 4] = [
        |one| drop(one.result(&made())),
        |one| drop(one.seen("refund.created")),
        |one| drop(one.order(&unsure())),
        |one| drop(one.seen("charge.refunded")),
    ];
    let mut ends = std::collections::BTreeSet::new();
    let mut orders = 0;
    for a in 0..4 {
        for b in (0..4).filter(|b| *b != a) {
            for c in (0..4).filter(|c| *c != a && *c != b) {
                let d = 6 - a - b - c;
                let mut one = One::begun(&refund());
                for n in [a, b, c, d] {
                    steps[n](&mut one);
                }
                let mut row = one.row.clone();
                row.as_object_mut().unwrap().remove("endedAt");
                ends.insert(row.to_string());
                assert_eq!(one.calls(), [1]);
                orders += 1;
            }
        }
    }
    println!("orders={orders} distinct={}", ends.len());
    assert_eq!((orders, ends.len()), (24, 1), "{ends:?}");
}

#[test]
fn an_event_of_another_account_or_kind_proves_nothing() {
    let mut order = refund();
    order.call.scope = Scope(Some(
        bursar_domain::ids::AccountId::parse("acct_9").unwrap(),
    ));
    let mut one = One::begun(&order);
    one.seen("refund.created");
    assert_eq!(one.status(), "initiated");
    let mut one = One::begun(&refund());
    one.seen("payment_intent.succeeded");
    assert_eq!(one.status(), "initiated");
}

#[test]
fn a_call_that_waits_for_a_customer_is_made_once_the_customer_is_known() {
    let mut order = refund();
    order.kind = CommandKind::Checkout;
    order.call.operation = Operation::CheckoutCreate;
    order.awaits = Some(CommandId::parse("cmd_customer").unwrap());
    let mut one = One::begun(&order);
    assert!(one.calls().is_empty());
    assert!(matches!(one.told[0].1, Message::CommandAwaited {}));
    let from = AggregateKey::parse("command:cmd_customer").unwrap();
    let envelope = Envelope {
        cause: Cause {
            source: EntrySource::Command,
            source_id: "cmd_customer".into(),
            kind: CALL.into(),
            at: T0,
        },
        from: from.clone(),
        message: Message::CommandEnded {
            customer: bursar_domain::ids::CustomerId::parse("cus_1").ok(),
            code: String::new(),
        },
    };
    let body = serde_json::to_vec(&envelope).unwrap();
    one.hear(InputSource::Message(from, 1, 0), "command_ended", body);
    let Some(Effect::Call(call)) = one.effects.values().next() else {
        panic!("a call");
    };
    assert_eq!(call.call.params.last().unwrap().1, "cus_1");
}

#[test]
fn an_order_about_a_payment_stands_on_the_payments_timeline_and_under_its_ids() {
    let payment = |scope: &Scope| {
        Some(LinkKey::Payment(
            scope.clone(),
            PaymentId::parse("pi_1").unwrap(),
        ))
    };
    let mut capture = refund();
    capture.call.operation = Operation::PaymentCapture;
    capture.call.scope = Scope(AccountId::parse("acct_1").ok());
    capture.call.path = "/v1/payment_intents/pi_1/capture".into();
    capture.call.params.clear();
    let mut evidence = refund();
    evidence.call.operation = Operation::DisputeUpdate;
    evidence.call.path = "/v1/disputes/du_1".into();
    evidence.objects = vec!["du_1".into(), "pi_1".into()];
    for order in [refund(), capture, evidence] {
        let mut one = One::default();
        let begun = one.order(&Order::CommandBegin(Box::new(order.clone())));
        let line = &begun.timeline[0];
        assert_eq!(line.source, EntrySource::Command);
        assert_eq!(line.source_id, "cmd_1");
        assert_eq!(line.tenant, Some(order.tenant.clone()));
        assert_eq!(line.payment, payment(&order.call.scope));
        for id in order.objects.iter().map(String::as_str).chain(["cmd_1"]) {
            assert!(line.ids.iter().any(|known| known == id), "{id} {line:?}");
        }
    }
    // What is about no payment stands on none.
    let mut portal = refund();
    portal.call.operation = Operation::PortalCreate;
    let begun = One::default().order(&Order::CommandBegin(Box::new(portal)));
    assert_eq!(begun.timeline[0].payment, None);
}

#[test]
fn a_command_that_comes_after_another_is_sent_when_that_is_over_however_it_ended() {
    let before = AggregateKey::Command(CommandId::parse("cmd_0").unwrap());
    let after = |code: &str| {
        let order = CommandOrder {
            after: CommandId::parse("cmd_0").ok(),
            patience_ms: None,
            ..refund()
        };
        let mut one = One::begun(&order);
        assert!(one.effects.is_empty(), "{:?}", one.effects);
        let asked = (before.clone(), Message::CommandAwaited {});
        assert!(one.told.contains(&asked), "{:?}", one.told);
        let customer = code
            .is_empty()
            .then(|| bursar_domain::ids::CustomerId::parse("cus_1").unwrap());
        let ended = Message::CommandEnded {
            customer,
            code: code.to_owned(),
        };
        one.message(&before, ended);
        one
    };
    for code in ["", "refused"] {
        let one = after(code);
        assert_eq!(one.effects.len(), 1, "{code}");
        let Some(Effect::Call(call)) = one.effects.values().next() else {
            panic!("another effect");
        };
        assert_eq!(call.call, refund().call, "nothing is added to it");
        assert_eq!(one.row["status"], "initiated");
    }
}
