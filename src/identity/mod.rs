//! People: accounts, how they prove who they are, and where they belong.
//!
//! Invariants: whatever is secret is stored as a hash, an address and a name only sealed under the person's own
//! subject `user:<id>`; membership is read from the store at each request, never from a token; every change of a
//! record is one guarded commit with its audit line and its mail.
//! Not here: routes and their answers (`http::people`), what a mail says (`mail`), what roles may do
//! (`bursar_domain::identity`). Functions a performer needs take the store and not the edge.
//! Source: contract §3, "People" and "Callers".

pub mod accounts;
pub mod addresses;
pub mod invitations;
pub mod limits;
pub mod members;
pub mod operators;
pub mod passwords;
pub mod proofs;
pub mod records;
pub mod secrets;
pub mod sessions;
pub mod sweep;
pub mod tenants;
pub mod tokens;

use crate::http::problem::Problem;
use addresses::AddressKey;
use bursar_config::Signup;
use bursar_domain::rows::Subject;
use bursar_store::api::Store;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::fmt;
use tokio::sync::OnceCell;

/// A person's account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// What every id of a person begins with.
    pub const PREFIX: &'static str = "usr_";

    /// A new one.
    pub fn new() -> Self {
        Self(format!("{}{}", Self::PREFIX, uuid::Uuid::now_v7().simple()))
    }
    /// Reads an id; `None`: it names nobody.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(Self::PREFIX)?;
        secrets::is_hex(digits, 16).then(|| Self(text.to_owned()))
    }
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Under whose key the person's fields are sealed.
    pub fn subject(&self) -> Subject {
        Subject(format!("user:{}", self.0))
    }
}

impl Default for UserId {
    fn default() -> Self {
        Self::new()
    }
}

impl TryFrom<String> for UserId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a user id is usr_ and 32 hexadecimal digits")
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What of the configuration identity follows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs access tokens; what else is derived from a secret is derived from it.
    pub jwt_secret: SecretString,
    /// The secret before it: what it signed is still taken.
    pub jwt_secret_previous: Option<SecretString>,
    /// Who may create a tenant by signing up.
    pub signup: Signup,
}

/// What identity keeps in memory: keys, made once.
#[derive(Debug)]
pub struct Identity {
    /// Who may sign up.
    pub signup: Signup,
    /// Keys of access tokens and of what is derived.
    pub keys: tokens::Keys,
    /// Who hashes passwords.
    pub passwords: passwords::Pool,
    /// Whether cookies go over https alone.
    pub is_https: bool,
    address_key: OnceCell<AddressKey>,
}

impl Identity {
    /// Over these settings; `base_url` is where the service is reached, which its tokens name as issuer and audience.
    pub fn new(settings: &Settings, base_url: &str) -> Self {
        Self {
            signup: settings.signup,
            keys: tokens::Keys::new(&settings.jwt_secret, base_url)
                .after(settings.jwt_secret_previous.as_ref()),
            passwords: passwords::Pool::default(),
            is_https: base_url.starts_with("https:"),
            address_key: OnceCell::new(),
        }
    }
    /// The key under which addresses are looked up, made at its first use. # Errors: the store's.
    pub async fn address_key(&self, store: &dyn Store) -> Result<&AddressKey, Problem> {
        let key = self.address_key.get_or_try_init(|| addresses::key(store));
        Ok(key.await?)
    }
}
