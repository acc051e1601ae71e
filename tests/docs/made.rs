//! The pages that are written from tables: the API from the route table, the settings from `default.toml` and its keys.

use bursar::http::fields::rule;
use bursar::http::openapi::{answers_of, security_words};
use bursar::http::problem::{Code, FieldCode};
use bursar::http::route::{Holds, Route};
use bursar::http::routes::every_route;
use bursar::http::schemas::every_schema;
use bursar_config::{KEYS, Key, Kind};
use std::fmt::Write as _;

const MADE: &str = "<!-- Written by `BURSAR_WRITE_DOCS=1 cargo test --test docs`; a test fails while it is stale. -->\n";

/// In a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// `docs/api.md`.
pub(crate) fn api() -> String {
    let mut page = format!(
        "# API\n\n{MADE}\nEverything Bursar answers over HTTP, from the table it is routed by. The running service shows the \
         same at `/docs`, and for machines at `/openapi.json` (`bursar openapi` prints it without a service). Conventions \
         first: [concepts](concepts.md#the-api-in-short). What each refusal means: [FAQ](faq.md).\n\n"
    );
    let mut tags: Vec<&str> = Vec::new();
    for route in every_route() {
        if !tags.contains(&route.tag) {
            tags.push(route.tag);
        }
    }
    for tag in &tags {
        let _ = writeln!(page, "- [{}](#{})", heading(tag), tag.replace(' ', "-"));
    }
    page.push_str("- [Objects](#objects)\n- [Errors](#errors)\n");
    for tag in tags {
        let _ = write!(page, "\n## {}\n", heading(tag));
        for route in every_route().filter(|route| route.tag == tag) {
            call(&mut page, route);
        }
    }
    page.push_str("\n## Objects\n");
    for schema in every_schema() {
        let _ = write!(
            page,
            "\n### {}\n\n{}\n\n| field | |\n|---|---|\n",
            schema.name, schema.help
        );
        for field in schema.fields {
            let _ = writeln!(page, "| `{}` | {} |", field.name, cell(&field.words()));
        }
    }
    page.push_str("\n## Errors\n\n| code | status | title |\n|---|---|---|\n");
    for code in Code::ALL {
        let (word, status, title) = (code.as_str(), code.status(), code.title());
        let _ = writeln!(
            page,
            "| [`{word}`](faq.md#{word}) | {status} | {} |",
            cell(title)
        );
    }
    let words: Vec<String> = FieldCode::ALL
        .iter()
        .map(|c| format!("`{}`", c.as_str()))
        .collect();
    let _ = write!(
        page,
        "\nEach entry of `errors` names a `field` and one of {}.\n",
        words.join(", ")
    );
    page
}

fn heading(tag: &str) -> String {
    let mut letters = tag.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), letters.as_str())
}

fn call(page: &mut String, route: &Route) {
    let _ = write!(
        page,
        "\n### {} {}\n\n{}.",
        route.verb.as_str(),
        route.path,
        route.summary.trim_end_matches('.')
    );
    if !route.description.is_empty() {
        let _ = write!(page, " {}", route.description);
    }
    if !route.aliases.is_empty() {
        let aliases: Vec<String> = route.aliases.iter().map(|a| format!("`{a}`")).collect();
        let _ = write!(page, " Also at {}.", aliases.join(", "));
    }
    let _ = write!(page, "\n\nWho: {}.\n", security_words(route));
    if !route.params.is_empty() {
        page.push_str("\n| field | |\n|---|---|\n");
        for param in route.params {
            let needed = if param.required { ", required" } else { "" };
            let words = format!("{} Must be {}.", param.help, rule(param.kind));
            let _ = writeln!(page, "| `{}`{needed} | {} |", param.name, cell(&words));
        }
    }
    let holds = match route.holds {
        Holds::One(name) => format!("[{name}](#{})", name.to_lowercase()),
        Holds::Page(name) => format!("a page of [{name}](#{})", name.to_lowercase()),
        Holds::Text(kind) => format!("`{kind}`"),
        Holds::Nothing => "no body".to_owned(),
    };
    let codes: Vec<String> = answers_of(route)
        .iter()
        .map(|c| format!("`{}`", c.as_str()))
        .collect();
    let _ = write!(
        page,
        "\nAnswers {} with {holds}. Refusals: {}.\n",
        route.status,
        codes.join(", ")
    );
}

/// One paragraph of `default.toml`.
struct Told {
    variable: String,
    section: String,
    meaning: String,
    range: String,
}

/// `docs/configuration.md`.
pub(crate) fn configuration() -> String {
    let mut page = format!(
        "# Configuration\n\n{MADE}\nPrecedence: flag, environment, file (`--config` or `BURSAR_CONFIG`), default. Every secret `X` may \
         come from a file as `X_FILE` (in the file: `x_file`); both at once is an error. A misspelled name is an error \
         that names the nearest one. `bursar check-config` shows every value and where it came from, and everything that \
         is wrong at once; `bursar init` writes a commented file. The same words, as a file: `config/default.toml`.\n"
    );
    let told = paragraphs(include_str!("../../config/default.toml"));
    let mut section = "";
    for key in KEYS {
        let found = told.iter().find(|told| told.variable == key.variable);
        let told = found.unwrap_or_else(|| panic!("{} is not in default.toml", key.variable));
        if told.section != section {
            section = &told.section;
            let _ = write!(page, "\n## {section}\n");
        }
        setting(&mut page, key, told);
    }
    page
}

fn setting(page: &mut String, key: &Key, told: &Told) {
    let _ = write!(page, "\n### {}\n\n", key.variable);
    let kind = match key.kind {
        Kind::Text => "text",
        Kind::Integer => "whole number",
        Kind::Switch => "`true` or `false`",
        Kind::List => "list",
    };
    let mut facts = vec![format!("`{}` in the file", key.path), kind.to_owned()];
    if key.secret {
        facts.push(format!("secret, also as `{}_FILE`", key.variable));
    }
    if key.required {
        facts.push("required".to_owned());
    }
    if let Some(default) = key.default {
        facts.push(format!("default `{default}`"));
    }
    if let Some(alias) = key.alias {
        facts.push(format!("also `{alias}`"));
    }
    if !key.acts {
        facts.push("checked, and without effect in this release".to_owned());
    }
    let _ = write!(
        page,
        "{}\n\n{}\n\n{}\n",
        facts.join("; "),
        told.meaning,
        told.range
    );
}

/// The comments of the file: `# NAME: meaning`, then `# Range: …`, up to the next blank line or value.
fn paragraphs(text: &str) -> Vec<Told> {
    let mut found: Vec<Told> = Vec::new();
    let (mut section, mut is_open) = (String::new(), false);
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# ---- ") {
            title.trim_end_matches('-').trim().clone_into(&mut section);
            is_open = false;
            continue;
        }
        let Some(said) = line.strip_prefix("# ") else {
            is_open = false;
            continue;
        };
        let named = said.split_once(": ").filter(|(name, _)| {
            name.contains('_')
                && name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        });
        if let Some((name, meaning)) = named {
            found.push(Told {
                variable: name.to_owned(),
                section: section.clone(),
                meaning: heading(meaning),
                range: String::new(),
            });
            is_open = true;
        } else if let Some(told) = found.last_mut().filter(|_| is_open) {
            let is_value = KEYS.iter().any(|key| is_example(said, key));
            if is_value {
                is_open = false;
            } else if said.starts_with("Range: ") || !told.range.is_empty() {
                push(&mut told.range, said);
            } else {
                push(&mut told.meaning, said);
            }
        }
    }
    found
}

/// `# key = value`: an example, not words.
fn is_example(line: &str, key: &Key) -> bool {
    let name = key.path.rsplit('.').next().unwrap_or(key.path);
    let given = line.split(" = ").next().unwrap_or_default();
    line.contains(" = ") && (given == name || given.strip_suffix("_file") == Some(name))
}

fn push(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(line);
}
