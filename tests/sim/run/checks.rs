//! What must hold once everything has come to rest.
//!
//! Written apart from the product: the truth about money is Stripe's own balance, read from the sandbox.

use super::outside::{Outside, PRIMES, tenant};
use super::world::{World, locked};
use bursar::notifications::records::{FEED, QUEUE};
use bursar_domain::decision::LedgerAccount;
use bursar_domain::ids::TenantId;
use bursar_domain::rows::RowKind;
use bursar_store::api::{EffectStatus, InputStatus, Store};
use bursar_store::query::{LedgerQuery, OutboxQuery, RowQuery, RowView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: usize = 100;

/// Whether nothing is on its way inside.
pub(crate) async fn is_at_rest(store: &dyn Store) -> Result<bool, String> {
    let stats = store.stats().await.map_err(|error| error.to_string())?;
    let outbox = OutboxQuery {
        status: Some(EffectStatus::Pending),
        lane: None,
        after: None,
        limit: 1,
    };
    let outbox = store
        .outbox(outbox)
        .await
        .map_err(|error| error.to_string())?;
    let queued = store.kept_all(QUEUE, None, 1).await;
    let queued = queued.map_err(|error| error.to_string())?;
    Ok(stats.pending == 0 && outbox.items.is_empty() && queued.is_empty())
}

async fn rows(store: &dyn Store, kind: RowKind) -> Result<Vec<RowView>, String> {
    let query = RowQuery {
        kind,
        tenant: None,
        status: None,
        created_after: None,
        created_before: None,
        hidden: false,
        after: None,
        limit: PAGE,
    };
    let page = store.rows(query).await.map_err(|error| error.to_string())?;
    Ok(page.items)
}

/// All checks; what is wrong goes to the world.
pub(crate) async fn all(world: &World, outside: &Outside, store: &dyn Store) -> Result<(), String> {
    acknowledged_is_applied(world, outside, store).await?;
    ledger_is_stripes(world, outside, store).await?;
    payments_are_stripes(world, outside, store).await?;
    orders_happened_once(world, outside, store).await?;
    let audit = store
        .audit_journal()
        .await
        .map_err(|error| error.to_string())?;
    if !audit.damage.is_empty() {
        world.wrong(format!("the journal's chain: {:?}", audit.damage));
    }
    letters_reached_their_own(world);
    let feed = store
        .kept_all(FEED, None, 1_000)
        .await
        .map_err(|error| error.to_string())?
        .len();
    let told = locked(&world.told).len();
    if feed != told {
        world.wrong(format!(
            "{feed} notifications in the feed, {told} were received"
        ));
    }
    Ok(())
}

/// P1, P2: every event that was answered 2xx is there once and was applied.
async fn acknowledged_is_applied(
    world: &World,
    outside: &Outside,
    store: &dyn Store,
) -> Result<(), String> {
    for event in outside.events.iter().filter(|event| event.is_acked) {
        let found = store
            .input(event.id.clone(), None)
            .await
            .map_err(|error| error.to_string())?;
        match found.as_slice() {
            [one]
                if matches!(
                    one.status,
                    InputStatus::Applied | InputStatus::Ignored | InputStatus::Parked
                ) => {}
            [one] => world.wrong(format!(
                "{} was answered and is {}",
                event.id,
                one.status.as_str()
            )),
            many => world.wrong(format!(
                "{} was answered and is there {} times",
                event.id,
                many.len()
            )),
        }
    }
    Ok(())
}

/// P2, P3: what the books say of a tenant's balance at Stripe is what Stripe says.
async fn ledger_is_stripes(
    world: &World,
    outside: &Outside,
    store: &dyn Store,
) -> Result<(), String> {
    let mut truth = vec![0_i64; PRIMES.len()];
    let mut lines_of = BTreeMap::new();
    for payment in &outside.payments {
        for txn in transactions(world, &payment.id).await {
            truth[payment.tenant] += txn["net"].as_i64().unwrap_or_default();
            lines_of.insert(txn["id"].to_string(), payment.tenant);
        }
    }
    for (n, truth) in truth.into_iter().enumerate() {
        let query = LedgerQuery {
            tenant: TenantId::parse(&tenant(n)).ok(),
            payment: None,
            account: Some(LedgerAccount::StripeBalance),
            after: None,
            limit: PAGE,
        };
        let lines = store
            .ledger(query)
            .await
            .map_err(|error| error.to_string())?
            .items;
        let booked: i64 = lines.iter().map(|line| line.amount.amount_minor).sum();
        if booked != truth {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| (line.source.as_str(), line.amount.amount_minor))
                .collect();
            world.wrong(format!(
                "{}: {booked} booked, {truth} at Stripe: {lines:?}",
                tenant(n)
            ));
        }
        let mut seen = BTreeSet::new();
        for line in &lines {
            if !seen.insert((line.source.clone(), line.amount.amount_minor)) {
                world.wrong(format!("{} is booked twice", line.source));
            }
        }
    }
    Ok(())
}

async fn listed(world: &World, path: &str) -> Vec<Value> {
    let answer = world
        .stripe
        .call("GET", path, &[], String::new())
        .await
        .expect("no faults there");
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    value["data"].as_array().cloned().unwrap_or_default()
}

/// Stripe's balance transactions of a payment: of its charge, its refunds and its disputes.
async fn transactions(world: &World, payment: &str) -> Vec<Value> {
    let mut sources = BTreeSet::new();
    for (path, field) in [
        (
            format!("/v1/charges?payment_intent={payment}&limit=100"),
            "id",
        ),
        (
            format!("/v1/refunds?payment_intent={payment}&limit=100"),
            "id",
        ),
        (
            format!("/v1/disputes?payment_intent={payment}&limit=100"),
            "id",
        ),
    ] {
        let found = listed(world, &path).await;
        sources.extend(
            found
                .iter()
                .filter_map(|one| one[field].as_str().map(str::to_owned)),
        );
    }
    let all = listed(world, "/v1/balance_transactions?limit=100").await;
    let is_of = |txn: &Value| {
        txn["source"]
            .as_str()
            .is_some_and(|source| sources.contains(source))
    };
    all.into_iter().filter(is_of).collect()
}

/// P3: each payment's row is of its tenant and says what Stripe says.
async fn payments_are_stripes(
    world: &World,
    outside: &Outside,
    store: &dyn Store,
) -> Result<(), String> {
    let rows = rows(store, RowKind::Payment).await?;
    for payment in &outside.payments {
        let Some(row) = rows.iter().find(|row| row.id == payment.id) else {
            world.wrong(format!("{} is not known", payment.id));
            continue;
        };
        let value: Value = serde_json::from_slice(&row.value).unwrap_or_default();
        let truth = world
            .stripe
            .control()
            .object(&payment.id)
            .unwrap_or_default();
        let refunds = listed(
            world,
            &format!("/v1/refunds?payment_intent={}&limit=100", payment.id),
        )
        .await;
        let refunded: i64 = refunds
            .iter()
            .filter_map(|refund| refund["amount"].as_i64())
            .sum();
        let shown = (
            row.status.as_str(),
            row.tenant.as_ref().map(ToString::to_string),
            value["amountRefunded"].as_i64().unwrap_or(0),
        );
        let told = (
            truth["status"].as_str().unwrap_or_default(),
            Some(tenant(payment.tenant)),
            refunded,
        );
        if shown != told {
            world.wrong(format!(
                "{} is shown as {shown:?}, in truth {told:?}",
                payment.id
            ));
        }
    }
    Ok(())
}

/// P4: one order is at most one thing done at Stripe, under one key, with the same bytes; and what was answered as done
/// was done.
async fn orders_happened_once(
    world: &World,
    outside: &Outside,
    store: &dyn Store,
) -> Result<(), String> {
    for row in rows(store, RowKind::Command).await? {
        let effects = world.stripe.control().side_effects(&row.id);
        let count: u64 = effects.values().sum();
        if count > 1 {
            world.wrong(format!("{} happened {count} times: {effects:?}", row.id));
        }
        if !matches!(row.status.as_str(), "succeeded" | "failed") {
            world.wrong(format!("{} is still {}", row.id, row.status));
        }
    }
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut bytes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sent in locked(&world.ordered).iter() {
        bytes
            .entry(sent.key.clone())
            .or_default()
            .insert(sent.bytes.clone());
        if !sent.command.is_empty() {
            keys.entry(sent.command.clone())
                .or_default()
                .insert(sent.key.clone());
        }
    }
    if let Some((key, _)) = bytes.iter().find(|(_, bytes)| bytes.len() > 1) {
        world.wrong(format!("{key} was sent with different bytes"));
    }
    if let Some((command, keys)) = keys.iter().find(|(_, keys)| keys.len() > 1) {
        world.wrong(format!("{command} was sent under {keys:?}"));
    }
    let done = outside.orders.iter().filter(|order| {
        let status = order.answer.as_ref().map(|answer| answer.status);
        order.key.starts_with("refund") && status == Some(201)
    });
    let control = world.stripe.control();
    let (done, made) = (
        done.count(),
        control.count_objects("refund", "object", "refund"),
    );
    if done != made {
        world.wrong(format!("{done} refunds were answered as made, {made} are"));
    }
    Ok(())
}

/// P7: a letter goes to the tenant it is about.
fn letters_reached_their_own(world: &World) {
    let mut addressees: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for letter in locked(&world.letters).iter() {
        addressees
            .entry(letter.message_id.clone())
            .or_default()
            .insert(letter.to.clone());
    }
    if let Some((id, to)) = addressees.iter().find(|(_, to)| to.len() > 1) {
        world.wrong(format!("{id} went to {to:?}"));
    }
}
