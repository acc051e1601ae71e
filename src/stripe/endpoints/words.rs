//! What a finding means to operators: how grave it is, one sentence, and what to do.
//!
//! Invariants: pure; words of Stripe's are cut and harmless to a terminal.
//! Not here: finding it (`super`).
//! Failure: none.

use super::{Audience, Expected, Finding, OUR_PATHS};

impl Finding {
    /// Money or access may go wrong unseen, as opposed to something to know.
    pub fn is_grave(&self, audience: Audience, expected: &Expected) -> bool {
        match self {
            // In development nothing of Stripe's reaches this machine but through `stripe listen`; and
            // whether Stripe marks every Connect endpoint as one is its matter.
            Self::Missing { .. } => !expected.is_on_this_machine() && audience == Audience::Account,
            Self::Disabled { .. } | Self::LacksEvents { .. } => true,
            Self::OtherVersion { .. } | Self::Twice { .. } => false,
        }
    }

    /// The endpoint it is about; empty for none.
    pub fn endpoint_id(&self) -> &str {
        match self {
            Self::Missing { .. } => "",
            Self::Disabled { id }
            | Self::LacksEvents { id, .. }
            | Self::OtherVersion { id, .. } => id,
            Self::Twice { ids } => ids.first().map_or("", String::as_str),
        }
    }

    /// One sentence for operators.
    pub fn text(&self, audience: Audience, expected: &Expected) -> String {
        let base = &expected.base_url;
        let kind = match audience {
            Audience::Account => "webhook endpoint",
            Audience::Connect => "Connect webhook endpoint",
        };
        match self {
            Self::Missing {
                elsewhere: Some(url),
            } => format!(
                "no {kind} of Stripe's sends to {base}; one sends to {}",
                told(url)
            ),
            Self::Missing { elsewhere: None } => {
                format!("no {kind} of Stripe's sends to {base}{}", OUR_PATHS[0])
            }
            Self::Disabled { id } => format!("the {kind} {} is disabled at Stripe", told(id)),
            Self::LacksEvents { id, types } => format!(
                "the {kind} {} does not send {} of the types Bursar handles: {}",
                told(id),
                types.len(),
                types.join(", ")
            ),
            Self::OtherVersion { id, version } => format!(
                "the {kind} {} renders events in {}, not in {}; they are read all the same",
                told(id),
                version
                    .as_deref()
                    .map_or("the account's default version".to_owned(), told),
                expected.version
            ),
            Self::Twice { ids } => format!(
                "{} endpoints send the same events here ({}); the second delivery of each changes nothing",
                ids.len(),
                ids.iter().map(|id| told(id)).collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// What to do about it.
    pub fn remedy(&self, audience: Audience, expected: &Expected) -> String {
        let (base, version) = (&expected.base_url, &expected.version);
        let connect = match audience {
            Audience::Account => "",
            Audience::Connect => " -d connect=true",
        };
        match self {
            Self::Missing { .. } if expected.is_on_this_machine() => format!(
                "Stripe cannot reach this machine: run `stripe listen --all-snapshot --forward-to {base}{}` and use the secret it prints",
                OUR_PATHS[0]
            ),
            Self::Missing { .. } => format!(
                "create it: `stripe webhook_endpoints create -d url={base}{} -d api_version={version}{connect} -d \"enabled_events[]=*\"`, and put its secret into STRIPE_WEBHOOK_SECRET; or correct APP_BASE_URL",
                OUR_PATHS[0]
            ),
            Self::Disabled { .. } => {
                "find out why it failed, enable it again in Stripe's dashboard, and let Stripe send again what was missed".to_owned()
            }
            Self::LacksEvents { .. } => {
                "add them to the endpoint in Stripe's dashboard (or choose all events)".to_owned()
            }
            Self::OtherVersion { .. } => format!(
                "an endpoint's version is set when it is created: create another with api_version={version}, then delete this one"
            ),
            Self::Twice { .. } => "delete one of them when convenient".to_owned(),
        }
    }
}

/// A word of Stripe's as it may stand in a log or on a terminal.
fn told(word: &str) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    word.chars().take(200).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::endpoints::{Endpoint, judge};

    #[test]
    fn what_is_told_names_the_types_the_address_and_the_command() {
        let list = [Endpoint {
            id: "we_1".into(),
            url: "https://old.example.com/webhook".into(),
            status: "enabled".into(),
            enabled_events: vec!["*".into()],
            api_version: None,
            application: None,
        }];
        let expected = Expected {
            base_url: "https://pay.example.com".into(),
            version: "2025-04-30.basil".into(),
            has_merchants: false,
        };
        let [verdict, _] = judge(&list, &expected);
        let finding = &verdict.findings[0];
        assert!(finding.is_grave(Audience::Account, &expected));
        let text = finding.text(Audience::Account, &expected);
        assert!(text.contains("https://old.example.com/webhook"), "{text}");
        let remedy = finding.remedy(Audience::Account, &expected);
        assert!(
            remedy.contains("url=https://pay.example.com/webhook")
                && remedy.contains("2025-04-30.basil")
        );
        let here = Expected {
            base_url: "http://127.0.0.1:8087".into(),
            ..expected.clone()
        };
        assert!(!finding.is_grave(Audience::Account, &here));
        assert!(
            finding
                .remedy(Audience::Account, &here)
                .contains("stripe listen")
        );
        let odd = Finding::Disabled {
            id: "we_\u{1b}[2J".into(),
        };
        assert!(!odd.text(Audience::Account, &expected).contains('\u{1b}'));
    }
}
