//! Every bound of the listener, with its reason.

use std::time::Duration;

/// Bounds of one listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first byte of a head to its last. 5 s: a slow client's hand-shake, not a slow attack.
    pub header_timeout: Duration,
    /// From the end of the head to the end of the body.
    pub body_timeout: Duration,
    /// A connection without a request, or a client that does not take its answer.
    pub idle_timeout: Duration,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one address.
    pub connections_per_address_max: usize,
    /// Loopback is not counted per address, neither connections nor wrong keys: a reverse proxy on
    /// this machine is one address.
    pub loopback_is_exempt: bool,
    /// Wrong keys of one address in a minute; beyond it 429.
    pub wrong_keys_per_minute: u32,
    /// Orders (POST, PATCH, DELETE) one caller may give at once in one tenant, the operator excepted; beyond it 429.
    pub orders_burst: u32,
    /// And per second from then on.
    pub orders_per_second: u32,
    /// Bytes of bodies held at once by all connections; beyond it 503.
    pub bodies_bytes_max: usize,
    /// Longest body of everything but a delivery.
    pub command_body_bytes_max: usize,
    /// Long polls waiting at once; beyond it they answer what is there.
    pub waiters_max: usize,
    /// Time for open requests after the listener closed.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            connections_max: 1_024,
            connections_per_address_max: 64,
            loopback_is_exempt: true,
            wrong_keys_per_minute: 20,
            orders_burst: 50,
            orders_per_second: 25,
            bodies_bytes_max: 64 << 20,
            command_body_bytes_max: BODY_BYTES_MAX,
            waiters_max: 256,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl From<&bursar_config::Limits> for Limits {
    fn from(configured: &bursar_config::Limits) -> Self {
        Self {
            header_timeout: configured.header_timeout,
            body_timeout: configured.body_timeout,
            idle_timeout: configured.idle_timeout,
            connections_max: configured.connections,
            connections_per_address_max: configured.connections_per_address,
            bodies_bytes_max: configured.body_memory_bytes,
            command_body_bytes_max: configured.command_body_bytes,
            ..Self::default()
        }
    }
}

/// Headers of a request.
pub const HEADERS_MAX: usize = 100;
/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// Read buffer of a connection: bodies arrive in pieces of at most this.
pub const READ_BUFFER_BYTES: usize = 64 << 10;
/// Body of a delivery of Stripe's. Contract §3: larger is 413.
pub const WEBHOOK_BODY_BYTES_MAX: usize = 1 << 20;
/// Body of everything else. Contract §3.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest a caller may ask to wait.
pub const WAIT_SECONDS_MAX: i64 = 30;
