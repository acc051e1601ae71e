//! Where each account's sweeps stand, as small durable records.
//!
//! Invariants: what was looked at to its end is written after everything found in it is durable, so a
//! run that dies looks again rather than over; a check never moves a repair's place.
//! Failure: a record that does not read is none: more is looked at, never less.

use super::report::{Mode, Report};
use bursar_domain::ids::Scope;
use bursar_store::api::{Administer, Keep, Store};
use bursar_store::error::StoreError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;

const SPACE: &str = "reconcile";
const REPORT: &str = "report";
const IMPORTING: &str = "importing";

/// What a sweep reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sweep {
    Events,
    Objects,
}

/// How far one sweep of one account is, unix seconds of Stripe's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Everything until then was looked at.
    pub(super) synced_to: Option<i64>,
    /// A walk that is not at its end.
    pub(super) walk: Option<Walk>,
}

/// A walk from new to old through one list or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Walk {
    /// Looks back until then.
    pub(super) from: Option<i64>,
    /// Began then.
    pub(super) to: i64,
    /// The list it is in.
    #[serde(default)]
    pub(super) list: usize,
    /// The last object seen of it.
    pub(super) after: Option<String>,
}

/// An import that began and did not end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Importing {
    pub(super) run_id: String,
}

/// Runs that follow one another because each ended at its bound of pages: what the ones before have
/// looked at to its end is not looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Series {
    /// Looks back until then, if somebody said so.
    pub(super) since: Option<i64>,
    /// When the last of them ended.
    pub(super) at: i64,
    pub(super) done: BTreeSet<String>,
}

pub(super) struct Places<'a> {
    store: &'a dyn Store,
}

fn key(mode: Mode, sweep: Sweep, scope: &Scope) -> String {
    let sweep = match sweep {
        Sweep::Events => "events",
        Sweep::Objects => "objects",
    };
    format!("{}:{sweep}:{}", mode.as_str(), scope.as_str())
}

impl<'a> Places<'a> {
    pub(super) fn of(store: &'a dyn Store) -> Self {
        Self { store }
    }

    async fn read<T: DeserializeOwned>(&self, key: String) -> Result<Option<T>, StoreError> {
        let bytes = self.store.kept(SPACE, key).await?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    async fn write<T: Serialize>(&self, key: String, value: Option<&T>) -> Result<(), StoreError> {
        let bytes = value.map(|value| {
            serde_json::to_vec(value).expect("records are plain values with text keys")
        });
        let write = Administer {
            keeps: vec![Keep {
                space: SPACE,
                key,
                value: bytes,
                subject: None,
            }],
            ..Administer::default()
        };
        self.store.administer(write).await.map(drop)
    }

    pub(super) async fn place(
        &self,
        mode: Mode,
        sweep: Sweep,
        scope: &Scope,
    ) -> Result<Place, StoreError> {
        let place = self.read(key(mode, sweep, scope)).await?;
        Ok(place.unwrap_or_default())
    }

    pub(super) async fn put(
        &self,
        mode: Mode,
        sweep: Sweep,
        scope: &Scope,
        place: &Place,
    ) -> Result<(), StoreError> {
        self.write(key(mode, sweep, scope), Some(place)).await
    }

    pub(super) async fn series(&self, of: &str) -> Result<Option<Series>, StoreError> {
        self.read(format!("series:{of}")).await
    }

    pub(super) async fn set_series(&self, of: &str, to: Option<&Series>) -> Result<(), StoreError> {
        self.write(format!("series:{of}"), to).await
    }

    pub(super) async fn importing(&self) -> Result<Option<Importing>, StoreError> {
        self.read(IMPORTING.to_owned()).await
    }

    pub(super) async fn set_importing(&self, to: Option<&Importing>) -> Result<(), StoreError> {
        self.write(IMPORTING.to_owned(), to).await
    }

    pub(super) async fn report(&self) -> Result<Option<Report>, StoreError> {
        self.read(REPORT.to_owned()).await
    }

    pub(super) async fn keep_report(&self, report: &Report) -> Result<(), StoreError> {
        self.write(REPORT.to_owned(), Some(report)).await
    }
}
