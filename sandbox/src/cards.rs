//! Stripe's test cards and tokens, and how each behaves.
//!
//! Invariants: a card is known by the last four digits of its test number; unknown numbers pay.
//! Not here: charging (`api::intents`).
//! Failure: an unknown magic id is no card (404 by the caller).
//! Source of outside rules: Stripe documentation, "Testing".

use serde_json::{Value, json};

/// How a card answers a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charging {
    /// Pays.
    Pays,
    /// Declines with code, decline code and words.
    Declines(&'static str, Option<&'static str>, &'static str),
    /// Asks the bank first; the answer decides.
    Authenticates {
        /// Also when the card was set up before.
        always: bool,
    },
    /// Settles days later; true when it then pays.
    Later(bool),
}

/// What a charge on the card leads to afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// Nothing.
    None,
    /// A chargeback with this reason.
    Dispute(&'static str),
    /// An inquiry (`warning_*`).
    Inquiry,
    /// An early fraud warning.
    FraudWarning,
    /// Refunds stay pending, then succeed.
    RefundPending,
    /// Refunds succeed, then fail.
    RefundFails,
}

/// One test card.
#[derive(Debug)]
pub(crate) struct Card {
    /// Last four digits (or the name of a bank debit): the key.
    pub key: &'static str,
    /// The full test number, digits only.
    pub number: &'static str,
    /// Names after `pm_card_` and `tok_`.
    pub names: &'static [&'static str],
    /// Brand.
    pub brand: &'static str,
    /// How it charges.
    pub charging: Charging,
    /// What follows.
    pub aftermath: Aftermath,
    /// Whether it declines already when attached to a customer.
    pub attaches: bool,
}

const DECLINED: &str = "Your card was declined.";

macro_rules! card {
    ($key:literal, $number:literal, $names:expr, $brand:literal, $charging:expr, $after:expr, $attaches:literal) => {
        Card {
            key: $key,
            number: $number,
            names: $names,
            brand: $brand,
            charging: $charging,
            aftermath: $after,
            attaches: $attaches,
        }
    };
}

use Aftermath::{Dispute, FraudWarning, Inquiry, RefundFails, RefundPending};
use Charging::{Authenticates, Declines, Later, Pays};

/// All cards the sandbox knows.
pub(crate) const CARDS: &[Card] = &[
    card!(
        "4242",
        "4242424242424242",
        &["visa", "us", "visa_debit"],
        "visa",
        Pays,
        Aftermath::None,
        true
    ),
    card!(
        "4444",
        "5555555555554444",
        &["mastercard"],
        "mastercard",
        Pays,
        Aftermath::None,
        true
    ),
    card!(
        "8431",
        "371449635398431",
        &["amex"],
        "amex",
        Pays,
        Aftermath::None,
        true
    ),
    card!(
        "0077",
        "4000000000000077",
        &["bypassPending"],
        "visa",
        Pays,
        Aftermath::None,
        true
    ),
    card!(
        "0002",
        "4000000000000002",
        &["chargeDeclined", "visa_chargeDeclined"],
        "visa",
        Declines("card_declined", Some("generic_decline"), DECLINED),
        Aftermath::None,
        false
    ),
    card!(
        "9995",
        "4000000000009995",
        &[
            "chargeDeclinedInsufficientFunds",
            "visa_chargeDeclinedInsufficientFunds"
        ],
        "visa",
        Declines(
            "card_declined",
            Some("insufficient_funds"),
            "Your card has insufficient funds."
        ),
        Aftermath::None,
        false
    ),
    card!(
        "9987",
        "4000000000009987",
        &["chargeDeclinedLostCard", "visa_chargeDeclinedLostCard"],
        "visa",
        Declines("card_declined", Some("lost_card"), DECLINED),
        Aftermath::None,
        false
    ),
    card!(
        "9979",
        "4000000000009979",
        &["chargeDeclinedStolenCard", "visa_chargeDeclinedStolenCard"],
        "visa",
        Declines("card_declined", Some("stolen_card"), DECLINED),
        Aftermath::None,
        false
    ),
    card!(
        "0069",
        "4000000000000069",
        &["chargeDeclinedExpiredCard"],
        "visa",
        Declines("expired_card", None, "Your card has expired."),
        Aftermath::None,
        false
    ),
    card!(
        "0127",
        "4000000000000127",
        &["chargeDeclinedIncorrectCvc"],
        "visa",
        Declines(
            "incorrect_cvc",
            None,
            "Your card's security code is incorrect."
        ),
        Aftermath::None,
        false
    ),
    card!(
        "0119",
        "4000000000000119",
        &["chargeDeclinedProcessingError"],
        "visa",
        Declines(
            "processing_error",
            None,
            "An error occurred while processing your card. Try again in a little bit."
        ),
        Aftermath::None,
        false
    ),
    card!(
        "0341",
        "4000000000000341",
        &["chargeCustomerFail"],
        "visa",
        Declines("card_declined", Some("generic_decline"), DECLINED),
        Aftermath::None,
        true
    ),
    card!(
        "3155",
        "4000002500003155",
        &["authenticationRequiredOnSetup"],
        "visa",
        Authenticates { always: false },
        Aftermath::None,
        true
    ),
    card!(
        "0446",
        "4000003800000446",
        &["authenticationRequiredSetupForOffSession"],
        "visa",
        Pays,
        Aftermath::None,
        true
    ),
    card!(
        "3184",
        "4000002760003184",
        &[
            "authenticationRequired",
            "threeDSecureRequired",
            "threeDSecure2Required"
        ],
        "visa",
        Authenticates { always: true },
        Aftermath::None,
        true
    ),
    card!(
        "3178",
        "4000008260003178",
        &["authenticationRequiredChargeDeclinedInsufficientFunds"],
        "visa",
        Authenticates { always: true },
        Aftermath::None,
        true
    ),
    card!(
        "0259",
        "4000000000000259",
        &["createDispute"],
        "visa",
        Pays,
        Dispute("fraudulent"),
        true
    ),
    card!(
        "2685",
        "4000000000002685",
        &["createDisputeProductNotReceived"],
        "visa",
        Pays,
        Dispute("product_not_received"),
        true
    ),
    card!(
        "1976",
        "4000000000001976",
        &["createDisputeInquiry"],
        "visa",
        Pays,
        Inquiry,
        true
    ),
    card!(
        "5423",
        "4000000000005423",
        &["createIssuerFraudRecord"],
        "visa",
        Pays,
        FraudWarning,
        true
    ),
    card!(
        "7726",
        "4000000000007726",
        &["pendingRefund"],
        "visa",
        Pays,
        RefundPending,
        true
    ),
    card!(
        "5126",
        "4000000000005126",
        &["refundFail"],
        "visa",
        Pays,
        RefundFails,
        true
    ),
    card!(
        "3201",
        "AT611904300234573201",
        &["sepa"],
        "sepa_debit",
        Later(true),
        Aftermath::None,
        true
    ),
    card!(
        "3202",
        "AT861904300235473202",
        &["sepaFails"],
        "sepa_debit",
        Later(false),
        Aftermath::None,
        true
    ),
    card!(
        "3204",
        "AT321904300235473204",
        &[],
        "sepa_debit",
        Later(true),
        Aftermath::None,
        true
    ),
    card!(
        "3205",
        "AT051904300235473205",
        &[],
        "sepa_debit",
        Later(false),
        Aftermath::None,
        true
    ),
    // The official CLI expects this one to fail (`trigger checkout.session.async_payment_failed`).
    card!(
        "3456",
        "IT60X0542811101000000123456",
        &[],
        "sepa_debit",
        Later(false),
        Aftermath::None,
        true
    ),
];

/// The card a stored key names; a plain Visa otherwise.
pub(crate) fn by_key(key: &str) -> &'static Card {
    CARDS
        .iter()
        .find(|card| card.key == key)
        .unwrap_or(&CARDS[0])
}

/// The card of a test number or IBAN; unknown numbers are a plain Visa.
pub(crate) fn by_number(number: &str) -> &'static Card {
    let digits: String = number
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .collect();
    CARDS
        .iter()
        .find(|card| card.number == digits)
        .unwrap_or(&CARDS[0])
}

/// The card of `pm_card_…` or `tok_…`.
pub(crate) fn by_magic_id(id: &str) -> Option<&'static Card> {
    let name = id
        .strip_prefix("pm_card_")
        .or_else(|| id.strip_prefix("tok_"))?;
    CARDS.iter().find(|card| card.names.contains(&name))
}

impl Card {
    /// The `card` hash of a payment method.
    pub(crate) fn as_payment_method_card(&self) -> Value {
        json!({
            "brand": self.brand, "display_brand": self.brand, "country": "US", "exp_month": 12,
            "exp_year": 2034, "fingerprint": format!("sandbox{}", self.key), "funding": "credit",
            "generated_from": null, "last4": self.key, "regulated_status": "unregulated",
            "checks": {"address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass"},
            "networks": {"available": [self.brand], "preferred": null},
            "three_d_secure_usage": {"supported": true}, "wallet": null,
        })
    }

    /// Whether this is a bank debit rather than a card.
    pub(crate) fn is_debit(&self) -> bool {
        self.brand == "sepa_debit"
    }
}
