//! The command line from outside: the real binary, its exit codes and what it says.
//!
//! Method: every call starts from an empty environment, so nothing of the machine leaks in.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A value that must never be printed wherever it is given.
const CANARY: &str = "CANARYd8f1c0a97b3e46528fd1a0c97e3b46";

fn bursar(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bursar"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary starts");
    let code = status.code().expect("ended by itself, not by a signal");
    (code, text(stdout), text(stderr))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("output is UTF-8")
}

fn with_required(command: &mut Command) -> &mut Command {
    command
        .env("BURSAR_ADMIN_KEY", format!("{CANARY}-admin"))
        .env("BURSAR_JWT_SECRET", format!("{CANARY}-jwt"))
        .env("APP_BASE_URL", "https://billing.example.com")
        .env("STRIPE_API_KEY", format!("sk_test_{CANARY}"))
        .env(
            "STRIPE_WEBHOOK_SECRET",
            format!("whsec_{CANARY}one,whsec_{CANARY}two"),
        )
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    path.to_str().expect("a plain name").to_owned()
}

#[test]
fn a_wrong_command_line_ends_with_64_and_says_why() {
    for arguments in [
        &["frobnicate"][..],
        &["check-config", "--no-such-flag"],
        &["check-config", "--config"],
        &["completions", "tcsh-of-old"],
        &["-q", "-v", "check-config"],
        &[],
    ] {
        let (code, stdout, stderr) = run(&mut bursar(arguments));
        assert_eq!(code, 64, "{arguments:?}: {stderr}");
        assert_eq!(stdout, "", "{arguments:?}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_mistyped_command_or_flag_is_answered_with_the_near_one() {
    let (_, _, stderr) = run(&mut bursar(&["chek-config"]));
    assert!(stderr.contains("check-config"), "{stderr}");
    let (_, _, stderr) = run(&mut bursar(&["check-config", "--lissten", "x"]));
    assert!(stderr.contains("--listen"), "{stderr}");
}

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let commands = help.split("Commands:").nth(1).unwrap_or_default();
    let lines = commands
        .lines()
        .take_while(|line| !line.starts_with("Options:"));
    lines
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        // clap's own, which prints the help of the command it is given.
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn help_on_every_level_starts_with_an_example() {
    let mut levels: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(level) = levels.pop() {
        seen += 1;
        for flag in ["--help", "-h"] {
            let (code, help, _) = run(bursar(&[]).args(&level).arg(flag).env("NO_COLOR", "1"));
            assert_eq!(code, 0, "{level:?}");
            let example = format!("Example: bursar {}", level.join(" "));
            assert!(help.starts_with(example.trim_end()), "{level:?}\n{help}");
            assert!(!help.contains('\u{1b}'), "colour in the help of {level:?}");
            if flag == "-h" {
                let below = listed(&help)
                    .into_iter()
                    .map(|name| [&level[..], &[name]].concat());
                levels.extend(below);
            }
        }
    }
    assert!(seen >= 4, "only {seen} levels were seen");
    let (code, help, _) = run(&mut bursar(&["help", "check-config"]));
    assert_eq!(code, 0);
    assert!(help.starts_with("Example: bursar check-config"), "{help}");
}

#[test]
fn the_version_is_one_line_and_more_when_asked() {
    let (code, stdout, _) = run(&mut bursar(&["--version"]));
    assert_eq!((code, stdout.lines().count()), (0, 1));
    assert!(stdout.starts_with("bursar 0."), "{stdout}");
    let (code, stdout, _) = run(&mut bursar(&["--version", "--verbose"]));
    assert_eq!(code, 0);
    assert!(stdout.contains("2025-04-30.basil"), "{stdout}");
}

#[test]
fn all_problems_come_at_once_numbered_and_end_with_78() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "listen = \"127.0.0.1:8087\"\n[stripe]\nwebhook_secrets = [\"whsec_12345678\", \"oops\"]\n";
    let file = write(dir.path(), "bursar.toml", text);
    let mut command = bursar(&["check-config", "--config", &file]);
    command
        .env("STRIPE_API_KEY", format!("pk_test_{CANARY}"))
        .env("BURSAR_LISTN", "x");
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, 78);
    assert_eq!(stdout, "");
    let expected = [
        "bursar: 4 problems with the configuration".to_owned(),
        "  1. BURSAR_LISTN (environment): unknown. Did you mean BURSAR_LISTEN?".to_owned(),
        "  2. STRIPE_API_KEY (environment): a publishable key (pk_…) was given; the secret key starts \
         with sk_ or rk_"
            .to_owned(),
        format!("  3. stripe.webhook_secrets[1] ({file}:3): does not start with whsec_"),
        "  4. required and not set: APP_BASE_URL, BURSAR_ADMIN_KEY, BURSAR_JWT_SECRET (see `bursar \
         init` for a start)"
            .to_owned(),
    ];
    assert_eq!(stderr.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn check_config_shows_origins_and_no_secret() {
    let mut command = bursar(&["check-config", "--listen", "127.0.0.1:0"]);
    let (code, stdout, stderr) = run(with_required(&mut command));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("--listen"), "{stdout}");
    assert!(stdout.contains("set (sk_test_…, "), "{stdout}");
    assert!(stdout.contains("environment STRIPE_API_KEY"), "{stdout}");
    assert!(!stdout.contains("CANARY") && !stderr.contains("CANARY"));
    let mut command = bursar(&["check-config", "--json"]);
    let (code, stdout, _) = run(with_required(&mut command));
    assert_eq!(code, 0);
    assert!(!stdout.contains("CANARY"));
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["mode"], "test");
}

#[test]
fn no_problem_shows_the_secret_it_is_about() {
    for (variable, value) in [
        ("STRIPE_API_KEY", format!("pk_live_{CANARY}")),
        ("STRIPE_API_KEY", format!("{CANARY}\n")),
        ("STRIPE_WEBHOOK_SECRET", format!("{CANARY},")),
        ("BURSAR_ADMIN_KEY", format!("sk_live_{CANARY}")),
        ("BURSAR_JWT_SECRET", CANARY[..31].to_owned()),
        ("SMTP_URL", format!("ftp://user:{CANARY}@mail.example.com")),
        (
            "BURSAR_STORE",
            format!("postgres://user:{CANARY}@db/bursar"),
        ),
        (
            "STRIPE_API_BASE",
            format!("https://user:{CANARY}@api.stripe.com"),
        ),
        ("OUTBOUND_WEBHOOK_SECRET", CANARY.to_owned()),
        ("BURSAR_METRICS_TOKEN", format!("{CANARY} {CANARY}")),
    ] {
        for flag in [&["check-config"][..], &["check-config", "--json"]] {
            let mut command = bursar(flag);
            let (code, stdout, stderr) = run(with_required(&mut command).env(variable, &value));
            assert_eq!(code, 78, "{variable}: {stderr}");
            assert!(
                format!("{stdout}{stderr}").contains(variable),
                "{variable}: {stderr}"
            );
            assert!(!stdout.contains("CANARY"), "{variable}: {stdout}");
            assert!(!stderr.contains("CANARY"), "{variable}: {stderr}");
        }
    }
}

#[test]
fn postgresql_is_refused_by_its_own_code() {
    for (variable, value) in [
        ("BURSAR_STORE", "postgres://localhost/b"),
        ("DATABASE_URL", "postgresql://localhost/b"),
    ] {
        let mut command = bursar(&["check-config", "--json"]);
        let (code, stdout, _) = run(with_required(&mut command).env(variable, value));
        assert_eq!(code, 78);
        let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(json["problems"][0]["code"], "store_not_in_this_build");
    }
}

#[test]
fn init_then_check_config_passes_once_stripes_secrets_are_given() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("billing");
    let target = target.to_str().unwrap();
    let (code, stdout, stderr) = run(&mut bursar(&["init", target]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("check-config"), "{stdout}");
    let config = format!("{target}/bursar.toml");

    let (code, _, stderr) = run(&mut bursar(&["check-config", "--config", &config]));
    assert_eq!(code, 78);
    assert!(
        stderr.contains("not set: STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET ("),
        "{stderr}"
    );

    let mut command = bursar(&["check-config", "--config", &config]);
    command.env("STRIPE_API_KEY", format!("sk_test_{CANARY}"));
    command.env("STRIPE_WEBHOOK_SECRET", format!("whsec_{CANARY}"));
    let (code, stdout, stderr) = run(&mut command);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("secrets.toml:"), "{stdout}");
    assert!(
        stdout.contains(&format!("sled:{target}/./data")),
        "{stdout}"
    );
    let generated = std::fs::read_to_string(format!("{target}/secrets.toml")).unwrap();
    for line in generated
        .lines()
        .filter(|line| line.starts_with("admin_key"))
    {
        let key = line.split('"').nth(1).unwrap();
        assert_eq!(key.len(), 64);
        assert!(!stdout.contains(key), "the operator's key was printed");
    }
}

#[test]
fn init_overwrites_nothing_and_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "plans.toml", "mine");
    let target = dir.path().to_str().unwrap();
    let (code, _, stderr) = run(&mut bursar(&["init", target]));
    assert_eq!(code, 73);
    assert!(stderr.contains("plans.toml exists already"), "{stderr}");
    assert_eq!(
        std::fs::read_to_string(dir.path().join("plans.toml")).unwrap(),
        "mine"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let blocked = format!("{target}/plans.toml/below");
    let (code, _, _) = run(&mut bursar(&["init", &blocked]));
    assert_eq!(code, 73);
}

#[cfg(unix)]
#[test]
fn the_file_of_secrets_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (code, ..) = run(&mut bursar(&["init", dir.path().to_str().unwrap()]));
    assert_eq!(code, 0);
    let mode = std::fs::metadata(dir.path().join("secrets.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = std::fs::read_to_string(dir.path().join("secrets.toml")).unwrap();
    let other = tempfile::tempdir().unwrap();
    run(&mut bursar(&["init", other.path().to_str().unwrap()]));
    let second = std::fs::read_to_string(other.path().join("secrets.toml")).unwrap();
    assert_ne!(first, second, "two installations were given the same keys");
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["check-config"],
        &["check-config", "--json"],
        &["--help"],
        &["--version"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = bursar(arguments);
        with_required(&mut command).stdout(writer);
        let (code, _, stderr) = run(&mut command);
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_full_disk_for_the_output_ends_with_74() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: this system has no /dev/full");
        return;
    };
    let mut command = bursar(&["check-config"]);
    with_required(&mut command).stdout(full);
    let (code, _, stderr) = run(&mut command);
    assert_eq!(code, 74, "{stderr}");
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, _) = run(&mut bursar(&["completions", shell]));
        assert_eq!(code, 0);
        assert!(stdout.contains("check-config"), "{shell}");
    }
}

#[test]
fn every_command_has_a_manual_page_and_the_first_names_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    let (code, stdout, stderr) = run(&mut bursar(&["man", folder.to_str().unwrap()]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let pages: Vec<_> = std::fs::read_dir(&folder).unwrap().collect();
    assert!(
        stdout.starts_with(&format!("{} pages in ", pages.len())),
        "{stdout}"
    );
    let page = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
    let (first, help) = (page("bursar"), run(&mut bursar(&["--help"])).1);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .filter_map(|line| line.split_whitespace().next());
    let mut looked = 0;
    for name in names.filter(|name| *name != "help") {
        looked += 1;
        let escaped = name.replace('-', "\\-");
        assert!(first.contains(&format!("bursar\\-{escaped}(1)")), "{name}");
        assert!(
            page(&format!("bursar-{name}")).contains(".SH OPTIONS"),
            "{name}"
        );
    }
    assert!(looked > 15, "only {looked} commands were found");
    assert!(page("bursar-admin-tenant-create").contains("\\-\\-name"));
    assert!(first.contains(&format!("bursar {}", env!("CARGO_PKG_VERSION"))));
}

/// `bursar serve` on a folder; killed when dropped.
struct Served {
    child: std::process::Child,
    address: String,
}

impl Served {
    fn on(data: &str) -> Self {
        use std::io::BufRead;
        let mut command = bursar(&["serve", "--data-dir", data]);
        let mut child = with_required(&mut command)
            .env("BURSAR_LISTEN", "127.0.0.1:0")
            .env("BURSAR_METRICS_LISTEN", "127.0.0.1:0")
            .env("APP_BASE_URL", "http://127.0.0.1:8087")
            .env("STRIPE_API_BASE", "http://127.0.0.1:9")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let out = child.stdout.take().expect("it is piped");
        let mut lines = std::io::BufReader::new(out).lines();
        let address = lines.find_map(|line| {
            let line = line.expect("the banner is text");
            let at = line.find("http://").filter(|_| line.contains("/webhook"))?;
            Some(
                line[at + 7..]
                    .trim_end()
                    .trim_end_matches("/webhook")
                    .to_owned(),
            )
        });
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.expect("the banner names the webhook address");
        Self { child, address }
    }
    fn create(&self, tenant: &str) {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.address).expect("it listens");
        let request = format!(
            "POST /api/v1/tenants?tenantId={tenant} HTTP/1.1\r\nHost: bursar.test\r\n\
             Authorization: Bearer {CANARY}-admin\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json_of(text: &str) -> serde_json::Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).expect("one JSON object")
}

#[test]
fn admin_invites_and_lists_people() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().expect("a plain name").to_owned();
    let _server = Served::on(&data);
    let admin = |arguments: &[&str]| {
        let all = [&["admin"], arguments, &["--data-dir", &data]].concat();
        run(&mut bursar(&all))
    };
    let invite = ["user", "invite", "ada@acme.test", "--tenant", "acme"];
    assert_eq!(admin(&invite).0, 1, "there is no such tenant");
    assert_eq!(admin(&["tenant", "create", "acme"]).0, 0);
    let (code, id, stderr) = admin(&invite);
    assert_eq!((code, id.trim().len()), (0, 32), "{stderr}");
    let (code, none, stderr) = admin(&["user", "list"]);
    assert_eq!((code, none.as_str()), (0, "no people\n"), "{stderr}");
    for what in ["end-sessions", "forget"] {
        let nobody = "usr_00000000000000000000000000000000";
        assert_eq!(admin(&["user", what, nobody]).0, 1, "{what}");
    }
}

#[test]
fn admin_makes_shows_and_lists_tenants_page_by_page_with_and_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().expect("a plain name").to_owned();
    let server = Served::on(&data);
    let admin = |arguments: &[&str]| {
        let all = [&["admin"], arguments, &["--data-dir", &data]].concat();
        run(&mut bursar(&all))
    };
    let (code, none, stderr) = admin(&["tenant", "list"]);
    assert_eq!((code, none.as_str()), (0, "no tenants\n"), "{stderr}");
    let acme = [
        "tenant",
        "create",
        "acme",
        "--name",
        "Acme Inc",
        "--timezone",
        "Europe/Berlin",
    ];
    let (code, made, stderr) = admin(&acme);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        made.contains("Acme Inc") && made.contains("Europe/Berlin"),
        "{made}"
    );
    assert_eq!(admin(&acme).0, 0, "an equal one is no mistake");
    let (code, _, stderr) = admin(&["tenant", "create", "acme", "--name", "Other"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("tenant_exists"), "{stderr}");
    let (code, _, stderr) = admin(&["tenant", "create", "b", "--email", "nobody"]);
    assert_eq!(code, 64, "{stderr}");
    assert!(stderr.contains("`email` must be"), "{stderr}");
    // More than the server answers at once.
    for n in 0..104 {
        server.create(&format!("t{n}"));
    }
    let (_, table, _) = admin(&["tenant", "list", "--limit", "2"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("TENANT") && lines[0].contains("PAID UNTIL"),
        "{table}"
    );
    assert_eq!(lines.len(), 5, "{table}");
    assert!(
        lines[4].starts_with("2 tenants shown; for more: --cursor "),
        "{table}"
    );
    let cursor = lines[4].split_whitespace().last().unwrap_or_default();
    let rest = [
        "tenant", "list", "--limit", "1000", "--json", "--cursor", cursor,
    ];
    let (code, rest, stderr) = admin(&rest);
    assert_eq!(code, 0, "{stderr}");
    let rest = json_of(&rest);
    assert_eq!(rest["data"].as_array().map(Vec::len), Some(103));
    assert_eq!(
        (&rest["hasMore"], &rest["nextCursor"]),
        (&false.into(), &().into())
    );
    let (code, _, stderr) = admin(&["tenant", "list", "--status", "past_deu"]);
    assert_eq!(code, 64);
    assert!(stderr.contains("did you mean `past_due`?"), "{stderr}");
    for limit in ["0", "10001", "many"] {
        assert_eq!(
            admin(&["tenant", "list", "--limit", limit]).0,
            64,
            "{limit}"
        );
    }
    assert_eq!(admin(&["tenant", "show", "nobody"]).0, 1);
    let (_, key, _) = admin(&[
        "service-key",
        "create",
        "--name",
        "back",
        "--scope",
        "billing",
    ]);
    assert!(
        key.starts_with("sk_bursar_") && key.lines().count() == 1,
        "{key}"
    );
    let (_, keys, _) = admin(&["service-key", "list"]);
    assert!(keys.starts_with("ID ") && keys.contains("back"), "{keys}");
    assert!(!keys.contains(key.trim()), "a key is shown once");
    drop(server);
    let (code, shown, stderr) = admin(&["tenant", "show", "acme", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(json_of(&shown)["name"], "Acme Inc");
    let (_, all, _) = admin(&["tenant", "list", "--status", "pending", "--limit", "1000"]);
    assert_eq!(all.lines().count(), 106, "{all}");
}
