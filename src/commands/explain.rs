//! `bursar explain ID`: why the object with this id is in the state it is in.

use super::answer;
use super::reach::{block_on, reach};
use super::table::{cell, change_words};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use serde_json::Value;
use std::io::Write;

/// Arguments of `bursar explain`.
#[derive(Debug, clap::Args)]
#[command(before_help = "Example: bursar explain sub_1RNaAda0001Pro --data-dir ./data")]
pub struct ExplainArgs {
    /// Any id: of a tenant, subscription, invoice, payment, charge, refund, dispute, event or command.
    pub id: String,
    /// Also what changed nothing, and every field.
    #[arg(long)]
    pub all: bool,
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
        let mut now = None;
        if let (Ok(_), false) = (&found, args.json) {
            for list in lists_of(&args.id) {
                if let Ok(object) = bursar.get(&format!("/api/v1/{list}/{id}")).await {
                    now = Some(answer::present(list, &object));
                    break;
                }
            }
        }
        let found = bursar.close(found).await?;
        if args.json {
            writeln!(out, "{found}")?;
        } else {
            let text = story(&args.id, &found, now.as_deref(), args.all);
            out.write_all(text.as_bytes())?;
        }
        Ok(Exit::Success)
    })
}

/// Where an object of this id may be found, likeliest first.
pub(crate) fn lists_of(id: &str) -> Vec<&'static str> {
    const LISTS: [(&str, &str); 12] = [
        ("pi_", "payments"),
        ("ch_", "payments"),
        ("py_", "payments"),
        ("re_", "refunds"),
        ("pyr_", "refunds"),
        ("du_", "disputes"),
        ("dp_", "disputes"),
        ("in_", "invoices"),
        ("sub_", "subscriptions"),
        ("evt_", "webhook-events"),
        ("raw_", "webhook-events"),
        ("cs_", "checkout-sessions"),
    ];
    let fits = LISTS.iter().filter(|(start, _)| id.starts_with(start));
    fits.map(|(_, list)| *list).chain(["tenants"]).collect()
}

/// The answer as one would write it to a customer's support.
fn story(id: &str, found: &Value, now: Option<&str>, all: bool) -> String {
    let mut text = String::new();
    if let Some(now) = now {
        text.push_str(&format!("{now}\n\n"));
    }
    let lines = found["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    text.push_str(&format!("What happened to {id}, oldest first:\n\n"));
    let mut left_out = 0;
    for line in lines {
        if !all && is_nothing(line) {
            left_out += 1;
            continue;
        }
        text.push_str(&entry(line, all));
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
    if left_out > 0 {
        text.push_str(&format!(
            "\n{left_out} more that changed nothing; --all shows them and every field.\n"
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

/// Whether a line tells of something applied that changed nothing anybody sees, or of a repetition.
pub(crate) fn is_nothing(line: &Value) -> bool {
    let changed = line["changed"].as_array().map_or(&[][..], Vec::as_slice);
    let summary = word(line, "summary");
    match word(line, "disposition") {
        "applied" if changed.is_empty() => summary.ends_with("nothing shown changed"),
        // A sentence of field names only, none of which is worth a line.
        "applied" => summary.contains(" changed: ") && !changed.iter().any(|c| is_told(c, changed)),
        "duplicate" => changed.is_empty(),
        _ => false,
    }
}

fn entry(line: &Value, all: bool) -> String {
    let mark = match word(line, "disposition") {
        "applied" => "*",
        "stale" | "duplicate" | "ignored" => "-",
        _ => "!",
    };
    let summary = answer::reworded(&cell(&line["summary"]));
    let mut text = format!("{}  {mark} {summary}\n", word(line, "at"));
    text.push_str(&format!(
        "{:22}{} {} ({})\n",
        "",
        word(line, "kind"),
        word(line, "sourceId"),
        word(line, "disposition")
    ));
    let changed = line["changed"].as_array().map_or(&[][..], Vec::as_slice);
    for change in changed
        .iter()
        .filter(|change| all || is_told(change, changed))
    {
        text.push_str(&format!("{:24}{}\n", "", change_words(change)));
    }
    text
}

/// Whether a change is worth a line: not one of a list, not what a new thing began with (its
/// sentence names it), not one of two objects' fields of one name, not a copy within its tenant.
pub(crate) fn is_told(change: &Value, changed: &[Value]) -> bool {
    let field = word(change, "field");
    let is_whole = |value: &Value| value.is_array() || value.is_object();
    let named = |name: &str| changed.iter().filter(|c| c["field"] == name).count();
    let is_first = |name: &str| {
        let first = |c: &&Value| c["field"] == name && c["from"].is_null();
        changed.iter().any(|c| first(&c))
    };
    let begins = if field.starts_with("subscription.") {
        is_first("subscription.id")
    } else {
        is_first("id") || (is_first("tenantId") && is_first("createdAt"))
    };
    let of_new = change["from"].is_null() && (begins || change["to"] == false);
    let is_copy = field
        .strip_prefix("subscription.")
        .is_some_and(|own| named(own) > 0);
    // A dispute's or a refund's entry also holds the credits that were taken back: a grant's amount.
    let of_grant = field == "amount" && change["to"].as_i64().is_some_and(|n| n < 0);
    let is_list = is_whole(&change["from"]) || is_whole(&change["to"]);
    let is_unclear = named(field) > 1 || of_grant;
    !(is_list || of_new || is_copy || is_unclear)
}

fn unapplied(input: &Value) -> String {
    let reason = Some(word(input, "reason"))
        .filter(|reason| !reason.is_empty())
        .unwrap_or("no reason recorded");
    format!(
        "{}  ! {} {} is {}: {reason}\n",
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

    fn applied(kind: &str, summary: &str, changed: Value) -> Value {
        json!({"at": "2025-05-12T10:00:00Z", "kind": kind, "sourceId": "evt_1",
            "disposition": "applied", "summary": summary, "changed": changed})
    }

    #[test]
    fn an_explanation_says_what_changed_and_what_did_not() {
        let found = json!({"id": "sub_1", "truncated": false,
            "timeline": [
                applied("invoice.paid", "invoice in_1 is paid", json!([
                    {"field": "license.state", "from": "none", "to": "active"},
                    {"field": "subscription.license.state", "from": "none", "to": "active"},
                    {"field": "subscriptions", "from": [], "to": [{"id": "sub_1"}]}])),
                applied("reread", "reread: nothing shown changed", json!([])),
                applied("customer.created", "customer changed: id", json!([
                    {"field": "id", "from": null, "to": "cus_1"}])),
                {"at": "2025-05-12T10:00:00Z", "kind": "invoice.payment_succeeded", "sourceId": "evt_2",
                 "disposition": "stale", "summary": "older than evt_1", "changed": []}],
            "inputs": [{"id": "evt_1", "type": "invoice.paid", "status": "applied", "bodyDropped": true,
                        "receivedAt": "2025-05-12T10:00:00Z"},
                       {"id": "evt_3", "bodyDropped": false, "type": "charge.refunded", "status": "parked",
                        "reason": "waits for payment pi_1 to be known",
                        "receivedAt": "2025-05-12T10:00:01Z", "parkedOn": ["payment:/pi_1"]}]});
        let text = story(
            "sub_1",
            &found,
            Some("Subscription sub_1 is active."),
            false,
        );
        let expected = "Subscription sub_1 is active.\n\n\
            What happened to sub_1, oldest first:\n\n\
            2025-05-12T10:00:00Z  * invoice in_1 is paid\n                      \
            invoice.paid evt_1 (applied)\n                        \
            license.state: none -> active\n\
            2025-05-12T10:00:00Z  - older than evt_1\n                      \
            invoice.payment_succeeded evt_2 (stale)\n\
            2025-05-12T10:00:01Z  ! charge.refunded evt_3 is parked: waits for payment pi_1 to be known\n\
            2025-05-12T10:00:00Z  - invoice.paid evt_1 is applied; its body was dropped by retention\n\n\
            2 more that changed nothing; --all shows them and every field.\n";
        assert_eq!(text, expected);
        let text = story("sub_1", &found, None, true);
        assert!(text.contains("reread: nothing shown changed"), "{text}");
        assert!(
            text.contains("subscriptions changed\n") && !text.contains('['),
            "{text}"
        );
    }

    #[test]
    fn of_an_entry_about_several_objects_only_what_is_clear_is_told() {
        let line = applied(
            "charge.dispute.created",
            "dispute du_1 is needs response",
            json!([
            {"field": "disputed", "from": false, "to": true},
            {"field": "id", "from": null, "to": "du_1"},
            {"field": "status", "from": null, "to": "needs_response"},
            {"field": "amount", "from": -5, "to": -10},
            {"field": "note", "from": 1, "to": 2},
            {"field": "note", "from": 3, "to": 4}]),
        );
        let text = entry(&line, false);
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("2025-05-12T10:00:00Z  * dispute du_1 needs a response")
        );
        let rest: Vec<&str> = lines.skip(1).map(str::trim).collect();
        assert_eq!(rest, ["disputed: false -> true"]);
    }

    #[test]
    fn every_kind_of_id_has_a_place_to_ask_for_its_present_state() {
        for (id, list) in [
            ("pi_1", "payments"),
            ("ch_1", "payments"),
            ("re_1", "refunds"),
            ("du_1", "disputes"),
            ("in_1", "invoices"),
            ("sub_1", "subscriptions"),
            ("evt_1", "webhook-events"),
            ("acme", "tenants"),
        ] {
            assert_eq!(lists_of(id)[0], list, "{id}");
        }
    }
}
