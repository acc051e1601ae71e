//! The kinds of callers there are.

use super::people::{person, session, token};
use crate::app::{ADMIN_KEY, App};
use bursar::http::auth::{Scope, csrf_token};
use bursar::http::route::{Auth, Route};
use bursar_domain::identity::Role;
use serde_json::json;

/// What a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Anonymous,
    Person(Role),
    Key(Role),
    /// A service key with every scope.
    Service,
    /// One with the scope `notifications` alone.
    Notifier,
    Operator,
}

impl Kind {
    /// Whether its requests are of one tenant.
    pub(super) fn is_bound(self) -> bool {
        matches!(self, Self::Person(_) | Self::Key(_))
    }
    /// Whether it has at least this role, or every right.
    pub(super) fn is_at_least(self, role: Role) -> bool {
        match self {
            Self::Person(own) | Self::Key(own) => own >= role,
            other => other == Self::Operator,
        }
    }
    /// Whether the table lets it through where its own tenant is meant.
    pub(super) fn may(self, route: &Route) -> bool {
        match (self, route.auth) {
            (Self::Anonymous, _) | (_, Auth::Public | Auth::Stripe) => false,
            (Self::Operator, auth) => auth != Auth::Person,
            (Self::Service, Auth::Scopes(_)) => true,
            (Self::Service, Auth::Tenant(scopes, _)) => !scopes.is_empty(),
            (Self::Notifier, Auth::Scopes(scopes) | Auth::Tenant(scopes, _)) => {
                scopes.contains(&Scope::Notifications)
            }
            (Self::Person(own) | Self::Key(own), Auth::Tenant(_, role)) => own >= role,
            (Self::Person(own), Auth::PersonOf(role)) => own >= role,
            (Self::Person(_), Auth::Person) => true,
            _ => false,
        }
    }
}

/// One caller.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) kind: Kind,
    headers: Vec<(String, String)>,
}

impl Caller {
    fn new(name: &str, kind: Kind, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter();
        Self {
            name: name.to_owned(),
            kind,
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }
    fn bearing(name: &str, kind: Kind, key: &str) -> Self {
        Self::new(name, kind, &[("Authorization", &format!("Bearer {key}"))])
    }
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        let pairs = self.headers.iter();
        pairs.map(|(n, v)| (n.as_str(), v.as_str())).collect()
    }
}

pub(super) fn operator() -> Caller {
    Caller::bearing("operator", Kind::Operator, ADMIN_KEY)
}

/// A key of a tenant.
pub(crate) async fn api_key(app: &App, tenant: &str, role: Role) -> (String, String) {
    let body = json!({"tenantId": tenant, "name": "k", "role": role.as_str()});
    let made = app
        .operator("POST /api/v1/api-keys", &body.to_string())
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

pub(super) async fn owner(app: &App, tenant: &str) -> Caller {
    let user = person(app, &[(tenant, Role::Owner)], None).await;
    let name = format!("owner of {tenant}");
    Caller::bearing(&name, Kind::Person(Role::Owner), &token(app, &user).await)
}

/// An owner in the console.
async fn console(app: &App, tenant: &str) -> Caller {
    let user = person(app, &[(tenant, Role::Owner)], None).await;
    let cookie = session(app, &user, "console").await.cookie;
    let csrf = csrf_token(&app.edge, &cookie).unwrap();
    let headers = [
        ("Cookie", &*format!("a=b; __Host-bursar_session={cookie}")),
        ("Origin", "https://billing.example.com"),
        ("X-CSRF-Token", &csrf),
    ];
    Caller::new("owner by cookie", Kind::Person(Role::Owner), &headers)
}

/// Every kind of caller, those of a tenant being of `own`.
pub(super) async fn all(app: &App, own: &str, scopes: &[&str]) -> Vec<Caller> {
    let mut all = vec![Caller::new("anonymous", Kind::Anonymous, &[]), operator()];
    for role in Role::ALL {
        let user = person(app, &[(own, role)], None).await;
        let token = token(app, &user).await;
        all.push(Caller::bearing(role.as_str(), Kind::Person(role), &token));
    }
    for role in [Role::Viewer, Role::Member, Role::Admin] {
        let (_, key) = api_key(app, own, role).await;
        let name = format!("key of {}", role.as_str());
        all.push(Caller::bearing(&name, Kind::Key(role), &key));
    }
    all.push(console(app, own).await);
    let key = service_key(app, scopes).await;
    all.push(Caller::bearing("service key", Kind::Service, &key));
    let key = service_key(app, &["notifications"]).await;
    all.push(Caller::bearing(
        "service key for notifications",
        Kind::Notifier,
        &key,
    ));
    all
}

async fn service_key(app: &App, scopes: &[&str]) -> String {
    let body = json!({"name": "backend", "scopes": scopes}).to_string();
    let made = app.operator("POST /api/v1/service-keys", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["key"].as_str().unwrap().to_owned()
}
