//! Events that Stripe made and nobody brought.
//!
//! Invariants: every event goes where its delivery would have gone, under the same dedup key, so one
//! that came before is nothing new, and one that comes later is a duplicate. Types no reducer handles
//! are passed over: an endpoint need not hear them, and nothing would follow from them.

use super::places::{Places, Sweep};
use super::reads::{Stop, Turned};
use super::report::{Counts, EVENT, Mode};
use super::run::Run;
use crate::metrics;
use bursar_domain::ids::Scope;
use bursar_domain::listing::event_body;
use bursar_store::api::{Accepted, Fate, Inbound};
use serde_json::value::RawValue;
use std::sync::Arc;

const PATH: &str = "/v1/events?limit=100";
/// A delivery this young may still be on its way, seconds.
pub(super) const ON_ITS_WAY_SECONDS: i64 = 60;

impl Run {
    /// Walks an account's events from new to old.
    pub(super) async fn events(&mut self, scope: &Scope, mode: Mode) -> Result<(), Stop> {
        let store = Arc::clone(&self.env.store);
        let places = Places::of(store.as_ref());
        let mut place = places.place(mode, Sweep::Events, scope).await?;
        let mut walk = self.walk(&mut place, mode, Sweep::Events, scope).await?;
        loop {
            let after = walk.after.as_deref();
            let dated = match self.reads.page(scope, PATH, walk.from, after).await? {
                Turned::Page(dated) => dated,
                Turned::Lost => {
                    walk.after = None;
                    continue;
                }
            };
            if walk.to == 0 {
                walk.to = dated.date;
            }
            self.report(|report| report.saw(walk.from, walk.to));
            for item in &dated.page.items {
                self.event(scope, mode, item, dated.date).await?;
            }
            if !dated.page.has_more {
                return self.walked(place, &walk, mode, Sweep::Events, scope).await;
            }
            walk.after = dated.page.last;
            place.walk = Some(walk.clone());
            places.put(mode, Sweep::Events, scope, &place).await?;
        }
    }

    async fn event(
        &self,
        scope: &Scope,
        mode: Mode,
        raw: &RawValue,
        date: i64,
    ) -> Result<(), Stop> {
        let body = match event_body(scope, raw) {
            Ok(body) => body,
            Err(error) => {
                self.report(|report| report.failed(scope, EVENT, error));
                return Ok(());
            }
        };
        let now = self.env.clock.now();
        let routed = bursar_domain::route(&body, &self.env.settings, now);
        let young = |at: bursar_domain::ids::Timestamp| at.seconds() > date - ON_ITS_WAY_SECONDS;
        if !bursar_domain::route::is_handled(&routed.kind) {
            return Ok(());
        }
        if self.work.by_itself && routed.created_at.is_some_and(young) {
            return Ok(());
        }
        let mut counts = Counts {
            looked_at: 1,
            ..Counts::default()
        };
        let kind = routed.kind.clone();
        if mode == Mode::Check {
            let id = routed.source.public_id();
            let known = self.env.store.input(id, Some(scope.clone())).await?;
            counts.missing = u64::from(known.is_empty());
            self.count(EVENT, counts);
            return Ok(());
        }
        let inbound = Inbound {
            source: routed.source,
            kind: routed.kind,
            fate: match routed.fate {
                bursar_domain::Fate::Pending { to, park } => Fate::Pending { to, park },
                bursar_domain::Fate::Ignored { reason } => Fate::Ignored { reason },
                bursar_domain::Fate::Dead { reason } => Fate::Dead { reason },
            },
            object_ids: routed.objects,
            created_at: routed.created_at,
            received_at: now,
            subject: routed.subject,
            body: body.into(),
            tenant: None,
        };
        match self.take_in(inbound).await? {
            Ok(Accepted::New { .. }) => {
                counts.repaired = 1;
                if mode == Mode::Repair {
                    counts.missing = 1;
                    metrics::missed_event(&kind);
                }
                metrics::reconcile_repair(EVENT);
            }
            Ok(Accepted::Duplicate { .. }) => {}
            Err(error) => self.report(|report| report.failed(scope, EVENT, error)),
        }
        self.count(EVENT, counts);
        Ok(())
    }
}
