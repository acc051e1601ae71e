//! The endpoints there are: kept in the store, held in memory, changed one at a time.
//!
//! Invariants: memory follows the commit and never leads it; changes are made one after the other, so that none is lost; a
//! secret is not held here but read for each attempt. The pair of the configuration is an endpoint like others, of which
//! only its health is kept.
//! Not here: who may change what (`http::notifications`).

use super::records::{
    ATTEMPTS, ATTEMPTS_KEPT, Disabled, ENDPOINTS, Endpoint, SECRETS, Secrets, attempt_key,
    endpoint_subject, gone, put, read, sealed,
};
use bursar_config::Outbound;
use bursar_domain::ids::{TenantId, Timestamp};
use bursar_store::api::{Administer, AuditEntry, Store};
use bursar_store::error::StoreError;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The id of the endpoint the configuration names.
pub const CONFIGURED: &str = "ne_config";
/// Endpoints of one tenant, and of the installation, at most.
const ENDPOINTS_OF_ONE_MAX: usize = 16;
/// Endpoints at most.
const ENDPOINTS_MAX: usize = 10_000;
/// Secrets that sign beside the newest, at most.
const PREVIOUS_MAX: usize = 2;
const PAGE: usize = 1_000;

/// The endpoints.
pub struct Registry {
    store: Arc<dyn Store>,
    known: RwLock<BTreeMap<String, Arc<Endpoint>>>,
    changing: tokio::sync::Mutex<()>,
    configured: Option<SecretString>,
}

/// A secret that was replaced.
#[derive(Debug)]
pub struct Rotated {
    /// The new one.
    pub secret: String,
    /// Until when the one before still signs.
    pub previous_until: Timestamp,
}

impl Registry {
    /// Reads them. # Errors: the store's.
    pub(super) async fn open(
        store: Arc<dyn Store>,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut known = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = store.kept_all(ENDPOINTS, cursor, PAGE).await?;
            for (key, bytes) in &page {
                let endpoint: Option<Endpoint> = read(ENDPOINTS, key, bytes);
                known.extend(endpoint.map(|endpoint| (key.clone(), Arc::new(endpoint))));
            }
            cursor = page.last().map(|(key, _)| key.clone());
            if page.len() < PAGE {
                break;
            }
        }
        let kept = known.remove(CONFIGURED);
        if let Some((url, _)) = &outbound.endpoint {
            let url = url.to_string();
            let endpoint = match kept {
                Some(kept) if kept.url == url => kept,
                _ => Arc::new(configured(url, now)),
            };
            known.insert(CONFIGURED.to_owned(), endpoint);
        }
        let configured = outbound.endpoint.as_ref().map(|(_, secret)| secret.clone());
        Ok(Self {
            store,
            known: RwLock::new(known),
            changing: tokio::sync::Mutex::new(()),
            configured,
        })
    }

    /// All, the configured one first, then the newest first.
    pub fn all(&self) -> Vec<Arc<Endpoint>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.values().cloned().collect();
        all.sort_by_key(|one| {
            (
                one.id != CONFIGURED,
                std::cmp::Reverse((one.created_at, one.id.clone())),
            )
        });
        all
    }

    /// Those that hear of this.
    pub(super) fn hearing(&self, kind: &str, tenant: &TenantId) -> Vec<Arc<Endpoint>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .values()
            .filter(|one| one.hears(kind, tenant))
            .cloned()
            .collect()
    }

    /// One.
    pub fn get(&self, id: &str) -> Option<Arc<Endpoint>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(id).cloned()
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let disabled = known.values().filter(|one| one.disabled.is_some()).count();
        (known.len() - disabled, disabled)
    }

    /// Since when the enabled one that has failed the longest took nothing.
    pub(super) fn failing_since(&self) -> Option<Timestamp> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let enabled = known.values().filter(|one| one.disabled.is_none());
        enabled.filter_map(|one| one.failing_since).min()
    }

    /// Whether another endpoint fits beside those of this tenant, or of the installation.
    pub fn has_room(&self, tenant: Option<&TenantId>) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let own = known
            .values()
            .filter(|one| one.tenant.as_ref() == tenant && one.id != CONFIGURED);
        own.count() < ENDPOINTS_OF_ONE_MAX && known.len() < ENDPOINTS_MAX
    }

    fn remember(&self, endpoint: Endpoint) -> Arc<Endpoint> {
        let endpoint = Arc::new(endpoint);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(endpoint.id.clone(), Arc::clone(&endpoint));
        endpoint
    }

    /// Adds one; `false`: its id is taken. # Errors: the store's.
    pub async fn create(
        &self,
        endpoint: Endpoint,
        secret: String,
        audit: AuditEntry,
    ) -> Result<bool, StoreError> {
        let _changing = self.changing.lock().await;
        let id = endpoint.id.clone();
        let secrets = Secrets {
            current: secret,
            previous: Vec::new(),
        };
        let secrets = put(SECRETS, id.clone(), &secrets);
        let write = Administer {
            keeps: vec![
                put(ENDPOINTS, id.clone(), &endpoint),
                sealed(secrets, endpoint_subject(&id)),
            ],
            must_be_absent: vec![(ENDPOINTS, id)],
            audit: vec![audit],
            ..Administer::default()
        };
        let is_new = self.store.administer(write).await?;
        if is_new {
            self.remember(endpoint);
        }
        Ok(is_new)
    }

    /// Changes one, in a commit with what else belongs to it; `None`: it is no more. # Errors: the store's.
    pub async fn change(
        &self,
        id: &str,
        with: Administer,
        change: impl FnOnce(&mut Endpoint),
    ) -> Result<Option<Arc<Endpoint>>, StoreError> {
        let _changing = self.changing.lock().await;
        let Some(known) = self.get(id) else {
            return Ok(None);
        };
        let mut endpoint = known.as_ref().clone();
        change(&mut endpoint);
        let mut write = with;
        write.keeps.push(put(ENDPOINTS, id.to_owned(), &endpoint));
        self.store.administer(write).await?;
        Ok(Some(self.remember(endpoint)))
    }

    /// Removes one with its secret; its key is forgotten. # Errors: the store's.
    pub async fn remove(&self, id: &str, audit: AuditEntry) -> Result<bool, StoreError> {
        let _changing = self.changing.lock().await;
        if self.get(id).is_none() {
            return Ok(false);
        }
        let at = audit.at;
        let attempts = (0..ATTEMPTS_KEPT).map(|slot| gone(ATTEMPTS, attempt_key(id, slot)));
        let secret = gone(SECRETS, id.to_owned());
        let hidden = attempts
            .chain([secret])
            .map(|keep| sealed(keep, endpoint_subject(id)));
        let write = Administer {
            keeps: std::iter::once(gone(ENDPOINTS, id.to_owned()))
                .chain(hidden)
                .collect(),
            audit: vec![audit],
            ..Administer::default()
        };
        self.store.administer(write).await?;
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        self.store.erase(vec![endpoint_subject(id)], at).await?;
        Ok(true)
    }

    /// What signs for an endpoint; `None`: it has no secret any more. # Errors: the store's.
    pub(super) async fn secrets(&self, id: &str) -> Result<Option<Secrets>, StoreError> {
        if id == CONFIGURED {
            let secret = self.configured.as_ref();
            let secret = secret.map(|secret| secret.expose_secret().to_owned());
            return Ok(secret.map(|current| Secrets {
                current,
                previous: Vec::new(),
            }));
        }
        let bytes = self.store.kept(SECRETS, id.to_owned()).await?;
        Ok(bytes.and_then(|bytes| read(SECRETS, id, &bytes)))
    }

    /// Replaces the secret; the one before signs until then too. `None`: there is none. # Errors: the store's.
    pub async fn rotate(
        &self,
        id: &str,
        secret: String,
        previous_until: Timestamp,
        audit: AuditEntry,
    ) -> Result<Option<Rotated>, StoreError> {
        let _changing = self.changing.lock().await;
        let Some(known) = self.secrets(id).await? else {
            return Ok(None);
        };
        let mut previous: Vec<_> = known
            .previous
            .into_iter()
            .filter(|(_, until)| *until > audit.at)
            .collect();
        previous.insert(0, (known.current, previous_until));
        previous.truncate(PREVIOUS_MAX);
        let secrets = put(
            SECRETS,
            id.to_owned(),
            &Secrets {
                current: secret.clone(),
                previous,
            },
        );
        let write = Administer {
            keeps: vec![sealed(secrets, endpoint_subject(id))],
            audit: vec![audit],
            ..Administer::default()
        };
        self.store.administer(write).await?;
        Ok(Some(Rotated {
            secret,
            previous_until,
        }))
    }
}

fn configured(url: String, now: Timestamp) -> Endpoint {
    Endpoint {
        id: CONFIGURED.to_owned(),
        url,
        types: Vec::new(),
        tenant: None,
        description: "OUTBOUND_WEBHOOK_URL of the configuration".to_owned(),
        created_at: now,
        enabled_at: now,
        disabled: None,
        failing_since: None,
    }
}

impl Endpoint {
    /// Takes it into use again.
    pub fn enable(&mut self, now: Timestamp) {
        (self.disabled, self.failing_since, self.enabled_at) = (None, None, now);
    }
    /// Takes it out of use.
    pub fn disable(&mut self, reason: &str, at: Timestamp) {
        self.disabled = Some(Disabled {
            reason: reason.to_owned(),
            at,
        });
    }
}
