//! The committer as a task of its caller's runtime, without a thread; and the points it passes at which a process may end.
//!
//! Not here: what a round does (`committer`).

#[cfg(feature = "crashpoints")]
use super::Group;
use super::{Committer, Gone, Waited};
use std::sync::Arc;
use std::time::Duration;

/// How often a quiet one looks around.
const IDLE_HERE: Duration = Duration::from_secs(1);

impl Committer {
    /// Runs as [`Committer::run`] does, as a task of its caller's runtime, whose clock may stand still: it never blocks.
    pub(in crate::engine) async fn run_here(mut self) {
        let _gone = Gone(Arc::clone(&self.shared));
        loop {
            // Whoever is ready lines up first, so that groups form.
            tokio::task::yield_now().await;
            let mut waited = self.shared.queue.wait(Duration::ZERO);
            if waited == Waited::Nothing && !self.patience().is_zero() {
                let pushed = self.shared.queue.pushed.notified();
                let _ = tokio::time::timeout(IDLE_HERE, pushed).await;
                waited = self.shared.queue.wait(Duration::ZERO);
            }
            if self.round(waited) {
                break;
            }
        }
        self.stop();
    }
}

#[cfg(feature = "crashpoints")]
impl Group {
    pub(super) fn pass_synced(&self) {
        if self.members.iter().any(|member| member.label == "accept") {
            bursar_domain::step!("KW5");
        }
    }

    pub(super) fn pass_filed(&self) {
        if self.members.iter().any(|member| member.label == "apply") {
            bursar_domain::step!("KW9");
        }
    }
}
