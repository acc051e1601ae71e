//! The matrix itself.
//!
//! Route × caller × whose (own, another's, absent) × where it is named. Checked for every cell: who may gets through
//! and who may not does not; an answer to a tenant's caller tells nothing of another tenant; another's is answered
//! as what does not exist, in the same words and for the same reads of the store.

use super::callers::{Caller, Kind, all, operator, owner};
use super::seed::{House, OURS, THEIRS, Things, furnish};
use crate::app::{ADMIN_KEY, App, Reply};
use bursar::http::limits::Limits;
use bursar::http::route::{Auth, Holds, Param, Route, Verb};
use bursar::http::routes::{every_route, params_of};
use bursar_config::ConnectOnboarding;
use bursar_domain::identity::Role;
use bursar_store::MemStore;
use serde_json::{Map, Value, json};
use std::sync::atomic::Ordering;

/// Whose a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Own,
    Other,
    Absent,
}

/// Where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nowhere: the tenant is the caller's.
    Nowhere,
    Path,
    Query,
    Body,
    Object(&'static str),
    Header,
    Cursor,
    Idempotency,
}

/// What a request could name, of one house or of none.
struct Named {
    tenant: String,
    things: Things,
    cursor: Option<String>,
}

#[derive(Default)]
struct Tally {
    cells: usize,
    leaks: Vec<String>,
    wrong: Vec<String>,
    untested: Vec<&'static str>,
    cursorless: Vec<&'static str>,
}

const ABSENT: &str = "absent";
/// Fields that name a thing, and the list it is in.
const OBJECT_FIELDS: [(&str, &str); 3] = [
    ("paymentId", "payments"),
    ("customerId", "customers"),
    ("merchantAccountId", "merchantAccountId"),
];

/// An order of the operator's that nobody waits for.
pub(super) async fn in_the_background(app: &App, path: &str, body: &str) -> Reply {
    let bearer = format!("Bearer {ADMIN_KEY}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Prefer", "respond-async"),
    ];
    app.send(&format!("POST {path}"), &headers, body.as_bytes())
        .await
}

struct Matrix {
    app: App,
    ours: Named,
    theirs: Named,
    absent: Named,
    tally: Tally,
}

fn absent() -> Named {
    let things = super::seed::LISTS.iter();
    Named {
        tenant: ABSENT.to_owned(),
        things: things.map(|list| (*list, ABSENT.to_owned())).collect(),
        cursor: None,
    }
}

/// The list an id in a path belongs to. `None`: nobody has told the matrix.
fn list_of(route: &Route) -> Option<&'static str> {
    let path = route.path.strip_prefix("/api/v1/")?;
    let path = path.strip_prefix("billing/").unwrap_or(path);
    let first = path.split('/').next()?;
    if first == "explain" {
        return Some("payments");
    }
    if first == "members" {
        return Some("members");
    }
    super::seed::LISTS.into_iter().find(|list| *list == first)
}

/// What belongs to no tenant, by the start of its path: the id there is.
const UNOWNED: [(&str, &str); 9] = [
    ("/api/v1/outbox/", ABSENT),
    ("/api/v1/sessions/", ABSENT),
    ("/api/v1/users/", ABSENT),
    ("/api/v1/plans/", "pro"),
    ("/api/v1/webhook-events/", ABSENT),
    ("/api/v1/unclaimed/", ABSENT),
    ("/api/v1/circuits/", ABSENT),
    ("/api/v1/service-keys/", ABSENT),
    ("/api/v1/tenants/{tenantId}/entitlements/", "reports"),
];

/// Of a thing of the path there is something to be named only once something happened to it.
const NOTHING_YET: [&str; 1] = ["notification_deliveries_retry"];

fn unowned(route: &Route) -> Option<&'static str> {
    let found = UNOWNED
        .iter()
        .find(|(start, _)| route.path.starts_with(start));
    found.map(|(_, id)| *id)
}

/// Whether the matrix knows what to put into the path.
fn is_known(route: &Route) -> bool {
    params_of(route.path)
        .all(|name| name == "tenantId" || list_of(route).is_some() || unowned(route).is_some())
}

fn takes(route: &Route, name: &str) -> bool {
    route.params.iter().any(|param| param.name == name)
}

/// A value this field takes.
fn some(param: &Param) -> Value {
    use bursar::http::route::Kind as Field;
    match (param.name, param.kind) {
        ("planId", _) => json!("pro"),
        ("url", _) => json!("https://app.example.com/hook"),
        (_, Field::Integer(least, _)) => json!(least),
        (_, Field::Choice(words)) => json!(words[0]),
        (_, Field::Choices(words, _)) => json!([words[0]]),
        (_, Field::Email) => json!("somebody@example.com"),
        (_, Field::Tenant) => json!(ABSENT),
        (_, Field::Boolean) => json!(true),
        (_, Field::Time) => json!("2030-01-01T00:00:00Z"),
        _ => json!("text"),
    }
}

/// Fields beyond the required ones, so that a request of who may goes through and costs little.
fn beside(label: &str) -> Vec<(&'static str, Value)> {
    match label {
        "checkout_open" => vec![("planId", json!("credits-10"))],
        "subscription_preview" => vec![("planId", json!("pro"))],
        "disputes_evidence" => vec![("productDescription", json!("text"))],
        "webhook_events_replay_filtered" => vec![("dryRun", json!(true))],
        "reconcile_start" => vec![("import", json!(true))], // refused at once: the store is not empty
        "tenants_patch" => vec![("timezone", json!("Europe/Berlin"))],
        _ => Vec::new(),
    }
}

impl Matrix {
    async fn set() -> Self {
        let limits = Limits {
            orders_burst: 1_000_000,
            orders_per_second: 1_000_000,
            ..Limits::default()
        };
        let store = MemStore::new().unwrap();
        let app = App::onboarding(store, limits, ConnectOnboarding::Tenant).await;
        let named = async |house: &House| Named {
            tenant: house.tenant.to_owned(),
            things: furnish(&app, house).await,
            cursor: None,
        };
        let (ours, theirs) = (named(&OURS).await, named(&THEIRS).await);
        // What is only looked up at Stripe is refused at once, and not as something absent.
        app.stripe.is_away.store(true, Ordering::SeqCst);
        Self {
            app,
            ours,
            theirs,
            absent: absent(),
            tally: Tally::default(),
        }
    }

    fn named(&self, whose: Whose) -> &Named {
        match whose {
            Whose::Own => &self.ours,
            Whose::Other => &self.theirs,
            Whose::Absent => &self.absent,
        }
    }

    /// One request, and the reads it took: everything is our own but what `place` names.
    async fn ask(
        &self,
        route: &'static Route,
        caller: &Caller,
        place: Place,
        whose: Whose,
    ) -> (Reply, u64) {
        let own = &self.ours;
        let meant = self.named(whose);
        let at = |here: bool| if here { meant } else { own };
        let in_path = at(place == Place::Path);
        let list = list_of(route);
        let mut path = Vec::new();
        for part in route.path.split('/') {
            path.push(match part {
                "{tenantId}" => in_path.tenant.clone(),
                part if part.starts_with('{') => match (unowned(route), list) {
                    (Some(id), _) => id.to_owned(),
                    (None, Some(list)) => self.thing(route, in_path, list).await,
                    (None, None) => ABSENT.to_owned(),
                },
                part => part.to_owned(),
            });
        }
        let mut query = Vec::new();
        let mut body = Map::new();
        for param in route.params.iter().filter(|param| param.required) {
            body.insert(param.name.to_owned(), some(param));
        }
        for (name, value) in beside(route.label) {
            body.insert(name.to_owned(), value);
        }
        for (field, list) in OBJECT_FIELDS {
            let is_meant = place == Place::Object(field);
            if is_meant || body.contains_key(field) {
                body.insert(field.to_owned(), json!(at(is_meant).things[list]));
            }
        }
        if place == Place::Object("merchantAccountId") {
            let line = json!({"name": "a", "amount": 100, "currency": "usd"});
            body.insert("lineItems".to_owned(), json!([line]));
        }
        // Who is of no tenant says whose, where that is asked for.
        if takes(route, "tenantId") && !caller.kind.is_bound() {
            let is_meant = matches!(place, Place::Body | Place::Query | Place::Header);
            body.insert("tenantId".to_owned(), json!(at(is_meant).tenant));
        } else if place == Place::Body || (place == Place::Query && route.takes_body()) {
            body.insert("tenantId".to_owned(), json!(meant.tenant));
        }
        if place == Place::Query {
            body.remove("tenantId");
            query.push(format!("tenantId={}", meant.tenant));
        }
        if place == Place::Cursor {
            let cursor = meant.cursor.clone();
            query.push(format!("cursor={}", cursor.unwrap_or("00".repeat(40))));
        }
        if !route.takes_body() {
            query.extend(body.iter().map(|(name, value)| {
                format!(
                    "{name}={}",
                    value.as_str().map_or(value.to_string(), str::to_owned)
                )
            }));
            body.clear();
        }
        let mut headers = caller.headers();
        headers.push(("Prefer", "respond-async"));
        if !body.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        if list == Some("members") && !caller.kind.is_bound() && place != Place::Header {
            headers.push(("X-Tenant-Id", &own.tenant));
        }
        if place == Place::Header {
            headers.push(("X-Tenant-Id", &meant.tenant));
        }
        let key = format!("{}-{:?}", route.label, whose);
        if place == Place::Idempotency {
            headers.push(("Idempotency-Key", &key));
        }
        let query = match query.as_slice() {
            [] => String::new(),
            all => format!("?{}", all.join("&")),
        };
        let line = format!("{} {}{query}", route.verb.as_str(), path.join("/"));
        let body = match body.is_empty() {
            true => String::new(),
            false => Value::Object(body).to_string(),
        };
        let before = self.app.edge.store.reads();
        let reply = self.app.send(&line, &headers, body.as_bytes()).await;
        (reply, self.app.edge.store.reads() - before)
    }

    /// A thing of the path; of what a request ends, a new one.
    async fn thing(&self, route: &Route, of: &Named, list: &'static str) -> String {
        if list == "members" && of.tenant != ABSENT {
            let role = Role::Viewer;
            let user = super::people::person(&self.app, &[(&of.tenant, role)], None).await;
            return user.to_string();
        }
        if route.label == "notification_endpoints_delete" && of.tenant != ABSENT {
            return super::seed::spare_endpoint(&self.app, &of.tenant).await;
        }
        if route.label == "api_keys_revoke" && of.tenant != ABSENT {
            let role = Role::Viewer;
            return super::callers::api_key(&self.app, &of.tenant, role).await.0;
        }
        of.things
            .get(list)
            .map_or(ABSENT, String::as_str)
            .to_owned()
    }

    /// Where a request of this route can name a tenant or a thing of one.
    fn places(route: &Route) -> Vec<Place> {
        let mut places = vec![Place::Nowhere];
        let is_owned = list_of(route).is_some() && unowned(route).is_none();
        if route.path.contains("{tenantId}") || (route.path.contains('{') && is_owned) {
            places.push(Place::Path);
        }
        if takes(route, "tenantId") {
            places.push(Place::Query);
            if route.takes_body() {
                places.push(Place::Body);
            }
        }
        for (field, _) in OBJECT_FIELDS {
            if takes(route, field) {
                places.push(Place::Object(field));
            }
        }
        if route.auth.is_of_tenants() {
            places.push(Place::Header);
        }
        if takes(route, "cursor") {
            places.push(Place::Cursor);
        }
        if route.is_idempotent() {
            places.push(Place::Idempotency);
        }
        places
    }

    /// Takes a cursor of each house's own for this list.
    async fn take_cursors(&mut self, route: &'static Route, own: &Caller, other: &Caller) {
        if !takes(route, "cursor") || !matches!(route.auth, Auth::Tenant(..) | Auth::PersonOf(_)) {
            return;
        }
        let ours = self.cursor(route, &self.ours, own).await;
        let theirs = self.cursor(route, &self.theirs, other).await;
        if theirs.is_none() {
            self.tally.cursorless.push(route.label);
        }
        (self.ours.cursor, self.theirs.cursor) = (ours, theirs);
    }
    async fn cursor(&self, route: &Route, of: &Named, owner: &Caller) -> Option<String> {
        let list = list_of(route);
        let path = route.path.replace("{tenantId}", &of.tenant);
        let path = list.map_or(path.clone(), |list| match of.things.get(list) {
            Some(id) => path.replace("{id}", id),
            None => path.clone(),
        });
        let line = format!("GET {path}?limit=1");
        let page = self.app.send(&line, &owner.headers(), b"").await;
        page.json()["nextCursor"].as_str().map(str::to_owned)
    }

    fn note(&mut self, what: String) {
        if self.tally.wrong.len() < 50 {
            self.tally.wrong.push(what);
        }
    }

    /// Every cell of one route and caller.
    async fn walk(&mut self, route: &'static Route, caller: &Caller, other: &Caller) {
        for place in Self::places(route) {
            if place == Place::Idempotency {
                // The other house used the key first, for the same request.
                self.ask(route, other, place, Whose::Other).await;
            }
            let mut answers = Vec::new();
            for whose in [Whose::Own, Whose::Other, Whose::Absent] {
                if place == Place::Nowhere && whose != Whose::Own {
                    continue;
                }
                let (reply, reads) = self.ask(route, caller, place, whose).await;
                self.tally.cells += 1;
                let cell = format!("{} {} {place:?} {whose:?}", route.label, caller.name);
                self.check(route, caller, place, whose, &cell, &reply);
                answers.push((reply, reads));
            }
            if let ([_, foreign, absent], true) = (answers.as_slice(), caller.kind.is_bound()) {
                let cell = format!("{} {} {place:?}", route.label, caller.name);
                self.compare(place, &cell, foreign, absent);
            }
        }
    }

    fn check(
        &mut self,
        route: &Route,
        caller: &Caller,
        place: Place,
        whose: Whose,
        cell: &str,
        reply: &Reply,
    ) {
        let told = format!("{:?}{}", reply.headers, reply.body);
        if caller.kind.is_bound()
            && let Some(word) = THEIRS.told_by(&told)
        {
            self.tally
                .leaks
                .push(format!("{cell}: {word} in {told:.400}"));
        }
        let status = reply.status;
        if status >= 500 && !matches!(status, 502 | 503) || matches!(status, 0 | 429) {
            self.note(format!("{cell}: {status} {reply:.300?}"));
        }
        // Everybody may leave; to remove somebody else takes an admin.
        let is_removal = route.label == "members_remove";
        let may = caller.kind.may(route) && (!is_removal || caller.kind.is_at_least(Role::Admin));
        if caller.kind == Kind::Anonymous {
            if status != 401 {
                self.note(format!("{cell}: {status} for nobody"));
            }
            return;
        }
        if !may {
            // In a tenant that is not a person's they are told 404 before what they may do there.
            let is_elsewhere = whose != Whose::Own && (place == Place::Header || is_removal);
            let is_told = status == 403 || (is_elsewhere && status == 404);
            if !is_told {
                self.note(format!(
                    "{cell}: {status}, and the role is too low: {reply:?}"
                ));
            }
            return;
        }
        let is_own = whose == Whose::Own || matches!(place, Place::Nowhere | Place::Idempotency);
        let is_refused = match status {
            401 | 403 => true,
            // What is asked for only exists by chance.
            404 => {
                let is_chance =
                    unowned(route) == Some(ABSENT) || NOTHING_YET.contains(&route.label);
                !is_chance && route.auth != Auth::Operator
            }
            // The cursors are those of the tenants' own people.
            400 => place != Place::Cursor || (caller.kind.is_bound() && self.ours.cursor.is_some()),
            _ => false,
        };
        if is_own && is_refused {
            self.note(format!("{cell}: refused, {reply:.300?}"));
        }
        if !is_own && caller.kind.is_bound() && route.auth.is_of_tenants() && status < 400 {
            self.note(format!(
                "{cell}: {status} for what is not the caller's: {reply:?}"
            ));
        }
    }

    fn compare(&mut self, place: Place, cell: &str, foreign: &(Reply, u64), absent: &(Reply, u64)) {
        let same = |reply: &Reply| {
            let id = reply.header("x-request-id").unwrap_or("").to_owned();
            (reply.status, reply.body.replace(&id, "?"))
        };
        let (theirs, nothing) = (same(&foreign.0), same(&absent.0));
        if place == Place::Idempotency {
            // Both are new to this caller.
            let replayed = foreign.0.header("idempotent-replayed");
            if theirs.0 / 100 != nothing.0 / 100 || replayed.is_some() {
                self.note(format!("{cell}: {theirs:?} is not {nothing:?}"));
            }
            return;
        }
        if theirs != nothing {
            self.note(format!("{cell}: {theirs:?} is not {nothing:?}"));
        }
        if foreign.1 != absent.1 {
            self.note(format!("{cell}: {} reads are not {}", foreign.1, absent.1));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_open_to_whom_the_table_says_and_to_nobody_elses_things() {
    let mut matrix = Matrix::set().await;
    let scopes: Vec<&str> = bursar::http::auth::Scope::ALL
        .iter()
        .map(|scope| scope.as_str())
        .collect();
    let callers = all(&matrix.app, OURS.tenant, &scopes).await;
    let (own, other) = (
        owner(&matrix.app, OURS.tenant).await,
        owner(&matrix.app, THEIRS.tenant).await,
    );
    let mut routes = 0;
    for route in every_route().filter(|route| route.auth.is_ours()) {
        if !is_known(route) {
            matrix.tally.untested.push(route.label);
            continue;
        }
        routes += 1;
        matrix.take_cursors(route, &own, &other).await;
        for caller in &callers {
            // What works for all of the installation is asked for once.
            let is_heavy = route.auth == Auth::Operator && route.verb != Verb::Get;
            if is_heavy && caller.kind == Kind::Operator {
                let (reply, _) = matrix
                    .ask(route, &operator(), Place::Nowhere, Whose::Own)
                    .await;
                assert!(!matches!(reply.status, 401 | 403), "{reply:?}");
                matrix.tally.cells += 1;
                continue;
            }
            matrix.walk(route, caller, &other).await;
        }
    }
    let tally = &matrix.tally;
    println!(
        "cells={} leaks={} untested_routes={} routes={routes} callers={} wrong={} lists_of_one={:?}",
        tally.cells,
        tally.leaks.len(),
        tally.untested.len(),
        callers.len(),
        tally.wrong.len(),
        tally.cursorless,
    );
    assert!(tally.leaks.is_empty(), "{:#?}", tally.leaks);
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(tally.untested.is_empty(), "{:?}", tally.untested);
    // The tenant itself, and what is a tenant's only once.
    let few = ["tenants_list", "credits_entries", "members_list"];
    let unexpected = tally.cursorless.iter().filter(|label| !few.contains(label));
    assert_eq!(unexpected.count(), 0, "{:?}", tally.cursorless);
    let pages = every_route().filter(|route| matches!(route.holds, Holds::Page(_)));
    assert!(pages.count() > 20 && tally.cells > 5_000, "{}", tally.cells);
}
