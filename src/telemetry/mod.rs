//! What the process says about itself: logs, metrics and traces.

pub mod catalogue;
pub mod exporter;
pub mod facts;
pub mod log;
#[cfg(feature = "otel")]
pub mod otel;
pub mod trace;
