//! The core as a whole: events in, states out, in a world of memory.

mod corpus;
mod flows;
