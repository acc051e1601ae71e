//! Bursar, the payment back office between Stripe and a product.

pub mod account_watch;
pub mod adapters;
pub mod app;
pub mod background;
pub mod bench;
pub mod cli;
pub mod commands;
pub mod console;
pub mod control;
pub mod endpoint_watch;
pub mod http;
pub mod identity;
pub mod mail;
pub mod notifications;

pub mod performers;
pub mod processor;
pub mod provisioning;
pub mod samples;
pub mod stripe;
pub mod telemetry;
pub mod verify;
