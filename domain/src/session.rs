//! The session reducer.

use crate::aggregate::AggregateKey;
use crate::decide::{Outcome, Reducer};
use crate::decision::EffectIntent;
use crate::fact::Fact;
use crate::input::Ctx;
use crate::link::LinkKey;
use crate::message::Cause;
use crate::project::Projection;
use crate::settings::Settings;
use serde::{Deserialize, Serialize};

/// What is known of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionState {}

impl Reducer for SessionState {
    fn references(&self, _: &AggregateKey, _: &Fact, _: &Settings) -> Vec<LinkKey> {
        Vec::new()
    }
    fn join(&mut self, key: &AggregateKey, _: &Fact, _: &Cause, _: &Ctx<'_>) -> Outcome {
        Outcome::ignored(key.to_string(), "not read yet")
    }
    fn settle(&mut self, _: &AggregateKey, _: &Ctx<'_>) {}
    fn project(&self, _: &AggregateKey) -> Projection {
        Projection::default()
    }
    fn effects(&self, _: &Self, _: &AggregateKey, _: &Cause, _: &Ctx<'_>) -> Vec<EffectIntent> {
        Vec::new()
    }
}
