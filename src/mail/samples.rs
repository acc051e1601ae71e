//! What mails are tried with: at the start, by `doctor --mail-to`, and by tests.
//!
//! Invariants: every parameter of every mail has a sample, and every kind of alert is in the sample of the summary.
//! Not here: the samples themselves (`catalogue`).
//! Failure: none.

use crate::mail::catalogue::{ALERTS, MAILS, Spec, alert_words};
use crate::mail::templates::{Brand, Context};
use minijinja::value::Value;
use std::collections::BTreeMap;

/// The samples of a mail; not `whole`: what it can do without is not given.
pub fn sample(spec: &Spec, whole: bool) -> Context {
    let brand = Brand {
        name: "Example".to_owned(),
        support: whole.then(|| "help@example.com".to_owned()),
        app_url: "https://billing.example.com".to_owned(),
        product_url: "https://example.com".to_owned(),
    };
    let mut context = brand.context(Some("Europe/Berlin"));
    let value = |sample: &str, given: bool| Value::from(if given { sample } else { "" });
    for (name, text) in spec.must {
        context.insert((*name).to_owned(), value(text, true));
    }
    for (name, text) in spec.may {
        context.insert((*name).to_owned(), value(text, whole));
    }
    context
        .entry("link".to_owned())
        .or_insert_with(|| Value::from("https://example.com/"));
    context
}

/// A summary with an alert of every kind, and one that nobody here knows.
pub(super) fn sample_alerts() -> Context {
    let mut context = MAILS
        .first()
        .map(|spec| sample(spec, true))
        .unwrap_or_default();
    let known = ALERTS.iter().map(|(code, ..)| *code);
    let groups: Vec<Value> = known.chain(["unheard_of"]).map(sample_alert).collect();
    context.insert("headline".to_owned(), Value::from("2 alerts"));
    context.insert("summary".to_owned(), Value::from("2 alerts."));
    context.insert("groups".to_owned(), Value::from(groups));
    context
}

fn sample_alert(code: &str) -> Value {
    let line = BTreeMap::from([
        ("at", "2026-11-25 10:00"),
        ("object", "du_1"),
        ("text", "opened"),
    ]);
    let (title, advice, part) = alert_words(code);
    Value::from(BTreeMap::from([
        ("code", Value::from(code)),
        ("title", Value::from(title)),
        ("advice", Value::from(advice)),
        ("part", Value::from(part)),
        ("count", Value::from(2)),
        ("more", Value::from(1)),
        ("lines", Value::from(vec![line])),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::templates::Templates;

    #[test]
    fn every_kind_of_alert_has_words_of_its_own_that_say_what_to_check_first() {
        let templates = Templates::load(None).unwrap();
        let mut said = BTreeMap::new();
        for (code, advice, first) in [
            ("dispute", "", "by when the evidence is due"),
            ("dead_letter", "", "status=dead"),
            ("mail_dead", "", "what the mail server said"),
            ("circuit_open", "", "/api/v1/circuits"),
            ("reconcile_drift", "", "which objects and fields"),
            ("webhooks_silent", "", "is the endpoint enabled at Stripe"),
            ("endpoint_disabled", "", "what it answered"),
            (
                "refund_failed",
                "refund another way",
                "The money is back at Stripe",
            ),
            ("unheard_of", "", "bursar explain"),
        ] {
            let mut context = sample_alerts();
            context.insert("groups".to_owned(), Value::from(vec![sample_alert(code)]));
            let mail = templates.render("alerts", context).unwrap();
            for text in [
                &mail.text,
                &mail.html.replace("<code>", "").replace("</code>", ""),
            ] {
                let (_, check) = text
                    .split_once("Check first:")
                    .unwrap_or_else(|| panic!("{code}: {text}"));
                assert!(
                    check.contains(first) && check.contains(advice),
                    "{code}: {text}"
                );
                assert!(
                    !text.contains("{{") && !text.contains("{%"),
                    "{code}: {text}"
                );
                assert!(
                    text.contains("du_1") && text.contains("and 1 more"),
                    "{text}"
                );
            }
            said.insert(code, mail.text.replace(code, ""));
        }
        let distinct: std::collections::BTreeSet<_> = said.values().collect();
        assert_eq!(distinct.len(), said.len());
        for (code, _, advice) in ALERTS {
            let has_part = alert_words(code).2 != "alert_other";
            assert!(
                has_part == advice.is_empty(),
                "{code}: words of its own, or advice"
            );
        }
        println!("alert_kinds={}", said.len());
    }
}
