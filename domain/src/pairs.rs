//! Maps whose keys are not plain texts, stored in JSON as lists of pairs.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// Writes `[[key, value], …]` in key order.
pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    writer: S,
) -> Result<S::Ok, S::Error> {
    writer.collect_seq(map.iter())
}

/// Reads `[[key, value], …]`.
pub(crate) fn deserialize<'de, K, V, D>(reader: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Vec::<(K, V)>::deserialize(reader)?.into_iter().collect())
}
