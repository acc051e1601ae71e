//! The shipped `default.toml` is the reference manual: it parses, says what the code does, and misses no key.

use std::path::PathBuf;

use bursar_config::{DEFAULT_TOML, EXAMPLE_PLANS, KEYS, LoadArgs, MapEnv, load};

fn required() -> MapEnv {
    MapEnv::of([
        ("BURSAR_ADMIN_KEY", "d8f1c0a97b3e46528fd1a0c97e3b4651"),
        ("BURSAR_JWT_SECRET", "b7e2915c4d8f4a0693ce7d21f0a84b5d"),
        ("APP_BASE_URL", "https://billing.example.com"),
        ("STRIPE_API_KEY", "sk_test_51Nx7Qw2eZvKYlo2C"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_8f3kd02ks83jf92k"),
    ])
}

fn default_toml() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("default.toml")
}

#[test]
fn the_shipped_file_gives_exactly_the_defaults_of_the_code() {
    let with_file = LoadArgs {
        config_path: Some(default_toml()),
        ..LoadArgs::default()
    };
    let from_file = load(&with_file, &required())
        .expect("default.toml is valid")
        .report;
    let from_code = load(&LoadArgs::default(), &required())
        .expect("the defaults are valid")
        .report;
    let mut in_file = 0;
    for (file, code) in from_file.entries.iter().zip(&from_code.entries) {
        // A path in the file starts at the file's folder.
        let folder = format!("{}/", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(
            file.shown.replace(&folder, ""),
            code.shown,
            "{} differs",
            file.path
        );
        if code.origin == "default" {
            assert!(
                file.origin.contains("default.toml:"),
                "{} is not in the file",
                file.path
            );
            in_file += 1;
        }
    }
    assert!(in_file >= 30, "only {in_file} defaults were compared");
}

#[test]
fn every_key_is_documented_with_its_variable_range_and_default() {
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    let mut table = String::new();
    let mut documented = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        }
        let bare = line.trim_start_matches("# ");
        let Some((name, _)) = bare.split_once(" = ") else {
            continue;
        };
        let path = format!("{table}{name}");
        let key = KEYS
            .iter()
            .find(|key| key.path == path || (key.secret && format!("{}_file", key.path) == path));
        let Some(key) = key else { continue };
        let block: Vec<&str> = lines[..index]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("# "))
            .copied()
            .collect();
        let text = block.iter().rev().copied().collect::<Vec<_>>().join("\n");
        assert!(
            text.starts_with(&format!("# {}: ", key.variable)),
            "{path}: variable not named first"
        );
        assert!(text.contains("Range: "), "{path}: no range");
        assert!(text.contains("Default: "), "{path}: no default");
        assert_eq!(
            text.contains("Waits: "),
            !key.acts,
            "{path}: wrong about waiting"
        );
        assert_eq!(
            text.contains("Secret"),
            key.secret,
            "{path}: wrong about being secret"
        );
        assert_eq!(
            text.to_lowercase().contains("required"),
            key.required || key.path == "stripe.webhook_secrets",
            "{path}: wrong about being required"
        );
        documented.push(key.path);
    }
    let all: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
    let mut sorted = (documented, all);
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1);
}

#[test]
fn variables_follow_the_path_unless_they_have_a_customary_name() {
    // The folder belongs to mail, whose other variables have customary names.
    for key in KEYS.iter().filter(|key| key.path != "mail.templates_dir") {
        let expected = format!("BURSAR_{}", key.path.replace('.', "_").to_uppercase());
        assert!(
            !key.variable.starts_with("BURSAR_") || key.variable == expected,
            "{expected}"
        );
    }
}

#[test]
fn the_example_catalogue_is_valid_and_shows_every_effect() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plans.toml");
    std::fs::write(&path, EXAMPLE_PLANS).unwrap();
    let env = required().with("BURSAR_PLANS_FILE", path.to_str().unwrap());
    let config = load(&LoadArgs::default(), &env)
        .expect("plans.toml is valid")
        .config;
    let ids: Vec<&str> = config
        .plans
        .plans
        .iter()
        .map(|plan| plan.id.as_str())
        .collect();
    assert_eq!(ids, ["free", "hobby", "pro", "credits-10"]);
    assert_eq!(
        config.plans.free().map(|plan| plan.id.as_str()),
        Some("free")
    );
}
