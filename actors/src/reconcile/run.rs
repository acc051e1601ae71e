//! One run: which accounts, which sweeps, and its report.
//!
//! Invariants: events come before objects, and what they started is waited for, so that an object is
//! compared with what its events made; the report is kept before it is shown as ended.

use super::places::{Importing, Place, Places, Series, Sweep, Walk};
use super::reads::{Reads, Stop};
use super::report::{Counts, EVENT, Mode, Report, RunStatus};
use super::{Order, ReconcilerArgs};
use crate::env::Env;
use crate::intake::{Intake, Refused};
use crate::metrics;
use bursar_domain::decision::Lane;
use bursar_domain::ids::{AccountId, Scope, Timestamp};
use bursar_domain::listing::Listed;
use bursar_domain::rows::RowKind;
use bursar_store::api::{Accepted, Inbound};
use bursar_store::error::StoreError;
use bursar_store::query::RowQuery;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Rows read at a time.
const PAGE: usize = 100;
/// Tries to get an input taken in before the run gives up: a minute or two.
const BUSY_MAX: u32 = 60;
/// How long what a run took in may take to be applied before it goes on all the same.
const QUIET_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A series of runs that rested longer than this is over, seconds.
const SERIES_SECONDS: i64 = 3_600;

/// What one run is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) mode: Mode,
    pub(super) since: Option<Timestamp>,
    /// Compares objects as well.
    pub(super) objects: bool,
    /// Nobody asked: what is only just under way is left alone, and few pages are read.
    pub(super) by_itself: bool,
}

impl Work {
    pub(super) const fn asked(order: Order) -> Self {
        Self {
            mode: order.mode,
            since: order.since,
            objects: true,
            by_itself: false,
        }
    }
    pub(super) const fn by_itself(objects: bool) -> Self {
        Self {
            mode: Mode::Repair,
            since: None,
            objects,
            by_itself: true,
        }
    }
    /// Whose series of runs it goes on with.
    const fn series(&self) -> &'static str {
        if self.by_itself {
            "by_itself"
        } else {
            self.mode.as_str()
        }
    }
    /// Drift that nobody asked about is told, not repaired.
    pub(super) fn objects_mode(&self) -> Mode {
        if self.by_itself {
            Mode::Check
        } else {
            self.mode
        }
    }
}

pub(super) struct Run {
    pub(super) env: Arc<Env>,
    pub(super) work: Work,
    pub(super) reads: Reads,
    pub(super) run_id: String,
    intake: Intake,
    shown: Arc<watch::Sender<Report>>,
}

/// While it lives, no mail and no notification of what is decided goes out: what an import tells
/// happened long ago.
struct Hushed(Arc<Env>);

impl Hushed {
    fn begin(env: &Arc<Env>) -> Self {
        env.hushed.store(true, Ordering::SeqCst);
        Self(Arc::clone(env))
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        self.0.hushed.store(false, Ordering::SeqCst);
    }
}

impl Run {
    pub(super) fn new(args: ReconcilerArgs, work: Work, number: u64) -> Self {
        let limits = &args.env.limits;
        let pages_left = if work.by_itself {
            limits.reconcile_pages_max
        } else {
            limits.reconcile_pages_asked_max
        };
        let reads = Reads {
            stripe: args.stripe,
            retry: limits.reconcile_retry.clone(),
            pages_left,
        };
        let now = args.env.clock.now();
        let run_id = format!("rec_{}_{number}", now.0);
        args.report
            .send_replace(Report::begun(run_id.clone(), work.mode, now));
        Self {
            env: args.env,
            work,
            reads,
            run_id,
            intake: args.intake,
            shown: args.report,
        }
    }

    pub(super) fn report(&self, change: impl FnOnce(&mut Report)) {
        self.shown.send_modify(change);
    }

    pub(super) fn count(&self, object: &str, counts: Counts) {
        self.report(|report| report.count(object, counts));
    }

    /// Does the work, keeps the report, shows it as ended.
    pub(super) async fn finish(mut self) {
        let ended = match self.work.mode {
            Mode::Check | Mode::Repair => self.compare().await,
            Mode::Import => self.import().await,
        };
        let mut report = self.shown.borrow().clone();
        report.finished_at = Some(self.env.clock.now().rfc3339());
        report.status = match ended {
            Ok(()) => RunStatus::Done,
            Err(Stop::Bound) => {
                report.has_more = true;
                RunStatus::Done
            }
            Err(Stop::Account(error) | Stop::Stripe(error)) => {
                report.stripe_failed = true;
                report.failed(&Scope::PLATFORM, "stripe", error);
                RunStatus::Failed
            }
            Err(Stop::Store(error)) => {
                report.failed(&Scope::PLATFORM, "store", error);
                RunStatus::Failed
            }
        };
        if report.status == RunStatus::Done && report.sum.failed == 0 {
            metrics::reconcile_succeeded(self.env.clock.now());
        } else if report.sum.failed > 0 {
            metrics::reconcile_failed();
        }
        self.say(&report);
        if let Err(error) = Places::of(self.env.store.as_ref())
            .keep_report(&report)
            .await
        {
            tracing::warn!(%error, "the report of a reconciliation could not be kept");
        }
        self.shown.send_replace(report);
    }

    fn say(&self, report: &Report) {
        let sum = report.sum;
        let (missing, drifted, repaired) = (sum.missing, sum.drifted, sum.repaired);
        let mode = report.mode.as_str();
        if drifted > repaired && report.mode != Mode::Import {
            let text = format!("{drifted} objects differ from Stripe, {repaired} repaired");
            let at = self.env.clock.now();
            self.env.announcer.alarm("reconcile_drift", "", text, at);
        }
        if sum.failed > 0 {
            let error = report.errors.first().map(|trouble| trouble.error.as_str());
            tracing::warn!(
                mode,
                missing,
                drifted,
                repaired,
                failed = sum.failed,
                error,
                "a reconciliation could not look at everything; the next one goes on"
            );
        } else if missing + drifted > 0 && report.mode != Mode::Import {
            tracing::warn!(
                mode,
                missing,
                drifted,
                repaired,
                "Stripe knows what this store did not: see the report of the reconciliation"
            );
        } else {
            tracing::info!(
                mode,
                looked_at = sum.looked_at,
                repaired,
                "reconciled with Stripe"
            );
        }
    }

    async fn compare(&mut self) -> Result<(), Stop> {
        let store = Arc::clone(&self.env.store);
        let places = Places::of(store.as_ref());
        let since = self.work.since.map(Timestamp::seconds);
        let now = self.env.clock.now().seconds();
        let unended = places.series(self.work.series()).await?;
        let goes_on = |series: &Series| series.since == since && now - series.at < SERIES_SECONDS;
        let mut series = unended.filter(goes_on).unwrap_or_default();
        let ended = self.sweep(&mut series).await;
        series.since = since;
        series.at = now;
        let next = matches!(ended, Err(Stop::Bound)).then_some(&series);
        places.set_series(self.work.series(), next).await?;
        ended
    }

    async fn sweep(&mut self, series: &mut Series) -> Result<(), Stop> {
        let accounts = self.accounts().await?;
        let mut reached = Vec::new();
        for scope in accounts {
            let name = format!("events:{}", scope.as_str());
            if series.done.contains(&name) {
                reached.push(scope);
                continue;
            }
            match self.events(&scope, self.work.mode).await {
                Ok(()) => {
                    series.done.insert(name);
                    reached.push(scope);
                }
                Err(Stop::Account(error)) => {
                    self.report(|report| report.failed(&scope, EVENT, error));
                }
                Err(stop) => return Err(stop),
            }
        }
        self.quiet().await?;
        if !self.work.objects {
            return Ok(());
        }
        for scope in reached {
            let name = format!("objects:{}", scope.as_str());
            if series.done.contains(&name) {
                continue;
            }
            match self.objects(&scope, self.work.objects_mode()).await {
                Ok(()) => {
                    series.done.insert(name);
                }
                Err(Stop::Account(error)) => {
                    self.report(|report| report.failed(&scope, "account", error));
                }
                Err(stop) => return Err(stop),
            }
        }
        self.quiet().await?;
        self.show_drift();
        Ok(())
    }

    /// Everything there is, objects first; then the last 30 days of events, which know what no object
    /// tells: when something failed, and when it ended well.
    async fn import(&mut self) -> Result<(), Stop> {
        let store = Arc::clone(&self.env.store);
        let places = Places::of(store.as_ref());
        let importing = match places.importing().await? {
            Some(importing) => importing,
            None => {
                let importing = Importing {
                    run_id: self.run_id.clone(),
                };
                places.set_importing(Some(&importing)).await?;
                importing
            }
        };
        // Repairs of one import have one name, however often it is begun.
        self.run_id = importing.run_id;
        let hushed = Hushed::begin(&self.env);
        let mut accounts = vec![Scope::PLATFORM];
        accounts.extend(self.connected().await?);
        for scope in &accounts {
            for sweep in [Sweep::Objects, Sweep::Events] {
                let place = places.place(Mode::Import, sweep, scope).await?;
                if place.synced_to.is_some() {
                    continue;
                }
                let ended = match sweep {
                    Sweep::Objects => self.objects(scope, Mode::Import).await,
                    Sweep::Events => self.events(scope, Mode::Import).await,
                };
                match ended {
                    Err(Stop::Account(error)) => {
                        self.report(|report| report.failed(scope, "account", error));
                    }
                    ended => ended?,
                }
            }
        }
        self.quiet().await?;
        drop(hushed);
        for scope in &accounts {
            for sweep in [Sweep::Objects, Sweep::Events] {
                let imported = places.place(Mode::Import, sweep, scope).await?;
                let place = Place {
                    walk: None,
                    ..imported
                };
                places.put(Mode::Repair, sweep, scope, &place).await?;
            }
        }
        places.set_importing(None).await?;
        Ok(())
    }

    /// The platform, and every connected account this store knows and may ask.
    async fn accounts(&self) -> Result<Vec<Scope>, StoreError> {
        let mut accounts = vec![Scope::PLATFORM];
        let mut query = RowQuery {
            kind: RowKind::Merchant,
            tenant: None,
            status: None,
            created_after: None,
            created_before: None,
            hidden: true,
            after: None,
            limit: PAGE,
        };
        loop {
            let page = self.env.store.rows(query.clone()).await?;
            let here = page.items.iter().filter(|row| row.status != "deauthorized");
            let ids = here.filter_map(|row| AccountId::parse(&row.id).ok());
            accounts.extend(ids.map(|id| Scope(Some(id))));
            query.after = page.next;
            if query.after.is_none() {
                return Ok(accounts);
            }
        }
    }

    /// Every connected account Stripe names.
    async fn connected(&mut self) -> Result<Vec<Scope>, Stop> {
        let mut accounts = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let path = Listed::Account.path();
            let turned = self
                .reads
                .page(&Scope::PLATFORM, path, None, after.as_deref());
            let super::reads::Turned::Page(dated) = turned.await? else {
                return Ok(accounts);
            };
            for item in &dated.page.items {
                #[derive(serde::Deserialize)]
                struct Named {
                    id: String,
                }
                let named: Result<Named, _> = serde_json::from_str(item.get());
                let id = named
                    .ok()
                    .and_then(|named| AccountId::parse(&named.id).ok());
                accounts.extend(id.map(|id| Scope(Some(id))));
            }
            if !dated.page.has_more {
                return Ok(accounts);
            }
            after = dated.page.last;
        }
    }

    /// The walk to take: the one that was not ended, else a new one.
    pub(super) async fn walk(
        &self,
        place: &mut Place,
        mode: Mode,
        sweep: Sweep,
        scope: &Scope,
    ) -> Result<Walk, Stop> {
        let limits = &self.env.limits;
        let seconds = |period: Duration| i64::try_from(period.as_secs()).unwrap_or(i64::MAX);
        let since = self.work.since.map(Timestamp::seconds);
        let unended = place.walk.take();
        if let Some(walk) = unended.filter(|walk| since.is_none() || walk.from == since) {
            return Ok(walk);
        }
        let places = Places::of(self.env.store.as_ref());
        let synced = places.place(Mode::Repair, sweep, scope).await?.synced_to;
        let long_ago = self.env.clock.now().seconds() - seconds(limits.reconcile_window);
        let from = match (mode, sweep) {
            (Mode::Import, Sweep::Objects) => None,
            (Mode::Import, Sweep::Events) => Some(since.unwrap_or(long_ago)),
            _ => Some(since.unwrap_or_else(|| {
                synced.map_or(long_ago, |at| at - seconds(limits.reconcile_overlap))
            })),
        };
        Ok(Walk {
            from,
            to: 0,
            list: 0,
            after: None,
        })
    }

    /// The walk came to its end: everything until then was looked at, unless it began too late.
    pub(super) async fn walked(
        &self,
        mut place: Place,
        walk: &Walk,
        mode: Mode,
        sweep: Sweep,
        scope: &Scope,
    ) -> Result<(), Stop> {
        let places = Places::of(self.env.store.as_ref());
        place.walk = None;
        let joins = |synced: i64| walk.from.is_none_or(|from| from <= synced);
        // Of a check only its time counts: it begins where the last repair ended.
        if mode == Mode::Check || place.synced_to.is_none_or(joins) {
            place.synced_to = place.synced_to.max(Some(walk.to));
        }
        Ok(places.put(mode, sweep, scope, &place).await?)
    }

    /// Hands an input to the intake; a busy one is waited out.
    pub(super) async fn take_in(&self, inbound: Inbound) -> Result<Result<Accepted, String>, Stop> {
        for _ in 0..BUSY_MAX {
            let wait = match self.intake.submit(inbound.clone()).await {
                Ok(accepted) => return Ok(Ok(accepted)),
                Err(refused @ Refused::TooLarge) => return Ok(Err(refused.to_string())),
                Err(Refused::Busy { retry_after } | Refused::StoreDown { retry_after }) => {
                    retry_after
                }
            };
            tokio::time::sleep(wait).await;
        }
        Err(Stop::Store("the intake stays busy".to_owned()))
    }

    /// Waits until what is in the inboxes is applied and what that asks of Stripe is answered.
    async fn quiet(&self) -> Result<(), Stop> {
        let began = self.env.clock.uptime();
        while self.env.clock.uptime().saturating_sub(began) < QUIET_MAX {
            let store = &self.env.store;
            let now = self.env.clock.now();
            if store.stats().await?.pending == 0
                && store
                    .due_effects(Lane::StripeRead, now, 1)
                    .await?
                    .is_empty()
                && store.stats().await?.pending == 0
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tracing::info!("a reconciliation goes on though not everything is applied");
        Ok(())
    }

    fn show_drift(&self) {
        let report = self.shown.borrow();
        for kind in Listed::ALL {
            let counts = report.by_object.get(kind.as_str()).copied();
            let counts = counts.unwrap_or_default();
            let left = counts.drifted.saturating_sub(counts.repaired);
            metrics::reconcile_drift(kind, left);
        }
    }
}
