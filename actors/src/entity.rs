//! An entity actor: owns the turns of one aggregate.
//!
//! Invariants: it holds nothing that is not in the store; its only message is a hint to take a turn,
//! and it answers every hint with how the turn ended.
//! Failure: a panic in its shell kills it; the registry cools the aggregate and starts another.

use crate::entities::EntitiesMsg;
use crate::env::Env;
use crate::turn::{self, Hydrated};
use bursar_domain::aggregate::AggregateKey;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::sync::Arc;

pub(crate) struct EntityActor;

pub(crate) struct EntityArgs {
    pub(crate) env: Arc<Env>,
    pub(crate) key: AggregateKey,
    pub(crate) generation: u64,
}

pub(crate) struct EntityState {
    args: EntityArgs,
    // Loaded on the first turn, so that a store in trouble is a turn taken later and no failed start.
    cache: Option<Hydrated>,
}

/// Take a turn.
pub(crate) struct TakeTurn;

impl Actor for EntityActor {
    type Msg = TakeTurn;
    type State = EntityState;
    type Arguments = EntityArgs;

    async fn pre_start(
        &self,
        _: ActorRef<TakeTurn>,
        args: EntityArgs,
    ) -> Result<EntityState, ActorProcessingErr> {
        Ok(EntityState { args, cache: None })
    }

    async fn handle(
        &self,
        _: ActorRef<TakeTurn>,
        TakeTurn: TakeTurn,
        state: &mut EntityState,
    ) -> Result<(), ActorProcessingErr> {
        let EntityArgs {
            env,
            key,
            generation,
        } = &state.args;
        let turn = turn::take(env, key, &mut state.cache).await;
        // If the registry is gone, this actor is about to be killed with it.
        env.directory.entities.cast(EntitiesMsg::Turned {
            key: key.clone(),
            generation: *generation,
            turn,
        });
        Ok(())
    }
}
