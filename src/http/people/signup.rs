//! Signing up: an account with a tenant to come, and the mail that proves the address.
//!
//! Order: account, proof and mail in one commit; the address proved in another; then the tenant, by the same order the
//! operator gives, under an id drawn at the sign-up; then the membership. Whatever is interrupted is finished by the
//! same link, by a log-in, or by the sweep that runs at the start and hourly.
//!
//! Invariants: the answer and the work are the same whether the address is new, waiting or known; of two sign-ups of one
//! address that is not proved, the later holds, and its mail kills the older's.

use super::{ROUNDS, actor, address, admit, commit, contended, secret};
use crate::http::answer::Answer;
use crate::http::edge::Edge;
use crate::http::order::place_under;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::Call;
use crate::http::server::BoxFuture;
use crate::http::tenants::accepted;
use crate::identity::accounts::{self, Account, PendingTenant};
use crate::identity::addresses::Owner;
use crate::identity::members;
use crate::identity::proofs::{self, CODE_MINUTES, Proof, Purpose, Sent};
use crate::identity::records::{Actor, Commit, Read, mail_to, spaces};
use crate::identity::{UserId, limits, passwords};
use bursar_config::Signup;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::effect::Mail;
use bursar_domain::fact::Order;
use bursar_domain::identity::Role;
use bursar_domain::ids::TenantId;
use secrecy::ExposeSecret;
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 255;
/// Where the link of a verification leads.
pub const VERIFY_PATH: &str = "/verify-email";

/// A sign-up, its password hashed.
struct Wanted {
    address: String,
    password: String,
    tenant_name: String,
}

/// `POST /api/v1/signup`.
pub fn sign_up(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        if call.edge.identity.signup != Signup::Open {
            let detail = match call.edge.identity.signup {
                Signup::Invite => "people come by invitation here; ask whoever runs the product",
                _ => "nobody signs up here",
            };
            return Err(Problem::new(Code::SignupClosed, detail));
        }
        let address = address(&call, "email")?;
        let password = passwords::accepted("password", secret(&call, "password"))?;
        let tenant_name = call
            .fields
            .text("tenantName")
            .unwrap_or("")
            .trim()
            .to_owned();
        if tenant_name.is_empty() {
            let detail = "`tenantName` must say something";
            return Err(Problem::field("tenantName", FieldCode::OutOfRange, detail));
        }
        admit(&call).await?;
        let wanted = Wanted {
            password: call.edge.identity.passwords.hash(password).await?,
            address,
            tenant_name,
        };
        for _ in 0..ROUNDS {
            let decided = decide(&call, &wanted).await?;
            if commit(&call, decided).await? {
                return Ok(sent());
            }
        }
        Err(contended())
    })
}

/// What is said whether there was anything to send or not.
pub(super) fn sent() -> Answer {
    let mut answer = Answer::created(&json!({"status": "verification_sent"}));
    answer.header("cache-control", "no-store");
    answer
}

async fn decide(call: &Call, wanted: &Wanted) -> Result<Commit, Problem> {
    let store = call.edge.store.as_ref();
    let key = call.edge.identity.address_key(store).await?;
    match accounts::find_by_address(store, key, &wanted.address).await? {
        None => new_account(call, wanted, &key.of_address(&wanted.address)),
        Some((user, account)) if account.value.verified_at.is_some() => {
            known(call, &user, &account).await
        }
        Some((user, account)) => renewed(call, &user, &account, Some(wanted)).await,
    }
}

fn new_tenant_id() -> TenantId {
    let id = uuid::Uuid::now_v7().to_string();
    TenantId::parse(&id).expect("a UUID fits the grammar of tenant ids")
}

fn new_account(call: &Call, wanted: &Wanted, name: &str) -> Result<Commit, Problem> {
    let (now, user) = (call.edge.now(), UserId::new());
    let account = Account {
        email: wanted.address.clone(),
        name: String::new(),
        password: Some(wanted.password.clone()),
        verified_at: None,
        created_at: now,
        default_tenant: None,
        session_version: 0,
        pending_tenant: Some(PendingTenant {
            id: new_tenant_id(),
            name: wanted.tenant_name.clone(),
        }),
    };
    let keys = &call.edge.identity.keys;
    let made = proofs::renewed(keys, &user, Purpose::Verification, None, now)?;
    let (proof, sent) = made.ok_or_else(contended)?;
    let owner = Owner { user: user.clone() };
    let purpose = Purpose::Verification.key(&user);
    let line = actor(call).did("user.signed_up", user.as_str(), None, now, String::new());
    Ok(Commit::default()
        .create(
            spaces::ACCOUNT,
            user.as_str(),
            &account,
            Some(user.subject()),
        )?
        .create(spaces::ADDRESS, name, &owner, None)?
        .create(spaces::PROOF, &purpose, &proof, None)?
        .mail(
            mail(call, &account.email, &sent),
            &proof.link_sha256,
            now,
            user.subject(),
        )
        .audit(line))
}

fn mail(call: &Call, to: &str, sent: &Sent) -> Mail {
    let base = call.edge.settings.app_base_url.trim_end_matches('/');
    let link = format!("{base}{VERIFY_PATH}?token={}", sent.token.expose_secret());
    let minutes = CODE_MINUTES.to_string();
    let params = [
        ("link", link.as_str()),
        ("code", sent.code.expose_secret()),
        ("minutes", minutes.as_str()),
    ];
    mail_to("verification", None, to, &params)
}

/// Writes a proof over the one before. # Errors: it cannot be written.
pub(super) fn put_proof(
    commit: Commit,
    user: &UserId,
    purpose: Purpose,
    before: Option<&Read<Proof>>,
    proof: &Proof,
) -> Result<Commit, Problem> {
    let key = purpose.key(user);
    Ok(match before {
        Some(before) => commit.replace(spaces::PROOF, &key, &before.bytes, proof, None)?,
        None => commit.create(spaces::PROOF, &key, proof, None)?,
    })
}

/// Makes a proof anew and mails it, with its audit line, on top of a commit. Who had as many as they may have in an
/// hour gets none, and nothing else of the commit is done: asked for so soon, it is a commit that nobody reads.
pub(super) async fn send_proof(
    call: &Call,
    commit: Commit,
    user: &UserId,
    purpose: Purpose,
    did: &'static str,
    write: impl Fn(&Sent) -> Mail,
) -> Result<Commit, Problem> {
    let (store, now) = (call.edge.store.as_ref(), call.edge.now());
    let before = proofs::find(store, user, purpose).await?;
    let last = before.as_ref().map(|b| &b.value);
    let keys = &call.edge.identity.keys;
    let Some((proof, sent)) = proofs::renewed(keys, user, purpose, last, now)? else {
        return Ok(limits::decoy(Commit::default(), user.as_str(), now)?);
    };
    let line = actor(call).did(did, user.as_str(), None, now, String::new());
    let commit = put_proof(commit, user, purpose, before.as_ref(), &proof)?;
    Ok(commit
        .mail(write(&sent), &proof.link_sha256, now, user.subject())
        .audit(line))
}

/// Sends a new proof to an account that waits for one; a sign-up also changes what it waits with.
async fn renewed(
    call: &Call,
    user: &UserId,
    account: &Read<Account>,
    wanted: Option<&Wanted>,
) -> Result<Commit, Problem> {
    let mut changed = account.value.clone();
    if let Some(wanted) = wanted {
        changed.password = Some(wanted.password.clone());
        let id = changed.pending_tenant.map_or_else(new_tenant_id, |p| p.id);
        changed.pending_tenant = Some(PendingTenant {
            id,
            name: wanted.tenant_name.clone(),
        });
    }
    let (id, whose) = (user.as_str(), Some(user.subject()));
    let commit = Commit::default().replace(spaces::ACCOUNT, id, &account.bytes, &changed, whose)?;
    let (purpose, did) = (Purpose::Verification, "user.verification_sent");
    let write = |sent: &Sent| mail(call, &changed.email, sent);
    send_proof(call, commit, user, purpose, did, write).await
}

/// Tells the owner of a known address that somebody signed up with it.
async fn known(call: &Call, user: &UserId, account: &Read<Account>) -> Result<Commit, Problem> {
    let write = |_: &Sent| mail_to("signup_known", None, &account.value.email, &[]);
    let (purpose, did) = (Purpose::Notice, "user.signup_of_known");
    send_proof(call, Commit::default(), user, purpose, did, write).await
}

/// `POST /api/v1/verification/resend`.
pub fn resend(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move {
        let address = address(&call, "email")?;
        admit(&call).await?;
        let store = call.edge.store.as_ref();
        let key = call.edge.identity.address_key(store).await?;
        for _ in 0..ROUNDS {
            let found = accounts::find_by_address(store, key, &address).await?;
            let decided = match found {
                Some((user, account)) if account.value.verified_at.is_none() => {
                    renewed(&call, &user, &account, None).await?
                }
                _ => {
                    let name = key.of_address(&address);
                    limits::decoy(Commit::default(), &name, call.edge.now())?
                }
            };
            if commit(&call, decided).await? {
                let mut answer = Answer::json(&json!({"status": "verification_sent"}));
                answer.header("cache-control", "no-store");
                return Ok(answer);
            }
        }
        Err(contended())
    })
}

/// Makes the tenant of a person whose address is proved, and them its owner. Whatever was done before is not done
/// again. Answers the tenant, if there was one to come.
/// # Errors: 503; asking again is safe.
pub async fn finish(
    edge: &Edge,
    user: &UserId,
    request_id: &str,
) -> Result<Option<TenantId>, Problem> {
    let store = edge.store.as_ref();
    for _ in 0..ROUNDS {
        let account = accounts::find(store, user).await?;
        let Some(account) = account.filter(|a| a.value.verified_at.is_some()) else {
            return Ok(None);
        };
        let Some(pending) = account.value.pending_tenant.clone() else {
            return Ok(account.value.default_tenant);
        };
        let order = Order::TenantCreate {
            name: Some(pending.name),
            email: Some(account.value.email.clone()),
            metadata: BTreeMap::new(),
            timezone: None,
        };
        let tenant = pending.id;
        let to = AggregateKey::Tenant(tenant.clone());
        let (id, ids) = (format!("signup_{user}"), vec![tenant.as_str().to_owned()]);
        accepted(&place_under(edge, id, &order, to, tenant.clone(), ids).await?)?;
        let now = edge.now();
        let mut changed = account.value.clone();
        changed.pending_tenant = None;
        changed.default_tenant = changed.default_tenant.or_else(|| Some(tenant.clone()));
        let (key, whose) = (user.as_str(), Some(user.subject()));
        let by = Actor::user(user, request_id);
        let owner = Role::Owner.as_str();
        let commit = Commit::default()
            .replace(spaces::ACCOUNT, key, &account.bytes, &changed, whose)?
            .remove(spaces::UNFINISHED, key, None)
            .audit(by.did(
                "tenant.created",
                tenant.as_str(),
                Some(&tenant),
                now,
                "signed up",
            ))
            .audit(by.did("member.added", key, Some(&tenant), now, owner));
        let commit = members::join(commit, &tenant, user, Role::Owner, now)?;
        if commit.run(store).await? {
            return Ok(Some(tenant));
        }
    }
    Err(contended())
}
