//! The words `status` filters take, and the nearest known word to what somebody wrote.
//!
//! Invariants: every status a list can hold is here, so a word that is not here would find nothing
//! and is refused. Words of Stripe's are its own, those of the present API and those its events
//! carried before.
//! Not here: statuses of deliveries and effects, which are their stores' own types.
//! Source: Stripe API reference (objects' `status`); contract §4.

/// A word further away than this is no typing mistake.
const TYPO_DISTANCE_MAX: usize = 3;

/// Of an order to Stripe.
pub const COMMAND: &[&str] = &["initiated", "succeeded", "failed", "unknown"];
/// Kinds of orders to Stripe.
pub const COMMAND_KIND: &[&str] = &[
    "customer",
    "customer_sync",
    "checkout",
    "sale",
    "portal",
    "refund",
    "capture",
    "cancel_payment",
    "change_plan",
    "set_quantity",
    "cancel_subscription",
    "resume_subscription",
    "finalize_invoice",
    "connect_account",
    "account_link",
    "login_link",
    "dispute_evidence",
];
/// Of a tenant.
pub const TENANT: &[&str] = &[
    "pending",
    "trialing",
    "active",
    "past_due",
    "suspended",
    "canceled",
];
/// Of a subscription.
pub const SUBSCRIPTION: &[&str] = &[
    "incomplete",
    "incomplete_expired",
    "trialing",
    "active",
    "past_due",
    "canceled",
    "unpaid",
    "paused",
];
/// Of an invoice.
pub const INVOICE: &[&str] = &["draft", "open", "paid", "uncollectible", "void"];
/// Of a payment: the intent's, or the charge's own where there is no intent.
pub const PAYMENT: &[&str] = &[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "processing",
    "requires_capture",
    "canceled",
    "succeeded",
    "pending",
    "failed",
];
/// Of a refund.
pub const REFUND: &[&str] = &[
    "pending",
    "requires_action",
    "succeeded",
    "failed",
    "canceled",
];
/// Of a dispute.
pub const DISPUTE: &[&str] = &[
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "appeal_needs_response",
    "appeal_under_review",
    "prevented",
    "won",
    "lost",
];
/// Of a customer.
pub const CUSTOMER: &[&str] = &["active", "deleted"];
/// Of a checkout session.
pub const SESSION: &[&str] = &["open", "complete", "expired"];

/// The known word somebody probably meant, whatever the case of its letters.
pub fn nearest<'a>(words: impl IntoIterator<Item = &'a str>, given: &str) -> Option<&'a str> {
    let given: String = given.chars().take(100).collect::<String>().to_lowercase();
    let far = |word: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &given);
    let best = words.into_iter().map(|word| (far(word), word)).min();
    best.filter(|(distance, word)| {
        *distance <= TYPO_DISTANCE_MAX && *distance < word.len().min(given.len())
    })
    .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_its_word_and_nonsense_finds_none() {
        for (given, meant) in [
            ("cancelled", Some("canceled")),
            ("suceeded", Some("succeeded")),
            ("SUCCEEDED", Some("succeeded")),
            ("requires_captrue", Some("requires_capture")),
            ("", None),
            ("zzz", None),
            ("everything", None),
        ] {
            assert_eq!(nearest(PAYMENT.iter().copied(), given), meant, "{given}");
        }
        assert_eq!(nearest(DISPUTE.iter().copied(), "win"), Some("won"));
        assert_eq!(nearest([], "open"), None);
    }
}
