//! Files: the configuration file, secrets in files of their own, the catalogue, and the reload.
//!
//! Method: real files in a temporary folder; what must not hang runs under a deadline.

use std::path::{Path, PathBuf};

use bursar_config::{Config, DemoArgs, LoadArgs, MapEnv, Problems, load, refuse_live_key};
use bursar_config::{FILE_BYTES_MAX, reload_webhook_secrets};
use secrecy::ExposeSecret;
use tempfile::TempDir;

const VALID: &str = "\
admin_key = \"d8f1c0a97b3e46528fd1a0c97e3b4651\"
jwt_secret = \"b7e2915c4d8f4a0693ce7d21f0a84b5d\"
app_base_url = \"https://billing.example.com\"
[stripe]
api_key = \"sk_test_51Nx7Qw2eZvKYlo2C\"
webhook_secrets = [\"whsec_8f3kd02ks83jf92k\"]
";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the folder is ours");
        mode(&path, 0o600);
        path
    }
}

#[cfg(unix)]
fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("the file is ours");
}

#[cfg(not(unix))]
fn mode(_: &Path, _: u32) {}

fn args(path: &Path) -> LoadArgs {
    LoadArgs {
        config_path: Some(path.to_owned()),
        ..LoadArgs::default()
    }
}

fn problems(text: impl AsRef<[u8]>) -> Problems {
    let folder = Folder::new();
    let path = folder.write("bursar.toml", text);
    load(&args(&path), &MapEnv::default()).expect_err("must be refused")
}

/// A file with this text gives one problem, in this line, that says this.
fn check(text: &str, line: usize, expected: &str) {
    let found = problems(text);
    let matching = found.0.iter().find(|problem| {
        problem.subject.contains(&format!("bursar.toml:{line}")) && problem.text.contains(expected)
    });
    assert!(
        matching.is_some(),
        "expected line {line}: {expected}\nfound {found}"
    );
}

#[test]
fn a_complete_file_needs_no_environment() {
    let folder = Folder::new();
    let path = folder.write("bursar.toml", format!("store = \"sled:state\"\n{VALID}"));
    let loaded = load(&args(&path), &MapEnv::default()).unwrap();
    assert_eq!(loaded.config.store.data_dir(), folder.path("state"));
    let env = MapEnv::of([("BURSAR_CONFIG", path.to_str().unwrap())]);
    assert!(load(&LoadArgs::default(), &env).is_ok());
    let env = env.with("BURSAR_STORE", "sled:elsewhere");
    let loaded = load(&LoadArgs::default(), &env).unwrap();
    assert_eq!(loaded.config.store.data_dir(), Path::new("elsewhere"));
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_line() {
    check("listn = \"x\"\n", 1, "unknown. Did you mean listen?");
    check(
        "\n[stripe]\napi_keys = \"x\"\n",
        3,
        "unknown. Did you mean stripe.api_key?",
    );
    check("[strip]\napi_key = \"x\"\n", 1, "unknown");
    check(
        "STRIPE_API_KEY = \"x\"\n",
        1,
        "In the file this is called stripe.api_key",
    );
    check("listen = 5\n", 1, "expected a string, found an integer");
    check(
        "drain_seconds = \"25\"\n",
        1,
        "expected a whole number, found a string",
    );
    check(
        "[checkout]\nautomatic_tax = \"true\"\n",
        2,
        "expected true or false, found a string",
    );
    check(
        "trust_proxy = [1]\n",
        1,
        "expected a list of strings, found an integer in it",
    );
    check("stripe = 3\n", 1, "unknown");
    check("listen = \"a\"\nlisten = \"b\"\n", 2, "duplicate key");
    check("listen = \"a\n", 1, "");
    check("drain_seconds = 99999999999999999999\n", 1, "64-bit");
}

#[test]
fn a_syntax_error_shows_its_line_and_not_the_lines_text() {
    let found = problems("x = 1\napi_key = sk_live_TOPSECRET\n").to_string();
    assert!(found.contains("bursar.toml:2"), "{found}");
    assert!(!found.contains("TOPSECRET"), "{found}");
}

#[test]
fn files_that_are_no_files_are_refused_without_waiting() {
    let folder = Folder::new();
    let refused = |path: &Path, expected: &str| {
        let error = load(&args(path), &MapEnv::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.contains("--config (command line)"), "{error}");
    };
    refused(&folder.path("absent.toml"), "cannot be read");
    refused(folder.0.path(), "is a directory");
    refused(
        &folder.write("bom.toml", b"\xef\xbb\xbflisten = \"x\"\n"),
        "byte order mark",
    );
    refused(
        &folder.write("latin.toml", b"# fine\n# \xe4\n"),
        "line 2 is not UTF-8",
    );
    let big = folder.path("big.toml");
    let file = std::fs::File::create(&big).unwrap();
    file.set_len(100 * FILE_BYTES_MAX).unwrap();
    refused(&big, "the limit is");
    let fifo = folder.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    if made.is_ok_and(|status| status.success()) {
        refused(&fifo, "is not a regular file");
    } else {
        eprintln!("skipped the FIFO: no mkfifo here");
    }
    if Path::new("/dev/zero").exists() {
        refused(Path::new("/dev/zero"), "is not a regular file");
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let text = format!("x = {}1{}\n", "[".repeat(200_000), "]".repeat(200_000));
    assert!(!problems(text).is_empty());
    let text = format!("{} = 1\n", vec!["a"; 100_000].join("."));
    assert!(!problems(text).is_empty());
}

#[test]
fn a_secret_may_stand_in_a_file_of_its_own() {
    let folder = Folder::new();
    let key = folder.write("key", "sk_test_51Nx7Qw2eZvKYlo2C\n");
    let without = VALID.replace("api_key = \"sk_test_51Nx7Qw2eZvKYlo2C\"\n", "");
    let path = folder.write("bursar.toml", &without);
    let env = MapEnv::of([("STRIPE_API_KEY_FILE", key.to_str().unwrap())]);
    let config = load(&args(&path), &env).unwrap().config;
    assert_eq!(
        config.stripe.api_key.expose_secret(),
        "sk_test_51Nx7Qw2eZvKYlo2C"
    );

    let both = env
        .clone()
        .with("STRIPE_API_KEY", "sk_test_51Nx7Qw2eZvKYlo2C");
    let error = load(&args(&path), &both).unwrap_err().to_string();
    assert!(
        error.contains("STRIPE_API_KEY_FILE (environment): STRIPE_API_KEY is set too"),
        "{error}"
    );
    // It was given, so it is not missing as well; nor is what a file that cannot be read should hold.
    assert!(!error.contains("required and not set"), "{error}");
    let away = MapEnv::of([("STRIPE_API_KEY_FILE", "/nowhere/key")]);
    let error = load(&args(&path), &away).unwrap_err().to_string();
    assert!(!error.contains("required and not set"), "{error}");
    let error = load(&args(&path), &MapEnv::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("required and not set: STRIPE_API_KEY"),
        "{error}"
    );

    // In the configuration file, relative to it.
    let text = without.replace("[stripe]\n", "[stripe]\napi_key_file = \"key\"\n");
    let path = folder.write("bursar.toml", text);
    assert!(load(&args(&path), &MapEnv::default()).is_ok());
    folder.write("key", "\n");
    let error = load(&args(&path), &MapEnv::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("stripe.api_key_file (") && error.contains("is empty"),
        "{error}"
    );
    folder.write("key", "sk_test_51Nx7Qw2eZvKYlo2C\n\n");
    let error = load(&args(&path), &MapEnv::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds a line break"), "{error}");
}

#[test]
fn a_key_given_twice_in_files_is_refused() {
    let folder = Folder::new();
    folder.write("key", "sk_test_51Nx7Qw2eZvKYlo2C\n");
    let twice = VALID.replace("[stripe]\n", "[stripe]\napi_key_file = \"key\"\n");
    let path = folder.write("bursar.toml", twice);
    let error = load(&args(&path), &MapEnv::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("stripe.api_key and stripe.api_key_file are both set"),
        "{error}"
    );

    folder.write(
        "secrets.toml",
        "jwt_secret = \"c7e2915c4d8f4a0693ce7d21f0a84b5d\"\nlisten = \"x\"\n",
    );
    let path = folder.write(
        "bursar.toml",
        format!("secrets_file = \"secrets.toml\"\n{VALID}"),
    );
    let error = load(&args(&path), &MapEnv::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("secrets.toml:1): is also set in the configuration file"),
        "{error}"
    );
    assert!(error.contains("secrets.toml:2): is no secret"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_secret_everybody_can_read_is_said_aloud() {
    let folder = Folder::new();
    let path = folder.write("bursar.toml", VALID);
    assert!(
        load(&args(&path), &MapEnv::default())
            .unwrap()
            .report
            .warnings
            .iter()
            .all(|w| !w.contains("chmod"))
    );
    mode(&path, 0o644);
    let report = load(&args(&path), &MapEnv::default()).unwrap().report;
    assert!(
        report.warnings.iter().any(|w| w.contains("chmod 600")),
        "{:?}",
        report.warnings
    );
}

#[test]
fn a_reload_takes_new_secrets_and_a_bad_file_none() {
    let folder = Folder::new();
    let secrets = folder.write("whsec", "whsec_oldoldold\n");
    let text = VALID.replace("webhook_secrets = [\"whsec_8f3kd02ks83jf92k\"]\n", "");
    let path = folder.write("bursar.toml", text);
    let env = MapEnv::of([("STRIPE_WEBHOOK_SECRET_FILE", secrets.to_str().unwrap())]);
    assert!(load(&args(&path), &env).is_ok());
    folder.write("whsec", "whsec_newnewnew,whsec_oldoldold\n");
    let set = reload_webhook_secrets(&args(&path), &env).unwrap();
    let values: Vec<&str> = set.0.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(values, ["whsec_newnewnew", "whsec_oldoldold"]);
    for bad in ["", "newnewnew", "whsec_newnewnew,"] {
        folder.write("whsec", bad);
        assert!(
            reload_webhook_secrets(&args(&path), &env).is_err(),
            "{bad:?}"
        );
    }
    std::fs::remove_file(&secrets).unwrap();
    assert!(reload_webhook_secrets(&args(&path), &env).is_err());
    folder.write("whsec", "whsec_newnewnew\n");
    folder.write("bursar.toml", "broken = \n");
    assert!(reload_webhook_secrets(&args(&path), &env).is_err());
}

fn with_plans(text: &str) -> Result<Config, Problems> {
    let folder = Folder::new();
    folder.write("plans.toml", text);
    let path = folder.write(
        "bursar.toml",
        format!("plans_file = \"plans.toml\"\n{VALID}"),
    );
    load(&args(&path), &MapEnv::of([("PRICE", "price_env")])).map(|loaded| loaded.config)
}

/// A catalogue with this text gives one problem that says this in this line.
fn check_plans(text: &str, line: usize, expected: &str) {
    let found = with_plans(text).expect_err(expected);
    assert_eq!(found.0.len(), 1, "{found}");
    assert!(
        found.0[0].subject.contains(&format!("plans.toml:{line}")),
        "{found}"
    );
    assert!(
        found.0[0].text.contains(expected),
        "expected {expected}\nfound {found}"
    );
}

#[test]
fn a_catalogue_that_is_wrong_is_refused_by_plan_and_line() {
    const PRO: &str = "[[plan]]\nid = \"pro\"\nstripe_price_id = \"price_1\"\n";
    let pro = |rest: &str| format!("{PRO}{rest}\n");
    check_plans(PRO, 1, "plan pro has no effect");
    check_plans(&pro("credits = 1\n[plan.subscription]"), 1, "has both");
    check_plans(&pro("credits = 0"), 4, "is not between 1 and");
    check_plans(
        &pro("credits = 1.5"),
        4,
        "expected a whole number, found a float",
    );
    check_plans(&pro("credit = 5"), 4, "unknown. Did you mean credits?");
    check_plans(
        &pro("credits = 1\nstripe_price_ids = [\"price_2\"]"),
        1,
        "give one of",
    );
    check_plans(
        &pro("credits = 1\ndefault = true"),
        1,
        "the default is free",
    );
    check_plans(
        &pro("[plan.subscription]\ntrial_day = 1"),
        5,
        "Did you mean trial_days?",
    );
    check_plans(
        &pro("[plan.subscription]\ngrace_days = -1"),
        5,
        "is not between 0 and 730",
    );
    check_plans(
        &pro("[plan.subscription]\nlimits = { seats = 1 }"),
        5,
        "not among features",
    );
    check_plans(
        &pro("[plan.subscription]\nmin_quantity = 5\nmax_quantity = 4"),
        6,
        "is below min_quantity",
    );
    check_plans(
        &pro("[plan.subscription]\nfeatures = [\"seats\"]\nlimits = { seats = \"many\" }"),
        6,
        "seats: expected a whole number or \"quantity\"",
    );
    check_plans(
        &pro("credits = 1\nrevoke_on = [\"refund\"]"),
        5,
        "is none of full_refund, dispute_lost",
    );
    check_plans(
        &pro(&format!("credits = 1\n{PRO}credits = 2")
            .replace("price_1\"\ncredits = 2", "price_2\"\ncredits = 2")),
        5,
        "the id pro is given twice",
    );
    check_plans(
        &pro(&format!(
            "credits = 1\n{}credits = 2",
            PRO.replace("pro", "max")
        )),
        5,
        "price_1 is the price of plan pro, too",
    );
    check_plans("[[plan]]\nid = \"a\"\ncredits = 1\n", 1, "has no price");
    check_plans(
        "[[plan]]\nid = \"a b\"\ncredits = 1\nstripe_price_id = \"p\"\n",
        2,
        "letters, digits",
    );
    check_plans(
        "[[plan]]\ncredits = 1\nstripe_price_id = \"p\"\n",
        1,
        "has no id",
    );
    check_plans(
        "[[plan]]\nid = \"a\"\ncredits = 1\nstripe_price_id = \"prod_1\"\n",
        1,
        "is a product",
    );
    check_plans(
        "[[plan]]\nid = \"a\"\ncredits = 1\nstripe_price_id_env = \"NO_SUCH\"\n",
        1,
        "names NO_SUCH, which is not set",
    );
    check_plans(
        "[[plan]]\nid = \"f\"\ndefault = true\n[plan.subscription]\ntrial_days = 3\n",
        1,
        "neither a trial nor quantities",
    );
    let free = "[[plan]]\nid = \"f\"\ndefault = true\n[[plan]]\nid = \"g\"\ndefault = true\n";
    check_plans(free, 4, "a second plan is the default");
    assert!(
        with_plans("")
            .unwrap_err()
            .to_string()
            .contains("holds no [[plan]]")
    );
    let config =
        with_plans("[[plan]]\nid = \"a\"\ncredits = 1\nstripe_price_id_env = \"PRICE\"\n").unwrap();
    assert_eq!(config.plans.plans[0].price_ids[0].as_str(), "price_env");
}

#[test]
fn the_built_in_catalogue_leaves_out_plans_without_a_price() {
    let folder = Folder::new();
    let path = folder.write("bursar.toml", VALID);
    let ids = |env: &MapEnv| {
        let loaded = load(&args(&path), env).unwrap();
        loaded
            .config
            .plans
            .plans
            .iter()
            .map(|plan| plan.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&MapEnv::default()), Vec::<String>::new());
    let some = MapEnv::of([
        ("PAYMENTS_PRO_SUBSCRIPTION_PLAN_ID", "price_pro"),
        ("PAYMENTS_CREDITS_10_PLAN_ID", "price_credits"),
    ]);
    assert_eq!(ids(&some), ["pro", "credits-10"]);
    let twice = some.with("PAYMENTS_HOBBY_SUBSCRIPTION_PLAN_ID", "price_pro");
    assert!(load(&args(&path), &twice).is_err());
}

#[test]
fn a_demo_has_its_own_secrets_each_time_and_no_live_key_near() {
    let demo = |port: u16| {
        Config::for_demo(&DemoArgs {
            listen: ([127, 0, 0, 1], port).into(),
            metrics_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: "/tmp/with space, and comma".into(),
            stripe_api_base: "http://127.0.0.1:12111".to_owned(),
            mail_server: None,
            plans_toml: None,
        })
        .unwrap()
    };
    let (one, two) = (demo(0), demo(8_087));
    assert_eq!(
        one.store.data_dir(),
        Path::new("/tmp/with space, and comma")
    );
    assert!(!one.stripe.mode.is_live());
    assert_eq!(one.plans.plans.len(), 4);
    let secret = |config: &Config| config.access.admin_key.expose_secret().to_owned();
    assert_ne!(secret(&one), secret(&two));
    let live = MapEnv::of([("STRIPE_API_KEY", "sk_live_51Nx7Qw2eZvKYlo2C")]);
    assert!(refuse_live_key(&live).is_err());
    assert!(refuse_live_key(&MapEnv::of([("STRIPE_API_KEY", "sk_test_x")])).is_ok());
}
