//! The console's cookie as a credential: what other sites cannot do with it (rows BA7, BA13).

use super::people::{person, session, token};
use crate::app::{ADMIN_KEY, App};
use bursar::http::auth::csrf_token;
use bursar_domain::identity::Role;

const PATCH: &str = "PATCH /api/v1/tenants/t1";
const LIST: &str = "GET /api/v1/payments";
const ORIGIN: (&str, &str) = ("Origin", "https://billing.example.com");

#[tokio::test]
async fn a_change_by_cookie_needs_its_own_token_and_its_own_page() {
    let app = App::start().await;
    app.operator("POST /api/v1/tenants", r#"{"tenantId":"t1"}"#)
        .await;
    let user = person(&app, &[("t1", Role::Admin)], None).await;
    let (one, other) = (
        session(&app, &user, "console").await.cookie,
        session(&app, &user, "console").await.cookie,
    );
    let cookie = format!("__Host-bursar_session={one}");
    let csrf = csrf_token(&app.edge, &one).unwrap();
    let foreign = csrf_token(&app.edge, &other).unwrap();
    let send = async |line: &str, beside: &[(&str, &str)]| {
        let mut headers = vec![
            ("Cookie", cookie.as_str()),
            ("Content-Type", "application/json"),
        ];
        headers.extend(beside);
        let body: &[u8] = if line == LIST {
            b""
        } else {
            br#"{"name":"a"}"#
        };
        app.send(line, &headers, body).await
    };
    assert_eq!(send(LIST, &[]).await.status, 200);
    let (own, theirs) = (
        ("X-CSRF-Token", csrf.as_str()),
        ("X-CSRF-Token", foreign.as_str()),
    );
    assert_eq!(send(PATCH, &[own, ORIGIN]).await.status, 200);
    let same = ("Sec-Fetch-Site", "same-origin");
    assert_eq!(send(PATCH, &[own, same]).await.status, 200);
    for beside in [
        &[][..],
        &[ORIGIN],
        &[own],
        &[theirs, ORIGIN],
        &[("X-CSRF-Token", ""), ORIGIN],
        &[own, ("Origin", "https://evil.example")],
        &[own, ("Origin", "null")],
        &[own, ORIGIN, ("Sec-Fetch-Site", "cross-site")],
        &[own, ("Sec-Fetch-Site", "same-site")],
    ] {
        let reply = send(PATCH, beside).await;
        reply.is_problem(403);
        assert_eq!(reply.code(), "csrf_refused", "{beside:?}");
    }
    let in_query = format!("{PATCH}?csrfToken={csrf}");
    send(&in_query, &[ORIGIN]).await.is_problem(403);

    // Beside a key the cookie decides nothing, and must not be somebody else's.
    let mine = format!("Bearer {}", token(&app, &user).await);
    assert_eq!(send(PATCH, &[("Authorization", &mine)]).await.status, 200);
    let stranger = person(&app, &[("t1", Role::Owner)], None).await;
    let theirs = format!("Bearer {}", token(&app, &stranger).await);
    send(LIST, &[("Authorization", &theirs)])
        .await
        .is_problem(400);
    let operator = format!("Bearer {ADMIN_KEY}");
    send(LIST, &[("Authorization", &operator)])
        .await
        .is_problem(400);
    send(LIST, &[("Authorization", &mine), ("X-API-Key", ADMIN_KEY)])
        .await
        .is_problem(400);
    // A cookie nobody is behind is no credential, and over https only the `__Host-` name is one.
    let gone = format!("__Host-bursar_session={}x", &one[..one.len() - 1]);
    for cookie in [
        gone.as_str(),
        "__Host-bursar_session=",
        "bursar_session=x",
        "a=b",
        "",
    ] {
        let reply = app.send(LIST, &[("Cookie", cookie)], b"").await;
        reply.is_problem(401);
        let beside = [("Cookie", cookie), ("Authorization", operator.as_str())];
        assert_eq!(app.send(LIST, &beside, b"").await.status, 200, "{cookie}");
    }
    let plain = format!("bursar_session={one}");
    app.send(LIST, &[("Cookie", &plain)], b"")
        .await
        .is_problem(401);
    let two = format!("{cookie}; __Host-bursar_session={other}");
    app.send(LIST, &[("Cookie", &two)], b"")
        .await
        .is_problem(400);
    // An idle session is over.
    app.clock.step(31 * 60_000);
    send(LIST, &[]).await.is_problem(401);
}
