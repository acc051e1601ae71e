//! Every mail there is: its name, what it needs, what its button leads to, and values to try it with.
//!
//! Invariants: a template takes exactly these parameters; those in `may` are empty when they are not given.
//! Not here: the texts (`templates/`), when a mail is due (the reducers, `identity`).
//! Failure: none; the table is constant.

/// Where the button of a mail leads when its effect names no `link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// Nowhere: there is no button, or the effect brings the link.
    Nowhere,
    /// To Stripe's page of the invoice the mail is about, or of the one a subscription still owes.
    Invoice,
    /// To the product.
    Product,
}

/// One mail.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Its name, and that of its files.
    pub name: &'static str,
    /// Parameters it cannot do without, with a sample.
    pub must: &'static [(&'static str, &'static str)],
    /// Parameters it can do without, with a sample.
    pub may: &'static [(&'static str, &'static str)],
    /// Where its button leads.
    pub leads: Leads,
}

const LINK: (&str, &str) = ("link", "https://billing.example.com/do?token=abc&x=1");
const AMOUNT: (&str, &str) = ("amount", "29.00 eur");
const NUMBER: (&str, &str) = ("number", "ACME-0007");
const PLAN: (&str, &str) = ("planName", "Pro");
const TENANT: (&str, &str) = ("tenantName", "Acme Inc");
const END: (&str, &str) = ("periodEnd", "2026-12-01T10:00:00Z");
const ORDER: (&str, &str) = ("order", "the change of your plan");

const fn spec(name: &'static str, leads: Leads) -> Spec {
    Spec {
        name,
        must: &[],
        may: &[TENANT],
        leads,
    }
}

/// The table. The operators' summary (`alerts`) is not in it: what it is given is a list.
pub const MAILS: &[Spec] = &[
    Spec {
        must: &[LINK, ("code", "042317"), ("minutes", "10")],
        ..spec("verification", Leads::Nowhere)
    },
    Spec {
        must: &[LINK, TENANT, ("role", "member"), ("inviter", "Ada")],
        may: &[],
        ..spec("invitation", Leads::Nowhere)
    },
    Spec {
        must: &[LINK, ("minutes", "30")],
        ..spec("password_reset", Leads::Nowhere)
    },
    spec("password_changed", Leads::Nowhere),
    spec("signup_known", Leads::Nowhere),
    Spec {
        must: &[AMOUNT],
        may: &[NUMBER, TENANT],
        ..spec("receipt", Leads::Invoice)
    },
    Spec {
        must: &[AMOUNT],
        may: &[NUMBER, TENANT, ("nextAttempt", "2026-11-20T10:00:00Z")],
        ..spec("payment_failed", Leads::Invoice)
    },
    Spec {
        must: &[AMOUNT],
        may: &[NUMBER, TENANT],
        ..spec("action_required", Leads::Invoice)
    },
    spec("invoice_finalization_failed", Leads::Product),
    Spec {
        must: &[("until", "2026-11-27T10:00:00Z")],
        may: &[PLAN, TENANT],
        ..spec("grace_ending", Leads::Invoice)
    },
    Spec {
        may: &[PLAN, TENANT],
        ..spec("access_revoked", Leads::Invoice)
    },
    Spec {
        may: &[PLAN, TENANT],
        ..spec("access_restored", Leads::Product)
    },
    Spec {
        must: &[("trialEnd", "2026-11-27T10:00:00Z")],
        may: &[PLAN, TENANT],
        ..spec("trial_ending", Leads::Product)
    },
    Spec {
        may: &[PLAN, TENANT, ("oldPlanName", "Hobby"), ("quantity", "3")],
        ..spec("plan_changed", Leads::Product)
    },
    Spec {
        must: &[END],
        may: &[PLAN, TENANT],
        ..spec("cancellation_scheduled", Leads::Product)
    },
    Spec {
        may: &[PLAN, TENANT, END],
        ..spec("cancellation_undone", Leads::Product)
    },
    Spec {
        may: &[PLAN, TENANT],
        ..spec("subscription_canceled", Leads::Product)
    },
    Spec {
        must: &[AMOUNT],
        ..spec("refund", Leads::Nowhere)
    },
    Spec {
        must: &[ORDER],
        ..spec("order_delayed", Leads::Nowhere)
    },
    Spec {
        must: &[ORDER],
        ..spec("order_done", Leads::Nowhere)
    },
    Spec {
        must: &[ORDER],
        ..spec("order_failed", Leads::Nowhere)
    },
    Spec {
        must: &[
            ("url", "app.example.com"),
            ("reason", "it failed for five days"),
        ],
        ..spec("endpoint_disabled", Leads::Nowhere)
    },
];

/// The mail of this name.
pub fn find(name: &str) -> Option<&'static Spec> {
    MAILS.iter().find(|spec| spec.name == name)
}

/// Alerts with words of their own, in `templates/alert_CODE`.
const OWN_WORDS: &[(&str, &str)] = &[
    ("dispute", "alert_dispute"),
    ("dead_letter", "alert_dead_letter"),
    ("mail_dead", "alert_mail_dead"),
    ("circuit_open", "alert_circuit_open"),
    ("reconcile_drift", "alert_reconcile_drift"),
    ("webhooks_silent", "alert_webhooks_silent"),
    ("endpoint_disabled", "alert_endpoint_disabled"),
];

/// Title, advice and part of the summary of an alert.
pub fn alert_words(code: &str) -> (&str, &'static str, &'static str) {
    let own = OWN_WORDS.iter().find(|(known, _)| *known == code);
    let part = own.map_or("alert_other", |(_, part)| *part);
    let known = ALERTS.iter().find(|(known, ..)| *known == code);
    known.map_or((code, "", part), |(_, title, advice)| {
        (*title, *advice, part)
    })
}

/// What an alert of this code is called, and what to look at first where it has no words of its own. Others are called
/// by their code.
pub const ALERTS: &[(&str, &str, &str)] = &[
    ("dispute", "Dispute", ""),
    ("dead_letter", "Dead letters", ""),
    ("mail_dead", "Mail given up", ""),
    ("circuit_open", "Circuit open", ""),
    ("reconcile_drift", "Drift from Stripe", ""),
    ("webhooks_silent", "Webhooks are silent", ""),
    ("endpoint_disabled", "Notifications switched off", ""),
    (
        "webhook_endpoint",
        "Webhook endpoint",
        "bursar doctor says what Stripe has and what it should have.",
    ),
    (
        "command_unknown",
        "Order with unknown outcome",
        "Look at Stripe whether it happened: bursar explain {id}.",
    ),
    (
        "refund_failed",
        "Refund failed",
        "The money is back at Stripe; refund another way.",
    ),
    (
        "needs_review",
        "Payment needs a look",
        "Its events contradict each other: bursar explain {id}.",
    ),
    (
        "unclaimed",
        "Paid and unclaimed",
        "Say whose it is: POST /api/v1/unclaimed/{id}/claim.",
    ),
    (
        "link_conflict",
        "Conflicting references",
        "Two references name two tenants: bursar explain {id}.",
    ),
    (
        "price_unknown",
        "Price not in the catalogue",
        "Add it to the plans file, or change the subscription at Stripe.",
    ),
    (
        "early_fraud_warning",
        "Early fraud warning",
        "Consider a refund before it becomes a dispute.",
    ),
    (
        "review_opened",
        "Review opened",
        "Decide it in Stripe's dashboard.",
    ),
];
