//! A test: a notification that says it is one, sent at once, and what came of it.
//!
//! Its `data` has `"test": true`, no tenant, and version 0, which every receiver that drops older versions drops. It is in
//! no feed and is not tried again.

use super::Notifications;
use super::attempt::Sent;
use super::conclude::kept_attempt;
use super::records::{Attempt, Endpoint};
use super::sign::random_hex;
use bursar_store::api::{Administer, AuditEntry};
use bursar_store::error::StoreError;
use serde_json::json;

/// What a test is of when nobody says.
const KIND: &str = "tenant.activated";

/// Tests at once, of all endpoints.
pub(super) const AT_ONCE_MAX: usize = 8;

/// A test and its end.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Its id, `ntf_test…`.
    pub id: String,
    /// The type it had.
    pub kind: String,
    /// What came of it.
    pub sent: Sent,
}

impl Notifications {
    /// Sends a test, of this type or of one the endpoint hears. `None`: too many are under way.
    /// # Errors: the store's.
    pub async fn try_out(
        &self,
        endpoint: &Endpoint,
        kind: Option<&str>,
        audit: AuditEntry,
    ) -> Result<Option<Trial>, StoreError> {
        let Ok(_place) = self.trials.try_acquire() else {
            return Ok(None);
        };
        let heard = endpoint.types.iter().find(|kind| !kind.ends_with('*'));
        let kind = kind
            .map(str::to_owned)
            .or(heard.cloned())
            .unwrap_or_else(|| KIND.to_owned());
        let now = self.clock.now();
        let drawn = random_hex(12).unwrap_or_else(|_| now.0.to_string());
        let id = format!("ntf_test{drawn}");
        let body = json!({
            "type": kind, "timestamp": now.rfc3339(),
            "data": {"test": true, "tenantId": endpoint.tenant, "version": 0, "tenant": null,
                "object": {"id": null}, "cause": null},
        });
        let sent = self
            .post(endpoint, &id, body.to_string().into_bytes())
            .await?;
        let attempt = Attempt {
            count: self.lines().count(&endpoint.id),
            notification: id.clone(),
            kind: kind.clone(),
            tenant: endpoint.tenant.clone(),
            number: 0,
            at: self.clock.now(),
            latency_ms: sent.latency_ms,
            status: sent.status,
            error: sent.error.clone(),
            answer: sent.answer.clone(),
            next_at: None,
        };
        let write = Administer {
            keeps: vec![kept_attempt(&endpoint.id, &attempt)],
            audit: vec![audit],
            ..Administer::default()
        };
        self.store.administer(write).await?;
        Ok(Some(Trial { id, kind, sent }))
    }
}
