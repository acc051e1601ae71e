//! Where the button of a mail about money leads.
//!
//! Invariants: Stripe's pages of invoices are personal: they are read from the invoice's row when the mail is written,
//! and stand in no effect. Only web addresses pass.
//! Failure: none is known: the product's own address is used instead.

use crate::mail::catalogue::Leads;
use bursar_domain::effect::Mail;
use bursar_domain::ids::Scope;
use bursar_domain::rows::RowKind;
use bursar_store::api::Store;
use bursar_store::error::StoreError;
use serde_json::Value;

/// The link of a mail that brings none.
///
/// # Errors
/// The store's.
pub(super) async fn of(
    store: &dyn Store,
    leads: Leads,
    mail: &Mail,
) -> Result<Option<String>, StoreError> {
    if leads != Leads::Invoice {
        return Ok(None);
    }
    let param = |name: &str| mail.params.get(name).cloned();
    let invoice = match (param("invoiceId"), param("subscriptionId")) {
        (Some(invoice), _) => Some(invoice),
        (None, Some(subscription)) => {
            let row = row(store, RowKind::Subscription, subscription).await?;
            text(&row, "latestInvoiceId")
        }
        (None, None) => None,
    };
    let Some(invoice) = invoice else {
        return Ok(None);
    };
    let row = row(store, RowKind::Invoice, invoice).await?;
    let url = text(&row, "hostedInvoiceUrl");
    Ok(url.filter(|url| url.starts_with("https://") || url.starts_with("http://")))
}

async fn row(store: &dyn Store, kind: RowKind, id: String) -> Result<Value, StoreError> {
    let row = store.row(kind, Scope::PLATFORM, id).await?;
    let value = row.map(|row| serde_json::from_slice(&row.value).unwrap_or_default());
    Ok(value.unwrap_or_default())
}

fn text(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}
