//! How loading behaves whatever the values are: precedence, tools, text that is no text, and redaction.

use bursar_config::{Config, LoadArgs, MapEnv, Override, load, load_for_tool};

fn valid() -> MapEnv {
    MapEnv::of([
        ("BURSAR_ADMIN_KEY", "d8f1c0a97b3e46528fd1a0c97e3b4651"),
        ("BURSAR_JWT_SECRET", "b7e2915c4d8f4a0693ce7d21f0a84b5d"),
        ("APP_BASE_URL", "https://billing.example.com"),
        ("STRIPE_API_KEY", "sk_test_51Nx7Qw2eZvKYlo2C"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_8f3kd02ks83jf92k"),
    ])
}

#[test]
fn a_flag_beats_the_environment_and_is_named_in_its_problem() {
    let flag = |value: &str| LoadArgs {
        overrides: vec![Override {
            path: "listen",
            flag: "--listen",
            value: value.to_owned(),
        }],
        ..LoadArgs::default()
    };
    let env = valid().with("BURSAR_LISTEN", "127.0.0.1:1");
    let loaded = load(&flag("127.0.0.1:2"), &env).unwrap();
    assert_eq!(loaded.config.listen.port(), 2);
    let problems = load(&flag("nowhere"), &env).unwrap_err();
    assert!(
        problems.0[0].subject == "--listen (command line)",
        "{problems}"
    );
}

#[test]
fn a_tool_needs_no_secret_but_checks_those_it_finds() {
    let loaded = load_for_tool(&LoadArgs::default(), &MapEnv::default()).unwrap();
    assert!(loaded.config.admin_key.is_none() && loaded.config.mode.is_none());
    let env = MapEnv::of([("STRIPE_API_KEY", "pk_test_51Nx7Qw2eZvKYlo2C")]);
    assert!(load_for_tool(&LoadArgs::default(), &env).is_err());
    let loaded = load_for_tool(&LoadArgs::default(), &valid()).unwrap();
    assert!(loaded.config.admin_key.is_some() && loaded.config.mode.is_some());
}

#[test]
fn a_tool_decides_by_the_settings_of_the_service() {
    let env = valid()
        .with("STRIPE_API_KEY", "sk_live_51Nx7Qw2eZvKYlo2C")
        .with("BURSAR_STORE", "sled:/srv/bursar")
        .with("MAIL_RECEIPTS", "first")
        .with("TENANT_METADATA_KEYS", "org")
        .with("PAYMENT_LINK_CHECKOUTS", "hold")
        .with("PAYMENTS_PRO_SUBSCRIPTION_PLAN_ID", "price_pro");
    let service = load(&LoadArgs::default(), &env).unwrap().config;
    let tool = load_for_tool(&LoadArgs::default(), &env).unwrap().config;
    let opened = Config::for_tool(&tool).unwrap();
    assert_eq!(opened.store, service.store);
    assert_eq!(
        opened.reducer_settings("acct_1"),
        service.reducer_settings("acct_1")
    );
    // Without any plan, as a tool without a catalogue has it.
    let bare = load_for_tool(&LoadArgs::default(), &MapEnv::default())
        .unwrap()
        .config;
    assert!(Config::for_tool(&bare).unwrap().plans.plans.is_empty());
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = std::ffi::OsString::from_vec(vec![b'x', 0xff]);
    let env = MapEnv::of([("BURSAR_LISTEN", bytes)]);
    let problems = load(&LoadArgs::default(), &env).unwrap_err();
    assert!(
        problems
            .to_string()
            .contains("BURSAR_LISTEN (environment): is not UTF-8 text")
    );
}

#[test]
fn debug_output_of_a_configuration_shows_no_secret() {
    let env = valid().with("BURSAR_METRICS_TOKEN", "0123456789abcdef-token");
    let loaded = load(&LoadArgs::default(), &env).unwrap();
    let (config, report) = (loaded.config, loaded.report);
    let text = format!("{config:?}{report:?}");
    for secret in [
        "d8f1c0a97b3e46528",
        "b7e2915c4d8f4a06",
        "51Nx7Qw2eZ",
        "8f3kd02ks83",
        "abcdef-token",
    ] {
        assert!(!text.contains(secret), "{secret} is shown");
    }
}

#[test]
fn a_secret_is_described_by_kind_length_and_a_print_that_differs() {
    let describe = |text: &str| bursar_config::describe(&text.to_owned().into());
    let one = describe("sk_test_51Nx7Qw2eZvKYlo2C");
    assert!(one.starts_with("set (sk_test_…, 25 chars) "), "{one}");
    assert_eq!(one.len(), "set (sk_test_…, 25 chars) ".len() + 8);
    assert_eq!(one, describe("sk_test_51Nx7Qw2eZvKYlo2C"));
    assert_ne!(one, describe("sk_test_51Nx7Qw2eZvKYlo2D"));
    // A short secret could be found by trying, so it gets no print.
    assert_eq!(describe("hunter2"), "set (7 chars)");
}
