//! Who belongs to a tenant: listed, invited, changed, removed.
//!
//! Invariants: nobody gives or takes a role they may not grant; the last owner neither leaves nor becomes less; what
//! was decided over the actor's role and over another owner's place is committed only while both are as they were.

use super::me::person_json;
use super::{ROUNDS, actor, address, commit, contended};
use crate::http::answer::Answer;
use crate::http::auth::Principal;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::reads;
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::invitations::{self, Invitation, OPEN_MAX, Offer, Words};
use crate::identity::members::{self, MEMBERSHIPS_MAX, Member};
use crate::identity::records::{Commit, Read};
use crate::identity::{UserId, accounts, secrets};
use bursar_domain::identity::Role;
use bursar_domain::ids::{TenantId, Timestamp};
use hyper::StatusCode;
use serde_json::{Value, json};

/// The tenant a request is about. # Errors: 400 if it picks none.
fn tenant(call: &Call) -> Result<TenantId, Problem> {
    let named = call.selected.clone().or(call.fields.tenant("tenantId"));
    named.ok_or_else(|| {
        let detail = "name the tenant by X-Tenant-Id or `tenantId`";
        Problem::field("X-Tenant-Id", FieldCode::Required, detail)
    })
}

/// Who acts, with the place their right comes from. The operator's is everybody's.
struct Acting {
    user: Option<UserId>,
    place: Option<Read<Member>>,
    role: Role,
}

impl Acting {
    /// Refuses a commit unless the actor is still what they were.
    fn guard(&self, commit: Commit, tenant: &TenantId) -> Commit {
        match (&self.user, &self.place) {
            (Some(user), Some(place)) => members::guard(commit, tenant, user, place),
            _ => commit,
        }
    }
    fn must_grant(&self, role: Role) -> Result<(), Problem> {
        if self.role.may_grant(role) {
            return Ok(());
        }
        let detail = format!("a role of {} is not yours to give or take", role.as_str());
        Err(Problem::new(Code::InsufficientScope, detail))
    }
}

async fn acting(call: &Call, tenant: &TenantId) -> Result<Acting, Problem> {
    let user = match &call.caller.principal {
        Principal::User(id) => UserId::parse(id),
        Principal::Operator => {
            return Ok(Acting {
                user: None,
                place: None,
                role: Role::Owner,
            });
        }
        // An API key acts with its own role and has no place that could change.
        _ => None,
    };
    let Some(user) = user else {
        let role = call.caller.bound.as_ref().map(|bound| bound.role);
        return Ok(Acting {
            user: None,
            place: None,
            role: role.unwrap_or(Role::Viewer),
        });
    };
    let place = members::find(call.edge.store.as_ref(), tenant, &user).await?;
    let place = place.ok_or_else(Problem::not_found)?;
    Ok(Acting {
        role: place.value.role,
        user: Some(user),
        place: Some(place),
    })
}

fn invited_json(id: &str, invitation: &Invitation, now: Timestamp) -> Value {
    let status = if now < invitation.ends_at {
        "invited"
    } else {
        "expired"
    };
    json!({
        "id": id, "email": invitation.email, "name": "", "role": invitation.role,
        "status": status, "createdAt": invitation.created_at.rfc3339(),
        "expiresAt": invitation.ends_at.rfc3339(),
    })
}

/// `GET /api/v1/members`: members and open invitations, the newest first.
pub fn list(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = tenant(&call)?;
        let (store, now) = (call.edge.store.as_ref(), call.edge.now());
        let mut all: Vec<(Timestamp, String, Value)> = Vec::new();
        for (user, member) in members::of_tenant(store, &tenant).await? {
            let account = accounts::find(store, &user).await?;
            let mut shown = person_json(&user, account.as_ref().map(|a| &a.value));
            shown["role"] = json!(member.value.role);
            shown["status"] = "active".into();
            shown["createdAt"] = member.value.since.rfc3339().into();
            shown["expiresAt"] = Value::Null;
            all.push((member.value.since, user.to_string(), shown));
        }
        for (id, invitation) in invitations::of_tenant(store, &tenant).await? {
            let shown = invited_json(&id, &invitation.value, now);
            all.push((invitation.value.created_at, id, shown));
        }
        all.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
        let after = reads::after(&call)?;
        let after = after.map(|key| String::from_utf8_lossy(&key).into_owned());
        let begin = match &after {
            Some(last) => all
                .iter()
                .position(|(_, id, _)| id == last)
                .map_or(all.len(), |n| n + 1),
            None => 0,
        };
        let limit = reads::limit(&call);
        let page: Vec<_> = all.iter().skip(begin).take(limit).collect();
        let has_more = all.len() > begin + page.len();
        let next = page
            .last()
            .filter(|_| has_more)
            .map(|(_, id, _)| reads::cursor_after(&call, id.as_bytes()));
        let data: Vec<&Value> = page.iter().map(|(_, _, shown)| shown).collect();
        let body = json!({"data": data, "hasMore": has_more, "nextCursor": next});
        Ok(Answer::json(&body).unkept())
    })
}

fn given_role(call: &Call) -> Result<Role, Problem> {
    let role = call.fields.text("role").and_then(Role::parse);
    role.ok_or_else(|| Problem::field("role", FieldCode::Required, "`role` is required"))
}

/// `POST /api/v1/members`: invites.
pub fn invite(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = tenant(&call)?;
        invite_to(&call, &tenant, given_role(&call)?).await
    })
}

/// Invites the request's address to a tenant. # Errors: 403, 404, 409.
pub(super) async fn invite_to(
    call: &Call,
    tenant: &TenantId,
    role: Role,
) -> Result<Answer, Problem> {
    let address = address(call, "email")?;
    let (store, now) = (call.edge.store.as_ref(), call.edge.now());
    crate::http::order::tenant_row(call, tenant).await?;
    // A repeat under the same idempotency key makes the same one.
    let id = secrets::digest(&crate::http::idempotency::order_id(call))[..32].to_owned();
    for _ in 0..ROUNDS {
        let acting = acting(call, tenant).await?;
        acting.must_grant(role)?;
        if let Some(invitation) = invitations::find(store, &id).await? {
            let shown = invited_json(&id, &invitation.value, now);
            return Ok(Answer::created(&shown).unkept());
        }
        is_new(call, tenant, &address).await?;
        let tenant_name = invitations::tenant_name(store, tenant).await?;
        let inviter = match &acting.user {
            Some(user) => accounts::find(store, user).await?.map(|a| a.value),
            None => None,
        };
        let inviter = inviter.map_or_else(String::new, |account| {
            if account.name.is_empty() {
                account.email
            } else {
                account.name
            }
        });
        let words = Words {
            base_url: &call.edge.settings.app_base_url,
            tenant_name: &tenant_name,
            inviter: &inviter,
        };
        let offer = Offer {
            id: &id,
            tenant,
            address: &address,
            role,
            inviter: acting.user.clone(),
        };
        let decided = invitations::offer(&offer, words, None, &actor(call), now)?;
        if commit(call, acting.guard(decided, tenant)).await? {
            let made = invitations::find(store, &id).await?.ok_or_else(contended)?;
            let shown = invited_json(&id, &made.value, now);
            return Ok(Answer::created(&shown).unkept());
        }
    }
    Err(contended())
}

/// An address that neither belongs to the tenant nor is invited, and room for it. # Errors: 409.
async fn is_new(call: &Call, tenant: &TenantId, address: &str) -> Result<(), Problem> {
    let store = call.edge.store.as_ref();
    let conflict = |detail: &str| Err(Problem::new(Code::StateConflict, detail));
    let key = call.edge.identity.address_key(store).await?;
    if let Some(user) = accounts::user_of_address(store, key, address).await?
        && members::role_in(store, &user, tenant).await?.is_some()
    {
        return conflict("this address belongs to the tenant already");
    }
    let open = invitations::of_tenant(store, tenant).await?;
    let is_open = |i: &Invitation| call.edge.now() < i.ends_at && i.email == address;
    if open
        .iter()
        .any(|(_, invitation)| is_open(&invitation.value))
    {
        return conflict("this address is invited already; take that invitation back first");
    }
    let everybody = members::of_tenant(store, tenant).await?;
    if open.len() >= OPEN_MAX || everybody.len() >= MEMBERSHIPS_MAX {
        return conflict("the tenant has as many people or invitations as it may have");
    }
    Ok(())
}

/// An owner beside this one. # Errors: 409 if there is none.
pub(super) async fn another_owner(
    call: &Call,
    tenant: &TenantId,
    user: &UserId,
) -> Result<(UserId, Read<Member>), Problem> {
    let everybody = members::of_tenant(call.edge.store.as_ref(), tenant).await?;
    let other = everybody
        .into_iter()
        .find(|(id, member)| id != user && member.value.role == Role::Owner);
    other.ok_or_else(|| {
        let detail = "this is the tenant's last owner; make somebody else one first";
        Problem::new(Code::StateConflict, detail)
    })
}

/// `PATCH /api/v1/members/{id}`.
pub fn change(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = tenant(&call)?;
        let role = given_role(&call)?;
        let user = UserId::parse(call.path("id")).ok_or_else(Problem::not_found)?;
        let (store, now) = (call.edge.store.as_ref(), call.edge.now());
        for _ in 0..ROUNDS {
            let acting = acting(&call, &tenant).await?;
            let member = members::find(store, &tenant, &user).await?;
            let member = member.ok_or_else(Problem::not_found)?;
            acting.must_grant(member.value.role)?;
            acting.must_grant(role)?;
            let mut decided = Commit::default();
            if member.value.role == Role::Owner && role != Role::Owner {
                let (other, place) = another_owner(&call, &tenant, &user).await?;
                decided = members::guard(decided, &tenant, &other, &place);
            }
            let detail = format!("{} → {}", member.value.role.as_str(), role.as_str());
            let line =
                actor(&call).did("member.changed", user.as_str(), Some(&tenant), now, detail);
            decided = members::change_role(decided, &tenant, &user, &member, role)?.audit(line);
            if commit(&call, acting.guard(decided, &tenant)).await? {
                let account = accounts::find(store, &user).await?;
                let mut shown = person_json(&user, account.as_ref().map(|a| &a.value));
                shown["role"] = json!(role);
                shown["status"] = "active".into();
                shown["createdAt"] = member.value.since.rfc3339().into();
                shown["expiresAt"] = Value::Null;
                return Ok(Answer::json(&shown).unkept());
            }
        }
        Err(contended())
    })
}

/// `DELETE /api/v1/members/{id}`: removes somebody, leaves, or takes an invitation back.
pub fn remove(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = tenant(&call)?;
        let id = call.path("id").to_owned();
        for _ in 0..ROUNDS {
            let acting = acting(&call, &tenant).await?;
            let decided = match UserId::parse(&id) {
                Some(user) => removal(&call, &tenant, &acting, &user).await?,
                None => withdrawal(&call, &tenant, &acting, &id).await?,
            };
            if commit(&call, acting.guard(decided, &tenant)).await? {
                if UserId::parse(&id).is_none() {
                    let (store, now) = (call.edge.store.as_ref(), call.edge.now());
                    store.erase(vec![invitations::subject(&id)], now).await?;
                }
                return Ok(Answer::empty(StatusCode::NO_CONTENT));
            }
        }
        Err(contended())
    })
}

async fn removal(
    call: &Call,
    tenant: &TenantId,
    acting: &Acting,
    user: &UserId,
) -> Result<Commit, Problem> {
    let member = members::find(call.edge.store.as_ref(), tenant, user).await?;
    let member = member.ok_or_else(Problem::not_found)?;
    let is_own = acting.user.as_ref() == Some(user);
    if !is_own {
        acting.must_grant(member.value.role)?;
    }
    let mut decided = Commit::default();
    if member.value.role == Role::Owner {
        let (other, place) = another_owner(call, tenant, user).await?;
        decided = members::guard(decided, tenant, &other, &place);
    }
    let detail = if is_own { "left" } else { "removed" };
    let line = actor(call).did(
        "member.removed",
        user.as_str(),
        Some(tenant),
        call.edge.now(),
        detail,
    );
    Ok(members::leave(decided, tenant, user, &member).audit(line))
}

async fn withdrawal(
    call: &Call,
    tenant: &TenantId,
    acting: &Acting,
    id: &str,
) -> Result<Commit, Problem> {
    let invitation = invitations::find(call.edge.store.as_ref(), id).await?;
    let invitation = invitation.filter(|i| i.value.tenant == *tenant);
    let invitation = invitation.ok_or_else(Problem::not_found)?;
    acting.must_grant(invitation.value.role)?;
    let now = call.edge.now();
    let line = actor(call).did("invitation.withdrawn", id, Some(tenant), now, String::new());
    Ok(invitations::withdraw(Commit::default(), id, &invitation).audit(line))
}
