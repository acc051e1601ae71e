//! Who belongs to which tenant, and as what.
//!
//! Invariants: both directions are written in one commit; the role is in one place, `<tenant>/<user>`; a tenant that
//! had an owner has one (whoever removes or changes one is guarded by the record of another).

use crate::identity::records::{Commit, Read, below, read, spaces};
use crate::identity::{UserId, accounts};
use bursar_domain::identity::Role;
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use serde::{Deserialize, Serialize};

/// Most tenants of one person, and most people of one tenant.
pub const MEMBERSHIPS_MAX: usize = 200;

/// One person in one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// As what.
    pub role: Role,
    /// Since when.
    pub since: Timestamp,
}

/// The other direction holds nothing of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {}

fn key(tenant: &TenantId, user: &UserId) -> String {
    format!("{}/{user}", tenant.as_str())
}

fn reverse_key(tenant: &TenantId, user: &UserId) -> String {
    format!("{user}/{}", tenant.as_str())
}

/// The membership itself. # Errors: the store's.
pub async fn find(
    store: &dyn Store,
    tenant: &TenantId,
    user: &UserId,
) -> Result<Option<Read<Member>>, StoreError> {
    read(store, spaces::MEMBER, &key(tenant, user)).await
}

/// What a person is in a tenant; `None`: they do not belong to it. # Errors: the store's.
pub async fn role_in(
    store: &dyn Store,
    user: &UserId,
    tenant: &TenantId,
) -> Result<Option<Role>, StoreError> {
    Ok(find(store, tenant, user).await?.map(|m| m.value.role))
}

/// Where a person belongs, and as what, by tenant. # Errors: the store's.
pub async fn tenants_of(
    store: &dyn Store,
    user: &UserId,
) -> Result<Vec<(TenantId, Role)>, StoreError> {
    let prefix = format!("{user}/");
    let marks = below::<Mark>(store, spaces::MEMBER_OF, &prefix, None, MEMBERSHIPS_MAX).await?;
    let mut found = Vec::new();
    for (tenant, _) in marks {
        let Ok(tenant) = TenantId::parse(&tenant) else {
            continue;
        };
        if let Some(role) = role_in(store, user, &tenant).await? {
            found.push((tenant, role));
        }
    }
    Ok(found)
}

/// Everybody in a tenant, by the id of their account. # Errors: the store's.
pub async fn of_tenant(
    store: &dyn Store,
    tenant: &TenantId,
) -> Result<Vec<(UserId, Read<Member>)>, StoreError> {
    let prefix = format!("{}/", tenant.as_str());
    let found = below::<Member>(store, spaces::MEMBER, &prefix, None, MEMBERSHIPS_MAX).await?;
    let known = |(user, member): (String, _)| Some((UserId::parse(&user)?, member));
    Ok(found.into_iter().filter_map(known).collect())
}

/// The addresses of a tenant's owners, at most `limit`, for mail. # Errors: the store's.
pub async fn owner_addresses(
    store: &dyn Store,
    tenant: &TenantId,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let mut addresses = Vec::new();
    for (user, member) in of_tenant(store, tenant).await? {
        if member.value.role != Role::Owner || addresses.len() >= limit {
            continue;
        }
        if let Some(account) = accounts::find(store, &user).await?
            && account.value.verified_at.is_some()
        {
            addresses.push(account.value.email);
        }
    }
    Ok(addresses)
}

/// Adds a person to a tenant, in a commit that is refused if they belong to it already.
/// # Errors: a record cannot be written.
pub fn join(
    commit: Commit,
    tenant: &TenantId,
    user: &UserId,
    role: Role,
    since: Timestamp,
) -> Result<Commit, StoreError> {
    commit
        .create(
            spaces::MEMBER,
            &key(tenant, user),
            &Member { role, since },
            None,
        )?
        .put(
            spaces::MEMBER_OF,
            &reverse_key(tenant, user),
            &Mark {},
            None,
        )
}

/// Takes a person out of a tenant, if the membership is as it was read.
pub fn leave(commit: Commit, tenant: &TenantId, user: &UserId, member: &Read<Member>) -> Commit {
    commit
        .guard(spaces::MEMBER, &key(tenant, user), &member.bytes)
        .remove(spaces::MEMBER, &key(tenant, user), None)
        .remove(spaces::MEMBER_OF, &reverse_key(tenant, user), None)
}

/// Changes what a person is in a tenant, if the membership is as it was read.
/// # Errors: a record cannot be written.
pub fn change_role(
    commit: Commit,
    tenant: &TenantId,
    user: &UserId,
    member: &Read<Member>,
    role: Role,
) -> Result<Commit, StoreError> {
    let changed = Member {
        role,
        ..member.value.clone()
    };
    commit.replace(
        spaces::MEMBER,
        &key(tenant, user),
        &member.bytes,
        &changed,
        None,
    )
}

/// Refuses a commit unless this membership is as it was read.
pub fn guard(commit: Commit, tenant: &TenantId, user: &UserId, member: &Read<Member>) -> Commit {
    commit.guard(spaces::MEMBER, &key(tenant, user), &member.bytes)
}
