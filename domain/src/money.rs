//! Money: an integer in Stripe's minor unit beside its currency, never a float, never alone.
//!
//! Invariants: adding amounts of two currencies is an error, and so is leaving `i64`.
//! Source: Stripe documentation, "Supported currencies" (zero-decimal and three-decimal lists; ISK
//! and UGX are sent as two-decimal, MGA as zero-decimal although ISO 4217 says 2).

use serde::{Deserialize, Serialize};
use std::fmt;

/// A lower-case ISO 4217 code as Stripe writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Why something is not money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three ASCII letters.
    #[error("currency must be three letters, e.g. \"usd\"")]
    Currency,
    /// Two currencies where one was needed.
    #[error("amounts in {0} and {1} cannot be added")]
    Mixed(Currency, Currency),
    /// The sum does not fit 64 bits.
    #[error("amount is out of range")]
    Range,
}

const ZERO_DECIMAL: [&str; 15] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
    "xof", "xpf",
];
const THREE_DECIMAL: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// Every currency Stripe can present or settle, four bytes each.
const KNOWN: &str = "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl \
    bsd btn bwp byn byr bzd cad cdf chf clp cny cop crc cve czk djf dkk dop dzd eek egp etb eur fjd \
    fkp gbp gel ghs gip gmd gnf gtq gyd hkd hnl hrk htg huf idr ils inr isk jmd jod jpy kes kgs khr \
    kmf krw kwd kyd kzt lak lbp lkr lrd lsl ltl lvl mad mdl mga mkd mmk mnt mop mro mru mur mvr mwk \
    mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd \
    scr sek sgd shp sle sll sos srd ssp std stn svc szl thb tjs tmt tnd top try ttd twd tzs uah ugx \
    usd uyu uzs vef ves vnd vuv wst xaf xcd xcg xof xpf yer zar zmw zwl ";

impl Currency {
    /// Reads a code of any case. # Errors: not three ASCII letters.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        match text.as_bytes() {
            [a, b, c] if [a, b, c].iter().all(|x| x.is_ascii_alphabetic()) => Ok(Self([
                a.to_ascii_lowercase(),
                b.to_ascii_lowercase(),
                c.to_ascii_lowercase(),
            ])),
            _ => Err(MoneyError::Currency),
        }
    }
    /// The code, lower case.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
    /// Whether Stripe knows it as a currency.
    pub fn is_known(&self) -> bool {
        KNOWN
            .as_bytes()
            .chunks(4)
            .any(|code| code.get(..3) == Some(&self.0[..]))
    }
    /// Decimal places of Stripe's minor unit: 0, 2 or 3.
    pub fn exponent(&self) -> u32 {
        let code = self.as_str();
        if ZERO_DECIMAL.contains(&code) {
            0
        } else if THREE_DECIMAL.contains(&code) {
            3
        } else {
            2
        }
    }
}
impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(text: String) -> Result<Self, MoneyError> {
        Self::parse(&text)
    }
}
impl From<Currency> for String {
    fn from(c: Currency) -> String {
        c.as_str().to_owned()
    }
}
impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in Stripe's minor unit of its currency (cents for `usd`, yen for `jpy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Money {
    /// Minor units.
    pub amount_minor: i64,
    /// Their currency.
    pub currency: Currency,
}

impl Money {
    /// An amount.
    pub const fn new(amount_minor: i64, currency: Currency) -> Self {
        Self {
            amount_minor,
            currency,
        }
    }
    /// The sum. # Errors: two currencies, or out of range.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed(self.currency, other.currency));
        }
        let amount_minor = self
            .amount_minor
            .checked_add(other.amount_minor)
            .ok_or(MoneyError::Range)?;
        Ok(Self {
            amount_minor,
            ..self
        })
    }
}

/// As people read it: `12.34 usd`, `500 jpy`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.currency.exponent();
        let unit = 10_u64.pow(places);
        let sign = if self.amount_minor < 0 { "-" } else { "" };
        let absolute = self.amount_minor.unsigned_abs();
        if places == 0 {
            return write!(f, "{sign}{absolute} {}", self.currency);
        }
        let (whole, part, width) = (absolute / unit, absolute % unit, places as usize);
        write!(f, "{sign}{whole}.{part:0width$} {}", self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_with_the_exponent_stripe_uses() {
        for (code, minor, text) in [
            ("usd", 1_234, "12.34 usd"),
            ("JPY", 500, "500 jpy"),
            ("kwd", 1_230, "1.230 kwd"),
            ("isk", 500, "5.00 isk"),
            ("ugx", 500, "5.00 ugx"),
            ("mga", 7, "7 mga"),
            ("eur", -5, "-0.05 eur"),
        ] {
            let money = Money::new(minor, Currency::parse(code).unwrap());
            assert_eq!(money.to_string(), text);
        }
    }

    #[test]
    fn stripes_currencies_are_known_and_others_are_not() {
        assert!(
            KNOWN.len().is_multiple_of(4) && KNOWN.as_bytes().chunks(4).all(|code| code[3] == b' ')
        );
        for code in ["usd", "EUR", "jpy", "kwd", "isk", "zwl", "aed"] {
            assert!(Currency::parse(code).unwrap().is_known(), "{code}");
        }
        for code in ["zzz", "abc", "xxx"] {
            assert!(!Currency::parse(code).unwrap().is_known(), "{code}");
        }
    }

    #[test]
    fn two_currencies_never_add() {
        let (usd, eur) = (
            Currency::parse("usd").unwrap(),
            Currency::parse("eur").unwrap(),
        );
        assert!(Money::new(1, usd).checked_add(Money::new(1, eur)).is_err());
        assert_eq!(
            Money::new(i64::MAX, usd).checked_add(Money::new(1, usd)),
            Err(MoneyError::Range)
        );
    }
}
