//! `bursar trigger EVENT`: one signed example event to a running server.
//!
//! Invariants: the event id is fresh and `created` is now, everything else is the sample's, so that
//! several samples sent one after the other tell one story (their ids fit together).
//! Failure: exit 64 for an unknown event, 69 if nobody answers, 1 if the server refuses.

use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use crate::http::words::nearest;
use crate::samples::{SAMPLES, sample};
use crate::stripe::signature::sign;
use bursar_config::{ProcessEnv, load_for_tool};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// Arguments of `bursar trigger`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar trigger invoice.paid --to http://127.0.0.1:8087/webhook")]
pub struct TriggerArgs {
    /// The sample to send: an event type, or a type with a variant. Without it: lists them.
    pub event: Option<String>,
    /// Where to send it; without this, the configured address on this machine.
    #[arg(long)]
    pub to: Option<String>,
    /// Names this tenant as `client_reference_id` and in metadata.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Where the secret and the address are configured.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the command.
///
/// # Errors
/// An unknown event or no secret (64), nobody answers (69).
pub fn run(
    args: &TriggerArgs,
    global: &GlobalArgs,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    let Some(name) = &args.event else {
        for (name, _) in SAMPLES {
            writeln!(out, "{name}")?;
        }
        return Ok(Exit::Success);
    };
    let Some(body) = sample(name) else {
        let near = nearest(SAMPLES.iter().map(|(known, _)| *known), name);
        let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        let text = format!("there is no sample {name:?}{near}");
        return Err(
            CliError::new(Exit::Usage, text).or_try("`bursar trigger` without an event lists them")
        );
    };
    let tool = load_for_tool(&args.config.load_args(global), &ProcessEnv)?.config;
    let Some(secret) = tool.webhook_secrets.0.first() else {
        let text = "no webhook secret is known here";
        return Err(
            CliError::new(Exit::Usage, text).or_try("set STRIPE_WEBHOOK_SECRET to the server's")
        );
    };
    let to = args
        .to
        .clone()
        .unwrap_or_else(|| format!("http://{}/webhook", tool.listen));
    let now = jiff::Timestamp::now().as_second();
    let named = args.tenant.as_deref();
    let named = named.map(|tenant| (tenant, tool.events.tenant_metadata_keys.as_slice()));
    let event = fresh(body, named, now).map_err(std::io::Error::other)?;
    super::reach::block_on(async {
        let body = event.to_string();
        let signature = sign(secret.expose_secret(), body.as_bytes(), now);
        writeln!(out, "--> {name} {}", event["id"].as_str().unwrap_or("?"))?;
        let (status, answer) = send(&to, body, signature).await.map_err(|error| {
            let text = format!("nobody answers at {to}: {error}");
            CliError::new(Exit::Unavailable, text).or_try("is `bursar serve` running there?")
        })?;
        writeln!(out, "<-- [{status}] {}", answer.trim())?;
        Ok(if (200..300).contains(&status) {
            Exit::Success
        } else {
            Exit::Differences
        })
    })
}

async fn send(to: &str, body: String, signature: String) -> Result<(u16, String), reqwest::Error> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()?;
    let post = client
        .post(to)
        .header("stripe-signature", signature)
        .header("content-type", "application/json");
    let answer = post.body(body).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The sample with a fresh event id, the time of now and, if asked, a tenant's name wherever the
/// sample names one: by these keys of metadata, best first, and as `client_reference_id`.
fn fresh(
    sample: &str,
    tenant: Option<(&str, &[String])>,
    now: i64,
) -> Result<Value, serde_json::Error> {
    let mut event: Value = serde_json::from_str(sample)?;
    event["id"] = format!("evt_trigger_{}", uuid::Uuid::now_v7().simple()).into();
    event["created"] = now.into();
    if let Some((tenant, keys)) = tenant {
        let object = &mut event["data"]["object"];
        rename(object, tenant, keys);
        if object["object"] == "checkout.session" {
            object["client_reference_id"] = tenant.into();
        }
        if let Some(best) = keys.first() {
            object["metadata"][best] = tenant.into();
        }
    }
    Ok(event)
}

/// Names the tenant in every `metadata` that names one, at any depth.
fn rename(value: &mut Value, tenant: &str, keys: &[String]) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if let (true, Value::Object(metadata)) = (name == "metadata", &mut *inner) {
                    for (_, named) in metadata.iter_mut().filter(|(key, _)| keys.contains(key)) {
                        *named = tenant.into();
                    }
                }
                rename(inner, tenant, keys);
            }
        }
        Value::Array(items) => {
            for item in items {
                rename(item, tenant, keys);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> [String; 2] {
        ["tenant_id".to_owned(), "workspace_id".to_owned()]
    }

    #[test]
    fn a_triggered_event_names_no_tenant_but_the_one_asked_for() {
        let mut had_another = 0;
        for (name, sample) in SAMPLES {
            let event = fresh(sample, Some(("acme", &keys())), 7).unwrap();
            let mut open = vec![&event["data"]["object"]];
            while let Some(value) = open.pop() {
                for key in keys() {
                    let named = &value["metadata"][&key];
                    assert!(named.is_null() || named == "acme", "{name}: {key} {named}");
                }
                match value {
                    Value::Object(map) => open.extend(map.values()),
                    Value::Array(items) => open.extend(items),
                    _ => {}
                }
            }
            assert_eq!(event["data"]["object"]["metadata"]["tenant_id"], "acme");
            had_another += usize::from(sample.contains("\"workspace_id\""));
        }
        assert!(had_another > 20, "{had_another} samples named another");
    }

    #[test]
    fn a_slip_of_the_keyboard_finds_the_sample_that_was_meant() {
        let names = || SAMPLES.iter().map(|(name, _)| *name);
        for (given, meant) in [
            ("invoice.piad", Some("invoice.paid")),
            ("charge.refundd", Some("charge.refunded")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(names(), given), meant, "{given}");
        }
    }

    #[test]
    fn a_triggered_event_is_fresh_and_names_the_tenant() {
        let sample = sample("checkout.session.completed").unwrap();
        let (one, two) = (
            fresh(sample, Some(("acme", &keys())), 7).unwrap(),
            fresh(sample, None, 7).unwrap(),
        );
        assert_ne!(one["id"], two["id"]);
        assert_eq!(one["created"], 7);
        assert_eq!(one["data"]["object"]["client_reference_id"], "acme");
        assert_eq!(one["data"]["object"]["metadata"]["tenant_id"], "acme");
    }
}
