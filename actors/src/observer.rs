//! Watches the others: signs of life, the probe commit, figures; publishes health.
//!
//! Invariants: a core actor silent for too long is killed, so that its supervisor restarts it: nothing
//! is alive and dead at once. The observer itself never waits for the store; its questions run beside.
//! A store that failed for good ends the process even if nobody delivers anything: who is not ready is sent nothing.
//! Failure: if the store does not answer, the checks that need it turn false. They are anybody's to
//! read, so the reason, which may name a file of this machine, stands in the log alone.

use crate::breaker::Circuit;
use crate::circuits::Circuits;
use crate::clock_actor::ClockMsg;
use crate::entities::EntitiesMsg;
use crate::env::{Core, EXIT_STORE, Env};
use crate::intake::{Intake, IntakeMsg};
use crate::metrics;
use crate::outbound::OutboundMsg;
use crate::reconcile::ReconcilerMsg;
use crate::sweeper::SweeperMsg;
use bursar_domain::decision::Lane;
use bursar_store::error::{ErrorClass, StoreError};
use bursar_store::query::Stats;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a circuit may be open before operators are told.
const CIRCUIT_ALARM: Duration = Duration::from_secs(60);

/// One named check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whether it passes.
    pub ok: bool,
    /// Why not, in words; empty if it passes.
    pub detail: String,
}

/// What is known about the process's health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Takes work: every check passes.
    pub ready: bool,
    /// Worth keeping alive: the actors show signs of life.
    pub live: bool,
    /// `store`, `committer`, `actors`, `intake`, `disk`, `rebuilding`.
    pub checks: BTreeMap<&'static str, Check>,
    /// The store's figures when last asked.
    pub stats: Stats,
}

/// Messages of the observer.
#[derive(Debug)]
pub(crate) enum ObserverMsg {
    /// A second passed.
    Tick,
    /// The probe commit ended.
    Probed(Result<(), Unanswered>),
    /// The store's figures.
    Figures(Box<Result<Stats, Unanswered>>),
    /// The tree is draining: not ready any more.
    Draining,
}

/// Why the store did not answer a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered {
    /// For the checks.
    told: String,
    /// For the log; empty: nothing more is known.
    because: String,
    /// It will not answer again while this process lives.
    for_good: bool,
}

impl Unanswered {
    fn yet(told: &str) -> Self {
        Self {
            told: told.to_owned(),
            because: String::new(),
            for_good: false,
        }
    }
    fn log_unless_known(&self, before: Option<&Self>) {
        if before != Some(self) {
            let (told, because) = (self.told.as_str(), self.because.as_str());
            tracing::warn!(told, because, "the store does not answer");
        }
    }
}

fn answered<T>(
    answer: Result<Result<T, StoreError>, tokio::time::error::Elapsed>,
    within: Duration,
) -> Result<T, Unanswered> {
    match answer {
        Ok(result) => result.map_err(|error| Unanswered {
            told: "the store failed; the log says why".to_owned(),
            because: error.to_string(),
            for_good: error.class() == ErrorClass::Fatal,
        }),
        Err(_) => Err(Unanswered::yet(&format!(
            "no answer within {} s",
            within.as_secs()
        ))),
    }
}

fn told(error: Option<&Unanswered>) -> &str {
    error.map_or("", |error| error.told.as_str())
}

pub(crate) struct ObserverActor;

pub(crate) struct ObserverArgs {
    pub(crate) env: Arc<Env>,
    pub(crate) intake: Intake,
    pub(crate) health: watch::Sender<Health>,
}

pub(crate) struct ObserverState {
    args: ObserverArgs,
    probe_ok_at: Option<Duration>,
    probe_error: Option<Unanswered>,
    probe_next: Duration,
    probing: bool,
    asking: bool,
    // Ends with the observer, so that nothing holds the store after the tree is gone.
    questions: JoinSet<()>,
    stats: Result<Stats, Unanswered>,
    draining: bool,
    ticked_at: Option<Duration>,
    not_closed: BTreeMap<String, OpenCircuit>,
}

/// A circuit that is not closed.
struct OpenCircuit {
    since: Duration,
    is_told: bool,
}

impl Actor for ObserverActor {
    type Msg = ObserverMsg;
    type State = ObserverState;
    type Arguments = ObserverArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<ObserverMsg>,
        args: ObserverArgs,
    ) -> Result<ObserverState, ActorProcessingErr> {
        args.env.directory.observer.set(myself.clone());
        args.env.alive(Core::Observer);
        drop(myself.cast(ObserverMsg::Tick));
        Ok(ObserverState {
            args,
            probe_ok_at: None,
            probe_error: Some(Unanswered::yet("not probed yet")),
            probe_next: Duration::ZERO,
            probing: false,
            asking: false,
            questions: JoinSet::new(),
            stats: Err(Unanswered::yet("not asked yet")),
            draining: false,
            ticked_at: None,
            not_closed: BTreeMap::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ObserverMsg>,
        message: ObserverMsg,
        state: &mut ObserverState,
    ) -> Result<(), ActorProcessingErr> {
        let now = state.args.env.clock.uptime();
        match message {
            ObserverMsg::Tick => {
                state.beat(now);
                state.ask(&myself, now);
                state.args.env.gate.publish();
                state.look_at_circuits(now);
                myself.send_after(state.args.env.limits.beat_every, || ObserverMsg::Tick);
            }
            ObserverMsg::Probed(Ok(())) => {
                state.probing = false;
                state.probe_ok_at = Some(now);
                state.probe_error = None;
            }
            ObserverMsg::Probed(Err(error)) => {
                state.probing = false;
                error.log_unless_known(state.probe_error.as_ref());
                if error.for_good {
                    let reason = format!("the store failed: {}", error.because);
                    state.args.env.escalate(EXIT_STORE, reason);
                }
                state.probe_error = Some(error);
            }
            ObserverMsg::Figures(stats) => {
                state.asking = false;
                if let Err(error) = stats.as_ref() {
                    error.log_unless_known(state.stats.as_ref().err());
                }
                state.stats = *stats;
                state.publish_figures();
            }
            ObserverMsg::Draining => state.draining = true,
        }
        state.publish(now);
        Ok(())
    }
}

/// How long the observer itself did not come up: a process that gets no processor is silent as a whole, and who
/// says so first has no right to end the others for it.
fn late_by(ticked_at: Option<Duration>, now: Duration, every: Duration) -> Duration {
    let since = now.saturating_sub(ticked_at.unwrap_or(now));
    let late = since.saturating_sub(every);
    if late > every { late } else { Duration::ZERO }
}

impl ObserverState {
    /// Asks everybody for a sign of life, kills who gave none for too long.
    fn beat(&mut self, now: Duration) {
        let env = &self.args.env;
        env.alive(Core::Observer);
        let directory = &env.directory;
        let late = late_by(self.ticked_at.replace(now), now, env.limits.beat_every);
        if !late.is_zero() {
            for (core, at) in env.beats.all() {
                env.beats.mark(core, at.saturating_add(late).min(now));
            }
        }
        let last = env.beats.all();
        for (core, at) in &last {
            let silent = now.saturating_sub(*at);
            let waits_for_answer = silent > env.limits.beat_every.saturating_mul(2);
            if silent > env.limits.silence_max && !self.draining {
                tracing::error!(
                    actor = core.as_str(),
                    silent_s = silent.as_secs(),
                    "no sign of life: restarting"
                );
                // Given the whole period again, so that it is killed once and not every second.
                env.beats.mark(*core, now);
                if let Some(cell) = directory.core(*core) {
                    cell.kill();
                }
            } else if !waits_for_answer {
                // One beat in a mailbox is enough: who owes an answer gets no second one.
                match core {
                    Core::Clock => directory.clock.cast(ClockMsg::Beat),
                    Core::Entities => directory.entities.cast(EntitiesMsg::Beat),
                    Core::Outbound => directory.outbound.cast(OutboundMsg::Beat),
                    Core::Intake => directory.intake.cast(IntakeMsg::Beat),
                    Core::Sweeper => directory.sweeper.cast(SweeperMsg::Beat),
                    Core::Reconciler => directory.reconciler.cast(ReconcilerMsg::Beat),
                    Core::Observer => true,
                };
            }
        }
    }

    /// Tells operators, once, of each circuit that was not closed for a minute.
    fn look_at_circuits(&mut self, now: Duration) {
        let env = &self.args.env;
        let circuits = Circuits::new(Arc::clone(env)).all();
        let closed = circuits
            .iter()
            .filter(|circuit| circuit.state == Circuit::Closed);
        for circuit in closed {
            self.not_closed.remove(&circuit.name);
        }
        for circuit in circuits {
            if circuit.state == Circuit::Closed {
                continue;
            }
            let name = circuit.name;
            let open = self.not_closed.entry(name.clone()).or_insert(OpenCircuit {
                since: now,
                is_told: false,
            });
            if !open.is_told && now.saturating_sub(open.since) >= CIRCUIT_ALARM {
                open.is_told = true;
                let text = format!("the circuit {name} is open for a minute: what is due waits");
                env.announcer
                    .alarm("circuit_open", &name, text, env.clock.now());
            }
        }
    }

    /// Asks the store beside the mailbox; each question at most once at a time.
    fn ask(&mut self, myself: &ActorRef<ObserverMsg>, now: Duration) {
        while self.questions.try_join_next().is_some() {}
        let env = &self.args.env;
        if !self.probing && now >= self.probe_next {
            self.probing = true;
            self.probe_next = now.saturating_add(env.limits.probe_every);
            let (env, me) = (Arc::clone(env), myself.clone());
            self.questions.spawn(async move {
                let within = env.limits.probe_age_max;
                let probed = tokio::time::timeout(within, env.store.probe()).await;
                drop(me.cast(ObserverMsg::Probed(answered(probed, within))));
            });
        }
        if !self.asking {
            self.asking = true;
            let (env, me) = (Arc::clone(env), myself.clone());
            self.questions.spawn(async move {
                let within = env.limits.probe_age_max;
                let stats = tokio::time::timeout(within, env.store.stats()).await;
                if let Ok(Ok(stats)) = &stats {
                    let published = metrics::commands::publish(env.store.as_ref(), stats);
                    // What went wrong the figures' next question tells.
                    drop(tokio::time::timeout(within, published).await);
                }
                let stats = Box::new(answered(stats, within));
                drop(me.cast(ObserverMsg::Figures(stats)));
            });
        }
    }

    fn publish_figures(&self) {
        let env = &self.args.env;
        let gauges = &env.gauges;
        let of = |gauge: &std::sync::atomic::AtomicU64| gauge.load(Ordering::Relaxed);
        metrics::gauge("bursar_actors_live", of(&gauges.live));
        metrics::gauge("bursar_actors_busy", of(&gauges.busy));
        metrics::gauge("bursar_aggregates_cooling", of(&gauges.cooling));
        metrics::gauge("bursar_aggregates_quarantined", of(&gauges.quarantined));
        metrics::total("bursar_entity_failures_total", of(&gauges.entity_failures));
        metrics::total("bursar_systemic_pauses_total", of(&gauges.systemic_pauses));
        metrics::gauge(
            "bursar_intake_in_flight",
            self.args.intake.in_flight() as u64,
        );
        let last = self.args.intake.last_accepted_at();
        let last = last.and_then(|at| u64::try_from(at.seconds()).ok());
        metrics::gauge(
            "bursar_webhook_last_accepted_timestamp_seconds",
            last.unwrap_or(0),
        );
        let (wall, uptime) = (env.clock.now(), env.clock.uptime());
        for (core, at) in env.beats.all() {
            let ago = i64::try_from(uptime.saturating_sub(at).as_millis()).unwrap_or(i64::MAX);
            metrics::heartbeat(core, wall.plus_ms(-ago));
        }
        if let Ok(stats) = &self.stats {
            metrics::gauge("bursar_inbox_pending", stats.pending);
            let oldest = stats.oldest_pending_at.map_or(0, |at| at.seconds());
            let oldest = u64::try_from(oldest).unwrap_or(0);
            metrics::gauge("bursar_inbox_oldest_timestamp_seconds", oldest);
            metrics::gauge("bursar_events_parked", stats.parked);
            metrics::gauge("bursar_dead_letters", stats.dead);
            metrics::gauge("bursar_store_disk_total_bytes", stats.disk_total_bytes);
            metrics::business::publish(stats);
            for lane in Lane::ALL {
                let oldest = stats.outbox_oldest.iter().find(|(of, _)| *of == lane);
                let oldest = oldest.map_or(0, |(_, at)| at.seconds());
                let oldest = u64::try_from(oldest).unwrap_or(0);
                let name = "bursar_outbox_oldest_timestamp_seconds";
                metrics::gauge_with(name, "lane", lane.as_str(), oldest);
                let pending = stats.outbox.iter().find(|(of, _)| *of == lane);
                let pending = pending.map_or(0, |(_, count)| *count);
                metrics::gauge_with("bursar_outbox_pending", "lane", lane.as_str(), pending);
            }
        }
    }

    fn publish(&self, now: Duration) {
        let checks = self.checks(now);
        for (name, check) in &checks {
            metrics::gauge_with("bursar_ready", "check", name, u64::from(check.ok));
        }
        let health = Health {
            ready: checks.values().all(|check| check.ok),
            live: checks.get("actors").is_some_and(|check| check.ok),
            checks,
            stats: self.stats.clone().unwrap_or_default(),
        };
        self.args.health.send_if_modified(|present| {
            let changed = *present != health;
            *present = health;
            changed
        });
    }

    fn checks(&self, now: Duration) -> BTreeMap<&'static str, Check> {
        let env = &self.args.env;
        let check = |ok: bool, detail: &str| Check {
            ok,
            detail: if ok { String::new() } else { detail.to_owned() },
        };
        let fresh = |at: Duration| now.saturating_sub(at) <= env.limits.probe_age_max;
        let silent: Vec<_> = env
            .beats
            .all()
            .into_iter()
            .filter(|(_, at)| now.saturating_sub(*at) > env.limits.silence_max)
            .map(|(core, _)| core.as_str())
            .collect();
        let stats = self.stats.as_ref();
        let intake = self.args.intake.is_open() && !self.draining;
        BTreeMap::from([
            ("store", check(stats.is_ok(), told(stats.err()))),
            (
                "committer",
                check(
                    self.probe_ok_at.is_some_and(fresh),
                    told(self.probe_error.as_ref()),
                ),
            ),
            (
                "actors",
                check(
                    silent.is_empty(),
                    &format!("no sign of life: {}", silent.join(", ")),
                ),
            ),
            ("intake", check(intake, "draining")),
            (
                "disk",
                check(
                    stats.is_ok_and(|stats| !stats.intake_refused),
                    "the disk is nearly full",
                ),
            ),
            (
                "rebuilding",
                check(
                    stats.is_ok_and(|stats| !stats.rebuilding),
                    "projections are being rebuilt from the journal",
                ),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_names_no_file_of_this_machine_and_the_log_does() {
        let error = StoreError::Io {
            operation: "syncing",
            file: Some("/data/journal/1.seg".into()),
            cause: std::io::Error::other("no"),
        };
        let failed = answered::<()>(Ok(Err(error)), Duration::from_secs(1));
        let failed = failed.err();
        assert!(!told(failed.as_ref()).contains('/'), "{failed:?}");
        assert!(failed.is_some_and(|failed| failed.because.contains("/data/journal/1.seg")));
        assert_eq!(answered(Ok(Ok(7)), Duration::ZERO), Ok(7));
    }

    #[test]
    fn a_process_without_a_processor_for_a_minute_ends_none_of_its_actors() {
        let (every, second) = (Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(late_by(None, second * 90, every), Duration::ZERO);
        // What all machines show is no excuse.
        assert_eq!(late_by(Some(second), second * 3, every), Duration::ZERO);
        assert_eq!(late_by(Some(second), second * 61, every), second * 59);
        // Who is silent while the observer is merely slow is found out all the same.
        let (mut silent_since, mut ticks) = (Duration::ZERO, 0);
        for now in (5..).step_by(5).map(|n| second * n) {
            silent_since += late_by(Some(now - second * 5), now, every);
            ticks += 1;
            if now - silent_since > second * 30 {
                break;
            }
        }
        assert_eq!(ticks, 31);
    }
}
