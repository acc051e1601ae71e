//! The one diff: what a state implies, compared with what the state before implied.
//!
//! A reducer says what its state *means* (`Projection`): rows, postings, messages, timers, links.
//! What is written is the difference between two such meanings. So no reducer decides "on event X
//! write Y", and neither order nor duplication can matter.
//!
//! Invariants: equal projections write nothing; entries of a written movement sum to zero per
//! currency if those of both projections do; a message slot that vanishes is taken back.

use crate::aggregate::AggregateKey;
use crate::decision::{
    Change, Decision, LedgerAccount, LedgerEntry, LinkWrite, Movement, Outgoing, TimerWrite,
};
use crate::ids::{Scope, TenantId, Timestamp};
use crate::link::{LinkKey, LinkTarget};
use crate::message::{Cause, Envelope, Message, Sums};
use crate::money::Currency;
use crate::rows::{Row, RowKind, RowWrite, Subject};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// The field that names a row's tenant.
const TENANT_FIELD: &str = "tenantId";

/// A message a state implies; `slot` tells two messages of one kind to one receiver apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// To whom.
    pub to: AggregateKey,
    /// What.
    pub message: Message,
    /// Waits until one of these is linked.
    pub park: Vec<LinkKey>,
    /// Whose personal fields it holds.
    pub subject: Option<Subject>,
}

/// What one source of money did to the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// When Stripe says it happened.
    pub at: Timestamp,
    /// It stands in for what was not heard of itself yet: the date is another's.
    pub is_dated_by_other: bool,
    /// Whose books.
    pub tenant: Option<TenantId>,
    /// The payment.
    pub payment: Option<LinkKey>,
    /// Sum zero per currency.
    pub entries: Vec<LedgerEntry>,
}

/// What a state implies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Projection {
    /// Rows by their key.
    pub rows: BTreeMap<(RowKind, Scope, String), Row>,
    /// Other names of rows: (kind, account, other name) to the row's id.
    pub aliases: BTreeMap<(RowKind, Scope, String), String>,
    /// Movements by source.
    pub postings: BTreeMap<String, Posting>,
    /// Messages by (receiver, kind, distinction).
    pub messages: BTreeMap<(AggregateKey, &'static str, String), Slot>,
    /// Timers that run.
    pub timers: BTreeMap<String, Timestamp>,
    /// Links that hold.
    pub links: BTreeMap<LinkKey, LinkTarget>,
    /// Whose personal fields the snapshot holds.
    pub subject: Option<Subject>,
    /// The tenant whose timeline entries belong to.
    pub tenant: Option<TenantId>,
    /// The payment whose timeline entries belong to.
    pub payment: Option<LinkKey>,
    /// Every id `explain` finds this by.
    pub ids: BTreeSet<String>,
}

impl Projection {
    /// Adds a row.
    pub fn row(&mut self, row: Row) {
        let key = (row.kind, row.scope.clone(), row.id.clone());
        self.rows.insert(key, row);
    }
    /// Adds a message without waiting; `distinct` tells it from others of its kind to `to`.
    pub fn tell(&mut self, to: AggregateKey, distinct: impl Into<String>, message: Message) {
        self.tell_when(to, distinct, message, Vec::new());
    }
    /// Adds a message that waits until one of `park` is linked (empty: at once).
    pub fn tell_when(
        &mut self,
        to: AggregateKey,
        distinct: impl Into<String>,
        message: Message,
        park: Vec<LinkKey>,
    ) {
        let key = (to.clone(), message.kind(), distinct.into());
        let subject = message.subject(&to);
        let slot = Slot {
            to,
            message,
            park,
            subject,
        };
        self.messages.insert(key, slot);
    }
}

/// Writes the difference into a decision and answers what changed, in the API's words.
pub(crate) fn write_difference(
    decision: &mut Decision,
    of: &AggregateKey,
    old: &Projection,
    new: &Projection,
    cause: &Cause,
) -> Vec<Change> {
    let mut changed = Vec::new();
    write_rows(decision, old, new, &mut changed);
    write_movements(decision, old, new, cause.at);
    write_messages(decision, of, old, new, cause);
    for (name, at) in &new.timers {
        if old.timers.get(name) != Some(at) {
            decision.timers.push(TimerWrite {
                name: name.clone(),
                at: Some(*at),
            });
        }
    }
    for name in old.timers.keys() {
        if !new.timers.contains_key(name) {
            decision.timers.push(TimerWrite {
                name: name.clone(),
                at: None,
            });
        }
    }
    for (key, target) in &new.links {
        if old.links.get(key) != Some(target) {
            decision.links.push(LinkWrite {
                key: key.clone(),
                target: target.clone(),
            });
        }
    }
    changed
}

fn write_rows(
    decision: &mut Decision,
    old: &Projection,
    new: &Projection,
    changed: &mut Vec<Change>,
) {
    for (key, row) in &new.rows {
        let before = old.rows.get(key);
        if before != Some(row) {
            changed.extend(changes(before, row));
            decision.rows.push(RowWrite::Put(row.clone()));
        }
    }
    for key in old.rows.keys() {
        if !new.rows.contains_key(key) {
            let (kind, scope, id) = key.clone();
            decision.rows.push(RowWrite::Delete { kind, scope, id });
        }
    }
    for (key, id) in &new.aliases {
        if old.aliases.get(key) != Some(id) {
            let (kind, scope, alias) = key.clone();
            decision.rows.push(RowWrite::Alias {
                kind,
                scope,
                alias,
                id: id.clone(),
            });
        }
    }
}

/// Fields of a row, each still the JSON text it was written as.
type Fields<'r> = BTreeMap<Cow<'r, str>, &'r RawValue>;

fn fields(row: Option<&Row>) -> Fields<'_> {
    let read = row.map(|row| serde_json::from_slice::<Fields<'_>>(&row.value));
    read.and_then(Result::ok).unwrap_or_default()
}

/// The leaves under an object, by dotted path. An empty object is a leaf.
fn walk(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                walk(&format!("{path}.{key}"), inner, out);
            }
        }
        leaf => {
            out.insert(path.to_owned(), leaf.to_string());
        }
    }
}

/// The leaves of a field. What is no object is one, and its text is the text: rows are written in one form.
fn leaves_of(path: &str, text: Option<&&RawValue>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    match text.map(|text| text.get()) {
        Some(text) if text.starts_with('{') => {
            if let Ok(value) = serde_json::from_str(text) {
                walk(path, &value, &mut out);
            }
        }
        Some(leaf) => {
            out.insert(path.to_owned(), leaf.to_owned());
        }
        None => {}
    }
    out
}

/// What differs between two versions of a row, by dotted field. Only fields whose texts differ are
/// read: rows are written by one function each, so the same value is the same text.
fn changes(before: Option<&Row>, after: &Row) -> Vec<Change> {
    let (old, new) = (fields(before), fields(Some(after)));
    let names: BTreeSet<&Cow<'_, str>> = old.keys().chain(new.keys()).collect();
    let mut changed = Vec::new();
    let mut compare = |field: &String, from: Option<&String>, to: Option<&String>| {
        let text = |text: Option<&String>| text.map_or_else(|| "null".to_owned(), Clone::clone);
        let (from, to) = (text(from), text(to));
        if from != to {
            let field = field.clone();
            changed.push(Change { field, from, to });
        }
    };
    for name in names {
        let (from, to) = (old.get(name), new.get(name));
        if *name == TENANT_FIELD || from.map(|text| text.get()) == to.map(|text| text.get()) {
            continue;
        }
        let (from, to) = (leaves_of(name, from), leaves_of(name, to));
        for field in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
            compare(field, from.get(field), to.get(field));
        }
    }
    // Whose a row is stands beside its value, which need not say so.
    let owner = |row: &Row| json_text(row.tenant.as_ref());
    let (from, to) = (before.map(owner), owner(after));
    compare(&TENANT_FIELD.to_owned(), from.as_ref(), Some(&to));
    changed.sort_by(|a, b| a.field.cmp(&b.field));
    changed
}

fn json_text<T: serde::Serialize>(value: Option<&T>) -> String {
    serde_json::to_string(&value).expect("ids are plain texts")
}

type Sides = BTreeMap<(LedgerAccount, Currency), i64>;

fn sides(posting: Option<&Posting>) -> Sides {
    let mut sides = Sides::new();
    for entry in posting
        .map(|posting| posting.entries.as_slice())
        .unwrap_or_default()
    {
        *sides.entry((entry.account, entry.currency)).or_default() += entry.amount_minor;
    }
    sides
}

fn write_movements(
    decision: &mut Decision,
    old: &Projection,
    new: &Projection,
    corrected_at: Timestamp,
) {
    let sources: BTreeSet<&String> = old.postings.keys().chain(new.postings.keys()).collect();
    for source in sources {
        let (before, after) = (old.postings.get(source), new.postings.get(source));
        let owner =
            |posting: Option<&Posting>| posting.map(|p| (p.tenant.clone(), p.payment.clone()));
        let moved = match (owner(before), owner(after)) {
            // What stood in gives way on the day it stood for, so that in any order of arrival every
            // day holds the same in the end.
            _ if before.is_some_and(|before| before.is_dated_by_other) => {
                give_way(decision, source, before, after);
                continue;
            }
            // Other books: all of it leaves the old ones and enters the new ones.
            (Some(from), Some(to)) if from != to => {
                vec![
                    (before, difference(&sides(before), &Sides::new())),
                    (after, difference(&Sides::new(), &sides(after))),
                ]
            }
            _ => vec![(after.or(before), difference(&sides(before), &sides(after)))],
        };
        for (posting, entries) in moved {
            let Some(posting) = posting.filter(|_| !entries.is_empty()) else {
                continue;
            };
            // What a source did first happened when the source says; what is corrected later (a
            // reversal, a refund that failed) belongs to the day it was corrected.
            let at = match before {
                Some(before) => before.at.max(corrected_at),
                None => posting.at,
            };
            decision.movements.push(Movement {
                source: source.clone(),
                at,
                tenant: posting.tenant.clone(),
                payment: posting.payment.clone(),
                entries,
            });
        }
    }
}

/// Takes a posting with a borrowed date back, and books on its own date what is known instead.
fn give_way(
    decision: &mut Decision,
    source: &str,
    before: Option<&Posting>,
    after: Option<&Posting>,
) {
    let place = |posting: &Posting| (posting.at, posting.tenant.clone(), posting.payment.clone());
    let (old, new) = (sides(before), sides(after));
    let none = Sides::new();
    let moves = if before.map(place) == after.map(place) {
        vec![(after, difference(&old, &new))]
    } else {
        let (gone, come) = (difference(&old, &none), difference(&none, &new));
        vec![(before, gone), (after, come)]
    };
    for (posting, entries) in moves {
        let Some(posting) = posting.filter(|_| !entries.is_empty()) else {
            continue;
        };
        decision.movements.push(Movement {
            source: source.to_owned(),
            at: posting.at,
            tenant: posting.tenant.clone(),
            payment: posting.payment.clone(),
            entries,
        });
    }
}

fn difference(old: &Sides, new: &Sides) -> Vec<LedgerEntry> {
    let keys: BTreeSet<&(LedgerAccount, Currency)> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let amount_minor = new.get(key).unwrap_or(&0) - old.get(key).unwrap_or(&0);
            (amount_minor != 0).then_some(LedgerEntry {
                account: key.0,
                amount_minor,
                currency: key.1,
            })
        })
        .collect()
}

fn write_messages(
    decision: &mut Decision,
    of: &AggregateKey,
    old: &Projection,
    new: &Projection,
    cause: &Cause,
) {
    // Taking back comes first: a child that moves never counts in two tenants at once for long.
    for (key, slot) in &old.messages {
        if new.messages.contains_key(key) {
            continue;
        }
        if let Some(message) = slot.message.retraction() {
            send(decision, of, cause, slot, message);
        }
    }
    for (key, slot) in &new.messages {
        let before = old.messages.get(key).map(|slot| &slot.message);
        if before == Some(&slot.message) {
            continue;
        }
        let message = match (&slot.message, before) {
            (Message::CreditSums { new, .. }, Some(Message::CreditSums { new: old, .. })) => {
                Message::CreditSums {
                    old: *old,
                    new: *new,
                }
            }
            (Message::CreditSums { new, .. }, _) => Message::CreditSums {
                old: Sums::default(),
                new: *new,
            },
            (message, _) => message.clone(),
        };
        send(decision, of, cause, slot, message);
    }
}

fn send(decision: &mut Decision, of: &AggregateKey, cause: &Cause, slot: &Slot, message: Message) {
    let kind = message.kind().to_owned();
    let envelope = Envelope {
        cause: cause.clone(),
        from: of.clone(),
        message,
    };
    decision.messages.push(Outgoing {
        to: slot.to.clone(),
        kind,
        payload: serde_json::to_vec(&envelope).expect("messages are plain values with text keys"),
        park: slot.park.clone(),
        subject: slot.subject.clone(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Disposition;

    fn owing(amount_minor: i64, at: i64) -> Projection {
        let currency = Currency::parse("usd").expect("a currency");
        let entry = |account, amount_minor| LedgerEntry {
            account,
            amount_minor,
            currency,
        };
        let posting = Posting {
            at: Timestamp(at),
            is_dated_by_other: false,
            tenant: None,
            payment: None,
            entries: vec![
                entry(LedgerAccount::Revenue, amount_minor),
                entry(LedgerAccount::CreditsLiability, -amount_minor),
            ],
        };
        Projection {
            postings: BTreeMap::from([("cs_1".to_owned(), posting)]),
            ..Projection::default()
        }
    }

    #[test]
    fn what_changed_is_told_by_leaf_and_in_the_words_of_the_row() {
        let row = |value: serde_json::Value| Row {
            kind: RowKind::Invoice,
            scope: Scope::PLATFORM,
            id: "in_1".to_owned(),
            tenant: None,
            created_at: None,
            status: String::new(),
            hidden: false,
            value: crate::rows::text_of(&value),
            personal: None,
        };
        let before = row(serde_json::json!({
            "a": {"b": 1, "c": {"d": "x"}}, "gone": [1, {"k": null}], "same": "s", "text": "a\"\u{1}é",
        }));
        let after = row(serde_json::json!({
            "a": {"b": 2, "c": {}}, "come": true, "same": "s", "text": null,
        }));
        let told: Vec<_> = changes(Some(&before), &after)
            .into_iter()
            .map(|change| format!("{} {} {}", change.field, change.from, change.to))
            .collect();
        let expected = [
            "a.b 1 2",
            "a.c null {}",
            r#"a.c.d "x" null"#,
            "come null true",
            r#"gone [1,{"k":null}] null"#,
            r#"text "a\"\u0001é" null"#,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_reversal_is_not_dated_at_the_sale() {
        let mut decision = Decision::nothing(Disposition::Applied, "");
        let none = Projection::default();
        write_movements(&mut decision, &none, &owing(1_000, 7), Timestamp(8));
        write_movements(
            &mut decision,
            &owing(1_000, 7),
            &owing(400, 7),
            Timestamp(99),
        );
        let dates: Vec<i64> = decision.movements.iter().map(|m| m.at.0).collect();
        assert_eq!(dates, [7, 99]);
    }
}
