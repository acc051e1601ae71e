//! Reading and writing identity's records: typed over the store's small records.
//!
//! Invariants: what is decided over a record that was read is committed with a guard on its bytes; a commit that was
//! refused because somebody was first is decided again by its caller, over what is stored then.

use crate::identity::UserId;
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::effect::{Effect, Mail};
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::rows::Subject;
use bursar_store::api::{Administer, AuditEntry, Keep, Store};
use bursar_store::error::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Namespaces of the store's small records. Every key that begins with another record's id ends that id with `/`.
pub mod spaces {
    /// `<user>`: [`crate::identity::accounts::Account`], sealed.
    pub const ACCOUNT: &str = "user";
    /// HMAC of an address: whose it is.
    pub const ADDRESS: &str = "user_address";
    /// `<tenant>/<user>`: [`crate::identity::members::Member`].
    pub const MEMBER: &str = "member";
    /// `<user>/<tenant>`: nothing; the other direction.
    pub const MEMBER_OF: &str = "member_of";
    /// `<session>`: [`crate::identity::sessions::Session`].
    pub const SESSION: &str = "user_session";
    /// `<user>/<session>`: nothing.
    pub const SESSION_OF: &str = "user_session_of";
    /// `<session>`: [`crate::identity::operators::Session`].
    pub const OPERATOR_SESSION: &str = "operator_session";
    /// `<invitation>`: [`crate::identity::invitations::Invitation`], sealed.
    pub const INVITATION: &str = "invitation";
    /// `<tenant>/<invitation>`: nothing.
    pub const INVITATION_OF: &str = "invitation_of";
    /// `<user>/<purpose>`: [`crate::identity::proofs::Proof`].
    pub const PROOF: &str = "user_proof";
    /// `<user>`: nothing; their address is proved and their tenant is not there yet.
    pub const UNFINISHED: &str = "user_unfinished";
    /// What is counted, by HMACs: [`crate::identity::limits::Tally`].
    pub const LIMIT: &str = "login_limit";
    /// Addresses people logged in from, by HMACs: when.
    pub const KNOWN: &str = "login_known";
    /// The one key of addresses.
    pub const KEY: &str = "identity_key";
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// What it says.
    pub value: T,
    /// Its bytes, for the guard of a commit.
    pub bytes: Vec<u8>,
}

fn unreadable(space: &str, error: &serde_json::Error) -> StoreError {
    // The bytes may hold personal fields; the place in them says enough.
    StoreError::Invalid(format!(
        "a record of {space} cannot be read (column {})",
        error.column()
    ))
}

/// Reads a record. # Errors: the store's; `Invalid` if it cannot be read.
pub async fn read<T: DeserializeOwned>(
    store: &dyn Store,
    space: &'static str,
    key: &str,
) -> Result<Option<Read<T>>, StoreError> {
    let Some(bytes) = store.kept(space, key.to_owned()).await? else {
        return Ok(None);
    };
    let value = serde_json::from_slice(&bytes).map_err(|error| unreadable(space, &error))?;
    Ok(Some(Read { value, bytes }))
}

/// The records whose key begins with `prefix` (which ends in `/`), less the prefix, after `cursor`.
/// # Errors: the store's.
pub async fn below<T: DeserializeOwned>(
    store: &dyn Store,
    space: &'static str,
    prefix: &str,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Read<T>)>, StoreError> {
    debug_assert!(prefix.ends_with('/'));
    let after = format!("{prefix}{}", cursor.unwrap_or(""));
    let page = store.kept_all(space, Some(after), limit).await?;
    let mut found = Vec::new();
    for (key, bytes) in page {
        let Some(rest) = key.strip_prefix(prefix) else {
            break;
        };
        let value = serde_json::from_slice(&bytes).map_err(|error| unreadable(space, &error))?;
        found.push((rest.to_owned(), Read { value, bytes }));
    }
    Ok(found)
}

/// One commit in the making.
#[derive(Debug, Default)]
#[must_use]
pub struct Commit(Administer);

impl Commit {
    /// Writes a record that must not exist yet.
    pub fn create<T: Serialize>(
        mut self,
        space: &'static str,
        key: &str,
        value: &T,
        subject: Option<Subject>,
    ) -> Result<Self, StoreError> {
        self.0.must_be_absent.push((space, key.to_owned()));
        self.put(space, key, value, subject)
    }
    /// Writes over a record that must be as it was read.
    pub fn replace<T: Serialize>(
        self,
        space: &'static str,
        key: &str,
        read: &[u8],
        value: &T,
        subject: Option<Subject>,
    ) -> Result<Self, StoreError> {
        self.guard(space, key, read).put(space, key, value, subject)
    }
    /// Writes a record, whatever is there.
    pub fn put<T: Serialize>(
        mut self,
        space: &'static str,
        key: &str,
        value: &T,
        subject: Option<Subject>,
    ) -> Result<Self, StoreError> {
        let value = serde_json::to_vec(value).map_err(|error| {
            StoreError::Invalid(format!("a record of {space} cannot be written: {error}"))
        })?;
        self.0.keeps.push(Keep {
            space,
            key: key.to_owned(),
            value: Some(value),
            subject,
        });
        Ok(self)
    }
    /// Removes a record.
    pub fn remove(mut self, space: &'static str, key: &str, subject: Option<Subject>) -> Self {
        self.0.keeps.push(Keep {
            space,
            key: key.to_owned(),
            value: None,
            subject,
        });
        self
    }
    /// Refuses the commit unless a record is as it was read.
    pub fn guard(mut self, space: &'static str, key: &str, read: &[u8]) -> Self {
        let guard = (space, key.to_owned(), read.to_vec());
        self.0.must_be_unchanged.push(guard);
        self
    }
    /// Refuses the commit if a record exists.
    pub fn absent(mut self, space: &'static str, key: &str) -> Self {
        self.0.must_be_absent.push((space, key.to_owned()));
        self
    }
    /// A mail, once per `business_key`. Its personal fields are `whose`.
    pub fn mail(mut self, mail: Mail, business_key: &str, now: Timestamp, whose: Subject) -> Self {
        let of = AggregateKey::Installation(Scope::PLATFORM);
        let intent = Effect::Mail(mail).intent(&of, business_key, now, Some(whose));
        self.0.effects.push((of, intent));
        self
    }
    /// A line of the audit trail.
    pub fn audit(mut self, line: AuditEntry) -> Self {
        self.0.audit.push(line);
        self
    }
    /// Whether it sends a mail.
    pub fn has_mail(&self) -> bool {
        !self.0.effects.is_empty()
    }
    /// Commits; `false`: somebody was first. # Errors: the store's.
    pub async fn run(self, store: &dyn Store) -> Result<bool, StoreError> {
        store.administer(self.0).await
    }
}

/// A mail to one address.
pub fn mail_to(
    template: &str,
    tenant: Option<TenantId>,
    to: &str,
    params: &[(&str, &str)],
) -> Mail {
    let params = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Mail {
        template: template.to_owned(),
        tenant,
        to: Some(to.to_owned()),
        params: params.collect::<BTreeMap<_, _>>(),
    }
}

/// Who did something, for the audit trail.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `user:<id>`, `operator`, `anonymous`, `system`.
    pub text: String,
    /// The request that caused it; empty if none did.
    pub request_id: String,
}

impl Actor {
    /// The service itself.
    pub fn system() -> Self {
        Self {
            text: "system".to_owned(),
            request_id: String::new(),
        }
    }
    /// A person, in the course of this request.
    pub fn user(user: &UserId, request_id: &str) -> Self {
        Self {
            text: format!("user:{user}"),
            request_id: request_id.to_owned(),
        }
    }
    /// A line about something this actor did.
    pub fn did(
        &self,
        action: &str,
        object_id: &str,
        tenant: Option<&TenantId>,
        at: Timestamp,
        detail: impl Into<String>,
    ) -> AuditEntry {
        AuditEntry {
            at,
            actor: self.text.clone(),
            action: action.to_owned(),
            object_id: object_id.to_owned(),
            tenant: tenant.cloned(),
            request_id: self.request_id.clone(),
            detail: detail.into(),
        }
    }
}
