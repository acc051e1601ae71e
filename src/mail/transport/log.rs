//! Mail that only leaves a line in the log: the template's name and a hash of the recipient.

use super::{SendError, Transport};
use crate::mail::letter::Letter;
use bursar_actors::ports::PortFuture;

/// Logs letters.
#[derive(Debug)]
pub struct ToLog;

impl Transport for ToLog {
    fn name(&self) -> &'static str {
        "log"
    }
    fn send<'a>(&'a self, letter: &'a Letter) -> PortFuture<'a, Result<(), SendError>> {
        let recipient = letter.to.tag("log");
        tracing::info!(template = letter.template, recipient, "a mail");
        Box::pin(std::future::ready(Ok(())))
    }
}
