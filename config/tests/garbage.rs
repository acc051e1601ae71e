//! No file, however broken, makes the loader panic or repeat a secret.
//!
//! Method: the shipped files with a few bytes changed, cut or repeated, loaded as configuration and as
//! catalogue. `BURSAR_CASES` scales the number of tries; a failure prints its input.

use bursar_config::{DEFAULT_TOML, EXAMPLE_PLANS, LoadArgs, MapEnv, load};
use proptest::prelude::*;
use proptest::test_runner::Config as Settings;

const SECRETS: &str = "\nadmin_key = \"CANARYd8f1c0a97b3e46528fd1a0c97e\"\n[stripe]\n\
                       webhook_secrets = [\"whsec_CANARY8f3kd02ks\", \"CANARY\"]\napi_key = \"sk_test_CANARY\"\n";

fn cases() -> u32 {
    std::env::var("BURSAR_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(200)
}

#[derive(Debug, Clone)]
enum Edit {
    Replace(prop::sample::Index, u8),
    Cut(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let telling = prop::sample::select(b"\"'[]{}=.,#\n\\ -0a\xff".to_vec());
    prop_oneof![
        (any::<prop::sample::Index>(), telling).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (any::<prop::sample::Index>(), 1..200_usize).prop_map(|(at, n)| Edit::Cut(at, n)),
        (any::<prop::sample::Index>(), 1..200_usize).prop_map(|(at, n)| Edit::Repeat(at, n)),
    ]
}

fn apply(text: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        match edit {
            Edit::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Edit::Cut(at, length) => {
                let at = at.index(bytes.len());
                let end = (at + length).min(bytes.len());
                bytes.drain(at..end);
            }
            Edit::Repeat(at, length) => {
                let at = at.index(bytes.len());
                let end = (at + length).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(Settings { cases: cases(), failure_persistence: None, ..Settings::default() })]

    #[test]
    fn no_broken_file_panics_or_shows_a_secret(
        edits in prop::collection::vec(edit(), 1..6),
        is_catalogue in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (config, plans) = (folder.path().join("bursar.toml"), folder.path().join("plans.toml"));
        let start = format!("plans_file = \"plans.toml\"\n{}", SECRETS.trim_start());
        let (first, second) = if is_catalogue {
            (start.into_bytes(), apply(EXAMPLE_PLANS, &edits))
        } else {
            let active: String = DEFAULT_TOML.split("[stripe]").next().unwrap_or_default().to_owned();
            (apply(&format!("{active}{SECRETS}"), &edits), EXAMPLE_PLANS.into())
        };
        std::fs::write(&config, first).expect("the folder is ours");
        std::fs::write(&plans, second).expect("the folder is ours");
        let args = LoadArgs { config_path: Some(config), ..LoadArgs::default() };
        let problems = load(&args, &MapEnv::default()).expect_err("one secret is always wrong");
        prop_assert!(!problems.is_empty());
        // A name that was cut together from a value may be repeated; a whole value never is.
        for secret in ["CANARYd8f1c0a97b3e46528fd1a0c97e", "whsec_CANARY8f3kd02ks", "sk_test_CANARY"] {
            prop_assert!(!problems.to_string().contains(secret), "{problems}");
        }
    }
}
