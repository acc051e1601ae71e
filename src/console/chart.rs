//! Charts as shapes the templates put into SVG: whole numbers on a fixed canvas, no style of their own.
//!
//! Invariants: integers only; a chart is a picture of the table that stands under it, never the only place of a number.

use super::pulse::Turn;
use bursar_domain::ids::Timestamp;
use serde_json::{Value, json};

/// The canvas.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 160;

/// Columns side by side, one group per label, drawn up from the base line. `null`: there is nothing to draw.
pub(super) fn columns(groups: &[(String, Vec<u64>)]) -> Value {
    let most = groups.iter().flat_map(|(_, values)| values).max();
    let most = most.copied().unwrap_or(0);
    if most == 0 {
        return Value::Null;
    }
    let top = nice(most);
    let slot = WIDTH / (groups.len() as u64).max(1);
    let mut bars = Vec::new();
    for (index, (label, values)) in groups.iter().enumerate() {
        let gap = (slot / 5).max(1);
        let each = (slot - gap) / (values.len() as u64).max(1);
        for (series, value) in values.iter().enumerate() {
            // What is there is seen, however small.
            let height = (u128::from(*value) * u128::from(HEIGHT)).div_ceil(u128::from(top));
            let height = u64::try_from(height).unwrap_or(HEIGHT);
            if *value > 0 {
                bars.push(json!({
                    "x": index as u64 * slot + gap / 2 + series as u64 * each, "y": HEIGHT - height,
                    "width": each.max(1), "height": height, "series": series, "label": label,
                    "value": value,
                }));
            }
        }
    }
    let ends = |index: usize| groups.get(index).map(|(label, _)| label.clone());
    json!({
        "width": WIDTH, "height": HEIGHT, "bars": bars, "top": top,
        "first": ends(0), "middle": ends(groups.len() / 2), "last": ends(groups.len() - 1),
    })
}

/// The next round number: 1, 2 or 5 and zeros.
fn nice(most: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for step in [1, 2, 5] {
            if unit.saturating_mul(step) >= most {
                return unit.saturating_mul(step);
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// Per circuit that turned: when it was closed, half open and open, over the time since the first turn kept.
pub(super) fn circuit_bands(turns: &[Turn], now: Timestamp) -> Value {
    let Some(first) = turns.iter().map(|turn| turn.at.0).min() else {
        return Value::Null;
    };
    let span = (now.0 - first).max(1);
    let place = |at: i64| (i128::from(at - first) * i128::from(WIDTH) / i128::from(span)).max(0);
    let mut names: Vec<&str> = turns.iter().map(|turn| turn.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let rows = names.iter().map(|name| {
        let own: Vec<&Turn> = turns.iter().filter(|turn| turn.name == *name).collect();
        let mut bands = Vec::new();
        let mut before = (first, "closed");
        for turn in own
            .iter()
            .map(|turn| (turn.at.0, turn.state))
            .chain([(now.0, "")])
        {
            let (x, end) = (place(before.0), place(turn.0));
            if end > x {
                bands.push(json!({"x": x, "width": end - x, "state": before.1}));
            }
            before = turn;
        }
        json!({"name": name, "bands": bands})
    });
    json!({
        "width": WIDTH, "rows": rows.collect::<Vec<_>>(),
        "from": Timestamp(first).rfc3339(), "to": now.rfc3339(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_column_reaches_no_further_than_the_canvas_and_the_smallest_is_seen() {
        let groups = [
            ("a".to_owned(), vec![1, 0]),
            ("b".to_owned(), vec![9_999, 3]),
        ];
        let chart = columns(&groups);
        assert_eq!(chart["top"], 10_000);
        let bars = chart["bars"].as_array().unwrap();
        assert_eq!(bars.len(), 3);
        for bar in bars {
            let of = |field: &str| bar[field].as_u64().unwrap();
            assert!(of("height") >= 1 && of("height") <= HEIGHT && of("width") >= 1);
            assert!(of("x") + of("width") <= WIDTH && of("y") + of("height") == HEIGHT);
        }
        assert_eq!(columns(&[("a".to_owned(), vec![0])]), Value::Null);
        assert_eq!(columns(&[]), Value::Null);
        assert_eq!([nice(1), nice(3), nice(11), nice(501)], [1, 5, 20, 1_000]);
        assert!(columns(&[("a".to_owned(), vec![u64::MAX])])["bars"].is_array());
    }

    #[test]
    fn a_circuit_is_drawn_from_the_first_turn_to_now_without_a_gap() {
        let turn = |at, state| Turn {
            at: Timestamp(at),
            name: "stripe".to_owned(),
            state,
        };
        let turns = [turn(0, "open"), turn(50, "half_open"), turn(60, "closed")];
        let bands = circuit_bands(&turns, Timestamp(100));
        let row = bands["rows"][0]["bands"].as_array().unwrap();
        let states: Vec<_> = row
            .iter()
            .map(|band| band["state"].as_str().unwrap())
            .collect();
        assert_eq!(states, ["open", "half_open", "closed"]);
        let width: u64 = row.iter().map(|band| band["width"].as_u64().unwrap()).sum();
        assert_eq!(width, WIDTH);
        assert_eq!(circuit_bands(&[], Timestamp(1)), Value::Null);
    }
}
