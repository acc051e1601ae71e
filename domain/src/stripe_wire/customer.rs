//! The customer object.

use super::fields::{Metadata, lenient, required_id};
use super::{WireError, WireObject};
use serde::{Deserialize, Serialize};

/// What Bursar keeps of a customer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Customer {
    pub id: Option<String>,
    pub created: Option<i64>,
    pub email: Option<String>,
    pub name: Option<String>,
    pub deleted: Option<bool>,
    pub metadata: Metadata,
    /// Tax ids as Stripe writes them, only when expanded.
    pub tax_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Wire {
    id: Option<String>,
    created: Option<i64>,
    email: Option<String>,
    name: Option<String>,
    deleted: Option<bool>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, deserialize_with = "lenient")]
    tax_ids: Option<TaxIds>,
}
#[derive(Deserialize)]
struct TaxIds {
    data: Vec<TaxId>,
}
#[derive(Deserialize)]
struct TaxId {
    value: String,
}

impl WireObject for Customer {
    const OBJECT: &'static str = "customer";
    fn read(json: &str) -> Result<Self, WireError> {
        let wire: Wire =
            serde_json::from_str(json).map_err(|error| WireError::of(Self::OBJECT, &error))?;
        Ok(Self {
            id: wire.id,
            created: wire.created,
            email: wire.email,
            name: wire.name,
            deleted: wire.deleted,
            metadata: wire.metadata,
            tax_ids: wire
                .tax_ids
                .map(|ids| ids.data.into_iter().map(|id| id.value).collect())
                .unwrap_or_default(),
        })
    }
    fn check(&self) -> Result<(), WireError> {
        required_id(Self::OBJECT, self.id.as_deref())
    }
}
