//! The edge: HTTP in, ports behind it.
//!
//! One declarative table (`routes`) says what there is; the server (`server`, `connections`,
//! `body`) bounds what may come; the router (`router`) takes a request to its handler; handlers
//! read the store, or put an order through the intake and wait for it.
//!
//! Not here: what an event means (`bursar_domain`), who acts on it (`bursar_actors`).

pub mod answer;
pub mod api_keys;
pub mod attempts;
pub mod audits;
pub mod auth;
pub mod body;
pub mod budget;
pub mod card_numbers;
pub mod commands;
pub mod connections;
pub mod credits;
pub mod cursor;
pub mod docs;
pub mod edge;
pub mod entitlements;
pub mod erase;
pub mod fields;
pub mod health;
pub mod history;
pub mod idempotency;
pub mod inner;
pub mod keys;
pub mod limits;
pub mod line_items;
pub mod notifications;
pub mod openapi;
pub mod operators;
pub mod order;
pub mod pace;
pub mod people;
pub mod problem;
pub mod reads;
pub mod reconcile;
pub mod replays;
pub mod return_urls;
pub mod role_table;
pub mod route;
pub mod router;
pub mod routes;
pub mod schemas;
pub mod server;
pub mod service_keys;
pub mod set_aside;
pub mod tenant_store;
pub mod tenants;
pub mod texts;
pub mod webhook;
pub mod webhook_events;
pub mod words;
