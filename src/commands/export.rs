//! `bursar export`: ledger, payments, subscriptions and the audit trail for accounting, as CSV or JSON lines.
//!
//! Invariants: amounts are whole minor units beside their currency, never divided; every row of the list in the time
//! asked for is printed once; a text a customer chose is no formula to a spreadsheet.
//! Failure: what was printed before stays; the exit code says that it is not all.

use super::reach::{Reached, block_on, reach};
use crate::cli::{CliError, ConfigArgs, Exit, GlobalArgs};
use crate::http::fields::parse_time;
use bursar_domain::ids::Timestamp;
use serde_json::Value;
use std::io::Write;

/// Arguments of `bursar export`.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Example: bursar export --what ledger --since 2026-01-01T00:00:00Z > ledger.csv"
)]
pub struct ExportArgs {
    /// What is exported.
    #[arg(long, value_enum)]
    pub what: What,
    /// In which form.
    #[arg(long, value_enum, default_value = "csv")]
    pub format: Format,
    /// From then on (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before then (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only this tenant's.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Which store.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Movements of money, oldest first; the entries of one source sum to zero per currency.
    Ledger,
    /// Payments, newest first.
    Payments,
    /// Subscriptions, newest first.
    Subscriptions,
    /// Who changed what, newest first.
    Audit,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma separated, RFC 4180, a line of names first.
    Csv,
    /// One JSON object a line, as the API answers it.
    Jsonl,
}

impl What {
    const fn list(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Payments => "payments",
            Self::Subscriptions => "subscriptions",
            Self::Audit => "audit",
        }
    }
    /// The field that `--since` and `--until` compare.
    const fn time(self) -> &'static str {
        match self {
            Self::Ledger | Self::Audit => "at",
            Self::Payments | Self::Subscriptions => "createdAt",
        }
    }
    /// Columns, in order; they never move, so that a spreadsheet built on them keeps working.
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Ledger => &[
                "at",
                "account",
                "amount",
                "currency",
                "source",
                "tenantId",
                "paymentId",
            ],
            Self::Payments => &[
                "id",
                "createdAt",
                "tenantId",
                "status",
                "amount",
                "amountCaptured",
                "amountRefunded",
                "currency",
                "disputed",
                "invoiceId",
                "subscriptionId",
                "stripeCustomerId",
                "stripeChargeId",
                "merchantAccountId",
                "failureCode",
                "declineCode",
            ],
            Self::Subscriptions => &[
                "id",
                "createdAt",
                "tenantId",
                "status",
                "planId",
                "priceId",
                "quantity",
                "currentPeriodEnd",
                "cancelAtPeriodEnd",
                "trialEnd",
                "stripeCustomerId",
            ],
            Self::Audit => &[
                "at",
                "actor",
                "action",
                "objectId",
                "tenantId",
                "requestId",
                "detail",
            ],
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A time that cannot be read, a store that cannot be reached, an output that cannot be written.
pub fn run(args: &ExportArgs, global: &GlobalArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let between = (time(args.since.as_deref())?, time(args.until.as_deref())?);
    block_on(async {
        let mut bursar = reach(&args.config, global).await?;
        let ended = lines(args, between, &mut bursar, out).await;
        bursar.close(ended).await.map(|()| Exit::Success)
    })
}

fn time(text: Option<&str>) -> Result<Option<Timestamp>, CliError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let read = parse_time(text);
    let wrong = || {
        CliError::new(
            Exit::Usage,
            format!("{text:?} is no time such as 2026-01-31T00:00:00Z"),
        )
    };
    read.map(Some).ok_or_else(wrong)
}

async fn lines(
    args: &ExportArgs,
    (since, until): (Option<Timestamp>, Option<Timestamp>),
    bursar: &mut Reached,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if args.format == Format::Csv {
        csv.write_record(args.what.columns()).map_err(unwritable)?;
    }
    let tenant = args
        .tenant
        .as_ref()
        .map(|tenant| format!("&tenantId={tenant}"));
    let tenant = tenant.unwrap_or_default();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/{}?limit=100{tenant}{cursor}", args.what.list());
        let page = bursar.get(&path).await?;
        for row in page["data"].as_array().into_iter().flatten() {
            let at = row[args.what.time()].as_str().and_then(parse_time);
            // What has no time is in no span, and in the whole.
            let is_in = since.is_none_or(|since| at.is_some_and(|at| at >= since))
                && until.is_none_or(|until| at.is_some_and(|at| at < until));
            match (is_in, args.format) {
                (false, _) => {}
                (true, Format::Jsonl) => writeln!(out, "{row}")?,
                (true, Format::Csv) => {
                    let cells = args.what.columns().iter().map(|name| cell(&row[*name]));
                    csv.write_record(cells).map_err(unwritable)?;
                }
            }
        }
        csv.flush()?;
        out.write_all(csv.get_ref())?;
        csv = csv::Writer::from_writer(Vec::new());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(out.flush()?),
        }
    }
}

fn unwritable(error: csv::Error) -> CliError {
    CliError::new(Exit::Io, error.to_string())
}

/// A value in a spreadsheet. Source: OWASP, "CSV Injection".
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => {
            format!("'{text}")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_stay_numbers_and_texts_are_no_formulas() {
        assert_eq!(cell(&json!(-900)), "-900");
        assert_eq!(cell(&json!("=HYPERLINK(\"x\")")), "'=HYPERLINK(\"x\")");
        assert_eq!(cell(&Value::Null), "");
        assert_eq!(cell(&json!(true)), "true");
    }
}
