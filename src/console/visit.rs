//! One look at a page, or one form sent: what the handler may ask, and what it answers.

use super::page::{self, Frame};
use crate::http::answer::Answer;
use crate::http::auth;
use crate::http::inner::{Inner, may, within};
use crate::http::problem::{Code, Problem};
use crate::http::route::Call;
use hyper::StatusCode;
use serde_json::{Value, json};

/// Pages of a list read for one page of the console, at most.
pub(super) const PAGES_MAX: usize = 5;

/// A page's request.
pub(super) struct Visit {
    pub(super) call: Call,
}

impl Visit {
    pub(super) const fn of(call: Call) -> Self {
        Self { call }
    }
    /// Whether the visitor may call this route: decides what is shown, never what is done.
    pub(super) fn may(&self, label: &str) -> bool {
        may(&self.call.caller, label)
    }
    pub(super) fn is_operator(&self) -> bool {
        self.call.caller.is_operator()
    }
    /// A field of the page's address or form, if it was given.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.call.fields.text(name)
    }
    /// Fields that are passed on as they came.
    pub(super) fn given(&self, names: &[&'static str]) -> Vec<(&'static str, String)> {
        let given = names.iter().filter_map(|name| {
            let value = self.field(name)?;
            Some((*name, value.to_owned()))
        });
        given.collect()
    }
    async fn answer(
        &self,
        label: &str,
        path: &[(&'static str, &str)],
        fields: Vec<(&'static str, String)>,
        key: Option<String>,
    ) -> Result<Answer, Problem> {
        let path = path.iter();
        let inner = Inner {
            label,
            path: path
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            fields,
            key,
        };
        within(&self.call, inner).await
    }
    /// Reads a route's answer. # Errors: the route's.
    pub(super) async fn ask(
        &self,
        label: &str,
        path: &[(&'static str, &str)],
        fields: Vec<(&'static str, String)>,
    ) -> Result<Value, Problem> {
        json_of(&self.answer(label, path, fields, None).await?)
    }
    /// The first `PAGES_MAX` pages of a list, and whether there is more. # Errors: the route's.
    pub(super) async fn ask_all(
        &self,
        label: &str,
        fields: &[(&'static str, String)],
    ) -> Result<(Vec<Value>, bool), Problem> {
        let (mut all, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let mut fields = fields.to_vec();
            fields.push(("limit", "100".to_owned()));
            fields.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page = self.ask(label, &[], fields).await?;
            all.extend(page["data"].as_array().cloned().unwrap_or_default());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok((all, false)),
            }
        }
        Ok((all, true))
    }
    /// Orders something, once per form. # Errors: the route's; 400 for a form without its key.
    pub(super) async fn order(
        &self,
        label: &str,
        path: &[(&'static str, &str)],
        fields: Vec<(&'static str, String)>,
    ) -> Result<Answer, Problem> {
        let key = self.field("key").unwrap_or("");
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if !(8..=64).contains(&key.len()) || !key.bytes().all(plain) {
            let detail = "the form came without its key: open the page again";
            return Err(Problem::new(Code::IdempotencyKeyInvalid, detail));
        }
        let key = format!("console-{key}");
        self.answer(label, path, fields, Some(key)).await
    }
    /// A page. `holds` is what its template shows.
    /// # Errors: the page cannot be rendered (a defect).
    pub(super) async fn page(
        &self,
        template: &'static str,
        title: &str,
        holds: Value,
    ) -> Result<Answer, Problem> {
        page::render(StatusCode::OK, template, &self.frame(title).await?, holds)
    }
    /// What stands around a page.
    async fn frame(&self, title: &str) -> Result<Frame, Problem> {
        let edge = &self.call.edge;
        let session = auth::session_of(edge, &self.call.headers)?.unwrap_or("");
        let tenant = self.call.selected.as_ref().map(ToString::to_string);
        let mut who = json!({"name": "Operator", "role": "operator", "tenants": []});
        if self.call.caller.is_person() {
            let me = self.ask("me", &[], Vec::new()).await?;
            let role = self.call.caller.bound.as_ref();
            who = json!({
                "name": me["email"], "role": role.map(|bound| bound.role.as_str()).unwrap_or(""),
                "tenants": me["memberships"],
            });
        }
        Ok(Frame {
            title: title.to_owned(),
            signed: true,
            path: self.call.route.path,
            tenant,
            csrf: auth::csrf_token(edge, session).unwrap_or_default(),
            who,
            links: page::LINKS
                .iter()
                .filter(|link| self.may(link.of))
                .collect(),
            said: page::said(self.field("said").unwrap_or("")),
            livemode: edge.settings.domain.livemode,
            version: edge.settings.version,
            now: edge.now(),
        })
    }
    /// The way to a page of the console, which says what was done. The tenant goes along.
    pub(super) fn lead_to(&self, path: &str, said: &str) -> Answer {
        let tenant = self.call.selected.as_ref().map(ToString::to_string);
        let with = if path.contains('?') { '&' } else { '?' };
        let path = match said {
            "" => path.to_owned(),
            said => format!("{path}{with}said={said}"),
        };
        page::see_other(&page::linked(&path, tenant.as_deref()))
    }
}

/// The body of an answer; `null` if it has none. # Errors: it is no JSON (a defect).
pub(super) fn json_of(answer: &Answer) -> Result<Value, Problem> {
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    let read: Result<Value, _> = serde_json::from_slice(&answer.body);
    let value = read.map_err(|error| {
        tracing::error!(%error, "an answer cannot be read by the console");
        Problem::new(Code::Internal, "the answer cannot be shown")
    })?;
    // A refusal that was replayed under its key comes as an answer.
    if answer.status.as_u16() >= 400 && value["code"].is_string() {
        return Err(problem_of(&value));
    }
    Ok(value)
}

fn problem_of(value: &Value) -> Problem {
    let code = Code::ALL.iter().find(|code| value["code"] == code.as_str());
    let detail = value["detail"].as_str().unwrap_or("");
    Problem::new(code.copied().unwrap_or(Code::Internal), detail)
}
