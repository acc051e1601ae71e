//! What is counted of mail beside the lane's own attempts.
//!
//! Invariants: templates are a closed set; no label holds an address or a tenant.

use bursar_store::metrics::{Label, Metric, MetricKind};

const TEMPLATE: Label = (
    "template",
    &[
        "verification",
        "invitation",
        "password_reset",
        "password_changed",
        "signup_known",
        "receipt",
        "payment_failed",
        "action_required",
        "invoice_finalization_failed",
        "grace_ending",
        "access_revoked",
        "access_restored",
        "trial_ending",
        "plan_changed",
        "cancellation_scheduled",
        "cancellation_undone",
        "subscription_canceled",
        "refund",
        "order_delayed",
        "order_done",
        "order_failed",
        "endpoint_disabled",
        "alerts",
    ],
);

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        labels,
        help,
    }
}

/// Metrics of mail.
pub const CATALOGUE: &[Metric] = &[
    counter(
        "bursar_mails_sent_total",
        &[TEMPLATE],
        "Mails the transport took, by template.",
    ),
    counter(
        "bursar_mails_refused_total",
        &[],
        "Mails refused for good by the mail server.",
    ),
    counter(
        "bursar_mails_limited_total",
        &[],
        "Mails put off or dropped because their recipient got too many in an hour.",
    ),
];

pub(super) fn sent(template: &str) {
    let word = TEMPLATE.1.iter().find(|word| **word == template);
    if let Some(word) = word {
        metrics::counter!("bursar_mails_sent_total", "template" => *word).increment(1);
    }
}

pub(super) fn refused() {
    metrics::counter!("bursar_mails_refused_total").increment(1);
}

pub(super) fn limited() {
    metrics::counter!("bursar_mails_limited_total").increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mail_has_its_series() {
        let mails = crate::mail::catalogue::MAILS.iter().map(|spec| spec.name);
        let all: Vec<&str> = mails.chain(["alerts"]).collect();
        assert_eq!(TEMPLATE.1, all);
    }
}
