//! What values may be: each case sets a few variables on a valid start and expects one sentence.

use bursar_config::{Config, LoadArgs, MapEnv, Problems, Report, load};

fn valid() -> MapEnv {
    MapEnv::of([
        ("BURSAR_ADMIN_KEY", "d8f1c0a97b3e46528fd1a0c97e3b4651"),
        ("BURSAR_JWT_SECRET", "b7e2915c4d8f4a0693ce7d21f0a84b5d"),
        ("APP_BASE_URL", "https://billing.example.com"),
        ("STRIPE_API_KEY", "sk_test_51Nx7Qw2eZvKYlo2C"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_8f3kd02ks83jf92k"),
    ])
}

fn set(pairs: &[(&str, &str)]) -> MapEnv {
    pairs
        .iter()
        .fold(valid(), |env, (name, value)| env.with(name, value))
}

fn refused(env: &MapEnv) -> Problems {
    load(&LoadArgs::default(), env).expect_err("must be refused")
}

fn accepted(pairs: &[(&str, &str)]) -> (Config, Report) {
    let loaded = load(&LoadArgs::default(), &set(pairs)).expect("must be accepted");
    (loaded.config, loaded.report)
}

/// The variables, as the only problem, give this one.
fn check(pairs: &[(&str, &str)], expected: &str) {
    let problems = refused(&set(pairs));
    let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 1, "{pairs:?}: {lines:#?}");
    assert!(
        lines[0].contains(expected),
        "{pairs:?}\n expected {expected}\n found    {}",
        lines[0]
    );
}

fn warned(pairs: &[(&str, &str)], expected: &str) {
    let (_, report) = accepted(pairs);
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| warning.contains(expected)),
        "{pairs:?}: {:#?}",
        report.warnings
    );
}

#[test]
fn required_values_missing_or_blank_are_named_in_one_line() {
    let problems = load(&LoadArgs::default(), &MapEnv::default()).unwrap_err();
    assert_eq!(problems.0.len(), 1);
    let line = problems.0[0].to_string();
    for name in [
        "APP_BASE_URL",
        "BURSAR_ADMIN_KEY",
        "BURSAR_JWT_SECRET",
        "STRIPE_API_KEY",
        "STRIPE_WEBHOOK_SECRET",
    ] {
        assert!(line.contains(name), "{line}");
    }
    check(
        &[("STRIPE_API_KEY", "")],
        "required and not set: STRIPE_API_KEY (",
    );
    check(
        &[("BURSAR_JWT_SECRET", "  \t ")],
        "required and not set: BURSAR_JWT_SECRET (",
    );
}

#[test]
fn the_stripe_key_must_be_a_secret_key_of_one_account() {
    let case = |value: &str, expected: &str| check(&[("STRIPE_API_KEY", value)], expected);
    case(
        "pk_test_51Nx7Qw2eZvKYlo2C",
        "a publishable key (pk_…) was given",
    );
    case(
        "whsec_8f3kd02ks83jf92x",
        "a webhook secret (whsec_…) was given",
    );
    case("sk_org_live_1234567", "an organization key");
    case("sk_bursar_k1_abcdef", "a key of Bursar's own");
    case("sk_test_51Nx7Qw2eZvKYlo2C\n", "holds a line break");
    case(" sk_test_51Nx7Qw2eZvKYlo2C", "white space");
    case("\"sk_test_51Nx7Qw2eZvKYlo2C\"", "quotation marks");
    case("sk_test_", "too short");
    case("hunter2", "starts with none of");
    case("sk_live_51N", "too short");
    for (key, live) in [
        ("rk_test_51Nx7Q", false),
        ("rk_live_51Nx7Q", true),
        ("sk_live_51Nx7Q", true),
    ] {
        let (config, _) = accepted(&[("STRIPE_API_KEY", key)]);
        assert_eq!(config.stripe.mode.is_live(), live, "{key}");
    }
}

#[test]
fn everything_is_kept_unless_a_retention_of_at_least_thirty_days_is_set() {
    let variable = "BURSAR_RETENTION_DAYS_EVENTS";
    let (config, _) = accepted(&[]);
    assert_eq!(config.retention.events_days, None);
    let (config, _) = accepted(&[(variable, "90")]);
    assert_eq!(config.retention.events_days, Some(90));
    check(
        &[(variable, "29")],
        "Stripe lets one resend for 30; 0 keeps everything",
    );
    check(&[(variable, "-1")], "is not between 0 and 36500");
}

#[test]
fn a_key_only_goes_where_it_belongs() {
    let live = ("STRIPE_API_KEY", "sk_live_51Nx7Qw2eZvKYlo2C");
    let base = |value| ("STRIPE_API_BASE", value);
    check(
        &[base("http://stripe.example.com")],
        "plain http would show the key",
    );
    check(
        &[base("http://10.0.0.5:12111")],
        "plain http would show the key",
    );
    check(&[base("https://api.stripe.com/v1")], "has a path");
    check(
        &[base("https://u:p@api.stripe.com")],
        "holds a user name or password",
    );
    check(&[base("ftp://api.stripe.com")], "starts neither with");
    check(&[base("api.stripe.com")], "is not an address");
    check(&[base("https://api.stripe.com?x=1")], "holds a query");
    check(&[base("http://127.1:8080")], "no usable host name");
    check(&[base("https://api.stripe.com:0")], "port");
    check(
        &[live, base("https://stripe.example.com")],
        "a live key must only go to",
    );
    check(
        &[live, base("http://127.0.0.1:12111")],
        "a live key must only go to",
    );
    check(
        &[live, base("https://api.stripe.com:8443")],
        "a live key must only go to",
    );
    check(
        &[live, base("https://api.stripe.com.example.net")],
        "a live key must only go to",
    );
    for fine in [
        "http://127.0.0.1:12111",
        "http://localhost:1",
        "http://[::1]:9",
        "https://x.test",
    ] {
        accepted(&[base(fine)]);
    }
    let (config, _) = accepted(&[live, base("HTTPS://API.Stripe.com:443/")]);
    assert_eq!(config.stripe.api_base.to_string(), "https://api.stripe.com");
}

#[test]
fn webhook_secrets_are_one_set_from_four_variables() {
    let secret = |value| ("STRIPE_WEBHOOK_SECRET", value);
    check(&[secret("8f3kd02ks83jf92k")], "does not start with whsec_");
    check(
        &[secret("whsec_8f3kd02ks,,whsec_9f3kd02ks")],
        "STRIPE_WEBHOOK_SECRET[1] (environment): is empty",
    );
    check(&[secret("whsec_8f3kd02ks,")], "is empty");
    check(&[secret("whsec_")], "too short");
    check(&[secret("whsec_8f3kd02ks\n")], "holds a line break");
    let nine = (0..9)
        .map(|n| format!("whsec_8f3kd02k{n}"))
        .collect::<Vec<_>>()
        .join(",");
    check(&[secret(&nine)], "there are 9 webhook secrets, 8 at most");
    warned(
        &[secret("whsec_8f3kd02ks,whsec_8f3kd02ks")],
        "the same webhook secret is given twice",
    );
    let (config, _) = accepted(&[
        secret("whsec_8f3kd02ka, whsec_8f3kd02kb"),
        ("STRIPE_PLATFORM_WEBHOOK_SECRET", "whsec_8f3kd02kc"),
        ("STRIPE_CONNECT_WEBHOOK_SECRET", "whsec_8f3kd02kd"),
        (
            "STRIPE_ENDPOINT_SECRET_KEY",
            "whsec_8f3kd02ke,whsec_8f3kd02ka",
        ),
    ]);
    assert_eq!(config.stripe.webhook_secrets.0.len(), 5);
    let without = valid().without("STRIPE_WEBHOOK_SECRET");
    let only_connect = without.with("STRIPE_CONNECT_WEBHOOK_SECRET", "whsec_8f3kd02kd");
    assert!(load(&LoadArgs::default(), &only_connect).is_ok());
}

#[test]
fn keys_of_our_own_must_be_long_random_and_different() {
    let jwt = |value| ("BURSAR_JWT_SECRET", value);
    check(
        &[jwt("b7e2915c4d8f4a0693ce7d21f0a84b5")],
        "has 31 bytes, at least 32 are needed",
    );
    check(&[jwt("changeme-changeme-changeme-changeme")], "placeholder");
    check(
        &[jwt("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")],
        "repeats a few characters",
    );
    check(
        &[jwt("d8f1c0a97b3e46528fd1a0c97e3b4651")],
        "is the same secret as BURSAR_ADMIN_KEY",
    );
    let admin = |value| ("BURSAR_ADMIN_KEY", value);
    check(
        &[admin("short")],
        "has 5 characters, at least 32 are needed",
    );
    check(
        &[admin("sk_live_51Nx7Qw2eZvKYlo2C51Nx7Qw2eZ")],
        "looks like a key of another kind",
    );
    check(&[admin("d8f1c0a97b3e4652 8fd1a0c97e3b4651")], "white space");
    check(&[("BURSAR_METRICS_TOKEN", "short")], "at least 16");
}

#[test]
fn an_alias_is_said_aloud_and_must_agree() {
    let (_, report) = {
        let env = valid()
            .without("BURSAR_JWT_SECRET")
            .with("JWT_SECRET", "b7e2915c4d8f4a0693ce7d21f0a84b5d")
            .with("WASP_WEB_CLIENT_URL", "https://app.example.com");
        let loaded = load(&LoadArgs::default(), &env).unwrap();
        assert_eq!(
            loaded.config.addresses.client.to_string(),
            "https://app.example.com"
        );
        (loaded.config, loaded.report)
    };
    assert_eq!(
        report.remarks,
        [
            "WASP_WEB_CLIENT_URL is used for CLIENT_BASE_URL",
            "JWT_SECRET is used for BURSAR_JWT_SECRET"
        ]
    );
    check(
        &[("JWT_SECRET", "a7e2915c4d8f4a0693ce7d21f0a84b5d")],
        "both are set to different values",
    );
    accepted(&[("JWT_SECRET", "b7e2915c4d8f4a0693ce7d21f0a84b5d")]);
    check(
        &[
            ("CLIENT_BASE_URL", "https://a.test"),
            ("WASP_WEB_CLIENT_URL", "https://b.test"),
        ],
        "WASP_WEB_CLIENT_URL (environment): is another name of CLIENT_BASE_URL",
    );
}

#[test]
fn only_the_embedded_store_is_in_this_build() {
    let store = |value| ("BURSAR_STORE", value);
    check(&[store("postgres://u:p@db/x")], "store_not_in_this_build");
    check(
        &[("DATABASE_URL", "postgresql://u:p@db/x")],
        "DATABASE_URL (environment): store_not_in_this_build",
    );
    check(
        &[("DATABASE_URL", "mysql://u:p@db/x")],
        "mysql: is no store",
    );
    check(&[store("/var/lib/bursar")], "write sled:PATH");
    check(&[store("sled:")], "names no folder");
    let (config, report) = accepted(&[
        store("sled:/var/lib/bursar"),
        ("DATABASE_URL", "postgres://u:p@db/x"),
    ]);
    assert_eq!(
        config.store.data_dir(),
        std::path::Path::new("/var/lib/bursar")
    );
    assert_eq!(
        report.remarks,
        ["DATABASE_URL is set and not used: BURSAR_STORE is set"]
    );
}

#[test]
fn addresses_to_listen_on_have_a_port_that_exists() {
    let listen = |value| ("BURSAR_LISTEN", value);
    check(&[listen("127.0.0.1:70000")], "port 70000 does not exist");
    check(&[listen("127.0.0.1")], "has no port");
    check(&[listen("127.0.0.1:http")], "is not a number");
    check(&[listen("example.com:80")], "is not an IP address");
    check(&[listen("::1:80")], "is not an IP address");
    check(&[listen("127.0.0.1:9187")], "collides with BURSAR_LISTEN");
    check(
        &[("PORT", "70000")],
        "PORT (environment): port 70000 does not exist",
    );
    for fine in ["127.0.0.1:0", "[::1]:8087", "localhost:80"] {
        accepted(&[listen(fine)]);
    }
    let (config, _) = accepted(&[("PORT", "8080")]);
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    let (config, _) = accepted(&[("PORT", "8080"), listen("127.0.0.1:1234")]);
    assert_eq!(config.listen.to_string(), "127.0.0.1:1234");
    warned(&[listen("0.0.0.0:8087")], "open to the network without TLS");
    warned(
        &[("BURSAR_METRICS_LISTEN", "0.0.0.0:9187")],
        "shows metrics to the network",
    );
}

#[test]
fn durations_need_a_unit_and_a_sensible_size() {
    for (value, expected) in [
        ("5", "has no unit"),
        ("5 min", "is not a duration"),
        ("-1s", "is not a duration"),
        ("1e9d", "is not a duration"),
        ("99999999999999999999s", "is longer than ten years"),
        ("3651d", "is longer than ten years"),
        ("0s", "is not between 1m and 7d"),
        ("1.5h", "is not a duration"),
    ] {
        check(&[("RECONCILE_INTERVAL", value)], expected);
    }
    let (config, _) = accepted(&[("RECONCILE_INTERVAL", "90m")]);
    let pause = config.reconcile_interval.map(|pause| pause.as_secs());
    assert_eq!(pause, Some(5_400));
    let (config, _) = accepted(&[("RECONCILE_INTERVAL", "0")]);
    assert_eq!(config.reconcile_interval, None, "0 is never");
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    check(
        &[("BURSAR_LIMITS_CONNECTIONS", "0")],
        "is not between 1 and 65536",
    );
    check(
        &[("BURSAR_LIMITS_CONNECTIONS", "many")],
        "expected a whole number",
    );
    check(
        &[("BURSAR_LIMITS_CONNECTIONS", "32")],
        "64 from one address",
    );
    check(
        &[
            ("BURSAR_LIMITS_COMMAND_BODY_BYTES", "8388608"),
            ("BURSAR_LIMITS_BODY_MEMORY_BYTES", "4194304"),
        ],
        "a single one may have 8388608",
    );
    check(
        &[("BURSAR_DRAIN_SECONDS", "601")],
        "is not between 1 and 600",
    );
    warned(
        &[("BURSAR_DRAIN_SECONDS", "60")],
        "Kubernetes kills a pod after 30 s",
    );
}

#[test]
fn public_addresses_are_https_outside_this_machine() {
    check(
        &[("APP_BASE_URL", "http://billing.example.com")],
        "must be https",
    );
    accepted(&[("APP_BASE_URL", "http://localhost:8087")]);
    check(
        &[("ALLOWED_RETURN_ORIGINS", "https://a.test/path")],
        "has a path",
    );
    let live = ("STRIPE_API_KEY", "sk_live_51Nx7Qw2eZvKYlo2C");
    let origins = ("ALLOWED_RETURN_ORIGINS", "https://a.test,http://b.test");
    check(
        &[live, origins],
        "ALLOWED_RETURN_ORIGINS[1] (environment): customers return there",
    );
    warned(&[origins], "return over plain http to http://b.test");
    warned(
        &[("CLIENT_BASE_URL", "http://192.168.1.20:3000")],
        "return over plain http",
    );
    check(
        &[
            ("CLIENT_BASE_URL", "http://app.example.com"),
            ("STRIPE_API_KEY", "sk_live_51Nx7Qw2eZvKYlo2C"),
        ],
        "with a live key it must be https",
    );
    let (config, _) = accepted(&[
        ("CLIENT_BASE_URL", "https://App.example.com/shop/"),
        (
            "ALLOWED_RETURN_ORIGINS",
            "https://www.example.com:443, https://app.example.com",
        ),
    ]);
    assert_eq!(
        config.addresses.return_origins,
        ["https://app.example.com", "https://www.example.com"]
    );
}

#[test]
fn words_are_checked_and_the_near_one_is_named() {
    check(
        &[("BURSAR_SIGNUP", "opne")],
        "\"opne\" is none of open, invite, off. Did you mean open?",
    );
    check(
        &[("PAYMENT_LINK_CHECKOUTS", "maybe")],
        "is none of create, hold",
    );
    check(&[("BURSAR_LOG", "verbose")], "is not a log filter");
    check(
        &[("CHECKOUT_AUTOMATIC_TAX", "yes please")],
        "expected true or false",
    );
    accepted(&[("BURSAR_LOG", "info,bursar_store=debug,hyper::proto=warn")]);
    check(
        &[("STRIPE_API_VERSION", "basil")],
        "is not a version of Stripe's API",
    );
    check(
        &[("STRIPE_API_VERSION", "2025-13-01.basil")],
        "is not a version of Stripe's API",
    );
    accepted(&[("STRIPE_API_VERSION", "2022-11-15")]);
}

#[test]
fn unknown_variables_of_ours_are_refused_and_those_of_others_are_not() {
    check(
        &[("BURSAR_LISTN", "x")],
        "unknown. Did you mean BURSAR_LISTEN?",
    );
    check(&[("BURSAR_FOO", "x")], "BURSAR_FOO (environment): unknown;");
    check(&[("BURSAR_LISTEN_FILE", "x")], "unknown");
    check(&[("BURSAR_PORT", "8087")], "unknown");
    // What Kubernetes sets in every pod once a service is called `bursar` or `bursar-metrics`.
    accepted(&[
        ("BURSAR_SERVICE_HOST", "10.96.0.12"),
        ("BURSAR_SERVICE_PORT", "8087"),
        ("BURSAR_SERVICE_PORT_HTTP", "8087"),
        ("BURSAR_PORT", "tcp://10.96.0.12:8087"),
        ("BURSAR_PORT_8087_TCP", "tcp://10.96.0.12:8087"),
        ("BURSAR_PORT_8087_TCP_PROTO", "tcp"),
        ("BURSAR_PORT_8087_TCP_PORT", "8087"),
        ("BURSAR_PORT_8087_TCP_ADDR", "10.96.0.12"),
        ("BURSAR_METRICS_SERVICE_HOST", "10.96.0.13"),
        ("BURSAR_METRICS_PORT_9187_TCP_ADDR", "10.96.0.13"),
    ]);
    warned(
        &[("STRIPE_WEBHOK_SECRET", "x")],
        "Did you mean STRIPE_WEBHOOK_SECRET?",
    );
}

#[test]
fn ranges_of_addresses_are_exact() {
    let allow = |value| ("BURSAR_ADMIN_ALLOW", value);
    check(&[allow("10.0.0.1/8")], "did you mean 10.0.0.0/8?");
    check(&[allow("10.0.0.0/33")], "must be 0 to 32");
    check(&[allow("office")], "is not an address range");
    warned(&[allow("0.0.0.0/0")], "accepted from everywhere");
    let (config, _) = accepted(&[allow("10.1.0.0/16,loopback,2001:db8::/32")]);
    let holds = |ip: &str| {
        let ip = ip.parse().unwrap();
        config
            .access
            .admin_allow
            .iter()
            .any(|range| range.contains(ip))
    };
    for inside in [
        "10.1.255.255",
        "127.8.8.8",
        "::1",
        "2001:db8::9",
        "::ffff:10.1.2.3",
    ] {
        assert!(holds(inside), "{inside}");
    }
    for outside in [
        "10.2.0.0",
        "128.0.0.1",
        "::2",
        "2001:db9::",
        "::ffff:10.2.0.1",
    ] {
        assert!(!holds(outside), "{outside}");
    }
}

#[test]
fn mail_and_outbound_have_all_they_need_or_are_refused() {
    let smtp = ("MAIL_TRANSPORT", "smtp");
    let url = ("SMTP_URL", "smtps://user:pa%40ss@mail.example.com:465");
    let problems = refused(&set(&[smtp]));
    assert_eq!(problems.0.len(), 2, "{problems}");
    accepted(&[smtp, url, ("MAIL_FROM", "Example <billing@example.com>")]);
    check(
        &[smtp, url, ("MAIL_FROM", "Example <billing>")],
        "is not a mail address",
    );
    check(
        &[("ADMIN_EMAILS", "a@b.test,ops")],
        "ADMIN_EMAILS[1] (environment): \"ops\"",
    );
    check(
        &[("MAIL_FROM", "a@b.test\r\nBcc: c@d.test")],
        "is not a mail address",
    );
    check(
        &[("BURSAR_TEMPLATES_DIR", "/no/such/folder")],
        "is not a folder",
    );
    let outbound = ("OUTBOUND_WEBHOOK_URL", "https://app.example.com/hook");
    check(&[outbound], "needs OUTBOUND_WEBHOOK_SECRET");
    let secret = |value| ("OUTBOUND_WEBHOOK_SECRET", value);
    check(&[outbound, secret("whsec_AAAA")], "holds 3 bytes");
    check(&[outbound, secret("whsec_!!!!")], "is not base64");
    let good = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    accepted(&[outbound, good]);
    check(
        &[("OUTBOUND_WEBHOOK_URL", "http://127.0.0.1:9/x"), good],
        "is an address of this machine",
    );
}

#[test]
fn a_setting_that_nothing_acts_on_yet_is_said_aloud() {
    warned(
        &[("BURSAR_RETENTION_DAYS_AUDIT", "100")],
        "this release does not act on it yet",
    );
    let (_, report) = accepted(&[("BURSAR_SIGNUP", "off")]);
    assert!(
        !report
            .warnings
            .iter()
            .any(|warning| warning.contains("act on it"))
    );
}
