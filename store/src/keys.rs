//! Every key of the store, byte by byte, beside its encoder.
//!
//! A key is a prefix byte and fields. Fields: `byte` one byte; `number` u64 big-endian; `newest`
//! the complement of a number (so that a rising scan gives the newest first); `time` an i64 of
//! milliseconds with its sign bit flipped, big-endian; `text` bytes ended by `00`, where `00` is
//! written `01 01` and `01` is written `01 02`, so that texts sort as themselves and no text is the
//! prefix of another.
//!
//! ```text
//! 01 meta        text name                                  -> by name
//! 02 input       number seq                                 -> InputRow
//! 03             was: dedup, by hash
//! 04 pending     text aggregate, number seq                 -> nothing
//! 05 ready       text aggregate                             -> u32 pending inputs
//! 06 parked      text link, number seq                      -> nothing
//! 07 link        text link                                  -> LinkTarget
//! 08 aggregate   text aggregate                             -> AggregateRow
//! 09 unfreed     text link                                  -> nothing
//! 0a             was an index of deliveries
//! 0b status      byte status, newest seq                    -> nothing (not for `applied`)
//! 0c named       text id, number seq                        -> nothing (inputs that name an id)
//! 0d of tenant   text tenant, newest seq                    -> nothing (ended deliveries)
//! 0e dedup       text id, text rest of the dedup text       -> seq, 16 bytes of the body's print
//! 10 row         byte kind, text id, text scope             -> StoredRow
//! 11 alias       byte kind, text alias, text scope          -> id
//! 12 row list    byte kind, created, text id, text scope    -> byte hidden, status
//! 13 tenant rows byte kind, text tenant, created, text id, text scope -> byte hidden, status
//!    created: `00` newest time, or `01` when it has none
//! 18 line        number                                     -> LineRow
//! 19 line index  byte of, text whose, time, number          -> nothing
//!    of: 01 tenant, 02 payment, 03 installation (whose empty), 04 any id (explain)
//! 20 ledger      number                                     -> LedgerRow
//! 21 ledger list byte by, text whose, time, number          -> nothing
//!    by: 00 all, 01 tenant, 02 payment, 03 account (whose = byte of the account as text)
//! 22 balance     text tenant, byte account, 3 bytes currency -> i128 big-endian, never 0
//! 23 net         text source, text tenant, text payment, byte account, 3 bytes currency
//!                                                           -> i128 big-endian, never 0
//! 28 effect      text id                                    -> EffectRow
//! 29 due effect  byte lane, time, text id                   -> nothing
//! 2a outbox      newest number                              -> id
//! 2b outbox by   byte status, newest number                 -> id
//! 2c timer       text aggregate, text name                  -> time
//! 2d due timer   time, text aggregate, text name            -> nothing
//! 30 audit       newest number                              -> AuditEntry
//! 31 audit of    text tenant, newest number                 -> nothing
//! 34 keep        text space, text key                       -> bytes
//! 35 sealed keep text space, text key                       -> SealedRow
//! 38 applied     number                                     -> u64 BE number of the record
//! 3a             was: place of one record
//! 3b places      number of a record / 32                    -> where they lie in the journal (`engine::places`)
//! 39 holder      text subject, text aggregate               -> nothing (sealed snapshots)
//! ff             pieces of large values, sled's own
//! ```
//!
//! Never renumber, never reuse: change the format version instead.

pub(crate) use crate::key::Key;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::input::InputSource;
use bursar_domain::link::LinkKey;
use bursar_domain::money::Currency;
use sha2::{Digest, Sha256};

pub(crate) const META: u8 = 0x01;
pub(crate) const INPUT: u8 = 0x02;
pub(crate) const PENDING: u8 = 0x04;
pub(crate) const READY: u8 = 0x05;
pub(crate) const PARKED: u8 = 0x06;
pub(crate) const LINK: u8 = 0x07;
pub(crate) const AGGREGATE: u8 = 0x08;
pub(crate) const UNFREED: u8 = 0x09;
pub(crate) const STATUS: u8 = 0x0b;
pub(crate) const NAMED: u8 = 0x0c;
pub(crate) const OF_TENANT: u8 = 0x0d;
pub(crate) const DEDUP: u8 = 0x0e;
pub(crate) const ROW: u8 = 0x10;
pub(crate) const ALIAS: u8 = 0x11;
pub(crate) const ROW_LIST: u8 = 0x12;
pub(crate) const TENANT_ROWS: u8 = 0x13;
pub(crate) const LINE: u8 = 0x18;
pub(crate) const LINE_INDEX: u8 = 0x19;
pub(crate) const LEDGER: u8 = 0x20;
pub(crate) const LEDGER_LIST: u8 = 0x21;
pub(crate) const BALANCE: u8 = 0x22;
pub(crate) const NET: u8 = 0x23;
pub(crate) const EFFECT: u8 = 0x28;
pub(crate) const DUE_EFFECT: u8 = 0x29;
pub(crate) const OUTBOX: u8 = 0x2a;
pub(crate) const OUTBOX_BY: u8 = 0x2b;
pub(crate) const TIMER: u8 = 0x2c;
pub(crate) const DUE_TIMER: u8 = 0x2d;
pub(crate) const AUDIT: u8 = 0x30;
pub(crate) const AUDIT_OF: u8 = 0x31;
pub(crate) const KEEP: u8 = 0x34;
pub(crate) const SEALED_KEEP: u8 = 0x35;
pub(crate) const APPLIED: u8 = 0x38;
pub(crate) const HOLDER: u8 = 0x39;
pub(crate) const PLACES: u8 = 0x3b;

/// Whose line (`LINE_INDEX`).
pub(crate) const LINE_TENANT: u8 = 1;
pub(crate) const LINE_PAYMENT: u8 = 2;
pub(crate) const LINE_INSTALLATION: u8 = 3;
pub(crate) const LINE_ID: u8 = 4;

/// By what (`LEDGER_LIST`).
pub(crate) const LEDGER_ALL: u8 = 0;
pub(crate) const LEDGER_TENANT: u8 = 1;
pub(crate) const LEDGER_PAYMENT: u8 = 2;
pub(crate) const LEDGER_ACCOUNT: u8 = 3;

/// Longest id that gets an index of its own; longer ones name nothing of Stripe's or ours.
pub(crate) const INDEXED_ID_BYTES_MAX: usize = 300;

impl Key {
    /// Starts a key.
    pub(crate) fn new(prefix: u8) -> Self {
        Self::default().byte(prefix)
    }
    /// One byte.
    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.extend(&[byte]);
        self
    }
    /// A rising number.
    pub(crate) fn number(mut self, number: u64) -> Self {
        self.extend(&number.to_be_bytes());
        self
    }
    /// A falling number.
    pub(crate) fn newest(self, number: u64) -> Self {
        self.number(!number)
    }
    /// A rising time.
    pub(crate) fn time(self, time: Timestamp) -> Self {
        self.number(ordered(time))
    }
    /// A falling time; none comes last.
    pub(crate) fn created(self, time: Option<Timestamp>) -> Self {
        match time {
            Some(time) => self.byte(0).number(!ordered(time)),
            None => self.byte(1),
        }
    }
    /// A text, ended.
    pub(crate) fn text(self, text: &str) -> Self {
        self.texts(&[text])
    }
    /// One text of several parts, ended.
    pub(crate) fn texts(mut self, parts: &[&str]) -> Self {
        for part in parts {
            let is_plain = part.bytes().all(|byte| byte > 1);
            if is_plain {
                self.extend(part.as_bytes());
                continue;
            }
            for byte in part.bytes() {
                match byte {
                    0 => self.extend(&[1, 1]),
                    1 => self.extend(&[1, 2]),
                    other => self.extend(&[other]),
                }
            }
        }
        self.byte(0)
    }
    /// A currency.
    pub(crate) fn currency(mut self, currency: Currency) -> Self {
        self.extend(currency.as_str().as_bytes());
        self
    }
}

/// The least key after this one.
pub(crate) fn after(key: &[u8]) -> Key {
    Key::from(key).byte(0)
}

/// The least key that is greater than every key with this prefix.
pub(crate) fn end_of(prefix: &[u8]) -> Key {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX);
    match last.and_then(|last| prefix.get(..=last)?.split_last()) {
        Some((last, before)) => Key::from(before).byte(last + 1),
        None => [u8::MAX; 64].into(),
    }
}

const fn ordered(time: Timestamp) -> u64 {
    (time.0 as u64) ^ (1 << 63)
}

/// A key being read, after its prefix byte.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads `key` from its second byte on.
    pub(crate) fn of(key: &'a [u8]) -> Self {
        Self(key.get(1..).unwrap_or_default())
    }
    /// One byte.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    /// A rising number.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }
    /// A falling number.
    pub(crate) fn newest(&mut self) -> Option<u64> {
        self.number().map(|number| !number)
    }
    /// A rising time.
    pub(crate) fn time(&mut self) -> Option<Timestamp> {
        self.number()
            .map(|number| Timestamp((number ^ (1 << 63)) as i64))
    }
    /// A falling time.
    pub(crate) fn created(&mut self) -> Option<Option<Timestamp>> {
        match self.byte()? {
            0 => {
                let number = !self.number()?;
                Some(Some(Timestamp((number ^ (1 << 63)) as i64)))
            }
            1 => Some(None),
            _ => None,
        }
    }
    /// A text.
    pub(crate) fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let mut out = Vec::with_capacity(end);
        let mut bytes = self.0[..end].iter();
        while let Some(byte) = bytes.next() {
            match byte {
                1 => out.push(bytes.next()?.checked_sub(1)?),
                other => out.push(*other),
            }
        }
        self.0 = &self.0[end + 1..];
        String::from_utf8(out).ok()
    }
}

pub(crate) fn meta(name: &str) -> Key {
    Key::new(META).text(name)
}
pub(crate) fn input(seq: u64) -> Key {
    Key::new(INPUT).number(seq)
}
/// First 16 bytes of a SHA-256: enough to tell inputs apart for good.
pub(crate) fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&Sha256::digest(bytes)[..16]);
    out
}
/// Of every input known by an id.
pub(crate) fn known_as(id: &str) -> Key {
    let key = Key::new(DEDUP);
    if id.len() <= INDEXED_ID_BYTES_MAX {
        return key.text(id);
    }
    key.text(&hex::encode(short_hash(id.as_bytes())))
}
/// Of the input from this source: its id, and what of its dedup text the id does not say.
pub(crate) fn dedup(source: &InputSource) -> Key {
    let (id, text) = (source.public_id(), source.dedup_text());
    known_as(&id).text(text.strip_suffix(&id).unwrap_or(&text))
}
pub(crate) fn pending_of(aggregate: &AggregateKey) -> Key {
    Key::new(PENDING).texts(&aggregate.parts())
}
pub(crate) fn pending(aggregate: &AggregateKey, seq: u64) -> Key {
    Key::new(PENDING).texts(&aggregate.parts()).number(seq)
}
pub(crate) fn ready(aggregate: &AggregateKey) -> Key {
    Key::new(READY).texts(&aggregate.parts())
}
pub(crate) fn parked_under(link: &LinkKey) -> Key {
    Key::new(PARKED).texts(&link.parts())
}
pub(crate) fn parked(link: &LinkKey, seq: u64) -> Key {
    Key::new(PARKED).texts(&link.parts()).number(seq)
}
pub(crate) fn link(link: &LinkKey) -> Key {
    Key::new(LINK).texts(&link.parts())
}
pub(crate) fn aggregate(aggregate: &AggregateKey) -> Key {
    Key::new(AGGREGATE).texts(&aggregate.parts())
}
pub(crate) fn unfreed(link: &LinkKey) -> Key {
    Key::new(UNFREED).texts(&link.parts())
}
pub(crate) fn status(status: u8, seq: u64) -> Key {
    Key::new(STATUS).byte(status).newest(seq)
}
pub(crate) fn named(id: &str, seq: u64) -> Key {
    Key::new(NAMED).text(id).number(seq)
}
pub(crate) fn of_tenant(tenant: &TenantId, seq: u64) -> Key {
    Key::new(OF_TENANT).text(tenant.as_str()).newest(seq)
}
pub(crate) fn row(kind: u8, id: &str, scope: &Scope) -> Key {
    Key::new(ROW).byte(kind).text(id).text(scope.as_str())
}
pub(crate) fn alias(kind: u8, alias: &str, scope: &Scope) -> Key {
    Key::new(ALIAS).byte(kind).text(alias).text(scope.as_str())
}
/// The list of a kind: of all tenants, or of one.
pub(crate) fn row_list(kind: u8, tenant: Option<&TenantId>) -> Key {
    match tenant {
        None => Key::new(ROW_LIST).byte(kind),
        Some(tenant) => Key::new(TENANT_ROWS).byte(kind).text(tenant.as_str()),
    }
}
pub(crate) fn line(number: u64) -> Key {
    Key::new(LINE).number(number)
}
pub(crate) fn line_index(of: u8, whose: &str) -> Key {
    Key::new(LINE_INDEX).byte(of).text(whose)
}
pub(crate) fn ledger(number: u64) -> Key {
    Key::new(LEDGER).number(number)
}
pub(crate) fn ledger_list(by: u8, whose: &str) -> Key {
    Key::new(LEDGER_LIST).byte(by).text(whose)
}
pub(crate) fn balance(tenant: Option<&TenantId>, account: u8, currency: Currency) -> Key {
    Key::new(BALANCE)
        .text(tenant.map_or("", TenantId::as_str))
        .byte(account)
        .currency(currency)
}
pub(crate) fn effect(id: &str) -> Key {
    Key::new(EFFECT).text(id)
}
pub(crate) fn due_effect(lane: u8, at: Timestamp, id: &str) -> Key {
    Key::new(DUE_EFFECT).byte(lane).time(at).text(id)
}
pub(crate) fn outbox(number: u64) -> Key {
    Key::new(OUTBOX).newest(number)
}
pub(crate) fn outbox_by(status: u8, number: u64) -> Key {
    Key::new(OUTBOX_BY).byte(status).newest(number)
}
pub(crate) fn timer(aggregate: &AggregateKey, name: &str) -> Key {
    Key::new(TIMER).texts(&aggregate.parts()).text(name)
}
pub(crate) fn due_timer(at: Timestamp, aggregate: &AggregateKey, name: &str) -> Key {
    Key::new(DUE_TIMER)
        .time(at)
        .texts(&aggregate.parts())
        .text(name)
}
pub(crate) fn audit(number: u64) -> Key {
    Key::new(AUDIT).newest(number)
}
pub(crate) fn audit_of(tenant: &TenantId, number: u64) -> Key {
    Key::new(AUDIT_OF).text(tenant.as_str()).newest(number)
}
pub(crate) fn keep(space: &str, key: &str) -> Key {
    Key::new(KEEP).text(space).text(key)
}
pub(crate) fn sealed_keep(space: &str, key: &str) -> Key {
    Key::new(SEALED_KEEP).text(space).text(key)
}
pub(crate) fn applied(number: u64) -> Key {
    Key::new(APPLIED).number(number)
}
pub(crate) fn places(row: u64) -> Key {
    Key::new(PLACES).number(row)
}
pub(crate) fn holder(subject: &str, aggregate: &AggregateKey) -> Key {
    Key::new(HOLDER).text(subject).texts(&aggregate.parts())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::ids::{AccountId, EventId};

    fn hexed(key: &[u8]) -> String {
        hex::encode(key)
    }

    #[test]
    fn keys_have_the_documented_bytes() {
        let scope = Scope(Some(AccountId::parse("acct_9").unwrap()));
        let tenant = TenantId::parse("acme").unwrap();
        let payment = AggregateKey::parse("payment:/p").unwrap();
        let link = LinkKey::parse("customer:/c").unwrap();
        let at = Timestamp(1_000);
        let event = EventId::parse("evt_1").unwrap();
        for (key, bytes) in [
            (meta("n"), "016e00"),
            (input(258), "020000000000000102"),
            (
                dedup(&InputSource::Event(scope.clone(), event)),
                "0e6576745f31006576656e743a616363745f392f00",
            ),
            (
                dedup(&InputSource::Raw("0f".to_owned())),
                "0e7261775f3066007261773a306600",
            ),
            (
                dedup(&InputSource::Operator("x".repeat(301))),
                "0e6534633131653466613534323338393364313932376165323961646130623665006f70657261746f723a00",
            ),
            (
                pending(&payment, 1),
                "047061796d656e743a2f70000000000000000001",
            ),
            (ready(&payment), "057061796d656e743a2f7000"),
            (
                parked(&link, 2),
                "06637573746f6d65723a2f63000000000000000002",
            ),
            (super::link(&link), "07637573746f6d65723a2f6300"),
            (aggregate(&payment), "087061796d656e743a2f7000"),
            (unfreed(&link), "09637573746f6d65723a2f6300"),
            (status(4, 1), "0b04fffffffffffffffe"),
            (named("x", 1), "0c78000000000000000001"),
            (of_tenant(&tenant, 1), "0d61636d6500fffffffffffffffe"),
            (row(5, "p", &scope), "10057000616363745f3900"),
            (alias(5, "c", &Scope::PLATFORM), "1105630000"),
            (
                row_list(5, None).created(Some(at)).text("p").text(""),
                "1205007ffffffffffffc17700000",
            ),
            (
                row_list(5, Some(&tenant)).created(None).text("p").text(""),
                "130561636d650001700000",
            ),
            (line(1), "180000000000000001"),
            (
                line_index(LINE_TENANT, "acme").time(at).number(1),
                "190161636d650080000000000003e80000000000000001",
            ),
            (ledger(1), "200000000000000001"),
            (ledger_list(LEDGER_ALL, ""), "210000"),
            (
                balance(Some(&tenant), 1, Currency::parse("usd").unwrap()),
                "2261636d650001757364",
            ),
            (effect("e"), "286500"),
            (due_effect(3, at, "e"), "290380000000000003e86500"),
            (outbox(1), "2afffffffffffffffe"),
            (outbox_by(1, 1), "2b01fffffffffffffffe"),
            (timer(&payment, "g"), "2c7061796d656e743a2f70006700"),
            (
                due_timer(at, &payment, "g"),
                "2d80000000000003e87061796d656e743a2f70006700",
            ),
            (audit(1), "30fffffffffffffffe"),
            (audit_of(&tenant, 1), "3161636d6500fffffffffffffffe"),
            (keep("s", "k"), "3473006b00"),
            (sealed_keep("s", "k"), "3573006b00"),
            (applied(1), "380000000000000001"),
            (places(1), "3b0000000000000001"),
            (holder("s", &payment), "3973007061796d656e743a2f7000"),
        ] {
            assert_eq!(hexed(&key), bytes);
        }
    }

    #[test]
    fn texts_sort_as_themselves_and_come_back() {
        let mut texts = ["", "a", "a\0", "a\u{1}", "a\u{2}", "ab", "b", "é"].map(str::to_owned);
        texts.sort();
        let keys: Vec<_> = texts.iter().map(|t| Key::new(1).text(t)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        for (text, key) in texts.iter().zip(&keys) {
            assert_eq!(Fields::of(key).text().as_ref(), Some(text));
        }
        for (n, key) in keys.iter().enumerate() {
            let prefixed = keys.iter().enumerate();
            for (other, longer) in prefixed.filter(|(other, _)| *other != n) {
                assert!(!longer.starts_with(key), "{n} begins {other}");
            }
        }
    }

    #[test]
    fn times_sort_across_the_epoch_and_the_newest_comes_first() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(Timestamp);
        let rising: Vec<_> = times.iter().map(|t| Key::new(1).time(*t)).collect();
        assert!(rising.windows(2).all(|pair| pair[0] < pair[1]));
        let falling: Vec<_> = times
            .iter()
            .map(|t| Key::new(1).created(Some(*t)))
            .collect();
        assert!(falling.windows(2).all(|pair| pair[0] > pair[1]));
        assert!(Key::new(1).created(None) > falling[0]);
        for (time, key) in times.iter().zip(&falling) {
            assert_eq!(Fields::of(key).created(), Some(Some(*time)));
        }
    }

    #[test]
    fn cut_keys_are_refused_and_not_guessed() {
        assert_eq!(Fields::of(&[]).byte(), None);
        assert_eq!(Fields::of(&[1, 2, 3]).number(), None);
        assert_eq!(Fields::of(&[1, b'a']).text(), None);
        assert_eq!(Fields::of(&[1, 1, 0]).text(), None);
        assert_eq!(Fields::of(&[1, 9]).created(), None);
    }
}
