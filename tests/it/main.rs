//! The running service, asked from outside: real sockets, real signatures, the real tree of actors.

mod agreement;
mod api;
mod app;
mod framing;
mod webhook;
