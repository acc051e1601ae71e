//! What leaves towards others: checkout options, mail, the product's own webhook.
//!
//! Invariants: a transport has everything it needs or is refused; an endpoint and its secret come
//! together; nothing goes out over plain http but to this machine.
//! Not here: sending (`mail`, `outbound` of the binary).
//! Failure: problems.
//! Source: Standard Webhooks 1.0, "Signing secret" (the `whsec_` form).

use std::path::PathBuf;

use base64::Engine;
use bursar_domain::settings::Receipts;
use secrecy::SecretString;

use super::Checker;
use crate::config::{Checkout, Mail, MailTransport, Outbound};
use crate::values::{self, BaseUrl};

pub(super) fn checkout(checker: &Checker<'_>) -> Checkout {
    Checkout {
        automatic_tax: checker.switch("checkout.automatic_tax"),
        promotion_codes: checker.switch("checkout.promotion_codes"),
        address_update: checker.switch("checkout.address_update"),
        tax_id_collection: checker.switch("checkout.tax_id_collection"),
    }
}

#[derive(Clone, Copy)]
enum Transport {
    File,
    Smtp,
    Mailgun,
    Log,
}

pub(super) fn mail(checker: &mut Checker<'_>) -> Mail {
    let transport = checker.word(
        "mail.transport",
        &[
            ("file", Transport::File),
            ("smtp", Transport::Smtp),
            ("mailgun", Transport::Mailgun),
            ("log", Transport::Log),
        ],
    );
    let from = checker.optional("mail.from", values::sender);
    let smtp_url = checker.secret("mail.smtp_url", smtp_url);
    let api_key = checker.secret("mail.mailgun_api_key", |_| Ok(()));
    let domain = checker.optional("mail.mailgun_domain", |text| {
        BaseUrl::parse(&format!("https://{text}"))
            .ok()
            .filter(|url| url.path().is_empty() && url.to_string() == format!("https://{text}"))
            .map(|_| text.to_owned())
            .ok_or_else(|| format!("{text:?} is not a domain"))
    });
    let base = checker.optional("mail.mailgun_base_url", https_or_loopback);
    let needs: &[&str] = match transport {
        Transport::Smtp => &["mail.smtp_url", "mail.from"],
        Transport::Mailgun => &["mail.mailgun_api_key", "mail.mailgun_domain", "mail.from"],
        Transport::File | Transport::Log => &[],
    };
    for path in needs
        .iter()
        .filter(|path| checker.raw(path).is_none())
        .collect::<Vec<_>>()
    {
        let variable = Checker::key(path).variable;
        checker.problem(
            "mail.transport",
            format!("needs {variable}, which is not set"),
        );
    }
    Mail {
        transport: match transport {
            Transport::File => MailTransport::File,
            Transport::Log => MailTransport::Log,
            Transport::Smtp => MailTransport::Smtp(smtp_url.unwrap_or_default()),
            Transport::Mailgun => MailTransport::Mailgun {
                api_key: api_key.unwrap_or_default(),
                domain: domain.unwrap_or_default(),
                base: base.unwrap_or_else(|| {
                    BaseUrl::parse("https://api.mailgun.net")
                        .expect("a constant that is an address")
                }),
            },
        },
        from,
        admin_emails: checker.list("mail.admin_emails", values::mail_address),
        receipts: checker.word(
            "mail.receipts",
            &[
                ("all", Receipts::All),
                ("first", Receipts::First),
                ("off", Receipts::Off),
            ],
        ),
        templates_dir: templates_dir(checker),
        brand_name: checker.optional("mail.brand_name", |text| {
            if text.chars().any(char::is_control) || text.chars().count() > 100 {
                return Err("must be one line of at most 100 characters".to_owned());
            }
            Ok(text.to_owned())
        }),
        support_email: checker.optional("mail.support_email", values::mail_address),
    }
}

fn templates_dir(checker: &mut Checker<'_>) -> Option<PathBuf> {
    let folder = checker.raw("mail.templates_dir")?.folder.clone();
    checker.optional("mail.templates_dir", |text| {
        let path = folder.join(text);
        if path.is_dir() {
            Ok(path)
        } else {
            Err(format!("{} is not a folder", path.display()))
        }
    })
}

/// Checks `smtp://` or `smtps://` with optional credentials, without repeating any of it.
fn smtp_url(text: &str) -> Result<(), String> {
    let rest = text
        .strip_prefix("smtp://")
        .or_else(|| text.strip_prefix("smtps://"))
        .ok_or("starts neither with smtp:// nor with smtps://")?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    BaseUrl::parse(&format!("https://{host}"))
        .ok()
        .filter(|url| url.path().is_empty())
        .map(|_| ())
        .ok_or_else(|| "has no usable host and port behind its credentials".to_owned())
}

pub(super) fn https_or_loopback(text: &str) -> Result<BaseUrl, String> {
    let url = BaseUrl::parse(text)?;
    if url.is_https() || url.is_loopback() {
        return Ok(url);
    }
    Err("must be https outside this machine".to_owned())
}

pub(super) fn outbound(checker: &mut Checker<'_>) -> Outbound {
    let allow_private = checker.switch("outbound.allow_private");
    let url = checker.optional("outbound.url", https_or_loopback);
    if let Some(url) = &url
        && url.is_loopback()
        && !allow_private
    {
        let text = "is an address of this machine; BURSAR_OUTBOUND_ALLOW_PRIVATE=true allows it";
        checker.problem("outbound.url", text);
    }
    let secret = checker.secret("outbound.secret", |text| {
        const FORM: &str = "whsec_ and the base64 of 24 to 64 bytes";
        let key = text
            .strip_prefix("whsec_")
            .ok_or(format!("does not start with whsec_; it is {FORM}"))?;
        match base64::engine::general_purpose::STANDARD.decode(key) {
            Ok(bytes) if (24..=64).contains(&bytes.len()) => Ok(()),
            Ok(bytes) => Err(format!("holds {} bytes; it is {FORM}", bytes.len())),
            Err(_) => Err(format!("is not base64; it is {FORM}")),
        }
    });
    let (has_url, has_secret) = (
        checker.raw("outbound.url").is_some(),
        checker.raw("outbound.secret").is_some(),
    );
    if has_url && !has_secret {
        checker.problem(
            "outbound.url",
            "needs OUTBOUND_WEBHOOK_SECRET, which is not set",
        );
    }
    if has_secret && !has_url {
        checker.problem(
            "outbound.secret",
            "needs OUTBOUND_WEBHOOK_URL, which is not set",
        );
    }
    let endpoint: Option<(BaseUrl, SecretString)> = url.zip(secret);
    Outbound {
        endpoint,
        allow_private,
    }
}
