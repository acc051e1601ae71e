//! The two sides of the demo as a product's backend sees them: Stripe's API (the sandbox) and
//! Bursar's, both over HTTP.
//!
//! Failure: [`Failure`] says which call answered what; the step it belongs to is then wrong.

use serde_json::Value;
use std::time::{Duration, Instant};

/// How long a state may take to appear after its webhooks were sent.
const SETTLE_WAIT: Duration = Duration::from_secs(20);
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
    /// A key the sandbox takes.
    pub(super) stripe_key: String,
}

/// What the story knows between its steps.
pub(super) struct World {
    access: Access,
    client: reqwest::Client,
    /// Price ids by plan id.
    prices: Vec<(String, String)>,
    customer: String,
    subscription: String,
    credit_payment: String,
    dispute: String,
    remembered: String,
}

impl World {
    /// A world before anything happened.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub(super) fn new(access: Access, prices: Vec<(String, String)>) -> Result<Self, Failure> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let none = String::new();
        Ok(Self {
            access,
            client,
            prices,
            customer: none.clone(),
            subscription: none.clone(),
            credit_payment: none.clone(),
            dispute: none.clone(),
            remembered: none,
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
    pub(super) async fn order(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.access.bursar);
        let sent = self
            .client
            .post(url)
            .bearer_auth(&self.access.operator_key)
            .json(body)
            .send()
            .await?;
        Self::answer("POST", path, sent).await
    }

    async fn stripe(&self, path: &str, form: &[(&str, &str)]) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.access.sandbox);
        let sent = self
            .client
            .post(url)
            .bearer_auth(&self.access.stripe_key)
            .form(form)
            .send()
            .await?;
        Self::answer("POST", path, sent).await
    }

    async fn stripe_get(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.access.sandbox);
        Self::answer(
            "GET",
            path,
            self.client
                .get(url)
                .bearer_auth(&self.access.stripe_key)
                .send()
                .await?,
        )
        .await
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

    fn price(&self, plan: &str) -> Result<String, Failure> {
        let found = self
            .prices
            .iter()
            .find(|(id, _)| id == plan)
            .map(|(_, price)| price.clone());
        found.ok_or_else(|| Failure(format!("no plan {plan} in the catalogue")))
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

    pub(super) async fn advance(&self, seconds: i64) -> Result<(), Failure> {
        self.control(
            "/control/clock/advance",
            &serde_json::json!({"seconds": seconds}),
        )
        .await
        .map(drop)
    }

    /// Opens a Checkout session and pays it on the hosted page, as a visitor's browser does.
    async fn checkout(&self, plan: &str, mode: &str) -> Result<Value, Failure> {
        let price = self.price(plan)?;
        let mut form = vec![
            ("mode", mode),
            ("line_items[0][price]", price.as_str()),
            ("line_items[0][quantity]", "1"),
            ("client_reference_id", "acme"),
            ("metadata[tenant_id]", "acme"),
            ("metadata[plan_id]", plan),
            (
                "success_url",
                "http://127.0.0.1/done?session_id={CHECKOUT_SESSION_ID}",
            ),
        ];
        if !self.customer.is_empty() {
            form.push(("customer", self.customer.as_str()));
        }
        let session = self.stripe("/v1/checkout/sessions", &form).await?;
        let url = session["url"].as_str().unwrap_or_default();
        let visitor = [("email", "ada@acme.test"), ("card", "4242")];
        let paid = self.client.post(url).form(&visitor).send().await?;
        if !paid.status().is_redirection() {
            return Err(Failure(format!(
                "the checkout page answered {}: {}",
                paid.status(),
                paid.text().await?
            )));
        }
        self.stripe_get(&format!(
            "/v1/checkout/sessions/{}",
            session["id"].as_str().unwrap_or_default()
        ))
        .await
    }

    pub(super) async fn subscribe(&mut self, plan: &str) -> Result<(), Failure> {
        let session = self.checkout(plan, "subscription").await?;
        self.customer = text(&session, "customer")?;
        self.subscription = text(&session, "subscription")?;
        Ok(())
    }

    pub(super) async fn buy_credits(&mut self) -> Result<(), Failure> {
        let session = self.checkout("credits-10", "payment").await?;
        self.credit_payment = text(&session, "payment_intent")?;
        Ok(())
    }

    pub(super) async fn use_card(&self, payment_method: &str) -> Result<(), Failure> {
        let attach = format!("/v1/payment_methods/{payment_method}/attach");
        let attached = self
            .stripe(&attach, &[("customer", &self.customer)])
            .await?;
        let id = text(&attached, "id")?;
        let customer = format!("/v1/customers/{}", self.customer);
        self.stripe(
            &customer,
            &[("invoice_settings[default_payment_method]", &id)],
        )
        .await?;
        let subscription = format!("/v1/subscriptions/{}", self.subscription);
        self.stripe(&subscription, &[("default_payment_method", &id)])
            .await
            .map(drop)
    }

    pub(super) async fn pay_open_invoice(&self) -> Result<(), Failure> {
        let list = format!("/v1/invoices?customer={}&status=open", self.customer);
        let open = self.stripe_get(&list).await?;
        let invoice = text(&open["data"][0], "id")?;
        self.stripe(&format!("/v1/invoices/{invoice}/pay"), &[])
            .await
            .map(drop)
    }

    pub(super) async fn change_plan(&self, plan: &str) -> Result<(), Failure> {
        let path = format!("/v1/subscriptions/{}", self.subscription);
        let item = text(&self.stripe_get(&path).await?["items"]["data"][0], "id")?;
        let price = self.price(plan)?;
        let form = [
            ("items[0][id]", item.as_str()),
            ("items[0][price]", &price),
            ("proration_behavior", "always_invoice"),
        ];
        self.stripe(&path, &form).await.map(drop)
    }

    pub(super) async fn refund_half(&self) -> Result<(), Failure> {
        let form = [
            ("payment_intent", self.credit_payment.as_str()),
            ("amount", "500"),
        ];
        self.stripe("/v1/refunds", &form).await.map(drop)
    }

    pub(super) async fn dispute(&mut self) -> Result<(), Failure> {
        let intent = self
            .stripe_get(&format!("/v1/payment_intents/{}", self.credit_payment))
            .await?;
        let charge = text(&intent, "latest_charge")?;
        let dispute = self
            .control("/control/dispute", &serde_json::json!({"charge": charge}))
            .await?;
        self.dispute = text(&dispute, "id")?;
        Ok(())
    }

    pub(super) async fn lose_dispute(&self) -> Result<(), Failure> {
        self.stripe(&format!("/v1/disputes/{}/close", self.dispute), &[])
            .await
            .map(drop)
    }

    pub(super) async fn cancel(&self) -> Result<(), Failure> {
        let path = format!("/v1/subscriptions/{}", self.subscription);
        let url = format!("{}{path}", self.access.sandbox);
        let sent = self
            .client
            .delete(url)
            .bearer_auth(&self.access.stripe_key)
            .send()
            .await?;
        Self::answer("DELETE", &path, sent).await.map(drop)
    }
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
