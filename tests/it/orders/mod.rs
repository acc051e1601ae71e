//! Orders to Stripe, from a program's request to what the sandbox did: real sockets, real files, real signatures.

mod checkout;
mod customers;
mod invoices;
pub(crate) mod stand;
mod subscriptions;
mod waiting;
