//! Accounts: one record per person.
//!
//! Invariants: an account is found by its id or by the HMAC of its address; its address and name are in the sealed
//! record alone. A password is kept as a PHC string of argon2id, never otherwise.

use crate::http::edge::Edge;
use crate::http::problem::Problem;
use crate::identity::addresses::{AddressKey, Owner};
use crate::identity::proofs::Purpose;
use crate::identity::records::{Actor, Commit, Read, below, read, spaces};
use crate::identity::{UserId, members, sessions};
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use serde::{Deserialize, Serialize};

pub use crate::identity::invitations::invite_owner;

/// Addresses of a person that are forgotten with them at once; the others go by themselves.
const KNOWN_MAX: usize = 200;

/// One person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The address, normalised.
    pub email: String,
    /// What the person is called; empty if they did not say.
    pub name: String,
    /// PHC string; `None`: nobody can log in with a password yet.
    pub password: Option<String>,
    /// When the address was proved to be theirs.
    pub verified_at: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
    /// The tenant that holds where a request picks none; `None`: their only one.
    pub default_tenant: Option<TenantId>,
    /// Counts up to end every session and token at once.
    pub session_version: u64,
    /// The tenant that appears once the address is proved; gone once it is there and theirs.
    pub pending_tenant: Option<PendingTenant>,
}

/// A tenant somebody signed up for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingTenant {
    /// Its id, drawn at the sign-up, so that whatever is repeated makes the same one.
    pub id: TenantId,
    /// Its name.
    pub name: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither address, name nor hash belongs in a log.
        write!(f, "Account(created: {:?})", self.created_at)
    }
}

/// The account of this id. # Errors: the store's.
pub async fn find(store: &dyn Store, user: &UserId) -> Result<Option<Read<Account>>, StoreError> {
    read(store, spaces::ACCOUNT, user.as_str()).await
}

/// Whose an address is. # Errors: the store's.
pub async fn user_of_address(
    store: &dyn Store,
    key: &AddressKey,
    address: &str,
) -> Result<Option<UserId>, StoreError> {
    let owner = read::<Owner>(store, spaces::ADDRESS, &key.of_address(address)).await?;
    Ok(owner.map(|owner| owner.value.user))
}

/// The account of this address. # Errors: the store's.
pub async fn find_by_address(
    store: &dyn Store,
    key: &AddressKey,
    address: &str,
) -> Result<Option<(UserId, Read<Account>)>, StoreError> {
    let Some(user) = user_of_address(store, key, address).await? else {
        return Ok(None);
    };
    Ok(find(store, &user).await?.map(|account| (user, account)))
}

/// The tenant a person acts in where their request picks none: the one they chose while they belong to it, else their
/// only one. `None`: they belong to none, or to several and chose none.
/// # Errors: the store's.
pub async fn default_tenant(
    store: &dyn Store,
    user: &UserId,
) -> Result<Option<TenantId>, StoreError> {
    let chosen = find(store, user)
        .await?
        .and_then(|a| a.value.default_tenant);
    if let Some(tenant) = chosen
        && members::role_in(store, user, &tenant).await?.is_some()
    {
        return Ok(Some(tenant));
    }
    let mut tenants = members::tenants_of(store, user).await?;
    Ok((tenants.len() == 1).then(|| tenants.remove(0).0))
}

/// Forgets a person: their account, address, places, sessions and proofs in one commit, and then the key their fields
/// are sealed under. `false`: the account changed meanwhile.
/// # Errors: the store's.
pub async fn forget(
    edge: &Edge,
    user: &UserId,
    account: &Read<Account>,
    actor: &Actor,
    why: &str,
) -> Result<bool, Problem> {
    let (store, now, id) = (edge.store.as_ref(), edge.now(), user.as_str());
    let key = edge.identity.address_key(store).await?;
    let name = key.of_address(&account.value.email);
    let mut commit = Commit::default()
        .guard(spaces::ACCOUNT, id, &account.bytes)
        .remove(spaces::ACCOUNT, id, Some(user.subject()))
        .remove(spaces::ADDRESS, &name, None)
        .remove(spaces::UNFINISHED, id, None)
        .audit(actor.did("user.erased", id, None, now, why));
    for purpose in [Purpose::Verification, Purpose::Reset, Purpose::Notice] {
        commit = commit.remove(spaces::PROOF, &purpose.key(user), None);
    }
    let known = format!("{name}/");
    for (from, _) in below::<Timestamp>(store, spaces::KNOWN, &known, None, KNOWN_MAX).await? {
        commit = commit.remove(spaces::KNOWN, &format!("{known}{from}"), None);
    }
    for (tenant, _) in members::tenants_of(store, user).await? {
        if let Some(member) = members::find(store, &tenant, user).await? {
            commit = members::leave(commit, &tenant, user, &member);
        }
    }
    commit = sessions::end_all(store, commit, user, None).await?;
    let is_done = commit.run(store).await?;
    if is_done {
        store.erase(vec![user.subject()], now).await?;
    }
    Ok(is_done)
}
