//! `bursar sandbox`: the Stripe simulator alone, for a team's own tests.

use crate::cli::{CliError, Exit, GlobalArgs};
use crate::http::server::asked_to_stop;
use bursar_config::{Log, LogFormat, ProcessEnv, refuse_live_key};
use bursar_sandbox::{SandboxConfig, SeedPlan};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};

/// Arguments of `bursar sandbox`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar sandbox --webhook-url http://127.0.0.1:8087/webhook")]
pub struct SandboxArgs {
    /// Where it listens; port 0 for any.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:12111")]
    pub listen: SocketAddr,
    /// Where its mail server listens, which catches what it is given [default: 127.0.0.1:12125, or any free port].
    #[arg(long, value_name = "ADDRESS")]
    pub mail_listen: Option<SocketAddr>,
    /// Where its events are sent.
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// The secret they are signed with; made for the sandbox, so it may stand on a command line.
    #[arg(
        long,
        value_name = "WHSEC",
        default_value = "whsec_sandbox00000000000000000000"
    )]
    pub webhook_secret: String,
    /// Start of all ids and chances: the same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Begin with the demo's products and prices.
    #[arg(long)]
    pub with_plans: bool,
    /// Render events in the shape of API version 2024-06-20.
    #[arg(long)]
    pub older_events: bool,
    /// Listen on an address other machines can reach.
    #[arg(long)]
    pub allow_other_machines: bool,
}

impl SandboxArgs {
    /// Whoever takes any port for one takes any for the other.
    fn mail_address(&self) -> SocketAddr {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let usual = SocketAddr::from(([127, 0, 0, 1], 12_125));
        self.mail_listen.unwrap_or_else(|| {
            let is_free = self.listen.port() != 0 && TcpListener::bind(usual).is_ok();
            if is_free { usual } else { any }
        })
    }
}

/// Runs until it is stopped.
///
/// # Errors
/// The address cannot be had, or a live key is in the environment.
pub fn run(args: &SandboxArgs, _global: &GlobalArgs) -> Result<Exit, CliError> {
    refuse_live_key(&ProcessEnv)?;
    let settings = Log {
        filter: "warn".to_owned(),
        format: LogFormat::Auto,
    };
    crate::telemetry::log::install(&settings)
        .map_err(|error| CliError::new(Exit::Internal, error.to_string()))?;
    super::reach::block_on(async {
        let config = SandboxConfig {
            listen: args.listen,
            mail_listen: args.mail_address(),
            allow_non_loopback: args.allow_other_machines,
            webhook_url: args.webhook_url.clone(),
            webhook_secrets: vec![args.webhook_secret.clone()],
            seed: args.seed,
            older_event_shapes: args.older_events,
            seed_plans: if args.with_plans {
                SeedPlan::demo()
            } else {
                Vec::new()
            },
            ..SandboxConfig::default()
        };
        let started = bursar_sandbox::start(config).await;
        let sandbox = started.map_err(|error| {
            CliError::new(Exit::Unavailable, error.to_string())
                .or_try("use --listen 127.0.0.1:0 for any free port")
        })?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "Bursar {}  sandbox", env!("CARGO_PKG_VERSION"))?;
        writeln!(
            out,
            "  Stripe API    {}      any sk_test_ key of 12 characters",
            sandbox.base_url()
        )?;
        writeln!(out, "  control       {}/control", sandbox.base_url())?;
        let (mail, base) = (sandbox.mail_addr(), sandbox.base_url());
        writeln!(
            out,
            "  mail          {base}/mail      smtp://{mail}, or {base}/v3/DOMAIN/messages as Mailgun"
        )?;
        match &args.webhook_url {
            Some(url) => writeln!(
                out,
                "  events to     {url}      signed with {}",
                args.webhook_secret
            )?,
            None => writeln!(
                out,
                "  events to     nobody (--webhook-url, or POST /v1/webhook_endpoints)"
            )?,
        }
        for plan in sandbox.seeded() {
            writeln!(
                out,
                "  price         {:<12} {}",
                plan.lookup_key, plan.price_id
            )?;
        }
        out.flush()?;
        drop(out);
        asked_to_stop().await?;
        sandbox.shutdown().await;
        Ok(Exit::Success)
    })
}
