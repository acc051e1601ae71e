//! Orders to Stripe, from a program's request to what the sandbox did: real sockets, real files, real signatures.

mod checkout;
mod connect;
mod customers;
mod disputes;
mod invoices;
mod money;
mod outage;
mod payments;
mod refunds;
pub(crate) mod stand;
mod subscriptions;
mod together;
mod waiting;
