//! The sandbox over real sockets: what it answers, tells and delivers.

mod client;
mod faults;
mod idempotency;
mod life;
mod payments;
mod schema;
mod shapes;
mod signatures;
mod webhooks;
