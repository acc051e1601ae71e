//! `bursar admin …`: tenants and keys from scripts.

use super::reach::{block_on, reach};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use serde_json::{Value, json};
use std::io::Write;

/// Arguments of `bursar admin`.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Example: bursar admin service-key create --name backend --scope tenants:read --scope billing"
)]
pub struct AdminArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: AdminCommand,
}

/// `bursar admin …`
#[derive(Debug, clap::Subcommand)]
pub enum AdminCommand {
    /// Tenants.
    #[command(
        subcommand,
        before_help = "Example: bursar admin tenant create acme --name \"Acme Inc\""
    )]
    Tenant(TenantCommand),
    /// Keys of the product's backend.
    #[command(subcommand, before_help = "Example: bursar admin service-key list")]
    ServiceKey(ServiceKeyCommand),
}

/// `bursar admin tenant …`
#[derive(Debug, clap::Subcommand)]
pub enum TenantCommand {
    /// Create a tenant; nothing happens if an equal one exists.
    #[command(
        before_help = "Example: bursar admin tenant create acme --name \"Acme Inc\" --email owner@acme.test"
    )]
    Create {
        /// Its id.
        tenant_id: String,
        /// Its name.
        #[arg(long)]
        name: Option<String>,
        /// Its owner's address.
        #[arg(long)]
        email: Option<String>,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show a tenant.
    #[command(before_help = "Example: bursar admin tenant show acme")]
    Show {
        /// Its id.
        tenant_id: String,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// `bursar admin service-key …`
#[derive(Debug, clap::Subcommand)]
pub enum ServiceKeyCommand {
    /// Create a key and print it, once.
    #[command(
        before_help = "Example: bursar admin service-key create --name backend --scope tenants:read"
    )]
    Create {
        /// What it is for.
        #[arg(long)]
        name: String,
        /// What it may do; several are given by repeating the flag.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// List keys, without their secrets.
    #[command(before_help = "Example: bursar admin service-key list")]
    List {
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// End a key at once.
    #[command(before_help = "Example: bursar admin service-key revoke 3f2a9c")]
    Revoke {
        /// Its id.
        id: String,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
}

enum Order {
    Get(String),
    Post(String, Value),
    Delete(String),
}

/// Runs the command: prints the answer as JSON; a new key's secret alone, so that it can be piped.
///
/// # Errors
/// The store cannot be reached, or the server refuses.
pub fn run(args: &AdminArgs, global: &GlobalArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let (order, config) = order(&args.what);
    block_on(async {
        let mut bursar = reach(config, global).await?;
        let answer = match order {
            Order::Get(path) => bursar.get(&path).await,
            Order::Post(path, body) => bursar.post(&path, &body).await,
            Order::Delete(path) => bursar.delete(&path).await,
        };
        bursar.close().await;
        let answer = answer?;
        match answer["key"].as_str() {
            Some(key) => writeln!(out, "{key}")?,
            None if answer.is_null() => {}
            None => writeln!(out, "{answer:#}")?,
        }
        Ok(Exit::Success)
    })
}

fn order(what: &AdminCommand) -> (Order, &ConfigArgs) {
    let encoded = |id: &str| form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>();
    match what {
        AdminCommand::Tenant(TenantCommand::Create {
            tenant_id,
            name,
            email,
            config,
        }) => {
            let mut body = json!({"tenantId": tenant_id});
            if let Some(name) = name {
                body["name"] = name.as_str().into();
            }
            if let Some(email) = email {
                body["email"] = email.as_str().into();
            }
            (Order::Post("/api/v1/tenants".to_owned(), body), config)
        }
        AdminCommand::Tenant(TenantCommand::Show { tenant_id, config }) => (
            Order::Get(format!("/api/v1/tenants/{}", encoded(tenant_id))),
            config,
        ),
        AdminCommand::ServiceKey(ServiceKeyCommand::Create {
            name,
            scopes,
            config,
        }) => (
            Order::Post(
                "/api/v1/service-keys".to_owned(),
                json!({"name": name, "scopes": scopes}),
            ),
            config,
        ),
        AdminCommand::ServiceKey(ServiceKeyCommand::List { config }) => (
            Order::Get("/api/v1/service-keys?limit=100".to_owned()),
            config,
        ),
        AdminCommand::ServiceKey(ServiceKeyCommand::Revoke { id, config }) => (
            Order::Delete(format!("/api/v1/service-keys/{}", encoded(id))),
            config,
        ),
    }
}
