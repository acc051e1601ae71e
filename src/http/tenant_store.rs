//! The store, as handlers see it: reads of tenants' data take a reach, and show what it covers.
//!
//! Invariants: no read here shows a row, a line or an input outside the reach it was given; something foreign costs
//! the same reads as something absent. What is no tenant's data (small records, commits, figures) needs no reach.
//! Not here: who may ask at all (`router`), where a reach comes from (`auth::reach`).
//! Failure: the store's errors, as they are.

use crate::http::auth::Reach;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::ids::{Scope, Timestamp};
use bursar_domain::link::LinkKey;
use bursar_domain::rows::{RowKind, Subject};
use bursar_store::api::{Administer, Store};
use bursar_store::error::StoreError;
use bursar_store::progress::Watch;
use bursar_store::query::{
    Explained, InputView, LedgerLine, LedgerQuery, Page, RowQuery, RowView, Stats, TimelineLine,
    TimelineOf, TimelineQuery,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The same as `whole`, for functions that take the store itself (`identity`).
impl AsRef<dyn Store> for TenantStore {
    fn as_ref(&self) -> &(dyn Store + 'static) {
        self.whole.as_ref()
    }
}

/// The store behind the edge.
pub struct TenantStore {
    whole: Arc<dyn Store>,
    /// Reads by handlers so far: what a test compares the work of two requests by.
    reads: AtomicU64,
}

const fn nothing<T>() -> Page<T> {
    Page {
        items: Vec::new(),
        next: None,
    }
}

impl TenantStore {
    /// Over this store.
    pub const fn new(whole: Arc<dyn Store>) -> Self {
        Self {
            whole,
            reads: AtomicU64::new(0),
        }
    }
    /// All of it: for what is done in no caller's name (deliveries, performers), or in the operator's.
    pub const fn whole(&self) -> &Arc<dyn Store> {
        &self.whole
    }
    /// How many reads handlers asked for.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
    fn read(&self) -> &Arc<dyn Store> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        &self.whole
    }

    /// One row, aliases followed. `None`: absent or foreign. # Errors: the store's.
    pub async fn row(
        &self,
        reach: &Reach,
        kind: RowKind,
        scope: Scope,
        id: String,
    ) -> Result<Option<RowView>, StoreError> {
        let row = self.read().row(kind, scope, id).await?;
        Ok(row.filter(|row| reach.covers(row.tenant.as_ref())))
    }
    /// The rows with this id in any account. # Errors: the store's.
    pub async fn rows_by_id(
        &self,
        reach: &Reach,
        kind: RowKind,
        id: String,
    ) -> Result<Vec<RowView>, StoreError> {
        let mut rows = self.read().rows_by_id(kind, id).await?;
        rows.retain(|row| reach.covers(row.tenant.as_ref()));
        Ok(rows)
    }
    /// A page of a list: of the tenant the query names if that is covered, else of all that is.
    /// # Errors: the store's.
    pub async fn rows(&self, reach: &Reach, query: RowQuery) -> Result<Page<RowView>, StoreError> {
        let is_foreign = query
            .tenant
            .as_ref()
            .is_some_and(|named| !reach.covers(Some(named)));
        let tenant = query.tenant.clone().or_else(|| reach.tenant().cloned());
        if is_foreign || (tenant.is_none() && !reach.is_everything()) {
            return Ok(nothing());
        }
        self.read().rows(RowQuery { tenant, ..query }).await
    }
    /// A page of a timeline. # Errors: the store's.
    pub async fn timeline(
        &self,
        reach: &Reach,
        query: TimelineQuery,
    ) -> Result<Page<TimelineLine>, StoreError> {
        let is_covered = match &query.of {
            TimelineOf::Tenant(tenant) => reach.covers(Some(tenant)),
            TimelineOf::Payment(key) => self.is_covered(reach, key).await?,
            TimelineOf::Installation => reach.is_everything(),
        };
        if !is_covered {
            return Ok(nothing());
        }
        self.read().timeline(query).await
    }
    /// A page of the ledger: a payment's that is covered, else of the tenant that is.
    /// # Errors: the store's.
    pub async fn ledger(
        &self,
        reach: &Reach,
        query: LedgerQuery,
    ) -> Result<Page<LedgerLine>, StoreError> {
        let tenant = match &query.payment {
            Some(key) if !self.is_covered(reach, key).await? => return Ok(nothing()),
            Some(_) => query.tenant.clone(),
            None => reach.tenant().cloned(),
        };
        if query.payment.is_none() && tenant.is_none() && !reach.is_everything() {
            return Ok(nothing());
        }
        self.read().ledger(LedgerQuery { tenant, ..query }).await
    }
    async fn is_covered(&self, reach: &Reach, payment: &LinkKey) -> Result<bool, StoreError> {
        let LinkKey::Payment(scope, id) = payment else {
            return Ok(reach.is_everything());
        };
        if reach.is_everything() {
            return Ok(true);
        }
        let row = self.row(reach, RowKind::Payment, scope.clone(), id.to_string());
        Ok(row.await?.is_some())
    }
    /// What names this id: of one tenant's eyes, what is known to be that tenant's and nothing else.
    /// # Errors: the store's.
    pub async fn explain(
        &self,
        reach: &Reach,
        id: String,
        limit: usize,
    ) -> Result<Explained, StoreError> {
        if reach.tenant().is_none() && !reach.is_everything() {
            return Ok(Explained::default());
        }
        self.read()
            .explain(id, reach.tenant().cloned(), limit)
            .await
    }

    /// An order just taken in: the number is the store's own word, never a request's. # Errors: the store's.
    pub async fn input_by_seq(&self, seq: u64) -> Result<Option<InputView>, StoreError> {
        self.whole.input_by_seq(seq).await
    }
    /// A guarded commit of small records, effects and audit lines. # Errors: the store's.
    pub async fn administer(&self, write: Administer) -> Result<bool, StoreError> {
        self.whole.administer(write).await
    }
    /// A small record. # Errors: the store's.
    pub async fn kept(
        &self,
        space: &'static str,
        key: String,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read().kept(space, key).await
    }
    /// Small records of a space, by key, after `cursor`. # Errors: the store's.
    pub async fn kept_all(
        &self,
        space: &'static str,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.read().kept_all(space, cursor, limit).await
    }
    /// Forgets the keys of these subjects. # Errors: the store's.
    pub async fn erase(&self, subjects: Vec<Subject>, at: Timestamp) -> Result<u64, StoreError> {
        self.whole.erase(subjects, at).await
    }
    /// Those of these subjects an input still waits under. # Errors: the store's.
    pub async fn awaited(&self, subjects: Vec<Subject>) -> Result<Vec<Subject>, StoreError> {
        self.whole.awaited(subjects).await
    }
    /// Aggregates whose snapshot is sealed under this subject's key. # Errors: the store's.
    pub async fn holders(
        &self,
        subject: Subject,
        limit: usize,
    ) -> Result<Vec<AggregateKey>, StoreError> {
        self.whole.holders(subject, limit).await
    }
    /// Figures. # Errors: the store's.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        self.whole.stats().await
    }
    /// Rises with every commit.
    pub fn commits(&self) -> Watch {
        self.whole.commits()
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// Who may ask the store itself, and why.
    const WHOLE: &[(&str, usize)] = &[
        ("auth/authenticate.rs", 1), // memberships
        ("commands/mod.rs", 1),      // its own order's end, by an id it drew
        ("erase.rs", 1),             // tells a foreign customer from an absent one
        ("route.rs", 1),             // `whole_store`: the operator
        ("tenants.rs", 1),           // the people of a tenant's export
        ("webhook.rs", 1),           // a delivery's first body
    ];

    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_handler_reads_past_the_reach_of_its_caller() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
        let mut all = Vec::new();
        files(&root, &mut all);
        for path in all {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let uses =
                text.matches("store.whole()").count() + text.matches("store.as_ref()").count();
            let known = WHOLE.iter().find(|(file, _)| *file == name);
            let allowed = known.map_or(0, |(_, count)| *count);
            // Records of people are no rows of tenants: `identity` takes the store itself.
            if name != "tenant_store.rs" && !name.starts_with("people/") {
                assert_eq!(uses, allowed, "{name} asks the whole store");
            }
        }
    }
}
