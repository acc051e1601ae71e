//! People as records: accounts, memberships and sessions, without their mails.

use crate::app::App;
use bursar::identity::records::{Commit, spaces};
use bursar::identity::secrets::{self, Token};
use bursar::identity::{UserId, members};
use bursar_domain::identity::Role;
use bursar_domain::ids::TenantId;
use secrecy::ExposeSecret;
use serde_json::json;

pub(crate) fn tenant(id: &str) -> TenantId {
    TenantId::parse(id).unwrap()
}

/// A person who belongs to these tenants.
pub(crate) async fn person(app: &App, places: &[(&str, Role)], default: Option<&str>) -> UserId {
    let user = UserId::new();
    let account = json!({
        "email": format!("{user}@example.com"), "name": "", "password": null,
        "verifiedAt": app.edge.now(), "createdAt": app.edge.now(), "defaultTenant": default,
        "sessionVersion": 0, "pendingTenant": null,
    });
    let subject = Some(user.subject());
    let mut commit = Commit::default()
        .create(spaces::ACCOUNT, user.as_str(), &account, subject)
        .unwrap();
    for (place, role) in places {
        let now = app.edge.now();
        commit = members::join(commit, &tenant(place), &user, *role, now).unwrap();
    }
    assert!(commit.run(app.store.as_ref()).await.unwrap());
    user
}

/// What a session's record is found by, and its secret.
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) cookie: String,
}

/// A session that holds; `kind` as its record says.
pub(crate) async fn session(app: &App, user: &UserId, kind: &str) -> Session {
    let (id, secret) = (secrets::new_id(), secrets::new_secret().unwrap());
    let now = app.edge.now();
    let record = json!({
        "user": user, "kind": kind, "version": 0, "createdAt": now, "usedAt": now,
        "secretSha256": secrets::digest(secret.expose_secret()),
        "endsAt": now.plus_ms(12 * 3_600_000),
    });
    let commit = Commit::default().create(spaces::SESSION, &id, &record, None);
    assert!(commit.unwrap().run(app.store.as_ref()).await.unwrap());
    let cookie = Token::join(&id, &secret).expose_secret().to_owned();
    Session { id, cookie }
}

/// An access token, good now.
pub(crate) async fn token(app: &App, user: &UserId) -> String {
    let session = session(app, user, "tokens").await;
    let keys = &app.edge.identity.keys;
    let token = keys.issue(user, &session.id, app.edge.now()).unwrap();
    token.expose_secret().to_owned()
}
