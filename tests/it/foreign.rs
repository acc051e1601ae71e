//! What is another tenant's looks exactly like what is not there.

use crate::app::{ADMIN_KEY, App, Reply};
use crate::story::{FLOWS, play};
use bursar::http::route::Verb;
use bursar::http::routes::every_route;

/// All a caller can tell two refusals apart by, but the request's own id.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, serde_json::Value) {
    let mut json = reply.json();
    json["requestId"] = "".into();
    let headers = reply.headers.iter();
    let told = headers.filter(|(name, _)| name != "x-request-id" && name != "date");
    (reply.status, told.cloned().collect(), json)
}

async fn as_tenant(app: &App, tenant: &str, line: &str) -> Reply {
    let bearer = format!("Bearer {ADMIN_KEY}");
    let headers = [("Authorization", bearer.as_str()), ("X-Tenant-Id", tenant)];
    app.send(line, &headers, b"").await
}

#[tokio::test]
async fn a_thing_of_another_tenant_is_told_like_one_that_does_not_exist() {
    let app = App::start().await;
    for flow in FLOWS {
        play(&app, flow).await;
    }
    app.operator("POST /api/v1/tenants", r#"{"tenantId":"other"}"#)
        .await;
    let mut asked = Vec::new();
    for route in every_route().filter(|route| route.verb == Verb::Get) {
        let has_tenant = route.params.iter().any(|param| param.name == "tenantId");
        let (Some((list, _)), true) = (route.path.split_once("/{id}"), has_tenant) else {
            continue;
        };
        let list = list.replace("explain", "payments");
        let items = app
            .operator(&format!("GET {list}?limit=100"), "")
            .await
            .json();
        let items = items["data"].as_array().unwrap();
        let Some(id) = items.iter().find(|item| item["tenantId"].is_string()) else {
            continue;
        };
        let id = id["id"].as_str().unwrap();
        let there = format!("GET {}", route.path.replace("{id}", id));
        let nowhere = format!("GET {}", route.path.replace("{id}", "absent"));
        assert_eq!(app.operator(&there, "").await.status, 200, "{there}");
        let foreign = app.operator(&format!("{there}?tenantId=other"), "").await;
        let absent = app.operator(&format!("{nowhere}?tenantId=other"), "").await;
        foreign.is_problem(404);
        assert_eq!(seen(&foreign), seen(&absent), "{there}");
        let foreign = as_tenant(&app, "other", &there).await;
        let absent = as_tenant(&app, "other", &nowhere).await;
        foreign.is_problem(404);
        assert_eq!(seen(&foreign), seen(&absent), "{there}");
        asked.push(route.path);
    }
    assert!(asked.len() >= 9, "{asked:?}");
    for path in [
        "",
        "/entitlements",
        "/entitlements/reports",
        "/timeline",
        "/credits/entries",
        "/export",
    ] {
        let there = format!("GET /api/v1/tenants/ws_42{path}");
        let nowhere = format!("GET /api/v1/tenants/absent{path}");
        assert_eq!(app.operator(&there, "").await.status, 200, "{there}");
        let foreign = as_tenant(&app, "other", &there).await;
        foreign.is_problem(404);
        assert_eq!(
            seen(&foreign),
            seen(&as_tenant(&app, "other", &nowhere).await),
            "{there}"
        );
        assert_eq!(
            seen(&foreign),
            seen(&app.operator(&nowhere, "").await),
            "{there}"
        );
    }
    let payments = app
        .operator("GET /api/v1/payments?tenantId=ws_42", "")
        .await
        .json();
    let id = payments["data"][0]["id"].as_str().unwrap();
    let foreign = app
        .operator(
            &format!("GET /api/v1/ledger?tenantId=other&paymentId={id}"),
            "",
        )
        .await;
    let absent = app
        .operator("GET /api/v1/ledger?tenantId=other&paymentId=absent", "")
        .await;
    foreign.is_problem(404);
    assert_eq!(seen(&foreign), seen(&absent));
}
