//! Holds every dashboard to rules that otherwise only a person in front of Grafana would notice.
//!
//! Method: each file of `dashboards/` is read as JSON, every query is taken apart far enough to know its
//! metrics, labels and functions, and compared with the catalogues the product registers metrics from.
//! Source: the public rule list of grafana/dashboard-linter; Grafana's classic dashboard model.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bursar::telemetry::catalogue::every_catalogue;
use bursar::telemetry::facts::INFO;
use bursar_store::metrics::{Label, Metric, MetricKind};
use serde_json::Value;

#[path = "dashboards/rules.rs"]
mod rules;

/// Not registered by a catalogue of ours: the standard names of metrics-process.
const PROCESS: &[Metric] = &[
    metric("process_cpu_seconds_total", MetricKind::Counter, &[]),
    metric("process_resident_memory_bytes", MetricKind::Gauge, &[]),
    metric("process_open_fds", MetricKind::Gauge, &[]),
    metric("process_max_fds", MetricKind::Gauge, &[]),
];

/// Metrics nobody looks at over time, and why.
const NOT_CHARTED: &[(&str, &str)] = &[];

/// The dashboards of this folder.
const DASHBOARDS: [&str; 5] = [
    "outbox.json",
    "overview.json",
    "store-and-actors.json",
    "stripe.json",
    "webhooks.json",
];

const fn metric(name: &'static str, kind: MetricKind, labels: &'static [Label]) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help: "",
    }
}

fn catalogue() -> Vec<&'static Metric> {
    every_catalogue().chain(INFO).chain(PROCESS).collect()
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&path).expect("the file can be read");
            found.push((name.clone(), serde_json::from_str(&text).expect(&name)));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, DASHBOARDS);
    found
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut all = Vec::new();
    for panel in list(&dashboard["panels"]) {
        all.push(panel);
        all.extend(list(&panel["panels"]));
    }
    all
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Panels that show something, with a name for messages.
fn charts(dashboard: &Value) -> Vec<(String, &Value)> {
    let charts = panels(dashboard)
        .into_iter()
        .filter(|panel| panel["type"] != "row");
    charts
        .map(|panel| (format!("panel {} {}", panel["id"], panel["title"]), panel))
        .collect()
}

fn queries(dashboard: &Value) -> Vec<(String, &str)> {
    let mut all = Vec::new();
    for (name, panel) in charts(dashboard) {
        for target in list(&panel["targets"]) {
            all.push((
                name.clone(),
                target["expr"].as_str().expect("a query has an expr"),
            ));
        }
    }
    all
}

/// One metric in a query: its name, what stands in its braces, and the text before it.
struct Use<'a> {
    name: &'a str,
    selector: &'a str,
    before: &'a str,
}

fn uses(query: &str) -> Vec<Use<'_>> {
    let mut found = Vec::new();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for (open, _) in query.match_indices('{') {
        let head = &query[..open];
        let before = head.trim_end_matches(word);
        let close = open + query[open..].find('}').expect("every brace is closed");
        found.push(Use {
            name: &head[before.len()..],
            selector: &query[open + 1..close],
            before,
        });
    }
    found
}

/// The catalogue's metric behind a name, and whether the name is one of a histogram's series.
fn lookup(name: &str) -> Option<(&'static Metric, bool)> {
    catalogue()
        .into_iter()
        .find_map(|metric| match metric.kind {
            MetricKind::Histogram(_) => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|suffix| name.strip_suffix(suffix) == Some(metric.name))
                .then_some((metric, true)),
            _ => (metric.name == name).then_some((metric, false)),
        })
}

/// The values a selector asks of a label: `["a", "b"]` for `label=~"a|b"`, none for a variable.
fn label_values<'a>(selector: &'a str, label: &str) -> Vec<&'a str> {
    let matcher = selector
        .split(", ")
        .find_map(|matcher| matcher.strip_prefix(label));
    let Some(values) = matcher.map(|rest| rest.trim_start_matches(['=', '~', '!'])) else {
        return Vec::new();
    };
    let values = values.trim_matches('"').split('|');
    values.filter(|value| !value.starts_with('$')).collect()
}

fn label_names(selector: &str) -> Vec<&str> {
    let matchers = selector
        .split(',')
        .filter(|matcher| !matcher.trim().is_empty());
    matchers
        .map(|m| m.split(['=', '!']).next().unwrap_or_default().trim())
        .collect()
}

/// The labels in `by (…)`.
fn grouped(query: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in query.match_indices("by (") {
        let inside = &query[at + 4..];
        let end = inside.find(')').expect("every parenthesis is closed");
        found.extend(inside[..end].split(',').map(str::trim));
    }
    found
}

/// What is wrong with one query.
fn wrong_query(query: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: BTreeSet<&str> = ["job", "instance"].into();
    let found = uses(query);
    if found.is_empty() {
        wrong.push("uses no metric".to_owned());
    }
    for used in &found {
        for variable in ["job=~\"$job\"", "instance=~\"$instance\""] {
            if !used.selector.contains(variable) {
                wrong.push(format!("{} without {variable}", used.name));
            }
        }
        let Some((metric, is_series)) = lookup(used.name) else {
            wrong.push(format!("{} is in no catalogue", used.name));
            continue;
        };
        let labels = metric.labels.iter().map(|(name, _)| *name);
        known.extend(labels.clone());
        known.extend(used.name.ends_with("_bucket").then_some("le"));
        for label in label_names(used.selector) {
            let is_bucket = label == "le" && used.name.ends_with("_bucket");
            if !["job", "instance"].contains(&label)
                && !is_bucket
                && !labels.clone().any(|own| own == label)
            {
                wrong.push(format!("{} has no label {label}", used.name));
            }
        }
        for (label, values) in metric
            .labels
            .iter()
            .filter(|(_, values)| !values.is_empty())
        {
            let asked = label_values(used.selector, label);
            for value in asked.iter().filter(|value| !values.contains(value)) {
                wrong.push(format!("{} never has {label}={value}", used.name));
            }
        }
        let counts = is_series || metric.kind == MetricKind::Counter;
        let rated = used.before.ends_with("rate(") || used.before.ends_with("increase(");
        if counts && !rated {
            wrong.push(format!(
                "{} counts up; show its rate or increase",
                used.name
            ));
        }
        if !counts && rated {
            wrong.push(format!("{} is a gauge; it has no rate", used.name));
        }
    }
    for label in grouped(query)
        .into_iter()
        .filter(|label| !known.contains(label))
    {
        wrong.push(format!("groups by {label}, which none of its metrics has"));
    }
    for (at, _) in query.match_indices('[') {
        let range = query[at..]
            .split(']')
            .next()
            .unwrap_or_default()
            .trim_start_matches('[');
        let in_increase = query[..at].rfind("increase(") > query[..at].rfind("rate(");
        if range != "$__rate_interval" && !(in_increase && range == "$__range") {
            wrong.push(format!("uses the fixed range {range}"));
        }
    }
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for word in words.filter(|word| word.starts_with("bursar_") || word.starts_with("process_")) {
        if !found.iter().any(|used| used.name == word) {
            wrong.push(format!("{word} has no selector"));
        }
    }
    wrong
}

fn none(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} violations\n  {}",
        wrong.len(),
        wrong.join("\n  ")
    );
}

#[test]
fn every_query_uses_known_metrics_in_the_right_way() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (file, dashboard) in dashboards() {
        for (panel, query) in queries(&dashboard) {
            count += 1;
            wrong.extend(
                wrong_query(query)
                    .iter()
                    .map(|text| format!("{file} {panel}: {text}")),
            );
        }
    }
    assert!(count > 100, "only {count} queries were seen");
    println!(
        "dashboards={} queries={count} wrong={}",
        DASHBOARDS.len(),
        wrong.len()
    );
    none(&wrong);
}

#[test]
fn every_metric_is_on_a_dashboard_or_listed_with_a_reason() {
    let mut charted = BTreeSet::new();
    for (_, dashboard) in dashboards() {
        for (_, query) in queries(&dashboard) {
            charted.extend(
                uses(query)
                    .iter()
                    .filter_map(|used| lookup(used.name))
                    .map(|m| m.0.name),
            );
        }
    }
    for metric in catalogue() {
        let excused = NOT_CHARTED.iter().any(|(name, _)| *name == metric.name);
        assert_ne!(charted.contains(metric.name), excused, "{}", metric.name);
    }
}

#[test]
fn every_panel_says_what_it_shows_and_in_what_unit() {
    let mut wrong = Vec::new();
    for (file, dashboard) in dashboards() {
        for (name, panel) in charts(&dashboard) {
            for path in ["/title", "/description", "/fieldConfig/defaults/unit"] {
                if panel
                    .pointer(path)
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty)
                {
                    wrong.push(format!("{file} {name}: no {path}"));
                }
            }
            if list(&panel["targets"]).is_empty() {
                wrong.push(format!("{file} {name}: shows nothing"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_data_source_is_always_the_variable() {
    let mut wrong = Vec::new();
    for (file, dashboard) in dashboards() {
        let variables = list(&dashboard["templating"]["list"]);
        let named = |name: &str| variables.iter().find(|variable| variable["name"] == name);
        let source = named("datasource").expect("a variable datasource");
        assert_eq!(
            (&source["type"], &source["query"]),
            (&"datasource".into(), &"prometheus".into())
        );
        for name in ["job", "instance"] {
            let variable = named(name).expect("variables job and instance");
            assert_eq!(
                variable["datasource"]["uid"], "${datasource}",
                "{file} {name}"
            );
            let query = variable["query"]["query"].as_str().expect("a query");
            let metric = query
                .trim_start_matches("label_values(")
                .split([',', '{'])
                .next();
            assert!(
                lookup(metric.unwrap_or_default()).is_some(),
                "{file} {name}: {query}"
            );
        }
        for (name, panel) in charts(&dashboard) {
            let own = std::iter::once(panel).chain(list(&panel["targets"]));
            for part in own.filter(|part| part["datasource"]["uid"] != "${datasource}") {
                wrong.push(format!("{file} {name}: {}", part["datasource"]));
            }
        }
    }
    none(&wrong);
}

#[test]
fn ids_are_unique_and_the_model_is_the_classic_one() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert_eq!(dashboard["schemaVersion"], 39, "{file}");
        let uid = dashboard["uid"].as_str().expect("a uid");
        assert!(
            uid.starts_with("bursar-") && uids.insert(uid.to_owned()),
            "{file}: {uid}"
        );
        assert!(
            list(&dashboard["tags"]).contains(&"bursar".into()),
            "{file}"
        );
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            let id = panel["id"].as_u64().expect("a panel has an id");
            assert!(ids.insert(id), "{file}: panel id {id} twice");
            let mut references = BTreeSet::new();
            for target in list(&panel["targets"]) {
                let reference = target["refId"].as_str().expect("a query has a refId");
                assert!(
                    references.insert(reference),
                    "{file}: panel {id}: refId {reference} twice"
                );
            }
        }
    }
}

/// Where a panel lies: left, top, right, bottom, the last two exclusive.
fn area(panel: &Value) -> [u64; 4] {
    let grid = &panel["gridPos"];
    let at = |name: &str| grid[name].as_u64().expect("a panel has a place");
    [at("x"), at("y"), at("x") + at("w"), at("y") + at("h")]
}

fn overlap(a: [u64; 4], b: [u64; 4]) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

#[test]
fn panels_fit_the_grid_and_do_not_overlap() {
    for (file, dashboard) in dashboards() {
        let all: Vec<(&Value, [u64; 4])> = panels(&dashboard)
            .into_iter()
            .map(|panel| (&panel["title"], area(panel)))
            .collect();
        for (index, (title, own)) in all.iter().enumerate() {
            assert!(
                own[2] <= 24 && own[2] > own[0] && own[3] > own[1],
                "{file} {title}: {own:?}"
            );
            for (other_title, other) in &all[..index] {
                assert!(
                    !overlap(*own, *other),
                    "{file}: {title} lies on {other_title}"
                );
            }
        }
    }
}

#[test]
fn the_rules_see_what_they_forbid() {
    const SELECTOR: &str = "job=~\"$job\", instance=~\"$instance\"";
    let wrong = |query: &str| wrong_query(&query.replace("SEL", SELECTOR)).len();
    assert_eq!(
        wrong("sum(rate(bursar_store_commits_total{SEL}[$__rate_interval]))"),
        0
    );
    assert_eq!(
        wrong("sum(increase(bursar_store_commits_total{SEL}[$__range]))"),
        0
    );
    assert_eq!(wrong("sum(rate(bursar_store_commits_total{SEL}[5m]))"), 1);
    assert_eq!(
        wrong("sum(rate(bursar_store_commits_total{SEL}[$__range]))"),
        1
    );
    assert_eq!(wrong("sum(bursar_store_commits_total{SEL})"), 1);
    assert_eq!(
        wrong("sum(rate(bursar_store_queue_depth{SEL}[$__rate_interval]))"),
        1
    );
    assert_eq!(wrong("bursar_store_queue_depth{job=~\"$job\"}"), 1);
    assert_eq!(wrong("bursar_store_queue_deep{SEL}"), 1);
    assert_eq!(
        wrong("bursar_store_queue_depth{SEL} / bursar_store_disk_bytes"),
        1
    );
    assert_eq!(wrong("bursar_store_queue_depth{SEL, commit=\"apply\"}"), 1);
    let committed =
        "sum(rate(bursar_store_commits_total{SEL, commit=~\"apply|COMMIT\"}[$__rate_interval]))";
    assert_eq!(wrong(&committed.replace("COMMIT", "accept")), 0);
    assert_eq!(wrong(&committed.replace("COMMIT", "undo")), 1);
    assert_eq!(wrong("sum by (tenant) (bursar_store_queue_depth{SEL})"), 1);
    assert_eq!(wrong("time()"), 1);
    assert!(overlap([0, 0, 12, 8], [11, 7, 24, 8]) && !overlap([0, 0, 12, 8], [12, 0, 24, 8]));
}
