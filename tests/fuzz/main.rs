//! What strangers can send, changed at random: nothing panics, and what is believed is what was meant.
//!
//! Targets: the signature's header, events, the configuration file, the fields of an order, cursors. Records and segments of the
//! journal are fuzzed where they are read, in `store`, with the same engine. `BURSAR_FUZZ_SECONDS` runs each target that long.

#![allow(clippy::unwrap_used, reason = "a failed call is a failed test")]

mod engine;

use bursar::http::auth::AdminAccess;
use bursar::http::cursor::CursorKey;
use bursar::http::fields;
use bursar::http::routes::every_route;
use bursar::stripe::signature::{SecretSet, sign};
use bursar_config::{LoadArgs, MapEnv, load_for_tool};
use bursar_domain::ids::Timestamp;
use bursar_domain::route::route;
use bursar_domain::settings::Settings;
use engine::fuzz;
use std::path::{Path, PathBuf};

const SECRET: &str = "whsec_fuzz_0123456789abcdef";
const NOW: i64 = 1_747_044_000;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

#[test]
fn no_header_passes_that_does_not_hold_the_signature_of_the_body() {
    let secrets = SecretSet::new([SECRET]);
    let body = b"{\"id\":\"evt_1\"}";
    let good = sign(SECRET, body, NOW);
    let digits = good.split("v1=").nth(1).unwrap().to_owned();
    assert!(secrets.verify(Some(good.as_bytes()), body, NOW).is_ok());
    fuzz("signature", &corpus(), |input| {
        // The corpus cannot know the digits; where it asks for them they are put in.
        let text = String::from_utf8_lossy(input).replace("GOOD", &digits);
        for header in [input, text.as_bytes()] {
            let Ok(genuine) = secrets.verify(Some(header), body, NOW) else {
                continue;
            };
            let lower = String::from_utf8_lossy(header).to_lowercase();
            assert!(lower.contains(&digits), "believed: {lower:?}");
            assert_eq!(genuine.signed_at, NOW, "the signature holds for one time");
        }
    });
}

#[test]
fn every_body_is_routed_and_the_same_way_twice() {
    let settings = Settings::default();
    fuzz("event", &corpus(), |input| {
        let once = route(input, &settings, Timestamp(NOW * 1000));
        let again = route(input, &settings, Timestamp(NOW * 1000));
        assert_eq!(format!("{once:?}"), format!("{again:?}"));
    });
}

#[test]
fn every_file_is_a_configuration_or_told_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bursar.toml");
    fuzz("config", &corpus(), |input| {
        std::fs::write(&file, input).unwrap();
        let args = LoadArgs {
            config_path: Some(file.clone()),
            overrides: Vec::new(),
        };
        if let Err(problems) = load_for_tool(&args, &MapEnv::default()) {
            assert!(!problems.to_string().is_empty());
        }
    });
}

#[test]
fn fields_of_orders_are_read_or_refused_by_name() {
    let routes: Vec<_> = every_route().filter(|route| route.takes_body()).collect();
    fuzz("command", &corpus(), |input| {
        let route = routes[input.len() % routes.len()];
        // What stands before the first line's end is the query.
        let at = input.iter().position(|byte| *byte == b'\n');
        let (query, body) = at.map_or((&[][..], input), |at| (&input[..at], &input[at + 1..]));
        let query = String::from_utf8_lossy(query);
        match fields::read(route, Some(&query), Some("application/json"), body) {
            Ok(read) => {
                let again = fields::read(route, Some(&query), Some("application/json"), body);
                let canonical = |fields: &fields::Fields| fields.canonical_without(&[]);
                assert_eq!(again.ok().as_ref().map(canonical), Some(canonical(&read)));
            }
            Err(problem) => assert!(problem.code.status() < 500, "{problem:?}"),
        }
    });
}

#[test]
fn no_cursor_passes_that_was_not_given() {
    let admin = AdminAccess::new("k".repeat(32).into(), Vec::new());
    let key = CursorKey::derive(&admin);
    let given = key.wrap("payments|tenantId=a", b"\x01\x02\x03");
    fuzz("cursor", &corpus(), |input| {
        let text = String::from_utf8_lossy(input).replace("GIVEN", &given);
        if let Ok(found) = key.unwrap("payments|tenantId=a", &text) {
            assert_eq!(
                (found.as_slice(), text.to_lowercase()),
                (&b"\x01\x02\x03"[..], given.clone())
            );
        }
        let other = key.unwrap("payments|tenantId=b", &text);
        assert!(other.is_err(), "good for another query: {text:?}");
    });
}
