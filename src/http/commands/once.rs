//! Commands named after what they make, for what a tenant has one of: its customer, its Connect account.
//!
//! Invariants: whoever asks, how often and at once, it is one command and so one object; one more after the object is
//! gone. What Stripe refused is not asked for under the same name again: whoever comes next may have better words.

use super::find;
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use bursar_domain::command::CommandKind;
use bursar_domain::ids::{CommandId, TenantId};
use bursar_domain::rows::RowKind;
use bursar_store::query::RowQuery;
use sha2::{Digest, Sha256};

/// Refusals of the same thing after which a person has to look.
const REFUSALS_MAX: u32 = 100;
/// Gone objects that are counted.
const GONE_MAX: usize = 100;

/// The command that makes something for a tenant; rows of the kind and status `gone` are earlier ones that are no more.
/// # Errors: 409 after too many refusals, those of the store.
pub(super) async fn command(
    call: &Call,
    tenant: &TenantId,
    making: CommandKind,
    gone: (RowKind, &str),
) -> Result<CommandId, Problem> {
    let query = RowQuery {
        kind: gone.0,
        tenant: Some(tenant.clone()),
        status: Some(gone.1.to_owned()),
        created_after: None,
        created_before: None,
        hidden: true,
        after: None,
        limit: GONE_MAX,
    };
    let gone = call
        .edge
        .store
        .rows(&call.reach(), query)
        .await?
        .items
        .len();
    for refusals in 0..REFUSALS_MAX {
        let name = format!("{tenant}\n{}\n{gone}\n{refusals}", making.as_str());
        let id = format!("cmd_{}", hex::encode(&Sha256::digest(name)[..16]));
        let id = CommandId::parse(&id).expect("hex behind a prefix is an id");
        match find(call, &id).await? {
            Some(command) if command.is_refused() => {}
            _ => return Ok(id),
        }
    }
    let detail = "Stripe refused this too often; /api/v1/commands says why";
    Err(Problem::new(Code::StateConflict, detail))
}
