//! What a row of the route table says. The table (`routes`) is the one place from which routing,
//! authentication, limits, parsing, metric labels and the OpenAPI document follow.
//!
//! Invariants: a route without an `auth` does not compile; fields that are not declared are refused.

use crate::http::answer::Answer;
use crate::http::auth::{Caller, Reach, Scope};
use crate::http::edge::Edge;
use crate::http::fields::Fields;
use crate::http::problem::{Code, Problem};
use crate::http::server::{BoxFuture, Peer};
use bursar_domain::identity::Role;
use bursar_domain::ids::TenantId;
use bursar_store::api::Store;
use bytes::Bytes;
use hyper::HeaderMap;
use std::sync::Arc;

/// The methods we speak. `HEAD` is answered wherever `GET` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Verb {
    Get,
    Post,
    Patch,
    Delete,
}

impl Verb {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Anybody.
    Public,
    /// Stripe, by the signature of the body.
    Stripe,
    /// The operator, or a service key that holds one of these scopes.
    Scopes(&'static [Scope]),
    /// The same, or a caller bound to one tenant (a person, an API key) with at least this role there. What they
    /// see and do is that tenant's.
    Tenant(&'static [Scope], Role),
    /// The operator, or a person with at least this role in the tenant: no key makes or ends keys.
    PersonOf(Role),
    /// A signed-in person, for what is theirs alone (their profile, their sessions).
    Person,
    /// The operator alone.
    Operator,
    /// A page of the console: a session in a cookie, and the right of the route of this label, which the page shows
    /// or orders; without a label nothing but a session.
    Console(&'static str),
}

impl Auth {
    /// Whether it takes a credential of ours.
    pub const fn is_ours(self) -> bool {
        !matches!(self, Self::Public | Self::Stripe)
    }
    /// Whether who calls acts in a tenant, or in all of them.
    pub const fn is_of_tenants(self) -> bool {
        !matches!(self, Self::Public | Self::Stripe | Self::Person)
    }
}

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text of at most this many bytes, without control characters.
    Text(usize),
    /// A password, or a token that was sent to somebody: any text. It is never looked through for a card's number,
    /// which random digits may look like, and a route that takes one keeps no fingerprint of its request.
    Secret,
    /// Text of at most this many bytes that may have several lines.
    Lines(usize),
    /// An address of mail.
    Email,
    /// A time zone's name in the IANA database.
    Zone,
    /// A whole number in a range.
    Integer(i64, i64),
    /// `true` or `false`.
    Boolean,
    /// RFC 3339.
    Time,
    /// A tenant id.
    Tenant,
    /// Lines of a sale: `{name, amount, currency, quantity}` each.
    LineItems,
    /// An id of Stripe's or ours.
    Id,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of at most this many of these words; in a query separated by commas.
    Choices(&'static [&'static str], usize),
    /// A list of at most this many texts; in a query separated by commas.
    Texts(usize),
    /// An object of texts, as Stripe's metadata: 50 keys of 40, values of 500 characters.
    Metadata,
}

/// One field or parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// It must be there.
    pub required: bool,
    /// One sentence.
    pub help: &'static str,
}

/// An optional field.
pub const fn optional(name: &'static str, kind: Kind, help: &'static str) -> Param {
    Param {
        name,
        kind,
        required: false,
        help,
    }
}

/// A required field.
pub const fn required(name: &'static str, kind: Kind, help: &'static str) -> Param {
    Param {
        name,
        kind,
        required: true,
        help,
    }
}

/// What a successful answer holds, for the OpenAPI document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// An object of this schema.
    One(&'static str),
    /// A page of objects of this schema.
    Page(&'static str),
    /// HTML or other text.
    Text(&'static str),
    /// Nothing.
    Nothing,
}

/// The group of the console's rows.
pub const CONSOLE_TAG: &str = "console";

/// A handler.
pub type Handler = fn(Call) -> BoxFuture<Result<Answer, Problem>>;

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Route {
    /// Method.
    pub verb: Verb,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Further paths of the same handler.
    pub aliases: &'static [&'static str],
    /// Who may call it.
    pub auth: Auth,
    /// Label in metrics and logs, and operation id in the OpenAPI document.
    pub label: &'static str,
    /// Group in the OpenAPI document.
    pub tag: &'static str,
    /// One line.
    pub summary: &'static str,
    /// More lines, or nothing.
    pub description: &'static str,
    /// Fields: of the query for `GET` and `DELETE`, else of query and JSON body, merged.
    pub params: &'static [Param],
    /// Status of success.
    pub status: u16,
    /// What success holds.
    pub holds: Holds,
    /// A browser's form is taken as well as JSON: it is what a page of ours sends.
    pub takes_form: bool,
    /// It orders something at Stripe, so that its outcome may not be known yet: 202 with a command.
    pub orders: bool,
    /// Codes it answers beside those every route may.
    pub codes: &'static [Code],
    /// What runs.
    pub handler: Handler,
}

impl Route {
    /// A page for people, or what its forms are sent to: refused by a page as well.
    pub fn is_page(&self) -> bool {
        self.tag == CONSOLE_TAG
    }
    /// Takes `Idempotency-Key`.
    pub fn is_idempotent(&self) -> bool {
        let holds_secret = self.params.iter().any(|param| param.kind == Kind::Secret);
        self.verb == Verb::Post && self.auth.is_ours() && !holds_secret
    }
    /// Reads the request's fields, and refuses what is wrong with them. One that takes none and is for anybody does
    /// not look: a monitor's cache buster passes, and a query in Stripe's endpoint address.
    pub fn reads_fields(&self) -> bool {
        !self.params.is_empty() || !matches!(self.auth, Auth::Public | Auth::Stripe)
    }
    /// Takes fields from a JSON body.
    pub fn takes_body(&self) -> bool {
        matches!(self.verb, Verb::Post | Verb::Patch)
    }
}

/// One request on its way through a handler.
pub struct Call {
    /// The edge.
    pub edge: Arc<Edge>,
    /// Its row.
    pub route: &'static Route,
    /// Who calls.
    pub caller: Caller,
    /// From where.
    pub peer: Peer,
    /// The tenant `X-Tenant-Id` picked.
    pub selected: Option<TenantId>,
    /// Parameters of the path, decoded.
    pub path: Vec<(&'static str, String)>,
    /// Fields, checked against the row.
    pub fields: Fields,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// The request's id.
    pub request_id: String,
    /// Its idempotency key, if it sent one.
    pub idempotency_key: Option<String>,
}

impl Call {
    /// A parameter of the path.
    pub fn path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value.as_str())
    }
    /// The tenant of the path. # Errors: 404 outside the grammar or outside the request's reach.
    pub fn path_tenant(&self, name: &str) -> Result<TenantId, Problem> {
        let tenant = TenantId::parse(self.path(name)).map_err(|_| Problem::not_found())?;
        let is_covered = self.reach().covers(Some(&tenant));
        is_covered.then_some(tenant).ok_or_else(Problem::not_found)
    }
    /// Which tenants the request may see: the caller's own; of the installation's callers what `tenantId` or the
    /// header says, else all.
    pub fn reach(&self) -> Reach {
        let named = self.fields.tenant("tenantId").or(self.selected.clone());
        self.caller.reach(named.as_ref())
    }
    /// The whole store, for what only the operator may ask. # Errors: 403.
    pub fn whole_store(&self) -> Result<&Arc<dyn Store>, Problem> {
        if self.caller.is_operator() {
            return Ok(self.edge.store.whole());
        }
        let detail = "this needs the operator's key";
        Err(Problem::new(Code::InsufficientScope, detail))
    }
}
