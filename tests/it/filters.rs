//! Filters of lists: what they refuse, and that they find what is there.

use crate::app::App;
use crate::story::{FLOWS, play};
use bursar::http::route::{Kind, Verb};
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
    for (path, words) in lists {
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
    for (path, words) in by_status() {
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
