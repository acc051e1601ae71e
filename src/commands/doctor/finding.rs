//! What the doctor found, one line each, and how it ends.
//!
//! Invariants: a line is one line and moves no cursor; a failure says what to do; what was not checked is
//! listed with its reason.

use crate::cli::Exit;
use serde_json::{Value, json};
use std::fmt::Write;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Works, but worth a look.
    Warn,
    /// Does not work.
    Fail,
    /// What the check needs does not answer.
    Unreachable,
    /// Not checked.
    Skipped,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail | Self::Unreachable => "fail",
            Self::Skipped => "skip",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    name: &'static str,
    level: Level,
    text: String,
    next: String,
}

/// Every line so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, name: &'static str, level: Level, text: impl AsRef<str>, next: &str) {
        let one_line = |text: &str| -> String {
            let shown = |c: char| if c.is_control() { ' ' } else { c };
            text.chars().map(shown).collect()
        };
        self.0.push(Finding {
            name,
            level,
            text: one_line(text.as_ref()),
            next: one_line(next),
        });
    }
    /// As it should be.
    pub(super) fn ok(&mut self, name: &'static str, text: impl AsRef<str>) {
        self.add(name, Level::Ok, text, "");
    }
    /// Worth a look, and what to do.
    pub(super) fn warn(&mut self, name: &'static str, text: impl AsRef<str>, next: &str) {
        self.add(name, Level::Warn, text, next);
    }
    /// Does not work, and what to do.
    pub(super) fn fail(&mut self, name: &'static str, text: impl AsRef<str>, next: &str) {
        self.add(name, Level::Fail, text, next);
    }
    /// Something needed does not answer.
    pub(super) fn unreachable(&mut self, name: &'static str, text: impl AsRef<str>, next: &str) {
        self.add(name, Level::Unreachable, text, next);
    }
    /// Not checked, and why.
    pub(super) fn skip(&mut self, name: &'static str, why: impl AsRef<str>) {
        self.add(name, Level::Skipped, why, "");
    }

    fn count(&self, level: Level) -> usize {
        self.0.iter().filter(|f| f.level == level).count()
    }

    /// 1 when something does not work, 69 when all that is wrong is that something does not answer.
    pub(super) fn exit(&self) -> Exit {
        if self.count(Level::Fail) > 0 {
            Exit::Differences
        } else if self.count(Level::Unreachable) > 0 {
            Exit::Unavailable
        } else {
            Exit::Success
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> String {
        let width = self.0.iter().map(|f| f.name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for finding in &self.0 {
            let Finding {
                name,
                level,
                text: said,
                next,
            } = finding;
            let before = if *level == Level::Skipped {
                "not checked: "
            } else {
                ""
            };
            let _ = write!(text, "{:<4}  {name:<width$}  {before}{said}", level.word());
            let _ = match next.as_str() {
                "" => writeln!(text),
                next => writeln!(text, ". To do: {next}"),
            };
        }
        let failed = self.count(Level::Fail) + self.count(Level::Unreachable);
        let _ = writeln!(
            text,
            "{} ok, {} to look at, {failed} failed, {} not checked",
            self.count(Level::Ok),
            self.count(Level::Warn),
            self.count(Level::Skipped)
        );
        text
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let checks = self.0.iter().map(|f| {
            let next = Some(f.next.as_str()).filter(|next| !next.is_empty());
            json!({"name": f.name, "status": f.level.word(), "text": f.text, "next": next,
                "unreachable": f.level == Level::Unreachable})
        });
        json!({"ok": self.exit() == Exit::Success, "checks": checks.collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_worst_and_an_outage_alone_is_69() {
        let mut found = Findings::default();
        found.ok("a", "fine");
        found.warn("b", "so so", "look");
        found.skip("c", "no server runs");
        assert_eq!(found.exit(), Exit::Success);
        found.unreachable("d", "nobody answers", "wait");
        assert_eq!(found.exit(), Exit::Unavailable);
        found.fail("e", "broken\n\u{1b}[2J", "mend it");
        assert_eq!(found.exit(), Exit::Differences);
        let text = found.lines();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[2], "skip  c  not checked: no server runs");
        assert_eq!(lines[4], "fail  e  broken  [2J. To do: mend it");
        assert_eq!(lines[5], "1 ok, 1 to look at, 2 failed, 1 not checked");
        let json = found.json();
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][3]["status"], "fail");
    }
}
