//! Who performs the effects that do not go to Stripe: one line per lane.
//!
//! Invariants: a lane that is not named here settles its effects as skipped, and says so.

use crate::notifications::Notifications;
use crate::notifications::announce::Announcer;
use bursar_actors::clock::Clock;
use bursar_actors::outbound::Performers;
use bursar_actors::ports::Performer;
use bursar_config::Config;
use bursar_domain::decision::Lane;
use bursar_store::api::Store;
use std::sync::Arc;

/// The performers of a configured service.
pub fn performers(
    _config: &Config,
    _store: &Arc<dyn Store>,
    _clock: &Arc<dyn Clock>,
    notifications: &Arc<Notifications>,
) -> Performers {
    let announcer: Arc<dyn Performer> = Arc::new(Announcer(Arc::clone(notifications)));
    Performers::from([(Lane::Notify, announcer)])
}
