//! Invitations: a place in a tenant, offered to an address.
//!
//! Invariants: an invitation is good once and for seven days; whoever holds its token has the mail it was sent in, so
//! that accepting proves the address; the mail leaves in the commit that makes the invitation. A tenant without an
//! owner has at most one invitation of an owner that nobody asked for, whatever is repeated.

use crate::identity::members::Mark;
use crate::identity::records::{Actor, Commit, Read, below, mail_to, read, spaces};
use crate::identity::secrets::{self, Token};
use crate::identity::{UserId, addresses, members};
use bursar_domain::identity::Role;
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::rows::{RowKind, Subject};
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How long an invitation is good.
pub const INVITATION_DAYS: i64 = 7;
/// Most invitations of one tenant that are open at once.
pub const OPEN_MAX: usize = 100;
/// Where a person lands from the mail.
pub const PATH: &str = "/invitations/accept";

/// One invitation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// Where to.
    pub tenant: TenantId,
    /// Whom, normalised.
    pub email: String,
    /// As what.
    pub role: Role,
    /// Digest of the token's secret.
    pub secret_sha256: String,
    /// Who invites; `None`: the operator, or a payment.
    pub inviter: Option<UserId>,
    /// When.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub ends_at: Timestamp,
}

/// Under whose key an invitation is sealed.
pub fn subject(id: &str) -> Subject {
    Subject(format!("invitation:{id}"))
}

fn index_key(tenant: &TenantId, id: &str) -> String {
    format!("{}/{id}", tenant.as_str())
}

/// The invitation of this id. # Errors: the store's.
pub async fn find(store: &dyn Store, id: &str) -> Result<Option<Read<Invitation>>, StoreError> {
    read(store, spaces::INVITATION, id).await
}

/// The invitations of a tenant, the newest last. # Errors: the store's.
pub async fn of_tenant(
    store: &dyn Store,
    tenant: &TenantId,
) -> Result<Vec<(String, Read<Invitation>)>, StoreError> {
    let prefix = format!("{}/", tenant.as_str());
    let marks = below::<Mark>(store, spaces::INVITATION_OF, &prefix, None, OPEN_MAX).await?;
    let mut found = Vec::new();
    for (id, _) in marks {
        if let Some(invitation) = find(store, &id).await? {
            found.push((id, invitation));
        }
    }
    Ok(found)
}

/// What the mail of an invitation says beside the link.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// Where the service is reached.
    pub base_url: &'a str,
    /// The tenant's name.
    pub tenant_name: &'a str,
    /// Who invites, in words; empty for a payment.
    pub inviter: &'a str,
}

/// An invitation to make.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// Its id.
    pub id: &'a str,
    /// Where to.
    pub tenant: &'a TenantId,
    /// Whom.
    pub address: &'a str,
    /// As what.
    pub role: Role,
    /// Who invites.
    pub inviter: Option<UserId>,
}

/// The commit that makes an invitation and sends its mail; `before` is the ended one it takes the place of.
/// # Errors: no random bytes, or a record cannot be written.
pub fn offer(
    offer: &Offer<'_>,
    words: Words<'_>,
    before: Option<&[u8]>,
    actor: &Actor,
    now: Timestamp,
) -> Result<Commit, StoreError> {
    let id = offer.id;
    let secret = secrets::new_secret()?;
    let token = Token::join(id, &secret);
    let invitation = Invitation {
        tenant: offer.tenant.clone(),
        email: addresses::normalised(offer.address),
        role: offer.role,
        secret_sha256: secrets::digest(secret.expose_secret()),
        inviter: offer.inviter.clone(),
        created_at: now,
        ends_at: now.plus_ms(INVITATION_DAYS * 86_400_000),
    };
    let link = format!(
        "{}{PATH}?token={}",
        words.base_url.trim_end_matches('/'),
        token.expose_secret()
    );
    let params = [
        ("link", link.as_str()),
        ("tenantName", words.tenant_name),
        ("role", offer.role.as_str()),
        ("inviter", words.inviter),
    ];
    let tenant = Some(offer.tenant.clone());
    let mail = mail_to("invitation", tenant, &invitation.email, &params);
    let (space, whose) = (spaces::INVITATION, Some(subject(id)));
    let commit = match before {
        None => Commit::default().create(space, id, &invitation, whose)?,
        Some(bytes) => Commit::default().replace(space, id, bytes, &invitation, whose)?,
    };
    let line = actor.did(
        "invitation.created",
        id,
        Some(offer.tenant),
        now,
        offer.role.as_str(),
    );
    Ok(commit
        .put(
            spaces::INVITATION_OF,
            &index_key(offer.tenant, id),
            &Mark {},
            None,
        )?
        // Each mail has a secret of its own, so its digest names the fact.
        .mail(mail, &invitation.secret_sha256, now, subject(id))
        .audit(line))
}

/// Takes an invitation out, if it is as it was read.
pub fn withdraw(commit: Commit, id: &str, invitation: &Read<Invitation>) -> Commit {
    commit
        .guard(spaces::INVITATION, id, &invitation.bytes)
        .remove(spaces::INVITATION, id, Some(subject(id)))
        .remove(
            spaces::INVITATION_OF,
            &index_key(&invitation.value.tenant, id),
            None,
        )
}

/// A tenant's name, as its mails call it. # Errors: the store's.
pub async fn tenant_name(store: &dyn Store, tenant: &TenantId) -> Result<String, StoreError> {
    let row = store.row(RowKind::Tenant, Scope::PLATFORM, tenant.as_str().to_owned());
    let value: Option<Value> = row
        .await?
        .and_then(|r| serde_json::from_slice(&r.value).ok());
    let name = value
        .as_ref()
        .and_then(|v| v["name"].as_str())
        .unwrap_or("");
    Ok(if name.is_empty() {
        tenant.as_str()
    } else {
        name
    }
    .to_owned())
}

/// What came of seeing to a tenant's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerInvited {
    /// The tenant has an owner, so nothing was done.
    HasOwner,
    /// An invitation of an owner is open, so nothing was done.
    Open,
    /// The invitation and its mail are durable now.
    Invited,
}

/// Sees to it that a tenant that paid has an owner: invites the address, once. Repeating it is safe.
/// # Errors: the store's.
pub async fn invite_owner(
    store: &dyn Store,
    base_url: &str,
    tenant: &TenantId,
    address: &str,
    now: Timestamp,
) -> Result<OwnerInvited, StoreError> {
    let everybody = members::of_tenant(store, tenant).await?;
    if everybody.iter().any(|(_, m)| m.value.role == Role::Owner) {
        return Ok(OwnerInvited::HasOwner);
    }
    // One id per tenant: however often it paid, one invitation.
    let name = Sha256::digest(format!("owner invitation\n{}", tenant.as_str()));
    let id = hex::encode(&name[..16]);
    let before = find(store, &id).await?;
    if before.as_ref().is_some_and(|b| now < b.value.ends_at) {
        return Ok(OwnerInvited::Open);
    }
    let tenant_name = tenant_name(store, tenant).await?;
    let words = Words {
        base_url,
        tenant_name: &tenant_name,
        inviter: "",
    };
    let wanted = Offer {
        id: &id,
        tenant,
        address,
        role: Role::Owner,
        inviter: None,
    };
    let before = before.as_ref().map(|b| b.bytes.as_slice());
    let commit = offer(&wanted, words, before, &Actor::system(), now)?;
    let is_first = commit.run(store).await?;
    Ok(if is_first {
        OwnerInvited::Invited
    } else {
        OwnerInvited::Open
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::decision::Lane;
    use bursar_store::MemStore;

    const NOW: Timestamp = Timestamp::from_seconds(1_747_044_000);

    #[tokio::test]
    async fn a_tenant_that_pays_twice_has_its_owner_invited_once() {
        let store = MemStore::new().unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let invite = |now| {
            invite_owner(
                &*store,
                "https://b.example/",
                &tenant,
                "Ada@Example.com",
                now,
            )
        };
        assert_eq!(invite(NOW).await.unwrap(), OwnerInvited::Invited);
        assert_eq!(invite(NOW).await.unwrap(), OwnerInvited::Open);
        let due = store.due_effects(Lane::Mail, NOW, 9).await.unwrap();
        assert_eq!(due.len(), 1);
        let text = String::from_utf8(due[0].payload.clone().unwrap()).unwrap();
        assert!(
            text.contains("https://b.example/invitations/accept?token="),
            "{text}"
        );
        assert!(text.contains("\"ada@example.com\""), "{text}");
        let later = NOW.plus_ms(INVITATION_DAYS * 86_400_000);
        assert_eq!(
            invite(later).await.unwrap(),
            OwnerInvited::Invited,
            "the first ended"
        );
        assert_eq!(of_tenant(&*store, &tenant).await.unwrap().len(), 1);
        let user = UserId::new();
        let join = members::join(Commit::default(), &tenant, &user, Role::Owner, NOW).unwrap();
        assert!(join.run(&*store).await.unwrap());
        let much_later = later.plus_ms(INVITATION_DAYS * 86_400_000);
        assert_eq!(invite(much_later).await.unwrap(), OwnerInvited::HasOwner);
    }

    #[tokio::test]
    async fn an_erased_invitation_tells_nobodys_address() {
        let store = MemStore::new().unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        invite_owner(&*store, "https://b.example", &tenant, "a@b.example", NOW)
            .await
            .unwrap();
        let (id, _) = of_tenant(&*store, &tenant).await.unwrap().remove(0);
        store.erase(vec![subject(&id)], NOW).await.unwrap();
        assert!(find(&*store, &id).await.unwrap().is_none());
        let due = store.due_effects(Lane::Mail, NOW, 9).await.unwrap();
        assert_eq!(due[0].payload, None);
    }
}
