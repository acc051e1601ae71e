//! A stop in the middle: what was begun is finished, once.

use super::{PASSWORD, Town, token_of};
use bursar::identity::records::{Commit, spaces};
use bursar::identity::{accounts, members, sweep};
use bursar_config::Signup;
use bursar_store::{OpenOptions, Watermarks, open_sled};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// A sign-up whose address is proved and whose tenant could not be made.
async fn interrupted() -> (Town, String) {
    let town = Town::start().await;
    let mail = town.sign_up("ada@example.com").await;
    town.gate.be_busy();
    let token = token_of(&mail);
    let reply = town.post("/verify-email", json!({"token": token})).await;
    reply.is_problem(503);
    (town, token)
}

async fn restarted(town: Town) -> Town {
    let store = Arc::clone(&town.store);
    drop(town);
    Town::over(store, Signup::Open).await
}

async fn owns_one_tenant(town: &Town) {
    let reply = town.log_in("ada@example.com", PASSWORD).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let access = reply.json()["accessToken"].as_str().unwrap().to_owned();
    let me = town.bearer(&access, "GET /api/v1/me", "").await.json();
    assert_eq!(me["memberships"].as_array().unwrap().len(), 1, "{me}");
    assert_eq!(me["memberships"][0]["role"], "owner");
    let tenants = town.operator("GET /api/v1/tenants", "").await.json();
    assert_eq!(tenants["data"].as_array().unwrap().len(), 1, "{tenants}");
    assert_eq!(town.audited("user.verified").await, 1);
    assert_eq!(town.audited("tenant.created").await, 1);
}

#[tokio::test]
async fn the_same_link_finishes_what_it_began() {
    let (town, token) = interrupted().await;
    let town = restarted(town).await;
    let reply = town.post("/verify-email", json!({"token": token})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    town.post("/verify-email", json!({"token": token}))
        .await
        .is_problem(422);
    owns_one_tenant(&town).await;
}

#[tokio::test]
async fn the_start_finishes_it_without_anybody() {
    let (town, _) = interrupted().await;
    let town = restarted(town).await;
    sweep::sweep(&town.edge).await.unwrap();
    sweep::sweep(&town.edge).await.unwrap();
    let tenants = town.operator("GET /api/v1/tenants", "").await.json();
    assert_eq!(tenants["data"].as_array().unwrap().len(), 1, "{tenants}");
    owns_one_tenant(&town).await;
}

#[tokio::test]
async fn a_stop_after_the_tenant_was_made_makes_no_second_one() {
    let town = Town::start().await;
    let tenant = town.settled("ada@example.com").await;
    let store = &*town.store;
    let key = town.edge.identity.address_key(store).await.unwrap();
    let found = accounts::find_by_address(store, key, "ada@example.com")
        .await
        .unwrap();
    let (user, account) = found.unwrap();
    // As it was between the tenant's order and the membership.
    let member = members::find(store, &tenant, &user).await.unwrap().unwrap();
    let before = accounts::Account {
        default_tenant: None,
        pending_tenant: Some(accounts::PendingTenant {
            id: tenant.clone(),
            name: "Acme".to_owned(),
        }),
        ..account.value
    };
    let back = Commit::default()
        .put(
            spaces::ACCOUNT,
            user.as_str(),
            &before,
            Some(user.subject()),
        )
        .unwrap()
        .put(spaces::UNFINISHED, user.as_str(), &json!({}), None)
        .unwrap();
    let back = members::leave(back, &tenant, &user, &member);
    assert!(back.run(store).await.unwrap());
    let town = restarted(town).await;
    sweep::sweep(&town.edge).await.unwrap();
    let places = members::tenants_of(&*town.store, &user).await.unwrap();
    assert_eq!(places, [(tenant, bursar_domain::identity::Role::Owner)]);
    let tenants = town.operator("GET /api/v1/tenants", "").await.json();
    assert_eq!(tenants["data"].as_array().unwrap().len(), 1, "{tenants}");
}

#[tokio::test]
async fn a_log_in_finishes_it() {
    let (town, _) = interrupted().await;
    let town = restarted(town).await;
    owns_one_tenant(&town).await;
}

#[tokio::test]
async fn a_sign_up_nobody_confirmed_is_forgotten_after_a_week() {
    let town = Town::start().await;
    let mail = town.sign_up("ada@example.com").await;
    town.settled("bob@example.com").await;
    let store = Arc::clone(&town.store);
    let key = town
        .edge
        .identity
        .address_key(&*store)
        .await
        .unwrap()
        .clone();
    let known = async |address: &str| {
        let user = accounts::user_of_address(&*store, &key, address)
            .await
            .unwrap();
        user.is_some()
    };
    town.clock.step(7 * 86_400_000 - 3_600_000);
    sweep::sweep(&town.edge).await.unwrap();
    assert!(known("ada@example.com").await);
    town.clock.step(3_600_000);
    sweep::sweep(&town.edge).await.unwrap();
    assert!(!known("ada@example.com").await && known("bob@example.com").await);
    town.post("/verify-email", json!({"token": token_of(&mail)}))
        .await
        .is_problem(422);
    for space in ["login_limit", "user_session"] {
        assert!(
            store.kept_all(space, None, 10).await.unwrap().is_empty(),
            "{space}"
        );
    }
}

#[tokio::test]
async fn an_erased_tenants_people_go_with_it_unless_they_belong_elsewhere() {
    let town = Town::start().await;
    let tenant = town.settled("ada@example.com").await;
    let (access, _) = town.tokens("ada@example.com").await;
    let other = town.tenant("other").await;
    let (both, _) = town
        .member(&other, bursar_domain::identity::Role::Member)
        .await;
    let now = town.edge.now();
    let role = bursar_domain::identity::Role::Viewer;
    let joins = members::join(Default::default(), &tenant, &both, role, now).unwrap();
    assert!(joins.run(&*town.store).await.unwrap());
    let invite = json!({"email": "carol@example.com", "role": "viewer"}).to_string();
    let invited = town.bearer(&access, "POST /api/v1/members", &invite).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    let export = town
        .operator(&format!("GET /api/v1/tenants/{tenant}/export"), "")
        .await
        .json();
    let text = export["members"].to_string();
    assert!(
        text.contains("ada@example.com") && text.contains(both.as_str()),
        "{export}"
    );
    assert!(
        export["invitations"]
            .to_string()
            .contains("carol@example.com"),
        "{export}"
    );
    let erased = town
        .operator(&format!("POST /api/v1/tenants/{tenant}/erase"), "")
        .await;
    assert_eq!(
        (erased.status, &erased.json()["complete"]),
        (200, &true.into()),
        "{erased:?}"
    );
    town.bearer(&access, "GET /api/v1/me", "")
        .await
        .is_problem(401);
    town.log_in("ada@example.com", PASSWORD)
        .await
        .is_problem(401);
    let export = town
        .operator(&format!("GET /api/v1/tenants/{tenant}/export"), "")
        .await
        .json();
    assert_eq!(
        (&export["members"], &export["invitations"]),
        (&json!([]), &json!([]))
    );
    assert!(accounts::find(&*town.store, &both).await.unwrap().is_some());
    let left = members::tenants_of(&*town.store, &both).await.unwrap();
    assert_eq!(left.len(), 1);
    // The address is free, and is nobody's of before.
    town.mailbox.0.lock().unwrap().clear();
    town.sign_up("ada@example.com").await;
}

/// Every byte of every file below a folder.
fn bytes_of(folder: &Path, into: &mut Vec<u8>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes_of(&path, into);
        } else if path.is_file() {
            into.extend(std::fs::read(path).unwrap());
        }
    }
}

#[tokio::test]
async fn no_file_of_the_store_tells_an_address_a_password_or_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        watermarks: Watermarks::OFF,
        ..OpenOptions::default()
    };
    let (store, _) = open_sled(folder.path(), options).unwrap();
    let town = Town::over(store, Signup::Open).await;
    let mail = town.sign_up("canary.person@example.com").await;
    let verification = token_of(&mail);
    let body = json!({"token": verification});
    assert_eq!(town.post("/verify-email", body).await.status, 200);
    let (access, refresh) = town.tokens("canary.person@example.com").await;
    let name = json!({"name": "Canary Lovelace"}).to_string();
    assert_eq!(
        town.bearer(&access, "PATCH /api/v1/me", &name).await.status,
        200
    );
    let invite = json!({"email": "canary.guest@example.com", "role": "viewer"}).to_string();
    let invited = town.bearer(&access, "POST /api/v1/members", &invite).await;
    assert_eq!(invited.status, 201, "{invited:?}");
    let invitation = token_of(&town.mails("canary.guest@example.com", 1).await[0]);
    let me = town.bearer(&access, "GET /api/v1/me", "").await.json();
    town.store.close().await.unwrap();
    let mut stored = Vec::new();
    bytes_of(folder.path(), &mut stored);
    let holds = |text: &str| {
        stored
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(
        holds(me["id"].as_str().unwrap()),
        "what is not secret is found"
    );
    let secret_of = |token: &str| token[token.len() - 40..].to_owned();
    let (verification, invitation) = (secret_of(&verification), secret_of(&invitation));
    let refresh = refresh.split('_').nth(3).unwrap().to_owned();
    for secret in [
        "canary.person",
        "canary.guest",
        "Canary Lovelace",
        PASSWORD,
        "$argon2id",
        &verification,
        &invitation,
        &refresh,
        &access,
    ] {
        assert!(!holds(secret), "{secret}");
    }
}
