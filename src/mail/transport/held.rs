//! Mail in a command that opened the store itself: left for the service, which knows how it leaves.

use super::{SendError, Transport};
use crate::mail::letter::Letter;
use bursar_actors::ports::PortFuture;

/// Sends nothing.
#[derive(Debug)]
pub struct Held;

impl Transport for Held {
    fn name(&self) -> &'static str {
        "held"
    }
    fn send<'a>(&'a self, _: &'a Letter) -> PortFuture<'a, Result<(), SendError>> {
        Box::pin(std::future::ready(Err(SendError::Held)))
    }
}
