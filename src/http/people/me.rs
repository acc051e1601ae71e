//! What a person sees and changes of themselves.

use super::{ROUNDS, actor, commit, contended, person};
use crate::http::answer::Answer;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::identity::accounts::{self, Account};
use crate::identity::records::{Commit, spaces};
use crate::identity::{UserId, invitations, members};
use serde_json::{Value, json};

async fn shown(call: &Call, user: &UserId, account: &Account) -> Result<Answer, Problem> {
    let store = call.edge.store.as_ref();
    let mut memberships = Vec::new();
    for (tenant, role) in members::tenants_of(store, user).await? {
        let name = invitations::tenant_name(store, &tenant).await?;
        memberships.push(json!({"tenantId": tenant, "tenantName": name, "role": role}));
    }
    let default = accounts::default_tenant(store, user).await?;
    let body = json!({
        "id": user, "email": account.email, "name": account.name,
        "defaultTenantId": default, "memberships": memberships,
        "createdAt": account.created_at.rfc3339(),
    });
    Ok(Answer::json(&body).unkept())
}

/// `GET /api/v1/me`.
pub fn get(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let user = person(&call)?;
        let account = accounts::find(call.edge.store.as_ref(), &user).await?;
        let account = account.ok_or_else(Problem::not_found)?;
        shown(&call, &user, &account.value).await
    })
}

/// `PATCH /api/v1/me`.
pub fn patch(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let user = person(&call)?;
        let store = call.edge.store.as_ref();
        let chosen = call.fields.value("defaultTenantId");
        let chosen = chosen.map(|_| call.fields.tenant("defaultTenantId"));
        if let Some(Some(tenant)) = &chosen
            && members::role_in(store, &user, tenant).await?.is_none()
        {
            let detail = "`defaultTenantId` is none of your tenants";
            return Err(Problem::new(Code::Refused, detail));
        }
        for _ in 0..ROUNDS {
            let account = accounts::find(store, &user).await?;
            let account = account.ok_or_else(Problem::not_found)?;
            let mut changed = account.value.clone();
            if let Some(name) = call.fields.value("name") {
                changed.name = name.as_str().unwrap_or("").trim().to_owned();
            }
            if let Some(tenant) = &chosen {
                changed.default_tenant.clone_from(tenant);
            }
            let given = ["name", "defaultTenantId"];
            let given = given.iter().filter(|n| call.fields.value(n).is_some());
            let names: Vec<&str> = given.copied().collect();
            let detail = format!("fields: {}", names.join(", "));
            let (id, whose) = (user.as_str(), Some(user.subject()));
            let line = actor(&call).did("user.changed", id, None, call.edge.now(), detail);
            let decided = Commit::default()
                .replace(spaces::ACCOUNT, id, &account.bytes, &changed, whose)?
                .audit(line);
            if commit(&call, decided).await? {
                return shown(&call, &user, &changed).await;
            }
        }
        Err(contended())
    })
}

/// A person as others of their tenant see them.
pub(super) fn person_json(user: &UserId, account: Option<&Account>) -> Value {
    json!({
        "id": user,
        "email": account.map(|a| a.email.as_str()),
        "name": account.map(|a| a.name.as_str()),
    })
}
