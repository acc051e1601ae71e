//! What the process says about itself: logs and metrics.

pub mod catalogue;
pub mod exporter;
pub mod log;
