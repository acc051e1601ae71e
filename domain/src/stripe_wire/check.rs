//! Looks at every byte of a body once before anything is believed: depth, values, duplicate keys.
//!
//! Invariants: builds no tree and recurses at most `JSON_DEPTH_MAX` deep; a body that passes has
//! valid UTF-8, no duplicate key in any object, no NUL in any text.
//! Source: reliability notes, bad-input catalogue (JSON bombs, duplicate keys, NULs).

use super::WireError;
use super::outline::{Checked, Marks};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use twox_hash::XxHash3_64;

/// Deepest nesting of objects and lists.
pub const JSON_DEPTH_MAX: u32 = 64;
/// Most values in one body: far above any object of Stripe, far below what hurts.
pub const JSON_NODES_MAX: u32 = 20_000;
/// Up to this many keys those that may be the same are compared; beyond, a set is cheaper.
const KEYS_COMPARED_MAX: usize = 256;
/// Bits of what keys were seen, as words: of a hundred keys, some five find theirs taken by another one.
const SEEN_WORDS: usize = 16;
/// Keys of objects that are open at the same time: seldom more.
const KEYS_USUAL: usize = 160;

/// Checks a whole body, and answers it as the text it is.
/// # Errors: not JSON, too deep, too many values, a duplicate key, a NUL.
pub fn check_json(body: &[u8]) -> Result<Checked<'_>, WireError> {
    // Looked at as a whole: text by text costs more. Otherwise the reader says where it is none.
    match std::str::from_utf8(body) {
        Ok(text) => walk(text, serde_json::Deserializer::from_str(text)),
        Err(_) => {
            walk("", serde_json::Deserializer::from_slice(body))?;
            Err(WireError::new("body: not UTF-8"))
        }
    }
}

fn walk<'de, R: serde_json::de::Read<'de>>(
    text: &'de str,
    mut reader: serde_json::Deserializer<R>,
) -> Result<Checked<'de>, WireError> {
    let mut seen = Seen {
        nodes: 0,
        keys: Vec::with_capacity(KEYS_USUAL),
        text,
        marks: Marks::default(),
    };
    let walk = Walk {
        depth: 0,
        place: Place::Outside,
        seen: &mut seen,
    };
    walk.deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| WireError::of("body", &error))?;
    Ok(seen.marks.of(text))
}

/// Of the values of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The whole.
    Outside,
    /// Its `data`.
    Data,
    /// Anything else.
    Elsewhere,
}

struct Walk<'n, 'de> {
    depth: u32,
    place: Place,
    seen: &'n mut Seen<'de>,
}

impl Walk<'_, '_> {
    fn text<E: serde::de::Error>(text: &str) -> Result<(), E> {
        if text.as_bytes().contains(&0) {
            return Err(E::custom("a text holds a NUL"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        self.seen.nodes += 1;
        if self.seen.nodes > JSON_NODES_MAX {
            return Err(D::Error::custom("more than 20000 values"));
        }
        reader.deserialize_any(self)
    }
}

/// What was seen so far.
struct Seen<'de> {
    /// Values.
    nodes: u32,
    /// Keys of the objects that are open, the innermost last.
    keys: Vec<Cow<'de, str>>,
    /// What is walked over.
    text: &'de str,
    /// Keys of the outside and of `data`.
    marks: Marks<'de>,
}

impl<'de> Seen<'de> {
    /// Marks a key that stands in the text so, or is hidden in escapes; says which place its value is.
    fn mark(&mut self, place: Place, stands: Option<&'de str>) -> Place {
        match (place, stands) {
            (Place::Elsewhere, _) => return Place::Elsewhere,
            (_, Some(key)) => self.marks.note(self.text, key, place == Place::Data),
            (_, None) => self.marks.hide(),
        }
        match place {
            Place::Outside if stands == Some("data") => Place::Data,
            _ => Place::Elsewhere,
        }
    }
}

/// Keys of one object.
struct Keys<'de> {
    /// Where its own begin in [`Seen::keys`].
    from: usize,
    /// A bit for each of them, by its hash: one that finds its bit unset is new.
    bits: [u64; SEEN_WORDS],
    /// All of them, once they are many.
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    fn is_new(&mut self, key: Cow<'de, str>, open: &mut Vec<Cow<'de, str>>) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(key);
        }
        let hash = XxHash3_64::oneshot(key.as_bytes());
        let (word, bit) = (hash as usize / 64 % SEEN_WORDS, 1 << (hash % 64));
        if self.bits[word] & bit != 0 && open[self.from..].contains(&key) {
            return false;
        }
        self.bits[word] |= bit;
        open.push(key);
        if open.len() - self.from > KEYS_COMPARED_MAX {
            self.many = open.drain(self.from..).collect();
        }
        true
    }
}

struct Key;
impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;
    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}
impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    /// As it stands in the body: a NUL can be written in an escape only, and what has one is not borrowed.
    fn visit_borrowed_str<E>(self, _: &'de str) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        Self::text(text)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(A::Error::custom("nested deeper than 64"));
        }
        while list
            .next_element_seed(Walk {
                depth: self.depth + 1,
                place: Place::Elsewhere,
                seen: &mut *self.seen,
            })?
            .is_some()
        {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.depth >= JSON_DEPTH_MAX {
            return Err(A::Error::custom("nested deeper than 64"));
        }
        let mut keys = Keys {
            from: self.seen.keys.len(),
            bits: [0; SEEN_WORDS],
            many: HashSet::new(),
        };
        while let Some(key) = map.next_key_seed(Key)? {
            let stands = match &key {
                Cow::Borrowed(key) => Some(*key),
                Cow::Owned(escaped) => {
                    Self::text(escaped)?;
                    None
                }
            };
            let place = self.seen.mark(self.place, stands);
            if !keys.is_new(key, &mut self.seen.keys) {
                return Err(A::Error::custom("an object has a key twice"));
            }
            map.next_value_seed(Walk {
                depth: self.depth + 1,
                place,
                seen: &mut *self.seen,
            })?;
        }
        self.seen.keys.truncate(keys.from);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bombs_duplicates_and_nuls_are_refused_without_panic() {
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n)).into_bytes();
        let bad: Vec<Vec<u8>> = vec![
            deep(65),
            deep(10_000),
            br#"{"a":1,"a":2}"#.to_vec(),
            br#"{"a":{"b":[{"c":1,"d":2,"c":3}]}}"#.to_vec(),
            br#"{"a":"\u0000"}"#.to_vec(),
            br#"{"a\u0000":1}"#.to_vec(),
            b"{\"a\":\"\0\"}".to_vec(),
            b"{\"a\0\":1}".to_vec(),
            br#"{"a":"\ud800"}"#.to_vec(),
            b"{\"a\":\"\xff\"}".to_vec(),
            b"".to_vec(),
            b"{} {}".to_vec(),
            format!("[{}1]", "1,".repeat(20_000)).into_bytes(),
        ];
        for body in bad {
            assert!(
                check_json(&body).is_err(),
                "{:?}",
                String::from_utf8_lossy(&body[..body.len().min(60)])
            );
        }
        assert!(check_json(&deep(64)).is_ok());
        // How long one text may be is the body limit's to say.
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000_000));
        assert_eq!(check_json(long.as_bytes()).unwrap().text, long);
        assert!(check_json(br#"{"a":1,"b":{"a":1}}"#).is_ok());
        // On both sides of where keys go into a set; the last one twice, and one from before it.
        for count in [100, KEYS_COMPARED_MAX - 1, KEYS_COMPARED_MAX + 1, 1_000] {
            let keys: Vec<String> = (0..count).map(|n| format!("\"k{n}\":1")).collect();
            let whole = format!("{{{}}}", keys.join(","));
            assert!(check_json(whole.as_bytes()).is_ok(), "{count}");
            for again in [3, count - 1] {
                let twice = format!("{{{},\"k{again}\":2}}", keys.join(","));
                assert!(check_json(twice.as_bytes()).is_err(), "{count} {again}");
            }
        }
    }
}
