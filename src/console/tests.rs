//! The console over its own rows and templates.

use super::page::{LINKS, POLICY, TEMPLATES};
use super::rows::ROWS;
use crate::http::route::{Auth, CONSOLE_TAG, Kind, Verb};
use crate::http::routes::{labelled, param_name, params_of};
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_row_names_a_route_of_the_same_kind_and_takes_its_token() {
    let mut seen = BTreeSet::new();
    for row in ROWS {
        assert!(seen.insert((row.path, row.verb)), "{} twice", row.path);
        assert!(row.path.starts_with("/console") && row.is_page() && row.label == CONSOLE_TAG);
        for name in params_of(row.path) {
            assert_eq!(param_name(name), name, "{}", row.path);
        }
        let Auth::Console(of) = row.auth else {
            assert!(
                matches!(row.path, "/console/login" | "/console/style.css"),
                "{}",
                row.path
            );
            continue;
        };
        let csrf = row.params.iter().find(|param| param.name == "csrf");
        assert_eq!(
            csrf.map(|param| param.kind),
            Some(Kind::Secret),
            "{}",
            row.path
        );
        if of.is_empty() {
            continue;
        }
        let right = labelled(of);
        // What changes something needs the right to change it; a page before it may need that too.
        assert!(
            row.verb == Verb::Get || right.verb != Verb::Get,
            "{} orders with the right to read",
            row.path
        );
        assert!(right.auth.is_ours(), "{}", row.path);
    }
    for link in LINKS {
        let row = ROWS
            .iter()
            .find(|row| row.path == link.path && row.verb == Verb::Get);
        assert_eq!(
            row.map(|row| row.auth),
            Some(Auth::Console(link.of)),
            "{}",
            link.path
        );
    }
}

#[test]
fn no_page_touches_the_store_or_makes_a_reach() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console");
    let mut looked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_own = path.file_name().is_some_and(|name| name == "tests.rs");
        if path.extension().is_none_or(|ending| ending != "rs") || is_own {
            continue;
        }
        looked += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        for word in [
            "bursar_store",
            ".store",
            "whole_store",
            ".reach(",
            "Bound {",
            "Caller {",
        ] {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
    assert!(looked > 20, "only {looked} files were found");
}

#[test]
fn templates_hold_no_script_no_style_and_nothing_from_elsewhere() {
    for (name, text) in TEMPLATES {
        for word in [
            "<script",
            "<style",
            " style=",
            " on",
            "javascript:",
            "|safe",
            "src=",
        ] {
            let found = text.match_indices(word).find(|(at, _)| {
                // ` on` is a handler only where a name and `=` follow.
                let rest: String = text[at + word.len()..].chars().take(12).collect();
                word != " on"
                    || (rest.contains('=') && !rest.starts_with("e.") && !rest.starts_with(' '))
            });
            assert_eq!(found, None, "{name}");
        }
        for (at, _) in text.match_indices("http") {
            let rest = &text[at..];
            let is_example = rest.starts_with("https://app.example.com") || !rest.contains("://");
            let is_word = !rest.starts_with("http://") && !rest.starts_with("https://");
            assert!(is_example || is_word, "{name}: {:.60}", rest);
        }
        for form in text.split("<form").skip(1) {
            let head = form.split('>').next().unwrap_or("");
            let whole = form.split("</form>").next().unwrap_or("");
            let is_post = head.contains("method=\"post\"");
            assert!(is_post || head.contains("method=\"get\""), "{name}: {head}");
            // Only who is not signed in yet sends a form without the session's token.
            let is_before_signing_in = ["login.html", "mailed.html"].contains(name);
            let has_token =
                whole.contains("tokens(csrf)") || whole.contains("value=\"{{ csrf }}\"");
            assert!(
                !is_post || has_token || is_before_signing_in,
                "{name}: {head}"
            );
            assert!(
                head.contains("action=\"/console")
                    || head.contains("action=\"{{ link(")
                    || (*name == "mailed.html" && head.contains("action=\"{{ form.action }}\"")),
                "{name}: {head}"
            );
        }
    }
    assert!(
        !POLICY.contains("unsafe") && !POLICY.contains("script"),
        "{POLICY}"
    );
}
