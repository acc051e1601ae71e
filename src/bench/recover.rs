//! `bench recover`: from `kill -9` with a full store to the first "ready".

use super::target::Target;
use std::time::{Duration, Instant};

/// Arguments of `bursar bench recover`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar bench recover")]
pub(super) struct RecoverArgs {
    /// Events stored before the kill.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    /// Exit 1 if it takes longer than this many milliseconds.
    #[arg(long)]
    within_ms: Option<u64>,
    /// Also delete the projections before starting again, so that they are rebuilt.
    #[arg(long)]
    rebuild: bool,
}

/// Loads, kills, starts again and waits for `/readyz`.
pub(super) async fn run(args: &RecoverArgs) -> std::io::Result<u8> {
    let folder = tempfile::tempdir()?;
    let mut running = Target::Bursar.start(folder.path())?;
    super::load_fresh(&running, args.events).await?;
    let digest_before = super::settled_digest(&running).await?;
    running.kill();
    if args.rebuild {
        std::fs::remove_dir_all(folder.path().join("data/sled"))?;
    }
    let started = Instant::now();
    let running = Target::Bursar.start(folder.path())?;
    wait_ready(&running, Duration::from_secs(600)).await?;
    let ready_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let digest_after = super::settled_digest(&running).await?;
    let same = digest_before == digest_after;
    println!(
        "recover: events={} ready_ms={ready_ms} digest_same={same} rss_kib={}",
        args.events,
        running.rss_kib()
    );
    let in_time = args.within_ms.is_none_or(|limit| ready_ms <= limit);
    Ok(u8::from(!(same && in_time)))
}

/// Polls `/readyz` until it answers 200.
pub(super) async fn wait_ready(running: &super::Running, limit: Duration) -> std::io::Result<()> {
    let url = format!("http://{}/readyz", running.address);
    let started = Instant::now();
    loop {
        if reqwest::get(&url)
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            return Ok(());
        }
        if started.elapsed() > limit {
            return Err(std::io::Error::other("not ready in time"));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
