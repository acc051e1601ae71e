//! Values of the key-value store: what is filed under the keys of `keys`.
//!
//! They are folded from the journal and rebuilt with it, so they may change with the format version
//! of the projections (`PROJECTIONS`): an older store is folded again, never migrated.

use crate::api::{EffectStatus, InputStatus};
use crate::error::StoreError;
use crate::record::Body;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{Disposition, Lane, LedgerAccount, TimelineEntry};
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_domain::input::InputSource;
use bursar_domain::link::LinkKey;
use bursar_domain::money::Money;
use bursar_domain::rows::Subject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;

/// Version of keys and values; another one in a store means: fold again. Checkpoints hold rows too: where retention
/// dropped records, a new version must come with a way to read the rows of the one before.
pub(crate) const PROJECTIONS: u32 = 4;

/// An input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InputRow {
    pub(crate) source: InputSource,
    pub(crate) kind: String,
    pub(crate) to: Option<AggregateKey>,
    pub(crate) status: InputStatus,
    pub(crate) disposition: Option<Disposition>,
    pub(crate) reason: String,
    pub(crate) parked_on: Vec<LinkKey>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) received_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) object_ids: Vec<String>,
    pub(crate) subject: Option<Subject>,
    /// Number of the journal record that holds the body.
    pub(crate) record: u64,
    pub(crate) body: Body,
}

/// An aggregate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AggregateRow {
    pub(crate) version: u64,
    pub(crate) subject: Option<Subject>,
    /// Sealed if there is a subject.
    #[serde(with = "serde_bytes")]
    pub(crate) snapshot: Vec<u8>,
}

/// A kept record under its subject's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SealedRow {
    pub(crate) subject: Subject,
    /// SHA-256 of the plain bytes.
    pub(crate) sha256: [u8; 32],
    #[serde(with = "serde_bytes")]
    pub(crate) sealed: Vec<u8>,
}

/// A row of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StoredRow {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) status: String,
    pub(crate) hidden: bool,
    pub(crate) version: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) value: Vec<u8>,
    /// Whose personal fields, sealed.
    pub(crate) personal: Option<(Subject, Vec<u8>)>,
}

/// A line of a timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LineRow {
    pub(crate) seq: u64,
    pub(crate) aggregate: AggregateKey,
    pub(crate) entry: TimelineEntry,
}

/// An entry of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LedgerRow {
    pub(crate) account: LedgerAccount,
    pub(crate) amount: Money,
    pub(crate) source: String,
    pub(crate) at: Timestamp,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) payment: Option<LinkKey>,
}

/// An effect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EffectRow {
    pub(crate) number: u64,
    pub(crate) aggregate: AggregateKey,
    pub(crate) lane: Lane,
    pub(crate) kind: String,
    pub(crate) status: EffectStatus,
    pub(crate) attempts: u32,
    pub(crate) note: String,
    pub(crate) decided_at: Timestamp,
    pub(crate) due_at: Timestamp,
    pub(crate) settled_at: Option<Timestamp>,
    pub(crate) subject: Option<Subject>,
    /// Sealed if there is a subject; empty once done or skipped.
    #[serde(with = "serde_bytes")]
    pub(crate) payload: Vec<u8>,
}

/// Next numbers and figures; one value, written with every group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) next_seq: u64,
    pub(crate) next_line: u64,
    pub(crate) next_ledger: u64,
    pub(crate) next_effect: u64,
    pub(crate) next_audit: u64,
    pub(crate) next_applied: u64,
    pub(crate) inputs: u64,
    pub(crate) pending: u64,
    pub(crate) parked: u64,
    pub(crate) dead: u64,
    /// Pending effects by lane.
    pub(crate) outbox: BTreeMap<u8, u64>,
    /// Rows by list and status.
    pub(crate) rows: BTreeMap<(u8, String), u64>,
}

thread_local! {
    /// What values are written to before their length is known: a buffer that grows with each costs more than a copy.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// A thread keeps no larger buffer than this between two values.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// Writes a value and shows its bytes.
pub(crate) fn packed<T: Serialize, R>(
    value: &T,
    see: impl FnOnce(&[u8]) -> R,
) -> Result<R, postcard::Error> {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let bytes = postcard::to_extend(value, scratch)?;
    let seen = see(&bytes);
    if bytes.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.set(bytes);
    }
    Ok(seen)
}

/// Writes a value.
pub(crate) fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    packed(value, <[u8]>::to_vec)
        .map_err(|error| StoreError::Invalid(format!("a value cannot be written: {error}")))
}

/// Reads a value.
pub(crate) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Damaged {
        file: "projections".to_owned(),
        offset: 0,
        kind: "a value cannot be read".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows written by earlier versions are read by this one, and counted by their bytes.
    #[test]
    fn bytes_are_written_as_lists_of_bytes() {
        let subject = Subject("customer:/cus_1".to_owned());
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        let aggregate = AggregateRow {
            version: 7,
            subject: Some(subject.clone()),
            snapshot: bytes.clone(),
        };
        let as_list = (7_u64, Some(subject.clone()), bytes.clone());
        assert_eq!(pack(&aggregate).unwrap(), pack(&as_list).unwrap());
        let sealed = SealedRow {
            subject: subject.clone(),
            sha256: [1; 32],
            sealed: bytes.clone(),
        };
        let as_list = (subject, [1_u8; 32], bytes.clone());
        assert_eq!(pack(&sealed).unwrap(), pack(&as_list).unwrap());
        let again: SealedRow = unpack(&pack(&as_list).unwrap()).unwrap();
        assert_eq!(again.sealed, bytes);
    }
}
