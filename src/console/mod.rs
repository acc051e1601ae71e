//! The console: what operators and a tenant's people look at, and their forms.
//!
//! Server-rendered pages without a script, a plain form for every action, one stylesheet, nothing from another host.
//! A page is a view of routes of the API: it asks them through `http::inner`, so that there is one way to decide, to
//! authorize, to read, to repeat and to keep a trail.
//!
//! Invariants: no page touches the store (a test looks); each row names the route whose right it needs; each form
//! carries its session's token and a key of its own, so that a double submit counts once; what a page shows is escaped
//! by the template engine; a secret is shown in one answer and nowhere else.
//! Not here: roles (`http::routes`), sessions (`identity`), what an answer holds (`http`).
//! Failure: a problem is a page that says why and what to do next; without a session the way leads to the sign-in.

mod audit;
mod chart;
mod checkout;
mod circuits;
mod endpoints;
mod events;
mod explain;
mod form;
mod keys;
mod members;
mod money;
mod outbox;
mod overview;
mod page;
mod payments;
pub mod pulse;
mod reconcile;
mod refusal;
mod rows;
mod setup;
mod signing;
mod tenants;
mod unclaimed;
mod visit;

pub(crate) use page::mailed;
pub(crate) use refusal::{Way, refusal};
pub use rows::ROWS;

#[cfg(test)]
mod tests;
