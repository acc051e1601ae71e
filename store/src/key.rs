//! The bytes of a key, which lie where the key lies.
//!
//! Tables in memory compare keys more often than they do anything else, and a comparison that has to look elsewhere for
//! the bytes costs more than the comparison. Nearly every key is short, so a key holds them itself, and compares them
//! eight at a time.
//!
//! Invariants: keys are ordered as their bytes are; after the end of a short key there are zeros.
//! Not here: what the bytes of a key mean (`keys`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

/// Longest key that needs no memory of its own; a key takes 56 bytes so.
const SHORT_BYTES_MAX: usize = 54;
const WORD_BYTES: usize = 8;

/// A key, finished or being written.
#[derive(Clone)]
pub(crate) struct Key(Bytes);

#[derive(Clone)]
enum Bytes {
    Short {
        len: u8,
        bytes: [u8; SHORT_BYTES_MAX],
    },
    Long(Vec<u8>),
}

impl Key {
    /// Writes further bytes at the end.
    pub(crate) fn extend(&mut self, more: &[u8]) {
        match &mut self.0 {
            Bytes::Long(bytes) => bytes.extend_from_slice(more),
            Bytes::Short { len, bytes } => {
                let (from, to) = (usize::from(*len), usize::from(*len) + more.len());
                match bytes.get_mut(from..to) {
                    Some(room) => {
                        room.copy_from_slice(more);
                        *len = to as u8;
                    }
                    None => self.0 = Bytes::Long([&bytes[..from], more].concat()),
                }
            }
        }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self(Bytes::Short {
            len: 0,
            bytes: [0; SHORT_BYTES_MAX],
        })
    }
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let (
            Bytes::Short { len, bytes },
            Bytes::Short {
                len: other_len,
                bytes: other_bytes,
            },
        ) = (&self.0, &other.0)
        else {
            return (**self).cmp(&**other);
        };
        let (words, rest) = bytes.as_chunks::<WORD_BYTES>();
        let (other_words, other_rest) = other_bytes.as_chunks::<WORD_BYTES>();
        for (word, other) in words.iter().zip(other_words) {
            let (word, other) = (u64::from_be_bytes(*word), u64::from_be_bytes(*other));
            if word != other {
                return word.cmp(&other);
            }
        }
        // Zeros after the end count as bytes so far: of two that differ in nothing else, the shorter is less.
        rest.cmp(other_rest).then(len.cmp(other_len))
    }
}
impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Key {}
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        let mut key = Self::default();
        key.extend(bytes);
        key
    }
}
impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}
impl<const N: usize> From<[u8; N]> for Key {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

/// As a list of bytes is written.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self)
    }
}
impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        serde_bytes::ByteBuf::deserialize(from).map(|bytes| bytes.into_vec().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Few different bytes, so that keys begin alike, and lengths on both sides of what is short.
    fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0_u8), Just(1), Just(0x7f), Just(0xff)];
        prop_oneof![
            proptest::collection::vec(byte.clone(), 0..12),
            proptest::collection::vec(byte, SHORT_BYTES_MAX - 9..SHORT_BYTES_MAX + 3),
        ]
    }

    proptest! {
        #[test]
        fn keys_are_ordered_and_equal_as_their_bytes_are(
            a in some_bytes(), b in some_bytes(), shared in 0..SHORT_BYTES_MAX + 2,
        ) {
            let mut alike = a.clone();
            alike.truncate(shared);
            alike.extend_from_slice(&b);
            for (a, b) in [(&a, &b), (&a, &alike), (&b, &alike), (&a, &a)] {
                let (one, other) = (Key::from(a.as_slice()), Key::from(b.as_slice()));
                prop_assert_eq!(one.cmp(&other), a.cmp(b));
                prop_assert_eq!(one == other, a == b);
                prop_assert_eq!(&*one, a.as_slice());
            }
        }

        #[test]
        fn a_key_written_in_parts_is_the_same(a in some_bytes(), b in some_bytes(), c in some_bytes()) {
            let mut key = Key::default();
            [&a, &b, &c].into_iter().for_each(|part| key.extend(part));
            prop_assert_eq!(&*key, [a, b, c].concat());
        }

        #[test]
        fn a_key_is_written_as_a_list_of_bytes_and_read_again(a in some_bytes()) {
            let key = Key::from(a.as_slice());
            let written = postcard::to_stdvec(&key).unwrap();
            prop_assert_eq!(&written, &postcard::to_stdvec(&a).unwrap());
            prop_assert_eq!(postcard::from_bytes::<Key>(&written).unwrap(), key);
        }
    }

    #[test]
    fn a_zero_at_the_end_makes_a_key_greater() {
        let keys = [&[7_u8][..], &[7, 0], &[7, 0, 0], &[7, 0, 1], &[7, 1]];
        let keys: Vec<Key> = keys.into_iter().map(Key::from).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(size_of::<Key>(), 56);
    }
}
