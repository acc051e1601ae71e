//! Filters of lists: what they refuse, and that they find what is there.

use crate::app::App;
use crate::story::{FLOWS, play};
use bursar::http::route::{Auth, Holds, Kind, Verb};
use bursar::http::routes::every_route;
use serde_json::json;

/// The lists with a `status` filter, and the words it takes.
fn by_status() -> Vec<(&'static str, &'static [&'static str])> {
    let lists = every_route().filter(|route| route.verb == Verb::Get);
    lists
        .filter_map(|route| {
            let param = route.params.iter().find(|param| param.name == "status")?;
            match param.kind {
                Kind::Choice(words) => Some((route.path, words)),
                other => panic!("{}: any text is a status: {other:?}", route.path),
            }
        })
        .collect()
}

#[tokio::test]
async fn a_status_nobody_knows_is_refused_with_the_nearest_one() {
    let app = App::start().await;
    let lists = by_status();
    assert!(lists.len() >= 11, "{lists:?}");
    let endpoint = app.endpoint().await;
    for (path, words) in lists {
        let path = path.replace("{id}", &endpoint);
        for word in words {
            let line = format!("GET {path}?status={word}");
            assert_eq!(app.operator(&line, "").await.status, 200, "{line}");
            let line = format!("GET {path}?status={word}{}", &word[word.len() - 1..]);
            let reply = app.operator(&line, "").await;
            reply.is_problem(400);
            let error = &reply.json()["errors"][0];
            assert_eq!(
                (&error["field"], &error["code"]),
                (&json!("status"), &json!("out_of_range"))
            );
            let detail = error["detail"].as_str().unwrap();
            assert!(
                detail.contains(&format!("did you mean `{word}`?")),
                "{detail}"
            );
            assert!(detail.contains(words[0]), "{detail}");
        }
        let nonsense = app
            .operator(&format!("GET {path}?status=qqqqqqqqq"), "")
            .await;
        nonsense.is_problem(400);
        assert!(!nonsense.body.contains("did you mean"), "{nonsense:?}");
        app.operator(&format!("GET {path}?status="), "")
            .await
            .is_problem(400);
    }
}

#[tokio::test]
async fn everything_in_a_list_is_found_by_its_own_status() {
    let app = App::start().await;
    for flow in FLOWS {
        play(&app, flow).await;
    }
    let mut found = 0;
    let endpoint = app.endpoint().await;
    for (path, words) in by_status() {
        let path = path.replace("{id}", &endpoint);
        let all = app
            .operator(&format!("GET {path}?limit=100"), "")
            .await
            .json();
        for item in all["data"].as_array().unwrap() {
            // A customer shows that it was deleted, not a word for it.
            let Some(status) = item["status"].as_str() else {
                continue;
            };
            assert!(words.contains(&status), "{path}: {item}");
            let line = format!("GET {path}?limit=100&status={status}");
            let of_it = app.operator(&line, "").await.json();
            let data = of_it["data"].as_array().unwrap();
            assert!(data.contains(item), "{line}: {item}");
            assert!(data.iter().all(|other| other["status"] == status), "{line}");
            found += 1;
        }
    }
    println!("found={found}");
    assert!(found > 50, "{found}");
}

#[tokio::test]
async fn every_list_is_read_in_pages_of_any_size() {
    let app = App::start().await;
    for flow in FLOWS {
        play(&app, flow).await;
    }
    for n in 0..3 {
        let key = format!("{{\"name\":\"key{n}\",\"scopes\":[\"billing\"]}}");
        app.operator("POST /api/v1/service-keys", &key).await;
        app.clock.step(1_000);
    }
    let payment = app.operator("GET /api/v1/payments", "").await.json();
    let payment = payment["data"][0]["id"].as_str().unwrap().to_owned();
    let endpoint = app.endpoint().await;
    let mut lists = 0;
    for route in every_route() {
        let is_list = matches!(route.holds, Holds::Page(_)) && route.verb == Verb::Get;
        // A person's own sessions are all on one page, and nobody else's.
        if !is_list || route.auth == Auth::Person {
            continue;
        }
        lists += 1;
        let path = route
            .path
            .replace("{tenantId}", "ws_42")
            .replace("endpoints/{id}", &format!("endpoints/{endpoint}"))
            .replace("{id}", &payment);
        let whose = match route.label {
            "api_keys_list" | "members_list" => "&tenantId=ws_42",
            _ => "",
        };
        let whole = app
            .operator(&format!("GET {path}?limit=100{whose}"), "")
            .await
            .json();
        let whole = whole["data"]
            .as_array()
            .unwrap_or_else(|| panic!("{path}: {whole}"));
        let (mut pieces, mut cursor) = (Vec::new(), String::new());
        for size in (1..=3).cycle() {
            let line = format!("GET {path}?limit={size}{whose}{cursor}");
            let page = app.operator(&line, "").await.json();
            let data = page["data"]
                .as_array()
                .unwrap_or_else(|| panic!("{line}: {page}"));
            assert!(data.len() <= size, "{line}");
            pieces.extend(data.clone());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
            assert_eq!(
                (&page["hasMore"], data.len()),
                (&json!(true), size),
                "{line}"
            );
            if pieces.len() >= 100 {
                break;
            }
        }
        let most = pieces.len().min(whole.len());
        assert_eq!(pieces[..most], whole[..most], "{path}");
        assert!(pieces.len() >= whole.len(), "{path}");
        for bad in ["limit=0", "limit=101", "cursor=00", "cursor=zz", "limt=1"] {
            app.operator(&format!("GET {path}?{bad}"), "")
                .await
                .is_problem(400);
        }
    }
    assert!(lists >= 20, "{lists}");
    let keys = app.operator("GET /api/v1/service-keys", "").await.json();
    let names: Vec<_> = keys["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| &k["name"])
        .collect();
    assert_eq!(names, ["key2", "key1", "key0"], "newest first");
}

#[tokio::test]
async fn a_span_of_time_begins_with_its_first_moment_and_ends_before_its_last() {
    let app = App::start().await;
    play(&app, "new_subscription_checkout").await;
    let payments = app.operator("GET /api/v1/payments", "").await.json();
    let created = payments["data"][0]["createdAt"].as_str().unwrap();
    let at = created.strip_suffix('Z').unwrap();
    assert!(!at.contains('.'), "Stripe counts seconds: {at}");
    for (query, found) in [
        (format!("createdAfter={at}Z"), 1),
        (format!("createdAfter={at}.0001Z"), 0),
        (format!("createdAfter={at}%2B00:00"), 1),
        (format!("createdBefore={at}Z"), 0),
        (format!("createdBefore={at}.0001Z"), 1),
        (format!("createdAfter={at}Z&createdBefore={at}.001Z"), 1),
        (format!("createdAfter={at}Z&createdBefore={at}Z"), 0),
        ("createdAfter=0001-01-01T00:00:00Z".to_owned(), 1),
        ("createdBefore=0001-01-02T00:00:00Z".to_owned(), 0),
        ("createdBefore=9999-12-30T00:00:00Z".to_owned(), 1),
    ] {
        let line = format!("GET /api/v1/payments?{query}");
        let page = app.operator(&line, "").await.json();
        let data = page["data"].as_array();
        assert_eq!(data.map(Vec::len), Some(found), "{line}: {page}");
    }
}
