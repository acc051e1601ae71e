//! The house rules that neither the compiler nor clippy checks, over the whole source tree.
//!
//! Method: every rule is a function from a file to its violations; the last test plants one violation per
//! rule, so a rule that stopped seeing anything is noticed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const ROOTS: [&str; 7] = [
    "domain", "store", "actors", "config", "sandbox", "src", "tests",
];

const FILE_LINES_MAX: usize = 599;

/// Where the time of day may be read, and why. Everything else is given the time, so that tests can give
/// it another.
const CLOCK_FILES: &[(&str, &str)] = &[
    ("actors/src/clock.rs", "the product's clock"),
    (
        "sandbox/src/clock.rs",
        "the sandbox's clock, which tests move",
    ),
    ("src/http/edge.rs", "the clock behind the HTTP layer's port"),
    ("src/bench/", "signs events that are made now"),
    (
        "src/commands/",
        "a command line lives in the user's time; servers it starts get the clock",
    ),
    ("store/src/open.rs", "dates the installation, once"),
];

/// Where a stopwatch may be read: it measures or bounds a wait there and never gets into a decision.
const STOPWATCH_FILES: &[(&str, &str)] = &[
    ("store/src/", "how long syncs and commits take"),
    (
        "src/http/",
        "deadlines of connections, durations of requests",
    ),
];

const BANNED_NAMES: [&str; 9] = [
    "util", "utils", "helper", "helpers", "manager", "common", "data", "info", "misc",
];

/// A source file, as the rules see it.
struct Source {
    /// Path from the repository's root, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// Whether the file is only compiled for tests.
    fn is_test(&self) -> bool {
        let stem = self
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .trim_end_matches(".rs");
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            // The suite that every store must pass.
            || self.path.contains("/conformance")
            || stem == "tests"
            || stem.ends_with("_tests")
    }

    /// The lines of the product's own code with their numbers: no comments, nothing under `cfg(test)`.
    fn code(&self) -> Vec<(usize, String)> {
        let mut lines = Vec::new();
        let mut numbered = self.text.lines().enumerate();
        while let Some((index, line)) = numbered.next() {
            if line.trim() == "#[cfg(test)]" {
                skip_item(&mut numbered, line.len() - line.trim_start().len());
                continue;
            }
            let code = line.split("//").next().unwrap_or_default();
            lines.push((index + 1, code.to_owned()));
        }
        lines
    }
}

/// Skips the item an attribute stands on: one line that ends in `;`, or all up to its closing brace,
/// which rustfmt puts at the attribute's own indentation.
fn skip_item<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>, indentation: usize) {
    let mut in_body = false;
    for (_, line) in lines {
        let trimmed = line.trim_end();
        let own = trimmed.len() - trimmed.trim_start().len();
        in_body |= trimmed.ends_with('{');
        let ends = if in_body {
            own == indentation && trimmed.trim_start().starts_with('}')
        } else {
            trimmed.ends_with(';') || trimmed.ends_with("{}")
        };
        if ends {
            return;
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for top in ROOTS {
        collect(&root().join(top), &mut found);
    }
    assert!(
        found.len() > 30,
        "only {} files were found, the walk is broken",
        found.len()
    );
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(folder).expect("the source tree can be read");
    for entry in entries {
        let path = entry.expect("the source tree can be read").path();
        if path.is_dir() {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name != "target" && !name.starts_with('.') {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root()).expect("below the root");
            let relative = relative.to_string_lossy().replace('\\', "/");
            // This file names everything it forbids.
            if relative != "tests/tidy.rs" {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                found.push(Source {
                    path: relative,
                    text,
                });
            }
        }
    }
}

/// Applies a rule to every file and fails with all violations at once.
fn enforce(rule: fn(&Source) -> Vec<String>) {
    let mut list = String::new();
    let mut count = 0;
    for source in sources() {
        for violation in rule(&source) {
            count += 1;
            let _ = writeln!(list, "  {}{violation}", source.path);
        }
    }
    assert!(count == 0, "{count} violations\n{list}");
}

fn lines_with(source: &Source, needles: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.code() {
        for needle in needles.iter().filter(|needle| line.contains(**needle)) {
            found.push(format!(":{number}: {needle}"));
        }
    }
    found
}

fn too_long(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        return vec![format!(": {lines} lines, {FILE_LINES_MAX} at most")];
    }
    Vec::new()
}

/// sled's own flush pool waits for itself once more than a few tasks use it.
fn asynchronous_flush(source: &Source) -> Vec<String> {
    lines_with(source, &["flush_async"])
}

/// An error out of an actor's `handle` kills the actor and drops its queue, so a failed send must be
/// matched, never passed on.
fn send_with_question_mark(source: &Source) -> Vec<String> {
    let code = source.code();
    let mut text = String::new();
    let mut starts = Vec::new();
    for (number, line) in &code {
        starts.push((text.len(), *number));
        text.push_str(line);
        text.push('\n');
    }
    let mut found = Vec::new();
    for call in [".cast(", "cast!(", "send_message("] {
        for (at, _) in text.match_indices(call) {
            if chain_ends_in_question_mark(&text[at + call.len() - 1..]) {
                let line = starts.iter().rev().find(|(start, _)| *start <= at);
                found.push(format!(
                    ":{}: {call}…)?",
                    line.map_or(0, |(_, number)| *number)
                ));
            }
        }
    }
    found
}

/// Whether a call, from its opening parenthesis on, and the methods chained to it end in `?`.
fn chain_ends_in_question_mark(text: &str) -> bool {
    let mut rest = text;
    loop {
        let Some(end) = closing(rest) else {
            return false;
        };
        rest = rest[end + 1..].trim_start();
        if rest.starts_with('?') {
            return true;
        }
        let Some(method) = rest.strip_prefix('.') else {
            return false;
        };
        let name = method.len()
            - method
                .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                .len();
        if !method[name..].starts_with('(') {
            return method.starts_with("await") && method[name..].trim_start().starts_with('?');
        }
        rest = &method[name..];
    }
}

fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

fn clock(source: &Source) -> Vec<String> {
    let listed =
        |files: &[(&str, &str)]| files.iter().any(|(path, _)| source.path.starts_with(path));
    if source.is_test() || listed(CLOCK_FILES) {
        return Vec::new();
    }
    let mut found = lines_with(source, &["SystemTime::now", "Timestamp::now"]);
    // tokio's clock stands still when a test pauses it.
    let pausable = source
        .code()
        .iter()
        .any(|(_, line)| line.starts_with("use tokio::time::") && line.contains("Instant"));
    if pausable || listed(STOPWATCH_FILES) {
        return found;
    }
    for (number, line) in source.code() {
        if line
            .replace("tokio::time::Instant::now", "")
            .contains("Instant::now")
        {
            found.push(format!(":{number}: Instant::now"));
        }
    }
    found
}

fn environment(source: &Source) -> Vec<String> {
    // The second holds a switch of builds that never ship.
    let allowed = [
        "config/src/env.rs",
        "domain/src/crashpoints.rs",
        "domain/src/mutants.rs",
    ];
    if source.is_test() || allowed.contains(&source.path.as_str()) {
        return Vec::new();
    }
    lines_with(
        source,
        &[
            "env::var(",
            "env::var_os(",
            "env::vars(",
            "env::vars_os(",
            "env::set_var",
            // clap would read the variable past the configuration, `_FILE` and checks.
            " env = \"",
        ],
    )
}

fn banned_name(source: &Source) -> Vec<String> {
    let parts = source.path.trim_end_matches(".rs").split(['/', '_', '-']);
    let banned = parts.filter(|part| BANNED_NAMES.contains(part));
    banned
        .map(|part| format!(": {part} says nothing about what is inside"))
        .collect()
}

fn unwraps(source: &Source) -> Vec<String> {
    if source.is_test() {
        Vec::new()
    } else {
        lines_with(source, &[".unwrap()"])
    }
}

fn without_header(source: &Source) -> Vec<String> {
    // A module of tests serves the module it stands beside.
    let beside = source.is_test() && !source.path.starts_with("tests/");
    if beside || source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![": does not start with a //! header".to_owned()]
}

fn ignored_tests(source: &Source) -> Vec<String> {
    lines_with(source, &["#[ignore", "#[should_panic"])
}

#[test]
fn every_file_is_short_enough_to_read() {
    enforce(too_long);
}

#[test]
fn nothing_flushes_sled_asynchronously() {
    enforce(asynchronous_flush);
}

#[test]
fn no_failed_send_kills_an_actor() {
    enforce(send_with_question_mark);
}

#[test]
fn time_is_read_in_clock_files_only() {
    enforce(clock);
}

#[test]
fn the_environment_is_read_by_the_configuration_only() {
    enforce(environment);
}

#[test]
fn every_name_says_what_is_inside() {
    enforce(banned_name);
}

#[test]
fn nothing_unwraps_outside_tests() {
    enforce(unwraps);
}

#[test]
fn every_module_starts_with_its_purpose() {
    enforce(without_header);
}

#[test]
fn no_test_is_switched_off() {
    enforce(ignored_tests);
}

/// What a crate may not depend on, although it stands to its left or outside.
const FOREIGN: &[(&str, &[&str])] = &[
    (
        "domain",
        &[
            "tokio",
            "ractor",
            "sled",
            "hyper",
            "hyper-util",
            "reqwest",
            "tracing",
            "metrics",
            "toml",
        ],
    ),
    (
        "store",
        &["ractor", "hyper", "hyper-util", "reqwest", "toml"],
    ),
    (
        "actors",
        &["hyper", "hyper-util", "reqwest", "sled", "toml"],
    ),
    (
        "config",
        &["tokio", "ractor", "hyper", "hyper-util", "reqwest", "sled"],
    ),
    ("sandbox", &["ractor", "sled", "reqwest"]),
];

/// Each may use what stands to its left.
const LINE: [&str; 4] = ["domain", "store", "actors", "config"];

fn wrong_dependencies(name: &str, manifest: &str) -> Vec<String> {
    let left: Vec<&str> = match LINE.iter().position(|own| *own == name) {
        Some(position) => LINE[..position].to_vec(),
        None => Vec::new(),
    };
    let foreign = FOREIGN
        .iter()
        .find(|(own, _)| *own == name)
        .map_or(&[][..], |(_, list)| list);
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            continue;
        }
        if !section.ends_with("dependencies") {
            continue;
        }
        let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
        let ours = dependency
            .strip_prefix("bursar-")
            .is_some_and(|own| !left.contains(&own));
        if ours || foreign.contains(&dependency) {
            found.push(format!("{name} must not know {dependency}"));
        }
    }
    found
}

#[test]
fn crates_depend_to_the_left_only() {
    let mut found = Vec::new();
    for (name, _) in FOREIGN {
        let path = root().join(name).join("Cargo.toml");
        let manifest = fs::read_to_string(path).expect("every crate has a manifest");
        assert!(manifest.contains("[dependencies]"), "{name}");
        found.extend(wrong_dependencies(name, &manifest));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// What of a document names a test that is not there. A path in code, and after it, on the same line, the tests
/// meant in that file or folder: words of at least four parts.
fn names_nothing(document: &str, text_of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for line in document.lines() {
        let mut place: Option<(&str, String)> = None;
        for word in line.split('`').skip(1).step_by(2) {
            if ROOTS
                .iter()
                .any(|root| word.starts_with(&format!("{root}/")))
            {
                place = text_of(word).map(|text| (word, text));
                if place.is_none() {
                    found.push(format!("{word} does not exist"));
                }
            } else if word.split('_').filter(|part| !part.is_empty()).count() >= 4
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            {
                let there = place
                    .as_ref()
                    .is_some_and(|(_, text)| text.contains(&format!("fn {word}(")));
                if !there {
                    let place = place.as_ref().map_or("no file", |(path, _)| path);
                    found.push(format!("{word} is not in {place}"));
                }
            }
        }
    }
    found
}

/// The text of a file, or of all files of a folder.
fn text_under(path: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if path.is_dir() {
        let mut text = String::new();
        for entry in fs::read_dir(path).ok()?.flatten() {
            let inner = entry.path();
            let inner = inner.to_str()?;
            text.push_str(&text_under(inner).unwrap_or_default());
        }
        return Some(text);
    }
    fs::read(path)
        .ok()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn the_promises_and_threats_name_tests_that_exist() {
    for document in ["RELIABILITY.md", "SECURITY.md"] {
        let text = text_under(document).expect("the document");
        let found = names_nothing(&text, text_under);
        assert!(found.is_empty(), "{document}: {found:#?}");
    }
    let only = |path: &str| (path == "tests/a.rs").then(|| "fn one_two_three_four()".to_owned());
    assert!(names_nothing("`tests/a.rs` (`one_two_three_four`)", only).is_empty());
    assert_eq!(
        names_nothing("`tests/a.rs` (`one_two_three_five`)", only).len(),
        1
    );
    assert_eq!(names_nothing("`tests/b.rs` is gone", only).len(), 1);
}

#[test]
fn every_rule_sees_what_it_forbids() {
    let at = |path: &str, text: &str| Source {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let product = |text: &str| at("domain/src/sync.rs", text);
    let sees = |rule: fn(&Source) -> Vec<String>, text: &str| rule(&product(text)).len() == 1;
    assert!(sees(too_long, &"\n".repeat(600)) && !sees(too_long, &"\n".repeat(599)));
    assert!(sees(asynchronous_flush, "db.flush_async().await;"));
    assert!(sees(
        send_with_question_mark,
        "myself.cast(Msg::Wake(id(1)))?;"
    ));
    assert!(sees(
        send_with_question_mark,
        "peer\n    .send_message(Msg::Wake)\n    .map_err(wrap)?;"
    ));
    assert!(sees(
        send_with_question_mark,
        "ractor::cast!(peer, Msg::Wake)?;"
    ));
    assert!(!sees(
        send_with_question_mark,
        "if peer.cast(Msg::Wake).is_err() { count(read()?); }"
    ));
    assert!(sees(clock, "let now = SystemTime::now();") && sees(clock, "jiff::Timestamp::now()"));
    assert!(sees(clock, "let now = std::time::Instant::now();"));
    assert!(!sees(clock, "let now = tokio::time::Instant::now();"));
    assert!(clock(&at("actors/src/clock.rs", "SystemTime::now()")).is_empty());
    assert!(sees(environment, "std::env::var(\"HOME\")"));
    assert!(banned_name(&at("store/src/key_utils.rs", "")).len() == 1);
    assert!(banned_name(&at("store/src/database.rs", "")).is_empty());
    assert!(sees(unwraps, "let x = y.unwrap();") && !sees(unwraps, "// y.unwrap() would panic"));
    assert!(!sees(
        clock,
        "use tokio::time::Instant;\nlet now = Instant::now();"
    ));
    assert!(sees(environment, "#[arg(long, env = \"STRIPE_API_KEY\")]"));
    let tests = "#[cfg(test)]\nmod tests {\n    fn f() {\n        y.unwrap();\n    }\n}\nfn g() {\n    z.unwrap();\n}\n";
    assert_eq!(unwraps(&product(tests)), [":8: .unwrap()"]);
    assert_eq!(
        unwraps(&product("#[cfg(test)]\nmod tests;\nfn g() { z.unwrap(); }")).len(),
        1
    );
    assert!(sees(without_header, "use std::fs;") && !sees(without_header, "//! Reads.\n"));
    assert!(sees(ignored_tests, "#[ignore]"));
    let manifest = "[dependencies]\nbursar-store.workspace = true\ntokio = \"1\"\n";
    assert_eq!(wrong_dependencies("domain", manifest).len(), 2);
    assert_eq!(wrong_dependencies("sandbox", manifest).len(), 1);
    assert_eq!(wrong_dependencies("actors", manifest).len(), 0);
}
