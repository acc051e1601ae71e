//! Fields of a request: from the query and a JSON object, merged, checked against the route's row.
//!
//! Invariants: what a handler reads is declared and well-formed; all problems are told at once; an
//! unknown field names its nearest neighbour; a field given twice with different values, or twice
//! in one JSON object, is refused; JSON is at most 64 levels deep.
//! Source: contract §3, "Billing".

use crate::http::card_numbers;
use crate::http::line_items;
use crate::http::problem::{Code, FieldCode, FieldError, Problem};
use crate::http::route::{Kind, Param, Route, Verb};
use crate::http::texts::{EMAIL_BYTES_MAX, is_email, is_zone, nearest_zone};
use crate::http::words::nearest;
use bursar_domain::ids::{ObjectId, TenantId, Timestamp};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const DEPTH_MAX: usize = 64;
const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_CHARS_MAX: usize = 40;
const METADATA_VALUE_CHARS_MAX: usize = 500;

/// Checked fields, in canonical form (times as text, numbers as numbers).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<&'static str, Value>);

impl Fields {
    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }
    /// A number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }
    /// A switch.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }
    /// A time.
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        parse_time(self.text(name)?)
    }
    /// A tenant.
    pub fn tenant(&self, name: &str) -> Option<TenantId> {
        TenantId::parse(self.text(name)?).ok()
    }
    /// A list of texts.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let list = self.0.get(name).and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }
    /// The value as it was given; `null` too.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
    /// Canonical text of all fields, but those named.
    pub fn canonical_without(&self, left_out: &[&str]) -> String {
        let kept = self.0.iter().filter(|(name, _)| !left_out.contains(name));
        serde_json::to_string(&kept.collect::<BTreeMap<_, _>>()).unwrap_or_default()
    }
}

/// Reads the fields of a request. # Errors: 400 with every problem, 415, 422 for a card's number.
pub fn read(
    route: &Route,
    query: Option<&str>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Fields, Problem> {
    let mut reading = Reading {
        route,
        fields: Fields::default(),
        errors: Vec::new(),
        holds_card: false,
    };
    for (name, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
        reading.take(&name, Given::Text(&value));
    }
    if route.takes_body() && !body.iter().all(u8::is_ascii_whitespace) {
        if route.takes_form && is_form(content_type) {
            for (name, value) in form_urlencoded::parse(body) {
                reading.take(&name, Given::Text(&value));
            }
        } else {
            for (name, value) in flattened(route, json_object(content_type, body)?) {
                reading.take(&name, Given::Json(value));
            }
        }
    }
    if reading.holds_card {
        let detail = "a field holds the number of a payment card; cards belong on Stripe's pages only. Nothing was kept";
        return Err(Problem::new(Code::CardNumberRefused, detail));
    }
    for param in route.params.iter().filter(|param| param.required) {
        let is_there = reading.fields.0.contains_key(param.name);
        if !is_there && !reading.errors.iter().any(|e| e.field == param.name) {
            let detail = format!("`{}` is required: {}", param.name, param.help);
            reading.error(param.name, FieldCode::Required, detail);
        }
    }
    if reading.errors.is_empty() {
        return Ok(reading.fields);
    }
    Err(Problem::fields(reading.errors))
}

/// Whether a body is what a browser's form sends.
pub fn is_form(content_type: Option<&str>) -> bool {
    let media = content_type.map(|t| t.split(';').next().unwrap_or("").trim());
    media.is_some_and(|m| m.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

enum Given<'a> {
    Text(&'a str),
    Json(Value),
}

struct Reading<'a> {
    route: &'a Route,
    fields: Fields,
    errors: Vec<FieldError>,
    holds_card: bool,
}

impl Reading<'_> {
    fn error(&mut self, field: &str, code: FieldCode, detail: String) {
        // A request of nothing but mistakes needs no answer of its own length.
        if self.errors.len() < 32 {
            self.errors.push(FieldError {
                field: shortened(field),
                code,
                detail,
            });
        }
    }
    fn clears(&self, kind: Kind, text: &str) -> bool {
        let is_text = matches!(kind, Kind::Text(_) | Kind::Email | Kind::Zone);
        self.route.verb == Verb::Patch && is_text && text.is_empty()
    }
    fn take(&mut self, name: &str, given: Given<'_>) {
        let is_secret = self
            .route
            .params
            .iter()
            .any(|param| param.name == name && param.kind == Kind::Secret);
        let holds_card = match &given {
            _ if is_secret => false,
            Given::Text(text) => card_numbers::is_in_text(text),
            Given::Json(value) => card_numbers::is_in(value),
        };
        if holds_card || card_numbers::is_in_text(name) {
            self.holds_card = true;
            return;
        }
        let Some(param) = self.route.params.iter().find(|p| p.name == name) else {
            let detail = unknown(self.route.params, name);
            return self.error(name, FieldCode::Unknown, detail);
        };
        let value = match given {
            // `null` clears a field where fields are changed, and is nothing elsewhere.
            Given::Json(Value::Null) if self.route.verb == Verb::Patch => Ok(Value::Null),
            // An amount that is not there is not "all of it": whoever means that leaves the field out.
            Given::Json(Value::Null) if matches!(param.kind, Kind::Integer(..)) => {
                Err((FieldCode::WrongType, rule(param.kind) + ", or left out"))
            }
            Given::Json(Value::Null) => return,
            // So does an empty text, which is the query's only word for it.
            Given::Json(Value::String(text)) if self.clears(param.kind, &text) => Ok(text.into()),
            Given::Text("") if self.clears(param.kind, "") => Ok("".into()),
            // A browser sends every field of a form: one that was left empty was not given.
            Given::Text("") if self.route.is_page() => return,
            Given::Json(value) => from_json(param.kind, value),
            Given::Text(text) => from_text(param.kind, text),
        };
        match value {
            Err((code, rule)) => {
                let detail = format!("`{name}` must be {rule}");
                self.error(name, code, detail);
            }
            Ok(value) => {
                let before = self.fields.0.insert(param.name, value);
                if before.is_some_and(|before| Some(&before) != self.fields.0.get(param.name)) {
                    let detail = format!("`{name}` was given twice with different values");
                    self.error(name, FieldCode::Conflicting, detail);
                }
            }
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

fn unknown(params: &[Param], name: &str) -> String {
    let short = shortened(name);
    match nearest(params.iter().map(|param| param.name), name) {
        Some(meant) => format!("`{short}` is unknown; did you mean `{meant}`?"),
        None => {
            let names: Vec<&str> = params.iter().map(|p| p.name).collect();
            let known = if names.is_empty() {
                "this takes no fields".to_owned()
            } else {
                format!("known are {}", names.join(", "))
            };
            format!("`{short}` is unknown; {known}")
        }
    }
}

type Checked = Result<Value, (FieldCode, String)>;

fn from_text(kind: Kind, text: &str) -> Checked {
    match kind {
        Kind::Integer(..) => match text.parse::<i64>() {
            Ok(number) if text == number.to_string() => from_json(kind, number.into()),
            _ => Err((FieldCode::WrongType, rule(kind))),
        },
        Kind::Boolean => match text {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err((FieldCode::WrongType, rule(kind))),
        },
        Kind::Choices(..) | Kind::Texts(_) => {
            let items = text.split(',').filter(|item| !item.is_empty());
            from_json(kind, items.map(Value::from).collect())
        }
        Kind::Metadata | Kind::LineItems => Err((FieldCode::WrongType, rule(kind))),
        _ => from_json(kind, text.into()),
    }
}

fn from_json(kind: Kind, value: Value) -> Checked {
    let wrong = |code| Err((code, rule(kind)));
    match kind {
        Kind::Boolean if value.is_boolean() => Ok(value),
        Kind::Integer(least, most) => match value.as_i64() {
            Some(number) if (least..=most).contains(&number) => Ok(value),
            Some(_) => wrong(FieldCode::OutOfRange),
            None if value.is_number() && value.as_f64().is_some_and(|f| f.abs() > 9e15) => {
                wrong(FieldCode::OutOfRange)
            }
            None => wrong(FieldCode::WrongType),
        },
        Kind::Choices(..) | Kind::Texts(_) => list(kind, value),
        Kind::Metadata => metadata(kind, value),
        Kind::LineItems if line_items::fits(&value) => Ok(value),
        Kind::LineItems => wrong(FieldCode::Malformed),
        _ => {
            let Some(text) = value.as_str() else {
                return wrong(FieldCode::WrongType);
            };
            match fits_text(kind, text) {
                None => Ok(value),
                Some(code) => Err((code, rule_for(kind, text))),
            }
        }
    }
}

/// Control characters that lay out a text of several lines.
const fn is_layout(character: char) -> bool {
    matches!(character, '\n' | '\r' | '\t')
}

/// What is wrong with a text of this kind, if anything.
fn fits_text(kind: Kind, text: &str) -> Option<FieldCode> {
    let malformed = |ok: bool| (!ok).then_some(FieldCode::Malformed);
    match kind {
        Kind::Text(bytes_max) if text.len() > bytes_max => Some(FieldCode::OutOfRange),
        Kind::Text(_) => malformed(!text.chars().any(char::is_control)),
        Kind::Secret => None,
        Kind::Lines(bytes_max) if text.len() > bytes_max => Some(FieldCode::OutOfRange),
        Kind::Lines(_) => malformed(!text.chars().any(|c| c.is_control() && !is_layout(c))),
        Kind::Email if text.len() > EMAIL_BYTES_MAX => Some(FieldCode::OutOfRange),
        Kind::Email => malformed(is_email(text)),
        Kind::Zone => malformed(is_zone(text)),
        Kind::Time => malformed(parse_time(text).is_some()),
        Kind::Tenant => malformed(TenantId::parse(text).is_ok()),
        Kind::Id => malformed(ObjectId::parse(text).is_ok()),
        Kind::Choice(words) => (!words.contains(&text)).then_some(FieldCode::OutOfRange),
        _ => Some(FieldCode::WrongType),
    }
}

fn list(kind: Kind, value: Value) -> Checked {
    let (each, most) = match kind {
        Kind::Choices(words, most) => (Kind::Choice(words), most),
        Kind::Texts(most) => (Kind::Text(255), most),
        _ => return Err((FieldCode::WrongType, rule(kind))),
    };
    let Some(items) = value.as_array() else {
        return Err((FieldCode::WrongType, rule(kind)));
    };
    if items.len() > most {
        return Err((FieldCode::OutOfRange, rule(kind)));
    }
    for item in items {
        if let Err((code, _)) = from_json(each, item.clone()) {
            let hint = meant(each, item.as_str().unwrap_or(""));
            return Err((code, rule(kind) + &hint));
        }
    }
    Ok(value)
}

fn metadata(kind: Kind, value: Value) -> Checked {
    let Some(entries) = value.as_object() else {
        return Err((FieldCode::WrongType, rule(kind)));
    };
    if entries.values().any(|v| !v.is_string() && !v.is_null()) {
        return Err((FieldCode::WrongType, rule(kind)));
    }
    let fits = |key: &str, value: &Value| {
        !key.is_empty()
            && key.chars().count() <= METADATA_KEY_CHARS_MAX
            && value
                .as_str()
                .is_none_or(|text| text.chars().count() <= METADATA_VALUE_CHARS_MAX)
    };
    if entries.len() > METADATA_KEYS_MAX || !entries.iter().all(|(k, v)| fits(k, v)) {
        return Err((FieldCode::OutOfRange, rule(kind)));
    }
    Ok(value)
}

/// What a text of this kind must be, and which word was probably meant instead of this one.
fn rule_for(kind: Kind, given: &str) -> String {
    rule(kind) + &meant(kind, given)
}

fn meant(kind: Kind, given: &str) -> String {
    let word = match kind {
        Kind::Choice(words) => nearest(words.iter().copied(), given),
        Kind::Zone => nearest_zone(given),
        _ => None,
    };
    word.map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

/// What a field of this kind must be, in words.
pub fn rule(kind: Kind) -> String {
    match kind {
        Kind::Lines(most) => format!("text of at most {most} bytes, of one or several lines"),
        Kind::Text(most) => format!("text of at most {most} bytes without control characters"),
        Kind::Secret => "text".to_owned(),
        Kind::Email => format!(
            "an e-mail address of at most {EMAIL_BYTES_MAX} bytes, such as ada@example.com, in \
             letters, digits and signs of ASCII, without quotes and white space"
        ),
        Kind::Zone => "a name of the IANA time zone database, such as Europe/Berlin".to_owned(),
        Kind::Integer(least, most) => format!("a whole number from {least} to {most}"),
        Kind::Boolean => "true or false".to_owned(),
        Kind::Time => "a time as in RFC 3339, e.g. 2025-05-12T10:00:00Z".to_owned(),
        Kind::Tenant => "a tenant id: a letter or digit, then up to 63 letters, digits, '.', '_' \
                         or '-'"
            .to_owned(),
        Kind::Id => "an id of 1 to 255 visible ASCII characters without '/', '?' or '#'".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Choices(words, most) => format!("a list of at most {most} of {}", words.join(", ")),
        Kind::Texts(most) => format!("a list of at most {most} texts"),
        Kind::LineItems => line_items::RULE.to_owned(),
        Kind::Metadata => "an object of at most 50 texts: names of 1 to 40, values of up to 500 \
                           characters"
            .to_owned(),
    }
}

/// 0001-01-01T00:00:00Z.
const YEAR_ONE_SECONDS: i64 = -62_135_596_800;

/// A time as requests give it (RFC 3339).
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    // There is no year 0 in anybody's books: whoever writes it forgot to fill in a date.
    if time.as_second() < YEAR_ONE_SECONDS {
        return None;
    }
    let whole_ms = time.as_millisecond();
    // Ours are whole milliseconds: what is at or after (or before) a fraction of one is at or after
    // (or before) the next.
    let is_later = jiff::Timestamp::from_millisecond(whole_ms).is_ok_and(|whole| whole < time);
    Some(Timestamp(whole_ms + i64::from(is_later)))
}

/// `{"contract":{"reference":"x"}}` means the field `contract.reference`, where one is declared.
fn flattened(route: &Route, object: Map<String, Value>) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (name, value) in object {
        let prefix = format!("{name}.");
        let is_group = route.params.iter().any(|p| p.name.starts_with(&prefix));
        match value {
            Value::Object(inner) if is_group => {
                flat.extend(inner.into_iter().map(|(k, v)| (format!("{prefix}{k}"), v)));
            }
            value => flat.push((name, value)),
        }
    }
    flat
}

fn json_object(content_type: Option<&str>, body: &[u8]) -> Result<Map<String, Value>, Problem> {
    let media = content_type.map(|t| t.split(';').next().unwrap_or("").trim());
    if media.is_some_and(|media| !media.eq_ignore_ascii_case("application/json")) {
        let detail = "send fields as application/json, or in the query";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let malformed = |detail: String| Problem::new(Code::InvalidRequest, detail);
    let strict: Strict = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("the body is not the JSON we take: {error}")))?;
    if deeper_than(&strict.0, DEPTH_MAX) {
        return Err(malformed(format!(
            "the body nests deeper than {DEPTH_MAX} levels"
        )));
    }
    match strict.0 {
        Value::Object(object) => Ok(object),
        _ => Err(malformed("the body must be a JSON object".to_owned())),
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else {
        return value.is_object() || value.is_array();
    };
    match value {
        Value::Object(object) => object.values().any(|v| deeper_than(v, left)),
        Value::Array(items) => items.iter().any(|v| deeper_than(v, left)),
        _ => false,
    }
}

/// JSON in which no object names a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let Strict(value) = map.next_value()?;
            if object.insert(key.clone(), value).is_some() {
                let short = shortened(&key);
                return Err(A::Error::custom(format!("`{short}` is given twice")));
            }
        }
        Ok(Value::Object(object))
    }
}
