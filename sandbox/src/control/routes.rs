//! The routes under `/control`, as they are told to people and programs.
//!
//! Invariants: `{verb} {path} {fields}`; a field with a question mark may be left out.
//! Not here: what they do (`control`).
//! Failure: none; the table is constant.
//! Source of outside rules: none.

/// Method, path and fields of each route; what it does.
pub(crate) const ROUTES: &[(&str, &str)] = &[
    ("GET clock", "the sandbox's time"),
    (
        "POST clock/advance seconds",
        "moves it forward; all that falls due happens at its own time",
    ),
    ("GET faults", "the faults still waiting"),
    (
        "POST faults kind matching? count? per_thousand? seconds?",
        "lets coming requests or deliveries go wrong",
    ),
    ("DELETE faults", "takes all waiting faults back"),
    (
        "GET deliveries",
        "attempts to deliver webhooks, oldest first",
    ),
    ("GET requests", "requests to the API, oldest first"),
    ("GET mail", "mail that was caught, oldest first"),
    (
        "POST mail/fault kind count? seconds?",
        "what goes wrong with mail: down, later (451), refused (550), slow, or none",
    ),
    ("GET events", "all events of all accounts, oldest first"),
    (
        "GET objects id",
        "one object, in whichever account it lives",
    ),
    (
        "GET side-effects command_id",
        "how many objects were made for a metadata[command_id]",
    ),
    ("POST resend event", "sends an event again"),
    (
        "POST dispute charge reason? inquiry?",
        "opens a dispute on a charge",
    ),
    ("POST dispute/decide dispute won", "lets the bank decide it"),
    (
        "POST card customer card",
        "gives a customer another card, by test number or last four digits",
    ),
    (
        "POST pay session card email?",
        "pays an open checkout session as its page does",
    ),
    (
        "POST authenticate payment_intent agreed",
        "answers for the buyer's bank",
    ),
    (
        "POST onboard account",
        "completes a connected account's onboarding",
    ),
    (
        "POST deauthorize account",
        "takes a connected account off the platform",
    ),
    (
        "POST webhook url secrets",
        "where events go, and the secrets they are signed with",
    ),
    (
        "POST older-shapes on",
        "renders events in the shape of 2024-06-20",
    ),
    (
        "POST dunning outcome",
        "what follows the last failed retry: cancel, unpaid or past_due",
    ),
    (
        "POST forget-idempotency-keys",
        "forgets all idempotency keys",
    ),
];
