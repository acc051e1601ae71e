//! Signed events for the load: distinct ids, Stripe's shapes, about 6 KB each.
//!
//! Invariants: the same seed gives the same events; every event is signed over the bytes sent.

use crate::stripe::signature::sign;
use std::net::SocketAddr;

/// Bytes of an `invoice.paid` body on the wire, as Stripe sends them (about 6 KB).
pub const BODY_BYTES: usize = 6_000;

/// A whole signed POST.
pub fn signed_post(
    to: SocketAddr,
    path: &str,
    secret: &str,
    at_seconds: i64,
    body: &[u8],
) -> Vec<u8> {
    let signature = sign(secret, body, at_seconds);
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-type: application/json\r\n\
         stripe-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// A Checkout session that links customer `n` to tenant `n`.
pub fn session_completed(n: usize, created: i64) -> Vec<u8> {
    serde_json::json!({
        "id": format!("evt_bench_cs_{n}"), "object": "event", "api_version": "2025-04-30.basil",
        "created": created, "livemode": false, "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null}, "type": "checkout.session.completed",
        "data": {"object": {
            "id": format!("cs_test_bench_{n}"), "object": "checkout.session", "created": created,
            "livemode": false, "mode": "subscription", "status": "complete", "payment_status": "paid",
            "client_reference_id": format!("bench-{n}"), "customer": format!("cus_bench_{n}"),
            "subscription": format!("sub_bench_{n}"), "payment_intent": null, "payment_link": null,
            "amount_total": 900, "currency": "usd", "metadata": {}, "invoice": null,
        }},
    })
    .to_string()
    .into_bytes()
}

/// `invoice.paid` number `n` of a customer in the shape Stripe sends it: every field, indented, 5.3 KB.
pub fn invoice_paid_as_sent(n: usize, customer: usize, created: i64) -> Vec<u8> {
    const SENT: &str =
        include_str!("../../tests/corpus/stripe/events/2025-04-30.basil/invoice.paid.json");
    let named = |prefix: &str| format!("{prefix}_1BenchRNbDemoPlatf{n:09}");
    let mut text = SENT.to_owned();
    for (sent, ours) in [
        ("evt_1Vr7aTRNbDemoPlatfN3VnQ7", named("evt")),
        ("in_1hce73RNbDemoPlatfIl8myn", named("in")),
        ("il_1lnH4zRNbDemoPlatft1OEni", named("il")),
        ("cus_OM4YOIUd3xZ0GV", format!("cus_bench_{customer}")),
        (
            "sub_1lPHdqRNbDemoPlatfgiqdtn",
            format!("sub_bench_{customer}"),
        ),
        ("ADA0001-0001", format!("ADA0001-{n}")),
        // What names a tenant would claim the customer.
        ("workspace_id", "order".to_owned()),
        ("1747044000", created.to_string()),
        ("1747044001", (created + 1).to_string()),
        ("1747044003", (created + 3).to_string()),
        ("1749722400", (created + 30 * 86_400).to_string()),
    ] {
        text = text.replace(sent, &ours);
    }
    text.into_bytes()
}

/// `invoice.paid` number `n` of a customer: few fields, filled to [`BODY_BYTES`] with a text.
pub fn invoice_paid(n: usize, customer: usize, created: i64) -> Vec<u8> {
    let period_end = created + 30 * 86_400;
    let line = serde_json::json!({
        "id": format!("il_bench_{n}"), "object": "line_item", "amount": 900, "currency": "usd",
        "quantity": 1, "period": {"start": created, "end": period_end},
        "parent": {"type": "subscription_item_details", "subscription_item_details":
            {"subscription": format!("sub_bench_{customer}"), "proration": false}},
        "pricing": {"type": "price_details", "price_details": {"price": "price_bench"}},
    });
    let invoice = serde_json::json!({
        "id": format!("in_bench_{n}"), "object": "invoice", "created": created, "livemode": false,
            "customer": format!("cus_bench_{customer}"), "status": "paid", "currency": "usd",
            "amount_due": 900, "amount_paid": 900, "amount_remaining": 0, "total": 900, "subtotal": 900,
            "attempt_count": 1, "attempted": true, "billing_reason": "subscription_cycle",
            "number": format!("BENCH-{n}"), "next_payment_attempt": null, "due_date": null,
            "period_start": created, "period_end": created, "metadata": {},
            "hosted_invoice_url": null, "invoice_pdf": null,
            "status_transitions": {"finalized_at": created, "paid_at": created},
            "parent": {"type": "subscription_details", "subscription_details":
                {"subscription": format!("sub_bench_{customer}"), "metadata": {}}},
            "lines": {"object": "list", "has_more": false, "data": [line]},
            "footer": "",
    });
    let mut event = serde_json::json!({
        "id": format!("evt_bench_in_{n}"), "object": "event", "api_version": "2025-04-30.basil",
        "created": created, "livemode": false, "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null}, "type": "invoice.paid",
        "data": {"object": invoice},
    });
    let short = event.to_string().len();
    event["data"]["object"]["footer"] = filler(n, BODY_BYTES.saturating_sub(short)).into();
    event.to_string().into_bytes()
}

/// Text that does not compress away: hex of a running hash of `seed`.
fn filler(seed: usize, bytes: usize) -> String {
    use sha2::Digest;
    let mut text = String::with_capacity(bytes + 64);
    let mut block = sha2::Sha256::digest(seed.to_le_bytes());
    while text.len() < bytes {
        // Half noise, half repetition: real invoices shrink about 2.4 times under LZ4.
        text.push_str(&hex::encode(&block[..8]));
        text.push_str("  amount due  ");
        block = sha2::Sha256::digest(block);
    }
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_of_the_stated_size_and_distinct() {
        let (one, two) = (
            invoice_paid(1, 1, 1_747_044_000),
            invoice_paid(2, 1, 1_747_044_000),
        );
        assert_eq!((one.len(), two.len()), (BODY_BYTES, BODY_BYTES));
        assert_ne!(one, two);
        let event: serde_json::Value = serde_json::from_slice(&one).unwrap();
        assert_eq!(event["data"]["object"]["status"], "paid");
        let sent = invoice_paid_as_sent(7, 3, 1_747_044_000);
        let routed = bursar_domain::route(
            &sent,
            &bursar_domain::settings::Settings::default(),
            bursar_domain::ids::Timestamp::from_seconds(1_747_044_010),
        );
        let bursar_domain::Fate::Pending { park, .. } = routed.fate else {
            panic!("{routed:?}");
        };
        // Nothing but what the synthetic one waits for.
        assert!(!park.is_empty());
        assert!(
            park.iter()
                .all(|link| !link.to_string().starts_with("tenant")),
            "{park:?}"
        );
        assert!(!String::from_utf8(sent).unwrap().contains("1Vr7aT"));
    }
}
