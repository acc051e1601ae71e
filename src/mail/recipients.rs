//! Who gets a mail that names nobody: the tenant's owners, else the address the tenant was made with.
//!
//! Invariants: at most [`RECIPIENTS_MAX`]; an address that mail cannot be sent to is left out; no address twice.
//! Not here: who is an owner (`identity`).
//! Failure: a store that is away; the lane comes back.

use crate::identity::members;
use crate::mail::address::Address;
use bursar_domain::ids::{Scope, TenantId};
use bursar_domain::rows::RowKind;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use serde_json::Value;

/// Most recipients of one mail.
pub const RECIPIENTS_MAX: usize = 20;

/// The tenant as mails need it.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Its name, empty if it has none.
    pub name: String,
    /// Its time zone.
    pub zone: Option<String>,
    email: Option<String>,
}

/// Reads a tenant.
///
/// # Errors
/// The store's.
pub async fn about(store: &dyn Store, tenant: &TenantId) -> Result<About, StoreError> {
    let id = tenant.as_str().to_owned();
    let row = store.row(RowKind::Tenant, Scope::PLATFORM, id).await?;
    let value = row.map(|row| serde_json::from_slice::<Value>(&row.value).unwrap_or_default());
    let text = |name: &str| Some(value.as_ref()?.get(name)?.as_str()?.to_owned());
    Ok(About {
        name: text("name").unwrap_or_default(),
        zone: text("timezone"),
        email: text("email"),
    })
}

/// Its recipients.
///
/// # Errors
/// The store's.
pub async fn of_tenant(
    store: &dyn Store,
    tenant: &TenantId,
    about: &About,
) -> Result<Vec<Address>, StoreError> {
    let owners = members::owner_addresses(store, tenant, RECIPIENTS_MAX).await?;
    let known = if owners.is_empty() {
        about.email.iter().cloned().collect()
    } else {
        owners
    };
    let mut all: Vec<Address> = Vec::new();
    for address in known.iter().filter_map(|text| Address::parse(text).ok()) {
        if !all.contains(&address) && all.len() < RECIPIENTS_MAX {
            all.push(address);
        }
    }
    Ok(all)
}
