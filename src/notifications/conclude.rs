//! What follows from an attempt, in one commit: the queue, the list of attempts, the endpoint's health.
//!
//! Invariants: a success ends the delivery, a failure puts it off by the schedule or ends it; an endpoint that is ended is
//! announced in the same commit, by an alert and, where it is a tenant's, by a mail to the owners.

use super::attempt::Sent;
use super::deliver::Parcel;
use super::lines::Job;
use super::records::{
    ATTEMPTS, Attempt, Endpoint, FAILED, Failed, QUEUE, Queued, attempt_key, endpoint_subject,
    failed_key, gone, put, queue_key, sealed,
};
use super::{Notifications, catalogue};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::effect::{Alert, Effect, Mail};
use bursar_domain::ids::{Scope, Timestamp};
use bursar_domain::notification::{Disable, disabled_by, wait_ms};
use bursar_store::api::{Administer, AuditEntry, Keep};
use bursar_store::error::{ErrorClass, StoreError};
use std::collections::BTreeMap;
use std::time::Duration;

/// Tries to write an end down, and the wait between them.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

impl Notifications {
    /// Writes down how an attempt ended; answers when the next one is due.
    pub(super) async fn conclude(
        &self,
        job: &Job,
        parcel: Parcel,
        sent: Sent,
    ) -> Result<Option<Timestamp>, StoreError> {
        let now = self.clock.now();
        let Parcel {
            endpoint,
            entry,
            queued,
            ..
        } = parcel;
        let attempts = queued.attempts.saturating_add(1);
        let wait = if sent.is_success() {
            None
        } else {
            wait_ms(
                attempts,
                &format!("{}{}", entry.id, endpoint.id),
                sent.retry_after_ms,
            )
        };
        let failing_since = endpoint.failing_since.unwrap_or(now);
        let ended = if sent.is_success() {
            None
        } else {
            disabled_by(sent.status, wait.is_none(), failing_since, now)
        };
        // Whoever wants nothing any more is not asked again.
        let due_at = wait.filter(|_| ended.is_none()).map(|ms| now.plus_ms(ms));
        let attempt = Attempt {
            count: self.lines().count(&endpoint.id),
            notification: entry.id.clone(),
            kind: entry.kind.clone(),
            tenant: Some(entry.tenant.clone()),
            number: attempts,
            at: now,
            latency_ms: sent.latency_ms,
            status: sent.status,
            error: sent.error.clone(),
            answer: sent.answer.clone(),
            next_at: due_at,
        };
        catalogue::attempt(outcome(&sent, due_at), sent.latency_ms);
        let mut keeps = vec![kept_attempt(&endpoint.id, &attempt)];
        keeps.extend(queue_keeps(
            job,
            due_at,
            &sent,
            Queued {
                attempts,
                due_at: now,
                touched_at: now,
            },
        ));
        let health = (!sent.is_success()).then_some(failing_since);
        self.commit(&endpoint, keeps, health, ended, now).await?;
        Ok(due_at)
    }

    /// Ends a delivery nothing is left to send of.
    pub(super) async fn give_up(&self, job: &Job, why: &str) -> Result<(), StoreError> {
        tracing::warn!(
            endpoint.id = job.endpoint,
            number = job.number,
            why,
            "a delivery is given up"
        );
        let key = queue_key(&job.endpoint, &job.tenant, job.number);
        let write = Administer {
            keeps: vec![gone(QUEUE, key)],
            ..Administer::default()
        };
        self.store.administer(write).await.map(drop)
    }

    async fn commit(
        &self,
        endpoint: &Endpoint,
        keeps: Vec<Keep>,
        failing_since: Option<Timestamp>,
        ended: Option<Disable>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut write = Administer {
            keeps,
            ..Administer::default()
        };
        if let Some(why) = ended {
            announced(endpoint, why, now, &mut write);
        }
        let mut tries = 1;
        loop {
            let written = if ended.is_none() && endpoint.failing_since == failing_since {
                self.store.administer(write.clone()).await.map(drop)
            } else {
                let change = |one: &mut Endpoint| {
                    one.failing_since = failing_since;
                    if let Some(why) = ended {
                        one.disable(why.as_str(), now);
                    }
                };
                self.registry
                    .change(&endpoint.id, write.clone(), change)
                    .await
                    .map(drop)
            };
            match written {
                Err(error) if error.class() == ErrorClass::Retryable && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                end => {
                    if let (Ok(()), Some(why)) = (&end, ended) {
                        catalogue::disabled(why);
                    }
                    return end;
                }
            }
        }
    }
}

fn outcome(sent: &Sent, due_at: Option<Timestamp>) -> &'static str {
    match due_at {
        _ if sent.is_success() => "succeeded",
        Some(_) => "retry",
        None => "failed",
    }
}

/// An attempt as it is kept.
pub(super) fn kept_attempt(endpoint: &str, attempt: &Attempt) -> Keep {
    let keep = put(ATTEMPTS, attempt_key(endpoint, attempt.count), attempt);
    sealed(keep, endpoint_subject(endpoint))
}

fn queue_keeps(job: &Job, due_at: Option<Timestamp>, sent: &Sent, tried: Queued) -> Vec<Keep> {
    let key = queue_key(&job.endpoint, &job.tenant, job.number);
    if let Some(due_at) = due_at {
        return vec![put(QUEUE, key, &Queued { due_at, ..tried })];
    }
    let failed = failed_key(&job.endpoint, job.number);
    let failed = match &sent.error {
        Some(reason) => put(
            FAILED,
            failed,
            &Failed {
                at: tried.touched_at,
                reason: reason.clone(),
            },
        ),
        None => gone(FAILED, failed),
    };
    vec![gone(QUEUE, key), failed]
}

/// What is said of an endpoint that is ended.
fn announced(endpoint: &Endpoint, why: Disable, now: Timestamp, write: &mut Administer) {
    let (host, sentence) = (endpoint.shown_host(), why.sentence());
    let of = endpoint.tenant.clone().map_or(
        AggregateKey::Installation(Scope::PLATFORM),
        AggregateKey::Tenant,
    );
    let business_key = format!("{}:{}", endpoint.id, now.0);
    let alert = Effect::Alert(Alert {
        code: "endpoint_disabled".to_owned(),
        tenant: endpoint.tenant.clone(),
        object_id: endpoint.id.clone(),
        text: format!(
            "notifications to {} at {host} are off: {sentence}",
            endpoint.id
        ),
    });
    write
        .effects
        .push((of.clone(), alert.intent(&of, &business_key, now, None)));
    if let Some(tenant) = &endpoint.tenant {
        let params = [("url", host), ("reason", sentence.to_owned())];
        let mail = Effect::Mail(Mail {
            template: "endpoint_disabled".to_owned(),
            tenant: Some(tenant.clone()),
            to: None,
            params: params
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        });
        write
            .effects
            .push((of.clone(), mail.intent(&of, &business_key, now, None)));
    }
    write.audit.push(AuditEntry {
        at: now,
        actor: "system".to_owned(),
        action: "notification_endpoint.disabled".to_owned(),
        object_id: endpoint.id.clone(),
        tenant: endpoint.tenant.clone(),
        request_id: String::new(),
        detail: sentence.to_owned(),
    });
}
