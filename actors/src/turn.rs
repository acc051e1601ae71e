//! One turn of an entity: pull, decide, commit, act.
//!
//! Invariants: the reducer alone runs under `catch_unwind`; its panic makes that input dead and the
//! others go on. Nothing is acted on that is not committed. Whatever fails here leaves the inputs
//! pending, so the turn may simply be taken again.
//!
//! Failure: a lost race is decided again from a fresh load, a few times; a store error ends the turn.
//! # Cancel safety: a kill at any await leaves pending inputs pending or consumes them whole.

use crate::env::{EXIT_STORE, Env};
use crate::fair::Group;
use crate::metrics;
use crate::slots::Turn;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Decision;
use bursar_domain::input::{Ctx, StoredInput};
use bursar_domain::link::{LinkKey, LinkTarget};
#[cfg(feature = "mutants")]
use bursar_domain::mutants;
use bursar_store::api::{Applied, Apply, Step};
use bursar_store::error::{ErrorClass, StoreError};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longest panic text kept as an input's reason, in characters.
const PANIC_TEXT_MAX: usize = 500;

/// An aggregate's state between turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hydrated {
    version: u64,
    bytes: Option<Vec<u8>>,
}

struct Batch {
    steps: Vec<Step>,
    state: Hydrated,
    poisoned: Vec<(u64, String)>,
}

enum Consumed {
    Done,
    Stale,
    Refused(String),
}

/// Takes one turn; store errors are logged here and nowhere else.
pub(crate) async fn take(env: &Env, key: &AggregateKey, cache: &mut Option<Hydrated>) -> Turn {
    match try_take(env, key, cache).await {
        Ok(turn) => turn,
        Err(error) => {
            *cache = None;
            if error.class() == ErrorClass::Fatal {
                env.escalate(EXIT_STORE, format!("the store failed: {error}"));
            } else {
                tracing::warn!(aggregate.id = %key, %error, "the store refused an entity, trying again later");
            }
            Turn::Trouble
        }
    }
}

async fn try_take(
    env: &Env,
    key: &AggregateKey,
    cache: &mut Option<Hydrated>,
) -> Result<Turn, StoreError> {
    let careful = env.boot.is_careful();
    let limit = if careful { 1 } else { env.limits.batch_max };
    for _ in 0..=env.limits.stale_retries_max {
        let inputs = env.store.pending(key.clone(), limit).await?;
        let Some(first) = inputs.first() else {
            return Ok(Turn::Idle);
        };
        let (more, first) = (inputs.len() >= limit, first.seq);
        bursar_domain::step!("KW6");
        if careful && struck_out(env, first).await? {
            return Ok(Turn::More);
        }
        let consumed = consume(env, key, cache, &inputs).await?;
        if careful {
            env.boot.survived(env.store.as_ref(), first).await?;
        }
        match consumed {
            Consumed::Done if more => return Ok(Turn::More),
            Consumed::Done => return Ok(Turn::Idle),
            Consumed::Stale => *cache = None,
            Consumed::Refused(reason) => {
                one_by_one(env, key, cache, &inputs, &reason).await?;
                return Ok(Turn::More);
            }
        }
    }
    // Races end; one that does not is a defect somewhere and must not become a busy loop.
    tracing::warn!(aggregate.id = %key, "an entity keeps losing races, trying again later");
    Ok(Turn::Trouble)
}

/// Whether this input was in hand at so many crashes that it is set aside.
async fn struck_out(env: &Env, seq: u64) -> Result<bool, StoreError> {
    let store = env.store.as_ref();
    let strikes = env.boot.in_hand(store, seq).await?;
    if strikes < env.limits.boot_strikes {
        return Ok(false);
    }
    let reason = format!("the process ended {strikes} times with this input in hand");
    bury(env, seq, reason).await?;
    env.boot.survived(store, seq).await?;
    Ok(true)
}

/// The store refused a batch as invalid, a defect of a reducer: find whose decision it was.
async fn one_by_one(
    env: &Env,
    key: &AggregateKey,
    cache: &mut Option<Hydrated>,
    inputs: &[StoredInput],
    reason: &str,
) -> Result<(), StoreError> {
    if let [only] = inputs {
        return bury(env, only.seq, format!("decision refused: {reason}")).await;
    }
    for input in inputs {
        match consume(env, key, cache, std::slice::from_ref(input)).await? {
            Consumed::Done => {}
            Consumed::Stale => {
                *cache = None;
                return Ok(());
            }
            Consumed::Refused(reason) => {
                bury(env, input.seq, format!("decision refused: {reason}")).await?;
            }
        }
    }
    Ok(())
}

async fn bury(env: &Env, seq: u64, reason: String) -> Result<(), StoreError> {
    let reason: String = reason.chars().take(PANIC_TEXT_MAX).collect();
    tracing::error!(input.seq = seq, reason, "an input is dead");
    metrics::input_dead();
    let at = env.clock.now();
    env.announcer
        .alarm("dead_letter", &format!("input {seq}"), reason.clone(), at);
    env.store.bury(seq, reason, env.clock.now()).await?;
    Ok(())
}

async fn consume(
    env: &Env,
    key: &AggregateKey,
    cache: &mut Option<Hydrated>,
    inputs: &[StoredInput],
) -> Result<Consumed, StoreError> {
    let began = env.clock.uptime();
    let state = match cache.take() {
        Some(state) => state,
        None => load(env, key).await?,
    };
    let expected_version = state.version;
    let batch = decide_all(env, key, state, inputs).await?;
    for (seq, text) in batch.poisoned {
        bury(env, seq, text).await?;
    }
    if batch.steps.is_empty() {
        *cache = Some(batch.state);
        return Ok(Consumed::Done);
    }
    bursar_domain::step!("KW7");
    let seen = metrics::Seen::of(inputs, &batch.steps);
    let ends = metrics::commands::Ends::of(&batch.steps);
    let business = metrics::business::Business::of(inputs, &batch.steps);
    let apply = Apply {
        aggregate: key.clone(),
        expected_version,
        reducer_rev: env.reducer.revision(),
        settings: env.settings_fingerprint.clone(),
        skipped_lanes: env.lanes_to_skip(),
        steps: batch.steps,
    };
    match env.store.apply(apply).await {
        Ok(Applied::Done {
            version,
            woken,
            lanes,
        }) => {
            *cache = Some(Hydrated {
                version,
                bytes: batch.state.bytes,
            });
            seen.count(env.clock.now());
            ends.count();
            business.count(env.clock.now());
            metrics::turn(key.kind(), env.clock.uptime().saturating_sub(began));
            act(env, key, woken, lanes);
            #[cfg(feature = "crashpoints")]
            pass_effects_end(inputs);
            Ok(Consumed::Done)
        }
        Ok(Applied::Stale { .. }) => Ok(Consumed::Stale),
        Err(StoreError::Invalid(reason)) => Ok(Consumed::Refused(reason)),
        Err(error) => Err(error),
    }
}

/// The point after effects' ends were applied.
#[cfg(feature = "crashpoints")]
fn pass_effects_end(inputs: &[StoredInput]) {
    use bursar_domain::input::InputSource;
    let is_end = |input: &StoredInput| matches!(input.source, InputSource::Effect(_));
    if inputs.iter().any(is_end) {
        bursar_domain::step!("KW14");
    }
}

/// Tells those who have something to do now. Messages of a customer's part stay in its group.
fn act(
    env: &Env,
    key: &AggregateKey,
    woken: Vec<AggregateKey>,
    lanes: Vec<bursar_domain::decision::Lane>,
) {
    if !woken.is_empty() {
        env.directory.wake(woken, Some(&Group::of(key)));
    }
    for lane in lanes {
        env.directory.hint_lane(lane);
    }
}

/// What an input would change, decided over the present state and not committed, and whether the
/// aggregate is new. The inner error is the text of a panic.
pub(crate) async fn rehearse(
    env: &Env,
    key: &AggregateKey,
    input: &StoredInput,
) -> Result<Result<(bool, Decision), String>, StoreError> {
    let state = load(env, key).await?;
    let is_new = state.bytes.is_none();
    let mut known = Known::default();
    let decided = decide_one(env, key, state.bytes.as_deref(), input, &mut known).await?;
    Ok(decided.map(|step| (is_new, step.decision)))
}

async fn load(env: &Env, key: &AggregateKey) -> Result<Hydrated, StoreError> {
    Ok(env.store.load(key.clone()).await?.map_or(
        Hydrated {
            version: 0,
            bytes: None,
        },
        |snapshot| Hydrated {
            version: snapshot.version,
            // Empty: its inputs so far changed nothing.
            bytes: (!snapshot.bytes.is_empty()).then_some(snapshot.bytes),
        },
    ))
}

/// What is around the aggregate for this batch: as read, then as earlier steps of it wrote it. The
/// commit's guards (links, version) refuse it if that has changed meanwhile.
#[derive(Default)]
struct Known {
    links: BTreeMap<LinkKey, Option<LinkTarget>>,
    /// `Ctx::shown_version`, once an input asked for it or a step changed the row.
    shown: Option<Option<u64>>,
}

impl Known {
    async fn shown_version(
        &mut self,
        env: &Env,
        key: &AggregateKey,
        input: &StoredInput,
    ) -> Result<Option<u64>, StoreError> {
        if !bursar_domain::is_conditional(input) {
            return Ok(None);
        }
        if let Some(shown) = self.shown {
            return Ok(shown);
        }
        let row = match key.own_row() {
            Some((kind, scope, id)) => env.store.row(kind, scope, id).await?,
            None => None,
        };
        let shown = row.map(|row| row.version);
        self.shown = Some(shown);
        Ok(shown)
    }
}

async fn decide_all(
    env: &Env,
    key: &AggregateKey,
    mut state: Hydrated,
    inputs: &[StoredInput],
) -> Result<Batch, StoreError> {
    let mut steps = Vec::with_capacity(inputs.len());
    let mut poisoned = Vec::new();
    let mut known = Known::default();
    for input in inputs {
        match decide_one(env, key, state.bytes.as_deref(), input, &mut known).await? {
            Ok(step) => {
                if let Some(bytes) = &step.decision.snapshot {
                    state.bytes = Some(bytes.clone());
                }
                for link in &step.decision.links {
                    let target = Some(link.target.clone());
                    known.links.insert(link.key.clone(), target);
                }
                if key.rewrites_own_row(&step.decision.rows) {
                    known.shown = Some(None);
                }
                steps.push(step);
            }
            Err(panic) => poisoned.push((input.seq, panic)),
        }
    }
    Ok(Batch {
        steps,
        state,
        poisoned,
    })
}

/// One decision; the inner error is the text of a panic.
async fn decide_one(
    env: &Env,
    key: &AggregateKey,
    snapshot: Option<&[u8]>,
    input: &StoredInput,
    known: &mut Known,
) -> Result<Result<Step, String>, StoreError> {
    let reducer = env.reducer.as_ref();
    let settings = env.settings.as_ref();
    let read = guarded(|| {
        let prepared = reducer.prepare(key, snapshot, input);
        let wanted = prepared.lookups(settings);
        (prepared, wanted)
    });
    let (prepared, mut wanted) = match read {
        Ok(read) => read,
        Err(panic) => return Ok(Err(panic)),
    };
    wanted.sort();
    wanted.dedup();
    let missing: Vec<_> = wanted
        .iter()
        .filter(|key| !known.links.contains_key(*key))
        .cloned()
        .collect();
    if !missing.is_empty() {
        let found = env.store.links(missing.clone()).await?;
        known.links.extend(missing.into_iter().zip(found));
    }
    let looked_up: Vec<_> = wanted
        .into_iter()
        .map(|key| {
            let target = known.links.get(&key).cloned().flatten();
            (key, target)
        })
        .collect();
    let links = looked_up
        .iter()
        .filter_map(|(key, target)| Some((key.clone(), target.clone()?)))
        .collect();
    let shown_version = known.shown_version(env, key, input).await?;
    let now = env.clock.now();
    let ctx = Ctx {
        now,
        settings,
        links: &links,
        shown_version,
    };
    let decided: Result<Decision, String> = guarded(|| prepared.decide(&ctx));
    // A processor is kept for milliseconds once had; whoever answers Stripe would wait that long.
    std::thread::yield_now();
    let came_to = bursar_domain::mutant!("M10", decided.or_else(mutants::vanish), decided);
    Ok(came_to.map(|decision| Step {
        seq: input.seq,
        now,
        looked_up,
        decision,
    }))
}

/// Runs a pure function; a panic becomes its text.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        format!("reducer panicked: {text}")
    })
}
