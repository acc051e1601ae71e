//! The body of a notification: `{"type","timestamp","data":{"tenantId","version","tenant","object","cause"}}`.
//!
//! Invariants: under 20 KB; what was left out of it is said in its place. The tenant is as it is when the notification is
//! written, with its version, so that a receiver can drop what is older than what it has.
//! Source: contract §4 "Notifications"; Standard Webhooks 1.0, "Payload structure".

use bursar_domain::decision::EntrySource;
use bursar_domain::effect::Notify;
use bursar_domain::ids::Timestamp;
use serde_json::{Value, json};

/// Longest body.
const BYTES_MAX: usize = 20_000;

/// Writes a body. `tenant`: its row as the API shows it, and its version.
pub(super) fn compose(notify: &Notify, tenant: Option<(Value, u64)>, at: Timestamp) -> Vec<u8> {
    let (tenant, version) = tenant.unwrap_or((Value::Null, 0));
    let mut body = json!({
        "type": notify.kind,
        "timestamp": at.rfc3339(),
        "data": {
            "tenantId": notify.tenant, "version": version, "tenant": tenant,
            "object": notify.object, "cause": cause(notify),
        },
    });
    let mut bytes = body.to_string().into_bytes();
    if bytes.len() > BYTES_MAX {
        body["data"]["object"] = json!({"id": notify.object["id"], "shortened": true});
        bytes = body.to_string().into_bytes();
    }
    if bytes.len() > BYTES_MAX && body["data"]["tenant"].is_object() {
        let tenant = &mut body["data"]["tenant"];
        tenant["shortened"] = true.into();
        tenant["metadata"] = Value::Null;
        tenant["subscriptions"] = Value::Null;
        bytes = body.to_string().into_bytes();
    }
    bytes
}

/// The event or order behind it.
fn cause(notify: &Notify) -> Value {
    let id = &notify.cause.source_id;
    if notify.kind.starts_with("command.") {
        return json!({"commandId": notify.object["id"]});
    }
    match notify.cause.source {
        EntrySource::Event => json!({"eventId": id}),
        EntrySource::Command => json!({"commandId": id}),
        EntrySource::Reread => json!({"source": "reread"}),
        EntrySource::Timer => json!({"source": "timer"}),
        EntrySource::Operator => json!({"source": "operator"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::ids::TenantId;
    use bursar_domain::message::Cause;

    fn notify(object: Value) -> Notify {
        Notify {
            kind: "payment.succeeded".into(),
            tenant: TenantId::parse("acme").unwrap(),
            object,
            cause: Cause {
                source: EntrySource::Event,
                source_id: "evt_1".into(),
                kind: "charge.succeeded".into(),
                at: Timestamp(0),
            },
        }
    }

    #[test]
    fn a_body_names_the_tenants_version_and_the_cause() {
        let tenant = json!({"tenantId": "acme", "version": 7});
        let body = compose(
            &notify(json!({"id": "pi_1"})),
            Some((tenant.clone(), 7)),
            Timestamp(0),
        );
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "payment.succeeded");
        assert_eq!(body["timestamp"], "1970-01-01T00:00:00Z");
        let data = json!({"tenantId": "acme", "version": 7, "tenant": tenant,
            "object": {"id": "pi_1"}, "cause": {"eventId": "evt_1"}});
        assert_eq!(body["data"], data);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_says_so() {
        let long = "x".repeat(BYTES_MAX);
        let object = json!({"id": "pi_1", "failureMessage": long});
        let body = compose(
            &notify(object),
            Some((json!({"metadata": long}), 1)),
            Timestamp(0),
        );
        assert!(body.len() < BYTES_MAX);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body["data"]["object"],
            json!({"id": "pi_1", "shortened": true})
        );
        assert_eq!(body["data"]["tenant"]["shortened"], true);
    }
}
