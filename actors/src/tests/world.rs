//! A tree over the fake store, with a reducer that does what the input's text says.

use super::fake_store::{FakeStore, UNBALANCED};
use crate::clock::TestClock;
use crate::intake::Refused;
use crate::limits::Limits;
use crate::outbound::Performers;
use crate::ports::{PortFuture, Prepared, ReadAnswer, ReadError, Reducer, RereadOrder, StripeRead};
use crate::tree::{Deps, Tree};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{
    Decision, Disposition, EffectId, EffectIntent, Lane, LinkWrite, Outgoing, TimerWrite,
};
use bursar_domain::ids::{AccountId, EventId, Scope, TenantId, Timestamp};
use bursar_domain::input::{Ctx, InputSource, StoredInput};
use bursar_domain::link::{LinkKey, LinkTarget};
use bursar_domain::rows::Subject;
use bursar_domain::settings::Settings;
use bursar_store::api::{Accepted, Fate, Inbound};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

pub(super) fn key(text: &str) -> AggregateKey {
    AggregateKey::parse(text).unwrap()
}

pub(super) fn payment(n: u32) -> AggregateKey {
    key(&format!("payment:/pi_{n}"))
}

/// Obeys the input's text, line by line; the snapshot is the list of inputs seen.
pub(super) struct Obedient;

fn lines(input: &StoredInput) -> Vec<Vec<String>> {
    let text = String::from_utf8(input.body.clone()).unwrap();
    text.lines()
        .map(|line| line.splitn(3, ' ').map(str::to_owned).collect())
        .collect()
}

impl Reducer for Obedient {
    fn revision(&self) -> u32 {
        1
    }
    fn prepare<'a>(
        &self,
        key: &'a AggregateKey,
        snapshot: Option<&'a [u8]>,
        input: &'a StoredInput,
    ) -> Box<dyn Prepared + 'a> {
        Box::new(InHand {
            key,
            snapshot,
            input,
        })
    }
    fn reread(&self, payload: &[u8]) -> Result<RereadOrder, String> {
        let account = std::str::from_utf8(payload).unwrap();
        Ok(RereadOrder {
            scope: Scope(AccountId::parse(account).ok()),
            path: "/v1/subscriptions/sub_1".into(),
            target: serde_json::json!({"object": "subscription", "id": "sub_1"}),
        })
    }
}

struct InHand<'a> {
    key: &'a AggregateKey,
    snapshot: Option<&'a [u8]>,
    input: &'a StoredInput,
}

impl Prepared for InHand<'_> {
    fn lookups(&self, _: &Settings) -> Vec<LinkKey> {
        lines(self.input)
            .iter()
            .filter(|words| words[0] == "look")
            .map(|words| LinkKey::parse(&words[1]).unwrap())
            .collect()
    }
    fn decide(self: Box<Self>, ctx: &Ctx<'_>) -> Decision {
        let Self {
            key,
            snapshot,
            input,
        } = *self;
        let mut decision = Decision::nothing(Disposition::Applied, "");
        let mut seen = snapshot.map_or(String::new(), |s| String::from_utf8(s.to_vec()).unwrap());
        seen.push_str(&format!("{} ", input.seq));
        for words in lines(input) {
            match words[0].as_str() {
                "panic" => panic!("{}", words[1]),
                "unbalanced" => decision.reason = UNBALANCED.into(),
                "look" => {
                    let link = ctx.links.get(&LinkKey::parse(&words[1]).unwrap());
                    let tenant = link.and_then(|link| link.tenant.clone());
                    seen.push_str(&format!("saw {} ", tenant.map_or("-".into(), String::from)));
                }
                "link" => decision.links.push(LinkWrite {
                    key: LinkKey::parse(&words[1]).unwrap(),
                    target: LinkTarget {
                        tenant: Some(TenantId::parse(&words[2]).unwrap()),
                    },
                }),
                "send" => decision.messages.push(Outgoing {
                    to: AggregateKey::parse(&words[1]).unwrap(),
                    kind: "message".into(),
                    payload: words[2].clone().into_bytes(),
                    park: Vec::new(),
                    subject: None,
                }),
                "timer" => decision.timers.push(TimerWrite {
                    name: words[1].clone(),
                    at: Some(ctx.now.plus_ms(words[2].parse().unwrap())),
                }),
                "effect" => {
                    let lane = Lane::ALL.into_iter().find(|l| l.as_str() == words[1]);
                    decision.effects.push(EffectIntent {
                        id: EffectId(format!("{key}/{}", input.seq)),
                        lane: lane.unwrap(),
                        kind: "test".into(),
                        due_at: ctx.now,
                        payload: words.get(2).map_or("{}", |text| text).as_bytes().to_vec(),
                        subject: None,
                    });
                }
                _ => {}
            }
        }
        decision.snapshot = Some(seen.into_bytes());
        decision
    }
}

/// Answers GETs in the order given, then 404; those of one account may all be too many.
#[derive(Default)]
pub(super) struct FakeStripe {
    pub(super) answers: Mutex<VecDeque<Result<ReadAnswer, ReadError>>>,
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) limited: Mutex<Option<AccountId>>,
}

pub(super) fn answer(status: u16, body: &str) -> ReadAnswer {
    ReadAnswer {
        status,
        date_unix: START.seconds(),
        body: body.as_bytes().to_vec(),
        request_id: "req_1".into(),
    }
}

impl StripeRead for FakeStripe {
    fn get(&self, scope: Scope, path: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
        self.asked.lock().unwrap().push(path);
        if scope.0.is_some() && scope.0 == *self.limited.lock().unwrap() {
            let error = ReadError::RateLimited { retry_after: None };
            return Box::pin(std::future::ready(Err(error)));
        }
        let next = self.answers.lock().unwrap().pop_front();
        let next = next.unwrap_or_else(|| Ok(answer(404, r#"{"error":{}}"#)));
        Box::pin(std::future::ready(next))
    }
}

pub(super) struct World {
    pub(super) store: Arc<FakeStore>,
    pub(super) clock: Arc<TestClock>,
    pub(super) stripe: Arc<FakeStripe>,
    pub(super) tree: Tree,
    events: u32,
}

impl World {
    pub(super) async fn start(limits: Limits) -> Self {
        Self::over(Arc::new(FakeStore::new()), limits, Performers::new()).await
    }

    /// A tree over a store that may have a past; `events` go on from its inputs.
    pub(super) async fn over(
        store: Arc<FakeStore>,
        limits: Limits,
        performers: Performers,
    ) -> Self {
        let clock = Arc::new(TestClock::at(START));
        let stripe = Arc::new(FakeStripe::default());
        let events = store.state().inputs.len() as u32;
        let tree = Tree::start(Deps {
            store: Arc::clone(&store) as _,
            clock: Arc::clone(&clock) as _,
            reducer: Arc::new(Obedient),
            stripe_read: Arc::clone(&stripe) as _,
            stripe_write: None,
            settings: Arc::new(Settings::default()),
            limits,
            performers,
        })
        .await
        .unwrap();
        Self {
            store,
            clock,
            stripe,
            tree,
            events,
        }
    }

    pub(super) fn inbound(&mut self, to: &AggregateKey, text: &str) -> Inbound {
        self.events += 1;
        event(Scope::PLATFORM, self.events, to, text)
    }

    pub(super) async fn send(&mut self, to: &AggregateKey, text: &str) -> Result<u64, Refused> {
        let inbound = self.inbound(to, text);
        match self.tree.intake().submit(inbound).await? {
            Accepted::New { seq, .. } | Accepted::Duplicate { seq, .. } => Ok(seq),
        }
    }

    /// Waits until nothing is pending.
    pub(super) async fn settled(&self) {
        self.store
            .until("nothing pending", |s| s.pending() == 0)
            .await;
    }

    pub(super) fn snapshot(&self, of: &AggregateKey) -> String {
        let state = self.store.state();
        let bytes = state
            .snapshots
            .get(of)
            .map_or(Vec::new(), |s| s.bytes.clone());
        String::from_utf8(bytes).unwrap()
    }
}

pub(super) fn event(scope: Scope, n: u32, to: &AggregateKey, text: &str) -> Inbound {
    Inbound {
        source: InputSource::Event(scope, EventId::parse(&format!("evt_{n}")).unwrap()),
        kind: "invoice.paid".into(),
        fate: Fate::Pending {
            to: to.clone(),
            park: Vec::new(),
        },
        object_ids: Vec::new(),
        created_at: Some(START),
        received_at: START,
        subject: Subject(format!("customer:/{to}")),
        body: text.as_bytes().to_vec().into(),
        tenant: None,
    }
}
