//! The console's pages and forms: every row × visitor × whose × where it is named.
//!
//! A visitor is a session in a cookie. Checked: who may gets the page and who may not does not; nothing of another
//! tenant is in any answer; another's is answered as what does not exist; a form without its session's token, or from
//! another site, does nothing.

use super::people::{person, session};
use super::seed::{House, OURS, THEIRS, Things, furnish};
use crate::app::{ADMIN_KEY, App, Reply};
use bursar::console::ROWS;
use bursar::http::auth::csrf_token;
use bursar::http::limits::Limits;
use bursar::http::route::{Auth, Route, Verb};
use bursar::http::routes::labelled;
use bursar_config::ConnectOnboarding;
use bursar_domain::identity::Role;
use bursar_store::MemStore;
use std::sync::atomic::Ordering;

const ORIGIN: (&str, &str) = ("Origin", "https://billing.example.com");
const ABSENT: &str = "absent";

#[derive(Clone, Debug)]
struct Visitor {
    name: String,
    /// `None`: the operator.
    role: Option<Role>,
    cookie: String,
}

impl Visitor {
    fn may(&self, auth: Auth) -> bool {
        match (self.role, auth) {
            (_, Auth::Console("")) => true,
            (role, Auth::Console(of)) => match (role, labelled(of).auth) {
                (None, auth) => auth != Auth::Person,
                (Some(own), Auth::Tenant(_, role) | Auth::PersonOf(role)) => own >= role,
                _ => false,
            },
            _ => true,
        }
    }
}

async fn form(app: &App, line: &str, cookie: &str, beside: &[(&str, &str)], body: &str) -> Reply {
    let cookie = format!("__Host-bursar_session={cookie}");
    let mut headers = vec![
        ("Cookie", cookie.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Prefer", "respond-async"),
    ];
    headers.extend(beside);
    app.send(line, &headers, body.as_bytes()).await
}

/// The operator's session, begun as a person would.
pub(crate) async fn operators_session(app: &App) -> String {
    let body = format!("operatorKey={ADMIN_KEY}&next=/console");
    let headers = [
        ORIGIN,
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let reply = app
        .send("POST /console/login", &headers, body.as_bytes())
        .await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (303, Some("/console")),
        "{reply:?}"
    );
    let set = reply.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly; SameSite=Lax; Secure"), "{set}");
    let value = set.strip_prefix("__Host-bursar_session=").unwrap();
    value.split(';').next().unwrap().to_owned()
}

async fn visitors(app: &App) -> Vec<Visitor> {
    let mut all = vec![Visitor {
        name: "operator".to_owned(),
        role: None,
        cookie: operators_session(app).await,
    }];
    for role in Role::ALL {
        let user = person(app, &[(OURS.tenant, role)], Some(OURS.tenant)).await;
        all.push(Visitor {
            name: role.as_str().to_owned(),
            role: Some(role),
            cookie: session(app, &user, "console").await.cookie,
        });
    }
    all
}

/// What a page's path names.
fn thing<'a>(route: &Route, tenant: &'a str, things: &'a Things) -> &'a str {
    let list = route.path.split('/').nth(2).unwrap_or("");
    let list = match list {
        "tenants" => return tenant,
        "keys" => "api-keys",
        "endpoints" => "notification-endpoints",
        list => list,
    };
    things.get(list).map_or(ABSENT, String::as_str)
}

/// A request for one row.
async fn ask(
    app: &App,
    route: &Route,
    visitor: &Visitor,
    (tenant, things): (&str, &Things),
    named: Option<&str>,
) -> Reply {
    let path = route
        .path
        .replace("{id}", thing(route, tenant, things))
        .replace("{name}", "stripe")
        .replace("{deliveryId}", ABSENT);
    let mut query: Vec<String> = named
        .iter()
        .map(|named| format!("tenantId={named}"))
        .collect();
    if route.path == "/console/explain" {
        query.push(format!("id={}", things["payments"]));
    }
    let line = format!("{} {path}?{}", route.verb.as_str(), query.join("&"));
    let key = uuid::Uuid::now_v7();
    let mut body = format!(
        "csrf={}&key={key}",
        csrf_token(&app.edge, &visitor.cookie).unwrap()
    );
    for (of, fields) in [
        ("/refund", "&amountMinor=1"),
        ("/claim", "&to=absent"),
        ("/dismiss", "&reason=r"),
        ("/console/checkout", "&planId=credits-10&to=ws_aaa"),
        ("/console/endpoints", "&url=https://app.example.com/hook"),
        ("/console/keys", "&name=n&role=viewer"),
        ("/console/service-keys", "&name=n&scopes=billing"),
        ("/console/members", "&email=new@example.com&role=viewer"),
        ("/role", "&role=viewer"),
        ("/console/reconcile", ""),
        ("/console/events/replay", "&dryRun=true"),
    ] {
        if route.verb == Verb::Post && route.path.ends_with(of) {
            body.push_str(fields);
        }
    }
    let body = if route.verb == Verb::Post {
        body
    } else {
        String::new()
    };
    form(app, &line, &visitor.cookie, &[ORIGIN], &body).await
}

async fn stand() -> (App, Things, Things) {
    let limits = Limits {
        orders_burst: 1_000_000,
        orders_per_second: 1_000_000,
        ..Limits::default()
    };
    let store = MemStore::new().unwrap();
    let app = App::onboarding(store, limits, ConnectOnboarding::Tenant).await;
    let furnished = async |house: &House| furnish(&app, house).await;
    let (ours, theirs) = (furnished(&OURS).await, furnished(&THEIRS).await);
    app.stripe.is_away.store(true, Ordering::SeqCst);
    (app, ours, theirs)
}

fn rows() -> impl Iterator<Item = &'static Route> {
    // Signing out ends the session the others are asked with; it has a test of its own.
    let asked =
        |route: &&Route| matches!(route.auth, Auth::Console(_)) && route.path != "/console/logout";
    ROWS.iter().filter(asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_open_to_whom_its_route_is_and_shows_nothing_of_another_tenant() {
    let (app, ours, theirs) = stand().await;
    let absent: Things = ours.keys().map(|list| (*list, ABSENT.to_owned())).collect();
    let all = visitors(&app).await;
    let (mut cells, mut wrong) = (0, Vec::new());
    for route in rows() {
        for visitor in &all {
            let own = (OURS.tenant, &ours);
            let mut cases = vec![("own", own, None), ("own, named", own, Some(OURS.tenant))];
            if visitor.role.is_some() {
                cases.push(("other's by path", (THEIRS.tenant, &theirs), None));
                cases.push(("other's by name", own, Some(THEIRS.tenant)));
                cases.push(("absent by path", (ABSENT, &absent), None));
                cases.push(("absent by name", own, Some(ABSENT)));
            }
            let mut answers = Vec::new();
            for (what, of, named) in cases {
                let reply = ask(&app, route, visitor, of, named).await;
                cells += 1;
                let cell = format!(
                    "{} {} as {}: {what}",
                    route.verb.as_str(),
                    route.path,
                    visitor.name
                );
                // What the visitor typed is theirs, and a secret that was drawn may hold any letters.
                let told = format!("{:?}{}", reply.headers, reply.body);
                let told = without_secret(&told).replace(&of.1["payments"], "");
                if let (Some(_), Some(word)) = (visitor.role, THEIRS.told_by(&told)) {
                    wrong.push(format!("{cell}: tells {word}"));
                }
                let may = visitor.may(route.auth);
                let is_own = what.starts_with("own");
                let fits = match reply.status {
                    500 | 401 | 0 => false,
                    403 => !may,
                    // Of one's own a page is shown, and an order is refused only for its state or for Stripe's sake.
                    200 | 303 => may && (is_own || !names_a_tenants(route, what)),
                    404 => !is_own || !may || is_by_chance(route, &ours),
                    _ => may && route.verb == Verb::Post,
                };
                if !fits {
                    let start: String = reply
                        .body
                        .chars()
                        .skip_while(|c| *c != '!')
                        .take(1_500)
                        .collect();
                    wrong.push(format!("{cell}: {} {start}", reply.status));
                }
                answers.push((what, reply.status));
            }
            for pair in [
                ("other's by path", "absent by path"),
                ("other's by name", "absent by name"),
            ] {
                let of = |what: &str| answers.iter().find(|(known, _)| *known == what);
                if let (Some(foreign), Some(nothing)) = (of(pair.0), of(pair.1))
                    && foreign.1 != nothing.1
                {
                    wrong.push(format!(
                        "{} {}: {} is not {}",
                        route.path, visitor.name, foreign.1, nothing.1
                    ));
                }
            }
        }
    }
    println!(
        "console cells={cells} rows={} visitors={} wrong={}",
        rows().count(),
        all.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(cells > 500 && rows().count() > 40);
}

fn without_secret(told: &str) -> String {
    match told.split_once("<p class=\"secret\"") {
        Some((before, rest)) => {
            let after = rest.split_once("</p>").map_or("", |(_, after)| after);
            format!("{before}{after}")
        }
        None => told.to_owned(),
    }
}

/// Whether a request names something that is a tenant's: by its path, or by the tenant it says it is of.
fn names_a_tenants(route: &Route, what: &str) -> bool {
    const NOBODYS: [&str; 2] = ["/console/choose", "/console/explain"];
    let by_path = what.ends_with("path");
    (by_path && route.path.contains('{') && !route.path.contains("{name}"))
        || (!by_path && !NOBODYS.contains(&route.path))
}

/// Of some things there is one only by chance.
fn is_by_chance(route: &Route, ours: &Things) -> bool {
    thing(route, OURS.tenant, ours) == ABSENT && route.path.contains('{')
        || route.path.contains("{deliveryId}")
        // The first form of this kind took it away.
        || route.path.ends_with("/revoke")
        || route.path.ends_with("/delete")
        || route.path == "/console/sold"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_session_pages_lead_to_the_sign_in_and_forms_do_nothing() {
    let (app, _, _) = stand().await;
    for route in rows() {
        let path = route.path.replace("{id}", "pi_1");
        let path = path
            .replace("{name}", "stripe")
            .replace("{deliveryId}", "d");
        let line = format!("{} {path}", route.verb.as_str());
        for cookie in [
            "",
            "nobody",
            &format!("{}.{}", "0".repeat(32), "0".repeat(64)),
        ] {
            let reply = form(&app, &line, cookie, &[ORIGIN], "").await;
            let told = format!("{:?}{}", reply.headers, reply.body);
            assert_eq!(OURS.told_by(&told), None, "{line}");
            match route.verb {
                Verb::Get => {
                    assert_eq!(reply.status, 303, "{line} {reply:?}");
                    let way = reply.header("location").unwrap();
                    assert!(way.starts_with("/console/login?next=%2Fconsole"), "{way}");
                }
                _ => assert_eq!(reply.status, 401, "{line} {reply:?}"),
            }
        }
        // No key opens a page.
        let bearer = format!("Bearer {ADMIN_KEY}");
        let reply = app
            .send(&line, &[("Authorization", &bearer), ORIGIN], b"")
            .await;
        assert!(matches!(reply.status, 303 | 401), "{line} {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_from_elsewhere_or_of_another_session_does_nothing() {
    let (app, ours, _) = stand().await;
    let all = visitors(&app).await;
    let (operator, owner) = (
        &all[0],
        all.iter()
            .find(|one| one.role == Some(Role::Owner))
            .unwrap(),
    );
    for (visitor, stranger) in [(operator, owner), (owner, operator)] {
        let csrf = csrf_token(&app.edge, &visitor.cookie).unwrap();
        let foreign = csrf_token(&app.edge, &stranger.cookie).unwrap();
        for route in rows().filter(|route| route.verb == Verb::Post && visitor.may(route.auth)) {
            let path = route.path.replace("{id}", &ours["payments"]);
            let path = path
                .replace("{name}", "stripe")
                .replace("{deliveryId}", "d");
            let line = format!("POST {path}?tenantId={}", OURS.tenant);
            let key = "key=0123456789abcdef";
            let good = format!("csrf={csrf}&{key}");
            for (beside, body) in [
                (&[][..], good.as_str()),
                (&[("Origin", "https://evil.example")], &good),
                (&[("Origin", "null")], &good),
                (&[("Sec-Fetch-Site", "same-site")], &good),
                (&[ORIGIN, ("Sec-Fetch-Site", "cross-site")], &good),
                (&[ORIGIN], key),
                (&[ORIGIN], "csrf="),
                (&[ORIGIN], &format!("csrf={foreign}&{key}")),
            ] {
                let reply = form(&app, &line, &visitor.cookie, beside, body).await;
                assert_eq!(reply.status, 403, "{line} {beside:?} {body} {reply:?}");
                assert!(
                    reply.body.contains("csrf_refused"),
                    "{line} {beside:?} {body}"
                );
            }
        }
    }
    // Nobody is signed in from another site either.
    let body = format!("operatorKey={ADMIN_KEY}");
    let form_type = ("Content-Type", "application/x-www-form-urlencoded");
    for beside in [
        ("Origin", "https://evil.example"),
        ("Sec-Fetch-Site", "none"),
    ] {
        let reply = app
            .send("POST /console/login", &[beside, form_type], body.as_bytes())
            .await;
        assert_eq!(
            (reply.status, reply.header("set-cookie")),
            (403, None),
            "{beside:?}"
        );
    }
}
