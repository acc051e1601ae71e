//! Plain text for people: columns, and one thing line by line.
//!
//! Invariants: what is printed moves no cursor and rings no bell, whatever a customer called
//! himself; a table's line holds one thing.

use serde_json::Value;
use std::fmt::Write;

/// Longest text in a column, in characters.
const CELL_CHARS_MAX: usize = 40;

/// A value as a person reads it: `-` for nothing.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => harmless(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What became of a field, in words; of a list or an object only that it changed.
pub(super) fn change_words(change: &Value) -> String {
    let (field, from, to) = (cell(&change["field"]), &change["from"], &change["to"]);
    let is_whole = |value: &Value| value.is_array() || value.is_object();
    if is_whole(from) || is_whole(to) {
        return format!("{field} changed");
    }
    let shown = |value: &Value| match value {
        Value::Null => "nothing".to_owned(),
        other => cell(other),
    };
    format!("{field}: {} -> {}", shown(from), shown(to))
}

fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(shown).collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

/// Columns under their heads, two spaces apart.
pub(super) fn columns(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    lines.extend(
        rows.iter()
            .map(|row| row.iter().map(|text| shortened(text)).collect()),
    );
    let lines: Vec<Vec<String>> = lines;
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths);
        let padded: Vec<String> = padded.map(|(cell, w)| format!("{cell:<w$}")).collect();
        let _ = writeln!(text, "{}", padded.join("  ").trim_end());
    }
    text
}

/// One thing: a name and a value on each line.
pub(super) fn sheet(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<width$}  {value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up_and_no_text_reaches_the_terminal_as_a_command() {
        let name = cell(&json!("Ada\u{1b}[2J\nInc"));
        assert_eq!(name, "Ada?[2J?Inc");
        let long = "x".repeat(60);
        let text = columns(
            &["TENANT", "NAME"],
            &[vec!["acme".into(), name], vec!["beta-2".into(), long]],
        );
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["TENANT  NAME", "acme    Ada?[2J?Inc"]);
        assert_eq!(lines[2].chars().count(), "beta-2  ".len() + 40);
        assert_eq!(
            sheet(&[("a", "1".into()), ("long", cell(&json!(null)))]),
            "a     1\nlong  -\n"
        );
    }
}
