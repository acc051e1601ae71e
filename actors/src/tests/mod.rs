//! The whole tree over a fake store, on paused time.

mod engine;
mod fake_store;
mod gated;
mod lanes;
mod life;
mod metering;
mod poison;
mod reconcile;
mod world;
