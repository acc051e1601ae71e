//! The committer: one thread that owns every write.
//!
//! It blocks on the first commit, takes what else is waiting (no timer: a group is what came while
//! the last one was being synced), checks each against the store plus the open group, appends the
//! winners' records to the journal, syncs, answers deliveries, files the rows, answers the rest.
//!
//! Invariants: nobody is told anything before the group is durable, a duplicate neither; a loser
//! does not spoil its group; what was answered is readable (`Shared::fence`).
//! Not here: what a commit may do (`accept`, `apply`, `orders`), how rows follow from it (`fold`).
//! Failure: the first error of journal, keys or rows poisons the store: the group and everything
//! after it is answered with that error, and the process is expected to end. A panic here likewise.
//! A full disk noticed before anything was written refuses the group and nothing more.

mod group;
#[cfg(feature = "crashpoints")]
mod here;
#[cfg(feature = "mutants")]
mod torn;

pub(super) use self::group::Rooms;
use self::group::{Group, Member};
use super::Doubt;
use super::accept;
use super::apply;
use super::commit::{Answer, Commit, Plan, Queued};
use super::due;
use super::fold::{State, broken, fold};
use super::keeper::{self, Keeper};
use super::orders;
use super::places;
use super::port::{Log, Place, Sealer};
use super::queue::{Rest, Shares, Waited};
use super::recount::Recount;
use super::shared::{Shared, Wants};
use crate::error::{ErrorClass, StoreError};
use crate::keys;
use crate::kv::{Overlay, Tally};
use crate::metrics::observe;
use crate::record::{Entry, encode_into};
use crate::shapes::{Counters, pack};
use crate::sync::Ordering;
use bursar_domain::link::LinkKey;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Rows go to the operating system this often, in a quiet moment: a flush takes milliseconds, and a
/// killed process only has that much more to fold again.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// And this often between commits that never cease.
const FLUSH_AT_LAST: Duration = Duration::from_secs(20);
/// In a burst there are moments without a commit, too; this long without one, it is over.
const QUIET: Duration = Duration::from_millis(50);
/// While rows are put away more slowly than they come, applies rest and it is looked again this often.
const ROWS_WAIT: Duration = Duration::from_millis(2);
/// While commits wait, the walk over the rows takes one part in this many of the time. In tests it goes on with every
/// group.
const WALKS_ONE_IN: u32 = if cfg!(test) { 0 } else { 10 };
/// How often it looks around while a checkpoint waits for the disk.
const WHILE_WRITING: Duration = Duration::from_millis(2);
/// How often a quiet committer looks around (disk space, mark).
const IDLE: Duration = Duration::from_millis(100);

/// What rows say about the journal they were folded from; the last rows of every batch.
pub(crate) struct Folded {
    pub(crate) counters: Counters,
    pub(crate) tally: Tally,
    /// Number of the last record in the rows.
    pub(crate) record: u64,
}

/// The thread's own things.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) log: Box<dyn Log>,
    pub(super) keys: Arc<dyn Sealer>,
    pub(super) folded: Folded,
    /// Links with inputs still parked under them.
    pub(super) unfreed: VecDeque<LinkKey>,
    /// The last record whose rows were flushed.
    pub(super) flushed: u64,
    pub(super) flushed_at: Instant,
    /// The walk over all rows, until it is through.
    pub(super) recount: Option<Recount>,
    pub(super) counted_at: Instant,
    /// How long the last slice took.
    pub(super) counted_for: Duration,
    /// When the last group ended.
    pub(super) worked_at: Instant,
    pub(super) doubt: Option<Doubt>,
    /// Checkpoints and retention.
    pub(super) keeper: Option<Keeper>,
    /// The last group was refused: the next attempt is not made at once.
    pub(super) was_refused: bool,
    pub(super) shares: Shares,
    pub(super) rest: Rest,
    /// Whether only what is in front is taken in this round.
    pub(super) rests: bool,
    /// When the last delivery was taken into a group.
    pub(super) delivered_at: Instant,
    /// For the records of the next group.
    pub(super) rooms: Rooms,
}

/// Tells everybody who waits that nobody will answer.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison(&broken("the committer panicked".to_owned()));
        }
        self.0.closed.store(true, Ordering::Release);
        self.0.queue.abandon();
        self.0.wake_all();
    }
}

impl Committer {
    /// Runs until the last handle is gone or `Close` came.
    pub(super) fn run(mut self) {
        // Dropped last, and by a panic too: nobody may wait for a committer that is gone.
        let _gone = Gone(Arc::clone(&self.shared));
        loop {
            let mut waited = self.shared.queue.wait(self.patience());
            let rest = self.rest(waited);
            self.rests = !rest.is_zero();
            if self.rests {
                if !self.shared.queue.wait_front(rest) {
                    continue;
                }
                waited = Waited::Work;
            }
            if self.round(waited) {
                break;
            }
        }
        self.stop();
    }

    /// One round, after this wait; says whether it was the last.
    fn round(&mut self, waited: Waited) -> bool {
        if waited == Waited::Closed {
            return true;
        }
        self.shared.watch_disk();
        if waited == Waited::Nothing && self.unfreed.is_empty() {
            self.idle();
            self.count_on();
            return false;
        }
        if self.counted_at.elapsed() >= self.counted_for * WALKS_ONE_IN {
            self.count_on();
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.group()));
        self.worked_at = Instant::now();
        outcome.unwrap_or_else(|_| {
            let error = broken("the committer panicked".to_owned());
            self.shared.poison(&error);
            false
        })
    }

    /// How long only what is in front is taken.
    fn rest(&self, waited: Waited) -> Duration {
        if self.shared.kv.is_behind() {
            return ROWS_WAIT;
        }
        match waited {
            Waited::Work => self.rest.left(Instant::now(), self.delivered_at.elapsed()),
            Waited::Nothing | Waited::Closed => Duration::ZERO,
        }
    }

    fn patience(&self) -> Duration {
        if self.was_refused {
            return IDLE;
        }
        if self.keeper.as_ref().is_some_and(Keeper::is_writing)
            && (self.recount.is_none() || self.keeper.as_ref().is_some_and(Keeper::is_behind))
        {
            return WHILE_WRITING;
        }
        let wants_idle = self.log.wants_idle() && self.shared.poisoned().is_none();
        if self.unfreed.is_empty() && self.recount.is_none() && !wants_idle {
            IDLE
        } else {
            Duration::ZERO
        }
    }

    /// Checkpoints and retention; the next slice of the recount; at its end, the comparison.
    fn count_on(&mut self) {
        let began = Instant::now();
        self.count_slice();
        self.counted_for = began.elapsed();
        self.counted_at = Instant::now();
    }

    fn count_slice(&mut self) {
        self.keep_on();
        if self.shared.poisoned().is_some() {
            // What the failed group wrote is in the sums and not in the rows: that is no missing row.
            self.recount = None;
        }
        let Some(recount) = &mut self.recount else {
            return;
        };
        let keeper = &mut self.keeper;
        if keeper.as_ref().is_some_and(Keeper::is_behind) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let sliced = catch_unwind(AssertUnwindSafe(|| {
            recount.slice(shared.kv.as_ref(), &mut |key, value| {
                if let Some(keeper) = keeper.as_mut() {
                    keeper.row(key, value);
                }
            })
        }));
        let through = match sliced {
            Ok(Ok(through)) => through,
            Ok(Err(error)) => return self.disbelieve(&error),
            Err(_) => return self.disbelieve(&broken("a count of the rows panicked".to_owned())),
        };
        if !through {
            return;
        }
        let complete = recount.seen == self.folded.tally;
        self.recount = None;
        if complete {
            tracing::info!(rows = self.folded.tally.total(), "every row was counted");
            if let Some(keeper) = &mut self.keeper {
                keeper.seal(&self.folded);
            }
        } else {
            self.disbelieve(&broken("rows are missing or changed".to_owned()));
        }
    }

    /// Begins a checkpoint when one is due, and lets go what its checkpoints allow.
    fn keep_on(&mut self) {
        if self.shared.poisoned().is_some() {
            return;
        }
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        if let Some(old) = keeper.look() {
            let kv = self.shared.kv.as_ref();
            if let Err(error) = keeper::let_go(kv, self.log.as_mut(), &old) {
                self.shared.poison(&error);
                return;
            }
        }
        let is_full = self.shared.refuses(Wants::Order);
        if is_full && keeper.is_writing() && self.recount.take().is_some() {
            // Room for deliveries comes before a checkpoint.
            keeper.give_up();
        }
        let may_begin =
            self.recount.is_none() && !is_full && self.shared.has_room_for(keeper.newest_bytes());
        if may_begin && keeper.is_due(self.log.as_ref()) && keeper.begin() {
            self.recount = Some(Recount::start());
        }
    }

    /// The rows are folded again at the next opening.
    fn disbelieve(&mut self, error: &StoreError) {
        self.recount = None;
        if let Some(keeper) = &mut self.keeper {
            keeper.give_up();
        }
        if let Some(doubt) = self.doubt.take() {
            doubt();
        }
        self.shared.poison(error);
    }

    /// Nobody waits: the journal prepares room, rows go to the operating system so that a killed
    /// process leaves a short tail.
    fn idle(&mut self) {
        if self.shared.poisoned().is_some() {
            return;
        }
        let mut done = self.log.idle();
        let waited = self.flushed_at.elapsed();
        let is_quiet = self.worked_at.elapsed() >= QUIET;
        let is_time = waited >= FLUSH_AT_LAST
            || (is_quiet && (waited >= FLUSH_EVERY || self.shared.kv.is_full()));
        if self.folded.record != self.flushed && is_time {
            match done.and_then(|()| self.shared.kv.tidy()) {
                Ok(true) => {
                    self.flushed = self.folded.record;
                    self.flushed_at = Instant::now();
                    done = Ok(());
                }
                // A table is being written: the next quiet moment asks again.
                Ok(false) => done = Ok(()),
                Err(error) => done = Err(error),
            }
        }
        if let Err(error) = done {
            self.shared.poison(&error);
        }
    }

    fn stop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        if let Some(keeper) = &mut self.keeper {
            keeper.stop();
        }
        if self.shared.poisoned().is_none() {
            let flushed = self.shared.kv.flush();
            let closed = self.log.close();
            let left = flushed.and(closed).and_then(|()| self.shared.leave());
            if let Err(error) = left {
                tracing::error!(%error, "the store did not close cleanly");
                self.shared.poison(&error);
            }
        }
        self.shared.wake_all();
    }

    /// One group, from the first commit to the last answer. Says whether it was the last one.
    fn group(&mut self) -> bool {
        let began = Instant::now();
        let shared = Arc::clone(&self.shared);
        let was_walking = self.recount.is_some();
        let mut state = State::new(
            Overlay::new(shared.kv.as_ref(), self.folded.tally.clone())
                .with_recount(self.recount.take()),
            self.folded.counters.clone(),
        );
        let mut group = Group::default();
        let freeing = self.unfreed.pop_front();
        if let Some(link) = freeing.clone() {
            let own = Queued {
                commit: Commit::Free(link),
                since: Instant::now(),
                answer: None,
            };
            self.take(&mut state, &mut group, own);
        }
        let closing = self.fill(&mut state, &mut group);
        let waited = state.waited;
        let done = self.shared.poisoned().map_or(Ok(()), Err);
        let done = done.and_then(|()| self.make_durable(state, &mut group));
        self.was_refused = done.is_err();
        if self.was_refused {
            self.put_back(was_walking, freeing);
        } else {
            self.unfreed.extend(group.unfreed.drain(..));
        }
        if let Err(error) = &done
            && error.class() == ErrorClass::Fatal
        {
            self.shared.poison(error);
        }
        for member in group.members {
            let came_to = match &done {
                Ok(()) => member.came_to,
                Err(error) => Err(error.again()),
            };
            observe::commit(member.label, member.since, &came_to);
            if let Some(answer) = member.answer {
                // A caller that went away does not want to know.
                let _ = answer.send(came_to);
            }
        }
        if group.behind > 0 {
            self.rest.after(Instant::now(), group.behind_for, waited);
        }
        if shared.queue.has_behind() {
            self.shares.passed(began.elapsed());
        }
        let Some(last) = closing else { return false };
        self.stop();
        if let Some(answer) = last.answer {
            let _ = answer.send(self.shared.poisoned().map_or(Ok(Answer::Done), Err));
        }
        true
    }

    /// A group was refused: the link it freed waits again, and a walk begins anew, since what it saw holds
    /// writes that did not happen.
    fn put_back(&mut self, was_walking: bool, freeing: Option<LinkKey>) {
        self.unfreed.extend(freeing);
        if !was_walking {
            return;
        }
        match &mut self.keeper {
            Some(keeper) if keeper.is_writing() => {
                self.recount = None;
                keeper.give_up();
            }
            _ => self.recount = Some(Recount::start()),
        }
    }

    /// Takes commits into the open group until somebody outside waits for its end, or it is full.
    /// Answers the commit that closes the store, if it came.
    fn fill(&mut self, state: &mut State<'_>, group: &mut Group) -> Option<Queued> {
        let shared = Arc::clone(&self.shared);
        let queue = &shared.queue;
        while group.has_room() {
            let has_room = group.has_room_behind(self.delivered_at.elapsed());
            let rests = !has_room || self.rests || shared.kv.is_behind();
            let owes = self.shares.is_owed() && !rests;
            let owed = owes.then(|| queue.behind()).flatten();
            let (queued, is_front) = match owed {
                Some(queued) => (queued, false),
                None => match queue.front() {
                    Some(queued) => (queued, true),
                    None if group.has_front || rests => return None,
                    None => (queue.behind()?, false),
                },
            };
            if matches!(queued.commit, Commit::Close) {
                return Some(queued);
            }
            // An erasure is the last record of its group: see `replay::Erase`.
            let ends = matches!(queued.commit, Commit::Erase(..));
            let began = Instant::now();
            if queued.commit.is_delivered() {
                self.delivered_at = began;
            }
            self.take(state, group, queued);
            if ends {
                return None;
            }
            if is_front {
                group.has_front = true;
            } else {
                group.behind += 1;
                let took = began.elapsed();
                group.behind_for += took;
                self.shares.spent(took);
            }
        }
        None
    }

    /// Decides one commit and folds it into the open group.
    fn take(&mut self, state: &mut State<'_>, group: &mut Group, queued: Queued) {
        let label = queued.commit.label();
        let number = self.folded.record + 1 + group.records.len() as u64;
        let came_to = plan(state, queued.commit).and_then(|planned| {
            let entry = bursar_domain::mutant!("M3", torn::put_off(planned.entry), planned.entry);
            let Some(entry) = entry else {
                return Ok(planned.answer);
            };
            let bodies: Vec<&[u8]> = planned.bodies.iter().map(Vec::as_slice).collect();
            let record = encode_into(self.rooms.take(), &entry, &bodies)?;
            group.bytes += record.len();
            group.records.push(record);
            match &entry {
                Entry::Erased { subjects, .. } => group.erased.extend_from_slice(subjects),
                Entry::Applied(apply) => group.unfreed.extend_from_slice(&apply.unfreed),
                Entry::Freed { link, done, .. } if !done => group.unfreed.push(link.clone()),
                _ => {}
            }
            // Half a fold is in the open group: nothing of it may be written.
            fold(state, number, entry).inspect_err(|error| self.shared.poison(error))?;
            Ok(planned.answer)
        });
        if let Err(error) = &came_to
            && error.class() == ErrorClass::Fatal
        {
            self.shared.poison(error);
        }
        group.members.push(Member {
            label,
            since: queued.since,
            answer: queued.answer,
            came_to,
        });
    }

    fn make_durable(&mut self, state: State<'_>, group: &mut Group) -> Result<(), StoreError> {
        let State { kv, counters, .. } = state;
        if group.records.is_empty() {
            (_, _, self.recount) = kv.finish_with_recount();
            return Ok(());
        }
        observe::group(group.records.len());
        bursar_domain::mutant!("M1", self.answer_deliveries(group));
        bursar_domain::mutant!("M15", (), self.keys.sync_new_keys()?);
        let places = observe::sync(|| self.log.append(&group.records))?;
        self.rooms.keep(&mut group.records);
        bursar_domain::mutant!("M15", self.keys.sync_new_keys()?);
        // From here on the journal is ahead of the rows: whatever fails now ends this store.
        let filed = self.file(kv, counters, group, places);
        filed.inspect_err(|error| self.shared.poison(error))
    }

    /// Files the rows of a group that is durable, and answers its deliveries.
    fn file(
        &mut self,
        mut kv: Overlay<'_>,
        counters: Counters,
        group: &mut Group,
        places: Vec<Place>,
    ) -> Result<(), StoreError> {
        places::put(&mut kv, self.folded.record + 1, &places)?;
        if !group.erased.is_empty() {
            let gone = self.keys.erase(&group.erased)?;
            for member in &mut group.members {
                if let Ok(Answer::Count(count)) = &mut member.came_to {
                    *count = gone;
                }
            }
        }
        let group_number = self.shared.synced.fetch_add(1, Ordering::AcqRel) + 1;
        #[cfg(feature = "crashpoints")]
        group.pass_synced();
        self.answer_deliveries(group);
        let (mut batch, tally, recount) = kv.finish_with_recount();
        self.recount = recount;
        self.folded = Folded {
            counters,
            tally,
            record: self.folded.record + places.len() as u64,
        };
        close_batch(&mut batch, &self.folded)?;
        if let (Some(keeper), Some(recount)) = (&mut self.keeper, &self.recount) {
            keeper.changed(&batch, &recount.walked_to);
        }
        let filed = due::filed(&batch);
        self.shared.kv.take_batch(batch)?;
        self.shared.due.filed(filed);
        self.shared.publish(group_number, &self.folded);
        #[cfg(feature = "crashpoints")]
        group.pass_filed();
        bursar_domain::mutant!("M3", torn::write_put_off(self)?);
        Ok(())
    }

    /// Accepts wait for nothing more; their callers' next read waits for the rows.
    fn answer_deliveries(&self, group: &mut Group) {
        for member in &mut group.members {
            if member.label != "accept" {
                continue;
            }
            let Some(answer) = member.answer.take() else {
                continue;
            };
            let came_to = std::mem::replace(&mut member.came_to, Ok(Answer::Done));
            observe::commit(member.label, member.since, &came_to);
            member.label = "answered";
            let _ = answer.send(came_to);
        }
    }
}

/// Adds the rows that say what the batch makes of the store.
pub(super) fn close_batch(batch: &mut crate::kv::Batch, folded: &Folded) -> Result<(), StoreError> {
    let record = folded.record.to_be_bytes().to_vec();
    batch.insert(keys::meta("counters"), Some(pack(&folded.counters)?));
    batch.insert(keys::meta("tally"), Some(pack(&folded.tally)?));
    batch.insert(keys::meta("record"), Some(record));
    Ok(())
}

fn plan(state: &State<'_>, commit: Commit) -> Result<Plan, StoreError> {
    match commit {
        Commit::Accept(arrivals) => accept::plan(state, arrivals),
        Commit::Apply(sealed) => apply::plan(state, *sealed),
        Commit::Settle(settle) => orders::settle(state, *settle),
        Commit::Postpone {
            id,
            attempted,
            due_at,
            error,
        } => orders::postpone(state, id, attempted, due_at, error),
        Commit::Revive(revive) => orders::revive(state, *revive),
        Commit::Fire(timers, now) => orders::fire(state, timers, now),
        Commit::Bury(seq, reason, at) => orders::bury(state, seq, reason, at),
        Commit::Dismiss(seq, reason, at) => orders::dismiss(state, seq, reason, at),
        Commit::Requeue(items, at) => orders::requeue(state, items, at),
        Commit::Administer(write) => orders::administer(state, *write),
        Commit::Erase(subjects, at) => {
            let entry = Entry::Erased { subjects, at };
            Ok(Plan::write(entry, Answer::Count(0)))
        }
        Commit::Free(link) => apply::plan_free(state, link),
        Commit::Probe => Ok(Plan::write(Entry::Probe, Answer::Done)),
        Commit::Close => Ok(Plan::nothing(Answer::Done)),
    }
}
