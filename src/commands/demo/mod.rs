//! `bursar demo`: the newcomer's first minute.
//!
//! The service and the sandbox in one process, on one clock that the story moves; one tenant's life
//! through real HTTP and signed webhooks; a table; then it stays up until it is stopped.
//!
//! Invariants: nothing is needed from outside and nothing is kept unless a folder is given; a live key
//! in the environment is refused; no log line comes before the banner.
//! Failure: exit 1 if any step differs from what it should be.

mod clock;
mod owner;
mod play;
mod receiver;
mod story;
mod table;
mod world;

use super::serve::{explain_start, metrics_page};
use crate::app::{Addresses, App};
use crate::cli::{CliError, Exit, GlobalArgs};
use crate::http::server::asked_to_stop;
use crate::telemetry::log;
use bursar_config::{BaseUrl, Config, DemoArgs as ConfigArgs, Env, ProcessEnv, refuse_live_key};
use bursar_sandbox::{Sandbox, SandboxConfig, SeedPlan, SharedClock};
use clock::DemoClock;
use owner::Login;
use receiver::Receiver;
use secrecy::ExposeSecret;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use world::{Access, World};

/// Time to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Arguments of `bursar demo`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar demo --once")]
pub struct DemoArgs {
    /// Play the story, print the table and end: 0 if every step is as it should be, else 1.
    #[arg(long)]
    pub once: bool,
    /// Keep the data in this folder; without it they are temporary.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where Bursar listens [default: 127.0.0.1:8087, or any free port if that is taken].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where metrics are served [default: 127.0.0.1:9187, or any free port].
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_listen: Option<SocketAddr>,
    /// Where the Stripe sandbox listens [default: 127.0.0.1:12111, or any free port].
    #[arg(long, value_name = "ADDRESS")]
    pub sandbox_listen: Option<SocketAddr>,
}

/// Runs the demo.
///
/// # Errors
/// What keeps it from starting.
pub fn run(args: &DemoArgs, global: &GlobalArgs) -> Result<Exit, CliError> {
    refuse_live_key(&ProcessEnv)?;
    log::install(&log::of_a_command(global.verbose))
        .map_err(|error| CliError::new(Exit::Internal, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(demo(args))
}

async fn demo(args: &DemoArgs) -> Result<Exit, CliError> {
    let temporary = tempfile::tempdir()?;
    let data_dir = args
        .data_dir
        .clone()
        .unwrap_or_else(|| temporary.path().join("data"));
    let shared = SharedClock::new();
    let sandbox = start_sandbox(args, &shared).await?;
    let receiver = Receiver::start().await?;
    let config = configuration(args, &sandbox, &receiver, data_dir)?;
    let page = metrics_page(&config)?;
    let mut app = App::start(&config, Arc::new(DemoClock::new(shared)))
        .await
        .map_err(explain_start)?;
    let addresses = app.listen(&config, page).await.map_err(explain_start)?;
    let secrets = config
        .stripe
        .webhook_secrets
        .0
        .iter()
        .map(|secret| secret.expose_secret().to_owned());
    let webhook_url = format!("http://{}/webhook", addresses.public);
    sandbox
        .control()
        .set_webhook(Some(webhook_url), secrets.collect());
    let base_url = format!("http://{}", addresses.public);
    app.watch_endpoints(base_url, config.stripe.api_version.clone());
    let login = login()?;
    print_banner(args, &config, &sandbox, &receiver, &login, addresses)?;

    let access = Access {
        bursar: format!("http://{}", addresses.public),
        operator_key: config.access.admin_key.expose_secret().to_owned(),
        sandbox: sandbox.base_url().to_owned(),
    };
    let world = World::new(access, sandbox.control())
        .map_err(|failure| CliError::new(Exit::Internal, failure.0))?;
    let results = play::play(world, &sandbox.control(), &receiver, &login).await?;
    let good = results.iter().all(|result| result.wrong.is_empty());
    print(&table::render(&results))?;
    if !args.once {
        print_stay(&config, &login, addresses)?;
        receiver.print_at_once();
        asked_to_stop().await?;
    }
    app.drain(DRAIN).await;
    sandbox.shutdown().await;
    Ok(if good {
        Exit::Success
    } else {
        Exit::Differences
    })
}

async fn start_sandbox(args: &DemoArgs, clock: &SharedClock) -> Result<Sandbox, CliError> {
    let config = SandboxConfig {
        listen: given_or_free(args.sandbox_listen, 12_111),
        mail_listen: given_or_free(None, 12_125),
        clock: Arc::new(clock.clone()),
        seed_plans: SeedPlan::demo(),
        ..SandboxConfig::default()
    };
    let started = bursar_sandbox::start(config).await;
    started.map_err(|error| {
        CliError::new(Exit::Unavailable, error.to_string())
            .or_try("use --sandbox-listen 127.0.0.1:0 for any free port")
    })
}

/// The address asked for, or the usual port, or any free one if that is taken. A port of 0 is drawn here, since links in
/// mail hold it before anything listens.
fn given_or_free(given: Option<SocketAddr>, usual: u16) -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], usual));
    let wanted = given.unwrap_or_else(|| match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
    });
    if wanted.port() != 0 {
        return wanted;
    }
    let drawn = TcpListener::bind(wanted).and_then(|listener| listener.local_addr());
    drawn.unwrap_or(wanted)
}

/// The owner's login of this run. # Errors: no random numbers.
fn login() -> Result<Login, CliError> {
    let drawn = bursar_config::generate("")
        .map_err(|error| CliError::new(Exit::Internal, error.to_string()))?;
    Ok(Login {
        email: "owner@acme.test",
        password: drawn.expose_secret().chars().take(16).collect(),
    })
}

fn configuration(
    args: &DemoArgs,
    sandbox: &Sandbox,
    receiver: &Receiver,
    data_dir: PathBuf,
) -> Result<Config, CliError> {
    let config_args = ConfigArgs {
        listen: given_or_free(args.listen, 8_087),
        metrics_listen: given_or_free(args.metrics_listen, 9_187),
        data_dir,
        stripe_api_base: sandbox.base_url().to_owned(),
        mail_server: Some(sandbox.mail_addr()),
        plans_toml: Some(plans(sandbox)),
    };
    let mut config = Config::for_demo(&config_args)?;
    let url = BaseUrl::parse(&receiver.url());
    let url = url.map_err(|error| CliError::new(Exit::Internal, error))?;
    config.outbound.endpoint = Some((url, receiver.secret.clone().into()));
    Ok(config)
}

/// The catalogue of the demo, on the prices the sandbox was seeded with.
fn plans(sandbox: &Sandbox) -> String {
    let price = |key: &str| {
        let found = sandbox.seeded().iter().find(|plan| plan.lookup_key == key);
        found.map_or_else(String::new, |plan| plan.price_id.clone())
    };
    format!(
        "[[plan]]\nid = \"hobby\"\nname = \"Hobby\"\nstripe_price_id = \"{}\"\n\
         [plan.subscription]\ngrace_days = 7\nfeatures = [\"reports\"]\n\n\
         [[plan]]\nid = \"pro\"\nname = \"Pro\"\nstripe_price_id = \"{}\"\n\
         [plan.subscription]\ngrace_days = 7\nfeatures = [\"reports\", \"exports\"]\n\n\
         [[plan]]\nid = \"credits-10\"\nname = \"10 credits\"\nstripe_price_id = \"{}\"\ncredits = 10\n",
        price("hobby"),
        price("pro"),
        price("credits-10"),
    )
}

fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn print_banner(
    args: &DemoArgs,
    config: &Config,
    sandbox: &Sandbox,
    receiver: &Receiver,
    login: &Login,
    addresses: Addresses,
) -> std::io::Result<()> {
    let data = match &args.data_dir {
        Some(folder) => format!("{}, kept", folder.display()),
        None => "temporary, deleted on exit      keep it: --data-dir ./data".to_owned(),
    };
    print(&format!(
        "Bursar {}  demo\n\
         \x20 console       http://{}/console      sign in with the login or the operator key\n\
         \x20 webhooks in   http://{}/webhook\n\
         \x20 API           http://{}/docs\n\
         \x20 operator key  {}      (this run only)\n\
         \x20 login         {}      (once the story began)\n\
         \x20 sandbox       {}      any sk_test_ key\n\
         \x20 your app      {}      hears what changed (<--)\n\
         \x20 mail          {}/mail      smtp://{}\n\
         \x20 metrics       http://{}/metrics\n\
         \x20 data          {data}\n\n",
        env!("CARGO_PKG_VERSION"),
        addresses.public,
        addresses.public,
        addresses.public,
        config.access.admin_key.expose_secret(),
        owner::shown(login),
        sandbox.base_url(),
        receiver.url(),
        sandbox.base_url(),
        sandbox.mail_addr(),
        addresses.metrics,
    ))
}

fn print_stay(config: &Config, login: &Login, addresses: Addresses) -> std::io::Result<()> {
    let key = config.access.admin_key.expose_secret();
    let bursar = started_as(
        ProcessEnv.get("CARGO").is_some(),
        std::env::args().next().as_deref(),
    );
    print(&format!(
        "\n  It stays up; stop it with Ctrl-C. In the console sell a plan, see it paid, refund it:\n\
         \x20   http://{public}/console      {email} / {password}\n\
         \x20 or look around:\n\
         \x20   curl -H 'Authorization: Bearer {key}' http://{public}/api/v1/tenants/acme\n\
         \x20   curl -H 'Authorization: Bearer {key}' http://{public}/api/v1/tenants/acme/timeline\n\
         \x20   curl -d '{{\"email\":\"{email}\",\"password\":\"{password}\"}}' -H 'Content-Type: application/json' http://{public}/api/v1/login\n\
         \x20   {bursar} explain acme --data-dir {}\n\
         \x20 with your own Stripe test account:\n\
         \x20   stripe listen --all-snapshot --forward-to {public}/webhook\n",
        config.store.data_dir().display(),
        email = login.email,
        password = login.password,
        public = addresses.public,
    ))
}

/// The words that start this program again: cargo's if cargo did, else its own name.
fn started_as(by_cargo: bool, name: Option<&str>) -> String {
    match name {
        _ if by_cargo => "cargo run --".to_owned(),
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "bursar".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_lines_name_the_program_as_it_was_started() {
        assert_eq!(
            started_as(true, Some("target/debug/bursar")),
            "cargo run --"
        );
        assert_eq!(started_as(false, Some("./bursar")), "./bursar");
        assert_eq!(started_as(false, None), "bursar");
    }
}
