//! A call while it is being written.
//!
//! Invariants: parameters keep the order in which they are added; ids in a path are escaped.
//! Not here: percent-encoding of parameters (`crate::stripe::form`).

use bursar_domain::ids::{CommandId, Scope};
use bursar_domain::stripe_call::{Method, Operation, StripeCall};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Display;

const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'-')
    .remove(b'.')
    .remove(b'~');

/// A path of Stripe's with one id in it: `{before}/{id}{after}`.
pub(super) fn path(before: &str, id: &str, after: &str) -> String {
    format!("{before}/{}{after}", utf8_percent_encode(id, PATH_SEGMENT))
}

/// A call that grows.
pub(super) struct Draft(StripeCall);

impl Draft {
    pub(super) fn post(operation: Operation, scope: &Scope, path: impl Into<String>) -> Self {
        Self(StripeCall {
            operation,
            scope: scope.clone(),
            method: Method::Post,
            path: path.into(),
            params: Vec::new(),
        })
    }
    pub(super) fn delete(operation: Operation, scope: &Scope, path: impl Into<String>) -> Self {
        let mut draft = Self::post(operation, scope, path);
        draft.0.method = Method::Delete;
        draft
    }
    pub(super) fn set(mut self, name: impl Into<String>, value: impl Display) -> Self {
        self.0.params.push((name.into(), value.to_string()));
        self
    }
    pub(super) fn set_some(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }
    /// Sets a switch that is off when absent.
    pub(super) fn set_if(self, is_on: bool, name: &str, value: &str) -> Self {
        if is_on { self.set(name, value) } else { self }
    }
    /// The command this call belongs to.
    pub(super) fn command(self, command: &CommandId) -> Self {
        self.set("metadata[command_id]", command)
    }
    /// Several pairs under a hash.
    pub(super) fn hash(mut self, hash: &str, pairs: &[(&str, String)]) -> Self {
        for (key, value) in pairs {
            self = self.set(format!("{hash}[{key}]"), value);
        }
        self
    }
    pub(super) fn done(self) -> StripeCall {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        assert_eq!(
            path("/v1/payment_intents", "pi_1", "/capture"),
            "/v1/payment_intents/pi_1/capture"
        );
        assert_eq!(
            path("/v1/disputes", "a%2Fb&c", ""),
            "/v1/disputes/a%252Fb%26c"
        );
    }
}
