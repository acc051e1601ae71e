//! The audit: folds the stored inputs again and compares with what is live.
//!
//! Every apply is journalled with its inputs, the `now` and the links its reducers saw. This module
//! hands the same values to today's reducers and compares decision by decision, then state by state.
//!
//! The journal under it is walked whole: every byte that is kept, the chain from the first kept record, past the
//! checkpoints, to its head.
//!
//! Invariants: reads only. What cannot be compared is counted, never passed over: decisions of other
//! reducer revisions or settings, inputs whose bodies were erased, and what retention dropped.
//! Memory: the latest snapshot of every aggregate seen, in bytes (about 2 KB each).
//! Failure: a store that cannot be read ends the audit with its error; a difference is a finding.

use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::LedgerAccount;
use bursar_domain::input::Ctx;
use bursar_domain::money::Currency;
use bursar_domain::settings::Settings;
use bursar_domain::{REDUCER_REV, decide};
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use bursar_store::query::{Gone, LedgerQuery, VerifyItem, VerifyStep};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Applies read at a time.
const PAGE: usize = 256;
/// Findings spelled out; the rest is only counted.
const FINDINGS_MAX: usize = 50;

/// What the audit found.
#[derive(Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Commits folded again.
    pub applies: u64,
    /// Inputs in them.
    pub inputs: u64,
    /// Decisions made again and compared.
    pub compared: u64,
    /// Decisions that cannot be made again: of other reducer revisions or settings, or without their input's body
    /// or record because retention dropped it.
    pub not_compared: u64,
    /// Inputs whose bodies were erased.
    pub erased: u64,
    /// Inputs of kept commits whose bodies were dropped by retention.
    pub dropped_bodies: u64,
    /// Commits whose records were dropped by retention.
    pub dropped_commits: u64,
    /// Records of the journal that were walked.
    pub journal_records: u64,
    /// The first of them; 1: nothing was ever dropped.
    pub first_record: u64,
    /// Checkpoints read whole and found in the chain.
    pub checkpoints: u64,
    /// Aggregates whose live state was compared.
    pub aggregates: u64,
    /// Entries of the ledger added up.
    pub ledger_entries: u64,
    /// Differences, of any kind.
    pub mismatches: u64,
    /// The first of them, in words.
    pub findings: Vec<String>,
    /// The order-free digest of the state.
    pub state_digest: String,
    /// The journal's last record and its hash.
    pub chain_head: String,
}

impl Report {
    fn finding(&mut self, text: String) {
        self.mismatches += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(text);
        }
    }
}

/// The fold as we make it again.
#[derive(Default)]
struct Fold {
    states: HashMap<AggregateKey, Folded>,
}

/// One aggregate of it.
struct Folded {
    version: u64,
    /// `None` where an uncompared step hid it.
    snapshot: Option<Vec<u8>>,
    /// Under which version its own row is shown; `None`: not known here.
    shown: Option<Option<u64>>,
}

impl Folded {
    /// Before the first commit we are told of; of what retention dropped before it nothing is known.
    fn before(first: &VerifyItem) -> Self {
        let is_first = first.version == 1;
        Self {
            version: first.version.saturating_sub(1),
            snapshot: is_first.then(Vec::new),
            shown: is_first.then_some(None),
        }
    }
}

/// Runs the audit.
///
/// # Errors
/// The store cannot be read.
pub async fn verify(store: &dyn Store, settings: &Settings) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let mut fold = Fold::default();
    let fingerprint = settings.fingerprint();
    walk_journal(store, &mut report).await?;
    let mut cursor = 0;
    loop {
        let items = store.applied(cursor, PAGE).await?;
        let Some(last) = items.last() else { break };
        cursor = last.position;
        for item in items {
            fold.apply(&item, settings, &fingerprint, &mut report);
        }
    }
    fold.compare_live(store, &mut report).await?;
    add_up_ledger(store, &mut report).await?;
    report.state_digest = store.state_digest().await?;
    let (record, hash) = store.chain_head().await?;
    report.chain_head = format!("{record}:{hash}");
    Ok(report)
}

impl Fold {
    fn apply(
        &mut self,
        item: &VerifyItem,
        settings: &Settings,
        fingerprint: &str,
        report: &mut Report,
    ) {
        report.applies += 1;
        // Commits in between were dropped: it is known again from its next recorded snapshot on.
        let known = self.states.remove(&item.aggregate);
        let known = known.filter(|known| known.version + 1 == item.version);
        let mut folded = known.unwrap_or_else(|| Folded::before(item));
        let comparable = item.reducer_rev == REDUCER_REV && item.settings == fingerprint;
        // What this commit changes is shown to nobody before its end.
        let mut shown = folded.shown;
        for step in &item.steps {
            report.inputs += 1;
            let seen = match shown {
                _ if !bursar_domain::is_conditional(&step.input) => Some(None),
                shown => shown,
            };
            let known = folded.snapshot.take().zip(seen);
            let known = known.filter(|_| comparable && step.gone.is_none());
            folded.snapshot = match known {
                Some((before, seen)) => Some(again(item, step, before, seen, settings, report)),
                None => {
                    match step.gone {
                        Some(Gone::Erased) => report.erased += 1,
                        Some(Gone::Dropped) => {
                            report.dropped_bodies += 1;
                            report.not_compared += 1;
                        }
                        None => report.not_compared += 1,
                    }
                    // The recorded snapshot carries the fold over what cannot be decided again.
                    step.snapshot.clone()
                }
            };
            if step.rewrote_own_row {
                shown = Some(None);
                folded.shown = Some(Some(item.version));
            }
        }
        folded.version = item.version;
        self.states.insert(item.aggregate.clone(), folded);
    }

    async fn compare_live(&self, store: &dyn Store, report: &mut Report) -> Result<(), StoreError> {
        for (aggregate, folded) in &self.states {
            let Some(ours) = &folded.snapshot else {
                continue;
            };
            let version = folded.version;
            let live = store.load(aggregate.clone()).await?;
            let live_version = live.as_ref().map_or(0, |live| live.version);
            // A store that is serving moves on while we read; what is newer than our fold is next time's.
            if live_version > version {
                continue;
            }
            report.aggregates += 1;
            let live_bytes = live.map_or_else(Vec::new, |live| live.bytes);
            if live_version < version || live_bytes != *ours {
                report.finding(format!(
                    "{aggregate}: live version {live_version} differs from the fold at {version}"
                ));
            }
        }
        Ok(())
    }
}

/// Decides one step again; answers the snapshot after it.
fn again(
    item: &VerifyItem,
    step: &VerifyStep,
    before: Vec<u8>,
    shown_version: Option<u64>,
    settings: &Settings,
    report: &mut Report,
) -> Vec<u8> {
    let seen = step.looked_up.iter();
    let links = seen
        .filter_map(|(key, target)| Some((key.clone(), target.clone()?)))
        .collect::<BTreeMap<_, _>>();
    let ctx = Ctx {
        now: step.now,
        settings,
        links: &links,
        shown_version,
    };
    let snapshot = Some(before.as_slice()).filter(|bytes| !bytes.is_empty());
    // A reducer that panicked when the input was live was recorded as dead and is not in the fold;
    // one that panics now is a difference.
    let decided = catch_unwind(AssertUnwindSafe(|| {
        decide(&item.aggregate, snapshot, &step.input, &ctx)
    }));
    report.compared += 1;
    let place = || {
        format!(
            "{} version {} input {}",
            item.aggregate,
            item.version,
            step.input.source.public_id()
        )
    };
    match decided {
        Ok(decision) => {
            let bytes = postcard::to_stdvec(&decision).unwrap_or_default();
            if hex::encode(Sha256::digest(&bytes)) != step.decision_sha256 {
                report.finding(format!("{}: decided differently today", place()));
            }
            decision.snapshot.unwrap_or(before)
        }
        Err(_) => {
            report.finding(format!("{}: the reducer panics today", place()));
            before
        }
    }
}

/// The journal is what it was, as far back as it is kept.
async fn walk_journal(store: &dyn Store, report: &mut Report) -> Result<(), StoreError> {
    let walked = store.audit_journal().await?;
    report.journal_records = walked.records;
    report.first_record = walked.first_record;
    report.checkpoints = walked.checkpoints;
    report.dropped_commits = walked.applies_dropped;
    report.not_compared += walked.applies_dropped;
    for damage in walked.damage {
        report.finding(format!("the journal is damaged: {damage}"));
    }
    Ok(())
}

/// Every movement sums to zero, so the whole ledger does, per currency.
async fn add_up_ledger(store: &dyn Store, report: &mut Report) -> Result<(), StoreError> {
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    let mut by_account: BTreeMap<(LedgerAccount, Currency), i128> = BTreeMap::new();
    let mut query = LedgerQuery {
        limit: 100,
        ..LedgerQuery::default()
    };
    loop {
        let page = store.ledger(query.clone()).await?;
        for line in &page.items {
            report.ledger_entries += 1;
            *sums.entry(line.amount.currency).or_default() += i128::from(line.amount.amount_minor);
            *by_account
                .entry((line.account, line.amount.currency))
                .or_default() += i128::from(line.amount.amount_minor);
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    for (currency, sum) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
        report.finding(format!(
            "the ledger in {currency} is off by {sum} minor units: {by_account:?}"
        ));
    }
    Ok(())
}
