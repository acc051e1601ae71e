//! `bursar admin …`: tenants, people and keys from scripts.
//!
//! Invariants: what reads has `--json`; a list is read page by page up to `--limit` and says how to
//! go on, so that nothing is left out unsaid.

use super::reach::{Reached, block_on, reach};
use super::set_aside::{ClaimArgs, LeaveArgs, claim, leave};
use super::table::{cell, columns, sheet};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use serde_json::{Value, json};
use std::io::Write;

/// Most items the server answers at once.
const PAGE: usize = 100;

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
    /// People.
    #[command(
        subcommand,
        before_help = "Example: bursar admin user invite ada@example.com --tenant acme"
    )]
    User(UserCommand),
    /// What was paid and is nobody's yet.
    #[command(
        subcommand,
        before_help = "Example: bursar admin unclaimed claim cs_live_a1B2 --tenant acme"
    )]
    Unclaimed(UnclaimedCommand),
}

/// `bursar admin unclaimed …`
#[derive(Debug, clap::Subcommand)]
pub enum UnclaimedCommand {
    /// List it, newest first.
    #[command(before_help = "Example: bursar admin unclaimed list")]
    List {
        /// How much of it.
        #[command(flatten)]
        page: PageArgs,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Give some of it to a tenant; without --yes only show what would be given.
    #[command(
        before_help = "Example: bursar admin unclaimed claim cs_live_a1B2 cs_live_c3D4 --tenant acme --yes"
    )]
    Claim(ClaimArgs),
    /// Set some of it aside; without --yes only show what would be.
    #[command(
        before_help = "Example: bursar admin unclaimed dismiss --before 2025-06-01T00:00:00Z --reason \"refunded by hand\""
    )]
    Dismiss(LeaveArgs),
}

/// `bursar admin user …`
#[derive(Debug, clap::Subcommand)]
pub enum UserCommand {
    /// Invite somebody into a tenant, by mail.
    #[command(
        before_help = "Example: bursar admin user invite ada@example.com --tenant acme --role admin"
    )]
    Invite {
        /// Their address.
        email: String,
        /// The tenant.
        #[arg(long)]
        tenant: String,
        /// As what: owner, admin, member or viewer.
        #[arg(long, default_value = "owner")]
        role: String,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// List people, the oldest account first.
    #[command(before_help = "Example: bursar admin user list --email ada@example.com")]
    List {
        /// Only who has this address.
        #[arg(long)]
        email: Option<String>,
        /// How much of it.
        #[command(flatten)]
        page: PageArgs,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Log a person out everywhere, at once.
    #[command(
        before_help = "Example: bursar admin user end-sessions usr_0196c5a0b1c27d3e8f00112233445566"
    )]
    EndSessions {
        /// The person's id.
        id: String,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Forget a person for good.
    #[command(
        before_help = "Example: bursar admin user forget usr_0196c5a0b1c27d3e8f00112233445566"
    )]
    Forget {
        /// The person's id.
        id: String,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
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
        /// Its time zone, such as Europe/Berlin.
        #[arg(long)]
        timezone: Option<String>,
        /// For machines: one JSON object.
        #[arg(long)]
        json: bool,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// List tenants, newest first.
    #[command(before_help = "Example: bursar admin tenant list --status past_due --limit 20")]
    List {
        /// Only this status.
        #[arg(long)]
        status: Option<String>,
        /// Also those whose last subscription has ended.
        #[arg(long)]
        archived: bool,
        /// How much of it.
        #[command(flatten)]
        page: PageArgs,
        /// Which store.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show a tenant.
    #[command(before_help = "Example: bursar admin tenant show acme")]
    Show {
        /// Its id.
        tenant_id: String,
        /// For machines: one JSON object.
        #[arg(long)]
        json: bool,
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
        /// How much of it.
        #[command(flatten)]
        page: PageArgs,
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

/// How much of a list.
#[derive(Debug, clap::Args)]
pub struct PageArgs {
    /// At most this many.
    #[arg(long, value_name = "COUNT", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Go on where the list before ended: the cursor it printed.
    #[arg(long)]
    pub cursor: Option<String>,
    /// For machines: one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command: tables and sheets for people, JSON for machines; a new key's secret alone, so
/// that it can be piped.
///
/// # Errors
/// The store cannot be reached, or the server refuses.
pub fn run(args: &AdminArgs, global: &GlobalArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let config = config_of(&args.what);
    block_on(async {
        let mut bursar = reach(config, global).await?;
        let text = match &args.what {
            AdminCommand::Tenant(what) => tenant(&mut bursar, what).await,
            AdminCommand::ServiceKey(what) => service_key(&mut bursar, what).await,
            AdminCommand::User(what) => user(&mut bursar, what).await,
            AdminCommand::Unclaimed(what) => unclaimed(&mut bursar, what, out).await,
        };
        let text = bursar.close(text).await?;
        out.write_all(text.as_bytes())?;
        Ok(Exit::Success)
    })
}

const fn config_of(what: &AdminCommand) -> &ConfigArgs {
    match what {
        AdminCommand::Tenant(
            TenantCommand::Create { config, .. }
            | TenantCommand::List { config, .. }
            | TenantCommand::Show { config, .. },
        )
        | AdminCommand::ServiceKey(
            ServiceKeyCommand::Create { config, .. }
            | ServiceKeyCommand::List { config, .. }
            | ServiceKeyCommand::Revoke { config, .. },
        )
        | AdminCommand::User(
            UserCommand::Invite { config, .. }
            | UserCommand::List { config, .. }
            | UserCommand::EndSessions { config, .. }
            | UserCommand::Forget { config, .. },
        )
        | AdminCommand::Unclaimed(UnclaimedCommand::List { config, .. }) => config,
        AdminCommand::Unclaimed(UnclaimedCommand::Claim(args)) => &args.run.config,
        AdminCommand::Unclaimed(UnclaimedCommand::Dismiss(args)) => &args.run.config,
    }
}

async fn tenant(bursar: &mut Reached, what: &TenantCommand) -> Result<String, CliError> {
    match what {
        TenantCommand::Create {
            tenant_id,
            name,
            email,
            timezone,
            json,
            ..
        } => {
            let mut body = json!({"tenantId": tenant_id});
            for (field, given) in [("name", name), ("email", email), ("timezone", timezone)] {
                if let Some(text) = given {
                    body[field] = text.as_str().into();
                }
            }
            let made = bursar.post("/api/v1/tenants", &body).await?;
            Ok(one(&made, *json, tenant_sheet))
        }
        TenantCommand::Show {
            tenant_id, json, ..
        } => {
            let path = format!("/api/v1/tenants/{}", encoded(tenant_id));
            Ok(one(&bursar.get(&path).await?, *json, tenant_sheet))
        }
        TenantCommand::List {
            status,
            archived,
            page,
            ..
        } => {
            let mut path = "/api/v1/tenants?".to_owned();
            if let Some(status) = status {
                path.push_str(&format!("status={}&", encoded(status)));
            }
            if *archived {
                path.push_str("archived=true&");
            }
            let list = read(bursar, &path, page).await?;
            Ok(many(&list, page, "tenants", TENANT_HEADS, tenant_cells))
        }
    }
}

async fn service_key(bursar: &mut Reached, what: &ServiceKeyCommand) -> Result<String, CliError> {
    match what {
        ServiceKeyCommand::Create { name, scopes, .. } => {
            let body = json!({"name": name, "scopes": scopes});
            let made = bursar.post("/api/v1/service-keys", &body).await?;
            let key = made["key"].as_str().unwrap_or_default();
            Ok(format!("{key}\n"))
        }
        ServiceKeyCommand::List { page, .. } => {
            let list = read(bursar, "/api/v1/service-keys?", page).await?;
            Ok(many(&list, page, "keys", KEY_HEADS, key_cells))
        }
        ServiceKeyCommand::Revoke { id, .. } => {
            let path = format!("/api/v1/service-keys/{}", encoded(id));
            bursar.delete(&path).await?;
            Ok(String::new())
        }
    }
}

async fn user(bursar: &mut Reached, what: &UserCommand) -> Result<String, CliError> {
    match what {
        UserCommand::Invite {
            email,
            tenant,
            role,
            ..
        } => {
            let body = json!({"email": email, "tenantId": tenant, "role": role});
            let made = bursar.post("/api/v1/users", &body).await?;
            Ok(format!("{}\n", made["id"].as_str().unwrap_or_default()))
        }
        UserCommand::List { email, page, .. } => {
            let mut path = "/api/v1/users?".to_owned();
            if let Some(email) = email {
                path.push_str(&format!("email={}&", encoded(email)));
            }
            let list = read(bursar, &path, page).await?;
            Ok(many(&list, page, "people", USER_HEADS, user_cells))
        }
        UserCommand::EndSessions { id, .. } => {
            let path = format!("/api/v1/users/{}/end-sessions", encoded(id));
            bursar.post(&path, &json!({})).await?;
            Ok(String::new())
        }
        UserCommand::Forget { id, .. } => {
            bursar
                .delete(&format!("/api/v1/users/{}", encoded(id)))
                .await?;
            Ok(String::new())
        }
    }
}

async fn unclaimed(
    bursar: &mut Reached,
    what: &UnclaimedCommand,
    out: &mut impl Write,
) -> Result<String, CliError> {
    match what {
        UnclaimedCommand::List { page, .. } => {
            let list = read(bursar, "/api/v1/unclaimed?", page).await?;
            let (heads, cells) = (UNCLAIMED_HEADS, unclaimed_cells);
            Ok(many(&list, page, "unclaimed checkouts", heads, cells))
        }
        UnclaimedCommand::Claim(args) => claim(bursar, args, out).await.map(|()| String::new()),
        UnclaimedCommand::Dismiss(args) => leave(bursar, args, out).await.map(|()| String::new()),
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Reads pages of a list until there are as many as wanted. `path` ends where a parameter may follow.
async fn read(bursar: &mut Reached, path: &str, page: &PageArgs) -> Result<Value, CliError> {
    let wanted = usize::try_from(page.limit).unwrap_or(PAGE);
    let mut cursor = page.cursor.clone();
    let mut data: Vec<Value> = Vec::new();
    loop {
        let limit = (wanted - data.len()).min(PAGE);
        let mut asked = format!("{path}limit={limit}");
        if let Some(cursor) = &cursor {
            asked.push_str(&format!("&cursor={}", encoded(cursor)));
        }
        let mut answer = bursar.get(&asked).await?;
        if let Value::Array(items) = answer["data"].take() {
            data.extend(items);
        }
        cursor = answer["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() || data.len() >= wanted {
            let has_more = cursor.is_some();
            return Ok(json!({"data": data, "hasMore": has_more, "nextCursor": cursor}));
        }
    }
}

fn one(item: &Value, json: bool, shown: fn(&Value) -> String) -> String {
    if json {
        return format!("{item}\n");
    }
    shown(item)
}

fn many(
    list: &Value,
    page: &PageArgs,
    what: &str,
    heads: &[&str],
    cells: fn(&Value) -> Vec<String>,
) -> String {
    if page.json {
        return format!("{list}\n");
    }
    let items = list["data"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return format!("no {what}\n");
    }
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    let mut text = columns(heads, &rows);
    if let Some(cursor) = list["nextCursor"].as_str() {
        let shown = items.len();
        text.push_str(&format!(
            "\n{shown} {what} shown; for more: --cursor {cursor}\n"
        ));
    }
    text
}

const TENANT_HEADS: &[&str] = &[
    "TENANT",
    "NAME",
    "STATUS",
    "PLAN",
    "LICENCE",
    "PAID UNTIL",
    "CREDITS",
];

fn tenant_cells(tenant: &Value) -> Vec<String> {
    let license = &tenant["license"];
    [
        &tenant["tenantId"],
        &tenant["name"],
        &tenant["status"],
        &tenant["planId"],
        &license["state"],
        &license["validUntil"],
        &tenant["credits"],
    ]
    .map(cell)
    .into()
}

fn tenant_sheet(tenant: &Value) -> String {
    let license = &tenant["license"];
    sheet(&[
        ("tenant", cell(&tenant["tenantId"])),
        ("name", cell(&tenant["name"])),
        ("email", cell(&tenant["email"])),
        ("time zone", cell(&tenant["timezone"])),
        ("status", cell(&tenant["status"])),
        ("plan", cell(&tenant["planId"])),
        ("licence", cell(&license["state"])),
        ("paid until", cell(&license["validUntil"])),
        ("features", cell(&license["features"])),
        ("credits", cell(&tenant["credits"])),
        ("customer", cell(&tenant["stripeCustomerId"])),
        ("subscription", cell(&tenant["subscription"]["id"])),
        ("merchant account", cell(&tenant["merchantAccountId"])),
        ("created", cell(&tenant["createdAt"])),
        ("archived", cell(&tenant["archivedAt"])),
        ("version", cell(&tenant["version"])),
    ])
}

const USER_HEADS: &[&str] = &["ID", "ADDRESS", "NAME", "STATUS", "CREATED"];

fn user_cells(user: &Value) -> Vec<String> {
    [
        &user["id"],
        &user["email"],
        &user["name"],
        &user["status"],
        &user["createdAt"],
    ]
    .map(cell)
    .into()
}

const UNCLAIMED_HEADS: &[&str] = &["SESSION", "AMOUNT", "CURRENCY", "PLAN", "WHY", "COMPLETED"];

fn unclaimed_cells(session: &Value) -> Vec<String> {
    [
        &session["id"],
        &session["amountTotal"],
        &session["currency"],
        &session["planId"],
        &session["reason"],
        &session["completedAt"],
    ]
    .map(cell)
    .into()
}

const KEY_HEADS: &[&str] = &["ID", "NAME", "SCOPES", "CREATED"];

fn key_cells(key: &Value) -> Vec<String> {
    [&key["id"], &key["name"], &key["scopes"], &key["createdAt"]]
        .map(cell)
        .into()
}
