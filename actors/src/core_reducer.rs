//! The pure core behind its port.

use crate::ports::{Prepared, Reducer, RereadOrder};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::decision::Decision;
use bursar_domain::effect::Effect;
use bursar_domain::input::{Ctx, StoredInput};
use bursar_domain::link::LinkKey;
use bursar_domain::settings::Settings;

/// `bursar_domain` as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreReducer;

impl Prepared for bursar_domain::Prepared<'_> {
    fn lookups(&self, settings: &Settings) -> Vec<LinkKey> {
        bursar_domain::Prepared::lookups(self, settings)
    }
    fn decide(self: Box<Self>, ctx: &Ctx<'_>) -> Decision {
        bursar_domain::Prepared::decide(*self, ctx)
    }
}

impl Reducer for CoreReducer {
    fn revision(&self) -> u32 {
        bursar_domain::REDUCER_REV
    }
    fn prepare<'a>(
        &self,
        key: &'a AggregateKey,
        snapshot: Option<&'a [u8]>,
        input: &'a StoredInput,
    ) -> Box<dyn Prepared + 'a> {
        Box::new(bursar_domain::prepare(key, snapshot, input))
    }
    fn reread(&self, payload: &[u8]) -> Result<RereadOrder, String> {
        match Effect::from_payload(payload) {
            Ok(Effect::Reread(reread)) => Ok(RereadOrder {
                path: reread.path(),
                target: serde_json::to_value(&reread.target).map_err(|error| error.to_string())?,
                scope: reread.scope,
            }),
            Ok(other) => Err(format!("{} is no re-read", other.kind())),
            Err(error) => Err(format!("not an effect of this version: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::ids::{Scope, SubscriptionId};
    use bursar_domain::reread::{Reread, RereadTarget};

    #[test]
    fn a_reread_effect_names_its_path_and_hands_its_target_back() {
        let target = RereadTarget::Subscription(SubscriptionId::parse("sub_1").unwrap());
        let effect = Effect::Reread(Reread {
            scope: Scope::PLATFORM,
            target: target.clone(),
        });
        let order = CoreReducer
            .reread(&serde_json::to_vec(&effect).unwrap())
            .unwrap();
        assert_eq!(order.path, "/v1/subscriptions/sub_1");
        let back: RereadTarget = serde_json::from_value(order.target).unwrap();
        assert_eq!(back, target);
        assert!(CoreReducer.reread(b"{}").is_err());
    }
}
