//! Deliveries that are not Stripe's, and genuine ones that are odd (rows BW).

use bursar::stripe::signature::sign;
use serde_json::{Value, json};

pub(crate) fn customer_event(id: &str, now: i64) -> Value {
    json!({
        "id": id, "object": "event", "api_version": "2025-04-30.basil",
        "created": now, "livemode": false, "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null}, "type": "customer.created",
        "data": {"object": {
            "id": "cus_1", "object": "customer", "created": now,
            "livemode": false, "metadata": {}, "email": null, "name": null,
        }},
    })
}

pub(crate) fn event(id: &str, now: i64) -> Vec<u8> {
    customer_event(id, now).to_string().into_bytes()
}

/// Row, header, body, status and code of the answer.
pub(crate) type SignatureRow = (&'static str, Option<String>, Vec<u8>, u16, &'static str);

/// What was not signed with this secret, or not just now.
pub(crate) fn signature_rows(secret: &str, now: i64) -> Vec<SignatureRow> {
    let body = event("evt_1", now);
    let good = sign(secret, &body, now);
    let v1 = good.split_once("v1=").unwrap().1.to_owned();
    let mut changed = body.clone();
    changed[9] ^= 1;
    let pretty = serde_json::to_vec_pretty(&customer_event("evt_1", now)).unwrap();
    let pairs = vec![format!("v1={v1}"); 30].join(",");
    let (late, early) = (
        sign(secret, &body, now - 302),
        sign(secret, &body, now + 330),
    );
    let retired = sign("whsec_retired", &body, now);
    vec![
        ("BW1", None, body.clone(), 400, "signature_missing"),
        (
            "BW2",
            Some(String::new()),
            body.clone(),
            400,
            "signature_malformed",
        ),
        (
            "BW3",
            Some(format!("t={now}")),
            body.clone(),
            400,
            "signature_malformed",
        ),
        (
            "BW4",
            Some(format!("v1={v1}")),
            body.clone(),
            400,
            "signature_malformed",
        ),
        (
            "BW5",
            Some(good.clone()),
            changed,
            401,
            "signature_mismatch",
        ),
        (
            "BW6",
            Some(retired),
            body.clone(),
            401,
            "signature_mismatch",
        ),
        (
            "BW7",
            Some(format!("t={now},v0={v1},v2={v1}")),
            body.clone(),
            400,
            "signature_malformed",
        ),
        ("BW9", Some(late), body.clone(), 401, "signature_expired"),
        ("BW10", Some(early), body.clone(), 401, "signature_expired"),
        (
            "BW11a",
            Some(format!("t=-5,v1={v1}")),
            body.clone(),
            400,
            "signature_malformed",
        ),
        (
            "BW11b",
            Some(format!("t=17470440001747044000,v1={v1}")),
            body.clone(),
            400,
            "signature_malformed",
        ),
        (
            "BW11c",
            Some(format!("t=0x68220060,v1={v1}")),
            body.clone(),
            400,
            "signature_malformed",
        ),
        (
            "BW11d",
            Some(format!("t=1747044000.0,v1={v1}")),
            body.clone(),
            400,
            "signature_malformed",
        ),
        (
            "BW12",
            Some(format!("t={now},{pairs}")),
            body.clone(),
            400,
            "signature_malformed",
        ),
        (
            "BW14",
            Some(good.clone()),
            pretty,
            401,
            "signature_mismatch",
        ),
    ]
}

pub(crate) fn altered(id: &str, now: i64, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut event = customer_event(id, now);
    change(&mut event);
    event.to_string().into_bytes()
}

pub(crate) type OddBody = (&'static str, Vec<u8>, Option<&'static str>);

/// Bodies that are genuine and must never start three days of redelivery: each with the status it
/// is stored under (`None`: whatever its reducer says).
pub(crate) fn odd_bodies(now: i64) -> Vec<OddBody> {
    let charge = |id: &str, amount: Value| {
        altered(id, now, |event| {
            event["type"] = "charge.succeeded".into();
            event["data"]["object"] = json!({
                "id": format!("ch_{id}"), "object": "charge", "amount": amount,
                "amount_captured": amount, "amount_refunded": 0, "currency": "usd",
                "created": now, "customer": null, "livemode": false, "metadata": {},
                "paid": true, "captured": true, "status": "succeeded", "payment_intent": null,
                "invoice": null, "refunded": false, "disputed": false,
            });
        })
    };
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deep_inside = String::from_utf8(event("evt_deep", now)).unwrap();
    let deep_inside = deep_inside.replace(
        "\"metadata\":{}",
        &format!("\"metadata\":{{\"a\":{}}}", deep(10_000)),
    );
    let twice = String::from_utf8(event("evt_twice", now)).unwrap();
    let twice = twice.replacen('{', "{\"id\":\"evt_other\",", 1);
    let many: serde_json::Map<String, Value> = (0..10_000)
        .map(|n| (format!("k{n}"), Value::from("v")))
        .collect();
    let thin = json!({
        "id": "evt_thin", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered",
        "created": "2025-05-12T10:00:00.000Z", "livemode": false,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    });
    vec![
        ("BW15 not JSON", b"<event/>".to_vec(), Some("dead")),
        ("BW15 null", b"null".to_vec(), Some("dead")),
        ("BW15 array", b"[]".to_vec(), Some("dead")),
        (
            "BW16 no id",
            altered("x", now, |e| {
                e.as_object_mut().unwrap().remove("id");
            }),
            Some("dead"),
        ),
        (
            "BW16 long id",
            event(&format!("evt_{}", "a".repeat(10_240)), now),
            Some("dead"),
        ),
        (
            "BW17 without account",
            altered("evt_live", now, |e| e["livemode"] = true.into()),
            Some("dead"),
        ),
        (
            "BW17 with account",
            altered("evt_connect", now, |e| {
                e["livemode"] = true.into();
                e["account"] = "acct_1".into();
            }),
            Some("ignored"),
        ),
        (
            "BW18 unknown account",
            altered("evt_foreign", now, |e| e["account"] = "acct_9".into()),
            Some("parked"),
        ),
        (
            "BW19 unknown type",
            altered("evt_type", now, |e| e["type"] = "price.created".into()),
            Some("ignored"),
        ),
        (
            "BW20 missing fields",
            altered("evt_less", now, |e| {
                e["type"] = "charge.succeeded".into();
                e["data"]["object"] = json!({"object": "charge"});
            }),
            Some("dead"),
        ),
        ("BW21 negative", charge("evt_neg", json!(-1)), Some("dead")),
        (
            "BW21 huge",
            charge("evt_huge", json!(9_007_199_254_740_994_i64)),
            Some("dead"),
        ),
        ("BW21 float", charge("evt_float", json!(1.5)), Some("dead")),
        ("BW21 text", charge("evt_text", json!("12")), Some("dead")),
        ("BW27 thin", thin.to_string().into_bytes(), Some("ignored")),
        ("BW29 around", deep(10_000).into_bytes(), Some("dead")),
        ("BW29 inside", deep_inside.into_bytes(), Some("dead")),
        ("BW30 duplicate keys", twice.into_bytes(), Some("dead")),
        (
            "BW31 not UTF-8",
            b"{\"id\":\"evt_\xff\xfe\"}".to_vec(),
            Some("dead"),
        ),
        (
            "BW34 metadata",
            altered("evt_meta", now, |e| {
                e["data"]["object"]["metadata"] = Value::Object(many)
            }),
            None,
        ),
        (
            "BW25 1970",
            altered("evt_1970", now, |e| e["created"] = 1.into()),
            None,
        ),
        (
            "BW25 2100",
            altered("evt_2100", now, |e| e["created"] = 4_102_444_800_i64.into()),
            None,
        ),
        (
            "BW26 no version",
            altered("evt_version", now, |e| {
                e.as_object_mut().unwrap().remove("api_version");
            }),
            None,
        ),
    ]
}
