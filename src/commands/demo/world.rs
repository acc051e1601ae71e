//! The two sides of the demo: a product's backend, which orders and reads at Bursar, and Stripe's (the sandbox), where a
//! visitor uses its pages and a bank decides. All of it over HTTP.
//!
//! Invariants: what is ordered is noted, to be printed; an order whose outcome is not known is none that worked.
//! Failure: [`Failure`] says which call answered what; the step it belongs to is then wrong.

use bursar_sandbox::Control;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a state may take to appear after its webhooks were sent.
const SETTLE_WAIT: Duration = Duration::from_secs(20);
/// Where the right half of an arrow's line begins: beside the webhooks' `[200]`.
const ORDER_WIDTH: usize = 62;
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A call that did not answer as it should.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self(format!("no answer: {error}"))
    }
}

/// What a field must be.
#[derive(Clone, Debug)]
pub(super) enum Want {
    /// Exactly this.
    Is(Value),
    /// A time after this one.
    After(String),
    /// Anything but null.
    Something,
}

impl Want {
    fn holds(&self, found: &Value) -> bool {
        match self {
            Self::Is(value) => found == value,
            Self::After(earlier) => found.as_str().is_some_and(|time| time > earlier.as_str()),
            Self::Something => !found.is_null(),
        }
    }
}

/// What must be true of one object of Bursar's API.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    /// Path of the GET.
    pub(super) path: String,
    /// Dotted fields.
    pub(super) fields: Vec<(&'static str, Want)>,
}

/// Addresses and keys.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// `http://127.0.0.1:…` of Bursar.
    pub(super) bursar: String,
    /// The operator's key.
    pub(super) operator_key: String,
    /// `http://127.0.0.1:…` of the sandbox.
    pub(super) sandbox: String,
}

/// What the story knows between its steps.
pub(super) struct World {
    access: Access,
    sandbox: Control,
    client: reqwest::Client,
    subscription: String,
    credit_payment: String,
    dispute: String,
    remembered: String,
    ordered: Vec<String>,
}

impl World {
    /// A world before anything happened.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub(super) fn new(access: Access, sandbox: Control) -> Result<Self, Failure> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let none = String::new();
        Ok(Self {
            access,
            sandbox,
            client,
            subscription: none.clone(),
            credit_payment: none.clone(),
            dispute: none.clone(),
            remembered: none,
            ordered: Vec::new(),
        })
    }

    /// GET of Bursar's API.
    ///
    /// # Errors
    /// No answer, or no JSON.
    pub(super) async fn bursar(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.access.bursar);
        Ok(self
            .client
            .get(url)
            .bearer_auth(&self.access.operator_key)
            .send()
            .await?
            .json()
            .await?)
    }

    /// POST of Bursar's API.
    ///
    /// # Errors
    /// Anything but 2xx.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let sent = self.to_bursar(path).json(body).send().await?;
        Self::answer("POST", path, sent).await
    }

    /// POST of Bursar's API by somebody without a key.
    ///
    /// # Errors
    /// Anything but 2xx.
    pub(super) async fn as_person(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.access.bursar);
        Self::answer("POST", path, self.client.post(url).json(body).send().await?).await
    }

    /// GET of Bursar's API with a person's access token.
    ///
    /// # Errors
    /// Anything but 2xx.
    pub(super) async fn seen_with(&self, token: &str, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.access.bursar);
        let sent = self.client.get(url).bearer_auth(token).send().await?;
        Self::answer("GET", path, sent).await
    }

    /// GET of a page of the sandbox that answers JSON, whatever its status.
    ///
    /// # Errors
    /// No answer, or no JSON.
    pub(super) async fn sandbox_page(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.access.sandbox);
        Ok(self.client.get(url).send().await?.json().await?)
    }

    fn to_bursar(&self, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.access.bursar);
        self.client.post(url).bearer_auth(&self.access.operator_key)
    }

    /// An order to Stripe for the tenant, through Bursar; `what` says in a few words what it is for.
    async fn order(&mut self, path: &str, body: &Value, what: &str) -> Result<Value, Failure> {
        let request = self.to_bursar(path).header("x-tenant-id", "acme");
        let sent = request.json(body).send().await?;
        let status = sent.status();
        let answer = Self::answer("POST", path, sent).await?;
        if status == reqwest::StatusCode::ACCEPTED {
            let command = text(&answer, "commandId")?;
            let end = format!("/api/v1/commands/{command}?waitSeconds=20");
            let end = self.bursar(&end).await?;
            if end["status"] != "succeeded" {
                return Err(Failure(format!("POST {path} did not take effect: {end}")));
            }
        }
        let line = order_line(path, &self.subscription, status.as_u16(), what);
        self.ordered.push(line);
        Ok(answer)
    }

    /// A line for each order since the last look.
    pub(super) fn take_ordered(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ordered)
    }

    async fn control(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.access.sandbox);
        Self::answer("POST", path, self.client.post(url).json(body).send().await?).await
    }

    async fn answer(verb: &str, path: &str, answer: reqwest::Response) -> Result<Value, Failure> {
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(Failure(format!("{verb} {path} answered {status}: {text}")));
        }
        serde_json::from_str(&text)
            .map_err(|_| Failure(format!("{verb} {path} answered no JSON: {text}")))
    }

    /// Waits until an object of Bursar's is as expected; answers what is still wrong.
    pub(super) async fn await_expected(&self, expected: &Expectation) -> Vec<String> {
        let started = Instant::now();
        loop {
            let wrong = match self.bursar(&expected.path).await {
                Ok(found) => differences(expected, &found),
                Err(Failure(text)) => vec![text],
            };
            if wrong.is_empty() || started.elapsed() > SETTLE_WAIT {
                return wrong;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Remembers a field of the tenant, to compare a later state with.
    pub(super) async fn remember(&mut self, field: &str) -> Result<(), Failure> {
        let tenant = self.bursar("/api/v1/tenants/acme").await?;
        self.remembered = at(&tenant, field).as_str().unwrap_or_default().to_owned();
        Ok(())
    }

    pub(super) fn later_than_remembered(&self) -> Want {
        Want::After(self.remembered.clone())
    }

    pub(super) fn credit_payment(&self) -> &str {
        &self.credit_payment
    }

    /// Moves the clock, once all is delivered: what is under way was signed before, and would come a month late.
    pub(super) async fn advance(&self, seconds: i64) -> Result<(), Failure> {
        let started = Instant::now();
        while self.sandbox.unsent_deliveries() > 0 && started.elapsed() < SETTLE_WAIT {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.control("/control/clock/advance", &json!({"seconds": seconds}))
            .await
            .map(drop)
    }

    /// A visitor fills in one of Stripe's pages, as a browser does, and is sent on.
    async fn visit(&self, page: &str, form: &[(&str, &str)]) -> Result<(), Failure> {
        let answer = self.client.post(page).form(form).send().await?;
        if answer.status().is_redirection() {
            return Ok(());
        }
        let (status, text) = (answer.status(), answer.text().await?);
        Err(Failure(format!("Stripe's page answered {status}: {text}")))
    }

    /// Opens a checkout session for a plan, lets a visitor pay it, and waits for the order's end.
    async fn checkout(&mut self, plan: &str) -> Result<Value, Failure> {
        let body = json!({"planId": plan});
        let what = format!("a page for {plan}");
        let opened = self.order("/api/v1/checkout-sessions", &body, &what);
        let opened = opened.await?;
        let visitor = [("email", "ada@acme.test"), ("card", "4242")];
        self.visit(&text(&opened, "sessionUrl")?, &visitor).await?;
        let session = text(&opened, "sessionId")?;
        let path = format!("/api/v1/checkout-sessions/{session}?waitSeconds=20");
        self.bursar(&path).await
    }

    pub(super) async fn subscribe(&mut self, plan: &str) -> Result<(), Failure> {
        let session = self.checkout(plan).await?;
        self.subscription = text(&session, "subscriptionId")?;
        Ok(())
    }

    pub(super) async fn buy_credits(&mut self) -> Result<(), Failure> {
        let session = self.checkout("credits-10").await?;
        self.credit_payment = text(&session, "paymentId")?;
        Ok(())
    }

    /// Opens the customer portal for the tenant.
    async fn portal(&mut self) -> Result<String, Failure> {
        let (path, body) = ("/api/v1/billing/stripe/portal", json!({}));
        let opened = self.order(path, &body, "the customer's portal").await?;
        text(&opened, "portalUrl")
    }

    /// The customer takes another card, by its last four digits.
    pub(super) async fn use_card(&mut self, card: &str) -> Result<(), Failure> {
        let portal = self.portal().await?;
        self.visit(&portal, &[("do", "card"), ("card", card)]).await
    }

    /// The customer takes another card and pays what is open.
    pub(super) async fn pay_open_invoice(&mut self, card: &str) -> Result<(), Failure> {
        let open = "/api/v1/invoices?tenantId=acme&status=open";
        let invoice = text(&self.bursar(open).await?["data"][0], "id")?;
        let portal = self.portal().await?;
        self.visit(&portal, &[("do", "card"), ("card", card)])
            .await?;
        self.visit(&portal, &[("do", "pay"), ("id", &invoice)])
            .await
    }

    pub(super) async fn change_plan(&mut self, plan: &str) -> Result<(), Failure> {
        let path = self.subscription_path("change-plan");
        let body = json!({"planId": plan, "prorationBehavior": "always_invoice"});
        let what = format!("{plan}, prorated now");
        self.order(&path, &body, &what).await.map(drop)
    }

    pub(super) async fn refund_half(&mut self) -> Result<(), Failure> {
        let body = json!({"paymentId": self.credit_payment, "amount": 500});
        let refund = self.order("/api/v1/refunds", &body, "half of it back");
        refund.await.map(drop)
    }

    pub(super) async fn dispute(&mut self) -> Result<(), Failure> {
        let about = json!({"charge": self.credit_payment});
        let dispute = self.control("/control/dispute", &about).await?;
        self.dispute = text(&dispute, "id")?;
        Ok(())
    }

    pub(super) async fn lose_dispute(&self) -> Result<(), Failure> {
        let lost = json!({"dispute": self.dispute, "won": false});
        self.control("/control/dispute/decide", &lost)
            .await
            .map(drop)
    }

    pub(super) async fn cancel(&mut self) -> Result<(), Failure> {
        let path = self.subscription_path("cancel");
        let body = json!({"atPeriodEnd": false});
        self.order(&path, &body, "ends now").await.map(drop)
    }

    fn subscription_path(&self, verb: &str) -> String {
        format!("/api/v1/billing/subscriptions/{}/{verb}", self.subscription)
    }
}

/// `==> POST /path  [200]  what for`; the subscription's id is long and stands shortened.
fn order_line(path: &str, subscription: &str, status: u16, what: &str) -> String {
    let shown = if subscription.is_empty() {
        path.to_owned()
    } else {
        path.replace(subscription, "sub_…")
    };
    let order = format!("POST {shown}");
    format!("  ==> {order:<ORDER_WIDTH$}  [{status}]  {what}")
}

fn text(value: &Value, field: &str) -> Result<String, Failure> {
    let found = value[field].as_str().map(str::to_owned);
    found.ok_or_else(|| Failure(format!("{field} is missing in {value}")))
}

/// The value at a dotted path; `null` where there is none.
fn at<'a>(value: &'a Value, dotted: &str) -> &'a Value {
    dotted.split('.').fold(value, |value, field| &value[field])
}

fn differences(expected: &Expectation, found: &Value) -> Vec<String> {
    let fields = expected.fields.iter();
    let wrong = fields.filter(|(field, want)| !want.holds(at(found, field)));
    wrong
        .map(|(field, want)| format!("{field}: want {want:?}, is {}", at(found, field)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_order_stands_beside_the_webhooks_and_is_not_long() {
        let subscription = "sub_7J93jXf10OLa478W3eDO000R";
        let path = format!("/api/v1/billing/subscriptions/{subscription}/change-plan");
        let line = order_line(&path, subscription, 200, "pro, prorated now");
        let chars = |text: &str| text.chars().count();
        assert!(chars(&line) <= 100 && line.contains("sub_…/change-plan"));
        let webhook = format!(
            "  --> {:<32} {}  [200]",
            "charge.failed", "evt_19RraXerkFkbvDOd8zsHc000J"
        );
        let column = |line: &str| chars(line.split_once("[200]").unwrap().0);
        assert_eq!(column(&line), column(&webhook));
    }

    #[test]
    fn a_missing_or_different_field_is_named() {
        let found = serde_json::json!({"license": {"state": "grace"}});
        let expected = Expectation {
            path: String::new(),
            fields: vec![
                ("license.state", Want::Is("active".into())),
                ("subscription", Want::Is(Value::Null)),
                ("license.validUntil", Want::Something),
            ],
        };
        assert_eq!(differences(&expected, &found).len(), 2);
    }
}
