//! The core as a whole: events in, states out, in a world of memory.

mod build;
mod corpus;
mod flows;
mod histories;
mod orders;
mod random;
mod shapes;
