//! Stripe's side: does it answer, what may the key read, in which version do events come, which webhook
//! endpoints are registered, and what time is it there.
//!
//! Invariants: GETs only, one after the other.
//! Failure: without an answer to the first, nothing else is asked.
//! Source: Stripe API reference, "Authentication", "Restricted API keys", "Webhook Endpoints".

use super::finding::Findings;
use crate::cli::{CliError, Exit};
use crate::stripe::endpoints::{Audience, Expected, LIST_PATH, State, judge, read_list};
use crate::stripe::read::ReadClient;
use bursar_actors::ports::{ReadAnswer, ReadError, StripeRead};
use bursar_config::Config;
use bursar_domain::ids::Scope;
use serde_json::Value;
use std::time::Instant;

/// The clocks may differ this much before signatures come near their tolerance, in seconds.
const SKEW_SECONDS_WARN: u64 = 60;
/// Here every signature is refused.
const SKEW_SECONDS_FAIL: u64 = 300;

/// What Bursar reads: the resource as Stripe's key settings name it, and whether it cannot do without.
const READS: [(&str, &str, bool); 12] = [
    ("customers", "/v1/customers?limit=1", true),
    ("subscriptions", "/v1/subscriptions?limit=1", true),
    ("invoices", "/v1/invoices?limit=1", true),
    ("invoice_payments", "/v1/invoice_payments?limit=1", true),
    ("payment_intents", "/v1/payment_intents?limit=1", true),
    ("charges", "/v1/charges?limit=1", true),
    ("refunds", "/v1/refunds?limit=1", true),
    ("disputes", "/v1/disputes?limit=1", true),
    ("checkout sessions", "/v1/checkout/sessions?limit=1", true),
    (
        "balance_transactions",
        "/v1/balance_transactions?limit=1",
        true,
    ),
    ("prices", "/v1/prices?limit=1", false),
    ("connected accounts", ACCOUNTS_PATH, false),
];
const ACCOUNTS_PATH: &str = "/v1/accounts?limit=1";

/// Asks everything.
///
/// # Errors
/// No client can be made of the key and version.
pub(super) async fn look(
    config: &Config,
    has_merchants: Option<bool>,
    found: &mut Findings,
) -> Result<(), CliError> {
    let api = &config.stripe;
    let client = ReadClient::new(&api.api_base.to_string(), &api.api_key, &api.api_version)
        .map_err(|error| CliError::new(Exit::Config, error.to_string()))?;
    let asked = Asked { client, config };
    if !asked.reach(found).await {
        for name in ["key's permissions", "API version", "webhook endpoint"] {
            found.skip(name, "Stripe does not answer this key");
        }
        return Ok(());
    }
    let connected = asked.permissions(found).await;
    asked.versions(found).await;
    asked
        .endpoints(has_merchants.unwrap_or(connected), found)
        .await;
    Ok(())
}

struct Asked<'a> {
    client: ReadClient,
    config: &'a Config,
}

impl Asked<'_> {
    async fn get(&self, path: &str) -> Result<ReadAnswer, ReadError> {
        self.client.get(Scope::PLATFORM, path.to_owned()).await
    }

    /// Whether Stripe answers, for whom, and at what time.
    async fn reach(&self, found: &mut Findings) -> bool {
        let base = &self.config.stripe.api_base;
        let mode = if self.config.stripe.mode.is_live() {
            "live"
        } else {
            "test"
        };
        let started = Instant::now();
        let before = jiff::Timestamp::now().as_second();
        let answer = match self.get("/v1/account").await {
            // A restricted key need not see its account: anything it may see will do.
            Err(ReadError::Auth(403)) => self.get(READS[0].1).await,
            other => other,
        };
        let after = jiff::Timestamp::now().as_second();
        match answer {
            Ok(answer) => {
                let account: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let id = account["id"].as_str().filter(|id| id.starts_with("acct_"));
                let id = id.map_or("an account it may not name".to_owned(), |id| {
                    id.chars().take(64).collect()
                });
                let ms = started.elapsed().as_millis();
                found.ok(
                    "Stripe",
                    format!("{base} answers in {ms} ms; a {mode} key of {id}"),
                );
                clock(before, after, answer.date_unix, found);
                true
            }
            Err(ReadError::Auth(401)) => {
                found.fail("Stripe", "the key is refused (401)", "STRIPE_API_KEY was rolled, deleted or mistyped: copy the present one from Stripe's dashboard");
                false
            }
            Err(ReadError::Auth(_)) => {
                found.warn("Stripe", format!("{base} answers; a {mode} key that may read neither its account nor customers"), "see the key's permissions below");
                found.skip("clock", "no answer with a time came");
                true
            }
            Err(error) => {
                found.unreachable("Stripe", format!("{base}: {error}"), "check the network, the proxy variables and STRIPE_API_BASE; see status.stripe.com");
                found.skip("clock", "Stripe does not answer");
                false
            }
        }
    }

    /// What the key may read; whether an account is connected.
    async fn permissions(&self, found: &mut Findings) -> bool {
        let (mut refused, mut optional, mut odd) = (Vec::new(), Vec::new(), Vec::new());
        let mut connected = false;
        for (name, path, needed) in READS {
            match self.get(path).await {
                Ok(answer) if answer.status == 200 => {
                    let list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    let any = list["data"].as_array().is_some_and(|data| !data.is_empty());
                    connected |= path == ACCOUNTS_PATH && any;
                }
                Err(ReadError::Auth(_)) if needed => refused.push(name),
                Err(ReadError::Auth(_)) => optional.push(name),
                // Without Connect Stripe refuses to list accounts: nothing is missing then.
                _ if path == ACCOUNTS_PATH => {}
                _ => odd.push(name),
            }
        }
        const NAME: &str = "key's permissions";
        if !refused.is_empty() {
            found.fail(
                NAME,
                format!("the key may not read {}", refused.join(", ")),
                "allow reading them in the restricted key's settings at Stripe",
            );
        } else if odd.is_empty() {
            found.ok(
                NAME,
                format!(
                    "it reads all that Bursar reads ({} kinds); what it may write is not tried",
                    READS.len() - optional.len()
                ),
            );
        }
        if !odd.is_empty() {
            found.warn(
                NAME,
                format!("no list came of {}", odd.join(", ")),
                "try again; a test double may not know them",
            );
        }
        if !optional.is_empty() {
            found.warn(
                NAME,
                format!("the key may not read {}", optional.join(", ")),
                "allow it if you use them",
            );
        }
        connected
    }

    /// The version events are rendered in where an endpoint names none.
    async fn versions(&self, found: &mut Findings) {
        const NAME: &str = "API version";
        let ours = &self.config.stripe.api_version;
        let answer = self.get("/v1/events?limit=1").await;
        let list: Value = answer
            .ok()
            .and_then(|answer| serde_json::from_slice(&answer.body).ok())
            .unwrap_or_default();
        match list["data"][0]["api_version"].as_str() {
            Some(version) if version == ours => {
                found.ok(NAME, format!("calls and the account's own events are both in {ours}"));
            }
            Some(version) => {
                let version: String = version.chars().take(40).collect();
                found.ok(NAME, format!("calls are made in {ours}; the account's default is {version}, which endpoints without a version of their own send"));
            }
            None => found.skip(NAME, format!("calls are made in {ours}; the account shows no event that would tell its default")),
        }
    }

    async fn endpoints(&self, has_merchants: bool, found: &mut Findings) {
        let expected = Expected {
            base_url: self.config.addresses.app.to_string(),
            version: self.config.stripe.api_version.clone(),
            has_merchants,
        };
        let list = match self.get(LIST_PATH).await {
            Ok(answer) if answer.status == 200 => read_list(&answer.body),
            Ok(answer) => Err(format!("Stripe answered {}", answer.status)),
            Err(error) => Err(error.to_string()),
        };
        let endpoints = match list {
            Ok(endpoints) => endpoints,
            Err(reason) => {
                found.warn(
                    "webhook endpoint",
                    format!("they cannot be looked at: {reason}"),
                    "allow the key to read webhook endpoints, or look in Stripe's dashboard",
                );
                return;
            }
        };
        for verdict in judge(&endpoints, &expected) {
            let audience = verdict.audience;
            let name = match audience {
                Audience::Account => "webhook endpoint",
                Audience::Connect => "Connect endpoint",
            };
            for finding in &verdict.findings {
                let text = finding.text(audience, &expected);
                let next = finding.remedy(audience, &expected);
                if finding.is_grave(audience, &expected) {
                    found.fail(name, text, &next);
                } else {
                    found.warn(name, text, &next);
                }
            }
            match verdict.state {
                State::NotNeeded => found.ok(name, "none is needed: no merchant is connected"),
                State::Ok => found.ok(
                    name,
                    format!(
                        "{} is enabled, in {}, and sends every type Bursar handles",
                        verdict.ids.join(", "),
                        expected.version
                    ),
                ),
                _ => {}
            }
        }
    }
}

/// Compares our clock with the `Date` of an answer that came between these two moments.
fn clock(before: i64, after: i64, date: i64, found: &mut Findings) {
    let skew = if date < before {
        before.abs_diff(date)
    } else {
        date.saturating_sub(after).max(0).unsigned_abs()
    };
    let text = format!("this machine's clock and Stripe's differ by {skew} s");
    let next = "let the machine set its clock by NTP: signatures are refused beyond 300 s";
    if skew > SKEW_SECONDS_FAIL {
        found.fail("clock", text, next);
    } else if skew > SKEW_SECONDS_WARN {
        found.warn("clock", text, next);
    } else {
        found.ok("clock", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off_either_way() {
        for (date, word) in [
            (1_000, "ok "),
            (1_002, "ok "),
            (940, "ok "),
            (939, "warn"),
            (1_063, "warn"),
            (699, "fail"),
            (1_303, "fail"),
        ] {
            let mut found = Findings::default();
            clock(1_000, 1_002, date, &mut found);
            assert!(found.lines().starts_with(word), "{date}: {}", found.lines());
        }
    }
}
