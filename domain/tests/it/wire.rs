//! What an object cannot lack, and what of a body is refused: each field taken away once.

use crate::corpus::root;
use bursar_domain::ids::Scope;
use bursar_domain::stripe_wire::{
    BalanceTransaction, Customer, FraudWarning, Invoice, InvoicePayment, JSON_NODES_MAX, Review,
    SessionLineItem, WireObject, check_json, read_checked, read_envelope, read_identity,
    read_object,
};
use serde_json::{Value, json};

fn check<T: WireObject>(whole: Value, needed: &[&str]) {
    assert!(read_object::<T>(&whole.to_string()).is_ok(), "{whole}");
    for field in needed {
        let mut object = whole.clone();
        object.as_object_mut().unwrap().remove(*field);
        let error = read_object::<T>(&object.to_string()).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            text.contains(field),
            "{} without {field}: {text:?}",
            T::OBJECT
        );
    }
}

#[test]
fn an_object_without_what_it_cannot_lack_is_refused_by_the_fields_name() {
    check::<Customer>(json!({ "id": "cus_1" }), &["id"]);
    check::<FraudWarning>(json!({ "id": "issfr_1" }), &["id"]);
    check::<Review>(json!({ "id": "prv_1" }), &["id"]);
    check::<SessionLineItem>(json!({ "id": "li_1" }), &["id"]);
    check::<InvoicePayment>(
        json!({ "id": "inpay_1", "invoice": "in_1" }),
        &["id", "invoice"],
    );
    let invoice = json!({ "id": "in_1", "status": "open", "currency": "usd", "amount_due": 1,
        "amount_paid": 0 });
    check::<Invoice>(
        invoice,
        &["status", "currency", "amount_due", "amount_paid"],
    );
    let fee = json!({ "id": "txn_1", "currency": "usd", "fee": 59 });
    check::<BalanceTransaction>(fee, &["id", "currency", "fee"]);
}

#[test]
fn a_period_is_that_of_a_subscriptions_lines_alone() {
    let line = |end: i64, parent: Value| json!({ "id": "il", "period": { "start": 1, "end": end }, "parent": parent });
    let item = |kind: &str| json!({ "type": kind, kind: { "subscription": "sub_1" } });
    let read = |lines: Value| {
        let invoice = json!({ "id": "in_1", "status": "open", "currency": "usd", "amount_due": 1,
            "amount_paid": 0, "lines": { "data": lines } });
        read_object::<Invoice>(&invoice.to_string()).unwrap()
    };
    let ends = |lines: Value| read(lines).lines_period_end;
    let of = item("subscription_item_details");
    assert_eq!(ends(json!([line(50, of.clone())])), Some(50));
    assert_eq!(
        ends(json!([line(50, of.clone()), line(90, Value::Null)])),
        Some(50)
    );
    assert_eq!(ends(json!([line(50, of.clone()), line(70, of)])), Some(70));
    assert_eq!(
        ends(json!([line(60, item("invoice_item_details"))])),
        Some(60)
    );
}

#[test]
fn a_key_twice_in_one_object_is_refused_in_small_and_large_ones() {
    let object = |count: usize, again: Option<usize>| {
        let names = (0..count).chain(again);
        let fields: Vec<String> = names.map(|n| format!("\"k{n}\":1")).collect();
        check_json(format!("{{{}}}", fields.join(",")).as_bytes()).map(|_| ())
    };
    for count in [1, 2, 23, 24, 25, 26, 49, 200] {
        assert!(object(count, None).is_ok(), "{count}");
        for again in [0, count / 2, count - 1] {
            assert!(object(count, Some(again)).is_err(), "{again} of {count}");
        }
    }
}

#[test]
fn as_many_values_as_may_be_are_read_and_one_more_is_not() {
    let list = |values: usize| {
        let ones = vec!["1"; values];
        check_json(format!("[{}]", ones.join(",")).as_bytes()).map(|_| ())
    };
    // The list is a value too.
    assert!(list(JSON_NODES_MAX as usize - 1).is_ok());
    assert!(list(JSON_NODES_MAX as usize).is_err());
    let pairs = |values: usize| {
        let ones: Vec<String> = (0..values).map(|n| format!("\"k{n}\":1")).collect();
        check_json(format!("{{{}}}", ones.join(",")).as_bytes()).map(|_| ())
    };
    assert!(pairs(JSON_NODES_MAX as usize - 1).is_ok());
    assert!(pairs(JSON_NODES_MAX as usize).is_err());
}

#[test]
fn a_body_that_says_it_is_an_event_is_known_by_account_and_id() {
    let of = |body: &str| {
        let read = read_identity(body);
        read.map(|(scope, id)| (scope.as_str().to_owned(), id.to_string()))
    };
    let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(of(r#"{"id":"evt_1","object":"event"}"#), pair("", "evt_1"));
    let connected = r#"{"id":"evt_1","object":"v2.core.event","account":"acct_1"}"#;
    assert_eq!(of(connected), pair("acct_1", "evt_1"));
    assert_eq!(of(r#"{"id":"evt_1","object":"charge"}"#), None);
    assert_eq!(of("no json"), None);
    assert_eq!(Scope::PLATFORM.as_str(), "");
}

#[test]
fn a_reference_is_an_id_an_object_or_nothing() {
    let of = |customer: &str| {
        let text = format!(
            r#"{{"id":"in_1","status":"paid","currency":"usd","amount_due":1,"amount_paid":1,"customer":{customer}}}"#
        );
        read_object::<Invoice>(&text).map(|invoice| invoice.customer)
    };
    let known = Some("cus_1".to_owned());
    assert_eq!(of(r#""cus_1""#), Ok(known.clone()));
    assert_eq!(of(r#""cus\u005f1""#), Ok(known.clone()));
    let expanded = r#"{"object":"customer","id":"cus_1","address":{"id":"x"}}"#;
    assert_eq!(of(expanded), Ok(known));
    for nobody in [
        "null",
        r#""""#,
        "{}",
        r#"{"id":null}"#,
        r#"{"deleted":true}"#,
    ] {
        assert_eq!(of(nobody), Ok(None), "{nobody}");
    }
    for wrong in [
        "1",
        "true",
        "[]",
        r#"["cus_1"]"#,
        r#"{"id":1}"#,
        r#""cus 1""#,
    ] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
}

/// The outside of an event, read from where the check found its members and from the whole text.
#[test]
fn the_outside_is_the_same_from_the_check_and_from_the_whole_text() {
    let both = |text: &str| {
        let checked = check_json(text.as_bytes()).unwrap();
        let (quick, whole) = (read_checked(&checked), read_envelope(text));
        assert_eq!(format!("{quick:?}"), format!("{whole:?}"), "{text}");
        whole.is_ok()
    };
    let mut events = 0;
    for folder in std::fs::read_dir(root().join("events")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            events += usize::from(both(&text));
        }
    }
    assert!(events > 80, "{events}");
    let good = r#"{"id":"evt_1","object":"event","type":"t","created":1,"livemode":false,"data":{"object":{}}}"#;
    assert!(both(good));
    for (from, to, is_good) in [
        (r#""evt_1""#, r#""evt\u005f1""#, true),
        (r#""evt_1""#, "1", false),
        (r#""evt_1""#, "null", false),
        (r#""type":"t""#, r#""type":null"#, false),
        (r#"{"object":{}}"#, "null", false),
        (r#"{"object":{}}"#, "[]", false),
        (r#"{"object":{}}"#, "7", false),
        (r#"{"object":{}}"#, r#"{"object":null}"#, false),
        (
            r#"{"object":{}}"#,
            r#"{"object":1,"previous_attributes":null}"#,
            true,
        ),
        (
            r#"{"object":{}}"#,
            r#"{"object":1,"previous_attributes":{"a":2}}"#,
            true,
        ),
        (r#""created":1"#, r#""created":"1""#, false),
        (r#""created":1"#, r#""created":1.5"#, false),
        (r#""livemode":false"#, r#""livemode":null"#, false),
        (r#""livemode":false"#, r#""livemode":1"#, false),
        (
            r#""livemode":false"#,
            r#""livemode":true,"account":"acct_1""#,
            true,
        ),
        (
            r#""livemode":false"#,
            r#""livemode":true,"account":[]"#,
            false,
        ),
        (
            r#""livemode":false"#,
            r#""livemode":true,"request":{"id":null}"#,
            true,
        ),
        (r#""object":"event""#, r#""object":"v2.core.event""#, true),
    ] {
        assert!(good.contains(from), "{from}");
        assert_eq!(both(&good.replacen(from, to, 1)), is_good, "{to}");
    }
    assert!(both(
        r#"{"id":"evt_1","object":"v2.core.event","type":"t"}"#
    ));
    assert!(!both("[]"));
}
