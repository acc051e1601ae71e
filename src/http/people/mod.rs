//! The routes of people: how they get in, what is theirs, and who belongs to a tenant.
//!
//! Invariants: an answer never tells whether an address has an account; what a person may do in a tenant is read from
//! the store at each request.
//! Not here: the records and what may become of them (`identity`), the table's rows (`routes::people`).

pub mod callers;
