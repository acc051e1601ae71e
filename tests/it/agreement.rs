//! The table, the document and what is really answered say the same.

use crate::app::{App, Reply};
use bursar::http::openapi::document;
use bursar::http::problem::Code;
use bursar::http::route::{Auth, Holds, Route, Verb};
use bursar::http::routes::every_route;
use serde_json::Value;

fn request_line(route: &Route, path: &str) -> String {
    let path = path
        .split('/')
        .map(|part| {
            if part.starts_with('{') {
                "absent"
            } else {
                part
            }
        })
        .collect::<Vec<_>>()
        .join("/");
    format!("{} {path}", route.verb.as_str())
}

/// An answer must be one the document knows: its status, and its code if it is a refusal.
fn is_documented(document: &Value, route: &Route, path: &str, reply: &Reply) {
    let verb = route.verb.as_str().to_lowercase();
    let operation = &document["paths"][path][verb.as_str()];
    assert!(
        operation.is_object(),
        "{verb} {path} is not in the document"
    );
    let known = &operation["responses"][reply.status.to_string()];
    assert!(
        known.is_object(),
        "{verb} {path} answered {reply:?}, which is not documented"
    );
    if reply.status < 400 || route.label == "readyz" || route.label == "health" {
        return;
    }
    let code = reply.code();
    assert!(
        Code::ALL.iter().any(|known| known.as_str() == code),
        "{code}"
    );
    let words = known["description"].as_str().unwrap();
    assert!(
        words.contains(&format!("`{code}`")),
        "{verb} {path}: {code} not in {words}"
    );
}

#[tokio::test]
async fn every_path_of_the_document_answers_as_documented() {
    let app = App::start().await;
    let document = document("0.0.0-test");
    let mut asked = 0;
    for route in every_route() {
        for path in std::iter::once(&route.path).chain(route.aliases) {
            let line = request_line(route, path);
            let anonymous = app.send(&line, &[], b"").await;
            if route.status == 405 {
                // It only says what the address is for: no method that is supported.
                assert_eq!(anonymous.status, 405, "{line}");
                assert!(document["paths"][*path].get("get").is_none(), "{line}");
                continue;
            }
            is_documented(&document, route, path, &anonymous);
            match route.auth {
                Auth::Public => {}
                Auth::Stripe => assert_eq!(anonymous.code(), "signature_missing"),
                _ => assert_eq!(anonymous.status, 401, "{line}"),
            }
            let operator = app.operator(&line, "").await;
            is_documented(&document, route, path, &operator);
            if operator.status == 200 {
                holds(route, &operator);
                known_fields(&document, route, &operator);
            }
            let wrong = app.operator(&format!("{line}?nobodyKnows=1"), "").await;
            is_documented(&document, route, path, &wrong);
            // A card's number is refused wherever fields are read, also in a field nobody knows.
            let card = format!("{line}?nobodyKnows=4242424242424242");
            let card = app.operator(&card, "").await;
            is_documented(&document, route, path, &card);
            if !matches!(route.auth, Auth::Public | Auth::Stripe | Auth::Person) {
                wrong.is_problem(400);
                card.is_problem(422);
            }
            asked += 4;
        }
    }
    println!("routes={} requests={asked}", every_route().count());
    let served = app.send("GET /openapi.json", &[], b"").await.json();
    assert_eq!(served, document);
}

fn known_fields(document: &Value, route: &Route, reply: &Reply) {
    let Holds::One(name) = route.holds else {
        return;
    };
    if name == "OpenApi" {
        return; // its own specification says what it holds
    }
    let known = &document["components"]["schemas"][name]["properties"];
    for field in reply.json().as_object().unwrap().keys() {
        assert!(
            !known[field.as_str()].is_null(),
            "{name}.{field} is not documented"
        );
    }
}

fn holds(route: &Route, reply: &Reply) {
    match route.holds {
        Holds::Page(_) => {
            let json = reply.json();
            assert!(
                json["data"].is_array() && json["hasMore"].is_boolean(),
                "{}",
                route.label
            );
            assert!(json.get("nextCursor").is_some(), "{}", route.label);
        }
        Holds::One(_) => assert!(reply.json().is_object(), "{}", route.label),
        Holds::Text(media) => assert!(reply.header("content-type").unwrap().starts_with(media)),
        Holds::Nothing => {}
    }
}

#[tokio::test]
async fn every_answer_names_its_request_and_never_the_server() {
    let app = App::start().await;
    for route in every_route().filter(|route| route.verb == Verb::Get) {
        let line = request_line(route, route.path);
        let reply = app.send(&line, &[("X-Request-Id", "mine-1")], b"").await;
        assert_eq!(reply.header("x-request-id"), Some("mine-1"), "{line}");
        assert!(reply.header("server").is_none());
        let forged = app.send(&line, &[("X-Request-Id", "a b<c>")], b"").await;
        assert!(forged.header("x-request-id").unwrap().starts_with("req_"));
    }
}
