//! Orders to Stripe over HTTP: each becomes a command, is stored, is waited for, and is answered as what is known.
//!
//! Invariants: nothing is sent from here. A request's command id is derived from its idempotency key, so a repeat
//! finds the command and not a second one; another request under the key of one that was stored is refused, whatever
//! became of that one. An outcome nobody can know is 202 `unknown`, never a failure. While the circuit is open nothing
//! new is stored but what nobody waits for: 503 at once.
//! Not here: what is sent (`stripe::requests`), who sends it (`actors::outbound::stripe_call`), what its end means
//! (`bursar_domain::command`).
//! Source: contract §3, "Idempotency", "Stripe and unknown outcomes".

pub mod checkout;
pub mod connect;
pub mod customer_sync;
pub mod disputes;
mod evidence_log;
mod live;
mod once;
mod outcome;
pub mod payment_intent;
pub mod payments;
pub mod portal;
mod promotion;
mod quantity;
pub mod read;
pub mod refunds;
pub mod session;
mod settled;
mod slots;
pub mod subscriptions;
mod urls;

pub use slots::Slots;

use crate::http::answer::Answer;
use crate::http::idempotency;
use crate::http::order::{tenant_row, visible_row};
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use crate::stripe::requests::customers;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::command::{CommandKind, CommandOrder};
use bursar_domain::fact::Order;
use bursar_domain::ids::{CommandId, CustomerId, Scope, TenantId, Timestamp};
use bursar_domain::input::InputSource;
use bursar_domain::rows::RowKind;
use bursar_domain::stripe_call::StripeCall;
use bursar_domain::tenant;
use bursar_store::api::{Fate, Inbound, Store};
use bursar_store::query::RowView;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;

/// How long a caller is waited with; what never left by then is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much longer the end of a given-up call is waited for.
const PATIENCE_SLACK: Duration = Duration::from_secs(3);
/// Inputs that wait to be applied above which commands are refused: webhooks come first.
const LAG_INPUTS_MAX: u64 = 50_000;

/// What a handler wants done.
pub struct Plan {
    /// What it is.
    pub kind: CommandKind,
    /// For whom.
    pub tenant: TenantId,
    /// The request.
    pub call: StripeCall,
    /// What it is about, for `explain`.
    pub objects: Vec<String>,
    /// The command that makes the customer it needs.
    pub awaits: Option<CommandId>,
}
/// A command that ended well, or whose end is not known yet.
pub enum Ended {
    /// It took effect; its row.
    Succeeded(Command),
    /// Nobody knows yet, or nobody was to wait.
    Pending(Answer),
}

/// A command's row, its personal fields merged.
#[derive(Clone, Debug)]
pub struct Command(pub Value);

impl Command {
    fn of(row: &RowView) -> Self {
        Self(serde_json::from_slice(&row.value).unwrap_or(Value::Null))
    }
    /// A field's text.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }
    /// The object it made or changed; empty if Stripe named none.
    pub fn object_id(&self) -> &str {
        self.text("objectId")
    }
    /// Whether Stripe's event has confirmed it.
    pub fn is_confirmed(&self) -> bool {
        self.0["confirmed"] == true
    }
    fn tenant(&self) -> Result<TenantId, Problem> {
        TenantId::parse(self.text("tenantId")).map_err(|_| Problem::not_found())
    }
    fn scope(&self) -> Scope {
        Scope(bursar_domain::ids::AccountId::parse(self.text("merchantAccountId")).ok())
    }
    fn is_over(&self) -> bool {
        matches!(self.text("status"), "succeeded" | "failed")
    }
    /// Whether Stripe refused it: its key answers nothing else any more.
    fn is_refused(&self) -> bool {
        self.text("status") == "failed" && !self.is_given_up()
    }
    /// Whether nothing of it ever left, so that it may be ordered again.
    fn is_given_up(&self) -> bool {
        self.text("status") == "failed" && self.0["error"]["stripeStatus"].is_null()
    }
}

/// The command a request stands for: the same for a repeat under its idempotency key.
pub fn command_id(call: &Call) -> CommandId {
    let order = idempotency::order_id(call);
    let id = order.replacen("ord_", "cmd_", 1);
    CommandId::parse(&id).expect("an order id is hex behind a prefix")
}

/// Orders something and waits for its end, as long as the caller wants to.
///
/// # Errors
/// 402, 422: Stripe refused. 502: nothing happened. 503: the circuit is open, or too much is under way.
///
/// `plan` is made only when there is no such command yet: a repeat needs neither Stripe nor the checks of the first.
pub async fn run(
    call: &Call,
    id: CommandId,
    plan: impl Future<Output = Result<Plan, Problem>>,
) -> Result<Ended, Problem> {
    let is_async = is_async(call);
    let known = find(call, &id).await?;
    // Ordered again, it has its old end until the order is applied.
    let mut old_end = None;
    let slot = match &known {
        Some(command) if command.is_given_up() => {
            old_end = Some(command.text("endedAt").to_owned());
            let tenant = command.tenant()?;
            let slot = admit(call, &tenant, &command.scope()).await?;
            again(call, &id, &tenant, command).await?;
            Some(slot)
        }
        Some(_) => None,
        None => {
            let plan = plan.await?;
            let slot = admit(call, &plan.tenant, &plan.call.scope).await?;
            bursar_domain::step!("KC0");
            // First, so that no other request begins under this key, whatever happens to this one from here.
            idempotency::claim(call).await?;
            begin(call, &id, plan, is_async).await?;
            bursar_domain::step!("KC1");
            Some(slot)
        }
    };
    if is_async && slot.is_some() {
        return Ok(Ended::Pending(accepted(&id, "initiated")));
    }
    if let Some(command) = known.filter(|command| is_async && !command.is_over()) {
        return Ok(Ended::Pending(accepted(&id, command.text("status"))));
    }
    let command = ended(call.edge.store.whole().as_ref(), &id, old_end.as_deref()).await?;
    bursar_domain::step!("KC4");
    match command.text("status") {
        "succeeded" => Ok(Ended::Succeeded(command)),
        "failed" => Err(outcome::problem(&command)),
        _ if command.0["free"] == true => Err(Problem::new(
            Code::StripeUnavailable,
            "Stripe did not answer in time; ask again, nothing was paid",
        )),
        status => Ok(Ended::Pending(accepted(&id, status))),
    }
}

fn accepted(id: &CommandId, status: &str) -> Answer {
    let body = json!({"commandId": id, "status": status}).to_string();
    let mut answer = Answer::of(StatusCode::ACCEPTED, crate::http::answer::JSON, body);
    answer.header("location", &format!("/api/v1/commands/{id}"));
    answer
}

/// `Prefer: respond-async` (RFC 7240).
fn is_async(call: &Call) -> bool {
    let values = call.headers.get_all("prefer").iter();
    let mut words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.any(|word| {
        word.split(';')
            .next()
            .unwrap_or("")
            .trim()
            .eq_ignore_ascii_case("respond-async")
    })
}

async fn find(call: &Call, id: &CommandId) -> Result<Option<Command>, Problem> {
    let (store, reach) = (&call.edge.store, call.reach());
    let row = store.row(&reach, RowKind::Command, Scope::PLATFORM, id.to_string());
    Ok(row.await?.as_ref().map(Command::of))
}

async fn row_of(store: &dyn Store, id: &CommandId) -> Result<Option<Command>, Problem> {
    let row = store
        .row(RowKind::Command, Scope::PLATFORM, id.to_string())
        .await?;
    Ok(row.as_ref().map(Command::of))
}

/// Whether something new may be ordered now. What nobody waits for is queued also while the circuit is open.
/// # Errors: 503.
async fn admit(call: &Call, tenant: &TenantId, scope: &Scope) -> Result<slots::Taken, Problem> {
    if !is_async(call)
        && let Err(retry_after) = call.edge.stripe.check(scope)
    {
        let detail = "calls to Stripe are held back after failures; nothing was ordered";
        return Err(Problem {
            retry_after_seconds: Some(retry_after.as_secs().max(1)),
            ..Problem::new(Code::StripeCircuitOpen, detail)
        });
    }
    if call.edge.store.stats().await?.pending > LAG_INPUTS_MAX {
        let detail = "too many events wait to be applied; webhooks come first";
        return Err(Problem::new(Code::Overloaded, detail));
    }
    call.edge.commands.take(tenant).ok_or_else(|| {
        let detail = "too many commands are under way; ask again";
        Problem::new(Code::Overloaded, detail)
    })
}

async fn begin(call: &Call, id: &CommandId, plan: Plan, is_async: bool) -> Result<(), Problem> {
    let patience_ms = u64::try_from(PATIENCE.as_millis())
        .ok()
        .filter(|_| !is_async);
    begin_with(call, id, plan, patience_ms, None).await
}

/// Stores a command: waited for so long, and sent once `after` is over.
async fn begin_with(
    call: &Call,
    id: &CommandId,
    plan: Plan,
    patience_ms: Option<u64>,
    after: Option<CommandId>,
) -> Result<(), Problem> {
    let order = Order::CommandBegin(Box::new(CommandOrder {
        kind: plan.kind,
        tenant: plan.tenant.clone(),
        by: call.caller.principal.text(),
        call: plan.call,
        objects: plan.objects,
        awaits: plan.awaits,
        after,
        patience_ms,
    }));
    send(call, id, id.to_string(), &order, &plan.tenant).await
}

/// Orders again what was given up, and first the customer it waited for.
async fn again(
    call: &Call,
    id: &CommandId,
    tenant: &TenantId,
    command: &Command,
) -> Result<(), Problem> {
    if let Ok(awaited) = CommandId::parse(command.text("awaits"))
        && let Some(awaited_command) = find(call, &awaited).await?
        && awaited_command.is_given_up()
    {
        send_again(call, &awaited, &awaited_command, tenant).await?;
    }
    send_again(call, id, command, tenant).await
}

async fn send_again(
    call: &Call,
    id: &CommandId,
    command: &Command,
    tenant: &TenantId,
) -> Result<(), Problem> {
    // Several who ask again after the same end ask for one more attempt together.
    let source = format!("{id}.again.{}", command.text("endedAt"));
    send(call, id, source, &Order::CommandAgain {}, tenant).await
}

async fn send(
    call: &Call,
    id: &CommandId,
    source: String,
    order: &Order,
    tenant: &TenantId,
) -> Result<(), Problem> {
    let inbound = inbound(id, source, order, tenant, call.edge.now());
    call.edge.intake.accept(inbound).await?;
    call.edge
        .intake
        .wake(vec![AggregateKey::Command(id.clone())]);
    Ok(())
}

/// An order as an input of its command.
pub fn inbound(
    id: &CommandId,
    source: String,
    order: &Order,
    tenant: &TenantId,
    received_at: Timestamp,
) -> Inbound {
    Inbound {
        source: InputSource::Operator(source),
        kind: order.kind().to_owned(),
        fate: Fate::Pending {
            to: AggregateKey::Command(id.clone()),
            park: Vec::new(),
        },
        object_ids: vec![id.to_string()],
        created_at: None,
        received_at,
        subject: tenant::subject(tenant),
        body: order.to_body().into(),
        tenant: Some(tenant.clone()),
    }
}

/// Waits until a command is over, as long as a caller is waited with; then what is known. `old_end` is when it was over
/// before it was ordered again.
/// # Errors: those of the store, 503 `not_applied_yet`.
pub async fn ended(
    store: &dyn Store,
    id: &CommandId,
    old_end: Option<&str>,
) -> Result<Command, Problem> {
    let is_old = |command: &Command| command.is_over() && old_end == Some(command.text("endedAt"));
    let deadline = tokio::time::Instant::now() + PATIENCE + PATIENCE_SLACK;
    let mut commits = store.commits();
    loop {
        commits.look();
        let command = row_of(store, id).await?.filter(|found| !is_old(found));
        if let Some(command) = command.filter(Command::is_over) {
            return Ok(command);
        }
        let more = tokio::time::timeout_at(deadline, commits.changed());
        match more.await {
            Ok(Ok(())) => {}
            Ok(Err(_closing)) => {
                return Err(Problem::new(Code::StoreUnavailable, "the store is closing"));
            }
            Err(_elapsed) => {
                let stored = "the order is stored and not looked at yet; ask again";
                let command = row_of(store, id).await?.filter(|found| !is_old(found));
                return command.ok_or_else(|| Problem::new(Code::NotAppliedYet, stored));
            }
        }
    }
}

/// The tenant a request is for: named by the caller, and there.
/// # Errors: 400 without one, 404 for one that is not there.
pub async fn tenant_of(call: &Call) -> Result<(TenantId, RowView), Problem> {
    let Some(tenant) = call.reach().tenant().cloned() else {
        let detail = "say for which tenant: `tenantId`, or the X-Tenant-Id header";
        return Err(Problem::field(
            "tenantId",
            crate::http::problem::FieldCode::Required,
            detail,
        ));
    };
    let row = tenant_row(call, &tenant).await?;
    Ok((tenant, row))
}

/// A customer the caller named, if it is the tenant's. # Errors: 404.
pub async fn customer_named(
    call: &Call,
    id: &str,
    tenant: &TenantId,
) -> Result<CustomerId, Problem> {
    let reach = call.caller.reach(Some(tenant));
    let row = visible_row(&call.edge, RowKind::Customer, id, Some(""), &reach).await?;
    if row.status == "deleted" {
        return Err(Problem::not_found());
    }
    CustomerId::parse(&row.id).map_err(|_| Problem::not_found())
}

/// The tenant's customer at Stripe, or the command that makes it.
pub enum Payer {
    /// It exists.
    Known(CustomerId),
    /// It is being made, once, whoever asks.
    Made(CommandId),
}

/// The tenant's customer at Stripe, if it has one.
pub fn customer_of(row: &RowView) -> Option<CustomerId> {
    let stored: Value = serde_json::from_slice(&row.value).ok()?;
    CustomerId::parse(stored["stripeCustomerId"].as_str()?).ok()
}

/// Who pays for a tenant: its customer, or the one command that makes it (`once`).
/// # Errors: those of the store and of admission.
pub async fn payer(call: &Call, tenant: &TenantId, row: &RowView) -> Result<Payer, Problem> {
    if let Some(known) = customer_of(row) {
        return Ok(Payer::Known(known));
    }
    let stored: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    let gone = (RowKind::Customer, "deleted");
    let id = once::command(call, tenant, CommandKind::Customer, gone).await?;
    match find(call, &id).await? {
        Some(command) if command.is_given_up() => {
            let _slot = admit(call, tenant, &Scope::PLATFORM).await?;
            send_again(call, &id, &command, tenant).await?;
        }
        Some(_) => {}
        None => {
            let text = |name: &str| stored[name].as_str().map(str::to_owned);
            let order = customers::NewCustomer {
                tenant: tenant.clone(),
                name: text("name"),
                email: text("email").or_else(|| call.fields.text("email").map(str::to_owned)),
            };
            let plan = Plan {
                kind: CommandKind::Customer,
                tenant: tenant.clone(),
                call: customers::with_notes(
                    customers::create(&order, &id),
                    &customer_sync::notes(row),
                ),
                objects: vec![tenant.to_string()],
                awaits: None,
            };
            let _slot = admit(call, tenant, &Scope::PLATFORM).await?;
            begin(call, &id, plan, is_async(call)).await?;
        }
    }
    Ok(Payer::Made(id))
}
