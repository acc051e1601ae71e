//! Merges flags, environment, files and defaults into one raw value per key, with its origin.
//!
//! Invariants: flag beats environment beats file beats default. Nothing unknown is skipped: an
//! unknown key or `BURSAR_…` variable is a problem. Every problem is collected, none stops the rest.
//! Not here: what a value may be (`validate`).
//! Failure: problems; the values that could be read are still returned, so that they are checked too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::env::Env;
use crate::file::{self, Value};
use crate::keys::{self, Key, Kind};
use crate::load::LoadArgs;
use crate::problem::{Origin, Problems};

/// One key's raw value.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// Folder that relative paths of this value start from.
    pub(crate) folder: PathBuf,
}

/// All raw values, and what should be said aloud about where they came from.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) values: BTreeMap<&'static str, Raw>,
    /// Keys that were given, but as something that cannot be used; the problem is told already.
    pub(crate) unusable: BTreeSet<&'static str>,
    /// The configuration file that was read.
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) notes: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Variables of our prefix that steer the test suite; the binaries it starts inherit them.
const FOREIGN_VARIABLES: [&str; 4] = ["BURSAR_BIN", "BURSAR_CASES", "BURSAR_KILLS", "BURSAR_SEED"];

/// Gathers every key.
pub(crate) fn gather(args: &LoadArgs, env: &dyn Env, problems: &mut Problems) -> Gathered {
    let mut gathered = Gathered::default();
    unknown_variables(env, problems, &mut gathered.warnings);
    let mut layer = BTreeMap::new();
    if let Some((path, subject)) = config_path(args, env) {
        read_layer(
            &path,
            &subject,
            problems,
            &mut layer,
            &mut gathered.warnings,
        );
        gathered.config_file = Some(path);
    }
    gather_keys(args, env, &mut layer, problems, &mut gathered);
    if let Some(raw) = gathered.values.get("secrets_file") {
        let Value::Text(name) = &raw.value else {
            return gathered;
        };
        let path = raw.folder.join(name);
        let subject = raw.origin.subject("BURSAR_SECRETS_FILE");
        let mut secrets = BTreeMap::new();
        read_layer(
            &path,
            &subject,
            problems,
            &mut secrets,
            &mut gathered.warnings,
        );
        merge_secrets(secrets, &layer, problems, &mut gathered);
    }
    for key in keys::KEYS {
        if let (Some(text), false) = (key.default, gathered.values.contains_key(key.path)) {
            let value = file::typed_text(text, key.kind).expect("defaults are checked by a test");
            let raw = Raw {
                value,
                origin: Origin::Default,
                folder: PathBuf::new(),
            };
            gathered.values.insert(key.path, raw);
        }
    }
    gathered
}

fn config_path(args: &LoadArgs, env: &dyn Env) -> Option<(PathBuf, String)> {
    if let Some(path) = &args.config_path {
        return Some((path.clone(), "--config (command line)".to_owned()));
    }
    let path = env
        .get(keys::CONFIG_FILE_VARIABLE)
        .filter(|value| !value.is_empty())?;
    Some((
        path.into(),
        format!("{} (environment)", keys::CONFIG_FILE_VARIABLE),
    ))
}

fn gather_keys(
    args: &LoadArgs,
    env: &dyn Env,
    layer: &mut BTreeMap<&'static str, Raw>,
    problems: &mut Problems,
    gathered: &mut Gathered,
) {
    for key in keys::KEYS {
        let told = problems.0.len();
        let flag = args.overrides.iter().find(|flag| flag.path == key.path);
        let found = match flag {
            Some(flag) => {
                let origin = Origin::Flag(flag.flag);
                typed_or_problem(key, &flag.value, origin, problems)
            }
            None => from_environment(key, env, problems, gathered),
        };
        if let Some(raw) = found {
            gathered.values.insert(key.path, raw);
        } else if let Some(raw) = layer.get(key.path) {
            gathered.values.insert(key.path, raw.clone());
        } else if problems.0.len() > told {
            gathered.unusable.insert(key.path);
        }
    }
    if !gathered.values.contains_key("listen")
        && let Some(port) = variable("PORT", env, problems)
    {
        let raw = Raw {
            value: Value::Text(format!("0.0.0.0:{}", port.trim())),
            origin: Origin::Environment("PORT".to_owned()),
            folder: PathBuf::new(),
        };
        gathered.values.insert("listen", raw);
    }
    if let Some(url) = variable("DATABASE_URL", env, problems) {
        if gathered.values.contains_key("store") {
            gathered
                .notes
                .push("DATABASE_URL is set and not used: BURSAR_STORE is set".to_owned());
        } else {
            gathered
                .notes
                .push("DATABASE_URL is used for BURSAR_STORE".to_owned());
            let origin = Origin::Environment("DATABASE_URL".to_owned());
            let raw = Raw {
                value: Value::Text(url),
                origin,
                folder: PathBuf::new(),
            };
            gathered.values.insert("store", raw);
        }
    }
}

/// A variable's text; empty or only white space counts as unset, as in compose files.
pub(crate) fn variable(name: &str, env: &dyn Env, problems: &mut Problems) -> Option<String> {
    match env.get(name)?.into_string() {
        Ok(text) if text.trim().is_empty() => None,
        Ok(text) => Some(text),
        Err(_) => {
            problems.add(format!("{name} (environment)"), "is not UTF-8 text");
            None
        }
    }
}

fn from_environment(
    key: &'static Key,
    env: &dyn Env,
    problems: &mut Problems,
    gathered: &mut Gathered,
) -> Option<Raw> {
    let own = one_name(key, key.variable, env, problems, gathered);
    let Some(alias) = key.alias else { return own };
    let other = one_name(key, alias, env, problems, gathered);
    match (own, other) {
        (Some(own), Some(other)) => {
            if own.value != other.value {
                problems.add(
                    format!("{alias} (environment)"),
                    format!(
                        "is another name of {}, and both are set to different values",
                        key.variable
                    ),
                );
            }
            Some(own)
        }
        (None, Some(other)) => {
            gathered
                .notes
                .push(format!("{alias} is used for {}", key.variable));
            Some(other)
        }
        (own, None) => own,
    }
}

/// Reads `NAME`, or for a secret the file that `NAME_FILE` names.
fn one_name(
    key: &'static Key,
    name: &str,
    env: &dyn Env,
    problems: &mut Problems,
    gathered: &mut Gathered,
) -> Option<Raw> {
    let direct = variable(name, env, problems);
    let file_variable = format!("{name}_FILE");
    let path = if key.secret {
        variable(&file_variable, env, problems)
    } else {
        None
    };
    match (direct, path) {
        (Some(_), Some(_)) => {
            problems.add(
                format!("{file_variable} (environment)"),
                format!("{name} is set too; give one of them"),
            );
            None
        }
        (Some(text), None) => {
            typed_or_problem(key, &text, Origin::Environment(name.to_owned()), problems)
        }
        (None, Some(path)) => {
            let origin = Origin::Environment(file_variable);
            secret_file(
                key,
                Path::new(&path),
                origin,
                problems,
                &mut gathered.warnings,
            )
        }
        (None, None) => None,
    }
}

fn typed_or_problem(
    key: &'static Key,
    text: &str,
    origin: Origin,
    problems: &mut Problems,
) -> Option<Raw> {
    match file::typed_text(text, key.kind) {
        Ok(value) => Some(Raw {
            value,
            origin,
            folder: PathBuf::new(),
        }),
        Err(error) => {
            problems.add(origin.subject(key.variable), error);
            None
        }
    }
}

/// Reads a secret from a file of its own; one trailing newline is cut.
fn secret_file(
    key: &'static Key,
    path: &Path,
    origin: Origin,
    problems: &mut Problems,
    warnings: &mut Vec<String>,
) -> Option<Raw> {
    let subject = origin.subject(key.variable);
    let text = match file::read(path) {
        Ok(text) => text,
        Err(error) => {
            problems.add(subject, format!("{} {error}", path.display()));
            return None;
        }
    };
    if text.world_readable {
        warnings.push(format!(
            "{subject}: {} holds a secret and everybody on this machine can read it; chmod 600",
            path.display()
        ));
    }
    let value = text.text.strip_suffix('\n').unwrap_or(&text.text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.trim().is_empty() {
        problems.add(subject, format!("{} is empty", path.display()));
        return None;
    }
    typed_or_problem(key, value, origin, problems)
}

/// Reads one TOML file into a layer.
fn read_layer(
    path: &Path,
    subject: &str,
    problems: &mut Problems,
    layer: &mut BTreeMap<&'static str, Raw>,
    warnings: &mut Vec<String>,
) {
    let text = match file::read(path) {
        Ok(text) => text,
        Err(error) => return problems.add(subject, format!("{} {error}", path.display())),
    };
    let table = match file::parse(&text.text) {
        Ok(table) => table,
        Err(errors) => {
            for (line, error) in errors {
                problems.add(format!("{}:{line}", path.display()), error);
            }
            return;
        }
    };
    let mut reader = LayerReader {
        path,
        text: &text.text,
        problems,
        warnings,
        layer,
    };
    reader.table("", &table);
    let holds_secret = layer.values().any(|raw| match &raw.origin {
        Origin::File { key, .. } => keys::by_path(key).is_some_and(|key| key.secret),
        _ => false,
    });
    if text.world_readable && holds_secret {
        warnings.push(format!(
            "{} holds secrets and everybody on this machine can read it; chmod 600",
            path.display()
        ));
    }
}

struct LayerReader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: &'a mut Problems,
    warnings: &'a mut Vec<String>,
    layer: &'a mut BTreeMap<&'static str, Raw>,
}

impl LayerReader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = format!("{prefix}{}", name.get_ref());
            let line = file::line_of(self.text, name.span().start);
            if let Some(key) = keys::by_path(&path) {
                self.value(key, path, line, value.get_ref());
            } else if let Some(key) = path.strip_suffix("_file").and_then(keys::by_path)
                && key.secret
            {
                self.file_value(key, path, line, value.get_ref());
            } else if let DeValue::Table(inner) = value.get_ref()
                && keys::KEYS
                    .iter()
                    .any(|key| key.path.starts_with(&format!("{path}.")))
            {
                self.table(&format!("{path}."), inner);
            } else {
                self.unknown(&path, line);
            }
        }
    }

    fn origin(&self, key: String, line: usize) -> Origin {
        Origin::File {
            path: self.path.to_owned(),
            key,
            line,
        }
    }

    fn folder(&self) -> PathBuf {
        self.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    fn value(&mut self, key: &'static Key, path: String, line: usize, value: &DeValue<'_>) {
        let origin = self.origin(path, line);
        match file::typed(value, key.kind) {
            Ok(Value::Text(text)) if text.trim().is_empty() => {}
            Ok(value) => self.insert(
                key,
                Raw {
                    value,
                    origin,
                    folder: self.folder(),
                },
            ),
            Err(error) => self.problems.add(origin.subject(key.variable), error),
        }
    }

    fn file_value(&mut self, key: &'static Key, path: String, line: usize, value: &DeValue<'_>) {
        let origin = self.origin(path, line);
        match file::typed(value, Kind::Text) {
            Ok(Value::Text(name)) => {
                let file = self.folder().join(name);
                let raw = secret_file(key, &file, origin, self.problems, self.warnings);
                if let Some(raw) = raw {
                    self.insert(key, raw);
                }
            }
            Ok(_) => {}
            Err(error) => self.problems.add(origin.subject(key.variable), error),
        }
    }

    fn insert(&mut self, key: &'static Key, raw: Raw) {
        if self.layer.contains_key(key.path) {
            let subject = raw.origin.subject(key.variable);
            let text = format!("{0} and {0}_file are both set; give one of them", key.path);
            self.problems.add(subject, text);
        }
        self.layer.insert(key.path, raw);
    }

    fn unknown(&mut self, path: &str, line: usize) {
        let subject = format!("{path} ({}:{line})", self.path.display());
        let known = keys::file_paths();
        let by_variable = keys::KEYS
            .iter()
            .find(|key| key.variable.eq_ignore_ascii_case(path));
        let text = match (
            by_variable,
            keys::nearest(path, known.iter().map(String::as_str)),
        ) {
            (Some(key), _) => format!("unknown. In the file this is called {}", key.path),
            (None, Some(near)) => format!("unknown. Did you mean {near}?"),
            (None, None) => "unknown; every key is described in default.toml".to_owned(),
        };
        self.problems.add(subject, text);
    }
}

fn merge_secrets(
    secrets: BTreeMap<&'static str, Raw>,
    layer: &BTreeMap<&'static str, Raw>,
    problems: &mut Problems,
    gathered: &mut Gathered,
) {
    for (path, raw) in secrets {
        let key = keys::by_path(path).expect("a layer holds known keys only");
        if !key.secret {
            let text = "is no secret; it belongs into the configuration file";
            problems.add(raw.origin.subject(key.variable), text);
        } else if layer.contains_key(path) {
            let text = "is also set in the configuration file; give one of them";
            problems.add(raw.origin.subject(key.variable), text);
        } else {
            gathered.values.entry(path).or_insert(raw);
        }
    }
}

fn unknown_variables(env: &dyn Env, problems: &mut Problems, warnings: &mut Vec<String>) {
    let known = keys::variable_names();
    let mut names = env.names();
    names.sort_unstable();
    for name in names.iter().filter(|name| !known.contains(name)) {
        let near = keys::nearest(name, known.iter().map(String::as_str));
        if name.starts_with("BURSAR_") {
            let is_step = cfg!(feature = "crashpoints") && name == "BURSAR_CRASH_AT";
            if FOREIGN_VARIABLES.contains(&name.as_str()) || is_step || is_service_link(name, env) {
                continue;
            }
            let text = near.map_or_else(
                || "unknown; `bursar check-config` lists the known ones".to_owned(),
                |near| format!("unknown. Did you mean {near}?"),
            );
            problems.add(format!("{name} (environment)"), text);
        } else if let Some(near) = near.filter(|near| looks_like_a_slip(name, near)) {
            warnings.push(format!(
                "{name} (environment) is not used. Did you mean {near}?"
            ));
        }
    }
}

/// Names without our prefix may be anybody's: only a slip of one or two letters is worth a word.
fn looks_like_a_slip(name: &str, near: &str) -> bool {
    name.len() >= 10 && !near.starts_with("BURSAR_") && strsim::damerau_levenshtein(name, near) <= 2
}

/// Kubernetes sets `BURSAR_PORT=tcp://…`, `BURSAR_SERVICE_HOST` and more in every pod once a service
/// is called `bursar` or `bursar-…`; refusing them would keep a correct set-up from starting.
fn is_service_link(name: &str, env: &dyn Env) -> bool {
    let is_url = env
        .get(name)
        .and_then(|value| value.into_string().ok())
        .is_some_and(|value| {
            ["tcp://", "udp://", "sctp://"]
                .iter()
                .any(|scheme| value.starts_with(scheme))
        });
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT") && is_url)
        || ["_PROTO", "_PORT", "_ADDR"].iter().any(|end| {
            name.strip_suffix(end).is_some_and(|rest| {
                ["_TCP", "_UDP", "_SCTP"]
                    .iter()
                    .any(|protocol| rest.ends_with(protocol))
                    && rest.contains("_PORT_")
            })
        })
}
