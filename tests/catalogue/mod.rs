//! Tables and tools of the bad-input catalogue that several suites use: the app in their own process (`it`), and the real
//! binary (`served`).

#![allow(dead_code, reason = "each suite uses a part of it")]

pub(crate) mod deliveries;
pub(crate) mod framing;
pub(crate) mod wire;
