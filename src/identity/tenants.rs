//! The people of one tenant, taken together: shown in its export, forgotten with it.
//!
//! Invariants: who belongs to no other tenant is forgotten as a person; who does only leaves; invitations are taken
//! back and cannot be read any more. Doing it again is safe.

use crate::http::edge::Edge;
use crate::http::problem::Problem;
use crate::identity::records::{Actor, Commit};
use crate::identity::{accounts, invitations, members};
use bursar_domain::ids::TenantId;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use serde_json::{Value, json};

/// How often what is there is looked at: people may join meanwhile.
const ROUNDS: usize = 3;

/// Members and invitations of a tenant, for its export. # Errors: the store's.
pub async fn exported(store: &dyn Store, tenant: &TenantId) -> Result<(Value, Value), StoreError> {
    let mut people = Vec::new();
    for (user, member) in members::of_tenant(store, tenant).await? {
        let account = accounts::find(store, &user).await?.map(|a| a.value);
        people.push(json!({
            "id": user, "role": member.value.role, "status": "active",
            "email": account.as_ref().map(|a| a.email.as_str()),
            "name": account.as_ref().map(|a| a.name.as_str()),
            "createdAt": member.value.since.rfc3339(), "expiresAt": null,
        }));
    }
    let open = invitations::of_tenant(store, tenant).await?;
    let invited = open.iter().map(|(id, invitation)| {
        let invitation = &invitation.value;
        json!({
            "id": id, "role": invitation.role, "status": "invited",
            "email": invitation.email, "name": null,
            "createdAt": invitation.created_at.rfc3339(), "expiresAt": invitation.ends_at.rfc3339(),
        })
    });
    Ok((people.into(), invited.collect()))
}

/// Forgets a tenant's people. `false`: somebody is left; asking again goes on. # Errors: the store's.
pub async fn forget(edge: &Edge, tenant: &TenantId, actor: &Actor) -> Result<bool, Problem> {
    let (store, now) = (edge.store.as_ref(), edge.now());
    for _ in 0..ROUNDS {
        let open = invitations::of_tenant(store, tenant).await?;
        let everybody = members::of_tenant(store, tenant).await?;
        if open.is_empty() && everybody.is_empty() {
            return Ok(true);
        }
        for (id, invitation) in &open {
            let line = actor.did(
                "invitation.withdrawn",
                id,
                Some(tenant),
                now,
                "tenant erased",
            );
            let withdraws = invitations::withdraw(Commit::default(), id, invitation).audit(line);
            if withdraws.run(store).await? {
                store.erase(vec![invitations::subject(id)], now).await?;
            }
        }
        for (user, member) in &everybody {
            let is_elsewhere = members::tenants_of(store, user)
                .await?
                .iter()
                .any(|(other, _)| other != tenant);
            let account = accounts::find(store, user).await?;
            if let (Some(account), false) = (&account, is_elsewhere) {
                accounts::forget(edge, user, account, actor, "tenant erased").await?;
                continue;
            }
            let line = actor.did(
                "member.removed",
                user.as_str(),
                Some(tenant),
                now,
                "tenant erased",
            );
            let leaves = members::leave(Commit::default(), tenant, user, member).audit(line);
            leaves.run(store).await?;
        }
    }
    Ok(false)
}
