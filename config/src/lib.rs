//! Bursar's configuration: one typed, validated value from flags, environment, files and defaults.
//!
//! Invariants: only this crate reads the environment. All problems are found in one go and say where
//! each value came from. Secrets are `SecretString` and appear nowhere but as a length and fingerprint.
//! Not here: starting anything, exit codes, printing.
//! Failure: [`Problems`], which the command line turns into exit code 78.
//! Source: contract §2; `default.toml` beside this crate is the reference of every key.

mod config;
mod demo;
mod env;
mod file;
mod gather;
mod keys;
mod load;
mod plans;
mod problem;
mod report;
mod secret;
mod tool;
mod validate;
mod values;

pub use config::{
    Access, Addresses, Checkout, Cognito, Config, ConnectOnboarding, EventRules, IdentityProvider,
    Limits, Log, LogFormat, Mail, MailTransport, Mode, Outbound, Retention, Signup, StoreLocation,
    Stripe, ToolConfig, WEBHOOK_BODY_BYTES_MAX, WEBHOOK_SECRETS_MAX, WebhookSecrets,
};
pub use demo::{DemoArgs, EXAMPLE_PLANS, refuse_live_key};
pub use env::{Env, MapEnv, ProcessEnv};
pub use file::FILE_BYTES_MAX;
pub use keys::{KEYS, Key, Kind};
pub use load::{LoadArgs, Loaded, Override, load, load_for_tool, reload_webhook_secrets};
pub use problem::{Origin, Problem, Problems};
pub use report::{Entry, Report};
pub use secret::{NoRandomness, describe, fingerprint, generate};
pub use values::{BaseUrl, Cidr};

/// The shipped default configuration, which is also the reference manual of every key.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");
