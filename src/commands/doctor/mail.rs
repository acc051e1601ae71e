//! Mail: the texts, the way out, and on demand every text as a mail.
//!
//! Invariants: nothing is sent unless an address is given; what is sent are samples, marked as such by their values.

use super::finding::Findings;
use crate::mail::address::Address;
use crate::mail::catalogue::MAILS;
use crate::mail::letter::Letter;
use crate::mail::samples::sample;
use crate::mail::transport::SendError;
use crate::mail::{Parts, check};
use bursar_actors::clock::{Clock, SystemClock};
use bursar_config::Config;

const NAME: &str = "mail";

/// Looks at the set-up, and sends every text to `to` if there is one.
pub(super) async fn look(config: &Config, to: Option<&str>, found: &mut Findings) {
    if let Err(problems) = check(config) {
        for problem in &problems.0 {
            found.fail(NAME, &problem.text, "correct the file that is named");
        }
        return;
    }
    let Ok(parts) = Parts::of(config) else { return };
    let way = parts.transport.name();
    let Some(to) = to else {
        let text = format!("{} texts are fine; mail leaves by {way}", MAILS.len());
        found.ok(NAME, text);
        return;
    };
    let Ok(to) = Address::parse(to) else {
        found.fail(
            NAME,
            "--mail-to is no address",
            "give one, such as you@example.com",
        );
        return;
    };
    match samples(&parts, &to).await {
        Ok(sent) => found.ok(NAME, format!("{sent} samples left by {way}")),
        Err(why) => found.unreachable(NAME, why, "correct SMTP_URL, MAIL_FROM or the Mailgun keys"),
    }
}

/// Sends each; how many went.
async fn samples(parts: &Parts, to: &Address) -> Result<usize, String> {
    let clock = SystemClock::new();
    let run = uuid::Uuid::now_v7().simple().to_string();
    for spec in MAILS {
        let mut context = sample(spec, true);
        context.extend(parts.brand.context(None));
        let text = parts.templates.render(spec.name, context);
        let letter = Letter {
            template: spec.name.to_owned(),
            to: to.clone(),
            text: text.map_err(|trouble| trouble.to_string())?,
            message_id: format!("<{run}.{}@{}>", spec.name, parts.domain),
            at: clock.now(),
        };
        let sent = parts.transport.send(&letter).await;
        sent.map_err(|error| match error {
            SendError::Refused(why)
            | SendError::Deferred(why)
            | SendError::Unreachable { why, .. } => format!("{}: {why}", spec.name),
            SendError::Held => "held".to_owned(),
        })?;
    }
    Ok(MAILS.len())
}
