//! Accounts kept here: whoever paid is invited as the tenant's owner, unless it has one.
//!
//! Invariants: one invitation per tenant however often it pays; the invitation and its mail are one commit.
//! Not here: what an invitation is and how it is accepted (`identity::invitations`).
//! Failure: a store that is away puts the effect off.

use super::{done, failed, later, skipped, tenant_value};
use crate::identity::invitations::{OwnerInvited, invite_owner};
use bursar_actors::clock::Clock;
use bursar_actors::ports::{Outcome, Performer, PortFuture};
use bursar_domain::effect::{Effect, Provision};
use bursar_store::api::{DueEffect, Store};
use std::sync::Arc;

/// Performs the effects of `Lane::Identity` with our own accounts.
pub struct Invitations {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    base_url: String,
}

impl Invitations {
    /// Links in mail begin with `base_url`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, base_url: String) -> Self {
        Self {
            store,
            clock,
            base_url,
        }
    }

    async fn provision(&self, order: Provision) -> Outcome {
        let store = self.store.as_ref();
        let address = match order.email {
            Some(address) => Some(address),
            None => match tenant_value(store, &order.tenant).await {
                Ok(row) => row["email"].as_str().map(str::to_owned),
                Err(outcome) => return outcome,
            },
        };
        let Some(address) = address else {
            return skipped("nobody's address is known");
        };
        let now = self.clock.now();
        let invited = invite_owner(store, &self.base_url, &order.tenant, &address, now).await;
        match invited {
            Ok(OwnerInvited::Invited) => done("whoever paid was invited as owner"),
            Ok(OwnerInvited::Open) => skipped("an owner's invitation is open"),
            Ok(OwnerInvited::HasOwner) => skipped("the tenant has an owner"),
            Err(error) => later(error.to_string(), Some(error.retry_after())),
        }
    }
}

impl Performer for Invitations {
    fn perform(&self, effect: DueEffect) -> PortFuture<'_, Outcome> {
        Box::pin(async move {
            let payload = effect.payload.as_deref().unwrap_or_default();
            match Effect::from_payload(payload) {
                Ok(Effect::Provision(order)) => self.provision(order).await,
                // People keep their account here; what they may use is asked of the licence each time.
                Ok(Effect::Access(_)) => {
                    skipped("accounts here stay; the licence is asked each time")
                }
                Ok(Effect::Forget(_)) => failed(
                    "another provider made these accounts, which is not set up any more: delete them there".to_owned(),
                ),
                Ok(_) => failed(format!("{} is not for this lane", effect.kind)),
                Err(error) => failed(format!("not an effect of this version: {error}")),
            }
        })
    }
}
