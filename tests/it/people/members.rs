//! Who may do what to whom within a tenant, and how people come into it.

use super::{PASSWORD, Town, token_of};
use crate::app::Reply;
use bursar::identity::{invitations, members};
use bursar_domain::identity::Role;
use serde_json::json;
use std::sync::Arc;

async fn change(town: &Town, token: &str, id: &str, role: Role) -> Reply {
    let body = json!({"role": role}).to_string();
    town.bearer(token, &format!("PATCH /api/v1/members/{id}"), &body)
        .await
}

#[tokio::test]
async fn every_role_changes_and_removes_what_it_may_grant_and_nothing_else() {
    let town = Town::start().await;
    let tenant = town.tenant("acme").await;
    town.member(&tenant, Role::Owner).await;
    let mut cells = 0;
    for actor in Role::ALL {
        let (_, token) = town.member(&tenant, actor).await;
        for target in Role::ALL {
            for wanted in Role::ALL {
                let (user, _) = town.member(&tenant, target).await;
                let reply = change(&town, &token, user.as_str(), wanted).await;
                let allowed = actor.may_grant(target) && actor.may_grant(wanted);
                let status = if allowed { 200 } else { 403 };
                assert_eq!(
                    reply.status, status,
                    "{actor:?} {target:?} {wanted:?} {reply:?}"
                );
                let now = members::role_in(&*town.store, &user, &tenant)
                    .await
                    .unwrap();
                assert_eq!(now, Some(if allowed { wanted } else { target }));
                cells += 1;
            }
            let (user, _) = town.member(&tenant, target).await;
            let remove = format!("DELETE /api/v1/members/{user}");
            let reply = town.bearer(&token, &remove, "").await;
            let status = if actor.may_grant(target) { 204 } else { 403 };
            assert_eq!(
                reply.status, status,
                "{actor:?} removes {target:?} {reply:?}"
            );
            let body =
                json!({"email": format!("{actor:?}-{target:?}@example.com"), "role": target});
            let reply = town
                .bearer(&token, "POST /api/v1/members", &body.to_string())
                .await;
            let status = if actor.may_grant(target) { 201 } else { 403 };
            assert_eq!(
                reply.status, status,
                "{actor:?} invites {target:?} {reply:?}"
            );
            cells += 2;
        }
    }
    println!("cells={cells}");
}

#[tokio::test]
async fn a_role_acts_at_the_next_request_and_other_tenants_do_not_exist() {
    let town = Town::start().await;
    let (tenant, other) = (town.tenant("acme").await, town.tenant("other").await);
    let (_, owner) = town.member(&tenant, Role::Owner).await;
    let (user, token) = town.member(&tenant, Role::Admin).await;
    let (stranger, _) = town.member(&other, Role::Viewer).await;
    let list = "GET /api/v1/members";
    assert_eq!(town.bearer(&token, list, "").await.status, 200);
    assert_eq!(
        change(&town, &owner, user.as_str(), Role::Viewer)
            .await
            .status,
        200
    );
    town.bearer(&token, list, "").await.is_problem(403);
    let gone = format!("DELETE /api/v1/members/{stranger}");
    let absent = "DELETE /api/v1/members/usr_00000000000000000000000000000000";
    let (foreign, absent) = (
        town.bearer(&owner, &gone, "").await,
        town.bearer(&owner, absent, "").await,
    );
    foreign.is_problem(404);
    assert_eq!(foreign.json()["detail"], absent.json()["detail"]);
    let bearer = format!("Bearer {owner}");
    for named in ["other", "nowhere"] {
        let headers = [("Authorization", bearer.as_str()), ("X-Tenant-Id", named)];
        town.send(list, &headers, b"").await.is_problem(404);
    }
    let leave = format!("DELETE /api/v1/members/{user}");
    assert_eq!(
        town.bearer(&token, &leave, "").await.status,
        204,
        "a viewer may leave"
    );
    assert!(town.bearer(&token, list, "").await.status >= 400);
    let me = town.bearer(&token, "GET /api/v1/me", "").await.json();
    assert_eq!(
        (&me["memberships"], &me["defaultTenantId"]),
        (&json!([]), &json!(null))
    );
}

#[tokio::test]
async fn the_last_owner_neither_leaves_nor_becomes_less() {
    let town = Town::start().await;
    let tenant = town.tenant("acme").await;
    let (first, token) = town.member(&tenant, Role::Owner).await;
    let leave = format!("DELETE /api/v1/members/{first}");
    for reply in [
        town.bearer(&token, &leave, "").await,
        change(&town, &token, first.as_str(), Role::Admin).await,
        town.send(
            &leave,
            &[
                (
                    "Authorization",
                    &format!("Bearer {}", crate::app::ADMIN_KEY),
                ),
                ("X-Tenant-Id", "acme"),
            ],
            b"",
        )
        .await,
    ] {
        reply.is_problem(409);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_last_owners_who_leave_at_once_one_stays() {
    let town = Arc::new(Town::start().await);
    let mut met = 0;
    for n in 0..20 {
        let tenant = town.tenant(&format!("t{n}")).await;
        let mut leaving = Vec::new();
        let (owners, mut statuses) = (
            [
                town.member(&tenant, Role::Owner).await,
                town.member(&tenant, Role::Owner).await,
            ],
            Vec::new(),
        );
        for (user, token) in owners {
            let town = Arc::clone(&town);
            leaving.push(tokio::spawn(async move {
                let line = format!("DELETE /api/v1/members/{user}");
                town.bearer(&token, &line, "").await.status
            }));
        }
        for each in leaving {
            statuses.push(each.await.unwrap());
        }
        statuses.sort_unstable();
        met += usize::from(statuses == [204, 409]);
        assert_eq!(
            members::of_tenant(&*town.store, &tenant)
                .await
                .unwrap()
                .len(),
            1,
            "{statuses:?}"
        );
    }
    assert_eq!(met, 20);
}

#[tokio::test]
async fn an_invitation_brings_somebody_new_in_once() {
    let town = Town::start().await;
    let tenant = town.tenant("acme").await;
    let (_, admin) = town.member(&tenant, Role::Admin).await;
    let body = json!({"email": "New@Example.com", "role": "member"}).to_string();
    let invited = town.bearer(&admin, "POST /api/v1/members", &body).await;
    assert_eq!(
        (invited.status, &invited.json()["status"]),
        (201, &"invited".into())
    );
    town.bearer(&admin, "POST /api/v1/members", &body)
        .await
        .is_problem(409);
    let mail = town.mails("new@example.com", 1).await.remove(0);
    assert_eq!(
        (mail.template.as_str(), mail.params["tenantName"].as_str()),
        ("invitation", "acme")
    );
    let token = token_of(&mail);
    let page = town
        .send(&format!("GET /invitations/accept?token={token}"), &[], b"")
        .await;
    assert!(page.status == 200 && page.body.contains(&token), "{page:?}");
    let accept = "/api/v1/invitations/accept";
    town.post(accept, json!({"token": token}))
        .await
        .is_problem(422);
    let reply = town
        .form(
            "/invitations/accept",
            &[("token", &token), ("password", PASSWORD)],
        )
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
    town.post(accept, json!({"token": token, "password": PASSWORD}))
        .await
        .is_problem(422);
    let (access, _) = town.tokens("new@example.com").await;
    let me = town.bearer(&access, "GET /api/v1/me", "").await.json();
    assert_eq!(
        me["memberships"],
        json!([{"tenantId": "acme", "tenantName": "acme", "role": "member"}])
    );
    let listed = town
        .bearer(&access, "GET /api/v1/members?limit=1", "")
        .await
        .json();
    assert!(
        listed["hasMore"].as_bool().unwrap() && listed["data"][0]["email"] == "new@example.com"
    );
    let next = format!(
        "GET /api/v1/members?cursor={}",
        listed["nextCursor"].as_str().unwrap()
    );
    let rest = town.bearer(&access, &next, "").await.json();
    assert_eq!(
        (rest["data"].as_array().unwrap().len(), &rest["hasMore"]),
        (1, &false.into())
    );
}

#[tokio::test]
async fn an_invitation_under_one_idempotency_key_is_one() {
    let town = Town::start().await;
    let tenant = town.tenant("acme").await;
    let (_, owner) = town.member(&tenant, Role::Owner).await;
    let bearer = format!("Bearer {owner}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "one"),
    ];
    let body = json!({"email": "a@example.com", "role": "viewer"}).to_string();
    let invite = async || {
        town.send("POST /api/v1/members", &headers, body.as_bytes())
            .await
    };
    let (first, second) = (invite().await, invite().await);
    assert_eq!((first.status, second.status), (201, 201), "{second:?}");
    assert_eq!(first.body, second.body);
    town.mails("a@example.com", 1).await;
    let kept = town.store.kept_all("http_answer", None, 10).await.unwrap();
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("a@example.com");
    assert!(
        !kept.iter().any(|(_, bytes)| told(bytes)),
        "no address in clear"
    );
}

#[tokio::test]
async fn who_has_an_account_joins_as_its_owner_only() {
    let town = Town::start().await;
    town.settled("ada@example.com").await;
    let tenant = town.tenant("acme").await;
    let (_, owner) = town.member(&tenant, Role::Owner).await;
    let body = json!({"email": "ada@example.com", "role": "viewer"}).to_string();
    let invite = async || town.bearer(&owner, "POST /api/v1/members", &body).await;
    assert_eq!(invite().await.status, 201);
    let token = token_of(&town.mails("ada@example.com", 2).await[1]);
    let accept = "/api/v1/invitations/accept";
    town.post(accept, json!({"token": token}))
        .await
        .is_problem(422);
    let wrong = json!({"token": token, "password": "wrong horse battery"});
    town.post(accept, wrong).await.is_problem(401);
    let line = format!("POST {accept}");
    let signed = json!({"token": token}).to_string();
    town.bearer(&owner, &line, &signed).await.is_problem(403);
    let (access, _) = town.tokens("ada@example.com").await;
    let joined = town.bearer(&access, &line, &signed).await;
    assert_eq!(
        (joined.status, &joined.json()["role"]),
        (200, &"viewer".into()),
        "{joined:?}"
    );
    let me = town.bearer(&access, "GET /api/v1/me", "").await.json();
    assert_eq!(me["memberships"].as_array().unwrap().len(), 2);
    let chosen = json!({"defaultTenantId": "acme", "name": "Ada"}).to_string();
    let me = town
        .bearer(&access, "PATCH /api/v1/me", &chosen)
        .await
        .json();
    assert_eq!(
        (&me["defaultTenantId"], &me["name"]),
        (&"acme".into(), &"Ada".into())
    );
    let foreign = json!({"defaultTenantId": "nowhere"}).to_string();
    town.bearer(&access, "PATCH /api/v1/me", &foreign)
        .await
        .is_problem(422);
}

#[tokio::test]
async fn an_invitation_can_be_taken_back_and_ends_by_itself() {
    let town = Town::start().await;
    let tenant = town.tenant("acme").await;
    let (_, owner) = town.member(&tenant, Role::Owner).await;
    let invite = async |email: &str| {
        let body = json!({"email": email, "role": "viewer"}).to_string();
        let reply = town.bearer(&owner, "POST /api/v1/members", &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["id"].as_str().unwrap().to_owned()
    };
    let id = invite("a@example.com").await;
    let first = token_of(&town.mails("a@example.com", 1).await[0]);
    let back = format!("DELETE /api/v1/members/{id}");
    assert_eq!(town.bearer(&owner, &back, "").await.status, 204);
    let accept = async |token: &str| {
        town.post(
            "/api/v1/invitations/accept",
            json!({"token": token, "password": PASSWORD}),
        )
        .await
    };
    accept(&first).await.is_problem(422);
    invite("b@example.com").await;
    let second = token_of(&town.mails("b@example.com", 1).await[0]);
    town.clock.step(invitations::INVITATION_DAYS * 86_400_000);
    accept(&second).await.is_problem(422);
}

#[tokio::test]
async fn who_pays_without_an_account_is_invited_as_the_owner() {
    let town = Town::start().await;
    let tenant = town.tenant("acme").await;
    let base = "https://billing.example.com";
    let now = town.edge.now();
    let invited = invitations::invite_owner(&*town.store, base, &tenant, "payer@example.com", now);
    assert_eq!(invited.await.unwrap(), invitations::OwnerInvited::Invited);
    town.edge
        .intake
        .hint(vec![bursar_domain::decision::Lane::Mail]);
    let token = token_of(&town.mails("payer@example.com", 1).await[0]);
    let body = json!({"token": token, "password": PASSWORD, "name": "Pay Er"});
    let reply = town.post("/api/v1/invitations/accept", body).await;
    assert_eq!(
        (reply.status, &reply.json()["role"]),
        (200, &"owner".into()),
        "{reply:?}"
    );
    let addresses = members::owner_addresses(&*town.store, &tenant, 10)
        .await
        .unwrap();
    assert_eq!(addresses, ["payer@example.com"]);
}

#[tokio::test]
async fn the_operator_invites_lists_logs_out_and_forgets_people() {
    let town = Town::start().await;
    let tenant = town.tenant("acme").await;
    let body = json!({"email": "first@example.com", "tenantId": "acme"}).to_string();
    let invited = town.operator("POST /api/v1/users", &body).await;
    assert_eq!(
        (invited.status, &invited.json()["role"]),
        (201, &"owner".into()),
        "{invited:?}"
    );
    let token = token_of(&town.mails("first@example.com", 1).await[0]);
    let body = json!({"token": token, "password": PASSWORD});
    assert_eq!(
        town.post("/api/v1/invitations/accept", body).await.status,
        200
    );
    town.sign_up("waiting@example.com").await;
    let listed = town.operator("GET /api/v1/users?limit=1", "").await.json();
    assert_eq!(listed["data"][0]["email"], "first@example.com");
    let next = listed["nextCursor"].as_str().unwrap();
    let rest = town
        .operator(&format!("GET /api/v1/users?cursor={next}"), "")
        .await
        .json();
    assert_eq!(
        (&rest["data"][0]["status"], &rest["hasMore"]),
        (&"unverified".into(), &false.into())
    );
    let one = town
        .operator("GET /api/v1/users?email=First@example.com", "")
        .await
        .json();
    let id = one["data"][0]["id"].as_str().unwrap().to_owned();
    let (access, refresh) = town.tokens("first@example.com").await;
    town.bearer(&access, "GET /api/v1/users", "")
        .await
        .is_problem(403);
    let end = format!("POST /api/v1/users/{id}/end-sessions");
    assert_eq!(town.operator(&end, "").await.status, 204);
    town.bearer(&access, "GET /api/v1/me", "")
        .await
        .is_problem(401);
    town.refresh(&refresh).await.is_problem(401);
    let forget = format!("DELETE /api/v1/users/{id}");
    town.operator(&forget, "").await.is_problem(409);
    town.member(&tenant, Role::Owner).await;
    assert_eq!(town.operator(&forget, "").await.status, 204);
    town.operator(&forget, "").await.is_problem(404);
    town.log_in("first@example.com", PASSWORD)
        .await
        .is_problem(401);
}
