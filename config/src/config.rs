//! The validated configuration: what the rest of the product is given.
//!
//! Invariants: a `Config` exists only when nothing was wrong; every secret is a `SecretString`, so
//! `Debug` prints none. Plain data.
//! Not here: reading and checking (`load`, `validate`).
//! Failure: none.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bursar_domain::plans::Catalogue;
use bursar_domain::settings::{PaymentLinkCheckouts, Receipts, Settings};
use secrecy::SecretString;

use crate::values::{BaseUrl, Cidr};

/// Everything `serve` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Public HTTP; port 0 means any.
    pub listen: SocketAddr,
    /// Prometheus only.
    pub metrics_listen: SocketAddr,
    /// Bearer token `/metrics` asks for, if any.
    pub metrics_token: Option<SecretString>,
    /// Proxies whose forwarding headers are believed.
    pub trust_proxy: Vec<Cidr>,
    /// The public addresses.
    pub addresses: Addresses,
    /// Where state is kept.
    pub store: StoreLocation,
    /// Who may call.
    pub access: Access,
    /// How events are read.
    pub events: EventRules,
    /// Stripe's side.
    pub stripe: Stripe,
    /// What checkout sessions ask Stripe for.
    pub checkout: Checkout,
    /// Mail.
    pub mail: Mail,
    /// Who keeps the accounts of those who paid.
    pub identity: IdentityProvider,
    /// Where the product's own application is told of changes.
    pub outbound: Outbound,
    /// Logs.
    pub log: Log,
    /// Time from the signal to stop until the process ends.
    pub drain: Duration,
    /// How long things are kept.
    pub retention: Retention,
    /// Pause between two comparisons with Stripe; `None`: only when asked.
    pub reconcile_interval: Option<Duration>,
    /// Silence of Stripe after which an alert is due.
    pub webhook_silence_alert: Duration,
    /// Limits of the HTTP server.
    pub limits: Limits,
    /// The plan catalogue.
    pub plans: Catalogue,
    /// A tool that opened the store: what goes out to people and programs is left to the service.
    pub is_tool: bool,
}

impl Config {
    /// What the reducers may know of this configuration; `platform_account` is Stripe's id of the
    /// account the key belongs to, empty while it is not known.
    pub fn reducer_settings(&self, platform_account: &str) -> Settings {
        Settings {
            catalogue: self.plans.clone(),
            tenant_metadata_keys: self.events.tenant_metadata_keys.clone(),
            payment_link_checkouts: self.events.payment_link_checkouts,
            receipts: self.mail.receipts,
            livemode: self.stripe.mode.is_live(),
            platform_account: platform_account.to_owned(),
        }
    }
}

/// What a command that works on a store, or asks a running server, needs; no secret is required.
#[derive(Debug, Clone)]
pub struct ToolConfig {
    /// Where state is kept.
    pub store: StoreLocation,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Logs.
    pub log: Log,
    /// The operator's key, if it is known here.
    pub admin_key: Option<SecretString>,
    /// The webhook secrets, if they are known here; the first signs `trigger`'s events.
    pub webhook_secrets: WebhookSecrets,
    /// The plan catalogue.
    pub plans: Catalogue,
    /// How events are read.
    pub events: EventRules,
    /// Which receipts go to the owner; part of what a reducer decides by.
    pub receipts: Receipts,
    /// The mode of the Stripe key, if one is given.
    pub mode: Option<Mode>,
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// The embedded store, in this folder.
    Sled(PathBuf),
}

impl StoreLocation {
    /// The data folder: store, journal, mails, socket.
    pub fn data_dir(&self) -> &std::path::Path {
        let Self::Sled(path) = self;
        path
    }
}

/// The public addresses.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Bursar's own, for links in mail.
    pub app: BaseUrl,
    /// The product's front end.
    pub client: BaseUrl,
    /// Origins that success, cancel and return URLs may have; the front end's is among them.
    pub return_origins: Vec<String>,
}

impl Addresses {
    /// The addresses of a server that is only reached on this machine, once its real port is known.
    pub fn on_this_machine(bound: SocketAddr) -> Self {
        let app = BaseUrl::of_socket(bound);
        Self {
            return_origins: vec![app.origin()],
            client: app.clone(),
            app,
        }
    }
}

/// Who may call.
#[derive(Debug, Clone)]
pub struct Access {
    /// The operator's bearer key.
    pub admin_key: SecretString,
    /// From where it is accepted.
    pub admin_allow: Vec<Cidr>,
    /// Signs access tokens.
    pub jwt_secret: SecretString,
    /// The one before, while what it signed is still taken.
    pub jwt_secret_previous: Option<SecretString>,
    /// Who may create a tenant.
    pub signup: Signup,
}

/// Who may create a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signup {
    /// Anybody.
    Open,
    /// Only who was invited.
    Invite,
    /// Nobody.
    Off,
}

/// How events are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRules {
    /// Metadata keys that name a tenant, in order.
    pub tenant_metadata_keys: Vec<String>,
    /// What a checkout through a Payment Link does.
    pub payment_link_checkouts: PaymentLinkCheckouts,
    /// Who may open Connect accounts.
    pub connect_onboarding: ConnectOnboarding,
}

/// Who may open Connect accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectOnboarding {
    /// Operators alone.
    Operator,
    /// A tenant for itself, too.
    Tenant,
}

/// Stripe's side.
#[derive(Debug, Clone)]
pub struct Stripe {
    /// Secret or restricted key.
    pub api_key: SecretString,
    /// Test or live, by the key.
    pub mode: Mode,
    /// Secrets any of which may have signed a webhook.
    pub webhook_secrets: WebhookSecrets,
    /// Where Stripe's API is.
    pub api_base: BaseUrl,
    /// The `Stripe-Version` of our calls.
    pub api_version: String,
    /// The static customer portal.
    pub customer_portal_url: Option<BaseUrl>,
}

/// Test or live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No money moves.
    Test,
    /// Money moves.
    Live,
}

impl Mode {
    /// As Stripe's `livemode`.
    pub fn is_live(self) -> bool {
        self == Self::Live
    }
}

/// The set of webhook secrets, in the order they are tried; no two are equal, at most
/// [`WEBHOOK_SECRETS_MAX`].
#[derive(Debug, Clone, Default)]
pub struct WebhookSecrets(pub Vec<SecretString>);

/// A rotation needs two per endpoint; eight is four endpoints. Bounds the work a forged header causes.
pub const WEBHOOK_SECRETS_MAX: usize = 8;

/// What checkout sessions ask Stripe for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkout {
    /// Stripe computes tax.
    pub automatic_tax: bool,
    /// The customer may enter promotion codes.
    pub promotion_codes: bool,
    /// The address given at checkout is saved on the customer.
    pub address_update: bool,
    /// The customer may enter a tax id.
    pub tax_id_collection: bool,
}

/// Mail.
#[derive(Debug, Clone)]
pub struct Mail {
    /// How it leaves.
    pub transport: MailTransport,
    /// The sender.
    pub from: Option<String>,
    /// Who is told of dead letters, open circuits and disputes.
    pub admin_emails: Vec<String>,
    /// Which receipts go to the owner.
    pub receipts: Receipts,
    /// Folder with the operator's own mail texts.
    pub templates_dir: Option<PathBuf>,
    /// Name shown in mails.
    pub brand_name: Option<String>,
    /// Where customers may write.
    pub support_email: Option<String>,
}

/// How mail leaves.
#[derive(Debug, Clone)]
pub enum MailTransport {
    /// Through a server; the URL holds its credentials.
    Smtp(SecretString),
    /// Through Mailgun's API.
    Mailgun {
        /// API key.
        api_key: SecretString,
        /// Sending domain.
        domain: String,
        /// API address; Europe has another.
        base: BaseUrl,
    },
    /// One `.eml` file per mail in the data folder.
    File,
    /// Only a line in the log.
    Log,
    /// Not by this process: a command that opened the store leaves mail to the service.
    Hold,
}

/// Who makes an account for whoever paid at a checkout.
#[derive(Debug, Clone)]
pub enum IdentityProvider {
    /// We do: the payer is invited as the tenant's owner.
    BuiltIn,
    /// Amazon Cognito.
    Cognito(Cognito),
    /// Nobody.
    Off,
}

/// A user pool of Amazon Cognito, and what signs our requests to it.
#[derive(Debug, Clone)]
pub struct Cognito {
    /// The pool, `eu-central-1_AbCdEfGhI`.
    pub user_pool_id: String,
    /// The region the pool is in.
    pub region: String,
    /// Where its API is.
    pub endpoint: BaseUrl,
    /// The attribute of a user that names their tenant, such as `custom:tenant_id`; none is set without it.
    pub tenant_attribute: Option<String>,
    /// The key's public part.
    pub access_key_id: String,
    /// The key's secret part.
    pub secret_access_key: SecretString,
    /// For keys that were lent for a while.
    pub session_token: Option<SecretString>,
}

/// Where the product's own application is told of changes.
#[derive(Debug, Clone)]
pub struct Outbound {
    /// The endpoint, if there is one, and the secret that signs.
    pub endpoint: Option<(BaseUrl, SecretString)>,
    /// Whether endpoints may have private addresses.
    pub allow_private: bool,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Filter, such as `info` or `info,bursar_store=debug`.
    pub filter: String,
    /// Form of the lines.
    pub format: LogFormat,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// How long things are kept, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The journal's records, raw event bodies among them; `None`: for ever.
    pub events_days: Option<u32>,
    /// Settled effects.
    pub outbox_days: u32,
    /// Audit entries.
    pub audit_days: u32,
}

/// Limits of the HTTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: usize,
    /// Longest body of a command. A webhook's limit is fixed at 1 MiB.
    pub command_body_bytes: usize,
    /// Memory that all bodies being read may take together.
    pub body_memory_bytes: usize,
    /// Time to send a request's head.
    pub header_timeout: Duration,
    /// Time to send a request's body.
    pub body_timeout: Duration,
    /// Time a connection may wait between two requests.
    pub idle_timeout: Duration,
}

/// The longest webhook body: 1 MiB, fixed because Stripe's events must fit.
pub const WEBHOOK_BODY_BYTES_MAX: usize = 1024 * 1024;
