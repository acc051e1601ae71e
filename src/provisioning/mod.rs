//! Accounts for those who paid: the performer of `Lane::Identity` and the port to whoever keeps the accounts.
//!
//! Three adapters: built-in (the payer is invited as the tenant's owner), Amazon Cognito, none.
//!
//! Invariants: an account is made once per checkout that was paid, and asking again is harmless; whether people get in
//! follows from the tenant's licence as it is when the effect is performed, so the order of effects does not matter;
//! addresses are kept sealed under the tenant's subject and appear in no note; of an erased tenant the accounts are
//! deleted, and what names them is kept until they are.
//! Not here: who may do what in Bursar (`identity`), when an account is due (`domain::session`, `domain::tenant`).
//! Failure: what may pass is put off by the lane; what is refused for good fails the effect with the provider's word.

pub mod built_in;
#[cfg(feature = "cognito")]
pub mod cognito;

use crate::http::tenant_store::TenantStore;
use bursar_actors::clock::Clock;
use bursar_actors::ports::{Outcome, Performer, PortFuture};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::effect::{Access, Effect, Forget, Provision};
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::rows::{RowKind, Subject};
use bursar_store::api::{Administer, AuditEntry, DueEffect, Keep, Store};
use bursar_store::error::StoreError;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Where is kept which accounts belong to which tenant: by tenant, their names, one a line.
const SPACE: &str = "provisioned";
/// Accounts of one tenant: one for each address that paid. The oldest is no longer told of the licence.
const ACCOUNTS_MAX: usize = 50;
/// Tries to write which accounts there are while others do.
const ROUNDS: usize = 8;

/// Why a provider did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It may work later; not before this, if it said so.
    Later {
        /// In words, no personal data.
        reason: String,
        /// From its answer.
        after: Option<Duration>,
    },
    /// Our key is wrong or may not do this: later, once somebody mended it.
    Key {
        /// In words.
        reason: String,
    },
    /// Never.
    Never {
        /// In words, no personal data.
        reason: String,
    },
    /// It knows no such account.
    Unknown,
}

/// What became of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// There was none.
    New(String),
    /// The address had one already.
    Known(String),
}

/// Whoever keeps the accounts.
pub trait IdentityProvider: Send + Sync + 'static {
    /// Its name, for notes and the audit trail.
    fn name(&self) -> &'static str;
    /// Makes an account for an address, or says that there is one. Repeating it is harmless.
    fn create<'a>(
        &'a self,
        tenant: &'a TenantId,
        address: &'a str,
    ) -> PortFuture<'a, Result<Made, Refused>>;
    /// Lets an account in, or keeps it out.
    fn set_enabled<'a>(
        &'a self,
        account: &'a str,
        enabled: bool,
    ) -> PortFuture<'a, Result<(), Refused>>;
    /// Deletes an account.
    fn delete<'a>(&'a self, account: &'a str) -> PortFuture<'a, Result<(), Refused>>;
}

/// Performs the effects of `Lane::Identity` with an outside provider.
pub struct Provisioner {
    provider: Arc<dyn IdentityProvider>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Provisioner {
    /// Over a provider.
    pub fn new(
        provider: Arc<dyn IdentityProvider>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            provider,
            store,
            clock,
        }
    }

    async fn provision(&self, order: Provision, effect: &DueEffect) -> Outcome {
        let tenant = &order.tenant;
        let address = match order.email {
            Some(address) => Some(address),
            None => match tenant_value(self.store.as_ref(), tenant).await {
                Ok(row) => row["email"].as_str().map(str::to_owned),
                Err(outcome) => return outcome,
            },
        };
        let Some(address) = address else {
            return skipped("nobody's address is known");
        };
        let made = match self.provider.create(tenant, &address).await {
            Ok(made) => made,
            Err(refused) => return outcome_of(refused),
        };
        let (account, action) = match &made {
            Made::New(account) => (account, "account.provisioned"),
            Made::Known(account) => (account, "account.found"),
        };
        let line = AuditEntry {
            at: self.clock.now(),
            actor: "system".to_owned(),
            action: action.to_owned(),
            object_id: order.session.to_string(),
            tenant: Some(tenant.clone()),
            request_id: effect.id.0.clone(),
            detail: self.provider.name().to_owned(),
        };
        match self.remember(tenant, account, line).await {
            Ok(()) => done(match made {
                Made::New(_) => "an account was made",
                Made::Known(_) => "the address had an account",
            }),
            Err(error) => later(error.to_string(), Some(error.retry_after())),
        }
    }

    /// Writes down that an account is a tenant's.
    async fn remember(
        &self,
        tenant: &TenantId,
        account: &str,
        line: AuditEntry,
    ) -> Result<(), StoreError> {
        for _ in 0..ROUNDS {
            let before = self.store.kept(SPACE, tenant.to_string()).await?;
            let mut names = before.as_deref().map(names).unwrap_or_default();
            names.retain(|name| name != account);
            names.push(account.to_owned());
            let first = names.len().saturating_sub(ACCOUNTS_MAX);
            let mut write = Administer {
                keeps: vec![Keep {
                    value: Some(names[first..].join("\n").into_bytes()),
                    ..gone(tenant)
                }],
                audit: vec![line.clone()],
                ..Administer::default()
            };
            guard(&mut write, tenant, before);
            if self.store.administer(write).await? {
                return Ok(());
            }
        }
        Err(StoreError::Busy)
    }

    async fn access(&self, order: Access) -> Outcome {
        let accounts = match self.store.kept(SPACE, order.tenant.to_string()).await {
            Ok(Some(bytes)) => names(&bytes),
            Ok(None) => return skipped("no account was made for this tenant"),
            Err(error) => return later(error.to_string(), Some(error.retry_after())),
        };
        let row = match tenant_value(self.store.as_ref(), &order.tenant).await {
            Ok(row) => row,
            Err(outcome) => return outcome,
        };
        let enabled = row["license"]["state"] != "revoked";
        let mut told = 0;
        for account in &accounts {
            match self.provider.set_enabled(account, enabled).await {
                Ok(()) => told += 1,
                Err(Refused::Unknown) => {}
                // All of them again: telling one twice is harmless.
                Err(refused) => return outcome_of(refused),
            }
        }
        match (told, enabled) {
            (0, _) => outcome_of(Refused::Unknown),
            (_, true) => done("the account may sign in"),
            (_, false) => done("the account may not sign in"),
        }
    }

    async fn forget(&self, order: Forget, effect: &DueEffect) -> Outcome {
        for account in &order.accounts {
            match self.provider.delete(account).await {
                Ok(()) | Err(Refused::Unknown) => {}
                Err(refused) => return outcome_of(refused),
            }
        }
        let (store, now) = (self.store.as_ref(), self.clock.now());
        let line = AuditEntry {
            at: now,
            actor: "system".to_owned(),
            action: "account.deleted".to_owned(),
            object_id: order.tenant.to_string(),
            tenant: Some(order.tenant.clone()),
            request_id: effect.id.0.clone(),
            detail: format!("{} at {}", order.accounts.len(), self.provider.name()),
        };
        let write = Administer {
            audit: vec![line],
            ..Administer::default()
        };
        let written = async {
            store.administer(write).await?;
            // Last: without the key nothing names them any more.
            store.erase(vec![forgotten(&order.tenant)], now).await
        };
        match written.await {
            Ok(_) => done("the accounts were deleted"),
            Err(error) => later(error.to_string(), Some(error.retry_after())),
        }
    }
}

impl Performer for Provisioner {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(async move {
            let payload = effect.payload.as_deref().unwrap_or_default();
            match Effect::from_payload(payload) {
                Ok(Effect::Provision(order)) => self.provision(order, &effect).await,
                Ok(Effect::Access(order)) => self.access(order).await,
                Ok(Effect::Forget(order)) => self.forget(order, &effect).await,
                Ok(_) => failed(format!("{} is not for this lane", effect.kind)),
                Err(error) => failed(format!("not an effect of this version: {error}")),
            }
        })
    }
}

/// Under whose key a tenant's own records are sealed.
fn subject(tenant: &TenantId) -> Subject {
    Subject(AggregateKey::Tenant(tenant.clone()).to_string())
}

/// Under whose key it is sealed which accounts are to be deleted.
fn forgotten(tenant: &TenantId) -> Subject {
    Subject(format!("forgotten:{tenant}"))
}

fn names(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(str::to_owned).collect()
}

fn gone(tenant: &TenantId) -> Keep {
    Keep {
        space: SPACE,
        key: tenant.to_string(),
        value: None,
        subject: Some(subject(tenant)),
    }
}

fn guard(write: &mut Administer, tenant: &TenantId, before: Option<Vec<u8>>) {
    let key = tenant.to_string();
    match before {
        Some(bytes) => write.must_be_unchanged.push((SPACE, key, bytes)),
        None => write.must_be_absent.push((SPACE, key)),
    }
}

/// Orders that the accounts of a tenant be deleted where they are kept, and forgets whose they are; answers how many
/// there are. `None`: somebody changed that meanwhile; ask again.
///
/// # Errors
/// The store's.
pub async fn order_forgetting(
    store: &TenantStore,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<Option<usize>, StoreError> {
    let Some(before) = store.kept(SPACE, tenant.to_string()).await? else {
        return Ok(Some(0));
    };
    let accounts = names(&before);
    let count = accounts.len();
    let of = AggregateKey::Tenant(tenant.clone());
    let order = Effect::Forget(Forget {
        tenant: tenant.clone(),
        accounts,
    });
    let fact = format!("erased at {}", now.0);
    let intent = order.intent(&of, &fact, now, Some(forgotten(tenant)));
    let mut write = Administer {
        keeps: vec![gone(tenant)],
        effects: vec![(of, intent)],
        ..Administer::default()
    };
    guard(&mut write, tenant, Some(before));
    Ok(store.administer(write).await?.then_some(count))
}

async fn tenant_value(store: &dyn Store, tenant: &TenantId) -> Result<Value, Outcome> {
    let row = store.row(RowKind::Tenant, Scope::PLATFORM, tenant.to_string());
    match row.await {
        Ok(row) => {
            let value = row.map(|row| row.value).unwrap_or_default();
            Ok(serde_json::from_slice(&value).unwrap_or_default())
        }
        Err(error) => Err(later(error.to_string(), Some(error.retry_after()))),
    }
}

/// A wrong key is mended by people: asked again now and then, without using up the attempts.
const KEY_WAIT: Duration = Duration::from_secs(300);

fn outcome_of(refused: Refused) -> Outcome {
    match refused {
        Refused::Later { reason, after } => later(reason, after),
        Refused::Key { reason } => Outcome::Retry {
            after: Some(KEY_WAIT),
            error: reason,
            counts: false,
            of_one: false,
            told: None,
        },
        Refused::Never { reason } => failed(reason),
        Refused::Unknown => skipped("the provider knows no such account any more"),
    }
}

fn later(error: String, after: Option<Duration>) -> Outcome {
    Outcome::Retry {
        after,
        error,
        counts: true,
        of_one: false,
        told: None,
    }
}

fn done(note: &str) -> Outcome {
    Outcome::Done {
        note: note.to_owned(),
        result: None,
    }
}

fn skipped(note: &str) -> Outcome {
    Outcome::Skipped {
        note: note.to_owned(),
    }
}

fn failed(note: String) -> Outcome {
    Outcome::Failed { note }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_actors::clock::SystemClock;
    use bursar_domain::decision::{EffectId, Lane};
    use bursar_domain::ids::{SessionId, Timestamp};
    use std::sync::Mutex;

    /// Answers as told, and remembers what it was asked.
    #[derive(Default)]
    struct Told {
        refuses: Mutex<Option<Refused>>,
        asked: Mutex<Vec<String>>,
    }

    impl IdentityProvider for Told {
        fn name(&self) -> &'static str {
            "told"
        }
        fn create<'a>(
            &'a self,
            _: &'a TenantId,
            address: &'a str,
        ) -> PortFuture<'a, Result<Made, Refused>> {
            self.asked.lock().unwrap().push(format!("create {address}"));
            let refused = self.refuses.lock().unwrap().take();
            let made = Ok(Made::New(format!("name of {address}")));
            Box::pin(std::future::ready(refused.map_or(made, Err)))
        }
        fn set_enabled<'a>(
            &'a self,
            account: &'a str,
            enabled: bool,
        ) -> PortFuture<'a, Result<(), Refused>> {
            self.asked
                .lock()
                .unwrap()
                .push(format!("{account} {enabled}"));
            Box::pin(std::future::ready(Ok(())))
        }
        fn delete<'a>(&'a self, account: &'a str) -> PortFuture<'a, Result<(), Refused>> {
            self.asked.lock().unwrap().push(format!("delete {account}"));
            let refused = self.refuses.lock().unwrap().take();
            Box::pin(std::future::ready(refused.map_or(Ok(()), Err)))
        }
    }

    fn due(effect: &Effect) -> DueEffect {
        let key = AggregateKey::parse("tenant:acme").unwrap();
        let intent = effect.intent(&key, "paid", Timestamp(0), None);
        DueEffect {
            id: EffectId("e1".into()),
            aggregate: key,
            lane: Lane::Identity,
            kind: effect.kind(),
            attempts: 0,
            decided_at: Timestamp(0),
            payload: Some(intent.payload),
        }
    }

    fn provision(email: Option<&str>) -> Effect {
        Effect::Provision(Provision {
            tenant: TenantId::parse("acme").unwrap(),
            session: SessionId::parse("cs_1").unwrap(),
            email: email.map(str::to_owned),
        })
    }

    #[tokio::test]
    async fn an_account_is_made_once_known_and_told_of_the_licence() {
        let told = Arc::new(Told::default());
        let store = bursar_store::MemStore::new().unwrap();
        let clock = Arc::new(SystemClock::new());
        let lane = Provisioner::new(told.clone(), Arc::clone(&store), clock);
        let access = Effect::Access(Access {
            tenant: TenantId::parse("acme").unwrap(),
        });
        let outcome = lane.perform(due(&access)).await;
        assert!(matches!(outcome, Outcome::Skipped { .. }), "{outcome:?}");
        let nobody = lane.perform(due(&provision(None))).await;
        assert!(matches!(nobody, Outcome::Skipped { .. }), "{nobody:?}");

        *told.refuses.lock().unwrap() = Some(Refused::Key {
            reason: "no".into(),
        });
        let refused = lane.perform(due(&provision(Some("a@example.com")))).await;
        assert!(
            matches!(refused, Outcome::Retry { counts: false, .. }),
            "{refused:?}"
        );
        let made = lane.perform(due(&provision(Some("a@example.com")))).await;
        assert!(matches!(made, Outcome::Done { .. }), "{made:?}");
        // No row of the tenant says that its licence was revoked.
        lane.perform(due(&access)).await;
        assert_eq!(
            *told.asked.lock().unwrap(),
            [
                "create a@example.com",
                "create a@example.com",
                "name of a@example.com true"
            ]
        );
    }

    #[tokio::test]
    async fn every_account_of_an_erased_tenant_is_deleted_and_named_until_it_is() {
        let told = Arc::new(Told::default());
        let store = bursar_store::MemStore::new().unwrap();
        let clock = Arc::new(SystemClock::new());
        let lane = Provisioner::new(told.clone(), Arc::clone(&store), clock);
        let tenant = TenantId::parse("acme").unwrap();
        // Two addresses paid, one of them twice.
        for address in ["a@example.com", "b@example.com", "a@example.com"] {
            let made = lane.perform(due(&provision(Some(address)))).await;
            assert!(matches!(made, Outcome::Done { .. }), "{made:?}");
        }
        let handlers = TenantStore::new(Arc::clone(&store));
        let now = Timestamp(5);
        let ordered = order_forgetting(&handlers, &tenant, now).await.unwrap();
        assert_eq!(ordered, Some(2));
        let again = order_forgetting(&handlers, &tenant, now).await.unwrap();
        assert_eq!(again, Some(0), "nothing is known any more");
        // The tenant's key goes at once, and the provider is away.
        store.erase(vec![subject(&tenant)], now).await.unwrap();
        let look = async || {
            let due = store.due_effects(Lane::Identity, now, 10).await.unwrap();
            due.into_iter().next().unwrap()
        };
        *told.refuses.lock().unwrap() = Some(Refused::Later {
            reason: "away".into(),
            after: None,
        });
        let refused = lane.perform(look().await).await;
        assert!(matches!(refused, Outcome::Retry { counts: true, .. }));
        let done = lane.perform(look().await).await;
        assert!(matches!(done, Outcome::Done { .. }), "{done:?}");
        let asked = told.asked.lock().unwrap().clone();
        let names = ["name of b@example.com", "name of a@example.com"];
        let deleted = |n: usize| format!("delete {}", names[n]);
        assert_eq!(asked[3..], [deleted(0), deleted(0), deleted(1)]);
        assert_eq!(look().await.payload, None, "nothing names them any more");
    }
}
