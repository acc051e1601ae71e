//! Holds the recording rules and alerts to what dashboards are held to, and to having a page for whoever is woken.
//!
//! Method: the rule files are read line by line in the one layout they are written in; a layout this does not know fails.
//! Not here: whether the rules are PromQL and fire when they should (`tests/outside/prometheus` asks Prometheus itself).

use super::{MetricKind, grouped, label_names, label_values, lookup, none, uses};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

fn file(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One rule: its kind and name, and its fields by name.
#[derive(Default)]
struct Rule {
    kind: String,
    name: String,
    fields: BTreeMap<String, String>,
}

fn rules(path: &str) -> Vec<Rule> {
    let mut all: Vec<Rule> = Vec::new();
    let mut block: Option<String> = None;
    for line in file(path).lines() {
        let text = line.trim();
        let named = ["record", "alert"].iter().find_map(|kind| {
            let name = text.strip_prefix(&format!("- {kind}: "))?;
            Some((*kind, name))
        });
        if let Some((kind, name)) = named {
            block = None;
            all.push(Rule {
                kind: kind.to_owned(),
                name: name.to_owned(),
                ..Rule::default()
            });
            continue;
        }
        if text.starts_with("- name: ") {
            // The next group begins.
            block = None;
            continue;
        }
        let Some(rule) = all.last_mut() else { continue };
        let field = text.split_once(": ").filter(|(key, _)| {
            let known = [
                "expr",
                "for",
                "severity",
                "summary",
                "description",
                "runbook_url",
                "dashboard_uid",
            ];
            known.contains(key)
        });
        match (field, &block) {
            (Some((key, "|-")), _) => {
                block = Some(key.to_owned());
                rule.fields.insert(key.to_owned(), String::new());
            }
            (Some((key, value)), _) => {
                block = None;
                rule.fields.insert(key.to_owned(), value.to_owned());
            }
            (None, Some(key)) if !matches!(text, "labels:" | "annotations:" | "rules:") => {
                if let Some(value) = rule.fields.get_mut(key) {
                    value.push_str(text);
                    value.push(' ');
                }
            }
            (None, _) => block = None,
        }
    }
    all
}

fn recordings() -> Vec<Rule> {
    rules("dashboards/prometheus/recording.rules.yml")
}

fn alerts() -> Vec<Rule> {
    rules("dashboards/prometheus/alerts.rules.yml")
}

impl Rule {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.trim())
    }
}

/// What is wrong with a rule's expression, given the names of what is recorded.
fn wrong_expr(expr: &str, recorded: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: BTreeSet<&str> = ["job", "instance"].into();
    // Labels a recorded name says it has: `job_lane:…`.
    let words: Vec<&str> = expr
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .collect();
    for word in &words {
        if word.contains(":bursar_") && !recorded.contains(*word) {
            wrong.push(format!("{word} is not recorded"));
        }
        if !word.starts_with("bursar_") {
            continue;
        }
        let Some((metric, is_series)) = lookup(word) else {
            wrong.push(format!("{word} is in no catalogue"));
            continue;
        };
        known.extend(metric.labels.iter().map(|(name, _)| *name));
        known.extend(word.ends_with("_bucket").then_some("le"));
        let counts = is_series || metric.kind == MetricKind::Counter;
        let mut places = expr.match_indices(word);
        let rated = places.all(|(at, _)| {
            ["rate(", "increase("]
                .iter()
                .any(|function| expr[..at].ends_with(function))
        });
        if counts != rated {
            wrong.push(format!(
                "{word} counts up or does not, and is read otherwise"
            ));
        }
    }
    for used in uses(expr)
        .iter()
        .filter(|used| used.name.starts_with("bursar_"))
    {
        let Some((metric, _)) = lookup(used.name) else {
            continue;
        };
        for label in label_names(used.selector) {
            let is_own = metric.labels.iter().any(|(name, _)| *name == label);
            if !is_own && !["le", "job", "instance"].contains(&label) {
                wrong.push(format!("{} has no label {label}", used.name));
            }
        }
        let closed = metric
            .labels
            .iter()
            .filter(|(_, values)| !values.is_empty());
        for (label, values) in closed {
            for value in label_values(used.selector, label) {
                if !values.contains(&value) {
                    wrong.push(format!("{} never has {label}={value}", used.name));
                }
            }
        }
    }
    for label in grouped(expr) {
        if !known.contains(label) {
            wrong.push(format!("groups by {label}, which none of its metrics has"));
        }
    }
    wrong
}

#[test]
fn every_rule_uses_known_metrics_in_the_right_way() {
    let recorded: BTreeSet<String> = recordings().into_iter().map(|rule| rule.name).collect();
    let mut wrong = Vec::new();
    let mut used = String::new();
    for rule in recordings().iter().chain(&alerts()) {
        let expr = rule.field("expr");
        assert!(!expr.is_empty(), "{} has no expression", rule.name);
        let found = wrong_expr(expr, &recorded);
        wrong.extend(found.iter().map(|text| format!("{}: {text}", rule.name)));
        used.push_str(expr);
    }
    for name in &recorded {
        if !used.contains(name.as_str()) {
            wrong.push(format!("{name} is recorded for nobody"));
        }
    }
    none(&wrong);
}

#[test]
fn every_alert_says_what_it_means_and_has_a_runbook_and_cases() {
    let index = file("docs/runbooks/README.md");
    let cases = file("dashboards/prometheus/tests/alerts.test.yml")
        + &file("dashboards/prometheus/tests/days.test.yml");
    let mut wrong = Vec::new();
    let all = alerts();
    assert!(all.len() > 25, "only {} alerts were seen", all.len());
    for alert in &all {
        let (name, severity) = (&alert.name, alert.field("severity"));
        let mut needs = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{name} ({severity}): {what}"));
            }
        };
        needs(
            alert.kind == "alert" && name.starts_with("Bursar"),
            "its name",
        );
        needs(
            ["critical", "warning", "info"].contains(&severity),
            "severity",
        );
        let summary = alert.field("summary");
        needs(
            !summary.is_empty() && !summary.contains("{{"),
            "a summary without values",
        );
        needs(alert.field("description").len() > 60, "a description");
        needs(!alert.field("for").is_empty(), "for");
        let uid = alert.field("dashboard_uid").trim_start_matches("bursar-");
        needs(
            super::DASHBOARDS.contains(&format!("{uid}.json").as_str()),
            "a dashboard that is there",
        );
        needs(
            alert
                .field("runbook_url")
                .ends_with(&format!("/docs/runbooks/{name}.md")),
            "its runbook",
        );
        needs(
            index.contains(&format!("({name}.md)")),
            "a line in the index of runbooks",
        );
        needs(
            cases.contains(&format!("- name: {name} ({severity}) fires\n")),
            "a case that fires",
        );
        needs(
            cases.contains(&format!("- name: {name} ({severity}) is silent\n")),
            "a case that does not",
        );
        let runbook = file(&format!("docs/runbooks/{name}.md"));
        for heading in [
            "## What it means for customers",
            "## Check first",
            "## Fix",
            "## How to know it is over",
        ] {
            let after = runbook.split(heading).nth(1).unwrap_or_default();
            needs(after.trim_start_matches(['\n', ' ']).len() > 20, heading);
        }
        needs(runbook.contains("```sh\n"), "a command to paste");
    }
    println!("alerts={} wrong={}", all.len(), wrong.len());
    none(&wrong);
}

#[test]
fn every_runbook_belongs_to_an_alert() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    let names: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        assert!(
            stem == "README" || names.contains(&stem),
            "{stem} has no alert"
        );
    }
}

#[test]
fn the_rules_for_rules_see_what_they_forbid() {
    let recorded: BTreeSet<String> = ["job:bursar_x:ratio".to_owned()].into();
    let wrong = |expr: &str| wrong_expr(expr, &recorded);
    assert_eq!(wrong("job:bursar_x:ratio > 1"), [""; 0]);
    assert_eq!(wrong("job:bursar_y:ratio > 1").len(), 1);
    assert_eq!(wrong("max by (job) (bursar_dead_letters) > 0"), [""; 0]);
    assert_eq!(wrong("max by (job) (bursar_dead_mails) > 0").len(), 1);
    assert_eq!(wrong("max by (tenant) (bursar_dead_letters) > 0").len(), 1);
    assert_eq!(wrong("bursar_ready{check=\"disk\"} == 0"), [""; 0]);
    assert_eq!(wrong("bursar_ready{check=\"disc\"} == 0").len(), 1);
    assert_eq!(wrong("bursar_ready{chek=\"disk\"} == 0").len(), 1);
    assert_eq!(wrong("bursar_disputes_opened_total > 0").len(), 1);
    assert_eq!(
        wrong("increase(bursar_disputes_opened_total[1h]) > 0"),
        [""; 0]
    );
    assert_eq!(wrong("rate(bursar_dead_letters[1h]) > 0").len(), 1);
}
