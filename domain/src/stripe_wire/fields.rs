//! The kinds of field Stripe's objects are made of.
//!
//! Invariants: an `Amount` is 0..=2^53; a `Reference` is a checked id, whether Stripe wrote it as a
//! text, as an expanded object or not at all; metadata is texts only, at most 50 keys of Stripe's
//! own making (100 are read, more is refused).

use super::WireError;
use crate::money::Currency;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// Largest amount read: what a double holds exactly, which is what Stripe's own SDKs can.
pub const AMOUNT_MINOR_MAX: i64 = 1 << 53;
/// Most metadata keys read; Stripe itself allows 50.
const METADATA_KEYS_MAX: usize = 100;

/// A count of minor units that cannot be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Default)]
#[serde(transparent)]
pub struct Amount(i64);

impl Amount {
    /// Minor units.
    pub const fn minor(self) -> i64 {
        self.0
    }
    /// An amount of our own making. # Errors: out of range.
    pub fn new(minor: i64) -> Result<Self, WireError> {
        if (0..=AMOUNT_MINOR_MAX).contains(&minor) {
            Ok(Self(minor))
        } else {
            Err(WireError::new("an amount is out of range"))
        }
    }
}
impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(reader)?).map_err(D::Error::custom)
    }
}

/// The id of another object: a text, an expanded object with `id`, or null.
pub type Reference = Option<String>;

/// The id in a text, in an expanded object, or in nothing.
struct Expandable;

impl<'de> Visitor<'de> for Expandable {
    type Value = Option<String>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id, an object or null")
    }
    fn visit_str<E>(self, id: &str) -> Result<Self::Value, E> {
        Ok(Some(id.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        #[derive(Deserialize)]
        struct Expanded {
            id: Option<String>,
        }
        Expanded::deserialize(MapAccessDeserializer::new(object)).map(|object| object.id)
    }
}

/// Whom an object of any type is about, handled or not: itself, or the customer it names.
pub(crate) fn customer_in(object: &str) -> Reference {
    #[derive(Deserialize)]
    struct Named {
        object: Option<String>,
        id: Option<String>,
        #[serde(default, deserialize_with = "reference")]
        customer: Reference,
    }
    let named: Named = serde_json::from_str(object).ok()?;
    match named.object.as_deref() {
        Some("customer") => named.id,
        _ => named.customer,
    }
}

/// Reads an expandable field. An empty text is nobody.
pub(super) fn reference<'de, D: Deserializer<'de>>(reader: D) -> Result<Reference, D::Error> {
    let id = reader.deserialize_any(Expandable)?;
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    crate::ids::ObjectId::parse(&id).map_err(D::Error::custom)?;
    Ok(Some(id))
}

/// Reads a field whose shape is free: `None` unless it reads as `T`.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    reader: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<Box<RawValue>>::deserialize(reader)?;
    Ok(text.and_then(|text| serde_json::from_str(text.get()).ok()))
}

/// Reads a currency. # Errors: none of Stripe's.
pub(super) fn currency<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Currency>, D::Error> {
    let Some(text) = Option::<String>::deserialize(reader)? else {
        return Ok(None);
    };
    let currency = Currency::parse(&text).map_err(D::Error::custom)?;
    if !currency.is_known() {
        return Err(D::Error::custom("currency is none of Stripe's"));
    }
    Ok(Some(currency))
}

/// Metadata: our own and the product's notes on an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Metadata(pub BTreeMap<String, String>);

impl Metadata {
    /// The value of a key, unless empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }
}
impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let map = Option::<BTreeMap<String, Option<String>>>::deserialize(reader)?;
        let map = map.unwrap_or_default();
        if map.len() > METADATA_KEYS_MAX {
            return Err(D::Error::custom("metadata has more than 100 keys"));
        }
        Ok(Self(
            map.into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect(),
        ))
    }
}

/// The id every whole object has. # Errors: missing or malformed.
pub(super) fn required_id(object: &str, id: Option<&str>) -> Result<(), WireError> {
    let id = id.ok_or_else(|| missing(object, "id"))?;
    crate::ids::ObjectId::parse(id)
        .map_err(|error| WireError::new(format!("{object}: {error}")))?;
    Ok(())
}

/// The error for an absent field.
pub(super) fn missing(object: &str, field: &str) -> WireError {
    WireError::new(format!("{object}: missing field `{field}`"))
}

/// `Err` when a field is absent.
pub(super) fn required<T>(object: &str, field: &str, value: &Option<T>) -> Result<(), WireError> {
    value
        .as_ref()
        .map(|_| ())
        .ok_or_else(|| missing(object, field))
}
