//! placeholder

pub mod journal;
pub mod vfs;
