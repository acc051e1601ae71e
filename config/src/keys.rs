//! Every key of the configuration, in one table.
//!
//! Invariants: a key has one place in the file (`path`), one variable and at most one default; the
//! variable is `BURSAR_` + the path with `_`, except where a customary name exists. `default.toml`
//! documents each row, and a test holds the two together.
//! Not here: what a value may be (`validate`), where it is read from (`gather`).
//! Failure: none; the table is constant.

/// The type a value has in the file. In the environment everything is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Switch,
    /// A list of strings; comma separated in the environment.
    List,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Place in the file, such as `stripe.api_key`.
    pub path: &'static str,
    /// Name in the environment.
    pub variable: &'static str,
    /// Type in the file.
    pub kind: Kind,
    /// Value when nothing else is given, written as in the environment.
    pub default: Option<&'static str>,
    /// Whether the value is never shown and may come from a file (`X_FILE`, `x_file`).
    pub secret: bool,
    /// Whether `serve` refuses to start without it.
    pub required: bool,
    /// Another name in the environment, said aloud when used.
    pub alias: Option<&'static str>,
    /// Whether the value names a path, relative to the file it stands in.
    pub names_a_path: bool,
    /// Whether this release does something with it; a key that waits is checked and reported.
    pub acts: bool,
}

const fn text(path: &'static str, variable: &'static str) -> Key {
    Key {
        path,
        variable,
        kind: Kind::Text,
        default: None,
        secret: false,
        required: false,
        alias: None,
        names_a_path: false,
        acts: true,
    }
}

const fn integer(path: &'static str, variable: &'static str, default: &'static str) -> Key {
    Key {
        kind: Kind::Integer,
        default: Some(default),
        ..text(path, variable)
    }
}

const fn switch(path: &'static str, variable: &'static str, default: &'static str) -> Key {
    Key {
        kind: Kind::Switch,
        default: Some(default),
        ..text(path, variable)
    }
}

const fn list(path: &'static str, variable: &'static str) -> Key {
    Key {
        kind: Kind::List,
        ..text(path, variable)
    }
}

const fn secret(path: &'static str, variable: &'static str) -> Key {
    Key {
        secret: true,
        ..text(path, variable)
    }
}

impl Key {
    const fn or(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self {
            alias: Some(alias),
            ..self
        }
    }

    const fn secret_list(self) -> Self {
        Self {
            secret: true,
            ..self
        }
    }

    const fn path(self) -> Self {
        Self {
            names_a_path: true,
            ..self
        }
    }

    const fn waits(self) -> Self {
        Self {
            acts: false,
            ..self
        }
    }
}

/// The four keys whose values make up the set of webhook secrets.
pub(crate) const WEBHOOK_SECRET_PATHS: [&str; 4] = [
    "stripe.webhook_secrets",
    "stripe.platform_webhook_secrets",
    "stripe.connect_webhook_secrets",
    "stripe.endpoint_secret_key",
];

/// The table. Its order is the order of reports and of `default.toml`.
pub const KEYS: &[Key] = &[
    // Addresses.
    text("listen", "BURSAR_LISTEN").or("127.0.0.1:8087"),
    text("metrics_listen", "BURSAR_METRICS_LISTEN").or("127.0.0.1:9187"),
    secret("metrics_token", "BURSAR_METRICS_TOKEN"),
    list("trust_proxy", "BURSAR_TRUST_PROXY"),
    text("app_base_url", "APP_BASE_URL").required(),
    text("client_base_url", "CLIENT_BASE_URL").alias("WASP_WEB_CLIENT_URL"),
    list("allowed_return_origins", "ALLOWED_RETURN_ORIGINS"),
    // Store and files.
    text("store", "BURSAR_STORE").or("sled:./data").path(),
    text("plans_file", "BURSAR_PLANS_FILE").path(),
    text("secrets_file", "BURSAR_SECRETS_FILE").path(),
    // Who may call.
    secret("admin_key", "BURSAR_ADMIN_KEY").required(),
    list("admin_allow", "BURSAR_ADMIN_ALLOW").or("loopback,private"),
    secret("jwt_secret", "BURSAR_JWT_SECRET")
        .required()
        .alias("JWT_SECRET"),
    secret("jwt_secret_previous", "BURSAR_JWT_SECRET_PREVIOUS"),
    text("signup", "BURSAR_SIGNUP").or("open"),
    // How events are read.
    list("tenant_metadata_keys", "TENANT_METADATA_KEYS").or("tenant_id,workspace_id"),
    text("payment_link_checkouts", "PAYMENT_LINK_CHECKOUTS").or("create"),
    text("connect_onboarding", "CONNECT_ONBOARDING")
        .or("operator")
        .waits(),
    // Running.
    text("log", "BURSAR_LOG").or("info"),
    text("log_format", "BURSAR_LOG_FORMAT").or("auto"),
    integer("drain_seconds", "BURSAR_DRAIN_SECONDS", "25"),
    text("reconcile_interval", "RECONCILE_INTERVAL").or("15m"),
    text("webhook_silence_alert", "WEBHOOK_SILENCE_ALERT").or("24h"),
    // Stripe.
    secret("stripe.api_key", "STRIPE_API_KEY").required(),
    list(WEBHOOK_SECRET_PATHS[0], "STRIPE_WEBHOOK_SECRET").secret_list(),
    list(WEBHOOK_SECRET_PATHS[1], "STRIPE_PLATFORM_WEBHOOK_SECRET").secret_list(),
    list(WEBHOOK_SECRET_PATHS[2], "STRIPE_CONNECT_WEBHOOK_SECRET").secret_list(),
    list(WEBHOOK_SECRET_PATHS[3], "STRIPE_ENDPOINT_SECRET_KEY").secret_list(),
    text("stripe.api_base", "STRIPE_API_BASE").or("https://api.stripe.com"),
    text("stripe.api_version", "STRIPE_API_VERSION").or("2025-04-30.basil"),
    text("stripe.customer_portal_url", "STRIPE_CUSTOMER_PORTAL_URL"),
    // Checkout.
    switch("checkout.automatic_tax", "CHECKOUT_AUTOMATIC_TAX", "true"),
    switch(
        "checkout.promotion_codes",
        "CHECKOUT_PROMOTION_CODES",
        "true",
    ),
    switch("checkout.address_update", "CHECKOUT_ADDRESS_UPDATE", "true"),
    switch(
        "checkout.tax_id_collection",
        "CHECKOUT_TAX_ID_COLLECTION",
        "false",
    ),
    // Limits of the HTTP server.
    integer("limits.connections", "BURSAR_LIMITS_CONNECTIONS", "1024"),
    integer(
        "limits.connections_per_address",
        "BURSAR_LIMITS_CONNECTIONS_PER_ADDRESS",
        "64",
    ),
    integer(
        "limits.command_body_bytes",
        "BURSAR_LIMITS_COMMAND_BODY_BYTES",
        "65536",
    ),
    integer(
        "limits.body_memory_bytes",
        "BURSAR_LIMITS_BODY_MEMORY_BYTES",
        "67108864",
    ),
    text("limits.header_timeout", "BURSAR_LIMITS_HEADER_TIMEOUT").or("5s"),
    text("limits.body_timeout", "BURSAR_LIMITS_BODY_TIMEOUT").or("10s"),
    text("limits.idle_timeout", "BURSAR_LIMITS_IDLE_TIMEOUT").or("15s"),
    // How long things are kept.
    integer("retention_days.events", "BURSAR_RETENTION_DAYS_EVENTS", "0"),
    integer(
        "retention_days.outbox",
        "BURSAR_RETENTION_DAYS_OUTBOX",
        "30",
    )
    .waits(),
    integer(
        "retention_days.audit",
        "BURSAR_RETENTION_DAYS_AUDIT",
        "2555",
    )
    .waits(),
    // Mail.
    text("mail.transport", "MAIL_TRANSPORT").or("file"),
    text("mail.from", "MAIL_FROM"),
    list("mail.admin_emails", "ADMIN_EMAILS"),
    secret("mail.smtp_url", "SMTP_URL"),
    secret("mail.mailgun_api_key", "MAILGUN_API_KEY"),
    text("mail.mailgun_domain", "MAILGUN_DOMAIN"),
    text("mail.mailgun_base_url", "MAILGUN_BASE_URL").or("https://api.mailgun.net"),
    text("mail.receipts", "MAIL_RECEIPTS").or("all"),
    text("mail.templates_dir", "BURSAR_TEMPLATES_DIR").path(),
    text("mail.brand_name", "BRAND_NAME"),
    text("mail.support_email", "SUPPORT_EMAIL"),
    // Accounts of those who paid.
    text("identity.provider", "BURSAR_IDENTITY_PROVIDER"),
    text("identity.cognito_user_pool_id", "COGNITO_USER_POOL_ID"),
    text("identity.cognito_endpoint", "COGNITO_ENDPOINT"),
    text(
        "identity.cognito_tenant_attribute",
        "COGNITO_TENANT_ATTRIBUTE",
    ),
    text("identity.aws_region", "AWS_REGION"),
    text("identity.aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    secret("identity.aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    secret("identity.aws_session_token", "AWS_SESSION_TOKEN"),
    // What the product's own application is told.
    text("outbound.url", "OUTBOUND_WEBHOOK_URL"),
    secret("outbound.secret", "OUTBOUND_WEBHOOK_SECRET"),
    switch(
        "outbound.allow_private",
        "BURSAR_OUTBOUND_ALLOW_PRIVATE",
        "false",
    ),
];

/// The variable that names the configuration file when `--config` does not.
pub(crate) const CONFIG_FILE_VARIABLE: &str = "BURSAR_CONFIG";

/// The row at a path of the file.
pub(crate) fn by_path(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Every name the environment may use: variables, aliases, and `_FILE` of each secret.
pub(crate) fn variable_names() -> Vec<String> {
    let mut names = vec![CONFIG_FILE_VARIABLE.to_owned()];
    for key in KEYS {
        for name in std::iter::once(key.variable).chain(key.alias) {
            names.push(name.to_owned());
            if key.secret {
                names.push(format!("{name}_FILE"));
            }
        }
    }
    names
}

/// Every path the file may use, `_file` of each secret included.
pub(crate) fn file_paths() -> Vec<String> {
    let mut paths = Vec::new();
    for key in KEYS {
        paths.push(key.path.to_owned());
        if key.secret {
            paths.push(format!("{}_file", key.path));
        }
    }
    paths
}

/// The nearest of `names` to `given`, when it is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    given: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // A third of the name may be wrong, our prefix not counted: `BURSAR_LISTN` is meant, `BURSAR_FOO`
    // is not.
    let own = given.strip_prefix("BURSAR_").unwrap_or(given);
    let distance_max = (own.chars().count() / 3).clamp(1, 6);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, name)| name)
}
