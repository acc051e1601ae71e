//! Alerts as mail: the first at once, what follows within ten minutes in one summary.
//!
//! The performer of the alert lane writes the log line and puts the alert into the digest, one small kept record. The
//! commit that puts in the first one holds the mail as an effect, due now or ten minutes after the last one went; when
//! that mail is written it takes what came until then.
//!
//! Invariants: at most one summary is under way, and at most one goes in ten minutes, through restarts too; an alert
//! performed twice counts once; a summary that was begun says the same at every attempt.
//! Not here: what is an alert (reducers, actors), the mail's way (`mail`).
//! Failure: a summary whose mail was given up joins the next one, a day later at the earliest.

use crate::mail::catalogue::alert_words;
use crate::mail::templates::{Context, one_line};
use bursar_actors::clock::Clock;
use bursar_actors::outbound::alert::LogAlerts;
use bursar_actors::ports::{Outcome, Performer, PortFuture};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::EffectIntent;
use bursar_domain::effect::{Alert, Effect, Mail};
use bursar_domain::ids::{Scope, Timestamp};
use bursar_store::api::{Administer, DueEffect, Keep, Store};
use bursar_store::error::StoreError;
use minijinja::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The template of summaries.
pub const TEMPLATE: &str = "alerts";
/// Distance of two summaries, in ms.
const APART_MS: i64 = 600_000;
/// Longer than a mail is retried, in ms: then its summary joins the next one.
const GIVEN_UP_MS: i64 = 30 * 3_600_000;
/// Objects named in one mail.
const LINES_MAX: usize = 20;
/// Codes counted each; all others together.
const CODES_MAX: usize = 32;
/// Alerts remembered so that they are not counted twice.
const SEEN_MAX: usize = 256;
/// Tries to write the digest while others do.
const TRIES_MAX: u32 = 64;

const SPACE: &str = "alert_digest";
const KEY: &str = "digest";

/// One alert, shortened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    at: Timestamp,
    code: String,
    object: String,
    text: String,
}

/// Alerts of some time together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    counts: BTreeMap<String, u64>,
    lines: Vec<Line>,
}

impl Summary {
    fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    fn add(&mut self, line: Line) {
        let is_known = self.counts.contains_key(&line.code) || self.counts.len() < CODES_MAX;
        let code = if is_known {
            line.code.as_str()
        } else {
            "others"
        };
        *self.counts.entry(code.to_owned()).or_default() += 1;
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
    }

    fn join(&mut self, earlier: Self) {
        for (code, count) in earlier.counts {
            *self.counts.entry(code).or_default() += count;
        }
        let later = std::mem::replace(&mut self.lines, earlier.lines);
        self.lines.extend(later);
        self.lines.truncate(LINES_MAX);
    }

    /// Puts what a mail says into its context.
    pub fn tell(&self, brand: &str, context: &mut Context) {
        let total = self.total();
        let headline = match (total, self.lines.first()) {
            (1, Some(line)) => format!("{brand}: {}: {}", alert_words(&line.code).0, line.object),
            _ => format!("{brand}: {total} alerts"),
        };
        let summary = match total {
            1 => "One alert.".to_owned(),
            _ => format!(
                "{total} alerts since the last mail. Further ones come together, every ten minutes at most."
            ),
        };
        let groups: Vec<Value> = self
            .counts
            .iter()
            .map(|(code, count)| self.group(code, *count))
            .collect();
        context.insert(
            "headline".to_owned(),
            Value::from(one_line(headline.trim_end_matches([':', ' ']))),
        );
        context.insert("summary".to_owned(), Value::from(summary));
        context.insert("groups".to_owned(), Value::from(groups));
    }

    fn group(&self, code: &str, count: u64) -> Value {
        let (title, advice, part) = alert_words(code);
        let own = self.lines.iter().filter(|line| line.code == code);
        let lines: Vec<BTreeMap<&str, String>> = own
            .map(|line| {
                let text = line.text.clone();
                BTreeMap::from([
                    ("at", line.at.rfc3339()),
                    ("object", line.object.clone()),
                    ("text", text),
                ])
            })
            .collect();
        let more = count.saturating_sub(lines.len() as u64);
        Value::from(BTreeMap::from([
            ("code", Value::from(code)),
            ("title", Value::from(title)),
            ("advice", Value::from(advice)),
            ("part", Value::from(part)),
            ("count", Value::from(count)),
            ("more", Value::from(more)),
            ("lines", Value::from(lines)),
        ]))
    }
}

/// The kept record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Digest {
    /// Of the summary under way or, if there is none, of the last one.
    number: u64,
    /// When the one under way is due; `None`: there is none.
    due_at: Option<Timestamp>,
    /// When the last one went.
    sent_at: Option<Timestamp>,
    /// What waits for it.
    waiting: Summary,
    /// What it says, once it was begun.
    sending: Option<Summary>,
    /// Effects that are in, newest last.
    seen: VecDeque<String>,
}

impl Digest {
    /// Another one is due; answers its effect.
    fn schedule(&mut self, now: Timestamp) -> (AggregateKey, EffectIntent) {
        if let Some(given_up) = self.sending.take() {
            self.waiting.join(given_up);
        }
        self.number += 1;
        let due_at = self
            .sent_at
            .map_or(now, |sent| sent.plus_ms(APART_MS).max(now));
        self.due_at = Some(due_at);
        let mail = Effect::Mail(Mail {
            template: TEMPLATE.to_owned(),
            tenant: None,
            to: None,
            params: BTreeMap::from([("number".to_owned(), self.number.to_string())]),
        });
        let of = AggregateKey::Installation(Scope::PLATFORM);
        let fact = format!("summary:{}", self.number);
        let intent = mail.intent(&of, &fact, due_at, None);
        (of, intent)
    }

    fn is_under_way(&self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|due| now.0 - due.0 < GIVEN_UP_MS)
    }
}

/// What a summary's mail finds.
#[derive(Debug)]
pub enum Drawn {
    /// What it says.
    Summary(Summary),
    /// It went already, or was given up.
    Over,
}

/// Reads and writes the digest.
pub struct Digests {
    store: Arc<dyn Store>,
}

impl Digests {
    /// Over a store.
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Changes the digest in one commit, again if somebody else did meanwhile; `None`: nothing is to be changed.
    async fn change<T>(
        &self,
        change: impl Fn(&mut Digest) -> (T, Option<(AggregateKey, EffectIntent)>) + Send,
    ) -> Result<T, StoreError> {
        for _ in 0..TRIES_MAX {
            let before = self.store.kept(SPACE, KEY.to_owned()).await?;
            let read = before.as_deref().map(serde_json::from_slice::<Digest>);
            let old = read.and_then(Result::ok).unwrap_or_default();
            let mut new = old.clone();
            let (answer, effect) = change(&mut new);
            if new == old {
                return Ok(answer);
            }
            let keep = Keep {
                space: SPACE,
                key: KEY.to_owned(),
                value: serde_json::to_vec(&new).ok(),
                subject: None,
            };
            let mut write = Administer {
                keeps: vec![keep],
                effects: effect.into_iter().collect(),
                ..Administer::default()
            };
            match before {
                Some(bytes) => write.must_be_unchanged.push((SPACE, KEY.to_owned(), bytes)),
                None => write.must_be_absent.push((SPACE, KEY.to_owned())),
            }
            if self.store.administer(write).await? {
                return Ok(answer);
            }
        }
        Err(StoreError::Busy)
    }

    /// Puts an alert in.
    ///
    /// # Errors
    /// The store's.
    pub async fn add(
        &self,
        id: &str,
        alert: &Alert,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.change(|digest| {
            if digest.seen.iter().any(|seen| seen == id) {
                return ((), None);
            }
            digest.seen.push_back(id.to_owned());
            while digest.seen.len() > SEEN_MAX {
                digest.seen.pop_front();
            }
            digest.waiting.add(Line {
                at,
                code: one_line(&alert.code),
                object: one_line(&alert.object_id),
                text: one_line(&alert.text),
            });
            let effect = (!digest.is_under_way(now)).then(|| digest.schedule(now));
            ((), effect)
        })
        .await
    }

    /// What the summary of this number says, the same at each call.
    ///
    /// # Errors
    /// The store's.
    pub async fn draw(&self, number: u64) -> Result<Drawn, StoreError> {
        self.change(|digest| {
            if digest.number != number || digest.due_at.is_none() {
                return (Drawn::Over, None);
            }
            let waiting = &mut digest.waiting;
            let sending = digest
                .sending
                .get_or_insert_with(|| std::mem::take(waiting));
            (Drawn::Summary(sending.clone()), None)
        })
        .await
    }

    /// That summary is over; the next one is due if something waits.
    ///
    /// # Errors
    /// The store's.
    pub async fn sent(&self, number: u64, now: Timestamp) -> Result<(), StoreError> {
        self.change(|digest| {
            if digest.number != number || digest.due_at.is_none() {
                return ((), None);
            }
            digest.sending = None;
            digest.due_at = None;
            digest.sent_at = Some(now);
            let effect = (digest.waiting.total() > 0).then(|| digest.schedule(now));
            ((), effect)
        })
        .await
    }
}

/// Performs alerts: a log line, and a place in the digest if somebody reads it.
pub struct Alerts {
    log: LogAlerts,
    digests: Digests,
    clock: Arc<dyn Clock>,
    has_readers: bool,
}

impl Alerts {
    /// Over a store; `has_readers`: `ADMIN_EMAILS` names somebody.
    pub const fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, has_readers: bool) -> Self {
        Self {
            log: LogAlerts,
            digests: Digests::new(store),
            clock,
            has_readers,
        }
    }
}

impl Performer for Alerts {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(async move {
            let payload = effect.payload.as_deref().unwrap_or_default();
            if let (true, Ok(Effect::Alert(alert))) =
                (self.has_readers, Effect::from_payload(payload))
            {
                let now = self.clock.now();
                let added = self
                    .digests
                    .add(&effect.id.0, &alert, effect.decided_at, now)
                    .await;
                if let Err(error) = added {
                    return Outcome::Retry {
                        after: Some(Duration::from_secs(1)),
                        error: format!("the store does not answer: {error}"),
                        counts: false,
                        of_one: false,
                        told: None,
                    };
                }
            }
            // Last, so that a retry logs no second line.
            self.log.perform(effect).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::decision::Lane;
    use bursar_store::MemStore;

    fn alert(n: usize) -> Alert {
        Alert {
            code: if n.is_multiple_of(3) {
                "dispute"
            } else {
                "needs_review"
            }
            .to_owned(),
            tenant: None,
            object_id: format!("du_{n}"),
            text: format!("number {n}"),
        }
    }

    async fn mails(store: &Arc<dyn Store>, now: i64) -> Vec<u64> {
        let due = store
            .due_effects(Lane::Mail, Timestamp(now), 10)
            .await
            .unwrap();
        let number = |effect: DueEffect| match Effect::from_payload(&effect.payload.unwrap()) {
            Ok(Effect::Mail(mail)) => mail.params["number"].parse().unwrap(),
            other => panic!("{other:?}"),
        };
        due.into_iter().map(number).collect()
    }

    #[tokio::test]
    async fn the_first_alert_goes_at_once_and_a_flood_after_it_in_one_summary() {
        let store: Arc<dyn Store> = MemStore::new().unwrap();
        let digests = Digests::new(Arc::clone(&store));
        digests
            .add("e0", &alert(0), Timestamp(0), Timestamp(0))
            .await
            .unwrap();
        assert_eq!(mails(&store, 0).await, [1]);
        let Drawn::Summary(first) = digests.draw(1).await.unwrap() else {
            panic!()
        };
        assert_eq!(first.total(), 1);
        for n in 1..=100 {
            let id = format!("e{n}");
            // At least once: twice is one.
            for _ in 0..2 {
                digests
                    .add(&id, &alert(n), Timestamp(5), Timestamp(5))
                    .await
                    .unwrap();
            }
        }
        // An attempt that is made again says what it said.
        let Drawn::Summary(again) = digests.draw(1).await.unwrap() else {
            panic!()
        };
        assert_eq!(again, first);
        digests.sent(1, Timestamp(1_000)).await.unwrap();
        assert!(matches!(digests.draw(1).await.unwrap(), Drawn::Over));
        // Another process finds what this one left.
        let digests = Digests::new(Arc::clone(&store));
        assert_eq!(
            mails(&store, 1_000 + APART_MS - 1).await,
            [1],
            "only the first, which the lane settles"
        );
        assert_eq!(mails(&store, 1_000 + APART_MS).await, [1, 2]);
        let Drawn::Summary(second) = digests.draw(2).await.unwrap() else {
            panic!()
        };
        assert_eq!((second.total(), second.lines.len()), (100, LINES_MAX));
        digests.sent(2, Timestamp(700_000)).await.unwrap();
        assert_eq!(mails(&store, i64::MAX / 2).await, [1, 2]);
    }

    #[tokio::test]
    async fn a_summary_whose_mail_was_given_up_joins_the_next() {
        let store: Arc<dyn Store> = MemStore::new().unwrap();
        let digests = Digests::new(Arc::clone(&store));
        digests
            .add("a", &alert(0), Timestamp(0), Timestamp(0))
            .await
            .unwrap();
        digests.draw(1).await.unwrap();
        let later = Timestamp(GIVEN_UP_MS + 1);
        digests.add("b", &alert(1), later, later).await.unwrap();
        assert!(matches!(digests.draw(1).await.unwrap(), Drawn::Over));
        let Drawn::Summary(both) = digests.draw(2).await.unwrap() else {
            panic!()
        };
        assert_eq!(both.total(), 2);
    }

    #[test]
    fn a_summary_names_codes_counts_and_the_first_objects() {
        let mut summary = Summary::default();
        for n in 0..30 {
            let Alert {
                code,
                object_id,
                text,
                ..
            } = alert(n);
            summary.add(Line {
                at: Timestamp(0),
                code,
                object: object_id,
                text,
            });
        }
        let templates = crate::mail::templates::Templates::load(None).unwrap();
        let brand = crate::mail::templates::Brand {
            name: "Example".into(),
            support: None,
            app_url: "https://b.test".into(),
            product_url: "https://p.test".into(),
        };
        let mut context = brand.context(None);
        summary.tell("Example", &mut context);
        let mail = templates.render(TEMPLATE, context).unwrap();
        assert_eq!(mail.subject, "Example: 30 alerts");
        for said in [
            "Dispute (dispute): 10",
            "(needs_review): 20",
            "du_19",
            "and 3 more",
            "and 7 more",
        ] {
            assert!(mail.text.contains(said), "{said}\n{}", mail.text);
        }
        assert!(!mail.text.contains("du_20"), "{}", mail.text);
    }
}
