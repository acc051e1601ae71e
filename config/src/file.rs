//! Reading a file somebody named: bounded, regular, UTF-8, and TOML with lines.
//!
//! Invariants: at most [`FILE_BYTES_MAX`] bytes are read; a directory, device or FIFO is refused
//! before it is opened, so nothing hangs. Messages carry a line and never the line's text, which may
//! hold a secret.
//! Not here: what keys mean (`keys`), which value wins (`gather`).
//! Failure: a sentence for a [`Problem`](crate::Problem).

use std::io::Read;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::keys::Kind;

/// 1 MiB: a thousand times the size of a full configuration.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file's text.
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) world_readable: bool,
}

/// Reads a small regular UTF-8 file.
pub(crate) fn read(path: &Path) -> Result<Text, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    if metadata.is_dir() {
        return Err("is a directory, a file was expected".to_owned());
    }
    if !metadata.is_file() {
        return Err("is not a regular file (a FIFO, socket or device)".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!(
            "has {} bytes, the limit is {FILE_BYTES_MAX}",
            metadata.len()
        ));
    }
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "is longer than the limit of {FILE_BYTES_MAX} bytes"
        ));
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(
            "line 1 starts with a byte order mark; save it as UTF-8 without one".to_owned(),
        );
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        format!("line {line} is not UTF-8 text")
    })?;
    Ok(Text {
        text,
        world_readable: world_readable(&metadata),
    })
}

#[cfg(unix)]
fn world_readable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn world_readable(_: &std::fs::Metadata) -> bool {
    false
}

/// A value of a TOML file or of the environment, by the type its key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Switch(bool),
    List(Vec<String>),
}

/// The line, counted from 1, in which a byte of `text` stands.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    text.as_bytes()[..end]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// Parses TOML. All syntax errors are returned, each with its line.
pub(crate) fn parse(text: &str) -> Result<DeTable<'_>, Vec<(usize, String)>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(table.into_inner());
    }
    // One broken line can set off a cascade; the first of each line is the one to mend.
    let mut found: Vec<(usize, String)> = Vec::new();
    for error in errors {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        if found.iter().all(|(seen, _)| *seen != line) {
            found.push((line, error.message().to_owned()));
        }
    }
    Err(found)
}

/// Reads a TOML value as its key's type.
pub(crate) fn typed(value: &DeValue<'_>, kind: Kind) -> Result<Value, String> {
    match (kind, value) {
        (Kind::Text, DeValue::String(text)) => Ok(Value::Text(text.to_string())),
        (Kind::Integer, DeValue::Integer(number)) => whole(number).map(Value::Integer),
        (Kind::Switch, DeValue::Boolean(on)) => Ok(Value::Switch(*on)),
        (Kind::List, DeValue::String(text)) => Ok(Value::List(split(text))),
        (Kind::List, DeValue::Array(items)) => {
            let mut texts = Vec::new();
            for item in items.iter() {
                match item.get_ref() {
                    DeValue::String(text) => texts.push(text.to_string()),
                    other => {
                        return Err(format!(
                            "expected a list of strings, found {} in it",
                            kind_name(other)
                        ));
                    }
                }
            }
            Ok(Value::List(texts))
        }
        (Kind::Text, other) => Err(format!("expected a string, found {}", kind_name(other))),
        (Kind::Integer, other) => Err(format!(
            "expected a whole number, found {}",
            kind_name(other)
        )),
        (Kind::Switch, other) => Err(format!(
            "expected true or false, found {}",
            kind_name(other)
        )),
        (Kind::List, other) => Err(format!(
            "expected a list of strings, found {}",
            kind_name(other)
        )),
    }
}

/// A TOML integer as an `i64`.
pub(crate) fn whole(number: &toml::de::DeInteger<'_>) -> Result<i64, String> {
    i64::from_str_radix(number.as_str(), number.radix())
        .map_err(|_| "is larger than a 64-bit number".to_owned())
}

/// What a TOML value is, with its article.
pub(crate) fn kind_name(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {name}")
}

/// Reads a variable's text as its key's type.
pub(crate) fn typed_text(text: &str, kind: Kind) -> Result<Value, String> {
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::List => Ok(Value::List(split(text))),
        Kind::Integer => text
            .trim()
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("expected a whole number, found {text:?}")),
        Kind::Switch => match text.trim() {
            "true" | "1" => Ok(Value::Switch(true)),
            "false" | "0" => Ok(Value::Switch(false)),
            _ => Err(format!("expected true or false, found {text:?}")),
        },
    }
}

/// Splits a comma separated list. Empty items stay, so that they can be reported.
fn split(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    text.split(',')
        .map(|item| item.trim_matches([' ', '\t']).to_owned())
        .collect()
}
