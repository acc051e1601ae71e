//! The actors' tree over the engine in memory, ended without warning and started again.

use crate::{Dice, process};
use bursar_actors::clock::TestClock;
use bursar_actors::limits::Limits;
use bursar_actors::outbound::Performers;
use bursar_actors::ports::{
    Outcome, Performer, PortFuture, Prepared, ReadAnswer, ReadError, Reducer, RereadOrder,
    StripeRead,
};
use bursar_actors::tree::{Deps, Tree};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Decision, Disposition, EffectId, EffectIntent, Lane};
use bursar_domain::ids::{EventId, Scope, Timestamp};
use bursar_domain::input::{Ctx, InputSource, StoredInput};
use bursar_domain::link::LinkKey;
use bursar_domain::rows::Subject;
use bursar_domain::settings::Settings;
use bursar_store::MemStore;
use bursar_store::api::{Accepted, DueEffect, EffectStatus, Fate, Inbound, InputStatus, Store};
use bursar_store::query::OutboxQuery;
use std::sync::Arc;
use std::time::Duration;

const START: Timestamp = Timestamp(1_700_000_000_000);
/// How long nothing may happen before it is certain that nothing will.
const PATIENCE: Duration = Duration::from_secs(15);

/// Writes down each input's number; does what the body says.
struct Notes;

impl Reducer for Notes {
    fn revision(&self) -> u32 {
        1
    }
    fn prepare<'a>(
        &self,
        _: &'a AggregateKey,
        snapshot: Option<&'a [u8]>,
        input: &'a StoredInput,
    ) -> Box<dyn Prepared + 'a> {
        Box::new(Note { snapshot, input })
    }
    fn reread(&self, _: &[u8]) -> Result<RereadOrder, String> {
        Err("nothing is read again here".to_owned())
    }
}

struct Note<'a> {
    snapshot: Option<&'a [u8]>,
    input: &'a StoredInput,
}

impl Prepared for Note<'_> {
    fn lookups(&self, _: &Settings) -> Vec<LinkKey> {
        Vec::new()
    }
    fn decide(self: Box<Self>, ctx: &Ctx<'_>) -> Decision {
        let Self { snapshot, input } = *self;
        let mut decision = Decision::nothing(Disposition::Applied, "");
        match input.body.as_slice() {
            // As a panic, without its message on the test's output.
            b"panic" => std::panic::resume_unwind(Box::new("poisoned".to_owned())),
            b"effect" => decision.effects.push(EffectIntent {
                id: EffectId(format!("effect_{}", input.seq)),
                lane: Lane::Mail,
                kind: "test".to_owned(),
                due_at: ctx.now,
                payload: b"{}".to_vec(),
                subject: None,
            }),
            _ => {}
        }
        let mut notes = snapshot.map_or(Vec::new(), <[u8]>::to_vec);
        notes.extend_from_slice(format!("{} ", input.seq).as_bytes());
        decision.snapshot = Some(notes);
        decision
    }
}

struct NoStripe;

impl StripeRead for NoStripe {
    fn get(&self, _: Scope, _: String) -> PortFuture<'_, Result<ReadAnswer, ReadError>> {
        Box::pin(std::future::ready(Err(ReadError::Timeout)))
    }
}

struct Mail;

impl Performer for Mail {
    fn perform(&self, _: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(std::future::ready(Outcome::Done {
            note: String::new(),
            result: None,
        }))
    }
}

async fn tree(store: &Arc<dyn Store>) -> Result<Tree, String> {
    let mail: Arc<dyn Performer> = Arc::new(Mail);
    let started = Tree::start(Deps {
        store: Arc::clone(store),
        clock: Arc::new(TestClock::at(START)),
        reducer: Arc::new(Notes),
        stripe_read: Arc::new(NoStripe),
        stripe_write: None,
        settings: Arc::new(Settings::default()),
        limits: Limits::default(),
        performers: Performers::from([(Lane::Mail, mail)]),
    });
    started.await.map_err(|error| error.to_string())
}

fn payment(n: u64) -> AggregateKey {
    AggregateKey::parse(&format!("payment:/pi_{n}")).expect("a key")
}

fn delivery(n: u64, to: AggregateKey, text: &str) -> Inbound {
    let id = EventId::parse(&format!("evt_{n}")).expect("an id");
    Inbound {
        source: InputSource::Event(Scope::PLATFORM, id),
        kind: "invoice.paid".to_owned(),
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

/// An input somebody was told is accepted.
struct Sent {
    seq: u64,
    to: AggregateKey,
    text: &'static str,
}

fn words(error: bursar_store::error::StoreError) -> String {
    error.to_string()
}

/// A life that takes deliveries and ends at once; some are accepted and nobody was woken for them yet.
async fn take_and_die(store: &Arc<dyn Store>, dice: &mut Dice) -> Result<Vec<Sent>, String> {
    let tree = tree(store).await?;
    let intake = tree.intake();
    let mut sent = Vec::new();
    for n in 0..10 + dice.below(30) {
        let text = ["panic", "effect", "note", "note", "note"][dice.below(5) as usize];
        let to = payment(dice.below(6));
        let inbound = delivery(n, to.clone(), text);
        let accepted = if dice.one_in(4) {
            store.accept(vec![inbound]).await.map_err(words)?.remove(0)
        } else {
            let submitted = intake.submit(inbound).await;
            submitted.map_err(|refused| format!("refused: {refused:?}"))?
        };
        let Accepted::New { seq, .. } = accepted else {
            return Err(format!("evt_{n} is not new: {accepted:?}"));
        };
        sent.push(Sent { seq, to, text });
    }
    Ok(sent)
}

/// Waits until nothing is pending, inputs and effects.
async fn quiet(store: &Arc<dyn Store>) -> Result<(), String> {
    let mut commits = store.commits();
    let work = async {
        loop {
            let pending = store.stats().await.map_err(words)?.pending;
            let effects = store.outbox(OutboxQuery {
                status: Some(EffectStatus::Pending),
                lane: None,
                after: None,
                limit: 1,
            });
            if pending == 0 && effects.await.map_err(words)?.items.is_empty() {
                return Ok(());
            }
            if commits.changed().await.is_err() {
                return Err("the store is gone".to_owned());
            }
        }
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => {
            let stats = store.stats().await.map_err(words)?;
            Err(format!("{} inputs lie where they are", stats.pending))
        }
    }
}

/// Everything accepted is noted once, or dead with its reason.
async fn accounted(store: &Arc<dyn Store>, sent: &[Sent]) -> Result<(), String> {
    for Sent { seq, to, text } in sent {
        let view = store.input_by_seq(*seq).await.map_err(words)?;
        let view = view.ok_or_else(|| format!("input {seq} is gone"))?;
        let loaded = store.load(to.clone()).await.map_err(words)?;
        let notes = loaded.map_or(Vec::new(), |snapshot| snapshot.bytes);
        let notes = String::from_utf8_lossy(&notes).into_owned();
        let noted = notes.split(' ').filter(|word| *word == seq.to_string());
        let noted = noted.count();
        let expected = match *text {
            "panic" => (InputStatus::Dead, 0),
            _ => (InputStatus::Applied, 1),
        };
        if (view.status, noted) != expected {
            return Err(format!(
                "input {seq} ({text}) is {} and noted {noted} times",
                view.status.as_str()
            ));
        }
    }
    Ok(())
}

/// P1 and P8: accepted is applied once or dead with its reason, also across a sudden end.
pub(crate) fn nothing_accepted_vanishes(seed: u64) -> Result<(), String> {
    let mut dice = Dice(seed);
    let store = MemStore::new().map_err(words)?;
    let sent = process(take_and_die(&store, &mut dice))?;
    process(async {
        let tree = tree(&store).await?;
        quiet(&store).await?;
        accounted(&store, &sent).await?;
        drop(tree);
        Ok(())
    })
}
