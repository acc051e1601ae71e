//! Names of things as texts, and under which names an event is filed.

use crate::build::{customer, session, with};
use crate::corpus::{T0, settings};
use bursar_domain::aggregate::AggregateKey;
use bursar_domain::ids::{Scope, TenantId, Timestamp};
use bursar_domain::input::{Ctx, InputSource, StoredInput};
use bursar_domain::link::LinkKey;
use bursar_domain::listing::Listed;
use bursar_domain::money::Currency;
use bursar_domain::reread::{Answer, RereadTarget};
use bursar_domain::route::{Fate, Routed, route};
use bursar_domain::settings::Settings;
use bursar_domain::stripe_wire::{Customer, JSON_DEPTH_MAX, check_json, read_object};
use bursar_domain::tenant::features;
use bursar_domain::testing::event;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[test]
fn a_link_reads_from_the_text_it_is_written_as() {
    for text in [
        "tenant:t1",
        "command:cmd_1",
        "merchant:acct_1",
        "customer:/cus_1",
        "subscription:acct_1/sub_1",
        "invoice:/in_1",
        "payment:/pi_1",
        "charge:acct_1/ch_1",
        "session:/cs_1",
    ] {
        let key = LinkKey::parse(text).map(|key| key.to_string());
        assert_eq!(key.as_deref(), Ok(text));
    }
    for text in ["", "tenant", "else:/x_1", "customer:cus_1", "charge:/"] {
        assert!(LinkKey::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_lives_on_an_account_says_on_which() {
    for (text, scope) in [
        ("customer:/cus_1", Some("")),
        ("payment:acct_1/pi_1", Some("acct_1")),
        ("installation:acct_1/", Some("acct_1")),
        ("tenant:t1", None),
        ("merchant:acct_1", None),
        ("command:cmd_1", None),
    ] {
        let key = AggregateKey::parse(text).unwrap();
        assert_eq!(key.scope().map(Scope::as_str), scope, "{text}");
    }
}

#[test]
fn names_print_as_themselves_for_those_who_debug_too() {
    assert_eq!(format!("{:?}", TenantId::parse("t1").unwrap()), "t1");
    assert_eq!(format!("{:?}", Currency::parse("usd").unwrap()), "usd");
    for text in ["us1", "u d", "us", "usdx", ""] {
        assert!(Currency::parse(text).is_err(), "{text}");
    }
    let long = Listed::ALL.into_iter().filter(|one| one.lives_long());
    let long: Vec<&str> = long.map(Listed::as_str).collect();
    assert_eq!(long, ["account", "customer", "subscription"]);
}

#[test]
fn the_features_of_a_catalogue_and_the_mark_of_settings_follow_from_them() {
    assert_eq!(features(&settings().catalogue), ["export", "seats", "sso"]);
    let mark = settings().fingerprint();
    assert_eq!((mark.len(), &mark), (32, &settings().fingerprint()));
    let other = Settings {
        livemode: true,
        ..settings()
    };
    assert_ne!(other.fingerprint(), mark);
}

fn routed(kind: &str, account: &str, object: Value) -> Routed {
    let body = event("evt_1", kind, T0, account, object, None).to_string();
    route(body.as_bytes(), &settings(), Timestamp::from_seconds(T0))
}

#[test]
fn an_event_is_filed_under_everything_it_names_once() {
    let charge = json!({ "id": "ch_1", "object": "charge", "status": "succeeded", "amount": 5,
        "currency": "usd", "payment_intent": "pi_1", "customer": "cus_1", "invoice": "in_1",
        "metadata": { "tenant_id": "t1", "workspace_id": "t1", "command_id": "cmd_1" } });
    let of = routed("charge.succeeded", "", charge);
    assert_eq!(of.objects, ["pi_1", "ch_1", "cus_1", "in_1", "t1", "cmd_1"]);
    assert_eq!(of.subject.0, "customer:/cus_1");
    let nobodys = routed(
        "product.created",
        "",
        json!({ "id": "p_1", "customer": "cus_1" }),
    );
    assert!(matches!(nobodys.fate, Fate::Ignored { .. }));
    assert_eq!(
        nobodys.subject.0, "customer:/cus_1",
        "it goes with whom it is about"
    );
}

#[test]
fn a_session_that_names_a_tenant_waits_for_nobody_on_the_platform() {
    let park = |account: &str, fields: Value| {
        let object = with(session("cs_1", T0, "payment", Some("cus_1"), None), fields);
        match routed("checkout.session.completed", account, object).fate {
            Fate::Pending { park, .. } => park.iter().map(ToString::to_string).collect(),
            other => vec![format!("{other:?}")],
        }
    };
    let noted = || json!({ "metadata": { "tenant_id": "t1" } });
    let none: [&str; 0] = [];
    assert_eq!(park("", noted()), none);
    assert_eq!(park("", json!({ "client_reference_id": "t1" })), none);
    assert_eq!(park("", json!({ "payment_link": "plink_1" })), none);
    assert_eq!(park("", json!({})), ["customer:/cus_1"]);
    let ours = json!({ "metadata": { "command_id": "cmd_1" } });
    assert_eq!(park("", ours), ["customer:/cus_1", "command:cmd_1"]);
    let connected = ["merchant:acct_m", "customer:acct_m/cus_1", "tenant:t1"];
    assert_eq!(park("acct_m", noted()), connected);
}

#[test]
fn an_error_quotes_nothing_of_the_body_and_depth_is_counted_in_objects_too() {
    let error = read_object::<Customer>(r#"{"id":"cus_1","created":"a secret"}"#);
    let text = error.unwrap_err().to_string();
    assert!(
        !text.contains("secret") && text.contains("a text"),
        "{text}"
    );
    assert!(
        text.starts_with("customer: ") && text.contains("invalid type"),
        "{text}"
    );
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let deepest = JSON_DEPTH_MAX as usize;
    assert!(check_json(nested(deepest).as_bytes()).is_ok());
    assert!(check_json(nested(deepest + 1).as_bytes()).is_err());
}

/// The messages a decision about an answer sends, by whom they go to.
fn passed_on(key: &str, target: RereadTarget) -> Vec<String> {
    let answer = Answer {
        target,
        status: 200,
        date: T0,
        body: RawValue::from_string(customer("cus_1", T0, None).to_string()).ok(),
    };
    let effect = bursar_domain::decision::EffectId("e1".to_owned());
    let input = StoredInput {
        seq: 1,
        source: InputSource::Effect(effect),
        kind: "reread".to_owned(),
        received_at: Timestamp::from_seconds(T0),
        body: serde_json::to_vec(&answer).unwrap(),
    };
    let ctx = Ctx {
        now: Timestamp::from_seconds(T0),
        settings: &settings(),
        links: &BTreeMap::new(),
        shown_version: None,
    };
    let key = AggregateKey::parse(key).unwrap();
    let decision = bursar_domain::decide(&key, None, &input, &ctx);
    let messages = decision.messages.iter().filter(|one| one.kind == "answer");
    messages.map(|one| one.to.to_string()).collect()
}

#[test]
fn an_answer_about_an_object_of_its_own_goes_there_and_not_back() {
    let of = |text: &str| LinkKey::parse(text).unwrap();
    let LinkKey::Customer(_, id) = of("customer:/cus_1") else {
        panic!("a customer");
    };
    let target = || RereadTarget::Customer(id.clone());
    assert_eq!(
        passed_on("subscription:/sub_1", target()),
        ["customer:/cus_1"]
    );
    assert_eq!(
        passed_on("session:acct_1/cs_1", target()),
        ["customer:acct_1/cus_1"]
    );
    assert_eq!(passed_on("customer:/cus_1", target()), Vec::<String>::new());
}

#[test]
fn a_feature_is_known_by_any_plan_that_has_or_limits_it() {
    use bursar_domain::plans::{Catalogue, Limit, Plan, PlanEffect};
    use bursar_domain::tenant::{TenantView, entitlement};
    let free = Plan {
        id: "free".to_owned(),
        name: "Free".to_owned(),
        price_ids: Vec::new(),
        effect: PlanEffect::Free {
            features: ["export".to_owned()].into(),
            limits: BTreeMap::from([("seats".to_owned(), Limit::Fixed(1))]),
        },
        revoke_on: Default::default(),
    };
    let mut catalogue = settings().catalogue;
    let credits = catalogue.plans.pop().unwrap();
    let pro = catalogue.plans.pop().unwrap();
    let known = |plan: &Plan, feature: &str| {
        let catalogue = Catalogue {
            plans: vec![plan.clone()],
        };
        let now = Timestamp::from_seconds(T0);
        entitlement(&TenantView::default(), feature, &catalogue, now).is_ok()
    };
    for (plan, feature, expected) in [
        (&free, "export", true),
        (&free, "seats", true),
        (&free, "sso", false),
        (&pro, "sso", true),
        (&pro, "seats", true),
        (&pro, "teleport", false),
        (&credits, "export", false),
    ] {
        assert_eq!(known(plan, feature), expected, "{}: {feature}", plan.id);
    }
    let plans = vec![free];
    assert_eq!(features(&Catalogue { plans }), ["export", "seats"]);
}
