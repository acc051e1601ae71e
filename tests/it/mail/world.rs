//! A mailer of its own against the sandbox's mail server, and the mail of a whole service.

use crate::stage::{Bursar, Stage};
use bursar::mail::letter::Sender;
use bursar::mail::templates::{Brand, Templates};
use bursar::mail::transport::{Mailgun, Smtp, Transport};
use bursar::mail::{Mailer, Parts};
use bursar_actors::clock::{Clock, SystemClock};
use bursar_actors::ports::{Outcome, Performer};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::{EffectId, Lane};
use bursar_domain::effect::{Effect, Mail};
use bursar_domain::ids::Timestamp;
use bursar_sandbox::{Caught, Sandbox, SandboxConfig};
use bursar_store::MemStore;
use bursar_store::api::{DueEffect, EffectStatus, Store};
use bursar_store::query::{OutboxQuery, OutboxView};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long anything may take to appear.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A mailer over a memory store, and where its mail goes.
pub(super) struct Post {
    pub(super) sandbox: Sandbox,
    pub(super) store: Arc<dyn Store>,
    brand: Brand,
}

impl Post {
    pub(super) async fn open() -> Self {
        Self {
            sandbox: bursar_sandbox::start(SandboxConfig::default())
                .await
                .unwrap(),
            store: MemStore::new().unwrap(),
            brand: Brand {
                name: "Example".to_owned(),
                support: Some("help@example.com".to_owned()),
                app_url: "https://billing.example.com".to_owned(),
                product_url: "https://example.com".to_owned(),
            },
        }
    }

    pub(super) fn sender(&self) -> Sender {
        let support = self.brand.support.as_deref();
        let from = Some("Example Billing <billing@example.com>");
        Sender::new(from, &self.brand.name, "example.com", support).unwrap()
    }

    pub(super) fn smtp(&self) -> Box<dyn Transport> {
        let url = format!("smtp://user:pass@{}", self.sandbox.mail_addr());
        Box::new(Smtp::new(&url, self.sender()).unwrap())
    }

    pub(super) fn mailgun(&self) -> Box<dyn Transport> {
        let key = "key-123".to_owned().into();
        let base = self.sandbox.base_url();
        Box::new(Mailgun::new(base, "mg.example.com", key, self.sender()).unwrap())
    }

    pub(super) fn mailer(&self, transport: Box<dyn Transport>) -> Mailer {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let parts = Parts {
            templates: Templates::load(None).unwrap(),
            transport,
            brand: self.brand.clone(),
            domain: "example.com".to_owned(),
            plans: bursar_domain::plans::Catalogue::default(),
            admins: Vec::new(),
        };
        Mailer::new(Arc::clone(&self.store), clock, parts)
    }

    pub(super) fn caught(&self) -> Vec<Caught> {
        self.sandbox.control().mails()
    }
}

/// An effect as the lane hands it over.
pub(super) fn due(id: &str, mail: Mail) -> DueEffect {
    let effect = Effect::Mail(mail);
    DueEffect {
        id: EffectId(id.to_owned()),
        aggregate: AggregateKey::parse("tenant:acme").unwrap(),
        lane: Lane::Mail,
        kind: effect.kind(),
        attempts: 0,
        decided_at: Timestamp(0),
        payload: Some(serde_json::to_vec(&effect).unwrap()),
    }
}

/// A mail to one address with these parameters.
pub(super) fn to(address: &str, template: &str, params: &[(&str, &str)]) -> Mail {
    let params = params.iter();
    Mail {
        template: template.to_owned(),
        tenant: None,
        to: Some(address.to_owned()),
        params: params
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// One attempt.
pub(super) async fn attempt(mailer: &Mailer, effect: DueEffect) -> Outcome {
    mailer.perform(effect).await
}

/// How often each Message-ID was caught.
pub(super) fn by_id(caught: &[Caught]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for mail in caught {
        *counts.entry(mail.message_id.clone()).or_default() += 1;
    }
    counts
}

impl Stage {
    /// A tenant that somebody made, with an address.
    pub(super) async fn tenant(&self, bursar: &Bursar, id: &str) {
        let body = json!({"tenantId": id, "name": format!("{id} Inc"), "email": format!("{id}@example.com")});
        bursar.post("/api/v1/tenants", &body).await.ok().unwrap();
    }
}

impl Bursar {
    /// Its mails of one status.
    pub(super) async fn mails(&self, status: EffectStatus) -> Vec<OutboxView> {
        let query = OutboxQuery {
            status: Some(status),
            lane: Some(Lane::Mail),
            after: None,
            limit: 500,
        };
        self.store().outbox(query).await.unwrap().items
    }

    /// Waits until no mail is pending, moving time so that what was put off falls due.
    pub(super) async fn mailed(&self, stage: &Stage) {
        let began = Instant::now();
        while !self.mails(EffectStatus::Pending).await.is_empty() {
            assert!(
                began.elapsed() < PATIENCE,
                "mails stay pending: {:#?}",
                self.mails(EffectStatus::Pending).await
            );
            stage.stripe.advance(60).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
