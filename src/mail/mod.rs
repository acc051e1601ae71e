//! Mail: performs `Effect::Mail`. Reads who it is for, writes it, sends it, remembers how far it came.
//!
//! Invariants: a mail is a durable effect, so nothing that moves money waits for one; each recipient's Message-ID is
//! the same at every attempt; what a server took is not sent again by a retry; no address is logged or noted.
//! Not here: when a mail is due (the reducers, `identity`, `alerts`), attempts and their times (the lane).
//! Failure: 4xx and a server that is away are put off, 5xx ends the mail as failed; an operator may order it again.
//! At least once: a process killed between the server's word and our commit sends again, under the same Message-ID.

pub mod address;
pub mod alerts;
pub mod catalogue;
pub mod letter;
pub mod limits;
mod links;
mod metrics;
pub mod progress;
pub mod recipients;
pub mod samples;
pub mod templates;
pub mod transport;

pub use metrics::CATALOGUE;

use address::Address;
use alerts::{Digests, Drawn};
use bursar_actors::clock::Clock;
use bursar_actors::ports::{Outcome, Performer, PortFuture};
use bursar_config::{Config, MailTransport, Problems};
use bursar_domain::effect::{Effect, Mail};
use bursar_domain::plans::Catalogue;
use bursar_store::api::{DueEffect, Store};
use bursar_store::error::StoreError;
use catalogue::Spec;
use letter::{Letter, Sender};
use limits::{Admitted, Limits};
use minijinja::value::Value;
use progress::{Progress, Reached};
use recipients::About;
use secrecy::ExposeSecret;
use std::sync::Arc;
use std::time::Duration;
use templates::{Brand, Context, Rendered, Templates};
use transport::{Held, Mailgun, SendError, Smtp, ToFiles, ToLog, Transport};

/// How long a mail is left alone that a command found due: the service sends it.
const HELD: Duration = Duration::from_secs(60);
/// Longest value of a parameter.
const PARAM_CHARS_MAX: usize = 2_000;

/// Performs mails.
pub struct Mailer {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    templates: Templates,
    transport: Box<dyn Transport>,
    brand: Brand,
    domain: String,
    plans: Catalogue,
    digests: Digests,
    admins: Vec<Address>,
    limits: Limits,
    progress: Progress,
}

/// What a mailer is made of beside the store.
pub struct Parts {
    /// The texts.
    pub templates: Templates,
    /// How letters leave.
    pub transport: Box<dyn Transport>,
    /// The product's name and addresses.
    pub brand: Brand,
    /// What Message-IDs end in.
    pub domain: String,
    /// Names of plans.
    pub plans: Catalogue,
    /// Who is told of alerts.
    pub admins: Vec<Address>,
}

impl Parts {
    /// As configured.
    ///
    /// # Errors
    /// What is wrong with texts, sender or transport, all at once.
    pub fn of(config: &Config) -> Result<Self, Vec<String>> {
        let mail = &config.mail;
        let templates = Templates::load(mail.templates_dir.as_deref())?;
        let brand = Brand {
            name: mail
                .brand_name
                .clone()
                .unwrap_or_else(|| "Bursar".to_owned()),
            support: mail.support_email.clone(),
            app_url: config.addresses.app.to_string(),
            product_url: config.addresses.client.to_string(),
        };
        let one = |error: String| vec![error];
        let support = mail.support_email.as_deref();
        let host = config.addresses.app.host();
        let sender = Sender::new(mail.from.as_deref(), &brand.name, host, support).map_err(one)?;
        let domain = sender.domain().to_owned();
        let transport: Box<dyn Transport> = match &mail.transport {
            MailTransport::Log => Box::new(ToLog),
            MailTransport::Hold => Box::new(Held),
            MailTransport::File => {
                Box::new(ToFiles::new(config.store.data_dir().join("mail"), sender))
            }
            MailTransport::Smtp(url) => {
                Box::new(Smtp::new(url.expose_secret(), sender).map_err(one)?)
            }
            MailTransport::Mailgun {
                api_key,
                domain,
                base,
            } => {
                let base = base.to_string();
                let mailgun = Mailgun::new(&base, domain, api_key.clone(), sender);
                Box::new(mailgun.map_err(one)?)
            }
        };
        let admins = mail.admin_emails.iter();
        let admins = admins
            .filter_map(|text| Address::parse(text).ok())
            .collect();
        Ok(Self {
            templates,
            transport,
            brand,
            domain,
            plans: config.plans.clone(),
            admins,
        })
    }
}

/// Says what `serve` would refuse in the mail set-up.
///
/// # Errors
/// Own texts that do not render, each with file and line.
pub fn check(config: &Config) -> Result<(), Problems> {
    let mut problems = Problems::default();
    for text in Parts::of(config).err().unwrap_or_default() {
        problems.add("mail", text);
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// What to do with a mail: to whom, saying what, and what follows its end.
struct Job {
    template: String,
    to: Vec<Address>,
    text: Rendered,
    /// The number of the summary this is.
    digest: Option<u64>,
}

/// What came of reading a mail.
enum Read {
    Job(Box<Job>),
    Ends(Outcome),
}

impl Mailer {
    /// Over a store and a clock.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, parts: Parts) -> Self {
        Self {
            digests: Digests::new(Arc::clone(&store)),
            store,
            clock,
            templates: parts.templates,
            transport: parts.transport,
            brand: parts.brand,
            domain: parts.domain,
            plans: parts.plans,
            admins: parts.admins,
            limits: Limits::default(),
            progress: Progress::default(),
        }
    }

    async fn attempt(&self, effect: &DueEffect) -> Outcome {
        let payload = effect.payload.as_deref().unwrap_or_default();
        let mail = match Effect::from_payload(payload) {
            Ok(Effect::Mail(mail)) => mail,
            Ok(_) => return failed(format!("{} is no mail", effect.kind)),
            Err(error) => return failed(format!("not an effect of this version: {error}")),
        };
        let job = match self.read(mail).await {
            Ok(Read::Job(job)) => job,
            Ok(Read::Ends(outcome)) => return outcome,
            Err(error) => return later(format!("the store does not answer: {error}")),
        };
        let digest = job.digest;
        let outcome = match self.send_all(effect, *job).await {
            Ok(outcome) => outcome,
            Err(error) => return later(format!("the store does not answer: {error}")),
        };
        let is_over = matches!(outcome, Outcome::Done { .. } | Outcome::Failed { .. });
        if let Some(number) = digest.filter(|_| is_over)
            && let Err(error) = self.digests.sent(number, self.clock.now()).await
        {
            return later(format!("the store does not answer: {error}"));
        }
        outcome
    }

    /// Finds out to whom it goes and what it says.
    async fn read(&self, mail: Mail) -> Result<Read, StoreError> {
        if mail.template == alerts::TEMPLATE {
            return self.read_alerts(&mail).await;
        }
        let Some(spec) = catalogue::find(&mail.template) else {
            let note = format!("there is no mail {}", mail.template);
            return Ok(Read::Ends(failed(note)));
        };
        let store = self.store.as_ref();
        let about = match &mail.tenant {
            Some(tenant) => recipients::about(store, tenant).await?,
            None => About::default(),
        };
        let to = match (&mail.to, &mail.tenant) {
            (Some(text), _) => match Address::parse(text) {
                Ok(address) => vec![address],
                Err(error) => return Ok(Read::Ends(failed(error.to_string()))),
            },
            (None, Some(tenant)) => recipients::of_tenant(store, tenant, &about).await?,
            (None, None) => Vec::new(),
        };
        if to.is_empty() {
            let note = "nobody is known to send it to: the tenant has no owner and no address";
            return Ok(Read::Ends(Outcome::Skipped { note: note.into() }));
        }
        let context = self.context(spec, &mail, &about).await?;
        Ok(match self.templates.render(spec.name, context) {
            Ok(text) => Read::Job(Box::new(Job {
                template: mail.template,
                to,
                text,
                digest: None,
            })),
            Err(trouble) => Read::Ends(failed(format!("the mail cannot be written: {trouble}"))),
        })
    }

    async fn read_alerts(&self, mail: &Mail) -> Result<Read, StoreError> {
        let number = mail.params.get("number").and_then(|text| text.parse().ok());
        let number: u64 = number.unwrap_or_default();
        let summary = match self.digests.draw(number).await? {
            Drawn::Summary(summary) => summary,
            Drawn::Over => {
                let note = "its alerts went with another mail";
                return Ok(Read::Ends(Outcome::Skipped { note: note.into() }));
            }
        };
        if self.admins.is_empty() {
            self.digests.sent(number, self.clock.now()).await?;
            let note = "ADMIN_EMAILS names nobody";
            return Ok(Read::Ends(Outcome::Skipped { note: note.into() }));
        }
        let mut context = self.brand.context(None);
        summary.tell(&self.brand.name, &mut context);
        Ok(match self.templates.render(alerts::TEMPLATE, context) {
            Ok(text) => Read::Job(Box::new(Job {
                template: mail.template.clone(),
                to: self.admins.clone(),
                text,
                digest: Some(number),
            })),
            Err(trouble) => Read::Ends(failed(format!("the mail cannot be written: {trouble}"))),
        })
    }

    /// The names a mail knows.
    async fn context(
        &self,
        spec: &Spec,
        mail: &Mail,
        about: &About,
    ) -> Result<Context, StoreError> {
        let mut context = self.brand.context(about.zone.as_deref());
        let param = |name: &str| mail.params.get(name).map(String::as_str);
        let plan = |name: &str| {
            let id = param(name)?;
            Some(self.plans.plan(id).map_or(id, |plan| plan.name.as_str()))
        };
        let all = spec.must.iter().map(|(name, _)| (*name, true));
        let all = all.chain(spec.may.iter().map(|(name, _)| (*name, false)));
        for (name, is_needed) in all {
            let value = param(name).or(match name {
                "planName" => plan("planId"),
                "oldPlanName" => plan("oldPlanId"),
                "tenantName" => Some(about.name.as_str()),
                _ => None,
            });
            match value {
                Some(value) => context.insert(name.to_owned(), shown(name, value)),
                // Left out: the template then names what it was not given.
                None if is_needed => None,
                None => context.insert(name.to_owned(), Value::from("")),
            };
        }
        if !context.contains_key("link") {
            let found = links::of(self.store.as_ref(), spec.leads, mail).await?;
            let link = found.unwrap_or_else(|| self.brand.product_url.clone());
            context.insert("link".to_owned(), Value::from(link));
        }
        Ok(context)
    }

    async fn send_all(&self, effect: &DueEffect, job: Job) -> Result<Outcome, StoreError> {
        let store = self.store.as_ref();
        let several = job.to.len() > 1;
        let mut reached = match several {
            true => self.progress.of(store, &effect.id).await?,
            false => Reached::default(),
        };
        let mut end = Ends::default();
        for to in &job.to {
            let tag = to.tag(&effect.id.0);
            if reached.sent.contains(&tag) || reached.refused.contains(&tag) {
                continue;
            }
            let is_known = self
                .send_one(effect, &job, to, &tag, &mut reached, &mut end)
                .await?;
            if several && is_known {
                reached.at = self.clock.now();
                self.progress.remember(store, &effect.id, &reached).await?;
            }
            if end.away.is_some() {
                break;
            }
        }
        Ok(end.outcome(&reached, job.to.len()))
    }

    /// One recipient; whether its end is known for good.
    async fn send_one(
        &self,
        effect: &DueEffect,
        job: &Job,
        to: &Address,
        tag: &str,
        reached: &mut Reached,
        end: &mut Ends,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let store = self.store.as_ref();
        match self.limits.admit(store, &job.template, to, now).await? {
            Admitted::Yes => {}
            Admitted::Later(wait) => {
                metrics::limited();
                end.limited = Some(end.limited.map_or(wait, |other| other.min(wait)));
                return Ok(false);
            }
            Admitted::Never => {
                metrics::limited();
                end.too_many = true;
                reached.refused.insert(tag.to_owned());
                return Ok(true);
            }
        }
        let letter = Letter {
            template: job.template.clone(),
            to: to.clone(),
            text: job.text.clone(),
            message_id: format!("<{}.{tag}@{}>", effect.id.0, self.domain),
            at: now,
        };
        let sent = self.transport.send(&letter).await;
        let sent_at = sent.is_ok().then_some(now);
        let counted = self.limits.ended(store, &job.template, to, sent_at).await;
        if let Err(error) = counted {
            // What the server took is not sent again for a count.
            tracing::warn!(%error, "a mail that was sent is not counted");
        }
        match sent {
            Ok(()) => {
                metrics::sent(&job.template);
                reached.sent.insert(tag.to_owned());
            }
            Err(SendError::Refused(why)) => {
                metrics::refused();
                end.refused = Some(why);
                reached.refused.insert(tag.to_owned());
            }
            Err(SendError::Held) => end.held = true,
            Err(SendError::Deferred(why)) => end.deferred = Some(why),
            Err(SendError::Unreachable { why, after }) => end.away = Some((why, after)),
        }
        Ok(reached.sent.contains(tag) || reached.refused.contains(tag))
    }
}

/// How the recipients of one attempt fared.
#[derive(Debug, Default)]
struct Ends {
    refused: Option<String>,
    deferred: Option<String>,
    away: Option<(String, Option<Duration>)>,
    limited: Option<Duration>,
    too_many: bool,
    held: bool,
}

impl Ends {
    fn outcome(self, reached: &Reached, of: usize) -> Outcome {
        let retry = |error: String, after: Option<Duration>, counts: bool| Outcome::Retry {
            after,
            error,
            counts,
            of_one: false,
            told: None,
        };
        if self.held {
            return retry("waits for the service".to_owned(), Some(HELD), false);
        }
        if let Some((why, after)) = self.away {
            return retry(why, after, true);
        }
        if let Some(error) = self.deferred {
            return Outcome::Retry {
                after: None,
                error,
                counts: true,
                of_one: true,
                told: None,
            };
        }
        if let Some(wait) = self.limited {
            let most = limits::ORDINARY_MAX;
            let error = format!("a recipient got {most} mails in an hour; this one waits");
            return retry(error, Some(wait), false);
        }
        let sent = reached.sent.len();
        if sent > 0 {
            let note = match reached.refused.len() {
                0 => format!("sent to {sent}"),
                refused => format!("sent to {sent} of {of}, refused for {refused}"),
            };
            return Outcome::Done { note, result: None };
        }
        if self.too_many {
            let most = limits::SECURITY_MAX;
            let note = format!("the recipient got {most} mails of this sort in an hour");
            return Outcome::Skipped { note };
        }
        failed(self.refused.unwrap_or_else(|| "refused for all".to_owned()))
    }
}

fn failed(note: String) -> Outcome {
    Outcome::Failed { note }
}

/// The store is away: that says nothing about the mail server.
fn later(error: String) -> Outcome {
    Outcome::Retry {
        after: Some(Duration::from_secs(1)),
        error,
        counts: false,
        of_one: false,
        told: None,
    }
}

/// A parameter as a template gets it: one line, of bounded length; a name that somebody chose has no link in it.
fn shown(name: &str, value: &str) -> Value {
    if name == "link" {
        let is_web = value.starts_with("https://") || value.starts_with("http://");
        return match is_web {
            true => Value::from(value.chars().take(PARAM_CHARS_MAX).collect::<String>()),
            false => Value::UNDEFINED,
        };
    }
    let line = templates::one_line(value);
    if ["tenantName", "inviter"].contains(&name) {
        return Value::from(line.replace("://", " "));
    }
    Value::from(line)
}

impl Performer for Mailer {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(async move { self.attempt(&effect).await })
    }
}
