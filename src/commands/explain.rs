//! `bursar explain ID`: why the object with this id is in the state it is in.

use super::reach::{block_on, reach};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use serde_json::Value;
use std::io::Write;

/// Arguments of `bursar explain`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar explain sub_1RNaAda0001Pro --data-dir ./data")]
pub struct ExplainArgs {
    /// Any id: of a tenant, subscription, invoice, payment, charge, refund, dispute, event or command.
    pub id: String,
    /// For machines: one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Which store.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the command.
///
/// # Errors
/// The store cannot be reached, or nothing names the id (exit 1).
pub fn run(
    args: &ExplainArgs,
    global: &GlobalArgs,
    out: &mut impl Write,
) -> Result<Exit, CliError> {
    block_on(async {
        let mut bursar = reach(&args.config, global).await?;
        let id: String = form_urlencoded::byte_serialize(args.id.as_bytes()).collect();
        let found = bursar.get(&format!("/api/v1/explain/{id}")).await;
        let now = match &found {
            Ok(_) => bursar.get(&format!("/api/v1/tenants/{id}")).await.ok(),
            Err(_) => None,
        };
        bursar.close().await;
        let found = found?;
        if args.json {
            writeln!(out, "{found}")?;
        } else {
            out.write_all(story(&args.id, &found, now.as_ref()).as_bytes())?;
        }
        Ok(Exit::Success)
    })
}

/// The answer as one would write it to a customer's support.
fn story(id: &str, found: &Value, tenant: Option<&Value>) -> String {
    let mut text = String::new();
    if let Some(tenant) = tenant {
        text.push_str(&present(tenant));
    }
    let lines = found["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    text.push_str(&format!("What happened to {id}, oldest first:\n\n"));
    for line in lines {
        text.push_str(&entry(line));
    }
    let waiting = found["inputs"].as_array().map_or(&[][..], Vec::as_slice);
    for input in waiting.iter().filter(|input| {
        matches!(
            input["status"].as_str(),
            Some("parked" | "dead" | "received" | "ignored")
        )
    }) {
        text.push_str(&unapplied(input));
    }
    let dropped = waiting.iter().filter(|input| input["bodyDropped"] == true);
    for input in dropped {
        text.push_str(&format!(
            "{}  - {} {} is {}; its body was dropped by retention\n",
            word(input, "receivedAt"),
            word(input, "type"),
            word(input, "id"),
            word(input, "status")
        ));
    }
    if found["truncated"] == true {
        text.push_str(
            "\nThere is more than is shown here; the tenant's timeline in the API has all of it.\n",
        );
    }
    text
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("-")
}

/// The tenant's state in two sentences.
fn present(tenant: &Value) -> String {
    let license = &tenant["license"];
    let until = license["validUntil"]
        .as_str()
        .map(|at| format!(", paid until {at}"))
        .unwrap_or_default();
    let plan = tenant["planId"].as_str().unwrap_or("no plan");
    format!(
        "Tenant {} is {} on {plan}; the licence is {}{until}; credits: {}.\n\n",
        word(tenant, "tenantId"),
        word(tenant, "status").replace('_', " "),
        word(license, "state"),
        tenant["credits"],
    )
}

fn entry(line: &Value) -> String {
    let mark = match word(line, "disposition") {
        "applied" => "*",
        "stale" | "duplicate" | "ignored" => "-",
        _ => "!",
    };
    let mut text = format!("{}  {mark} {}\n", word(line, "at"), word(line, "summary"));
    text.push_str(&format!(
        "{:22}{} {} ({})\n",
        "",
        word(line, "kind"),
        word(line, "sourceId"),
        word(line, "disposition")
    ));
    for change in line["changed"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "{:24}{}: {} -> {}\n",
            "",
            word(change, "field"),
            change["from"],
            change["to"]
        ));
    }
    text
}

fn unapplied(input: &Value) -> String {
    let reason = Some(word(input, "reason"))
        .filter(|reason| !reason.is_empty())
        .unwrap_or("no reason recorded");
    let waits = input["parkedOn"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let waits = if waits.is_empty() {
        String::new()
    } else {
        format!("; it waits for {waits}")
    };
    format!(
        "{}  ! {} {} is {}: {reason}{waits}\n",
        word(input, "receivedAt"),
        word(input, "type"),
        word(input, "id"),
        word(input, "status")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_explanation_says_what_changed_and_what_did_not() {
        let found = json!({"id": "sub_1", "truncated": false,
            "timeline": [
                {"at": "2025-05-12T10:00:00Z", "kind": "invoice.paid", "sourceId": "evt_1", "disposition": "applied",
                 "summary": "invoice in_1 is paid", "changed": [{"field": "license.state", "from": "none", "to": "active"}]},
                {"at": "2025-05-12T10:00:00Z", "kind": "invoice.payment_succeeded", "sourceId": "evt_2",
                 "disposition": "duplicate", "summary": "the same fact as evt_1", "changed": []}],
            "inputs": [{"id": "evt_1", "type": "invoice.paid", "status": "applied", "bodyDropped": true,
                        "receivedAt": "2025-05-12T10:00:00Z"},
                       {"id": "evt_3", "bodyDropped": false, "type": "charge.refunded", "status": "parked", "reason": "the payment is not known yet",
                        "receivedAt": "2025-05-12T10:00:01Z", "parkedOn": ["payment:/pi_1"]}]});
        let text = story("sub_1", &found, None);
        assert!(
            text.contains("* invoice in_1 is paid")
                && text.contains("license.state: \"none\" -> \"active\"")
        );
        assert!(text.contains("- the same fact as evt_1"));
        assert!(
            text.contains("invoice.paid evt_1 is applied; its body was dropped by retention\n")
        );
        assert!(!text.contains("evt_3 is parked; its body"));
        assert!(
            text.contains(
                "evt_3 is parked: the payment is not known yet; it waits for payment:/pi_1"
            )
        );
    }
}
