//! The customer's application as it is told of things: a receiver that is slow, wrong or away, and remembers.

use super::world::{World, locked};
use bursar::notifications::{Carrier, Post, Sent};
use bursar_actors::ports::PortFuture;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct SimReceiver(pub(crate) Arc<World>);

impl SimReceiver {
    async fn receive(&self, post: Post) -> Result<Sent, String> {
        let world = &self.0;
        world.alive().await;
        let (luck, delay) = world
            .dice
            .with("receiver", |dice| (dice.below(100), dice.within(5, 400)));
        tokio::time::sleep(Duration::from_millis(delay)).await;
        world.alive().await;
        world.trace(&format!("notification {} {luck}", post.id));
        let status = match luck {
            _ if world.is_calm() => 204,
            0..8 => return Err("no connection".to_owned()),
            8..16 => 500,
            _ => 204,
        };
        // It may be told and its answer be lost: the same again, under the same id.
        if status == 204 || luck < 12 {
            let body: Value = serde_json::from_slice(&post.body).unwrap_or_default();
            let known = locked(&world.told).insert(post.id.clone(), body.clone());
            if known.is_some_and(|known| {
                known["type"] != body["type"]
                    || known["data"]["object"]["id"] != body["data"]["object"]["id"]
            }) {
                world.wrong(format!("{} was told twice, as two things", post.id));
            }
        }
        Ok(Sent {
            status: Some(status),
            error: (status != 204).then(|| format!("it answered {status}")),
            ..Sent::default()
        })
    }
}

impl Carrier for SimReceiver {
    fn carry(&self, post: Post) -> PortFuture<'_, Result<Sent, String>> {
        Box::pin(self.receive(post))
    }
}
