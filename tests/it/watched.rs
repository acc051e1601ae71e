//! Secrets in what the service in this process logs and stores: every log line of every suite is searched as it is
//! written, and a stage's data when its Bursar ends.
//!
//! Not here: standard output, command lines and metrics, which belong to a whole process (`child`).

use crate::canaries::Search;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

static SECRETS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
static HITS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LINES: AtomicUsize = AtomicUsize::new(0);

/// What is searched when dropped.
pub(crate) struct Watched {
    secrets: Vec<(String, String)>,
    data: Option<PathBuf>,
}

/// Takes the service's log lines.
#[derive(Clone, Copy)]
struct Lines;

impl std::io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(line);
        let known = SECRETS.lock().unwrap();
        for (what, _) in known
            .iter()
            .filter(|(_, secret)| text.contains(secret.as_str()))
        {
            HITS.lock().unwrap().push(format!("{what} in: {text}"));
        }
        Ok(line.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Watched {
    /// From now on these may be in no log line, and nowhere in this folder.
    pub(crate) fn over(secrets: &[(&str, &str)], data: Option<PathBuf>) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let filter = "debug,sled=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn";
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_ansi(false)
                .with_writer(|| Lines);
            subscriber.try_init().expect("no suite sets another one");
        });
        let secrets: Vec<(String, String)> = secrets
            .iter()
            .map(|(what, secret)| ((*what).to_owned(), (*secret).to_owned()))
            .collect();
        let mut known = SECRETS.lock().unwrap();
        for secret in &secrets {
            assert!(
                secret.1.len() >= 12,
                "{} is too short to be searched for",
                secret.0
            );
            if !known.contains(secret) {
                known.push(secret.clone());
            }
        }
        Self { secrets, data }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mut search = Search::default();
        if let Some(data) = &self.data {
            search.look_in_files(data);
        }
        search.end(&self.secrets, None, false);
        let hits = HITS.lock().unwrap().clone();
        assert!(hits.is_empty(), "{hits:#?}");
    }
}

#[tokio::test]
async fn a_secret_in_a_log_line_or_in_a_stored_file_is_found() {
    let app = crate::app::App::start().await;
    assert_eq!(app.operator("GET /api/v1/tenants", "").await.status, 200);
    drop(app);
    // What the watch would take for a leak, by the pieces it is made of.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), b"\xff\0..canary-of-the-watch..").unwrap();
    let mut search = Search::default();
    search.look_in_files(folder.path());
    let secrets = [("a canary".to_owned(), "canary-of-the-watch".to_owned())];
    assert_eq!(search.hits(&secrets).len(), 1);
    let lines = LINES.load(Ordering::Relaxed);
    tracing::info!("a line of the watch's own");
    assert!(
        LINES.load(Ordering::Relaxed) > lines,
        "log lines are not seen"
    );
    println!(
        "watched secrets={} lines={lines}",
        SECRETS.lock().unwrap().len()
    );
}
