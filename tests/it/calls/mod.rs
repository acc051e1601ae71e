//! Orders at Stripe: what they look like, whether Stripe would take them, and how each can end.

mod accepted;
mod ends;
mod faults;
mod orders;
mod schema;
mod world;

use bursar::stripe::write::WriteClient;
use bursar_domain::ids::CommandId;

pub(super) const VERSION: &str = "2025-04-30.basil";

pub(super) fn client(base: &str) -> WriteClient {
    let key = "sk_test_0123456789".to_owned().into();
    WriteClient::new(base, &key, VERSION).unwrap()
}

pub(super) fn command(id: &str) -> CommandId {
    CommandId::parse(id).unwrap()
}
