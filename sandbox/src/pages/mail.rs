//! The mail that was caught: a list, one mail with its text and its HTML, the newest as JSON.
//!
//! Invariants: HTML of a mail stands in a frame that may run no script, submit no form and load nothing.
//! Not here: catching (`mail`).
//! Failure: 404 for a mail that is not kept.
//! Source of outside rules: HTML Living Standard, "The iframe element" (`sandbox`); CSP Level 3, "sandbox".

use super::html::{escape, wide_page};
use super::{Form, Page, overview};
use crate::mail::{Caught, MailBox};
use serde_json::json;

/// Rows of the list.
const ROWS_MAX: usize = 100;

/// Serves what stands below `/mail`.
pub(crate) fn serve(mails: &MailBox, parts: &[&str], form: &Form) -> Page {
    let one = |id: &str| id.parse().ok().and_then(|id| mails.get(id));
    match parts {
        [] => list(mails),
        ["latest"] => latest(mails, form.get("to").map(String::as_str)),
        [id] => one(id).map_or_else(overview::missing, shown),
        [id, "html"] => {
            one(id).map_or_else(overview::missing, |mail| Page::Inner(mail.html.clone()))
        }
        _ => overview::missing(),
    }
}

fn latest(mails: &MailBox, to: Option<&str>) -> Page {
    match mails.latest(to) {
        Some(mail) => Page::Json(200, json!(mail)),
        None => Page::Json(404, json!({"error": "no such mail was caught"})),
    }
}

fn time(mail: &Caught) -> String {
    let at =
        jiff::Timestamp::from_millisecond(mail.at_unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let shown = at.strftime("%-d %B %Y, %H:%M UTC");
    format!("<time datetime=\"{at}\">{shown}</time>")
}

fn list(mails: &MailBox) -> Page {
    let rows: String = mails
        .all()
        .rev()
        .take(ROWS_MAX)
        .map(|mail| {
            let subject = if mail.subject.is_empty() { "(no subject)" } else { &mail.subject };
            format!(
                "<tr><th scope=\"row\"><a href=\"/mail/{}\">{}</a></th><td class=\"id\">{}</td><td>{}</td></tr>",
                mail.id,
                escape(subject),
                escape(&mail.to.join(", ")),
                time(mail)
            )
        })
        .collect();
    let table = if rows.is_empty() {
        "<p class=\"soft\">None yet. Whatever is sent to the sandbox's mail server, or to its double of Mailgun's API, stands here.</p>".to_owned()
    } else {
        format!(
            "<table class=\"stack\" aria-label=\"Mail\"><thead><tr><th scope=\"col\">Subject</th><th scope=\"col\">To</th><th scope=\"col\">Caught</th></tr></thead><tbody>{rows}</tbody></table>"
        )
    };
    let body = format!(
        "<h1>Mail</h1><p>Nothing here was sent on.</p>{table}\
         <p><a href=\"/mail/latest\">The newest as JSON</a>; <code>/mail/latest?to=ada@example.com</code> is the newest to one address.</p>\
         <p><a href=\"/\">Overview</a></p>"
    );
    Page::Html(200, wide_page("Mail", &body))
}

fn shown(mail: &Caught) -> Page {
    let html = if mail.html.is_empty() {
        "<p class=\"soft\">It has no HTML.</p>".to_owned()
    } else {
        format!(
            "<iframe title=\"The mail as HTML\" src=\"/mail/{}/html\" sandbox=\"\" class=\"mail\"></iframe>",
            mail.id
        )
    };
    let body = format!(
        "<h1>{}</h1><dl><dt>From</dt><dd>{}</dd><dt>To</dt><dd>{}</dd><dt>Message-ID</dt><dd class=\"id\">{}</dd><dt>Caught</dt><dd>{} by {}</dd></dl>\
         <h2>As text</h2><pre>{}</pre><h2>As HTML</h2>{html}\
         <p><a href=\"/mail\">All mail</a></p>",
        escape(&mail.subject),
        escape(&mail.from),
        escape(&mail.to.join(", ")),
        escape(&mail.message_id),
        time(mail),
        mail.via,
        escape(&mail.text),
    );
    Page::Framing(200, wide_page("Mail", &body))
}
