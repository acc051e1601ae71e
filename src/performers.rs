//! Who performs the effects that do not go to Stripe: one line per lane.
//!
//! Invariants: a lane that is not named here settles its effects as skipped, and says so.
//! Failure: texts or a transport that cannot be used keep the service from starting.

use crate::mail::alerts::Alerts;
use crate::mail::{Mailer, Parts};
use bursar_actors::clock::Clock;
use bursar_actors::outbound::Performers;
use bursar_actors::ports::Performer;
use bursar_config::Config;
use bursar_domain::decision::Lane;
use bursar_store::api::Store;
use std::sync::Arc;

/// The performers of a configured service.
///
/// # Errors
/// What is wrong with the mail set-up, all of it.
pub fn performers(
    config: &Config,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
) -> Result<Performers, Vec<String>> {
    let parts = Parts::of(config)?;
    let has_readers = !parts.admins.is_empty();
    let (mail_store, mail_clock) = (Arc::clone(store), Arc::clone(clock));
    let mailer = Mailer::new(mail_store, mail_clock, parts);
    let alerts = Alerts::new(Arc::clone(store), Arc::clone(clock), has_readers);
    Ok(Performers::from([
        (Lane::Mail, Arc::new(mailer) as Arc<dyn Performer>),
        (Lane::Alert, Arc::new(alerts) as Arc<dyn Performer>),
    ]))
}
