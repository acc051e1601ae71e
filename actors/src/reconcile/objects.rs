//! Objects whose state here is not Stripe's.
//!
//! Each listed object is shown to the reducers as the answer to a re-read and decided about without a
//! commit. What that would change in what is shown is drift; a repair hands the same answer in.
//!
//! Invariants: an object that waits for its owner, as its events do, is no drift; one whose inbox is
//! not empty is judged after it is; a repair's id holds what it says, so it is applied once.
//! Not here: fields no list tells (see `run::import`).

use super::events::ON_ITS_WAY_SECONDS;
use super::places::{Places, Sweep, Walk};
use super::reads::{Stop, Turned};
use super::report::{Counts, Mode};
use super::run::Run;
use crate::metrics;
use crate::turn;
use bursar_domain::decision::{Change, Decision, EffectId};
use bursar_domain::ids::{Scope, Timestamp};
use bursar_domain::input::{InputSource, StoredInput};
use bursar_domain::listing::{Found, Listed, read_found};
use bursar_domain::rows::{RowKind, RowWrite};
use bursar_store::api::{Accepted, Fate, Inbound};
use bursar_store::error::StoreError;
use bursar_store::query::InputView;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The kind of an input that a reconciliation made.
const KIND: &str = "reconcile";
/// Looks at an inbox that is not empty before its object is left to the next run.
const LOOKS_MAX: u32 = 80;
/// Inputs that name an object and are looked through for one of its own.
const NAMED_MAX: usize = 50;
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// One list to read.
struct List {
    kind: Listed,
    /// A further filter.
    filter: &'static str,
    /// Only what was made since the window began.
    is_recent: bool,
}

/// The lists of an account, in the order of a walk. Never reorder: a walk remembers its place.
fn lists(mode: Mode, scope: &Scope) -> Vec<List> {
    let mut lists = Vec::new();
    for kind in Listed::ALL {
        if kind == Listed::Account && scope.0.is_some() {
            continue;
        }
        let everything = mode == Mode::Import || kind.lives_long();
        lists.push(List {
            kind,
            filter: "",
            is_recent: !everything,
        });
        if kind == Listed::Invoice && !everything {
            // However old: these can still be paid.
            for filter in ["&status=open", "&status=draft", "&status=uncollectible"] {
                lists.push(List {
                    kind,
                    filter,
                    is_recent: false,
                });
            }
        }
    }
    lists
}

impl Run {
    /// Walks an account's objects, list by list, each from new to old.
    pub(super) async fn objects(&mut self, scope: &Scope, mode: Mode) -> Result<(), Stop> {
        let store = Arc::clone(&self.env.store);
        let places = Places::of(store.as_ref());
        let mut place = places.place(mode, Sweep::Objects, scope).await?;
        let mut walk = self.walk(&mut place, mode, Sweep::Objects, scope).await?;
        let lists = lists(mode, scope);
        while let Some(list) = lists.get(walk.list) {
            let path = format!("{}{}", list.kind.path(), list.filter);
            let from = walk.from.filter(|_| list.is_recent);
            let after = walk.after.as_deref();
            let dated = match self.reads.page(scope, &path, from, after).await? {
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
                self.object(scope, mode, list, &walk, item, dated.date)
                    .await?;
            }
            if dated.page.has_more {
                walk.after = dated.page.last;
            } else {
                walk.list += 1;
                walk.after = None;
            }
            place.walk = Some(walk.clone());
            places.put(mode, Sweep::Objects, scope, &place).await?;
        }
        self.walked(place, &walk, mode, Sweep::Objects, scope).await
    }

    async fn object(
        &self,
        scope: &Scope,
        mode: Mode,
        list: &List,
        walk: &Walk,
        raw: &RawValue,
        date: i64,
    ) -> Result<(), Stop> {
        let object = list.kind.as_str();
        let found = match read_found(list.kind, scope, raw, date, &self.env.settings) {
            Ok(found) => found,
            Err(error) => {
                self.report(|report| report.failed(scope, object, error));
                return Ok(());
            }
        };
        let created = found.created.unwrap_or(0);
        let was_seen = !list.filter.is_empty() && walk.from.is_some_and(|from| created >= from);
        if found.is_untold || was_seen {
            return Ok(());
        }
        let mut counts = Counts {
            looked_at: 1,
            ..Counts::default()
        };
        let young = created > date - ON_ITS_WAY_SECONDS;
        if mode == Mode::Import {
            counts.repaired = self.repair(scope, object, found, mode, raw).await?;
        } else if !young {
            match self.differences(&found).await {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => {
                    counts.drifted = 1;
                    let id = found.id.clone();
                    self.report(|report| report.drifted(scope, object, &id, changes));
                    if mode == Mode::Repair {
                        counts.repaired = self.repair(scope, object, found, mode, raw).await?;
                    }
                }
                // Sealed under a key that was erased: nothing of it is compared any more.
                Err(StoreError::Invalid(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.count(object, counts);
        Ok(())
    }

    /// What Stripe's word would change in what is shown.
    async fn differences(&self, found: &Found) -> Result<Vec<Change>, StoreError> {
        let env = self.env.as_ref();
        if !found.park.is_empty() {
            let links = env.store.links(found.park.clone()).await?;
            if links.iter().all(Option::is_none) {
                // Waits for its owner, as what told of it does, if anything did.
                let told = env.store.explain(found.id.clone(), None, NAMED_MAX).await?;
                let of_it = |input: &InputView| input.to.as_ref() == Some(&found.to);
                let is_known = told.truncated || told.inputs.iter().any(of_it);
                return Ok(if is_known {
                    Vec::new()
                } else {
                    vec![unknown()]
                });
            }
        }
        for _ in 0..LOOKS_MAX {
            if env.store.pending(found.to.clone(), 1).await?.is_empty() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let now = env.clock.now();
        let input = StoredInput {
            seq: 0,
            source: InputSource::Effect(EffectId(self.run_id.clone())),
            kind: KIND.to_owned(),
            received_at: now,
            body: body_of(found),
        };
        let rehearsed = turn::rehearse(env, &found.to, &input).await?;
        Ok(match rehearsed {
            Ok((is_new, decision)) => shown(is_new, &decision),
            Err(panic) => {
                tracing::error!(
                    object.id = found.id,
                    panic,
                    "a comparison with Stripe failed"
                );
                Vec::new()
            }
        })
    }

    /// Hands the answer in; answers how many inputs that made.
    async fn repair(
        &self,
        scope: &Scope,
        object: &str,
        found: Found,
        mode: Mode,
        raw: &RawValue,
    ) -> Result<u64, Stop> {
        let body = body_of(&found);
        let inbound = Inbound {
            source: InputSource::Effect(self.effect_id(scope, &found.id, raw, mode)),
            kind: KIND.to_owned(),
            fate: Fate::Pending {
                to: found.to,
                park: found.park,
            },
            object_ids: found.objects,
            created_at: Some(Timestamp::from_seconds(found.answer.date)),
            received_at: self.env.clock.now(),
            subject: found.subject,
            body: body.into(),
            tenant: None,
        };
        match self.take_in(inbound).await? {
            Ok(Accepted::New { .. }) => {
                metrics::reconcile_repair(object);
                Ok(1)
            }
            Ok(Accepted::Duplicate { .. }) => Ok(0),
            Err(error) => {
                self.report(|report| report.failed(scope, object, error));
                Ok(0)
            }
        }
    }

    /// One name per object and what is said of it. A later run may have to say the same again.
    fn effect_id(&self, scope: &Scope, id: &str, raw: &RawValue, mode: Mode) -> EffectId {
        let mut digest = Sha256::new();
        let parts = [mode.as_str(), &self.run_id, scope.as_str(), id, raw.get()];
        for part in parts {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        let digest: String = digest.finalize()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        EffectId(format!("rec_{digest}"))
    }
}

fn body_of(found: &Found) -> Vec<u8> {
    serde_json::to_vec(&found.answer).expect("an answer is plain values and JSON as it came")
}

fn change(field: &str, to: String) -> Change {
    Change {
        field: field.to_owned(),
        from: "null".to_owned(),
        to,
    }
}

fn unknown() -> Change {
    change("unknown", "null".to_owned())
}

/// What a decision would change for those who look. Links of an invoice to its pages are new in every
/// answer and say nothing.
fn shown(is_new: bool, decision: &Decision) -> Vec<Change> {
    let puts = decision.rows.iter().filter_map(|write| match write {
        RowWrite::Put(row) => Some(row),
        RowWrite::Delete { .. } | RowWrite::Alias { .. } => None,
    });
    let rows: Vec<_> = puts.collect();
    if is_new {
        return if rows.is_empty() {
            Vec::new()
        } else {
            vec![unknown()]
        };
    }
    let told = decision.timeline.iter().flat_map(|line| &line.changed);
    let mut changes: Vec<Change> = told.cloned().collect();
    if changes.is_empty() && rows.iter().any(|row| row.kind != RowKind::Invoice) {
        changes.push(change("personal", "null".to_owned()));
    }
    for movement in &decision.movements {
        let source = serde_json::Value::from(movement.source.as_str()).to_string();
        changes.push(change("ledger", source));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::decision::Disposition;

    #[test]
    fn an_import_reads_everything_and_a_comparison_what_can_have_changed() {
        let words = |mode, scope: &Scope| -> Vec<String> {
            let lists = lists(mode, scope);
            let word = |l: &List| format!("{}{} {}", l.kind.as_str(), l.filter, l.is_recent);
            lists.iter().map(word).collect()
        };
        let account = Scope(Some(
            bursar_domain::ids::AccountId::parse("acct_1").unwrap(),
        ));
        let import = words(Mode::Import, &Scope::PLATFORM);
        assert_eq!(import.len(), Listed::ALL.len());
        assert!(
            import.iter().all(|word| word.ends_with("false")),
            "{import:?}"
        );
        let repair = words(Mode::Repair, &Scope::PLATFORM);
        assert!(repair.contains(&"subscription false".to_owned()));
        assert!(repair.contains(&"invoice&status=open false".to_owned()));
        assert!(repair.contains(&"charge true".to_owned()));
        assert!(
            !words(Mode::Repair, &account)
                .iter()
                .any(|word| word.starts_with("account"))
        );
    }

    #[test]
    fn what_nobody_sees_is_no_drift() {
        let mut decision = Decision::nothing(Disposition::Applied, "");
        decision.snapshot = Some(b"{}".to_vec());
        assert!(shown(false, &decision).is_empty());
        assert!(shown(true, &decision).is_empty());
    }
}
