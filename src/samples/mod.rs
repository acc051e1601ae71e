//! The sample events of the corpus, compiled in: what `bursar trigger` sends.
//!
//! Invariants: every file of `tests/corpus/stripe/events/2025-04-30.basil` is listed (a test looks).

macro_rules! samples {
    ($($name:literal),* $(,)?) => {
        /// `(name, body)`: the name is the event type, with a variant after it where there are several.
        pub const SAMPLES: &[(&str, &str)] = &[
            $(($name, include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/tests/corpus/stripe/events/2025-04-30.basil/", $name, ".json"
            )))),*
        ];
    };
}

samples! {
    "account.application.deauthorized",
    "account.updated",
    "account.updated.pending_verification",
    "account.updated.restricted",
    "capability.updated",
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.closed.lost",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.failed",
    "charge.refund.updated",
    "charge.refunded",
    "charge.refunded.authorization_released",
    "charge.refunded.partial",
    "charge.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.completed.async_unpaid",
    "checkout.session.completed.payment",
    "checkout.session.completed.payment_link_guest",
    "checkout.session.expired",
    "customer.created",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.created.incomplete",
    "customer.subscription.created.trialing",
    "customer.subscription.deleted",
    "customer.subscription.deleted.immediate",
    "customer.subscription.deleted.payment_failed",
    "customer.subscription.paused",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.subscription.updated.cancel_at_period_end",
    "customer.subscription.updated.cancel_undone",
    "customer.subscription.updated.downgrade",
    "customer.subscription.updated.incomplete_expired",
    "customer.subscription.updated.past_due",
    "customer.subscription.updated.pending_update",
    "customer.subscription.updated.recovered",
    "customer.subscription.updated.renewal",
    "customer.subscription.updated.trial_to_active",
    "customer.subscription.updated.unpaid",
    "customer.subscription.updated.upgrade",
    "customer.updated",
    "invoice.created",
    "invoice.finalization_failed",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.paid.trial_zero",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.payment_succeeded.renewal",
    "invoice.upcoming",
    "invoice.updated",
    "invoice.voided",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "payment_intent.succeeded.connect_partial_capture",
    "payment_method.attached",
    "payout.created",
    "payout.failed",
    "payout.paid",
    "radar.early_fraud_warning.created",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "refund.updated.failed",
    "review.closed",
    "review.opened",
}

/// The sample of this name.
pub fn sample(name: &str) -> Option<&'static str> {
    SAMPLES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, body)| *body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_of_the_corpus_is_compiled_in() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/corpus/stripe/events/2025-04-30.basil"
        );
        let mut on_disk: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        on_disk.sort();
        let mut listed: Vec<String> = SAMPLES
            .iter()
            .map(|(name, _)| format!("{name}.json"))
            .collect();
        listed.sort();
        assert_eq!(listed, on_disk);
    }
}
