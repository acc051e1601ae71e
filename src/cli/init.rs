//! `bursar init [DIR]`: a start that works as soon as Stripe's two secrets are in it.
//!
//! Invariants: no file is ever overwritten: either all three are new or nothing is written. The file of
//! secrets is created with mode 600, never widened later.
//! Not here: checking the result (`check-config`).
//! Failure: code 73; files written before the failure are removed again.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;

use super::args::InitArgs;
use super::{CliError, Exit, GlobalArgs};

const CONFIG_FILE: &str = "bursar.toml";
const PLANS_FILE: &str = "plans.toml";
const SECRETS_FILE: &str = "secrets.toml";

/// Writes the three files.
pub(super) fn run(
    args: &InitArgs,
    global: &GlobalArgs,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let files = [
        (CONFIG_FILE, start_config(), 0o644),
        (PLANS_FILE, bursar_config::EXAMPLE_PLANS.to_owned(), 0o644),
        (SECRETS_FILE, start_secrets()?, 0o600),
    ];
    fs::create_dir_all(&args.dir).map_err(|error| cannot_create(&args.dir, &error))?;
    if let Some((name, ..)) = files.iter().find(|(name, ..)| exists(&args.dir.join(name))) {
        let path = args.dir.join(name);
        let message = format!("{} exists already; nothing was written", path.display());
        let check = format!(
            "bursar check-config --config {}",
            args.dir.join(CONFIG_FILE).display()
        );
        return Err(CliError::new(Exit::CannotCreate, message)
            .or_try(format!("{check}, or name another folder: bursar init DIR")));
    }
    let mut written: Vec<PathBuf> = Vec::new();
    for (name, text, mode) in &files {
        let path = args.dir.join(name);
        if let Err(error) = write_new(&path, text, *mode) {
            for path in written {
                // The error that matters is the one being reported.
                let _ = fs::remove_file(path);
            }
            return Err(cannot_create(&path, &error));
        }
        written.push(path);
    }
    if !global.quiet {
        tell(&args.dir, out)?;
    }
    out.flush()?;
    Ok(Exit::Success)
}

/// A dangling symbolic link exists, too.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn cannot_create(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(
        Exit::CannotCreate,
        format!("cannot create {}: {error}", path.display()),
    )
    .or_try("another folder: bursar init DIR")
}

fn write_new(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(path)?;
    let result = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if result.is_err() {
        // Half a file would be refused as existing by the next attempt.
        let _ = fs::remove_file(path);
    }
    result
}

fn tell(dir: &Path, out: &mut impl Write) -> std::io::Result<()> {
    let config = dir.join(CONFIG_FILE);
    writeln!(
        out,
        "wrote {}, {PLANS_FILE} and {SECRETS_FILE} (mode 600)",
        config.display()
    )?;
    writeln!(out, "next:")?;
    writeln!(
        out,
        "  1. put Stripe's secret key and webhook secret into {}",
        dir.join(SECRETS_FILE).display()
    )?;
    writeln!(
        out,
        "  2. put your prices into {}",
        dir.join(PLANS_FILE).display()
    )?;
    writeln!(
        out,
        "  3. bursar check-config --config {}",
        config.display()
    )
}

/// The shipped default with every line commented out but the few that a start needs.
fn start_config() -> String {
    let set = [
        ("app_base_url", "app_base_url = \"http://127.0.0.1:8087\""),
        // Beside this file, wherever the server is started from.
        ("store", "store = \"sled:./data\""),
        ("plans_file", "plans_file = \"plans.toml\""),
        ("secrets_file", "secrets_file = \"secrets.toml\""),
    ];
    let mut text = String::new();
    for line in bursar_config::DEFAULT_TOML.lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        let name = bare.split(" =").next().unwrap_or_default();
        let is_key = bare.starts_with(|c: char| c.is_ascii_lowercase()) && bare.contains(" = ");
        if let Some((_, line)) = set.iter().find(|(key, _)| is_key && *key == name) {
            text.push_str(line);
        } else if is_key && !line.starts_with('#') {
            text.push_str("# ");
            text.push_str(line);
        } else {
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

fn start_secrets() -> Result<String, CliError> {
    let generated = || {
        bursar_config::generate("")
            .map_err(|error| CliError::new(Exit::Internal, error.to_string()))
    };
    let (admin_key, jwt_secret) = (generated()?, generated()?);
    Ok(format!(
        "# Secrets of this installation. Keep the mode at 600 and keep the file out of version control.\n\
         # An environment variable of the same meaning beats what stands here.\n\
         \n\
         # The operator's bearer key (BURSAR_ADMIN_KEY), generated.\n\
         admin_key = \"{}\"\n\
         # Signs access tokens (BURSAR_JWT_SECRET), generated. A new one ends every session.\n\
         jwt_secret = \"{}\"\n\
         \n\
         [stripe]\n\
         # The secret or restricted key of the platform account: dashboard, Developers, API keys.\n\
         # api_key = \"sk_test_...\"\n\
         # The signing secret of the webhook endpoint, or what `stripe listen` prints. During a rotation\n\
         # list the old and the new one.\n\
         # webhook_secrets = [\"whsec_...\"]\n",
        admin_key.expose_secret(),
        jwt_secret.expose_secret(),
    ))
}
