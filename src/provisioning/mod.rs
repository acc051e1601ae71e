//! Accounts for those who paid: the performer of `Lane::Identity` and the port to whoever keeps the accounts.
//!
//! Three adapters: built-in (the payer is invited as the tenant's owner), Amazon Cognito, none.
//!
//! Invariants: an account is made once per checkout that was paid, and asking again is harmless; whether people get in
//! follows from the tenant's licence as it is when the effect is performed, so the order of effects does not matter;
//! addresses are kept sealed under the tenant's subject and appear in no note.
//! Not here: who may do what in Bursar (`identity`), when an account is due (`domain::session`, `domain::tenant`).
//! Failure: what may pass is put off by the lane; what is refused for good fails the effect with the provider's word.

pub mod built_in;
#[cfg(feature = "cognito")]
pub mod cognito;

use bursar_actors::clock::Clock;
use bursar_actors::ports::{Outcome, Performer, PortFuture};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::effect::{Access, Effect, Provision};
use bursar_domain::ids::{Scope, TenantId};
use bursar_domain::rows::{RowKind, Subject};
use bursar_store::api::{Administer, AuditEntry, DueEffect, Keep, Store};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Where is kept which account belongs to which tenant: by tenant, the account's name.
const SPACE: &str = "provisioned";

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
        let write = Administer {
            keeps: vec![Keep {
                space: SPACE,
                key: tenant.to_string(),
                value: Some(account.clone().into_bytes()),
                subject: Some(subject(tenant)),
            }],
            audit: vec![AuditEntry {
                at: self.clock.now(),
                actor: "system".to_owned(),
                action: action.to_owned(),
                object_id: order.session.to_string(),
                tenant: Some(tenant.clone()),
                request_id: effect.id.0.clone(),
                detail: self.provider.name().to_owned(),
            }],
            ..Administer::default()
        };
        match self.store.administer(write).await {
            Ok(_) => done(match made {
                Made::New(_) => "an account was made",
                Made::Known(_) => "the address had an account",
            }),
            Err(error) => later(error.to_string(), Some(error.retry_after())),
        }
    }

    async fn access(&self, order: Access) -> Outcome {
        let account = match self.store.kept(SPACE, order.tenant.to_string()).await {
            Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            Ok(None) => return skipped("no account was made for this tenant"),
            Err(error) => return later(error.to_string(), Some(error.retry_after())),
        };
        let row = match tenant_value(self.store.as_ref(), &order.tenant).await {
            Ok(row) => row,
            Err(outcome) => return outcome,
        };
        let enabled = row["license"]["state"] != "revoked";
        match self.provider.set_enabled(&account, enabled).await {
            Ok(()) if enabled => done("the account may sign in"),
            Ok(()) => done("the account may not sign in"),
            Err(refused) => outcome_of(refused),
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
}
