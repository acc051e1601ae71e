//! The configuration of `demo` and of tests: nothing read from outside, every secret made for the run.
//!
//! Invariants: a test key, loopback addresses, secrets that never repeat between runs.
//! Not here: what the demo plays.
//! Failure: no randomness, or a live key where none may be.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::ExposeSecret;

use crate::config::{Addresses, Config};
use crate::env::{Env, MapEnv};
use crate::file;
use crate::load::{LoadArgs, load};
use crate::plans;
use crate::problem::Problems;
use crate::secret;

/// What a demo decides itself.
#[derive(Debug, Clone)]
pub struct DemoArgs {
    /// Where Bursar listens; port 0 for any.
    pub listen: SocketAddr,
    /// Where metrics are served; port 0 for any.
    pub metrics_listen: SocketAddr,
    /// The data folder.
    pub data_dir: PathBuf,
    /// The sandbox's address, such as `http://127.0.0.1:12111`.
    pub stripe_api_base: String,
    /// The mail server that catches, such as `127.0.0.1:12125`; `None`: mail goes to files.
    pub mail_server: Option<SocketAddr>,
    /// The plan catalogue, as the text of a plans file; `None` for the built-in example.
    pub plans_toml: Option<String>,
}

/// The shipped example catalogue.
pub const EXAMPLE_PLANS: &str = include_str!("../plans.toml");

impl Config {
    /// A full configuration with generated secrets, for one run on this machine. The sandbox is given
    /// the same webhook secret: `config.stripe.webhook_secrets.0[0]`.
    ///
    /// # Errors
    /// Problems with the given values, or a system without random numbers.
    pub fn for_demo(args: &DemoArgs) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut generated = |prefix: &str| match secret::generate(prefix) {
            Ok(secret) => secret.expose_secret().to_owned(),
            Err(error) => {
                problems.add("random numbers", error.to_string());
                String::new()
            }
        };
        let mut env = MapEnv::of([
            ("BURSAR_LISTEN", args.listen.to_string()),
            ("BURSAR_METRICS_LISTEN", args.metrics_listen.to_string()),
            ("BURSAR_STORE", format!("sled:{}", args.data_dir.display())),
            ("BURSAR_ADMIN_KEY", generated("")),
            ("BURSAR_JWT_SECRET", generated("")),
            ("APP_BASE_URL", "http://127.0.0.1".to_owned()),
            ("STRIPE_API_KEY", generated("sk_test_")),
            ("STRIPE_WEBHOOK_SECRET", generated("whsec_")),
            ("STRIPE_API_BASE", args.stripe_api_base.clone()),
            ("BURSAR_OUTBOUND_ALLOW_PRIVATE", "true".to_owned()),
            // Its clock jumps by months, and a tool's Stripe is nowhere: it compares when told to.
            ("RECONCILE_INTERVAL", "0".to_owned()),
        ]);
        if let Some(server) = args.mail_server {
            env = env
                .with("MAIL_TRANSPORT", "smtp")
                .with("SMTP_URL", &format!("smtp://{server}"))
                .with("MAIL_FROM", "Bursar demo <billing@bursar.test>")
                .with("SUPPORT_EMAIL", "help@bursar.test")
                .with("ADMIN_EMAILS", "operator@bursar.test");
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut config = load(&LoadArgs::default(), &env)?.config;
        // With port 0 the caller replaces this once the port is known.
        config.addresses = Addresses::on_this_machine(args.listen);
        let text = args.plans_toml.as_deref().unwrap_or(EXAMPLE_PLANS);
        config.plans = plans::parse(
            text,
            std::path::Path::new("plans.toml"),
            &env,
            &mut problems,
        );
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }
}

/// Refuses to play with a live key at hand: `demo` and `sandbox` use none, and whoever starts them with one
/// has mixed up two shells.
///
/// # Errors
/// One problem, when `STRIPE_API_KEY` (or the file it names) holds a live key.
pub fn refuse_live_key(env: &dyn Env) -> Result<(), Problems> {
    let text = |name: &str| env.get(name).and_then(|value| value.into_string().ok());
    let key = text("STRIPE_API_KEY").or_else(|| {
        let path = text("STRIPE_API_KEY_FILE")?;
        file::read(path.as_ref()).ok().map(|text| text.text)
    });
    let mut problems = Problems::default();
    if key.is_some_and(|key| key.starts_with("sk_live_") || key.starts_with("rk_live_")) {
        let text = "a live key is set here; the sandbox never uses one. Unset it first";
        problems.add("STRIPE_API_KEY (environment)", text);
        return Err(problems);
    }
    Ok(())
}
