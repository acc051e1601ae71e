//! The handle that moves the clock, breaks things and looks inside; in process and under `/control`.
//!
//! Invariants: whatever is done here happens as at Stripe, with its events; nothing here is Stripe's
//! API.
//! Not here: how faults strike.
//! Failure: 400 with a sentence for what cannot be done.
//! Source of outside rules: none.

mod routes;

pub(crate) use routes::ROUTES;

use crate::api::{connect, disputes, intents, payment_methods, platform, purchase};
use crate::billing;
use crate::cards;
use crate::error::ApiError;
use crate::faults::Fault;
use crate::mail::{Asked, Caught, MailFault};
use crate::seed::{self, SeedPlan, Seeded};
use crate::server::{RequestLog, Shared};
use crate::webhooks::{self, Delivery};
use crate::world::{World, public, text};
use hyper::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Farthest a single advance goes: two years.
const ADVANCE_SECONDS_MAX: i64 = 2 * 366 * 86_400;

/// The handle of one sandbox. Clones act on the same one.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

fn sentence(error: ApiError) -> String {
    text(&error.body, "message")
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn seed(&self, plans: &[SeedPlan]) -> Result<Vec<Seeded>, String> {
        self.shared.act(|w| {
            let seeded = seed::plant(w, plans);
            // What was there before anybody listened is no news.
            w.outbox.clear();
            seeded
        })
    }

    /// The sandbox's time, unix milliseconds.
    pub fn now_unix_ms(&self) -> i64 {
        self.shared.clock.now_unix_ms()
    }

    /// Moves the clock forward, letting everything due happen at its own time. Returns how many things did.
    ///
    /// # Errors
    /// When the step is not between 0 seconds and two years.
    pub fn advance(&self, seconds: i64) -> Result<usize, String> {
        if !(0..=ADVANCE_SECONDS_MAX).contains(&seconds) {
            return Err(format!(
                "seconds must be between 0 and {ADVANCE_SECONDS_MAX}"
            ));
        }
        let mut world = self.shared.world();
        // The clock moves first and under the lock, so that no request sees the state of tomorrow today.
        self.shared.clock.advance_ms(seconds * 1000);
        let count = billing::due::run(&mut world, self.shared.now());
        webhooks::enqueue(&self.shared, &mut world);
        Ok(count)
    }

    /// Asks for a fault. False when too many wait already.
    pub fn add_fault(&self, fault: Fault) -> bool {
        self.shared.faults().add(fault)
    }

    /// Takes all waiting faults back.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }

    /// Faults still waiting.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.faults().waiting()
    }

    /// Delivery attempts made, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries().log()
    }

    /// Events whose first delivery is still to be made or running.
    pub fn unsent_deliveries(&self) -> usize {
        self.shared.deliveries().unsent()
    }

    /// Hears of every delivery attempt from now on.
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Delivery> {
        self.shared.arrows()
    }

    /// API requests answered, oldest first.
    pub fn requests(&self) -> Vec<RequestLog> {
        self.shared.requests()
    }

    /// All events of all accounts, oldest first.
    pub fn events(&self) -> Vec<Value> {
        let mut world = self.shared.world();
        let mut all = Vec::new();
        for account in world.account_ids() {
            all.extend(
                world
                    .within(&account, |w| w.newest("event").cloned().collect::<Vec<_>>())
                    .into_iter()
                    .rev(),
            );
        }
        all.sort_by_key(|e| e["created"].as_i64().unwrap_or(0));
        all
    }

    /// The object with this id, in whichever account it lives.
    pub fn object(&self, id: &str) -> Option<Value> {
        let mut world = self.shared.world();
        let accounts = world.account_ids();
        accounts
            .iter()
            .find_map(|account| world.within(account, |w| w.any(id).map(public)))
    }

    /// How many objects of each kind were made for a `metadata[command_id]`.
    pub fn side_effects(&self, command_id: &str) -> BTreeMap<String, u64> {
        let world = self.shared.world();
        let all = world
            .side_effects
            .iter()
            .filter(|((command, _), _)| command == command_id);
        all.map(|((_, kind), count)| (kind.clone(), *count))
            .collect()
    }

    /// How many objects of a kind have this text in a field, in all accounts.
    pub fn count_objects(&self, kind: &str, field: &str, text: &str) -> usize {
        let mut world = self.shared.world();
        let accounts = world.account_ids();
        let of = |w: &World| w.newest(kind).filter(|one| one[field] == text).count();
        accounts
            .iter()
            .map(|account| world.within(account, |w| of(w)))
            .sum()
    }

    /// Mail that was caught and is kept, oldest first.
    pub fn mails(&self) -> Vec<Caught> {
        self.shared.mails().all().cloned().collect()
    }

    /// How often somebody tried to hand in a mail, faults included.
    pub fn mails_tried(&self) -> u64 {
        self.shared.mails().tried()
    }

    /// What goes wrong with mail from now on, `count` times or until it is taken back; `None`: nothing any more.
    pub fn set_mail_fault(&self, kind: Option<MailFault>, count: Option<u32>, seconds: u64) {
        let asked = kind.map(|kind| Asked {
            kind,
            count,
            seconds,
        });
        self.shared.mails().ask(asked);
    }

    /// Where events go, and with which secrets they are signed: two webhook endpoints, the platform's and
    /// the one of connected accounts, which the API shows like any other.
    pub fn set_webhook(&self, url: Option<String>, secrets: Vec<String>) {
        self.shared
            .act(|w| platform::configure_endpoints(w, url.as_deref(), &secrets));
    }

    /// Renders webhooks in the 2024-06-20 shape, or no longer.
    pub fn set_older_event_shapes(&self, on: bool) {
        self.shared.set_older_shapes(on);
    }

    /// Forgets all idempotency keys, as Stripe may after 24 hours.
    pub fn forget_idempotency_keys(&self) {
        self.shared.idempotency().forget_all();
    }

    /// Sends an event again. Returns to how many endpoints.
    pub fn resend(&self, event_id: &str) -> usize {
        let mut world = self.shared.world();
        let Some(account) = account_of(&mut world, event_id) else {
            return 0;
        };
        webhooks::resend(&self.shared, &mut world, &account, event_id)
    }

    /// Opens a dispute on a charge (or on the latest charge of an intent).
    ///
    /// # Errors
    /// When there is no such captured, undisputed charge.
    pub fn open_dispute(
        &self,
        charge_or_intent: &str,
        reason: &str,
        inquiry: bool,
    ) -> Result<Value, String> {
        self.on(charge_or_intent, |w| {
            let charge = match w.get("payment_intent", charge_or_intent) {
                Some(pi) => text(pi, "latest_charge"),
                None => charge_or_intent.to_owned(),
            };
            disputes::open(w, &charge, reason, inquiry)
        })
    }

    /// The bank decides a dispute.
    ///
    /// # Errors
    /// When it is unknown or over.
    pub fn decide_dispute(&self, dispute: &str, won: bool) -> Result<Value, String> {
        self.on(dispute, |w| disputes::decide(w, dispute, won))
    }

    /// Gives a customer another card as default, by test number or last four digits
    /// (`0341` fails from now on, `4242` pays).
    ///
    /// # Errors
    /// When there is no such customer.
    pub fn set_card(&self, customer: &str, card: &str) -> Result<Value, String> {
        let card = if card.len() == 4 {
            cards::by_key(card)
        } else {
            cards::by_number(card)
        };
        self.on(customer, |w| set_card(w, customer, card))
    }

    /// Pays an open checkout session with a test card, as a buyer on its page would.
    ///
    /// # Errors
    /// The decline, or that the session is not open.
    pub fn pay_session(
        &self,
        session: &str,
        card: &str,
        email: Option<&str>,
    ) -> Result<Value, String> {
        let card = if card.len() == 4 {
            cards::by_key(card)
        } else {
            cards::by_number(card)
        };
        self.on(session, |w| pages_pay(w, session, card, email))
    }

    /// The buyer's bank agrees to a payment, or refuses.
    ///
    /// # Errors
    /// When nothing waits for it.
    pub fn authenticate(&self, intent: &str, agreed: bool) -> Result<(), String> {
        self.on(intent, |w| intents::authenticated(w, intent, agreed))
    }

    /// A connected account completes its onboarding.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn onboard(&self, account: &str) -> Result<Value, String> {
        self.shared
            .act(|w| connect::onboarded(w, account))
            .map_err(sentence)
    }

    /// A connected account leaves the platform.
    ///
    /// # Errors
    /// When there is no such account.
    pub fn deauthorize(&self, account: &str) -> Result<(), String> {
        self.shared
            .act(|w| connect::deauthorize(w, account))
            .map_err(sentence)
    }

    /// What becomes of subscriptions when all retries failed: `cancel`, `unpaid` or `past_due`.
    pub fn set_dunning_end(&self, outcome: &str) {
        self.shared.world().dunning_end = outcome.to_owned();
    }

    fn on<T>(
        &self,
        id: &str,
        f: impl FnOnce(&mut World) -> Result<T, ApiError>,
    ) -> Result<T, String> {
        self.shared.act(|w| {
            let account =
                account_of(w, id).ok_or_else(|| format!("nothing here has the id {id}"))?;
            w.within(&account, f).map_err(sentence)
        })
    }
}

fn account_of(w: &mut World, id: &str) -> Option<String> {
    let accounts = w.account_ids();
    accounts
        .into_iter()
        .find(|account| w.within(account, |w| w.any(id).is_some()))
}

/// A fresh payment method of this card becomes the customer's and its live subscriptions' default.
pub(crate) fn set_card(
    w: &mut World,
    customer: &str,
    card: &cards::Card,
) -> Result<Value, ApiError> {
    w.need("customer", customer, "customer")?;
    let pm = payment_methods::build(w, card);
    let id = text(&pm, "id");
    w.insert(pm);
    payment_methods::attach(w, &id, customer)?;
    let after = w.change_and_tell(customer, "customer.updated", |v| {
        v["invoice_settings"]["default_payment_method"] = json!(id);
    });
    let subs: Vec<String> = w
        .newest("subscription")
        .filter(|s| s["customer"] == customer && !crate::api::subscriptions::is_over(s))
        .map(|s| text(s, "id"))
        .collect();
    for sub in subs {
        w.change_and_tell(&sub, "customer.subscription.updated", |v| {
            v["default_payment_method"] = json!(id)
        });
    }
    Ok(after)
}

/// A buyer pays a session with a test card.
pub(crate) fn pages_pay(
    w: &mut World,
    session: &str,
    card: &cards::Card,
    email: Option<&str>,
) -> Result<Value, ApiError> {
    w.need("checkout.session", session, "session")?;
    let pm = payment_methods::build(w, card);
    let id = text(&pm, "id");
    w.insert(pm);
    let buyer = purchase::Buyer {
        email: email.map(str::to_owned),
        name: None,
    };
    purchase::complete(w, session, &id, &buyer)
}

/// Serves `/control/…`. Parameters come from the query and a JSON or form body.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    method: &Method,
    path: &str,
    query: &str,
    body: &[u8],
) -> (u16, Value) {
    let control = Control::new(Arc::clone(shared));
    let p = match parameters(query, body) {
        Ok(p) => p,
        Err(message) => return (400, json!({"error": message})),
    };
    let route = path
        .strip_prefix("/control")
        .unwrap_or(path)
        .trim_matches('/');
    let outcome = if *method == Method::GET {
        read(&control, route, &p)
    } else {
        act(&control, method, route, &p)
    };
    match outcome {
        Some(Ok(value)) => (200, value),
        Some(Err(message)) => (400, json!({"error": message})),
        None => (
            404,
            json!({"error": "no such control route", "routes": routes()}),
        ),
    }
}

fn routes() -> Vec<&'static str> {
    ROUTES.iter().map(|(route, _)| *route).collect()
}

fn parameters(query: &str, body: &[u8]) -> Result<Map<String, Value>, String> {
    let mut all = Map::new();
    let mut form = |bytes: &[u8]| {
        for (key, value) in form_urlencoded::parse(bytes) {
            let typed =
                serde_json::from_str::<i64>(&value).map_or_else(|_| json!(value), |n| json!(n));
            all.insert(
                key.into_owned(),
                match typed.as_str() {
                    Some("true") => json!(true),
                    Some("false") => json!(false),
                    _ => typed,
                },
            );
        }
    };
    form(query.as_bytes());
    if body.first() == Some(&b'{') {
        let given: Map<String, Value> =
            serde_json::from_slice(body).map_err(|e| format!("the body is not JSON: {e}"))?;
        all.extend(given);
    } else {
        form(body);
    }
    Ok(all)
}

fn read(control: &Control, route: &str, p: &Map<String, Value>) -> Option<Result<Value, String>> {
    let list = |rows: Vec<Value>| Ok(json!({"object": "list", "data": rows}));
    Some(match route {
        "" => Ok(json!({"routes": routes()})),
        "clock" => {
            let ms = control.now_unix_ms();
            Ok(json!({"now_unix_ms": ms, "now": ms / 1000}))
        }
        "faults" => list(control.faults().into_iter().map(|f| json!(f)).collect()),
        "deliveries" => Ok(webhooks::log_json(&control.shared)),
        "requests" => list(control.requests().into_iter().map(|r| json!(r)).collect()),
        "mail" => list(
            control
                .mails()
                .into_iter()
                .map(|mail| json!(mail))
                .collect(),
        ),
        "events" => list(control.events()),
        "objects" => {
            let id = p.get("id").and_then(Value::as_str).unwrap_or_default();
            control
                .object(id)
                .ok_or_else(|| format!("nothing here has the id {id}"))
        }
        "side-effects" => Ok(json!(
            control.side_effects(
                p.get("command_id")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            )
        )),
        _ => return None,
    })
}

fn act(
    control: &Control,
    method: &Method,
    route: &str,
    p: &Map<String, Value>,
) -> Option<Result<Value, String>> {
    let field = |name: &str| match p.get(name) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => String::new(),
    };
    // Last four digits lose their leading zeros as numbers.
    let card = || format!("{:0>4}", field("card"));
    let flag = |name: &str| p.get(name) == Some(&json!(true));
    let done = |()| json!({"done": true});
    Some(match (method.as_str(), route) {
        ("DELETE", "faults") => {
            control.clear_faults();
            Ok(done(()))
        }
        ("POST", "clock/advance") => {
            let seconds = p
                .get("seconds")
                .and_then(Value::as_i64)
                .ok_or_else(|| "seconds is missing".to_owned());
            seconds.and_then(|s| control.advance(s)).map(|count| {
                let ms = control.now_unix_ms();
                json!({"now_unix_ms": ms, "now": ms / 1000, "happened": count})
            })
        }
        ("POST", "faults") => serde_json::from_value::<Fault>(Value::Object(p.clone()))
            .map_err(|e| e.to_string())
            .and_then(|fault| {
                if control.add_fault(fault) {
                    Ok(done(()))
                } else {
                    Err("too many faults wait already".to_owned())
                }
            }),
        ("POST", "mail/fault") => mail_fault(control, p),
        ("POST", "resend") => Ok(json!({"endpoints": control.resend(&field("event"))})),
        ("POST", "dispute") => {
            let reason = Some(field("reason"))
                .filter(|r| !r.is_empty())
                .unwrap_or_else(|| "fraudulent".to_owned());
            control
                .open_dispute(&field("charge"), &reason, flag("inquiry"))
                .map(|v| public(&v))
        }
        ("POST", "dispute/decide") => control
            .decide_dispute(&field("dispute"), flag("won"))
            .map(|v| public(&v)),
        ("POST", "card") => control
            .set_card(&field("customer"), &card())
            .map(|v| public(&v)),
        ("POST", "pay") => {
            let email = Some(field("email")).filter(|e| !e.is_empty());
            control
                .pay_session(&field("session"), &card(), email.as_deref())
                .map(|v| public(&v))
        }
        ("POST", "authenticate") => control
            .authenticate(&field("payment_intent"), flag("agreed"))
            .map(done),
        ("POST", "onboard") => control.onboard(&field("account")).map(|v| public(&v)),
        ("POST", "deauthorize") => control.deauthorize(&field("account")).map(done),
        ("POST", "webhook") => {
            let secrets = field("secrets")
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect();
            control.set_webhook(Some(field("url")).filter(|u| !u.is_empty()), secrets);
            Ok(done(()))
        }
        ("POST", "older-shapes") => {
            control.set_older_event_shapes(flag("on"));
            Ok(done(()))
        }
        ("POST", "dunning") => match field("outcome").as_str() {
            outcome @ ("cancel" | "unpaid" | "past_due") => {
                control.set_dunning_end(outcome);
                Ok(done(()))
            }
            _ => Err("outcome is cancel, unpaid or past_due".to_owned()),
        },
        ("POST", "forget-idempotency-keys") => {
            control.forget_idempotency_keys();
            Ok(done(()))
        }
        _ => return None,
    })
}

fn mail_fault(control: &Control, p: &Map<String, Value>) -> Result<Value, String> {
    let kind = match p.get("kind").and_then(Value::as_str) {
        Some("none") => None,
        _ => {
            let kind = p.get("kind").cloned().unwrap_or_default();
            let kind = serde_json::from_value::<MailFault>(kind);
            Some(kind.map_err(|_| "kind is down, later, refused, slow or none".to_owned())?)
        }
    };
    let number = |name: &str| p.get(name).and_then(Value::as_u64);
    let count = number("count").map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    control.set_mail_fault(kind, count, number("seconds").unwrap_or(5).min(600));
    Ok(json!({"done": true}))
}
