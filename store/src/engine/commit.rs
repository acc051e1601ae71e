//! What callers hand to the committer, sealed and measured on their own task, and what it answers.

use super::fold::is_delivery;
use crate::api::{Accepted, Administer, Applied, Apply, DueTimer, Fate, Inbound, Settled, Step};
use crate::api::{EffectStatus, Revive, Revived, decision_digest};
use crate::engine::port::Sealer;
use crate::error::StoreError;
use crate::journal::sha256;
use crate::record::{Body, Entry, KeepRecord, KeptRecord, NewFate, NewInput, Print, SealedKeep};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::EffectId;
use bursar_domain::decision::Lane;
use bursar_domain::ids::Timestamp;
use bursar_domain::link::LinkKey;
use bursar_domain::rows::{RowWrite, Subject};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A body as it will lie in the journal.
pub(super) struct SealedBody {
    pub(super) bytes: Vec<u8>,
    pub(super) subject: Option<Subject>,
    pub(super) plain_bytes: u64,
    pub(super) print: Print,
}

impl SealedBody {
    /// Seals under the subject's key; nothing to hide without one.
    pub(super) fn seal(
        keys: &dyn Sealer,
        subject: Option<Subject>,
        plain: &[u8],
    ) -> Result<Self, StoreError> {
        let print = Print::of(plain);
        let plain_bytes = plain.len() as u64;
        let (subject, bytes) = match subject {
            Some(subject) if !plain.is_empty() => {
                let sealed = keys.seal(&subject, plain)?;
                (Some(subject), sealed)
            }
            _ => (None, plain.to_vec()),
        };
        Ok(Self {
            bytes,
            subject,
            plain_bytes,
            print,
        })
    }
}

/// An arriving input, ready to be written.
pub(super) struct Arrival {
    /// As it came; its body was moved to `body`.
    pub(super) inbound: Inbound,
    pub(super) body: SealedBody,
}

impl Arrival {
    pub(super) fn seal(keys: &dyn Sealer, mut inbound: Inbound) -> Result<Self, StoreError> {
        let plain = std::mem::take(&mut inbound.body);
        let body = SealedBody::seal(keys, Some(inbound.subject.clone()), &plain)?;
        Ok(Self { inbound, body })
    }
}

/// A step whose decision is sealed.
pub(super) struct SealedStep {
    /// Personal parts sealed, payloads of messages moved to `payloads`.
    pub(super) step: Step,
    pub(super) decision_sha256: [u8; 32],
    /// One per message.
    pub(super) payloads: Vec<SealedBody>,
}

/// An apply, ready to be written.
pub(super) struct SealedApply {
    pub(super) aggregate: AggregateKey,
    pub(super) expected_version: u64,
    pub(super) reducer_rev: u32,
    pub(super) settings: String,
    pub(super) skipped_lanes: Vec<Lane>,
    pub(super) steps: Vec<SealedStep>,
}

impl SealedApply {
    pub(super) fn seal(keys: &dyn Sealer, apply: Apply) -> Result<Self, StoreError> {
        let steps = apply.steps.into_iter();
        Ok(Self {
            aggregate: apply.aggregate,
            expected_version: apply.expected_version,
            reducer_rev: apply.reducer_rev,
            skipped_lanes: apply.skipped_lanes,
            settings: apply.settings,
            steps: steps
                .map(|step| seal_step(keys, step))
                .collect::<Result<_, _>>()?,
        })
    }
}

fn seal_step(keys: &dyn Sealer, mut step: Step) -> Result<SealedStep, StoreError> {
    let decision_sha256 = decision_digest(&step.decision)?;
    let decision = &mut step.decision;
    if let (Some(bytes), Some(subject)) = (&mut decision.snapshot, &decision.snapshot_subject) {
        *bytes = keys.seal(subject, bytes)?;
    }
    for row in &mut decision.rows {
        if let RowWrite::Put(row) = row
            && let Some(personal) = &mut row.personal
        {
            personal.fields = keys.seal(&personal.subject, &personal.fields)?;
        }
    }
    for effect in &mut decision.effects {
        if let Some(subject) = &effect.subject {
            effect.payload = keys.seal(subject, &effect.payload)?;
        }
    }
    let mut payloads = Vec::with_capacity(decision.messages.len());
    for message in &mut decision.messages {
        let plain = std::mem::take(&mut message.payload);
        payloads.push(SealedBody::seal(keys, message.subject.clone(), &plain)?);
    }
    Ok(SealedStep {
        step,
        decision_sha256,
        payloads,
    })
}

/// An administrative commit, ready to be written.
pub(super) struct SealedAdminister {
    pub(super) must_be_absent: Vec<(&'static str, String)>,
    /// With the SHA-256 the record must have.
    pub(super) must_be_unchanged: Vec<(&'static str, String, [u8; 32])>,
    pub(super) record: KeptRecord,
}

impl SealedAdminister {
    pub(super) fn seal(keys: &dyn Sealer, write: Administer) -> Result<Self, StoreError> {
        let mut record = KeptRecord::default();
        for keep in write.keeps {
            let space = keep.space.to_owned();
            let Some(subject) = keep.subject else {
                record.keeps.push(KeepRecord {
                    space,
                    key: keep.key,
                    value: keep.value,
                });
                continue;
            };
            let plain = keep.value.as_deref();
            record.sealed.push(SealedKeep {
                space,
                key: keep.key,
                value: plain.map(|plain| keys.seal(&subject, plain)).transpose()?,
                sha256: sha256(&[plain.unwrap_or_default()]),
                subject,
            });
        }
        record.at = write.audit.first().map_or(record.at, |line| line.at);
        record.audit = write.audit;
        for (of, mut effect) in write.effects {
            record.at = record.at.max(effect.due_at);
            if let Some(subject) = &effect.subject {
                effect.payload = keys.seal(subject, &effect.payload)?;
            }
            record.effects.push((of, effect));
        }
        let unchanged = write.must_be_unchanged.into_iter();
        Ok(Self {
            must_be_absent: write.must_be_absent,
            must_be_unchanged: unchanged
                .map(|(space, key, bytes)| (space, key, sha256(&[&bytes])))
                .collect(),
            record,
        })
    }
}

/// The end of an effect, ready to be written.
pub(super) struct SealedSettle {
    pub(super) id: EffectId,
    pub(super) status: EffectStatus,
    pub(super) note: String,
    pub(super) at: Timestamp,
    pub(super) result: Option<Arrival>,
}

/// One commit.
pub(super) enum Commit {
    Accept(Vec<Arrival>),
    Apply(Box<SealedApply>),
    Settle(Box<SealedSettle>),
    Postpone {
        id: EffectId,
        attempted: bool,
        due_at: Timestamp,
        error: String,
    },
    Revive(Box<Revive>),
    Fire(Vec<DueTimer>, Timestamp),
    Bury(u64, String, Timestamp),
    Dismiss(u64, String, Timestamp),
    Requeue(Vec<(u64, Fate)>, Timestamp),
    Administer(Box<SealedAdminister>),
    Erase(Vec<Subject>, Timestamp),
    /// The committer's own: more parked inputs of a link.
    Free(LinkKey),
    Probe,
    /// Nothing comes after it.
    Close,
}

impl Commit {
    /// Whether Stripe waits for it. Whoever gave an order waits for what comes of it, which is behind, too.
    pub(super) fn is_delivered(&self) -> bool {
        let Self::Accept(arrivals) = self else {
            return false;
        };
        arrivals
            .iter()
            .any(|arrival| is_delivery(&arrival.inbound.source))
    }

    /// The value of the `commit` label.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Accept(_) => "accept",
            Self::Apply(_) => "apply",
            Self::Settle(_) => "settle",
            _ => "other",
        }
    }
}

/// What a commit came to.
pub(super) enum Answer {
    Accepted(Vec<Accepted>),
    Applied(Applied),
    Settled(Settled),
    Revived(Revived),
    Woken(Vec<AggregateKey>),
    Flag(bool),
    Count(u64),
    Done,
}

/// A commit in the queue.
pub(super) struct Queued {
    pub(super) commit: Commit,
    pub(super) since: Instant,
    pub(super) answer: Option<oneshot::Sender<Result<Answer, StoreError>>>,
}

/// What a commit will write, decided against the open group.
pub(super) struct Plan {
    /// `None`: nothing to write.
    pub(super) entry: Option<Entry>,
    pub(super) bodies: Vec<Vec<u8>>,
    pub(super) answer: Answer,
}

impl Plan {
    pub(super) const fn nothing(answer: Answer) -> Self {
        Self {
            entry: None,
            bodies: Vec::new(),
            answer,
        }
    }
    pub(super) const fn write(entry: Entry, answer: Answer) -> Self {
        Self {
            entry: Some(entry),
            bodies: Vec::new(),
            answer,
        }
    }
}

/// Bodies of one record, laid one after the other.
#[derive(Default)]
pub(super) struct Tail {
    bodies: Vec<Vec<u8>>,
    at: u32,
}

impl Tail {
    /// Places a body. # Errors: the record would pass 4 GiB.
    pub(super) fn place(&mut self, body: SealedBody) -> Result<Body, StoreError> {
        let len = u32::try_from(body.bytes.len()).ok();
        let end = len.and_then(|len| self.at.checked_add(len));
        let (Some(len), Some(end)) = (len, end) else {
            return Err(StoreError::Invalid("a commit is over 4 GiB".to_owned()));
        };
        let offset = self.at;
        self.at = end;
        self.bodies.push(body.bytes);
        Ok(Body {
            offset,
            len,
            plain_bytes: body.plain_bytes,
            print: body.print,
        })
    }
    pub(super) fn finish(self) -> Vec<Vec<u8>> {
        self.bodies
    }
}

/// Makes the record of an arriving input, whose fate is what `resolve` says; its body goes to the tail.
pub(super) fn new_input(
    seq: u64,
    arrival: Arrival,
    tail: &mut Tail,
    resolve: impl FnOnce(Fate) -> Result<NewFate, StoreError>,
) -> Result<NewInput, StoreError> {
    let Arrival { inbound, mut body } = arrival;
    let fate = resolve(inbound.fate)?;
    let subject = body.subject.take();
    let body = tail.place(body)?;
    Ok(NewInput {
        seq,
        source: inbound.source,
        kind: inbound.kind,
        fate,
        object_ids: inbound.object_ids,
        created_at: inbound.created_at,
        received_at: inbound.received_at,
        subject,
        tenant: inbound.tenant,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::world::event;
    use bursar_domain::input::InputSource;

    #[test]
    fn an_order_is_no_delivery() {
        let accept = |sources: Vec<InputSource>| {
            let arrivals = sources.into_iter().map(|source| Arrival {
                inbound: Inbound {
                    source,
                    ..event("evt_1", "payment:/pi_1")
                },
                body: SealedBody {
                    bytes: Vec::new(),
                    subject: None,
                    plain_bytes: 0,
                    print: Print::default(),
                },
            });
            Commit::Accept(arrivals.collect())
        };
        let order = || InputSource::Operator("refund".to_owned());
        let delivery = || event("evt_1", "payment:/pi_1").source;
        assert!(!accept(vec![order()]).is_delivered());
        assert!(accept(vec![delivery()]).is_delivered());
        assert!(accept(vec![order(), delivery()]).is_delivered());
        assert!(!Commit::Probe.is_delivered());
    }
}
