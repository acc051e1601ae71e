//! A tenant's personal data, gone: ids, amounts and the ledger stay.
//!
//! Invariants: orders go first, keys after. Every aggregate that holds a personal field writes a state
//! without one and keeps none again; only then is the key erased that opens what was written before. A
//! key stays, and `complete` is false, while something still waits that could only be read with it:
//! asking again after that has been applied erases it, so asking again ends. The tenant's people who belong to no
//! other go with it, and so do its accounts at an outside identity provider, by an effect of its own.
//! Failure: 409 while a subscription lives; an order not applied in time is 503 and safe to repeat.
//! Source: contract §3 "Billing".

use crate::http::answer::Answer;
use crate::http::order::{audit, place, tenant_row};
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::tenants::rows_of;
use crate::identity::records::Actor;
use crate::identity::tenants;
use crate::provisioning::order_forgetting;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Lane;
use bursar_domain::fact::Order;
use bursar_domain::ids::{CustomerId, Scope, SessionId, TenantId};
use bursar_domain::route::customer_subject;
use bursar_domain::rows::{RowKind, Subject};
use bursar_store::api::InputStatus;
use bursar_store::query::{InputView, RowView};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Aggregates asked of the store at a time.
const HOLDERS: usize = 100;
/// Subjects of one commit.
const SUBJECTS: usize = 100;
/// How often something is looked for: what a tenant's aggregates tell each other may make a holder anew.
const ROUNDS: usize = 3;

/// `POST /api/v1/tenants/{tenantId}/erase`.
pub fn erase(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let tenant = call.path_tenant("tenantId")?;
        tenant_row(&call, &tenant).await?;
        let own = AggregateKey::Tenant(tenant.clone());
        let view = erase_one(&call, own, &tenant).await?;
        if view.status != InputStatus::Applied {
            let detail = "a subscription still lives: cancel it at once first";
            return Err(Problem::new(Code::SubscriptionExists, detail));
        }
        let mut truncated = false;
        let (subjects, orders) = whose(&call, &tenant, &mut truncated).await?;
        for to in orders {
            erase_one(&call, to, &tenant).await?;
        }
        let by = Actor {
            text: call.caller.principal.text(),
            request_id: call.request_id.clone(),
        };
        let nobody_left = tenants::forget(&call.edge, &tenant, &by).await?;
        let accounts = delete_accounts(&call, &tenant).await?;
        let kept = held(&call, &tenant, &subjects).await?;
        let free: Vec<Subject> = subjects.difference(&kept).cloned().collect();
        let awaited = call.edge.store.awaited(free.clone()).await?;
        let is_complete = nobody_left
            && accounts.is_some()
            && !truncated
            && kept.is_empty()
            && awaited.is_empty();
        let free: Vec<Subject> = free.into_iter().filter(|s| !awaited.contains(s)).collect();
        let mut erased = 0;
        for some in free.chunks(SUBJECTS) {
            let now = call.edge.now();
            erased += call.edge.store.erase(some.to_vec(), now).await?;
        }
        let detail = format!("{erased} subjects");
        audit(
            &call,
            "tenant.erased",
            tenant.as_str(),
            Some(tenant.clone()),
            detail,
        )
        .await?;
        Ok(Answer::json(&json!({
            "tenantId": tenant, "erasedSubjects": erased,
            "providerAccounts": accounts.unwrap_or_default(), "complete": is_complete,
        })))
    })
}

/// Orders that the tenant's accounts at an outside identity provider be deleted; answers how many. `None`: more were
/// being made meanwhile.
async fn delete_accounts(call: &Call, tenant: &TenantId) -> Result<Option<usize>, Problem> {
    for _ in 0..ROUNDS {
        let now = call.edge.now();
        let ordered = order_forgetting(&call.edge.store, tenant, now).await?;
        if let Some(count) = ordered {
            if count > 0 {
                call.edge.intake.hint(vec![Lane::Identity]);
            }
            return Ok(ordered);
        }
    }
    Ok(None)
}

/// Whose personal data the tenant's is, and which aggregates must forget theirs for good whether they
/// hold any now or not.
async fn whose(
    call: &Call,
    tenant: &TenantId,
    truncated: &mut bool,
) -> Result<(BTreeSet<Subject>, Vec<AggregateKey>), Problem> {
    let mut subjects = BTreeSet::from([Subject(format!("tenant:{tenant}"))]);
    let mut orders = Vec::new();
    let mut named = BTreeSet::new();
    for row in rows_of(call, RowKind::Customer, tenant, truncated).await? {
        if let Ok(id) = CustomerId::parse(&row.id) {
            named.insert((row.scope, id));
        }
    }
    for kind in [
        RowKind::Session,
        RowKind::Subscription,
        RowKind::Invoice,
        RowKind::Payment,
    ] {
        for row in rows_of(call, kind, tenant, truncated).await? {
            named.extend(customer_of(&row).map(|id| (row.scope.clone(), id)));
            if kind == RowKind::Session
                && let Ok(id) = SessionId::parse(&row.id)
            {
                subjects.insert(Subject(format!("session:{}/{id}", row.scope.as_str())));
                orders.push(AggregateKey::Session(row.scope, id));
            }
        }
    }
    for (scope, id) in named {
        if is_others(call, &scope, &id, tenant).await? {
            continue;
        }
        subjects.insert(customer_subject(&scope, &id));
        orders.push(AggregateKey::Customer(scope, id));
    }
    for row in rows_of(call, RowKind::Merchant, tenant, truncated).await? {
        subjects.insert(Subject(format!("account:{}", row.id)));
    }
    Ok((subjects, orders))
}

fn customer_of(row: &RowView) -> Option<CustomerId> {
    let value: Value = serde_json::from_slice(&row.value).ok()?;
    CustomerId::parse(value["stripeCustomerId"].as_str()?).ok()
}

/// Whether a customer is another tenant's: a visitor of a Payment Link may name anybody's.
async fn is_others(
    call: &Call,
    scope: &Scope,
    id: &CustomerId,
    tenant: &TenantId,
) -> Result<bool, Problem> {
    // Asked of the whole store: only so is a foreign customer told from an absent one.
    let store = call.edge.store.whole();
    let row = store.row(RowKind::Customer, scope.clone(), id.to_string());
    let owner = row.await?.and_then(|row| row.tenant);
    Ok(owner.is_some_and(|owner| owner != *tenant))
}

/// Orders every aggregate whose state is sealed under one of the keys to forget; answers the subjects
/// under whose keys some still are.
async fn held(
    call: &Call,
    tenant: &TenantId,
    subjects: &BTreeSet<Subject>,
) -> Result<BTreeSet<Subject>, Problem> {
    let store = &call.edge.store;
    let mut ordered = BTreeSet::new();
    let mut kept = BTreeSet::new();
    for _ in 0..ROUNDS {
        kept.clear();
        for subject in subjects {
            loop {
                let holders = store.holders(subject.clone(), HOLDERS).await?;
                let mut is_news = false;
                for holder in &holders {
                    if ordered.insert(holder.clone()) {
                        is_news = true;
                        erase_one(call, holder.clone(), tenant).await?;
                    }
                }
                if let (Some(holder), false) = (holders.first(), is_news) {
                    tracing::error!(
                        aggregate.id = %holder,
                        "not erased: its state is sealed under this key",
                    );
                    kept.insert(subject.clone());
                }
                if !is_news {
                    break;
                }
            }
        }
        if kept.is_empty() {
            break;
        }
    }
    Ok(kept)
}

async fn erase_one(call: &Call, to: AggregateKey, tenant: &TenantId) -> Result<InputView, Problem> {
    let name = to.to_string();
    let id = name.rsplit(['/', ':']).next().unwrap_or_default();
    let ids = vec![id.to_owned(), tenant.as_str().to_owned()];
    place(call, &Order::Erase {}, to, tenant.clone(), ids).await
}
