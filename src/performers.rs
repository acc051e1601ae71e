//! Who performs the effects that do not go to Stripe: one line per lane.
//!
//! Invariants: a lane that is not named here settles its effects as skipped, and says so.
//! Failure: texts or a transport that cannot be used keep the service from starting.

use crate::app::AppError;
use crate::mail::alerts::Alerts;
use crate::mail::{self, Mailer};
use crate::notifications::Notifications;
use crate::notifications::announce::Announcer;
use crate::provisioning::built_in::Invitations;
use bursar_actors::clock::Clock;
use bursar_actors::outbound::Performers;
use bursar_actors::ports::{Outcome, Performer, PortFuture};
use bursar_config::{Config, IdentityProvider};
use bursar_domain::decision::Lane;
use bursar_store::api::{DueEffect, Store};
use std::sync::Arc;
use std::time::Duration;

/// What performers are made of.
pub struct Parts<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The store.
    pub store: &'a Arc<dyn Store>,
    /// The time.
    pub clock: &'a Arc<dyn Clock>,
    /// What applications are told.
    pub notifications: &'a Arc<Notifications>,
}

/// The performers of a configured service, whose mails are made of these. # Errors: a client cannot be set up.
pub fn performers(parts: &Parts<'_>, letters: mail::Parts) -> Result<Performers, AppError> {
    let announcer: Arc<dyn Performer> = Arc::new(Announcer(Arc::clone(parts.notifications)));
    let has_readers = !letters.admins.is_empty();
    let (store, clock) = (Arc::clone(parts.store), Arc::clone(parts.clock));
    let alerts = Alerts::new(Arc::clone(&store), Arc::clone(&clock), has_readers);
    let mailer = Mailer::new(store, clock, letters);
    let mut performers = Performers::from([
        (Lane::Notify, announcer),
        (Lane::Mail, Arc::new(mailer) as Arc<dyn Performer>),
        (Lane::Alert, Arc::new(alerts) as Arc<dyn Performer>),
    ]);
    if parts.config.is_tool {
        // A tool knows neither the endpoints nor the accounts of the configuration.
        for lane in [Lane::Notify, Lane::Identity] {
            performers.insert(lane, Arc::new(LeftToTheService));
        }
        return Ok(performers);
    }
    if let Some(identity) = identity(parts).map_err(AppError::no_client)? {
        performers.insert(Lane::Identity, identity);
    }
    Ok(performers)
}

/// Puts everything off until the service runs.
#[derive(Debug)]
struct LeftToTheService;

impl Performer for LeftToTheService {
    fn perform(&self, _: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(std::future::ready(Outcome::Retry {
            after: Some(Duration::from_secs(30)),
            error: "a command had the store; this waits for the service".to_owned(),
            counts: false,
            of_one: false,
            told: None,
        }))
    }
}

fn identity(parts: &Parts<'_>) -> Result<Option<Arc<dyn Performer>>, reqwest::Error> {
    Ok(match &parts.config.identity {
        IdentityProvider::Off => None,
        IdentityProvider::BuiltIn => Some(Arc::new(Invitations::new(
            Arc::clone(parts.store),
            Arc::clone(parts.clock),
            parts.config.addresses.app.to_string(),
        ))),
        #[cfg(feature = "cognito")]
        IdentityProvider::Cognito(cognito) => {
            let pool = crate::provisioning::cognito::CognitoPool::new(
                cognito.clone(),
                Arc::clone(parts.clock),
            )?;
            Some(Arc::new(crate::provisioning::Provisioner::new(
                Arc::new(pool),
                Arc::clone(parts.store),
                Arc::clone(parts.clock),
            )))
        }
        // The configuration refuses it.
        #[cfg(not(feature = "cognito"))]
        IdentityProvider::Cognito(_) => None,
    })
}
