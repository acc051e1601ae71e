//! The lane nobody performs in this build: its effects end as `skipped`, and say so.

use crate::ports::{Outcome, Performer, PortFuture};
use bursar_store::api::DueEffect;

/// Settles everything as skipped.
#[derive(Debug)]
pub struct NoPerformer;

impl Performer for NoPerformer {
    fn perform(&self, _: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(std::future::ready(Outcome::Skipped {
            note: "no performer in this build".into(),
        }))
    }
}
