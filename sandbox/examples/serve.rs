//! Starts a sandbox and prints where it is: `cargo run -p bursar-sandbox --example serve -- [ADDRESS] [WEBHOOK_URL SECRET]`.

use bursar_sandbox::{SandboxConfig, SeedPlan, start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut config = SandboxConfig {
        seed_plans: SeedPlan::demo(),
        ..SandboxConfig::default()
    };
    if let Some(listen) = args.next() {
        config.listen = listen.parse()?;
    }
    config.webhook_url = args.next();
    if let Some(secret) = args.next() {
        config.webhook_secrets = vec![secret];
    }
    let sandbox = start(config).await?;
    println!("{}", sandbox.base_url());
    for plan in sandbox.seeded() {
        println!("{} {}", plan.lookup_key, plan.price_id);
    }
    tokio::signal::ctrl_c().await?;
    sandbox.shutdown().await;
    Ok(())
}
