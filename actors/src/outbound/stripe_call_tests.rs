//! Every end of an attempt and what it becomes; when a call is given up, and when it never may be.

use super::*;
use crate::circuits::{Announcer, Line};
use crate::clock::TestClock;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::command::CommandKind;
use bursar_domain::decision::Lane;
use bursar_domain::ids::{CommandId, Scope, TenantId};
use bursar_domain::stripe_call::{Method, Operation, StripeCall};
use std::collections::VecDeque;
use tokio::sync::mpsc;

const BEGAN: Timestamp = Timestamp(1_700_000_000_000);
const PATIENCE: Duration = Duration::from_secs(15);
const MS_23H: i64 = 23 * 3_600_000;
const S: fn(u64) -> Duration = Duration::from_secs;

/// One request as it would have left.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    call: StripeCall,
    key: String,
    within: Duration,
}

/// Answers what was scripted, in order.
#[derive(Default)]
struct Script {
    ends: Mutex<VecDeque<CallEnd>>,
    sent: Mutex<Vec<Sent>>,
}

impl StripeWrite for Script {
    fn send(&self, call: StripeCall, key: String, within: Duration) -> PortFuture<'_, CallEnd> {
        let sent = Sent { call, key, within };
        self.sent.lock().unwrap().push(sent);
        let end = self.ends.lock().unwrap().pop_front();
        Box::pin(async move {
            match end {
                Some(end) => end,
                None => std::future::pending().await,
            }
        })
    }
}

struct World {
    script: Arc<Script>,
    clock: Arc<TestClock>,
    gate: Arc<Gate>,
    calls: StripeCalls,
    _lines: mpsc::Receiver<Line>,
}

impl World {
    fn new() -> Self {
        let (announcer, lines) = Announcer::overheard();
        let clock = Arc::new(TestClock::at(BEGAN));
        let script = Arc::new(Script::default());
        let gate = Gate::new(Arc::clone(&clock) as _, 1_000, announcer);
        let gate = Arc::new(gate);
        let calls = StripeCalls::new(
            Arc::clone(&script) as _,
            Arc::clone(&clock) as _,
            Arc::clone(&gate),
        );
        Self {
            script,
            clock,
            gate,
            calls,
            _lines: lines,
        }
    }

    async fn attempt(&self, effect: &DueEffect, end: CallEnd) -> Outcome {
        self.script.ends.lock().unwrap().push_back(end);
        self.calls.perform(effect.clone()).await
    }

    fn sent(&self) -> usize {
        self.script.sent.lock().unwrap().len()
    }

    fn last_within(&self) -> Duration {
        self.script.sent.lock().unwrap().last().unwrap().within
    }

    fn open_circuit(&self) {
        for _ in 0..10 {
            let pass = self.gate.enter(&Scope::PLATFORM, Lane::Stripe, false);
            pass.unwrap().end(FarSide::HostFailed("away".into()));
        }
        assert_eq!(self.gate.room(), 0);
    }
}

fn call(patience: Option<Duration>) -> CallEffect {
    CallEffect {
        command: CommandId::parse("cmd_1").unwrap(),
        tenant: TenantId::parse("ten_1").unwrap(),
        kind: CommandKind::Refund,
        generation: 2,
        call: StripeCall {
            operation: Operation::RefundCreate,
            scope: Scope::PLATFORM,
            method: Method::Post,
            path: "/v1/refunds".into(),
            params: vec![
                ("payment_intent".into(), "pi_1".into()),
                ("amount".into(), "500".into()),
            ],
        },
        patience_ms: patience.map(|patience| u64::try_from(patience.as_millis()).unwrap()),
    }
}

/// Decided as this process began, never attempted.
fn due(patience: Option<Duration>) -> DueEffect {
    let effect = Effect::Call(call(patience));
    DueEffect {
        id: EffectId("e1".into()),
        aggregate: AggregateKey::Command(CommandId::parse("cmd_1").unwrap()),
        lane: Lane::Stripe,
        kind: effect.kind(),
        attempts: 0,
        decided_at: BEGAN,
        payload: Some(serde_json::to_vec(&effect).unwrap()),
    }
}

fn tried(effect: &DueEffect, attempts: u32) -> DueEffect {
    DueEffect {
        attempts,
        ..effect.clone()
    }
}

fn answer(status: u16, is_replayed: bool, body: &str) -> CallEnd {
    CallEnd::Answer(CallAnswer {
        status,
        date_unix: 1_700_000_007,
        request_id: "req_1".into(),
        is_replayed,
        body: body.into(),
    })
}

fn not_sent() -> CallEnd {
    CallEnd::NotSent {
        reason: "no connection".into(),
    }
}

fn limited(retry_after: Option<Duration>, reason: Option<&str>) -> CallEnd {
    CallEnd::RateLimited {
        retry_after,
        reason: reason.map(str::to_owned),
    }
}

fn key_refused() -> CallEnd {
    CallEnd::KeyRefused {
        status: 401,
        detail: "api_key_expired".into(),
    }
}

fn unknown(should_retry: Option<bool>, is_replayed: bool, after: Option<Duration>) -> CallEnd {
    CallEnd::Unknown {
        reason: "the server answered 500".into(),
        should_retry,
        is_replayed,
        retry_after: after,
    }
}

/// An outcome in the terms of the table: a result; or after, whether it counts, whether the command hears.
#[derive(Debug, PartialEq)]
enum Means {
    Ends(CallResult),
    Again(Option<Duration>, bool, bool),
}

fn means(outcome: Outcome) -> Means {
    match outcome {
        Outcome::Done { result, .. } => {
            let inbound = result.expect("a call has a result");
            assert_eq!(inbound.kind, CALL);
            assert_eq!(
                inbound.source,
                InputSource::Effect(EffectId("e1".into())),
                "the end of an effect is heard once"
            );
            assert_is_for_the_command(&inbound);
            Means::Ends(serde_json::from_slice(&inbound.body).unwrap())
        }
        Outcome::Retry {
            after,
            counts,
            told,
            error,
            of_one: _,
        } => {
            assert!(!error.is_empty());
            if let Some(told) = &told {
                let body: Order = serde_json::from_slice(&told.body).unwrap();
                let is_unsure = matches!(body, Order::CommandUnsure { generation: 2, .. });
                assert!(is_unsure && told.kind == "command.unsure", "{told:?}");
                let once = InputSource::Operator("cmd_1.2.unsure".into());
                assert_eq!(told.source, once, "the same word counts once");
                assert_is_for_the_command(told);
            }
            Means::Again(after, counts, told.is_some())
        }
        Outcome::Skipped { note } | Outcome::Failed { note } => panic!("{note}"),
    }
}

fn assert_is_for_the_command(inbound: &Inbound) {
    let to = AggregateKey::Command(CommandId::parse("cmd_1").unwrap());
    let fate = Fate::Pending {
        to,
        park: Vec::new(),
    };
    assert_eq!(inbound.fate, fate);
    let tenant = TenantId::parse("ten_1").unwrap();
    assert_eq!(inbound.subject, tenant::subject(&tenant));
    assert_eq!(inbound.tenant, Some(tenant));
}

fn answered(status: u16, is_replayed: bool, body: &str) -> Means {
    Means::Ends(CallResult::Answered {
        generation: 2,
        status,
        date: 1_700_000_007,
        request_id: "req_1".into(),
        is_replayed,
        body: Some(RawValue::from_string(body.to_owned()).unwrap()),
    })
}

fn gave_up(code: &str) -> Means {
    Means::Ends(CallResult::GaveUp {
        generation: 2,
        code: code.into(),
        reason: "nothing of it left before its time was over".into(),
    })
}

fn indeterminate(at: Timestamp, reason: &str) -> Means {
    Means::Ends(CallResult::Indeterminate {
        generation: 2,
        last_try_at: at,
        reason: reason.into(),
    })
}

#[tokio::test(start_paused = true)]
async fn every_end_of_an_attempt_means_one_thing() {
    let (ok, bad) = (r#"{"id":"re_1"}"#, r#"{"error":{"code":"card_declined"}}"#);
    let reused = CallEnd::KeyReused {
        request_id: "req_9".into(),
    };
    let key_reused = Means::Ends(CallResult::KeyReused {
        generation: 2,
        last_try_at: BEGAN,
        request_id: "req_9".into(),
    });
    let running = |retry_after| CallEnd::InProgress { retry_after };
    let server = "the server answered 500";
    for (waited, end, expected) in [
        (true, answer(200, false, ok), answered(200, false, ok)),
        (false, answer(200, true, ok), answered(200, true, ok)),
        (true, answer(402, false, bad), answered(402, false, bad)),
        (false, answer(404, false, bad), answered(404, false, bad)),
        (
            false,
            answer(200, false, "<html>"),
            Means::Again(None, true, true),
        ),
        (true, not_sent(), Means::Again(None, true, false)),
        (false, not_sent(), Means::Again(None, true, false)),
        (false, limited(None, None), Means::Again(None, false, false)),
        (true, limited(None, None), Means::Again(None, false, false)),
        (
            false,
            limited(Some(S(40)), Some("global-rate")),
            Means::Again(Some(S(40)), false, false),
        ),
        (
            true,
            limited(Some(S(40)), Some("global-rate")),
            Means::Again(Some(S(40)), false, false),
        ),
        (
            true,
            limited(Some(S(4)), Some("global-rate")),
            Means::Again(Some(S(4)), false, false),
        ),
        (true, key_refused(), gave_up("stripe_key_refused")),
        (
            false,
            key_refused(),
            Means::Again(Some(S(30)), false, false),
        ),
        (true, running(None), Means::Again(Some(S(1)), true, true)),
        // It may have happened, so nobody's patience shortens the wait Stripe asked for.
        (
            true,
            running(Some(S(40))),
            Means::Again(Some(S(40)), true, true),
        ),
        (
            false,
            running(Some(S(3))),
            Means::Again(Some(S(3)), true, true),
        ),
        (true, reused, key_reused),
        (
            true,
            unknown(None, false, None),
            Means::Again(None, true, true),
        ),
        (
            false,
            unknown(Some(true), false, Some(S(40))),
            Means::Again(Some(S(40)), true, true),
        ),
        (
            true,
            unknown(Some(true), false, Some(S(40))),
            Means::Again(Some(S(40)), true, true),
        ),
        (
            true,
            unknown(Some(false), false, None),
            indeterminate(BEGAN, server),
        ),
        (
            false,
            unknown(None, true, None),
            indeterminate(BEGAN, server),
        ),
        (
            true,
            unknown(Some(true), true, None),
            indeterminate(BEGAN, server),
        ),
    ] {
        let world = World::new();
        let text = format!("waited for: {waited}, {end:?}");
        let effect = due(waited.then_some(PATIENCE));
        assert_eq!(means(world.attempt(&effect, end).await), expected, "{text}");
        assert_eq!(world.sent(), 1, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_attempt_sends_the_same_bytes_under_the_same_key_within_its_time() {
    let world = World::new();
    let effect = due(None);
    let ends = [
        not_sent(),
        limited(None, None),
        key_refused(),
        unknown(None, false, None),
        CallEnd::InProgress { retry_after: None },
        answer(200, false, "{}"),
    ];
    for (attempts, end) in (0..).zip(ends) {
        world.attempt(&tried(&effect, attempts), end).await;
        tokio::time::advance(S(600)).await;
    }
    let sent = world.script.sent.lock().unwrap();
    let expected = Sent {
        call: call(None).call,
        key: "bursar_cmd_1_2".into(),
        within: S(30),
    };
    assert_eq!(*sent, vec![expected; 6]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_somebody_waits_for_takes_no_longer_than_they_wait() {
    let world = World::new();
    let effect = due(Some(PATIENCE));
    for (wait, within) in [(0, 12), (10, 5), (4, 1)] {
        tokio::time::advance(S(wait)).await;
        world.attempt(&effect, not_sent()).await;
        assert_eq!(world.last_within(), S(within));
    }
    tokio::time::advance(Duration::from_millis(900)).await;
    world.attempt(&effect, unknown(None, false, None)).await;
    assert_eq!(world.last_within(), S(1), "not less than a second");
    world.attempt(&effect, not_sent()).await;
    assert_eq!(world.last_within(), S(30), "it may have happened");
}

#[tokio::test(start_paused = true)]
async fn what_never_left_is_given_up_exactly_when_patience_is_over() {
    for (end, code) in [
        (not_sent(), "stripe_unavailable"),
        (limited(Some(S(1)), None), "stripe_rate_limited"),
    ] {
        let world = World::new();
        let effect = due(Some(PATIENCE));
        world.attempt(&effect, end).await;
        let effect = tried(&effect, 1);
        let most = world.calls.put_off_max(&effect);
        assert_eq!(most, Some(PATIENCE), "it is not put off for longer");
        tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
        assert_eq!(world.calls.overdue(&effect), None);
        let most = world.calls.put_off_max(&effect);
        assert_eq!(most, Some(Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(means(world.calls.perform(effect).await), gave_up(code));
        assert_eq!(world.sent(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn patience_ends_behind_an_open_circuit_without_a_call() {
    let world = World::new();
    world.open_circuit();
    let effect = due(Some(PATIENCE));
    assert_eq!(world.calls.overdue(&effect), None, "its time begins");
    let refused = world.calls.perform(effect.clone()).await;
    let Means::Again(Some(after), false, false) = means(refused) else {
        panic!("it is put off and not counted");
    };
    assert!(after <= PATIENCE, "{after:?}");
    tokio::time::advance(PATIENCE).await;
    let over = world.calls.overdue(&effect).map(means);
    assert_eq!(over, Some(gave_up("stripe_circuit_open")));
    assert_eq!(world.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_and_the_gate_is_shut_so_it_comes_back_when_the_gate_says() {
    let world = World::new();
    world.open_circuit();
    let shut = world.gate.check(&Scope::PLATFORM).unwrap_err();
    let refused = means(world.calls.perform(due(None)).await);
    assert_eq!(refused, Means::Again(Some(shut.retry_after), false, false));
    tokio::time::advance(S(3_600)).await;
    assert_eq!(world.calls.overdue(&due(None)), None);
    assert_eq!(world.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_left_is_never_given_up() {
    let ends = [
        unknown(None, false, None),
        CallEnd::InProgress { retry_after: None },
        answer(200, false, "<html>"),
    ];
    for end in ends {
        let world = World::new();
        let effect = due(Some(PATIENCE));
        world.attempt(&effect, not_sent()).await;
        world.attempt(&tried(&effect, 1), end.clone()).await;
        for attempts in 2..20 {
            tokio::time::advance(S(60)).await;
            let effect = tried(&effect, attempts);
            assert_eq!(world.calls.overdue(&effect), None, "{end:?}");
            // Nothing of these left, but something of an earlier one may have.
            let again = means(world.attempt(&effect, limited(None, None)).await);
            assert_eq!(again, Means::Again(None, false, false), "{end:?}");
            assert_eq!(world.calls.put_off_max(&effect), None, "{end:?}");
        }
        let effect = tried(&effect, 20);
        let refused = means(world.attempt(&effect, key_refused()).await);
        let waits = Means::Again(Some(S(30)), false, false);
        assert_eq!(refused, waits, "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_cut_off_may_have_left() {
    let world = World::new();
    let effect = due(Some(PATIENCE));
    // The lane drops an attempt that takes too long, and one whose performer panics is gone as well.
    let cut = tokio::time::timeout(S(1), world.calls.perform(effect.clone()));
    assert!(cut.await.is_err());
    assert_eq!(world.sent(), 1);
    tokio::time::advance(S(3_600)).await;
    assert_eq!(world.calls.overdue(&tried(&effect, 1)), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_is_given_up_because_nobody_knows_what_was_done() {
    for attempts in [0, 3] {
        let world = World::new();
        let mut effect = tried(&due(Some(PATIENCE)), attempts);
        effect.decided_at = BEGAN.plus_ms(-1);
        assert_eq!(world.calls.overdue(&effect), None);
        tokio::time::advance(S(60)).await;
        assert_eq!(world.calls.overdue(&effect), None);
        let again = means(world.attempt(&effect, not_sent()).await);
        assert_eq!(again, Means::Again(None, true, false), "{attempts}");
        let refused = means(world.attempt(&effect, key_refused()).await);
        let waits = Means::Again(Some(S(30)), false, false);
        assert_eq!(refused, waits, "{attempts}");
        assert_eq!(world.sent(), 2);
    }
    // Decided by this process, but attempted by a memory it has lost.
    let world = World::new();
    let effect = tried(&due(Some(PATIENCE)), 1);
    assert_eq!(world.calls.overdue(&effect), None);
    tokio::time::advance(S(60)).await;
    assert_eq!(world.calls.overdue(&effect), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_sent_a_day_after_its_call_was_decided() {
    for waited in [None, Some(PATIENCE)] {
        let world = World::new();
        let effect = tried(&due(waited), 5);
        world.clock.step(MS_23H);
        let sent = means(world.attempt(&effect, not_sent()).await);
        assert_eq!(sent, Means::Again(None, true, false));
        world.clock.step(1);
        let at = BEGAN.plus_ms(MS_23H + 1);
        let old = "its key is too old to be sent again";
        let over = world.calls.overdue(&effect).map(means);
        assert_eq!(over, Some(indeterminate(at, old)));
        let over = means(world.calls.perform(effect).await);
        assert_eq!(over, indeterminate(at, old));
        assert_eq!(world.sent(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_call_fails_and_sends_nothing() {
    let world = World::new();
    for payload in [None, Some(b"{}".to_vec()), Some(b"not json".to_vec())] {
        let effect = DueEffect {
            payload,
            ..due(None)
        };
        assert_eq!(world.calls.overdue(&effect), None);
        let outcome = world.calls.perform(effect).await;
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    }
    assert_eq!(world.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_ended_is_forgotten() {
    let world = World::new();
    let effect = due(Some(PATIENCE));
    world.attempt(&effect, not_sent()).await;
    assert_eq!(world.calls.histories.lock().unwrap().len(), 1);
    world.attempt(&effect, answer(200, false, "{}")).await;
    assert!(world.calls.histories.lock().unwrap().is_empty());
}
