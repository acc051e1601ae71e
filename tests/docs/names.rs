//! What the documents may name: commands, paths, variables, metrics.

use bursar::cli::Cli;
use bursar::http::routes::every_route;
use bursar::telemetry::catalogue::every_catalogue;
use bursar_config::KEYS;
use bursar_store::metrics::MetricKind;
use clap::Parser;

/// Variables that are no key of the configuration, and whose they are.
const OTHERS: &[&str] = &[
    "BURSAR_CONFIG",                       // names the file
    "DATABASE_URL",                        // an alias of platforms
    "PAYMENTS_HOBBY_SUBSCRIPTION_PLAN_ID", // prices of the built-in catalogue
    "PAYMENTS_PRO_SUBSCRIPTION_PLAN_ID",
    "PAYMENTS_CREDITS_10_PLAN_ID",
    "BURSAR_CASES", // tests
    "BURSAR_SEED",
    "BURSAR_MUTATION_SHARD",
    "BURSAR_SHOTS_DIR",
    "BURSAR_WITH_BUGS",
    "BURSAR_SCHEDULES",
    "BURSAR_SIM_SEEDS",
    "BURSAR_SIM_TRACE",
    "BURSAR_CRASH_AT",
    "BURSAR_OUTSIDE_DIR",
    "BURSAR_WRITE_DOCS",
    "BURSAR_BIN",
    "SEEDED_BUG",
    "CHECKOUT_SESSION_ID", // a placeholder of Stripe's
    "BURSAR_URL",          // of examples/
    "BURSAR_KEY",
    "BURSAR_NOTIFICATION_SECRET",
    "SOURCE_DATE_EPOCH",
    "BUILD_REVISION",
];

/// Words with our prefix that are no metric: crates, a cookie, scripts' names.
const NO_METRICS: &[&str] = &[
    "bursar_session",
    "bursar_domain",
    "bursar_store",
    "bursar_actors",
    "bursar_config",
];

/// Whether a word can only be a variable of the environment.
pub(crate) fn looks_like_a_variable(word: &str) -> bool {
    let all_caps = word
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let known = [
        "BURSAR_",
        "STRIPE_",
        "CHECKOUT_",
        "MAIL",
        "SMTP_",
        "APP_",
        "CLIENT_",
        "PAYMENT",
        "ALLOWED_",
    ];
    let starts = [
        "COGNITO_",
        "AWS_",
        "OUTBOUND_",
        "ADMIN_",
        "TENANT_",
        "CONNECT_",
        "RECONCILE_",
        "WEBHOOK_",
    ];
    let ours = known
        .iter()
        .chain(&starts)
        .any(|start| word.starts_with(start));
    all_caps && ours && word.contains('_') && !word.ends_with('_')
}

/// Whether it is one.
pub(crate) fn is_variable(word: &str) -> bool {
    let named = |name: &str| {
        KEYS.iter()
            .any(|key| key.variable == name || key.alias == Some(name))
    };
    let file = word.strip_suffix("_FILE");
    let is_secret_file = file.is_some_and(|name| {
        KEYS.iter()
            .any(|key| key.secret && (key.variable == name || key.alias == Some(name)))
    });
    OTHERS.contains(&word) || named(word) || is_secret_file
}

/// Whether a word is meant as a metric of ours.
pub(crate) fn looks_like_a_metric(word: &str) -> bool {
    word.starts_with("bursar_")
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        && !word.ends_with('_')
        && word.matches('_').count() > 1
        && !NO_METRICS.contains(&word)
        // Files of secrets in the reference: `/run/secrets/bursar_admin_key`.
        && !KEYS.iter().any(|key| key.secret && word.strip_prefix("bursar_") == Some(key.path))
}

/// Whether it is one, or one of a histogram's series.
pub(crate) fn is_metric(word: &str) -> bool {
    every_catalogue().any(|metric| {
        let is_series = matches!(metric.kind, MetricKind::Histogram(_))
            && ["_bucket", "_sum", "_count"]
                .iter()
                .any(|end| word.strip_suffix(end) == Some(metric.name));
        metric.name == word || is_series
    })
}

/// The command lines of Bursar in a line of a shell.
pub(crate) fn bursar_commands(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let parts = line.split("&&").flat_map(|part| part.split('|'));
    for part in parts.flat_map(|part| part.split(';')) {
        let part = part
            .trim()
            .trim_start_matches("$ ")
            .trim_start_matches("sudo ");
        let part = part.split("  #").next().unwrap_or_default();
        let part = part.split(" > ").next().unwrap_or_default().trim();
        let release = part.replace("cargo run --release -- ", "cargo run -- ");
        if let Some(rest) = release.strip_prefix("cargo run -- ") {
            found.push(format!("bursar {rest}"));
        } else if part.starts_with("bursar ") {
            found.push(part.to_owned());
        }
    }
    found
}

/// Whether the grammar takes it. # Errors: what clap says of it.
pub(crate) fn parses(command: &str) -> Result<(), String> {
    let words = shell_words(command);
    match Cli::try_parse_from(&words) {
        Ok(_) => Ok(()),
        Err(error) if !error.use_stderr() => Ok(()),
        Err(error) => Err(error
            .to_string()
            .lines()
            .next()
            .unwrap_or("refused")
            .to_owned()),
    }
}

/// Splits at blanks outside quotes.
fn shell_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (_, c) => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Whether a path, with or without its ids filled in, is one of the table's, or the start of some.
pub(crate) fn is_routed(path: &str) -> bool {
    let asked: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let mut known =
        every_route().flat_map(|route| std::iter::once(&route.path).chain(route.aliases));
    known.any(|route| {
        let parts: Vec<&str> = route.trim_start_matches('/').split('/').collect();
        let fits = |(mine, theirs): (&&str, &&str)| {
            theirs.starts_with('{') || mine == theirs || mine.starts_with(['$', '{'])
        };
        parts.len() >= asked.len() && asked.iter().zip(&parts).all(fits)
    })
}
