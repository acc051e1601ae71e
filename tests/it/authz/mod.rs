//! Who may do what: every route asked by every kind of caller for its own tenant, another's and one that does not
//! exist, named wherever a request can name one.

pub(crate) mod callers;
mod console;
mod cookies;
mod keys;
mod matrix;
pub(crate) mod people;
mod seed;
