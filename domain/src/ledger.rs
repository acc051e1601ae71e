//! The books: double entry, gross, one rule per kind of movement.
//!
//! Signs: a debit is positive, a credit negative; the entries of one movement sum to zero per
//! currency. Books are a *function of state*: a reducer says which postings hold now, and what is
//! written is the difference to what held before (`project`). So a refund that fails later takes its
//! own posting back, a settled guess is replaced by the proof, and any order of events ends in the
//! same books. Nothing is ever rewritten: a correction is a further movement of the same source.
//!
//! Chart of accounts:
//!
//! | account | kind | holds |
//! |---|---|---|
//! | `stripe_balance` | asset | money at Stripe: the platform's own and, while Stripe holds it for them, its merchants' |
//! | `receivable` | asset | nothing: the books are kept on a cash basis (below) |
//! | `revenue` | income | what the platform sold, gross |
//! | `refunds` | contra income | what the platform gave back |
//! | `disputes` | contra income | what cardholders took back and have not returned |
//! | `credits_liability` | liability | paid credits that were neither refunded nor lost in a dispute |
//! | `merchant` | liability | what direct charges on connected accounts brought in for the merchants |
//!
//! Rules (source of the movement: debit / credit):
//!
//! | what happened | source | platform's own | direct charge on a connected account |
//! |---|---|---|---|
//! | money captured | charge | `stripe_balance` / `revenue` | `stripe_balance` / `merchant` |
//! | refunded, unless failed or canceled | refund | `refunds` / `stripe_balance` | `merchant` / `stripe_balance` |
//! | dispute withdrew | balance transaction | `disputes` / `stripe_balance` | `merchant` / `stripe_balance` |
//! | dispute returned | balance transaction | `stripe_balance` / `disputes` | `stripe_balance` / `merchant` |
//! | Stripe's fee (negative: given back) | balance transaction | `revenue` / `stripe_balance` | `merchant` / `stripe_balance` |
//! | the platform's application fee | balance transaction | none | `merchant` / `revenue` |
//! | refunds a charge proves and nobody told of | charge, `:refunds` | as refunded | as refunded |
//! | credits were bought: captured less refunded, nothing once a dispute is lost | session | `revenue` / `credits_liability` | none |
//!
//! So `stripe_balance` + `merchant` is the platform's own money, and `revenue`, `refunds`, `disputes`
//! never mix its sales with its merchants'. An authorization moves nothing until it is captured, and
//! moves nothing when it is released. Debits of credits move no money: the liability stands for what
//! was paid and could still be claimed back, not for what was used.
//!
//! Cash basis: a sale is booked when its money is captured, not when it is asked for. What is owed is
//! read from open invoices. Posting it as `receivable` against `revenue` as well would count a sale
//! twice whenever its charge is heard of before its invoice is, since nothing but a later answer of
//! Stripe links the two (since basil).
//!
//! Fees: sales, refunds and disputes are booked gross. A fee is a movement of its own, posted once its
//! balance transaction was read (a dispute shows its own), in the balance's currency, which may differ
//! from the sale's. There is no account for fees: the platform's reduce what its sales brought in
//! (`revenue`), a merchant's what is owed to it (`merchant`), and their source, the balance transaction,
//! tells them from sales. An application fee stays at Stripe: it only changes hands.
//!
//! Not here: transfers of destination charges (their charge is the platform's own), payouts (they leave
//! Stripe's books, not ours).
//! Source: contract §4 (ledger entry); reliability notes b.4, "Money comes from movements".

use crate::decision::{LedgerAccount, LedgerEntry};
use crate::ids::Scope;
use crate::money::Currency;

/// Whose sale it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seller {
    /// The platform's own account.
    Platform,
    /// A connected account (a direct charge).
    Merchant,
}

impl Seller {
    /// Who sells what is charged on this account.
    pub const fn of(scope: &Scope) -> Self {
        match scope.0 {
            None => Self::Platform,
            Some(_) => Self::Merchant,
        }
    }
}

/// Moves `amount_minor` to `debit` from `credit` (the other way round if negative).
fn pair(
    debit: LedgerAccount,
    credit: LedgerAccount,
    amount_minor: i64,
    currency: Currency,
) -> Vec<LedgerEntry> {
    let entry = |account, amount_minor| LedgerEntry {
        account,
        amount_minor,
        currency,
    };
    if amount_minor == 0 {
        return Vec::new();
    }
    vec![entry(debit, amount_minor), entry(credit, -amount_minor)]
}

/// Money was captured.
pub fn captured(seller: Seller, amount_minor: i64, currency: Currency) -> Vec<LedgerEntry> {
    let earned = match seller {
        Seller::Platform => LedgerAccount::Revenue,
        Seller::Merchant => LedgerAccount::Merchant,
    };
    pair(LedgerAccount::StripeBalance, earned, amount_minor, currency)
}

/// Money was given back.
pub fn refunded(seller: Seller, amount_minor: i64, currency: Currency) -> Vec<LedgerEntry> {
    let given = match seller {
        Seller::Platform => LedgerAccount::Refunds,
        Seller::Merchant => LedgerAccount::Merchant,
    };
    pair(given, LedgerAccount::StripeBalance, amount_minor, currency)
}

/// A dispute moved the balance by `signed_minor` (negative: it was withdrawn).
pub fn disputed(seller: Seller, signed_minor: i64, currency: Currency) -> Vec<LedgerEntry> {
    let taken = match seller {
        Seller::Platform => LedgerAccount::Disputes,
        Seller::Merchant => LedgerAccount::Merchant,
    };
    pair(LedgerAccount::StripeBalance, taken, signed_minor, currency)
}

/// Stripe took a fee, of which `application_minor` beyond its own is the platform's.
pub fn fee(
    seller: Seller,
    stripe_minor: i64,
    application_minor: i64,
    currency: Currency,
) -> Vec<LedgerEntry> {
    let at_stripe = LedgerAccount::StripeBalance;
    match seller {
        Seller::Platform => {
            let all = stripe_minor.saturating_add(application_minor);
            pair(LedgerAccount::Revenue, at_stripe, all, currency)
        }
        Seller::Merchant => {
            let merchant = LedgerAccount::Merchant;
            let mut entries = pair(merchant, at_stripe, stripe_minor, currency);
            let earned = LedgerAccount::Revenue;
            entries.extend(pair(merchant, earned, application_minor, currency));
            entries
        }
    }
}

/// Credits were paid for and are still owed.
pub fn credits_owed(amount_minor: i64, currency: Currency) -> Vec<LedgerEntry> {
    let owed = LedgerAccount::CreditsLiability;
    pair(LedgerAccount::Revenue, owed, amount_minor, currency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_sums_to_zero_and_nothing_posts_nothing() {
        let usd = Currency::parse("usd").unwrap();
        for amount in [-700, 0, 1, 2_000] {
            for seller in [Seller::Platform, Seller::Merchant] {
                for entries in [
                    captured(seller, amount, usd),
                    refunded(seller, amount, usd),
                    disputed(seller, amount, usd),
                    credits_owed(amount, usd),
                    fee(seller, amount, 0, usd),
                ] {
                    assert_eq!(entries.iter().map(|e| e.amount_minor).sum::<i64>(), 0);
                    assert_eq!(entries.len(), if amount == 0 { 0 } else { 2 });
                }
            }
        }
    }

    #[test]
    fn a_sale_refunded_in_full_leaves_no_money_and_a_lost_dispute_leaves_a_loss() {
        let usd = Currency::parse("usd").unwrap();
        let sum = |parts: &[Vec<LedgerEntry>], account| -> i64 {
            let all = parts.iter().flatten();
            all.filter(|e| e.account == account)
                .map(|e| e.amount_minor)
                .sum()
        };
        let sale = captured(Seller::Platform, 2_000, usd);
        let back = refunded(Seller::Platform, 2_000, usd);
        let lost = disputed(Seller::Platform, -2_000, usd);
        let refunded = [sale.clone(), back];
        assert_eq!(sum(&refunded, LedgerAccount::StripeBalance), 0);
        assert_eq!(sum(&refunded, LedgerAccount::Refunds), 2_000);
        let disputed = [sale, lost];
        assert_eq!(sum(&disputed, LedgerAccount::StripeBalance), 0);
        assert_eq!(sum(&disputed, LedgerAccount::Disputes), 2_000);
        assert_eq!(sum(&disputed, LedgerAccount::Revenue), -2_000);
    }
}
