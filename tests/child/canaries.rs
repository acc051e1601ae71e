//! The search for secrets in what a process left behind, and the sum over all searches of a suite.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

static SEARCHES: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Everything that is looked through, by where it was found.
#[derive(Default)]
pub(crate) struct Search(Vec<(String, Vec<u8>)>);

impl Search {
    pub(crate) fn look_in(&mut self, place: &str, bytes: Vec<u8>) {
        self.0.push((place.to_owned(), bytes));
    }

    /// Every file under a folder.
    pub(crate) fn look_in_files(&mut self, folder: &Path) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.look_in_files(&path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                self.look_in(&path.display().to_string(), bytes);
            }
        }
    }

    /// Which secret is where.
    pub(crate) fn hits(&self, secrets: &[(String, String)]) -> Vec<String> {
        let mut hits = Vec::new();
        for (place, bytes) in &self.0 {
            // What is no UTF-8 becomes a mark, and no secret holds one.
            let text = String::from_utf8_lossy(bytes);
            let found = secrets
                .iter()
                .filter(|(_, secret)| text.contains(secret.as_str()));
            hits.extend(found.map(|(what, _)| format!("{what} in {place}")));
        }
        hits
    }

    /// Fails if one is anywhere, or what must be found is nowhere; one line for a whole search.
    pub(crate) fn end(&self, secrets: &[(String, String)], known: Option<&String>, is_whole: bool) {
        let hits = self.hits(secrets);
        let controls: Vec<_> = known
            .map(|text| ("control".to_owned(), text.clone()))
            .into_iter()
            .collect();
        let controls = self.hits(&controls).len();
        assert!(known.is_none() || controls > 0, "the search finds nothing");
        let looked: usize = self.0.iter().map(|(_, bytes)| bytes.len()).sum();
        let searches = SEARCHES.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = BYTES.fetch_add(looked, Ordering::Relaxed) + looked;
        if is_whole {
            println!(
                "canaries={} places={} controls={controls} searches={searches} bytes={bytes} hits={}",
                secrets.len(),
                self.0.len(),
                hits.len()
            );
        }
        assert!(hits.is_empty(), "{hits:#?}");
    }
}
