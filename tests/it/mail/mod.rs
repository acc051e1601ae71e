//! Mail from its decision to a mail server, over real sockets.

mod alerts;
mod facts;
mod injections;
mod outage;
mod transports;
mod world;
