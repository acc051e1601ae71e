//! `/openapi.json`: OpenAPI 3.1 of the whole table.
//!
//! Source: OpenAPI Specification 3.1.1; RFC 9457 for problems.

use crate::http::answer::Answer;
use crate::http::fields::rule;
use crate::http::limits::HEAD_BYTES_MAX;
use crate::http::line_items::LINES_MAX;
use crate::http::problem::{Code, FieldCode, Problem};
use crate::http::route::{Auth, Call, Holds, Kind, Param, Route, Verb};
use crate::http::routes::{every_route, params_of};
use crate::http::schemas::{Field, Shape, every_schema};
use crate::http::server::BoxFuture;
use crate::http::texts::EMAIL_BYTES_MAX;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// `GET /openapi.json`.
pub fn serve(call: Call) -> BoxFuture<Result<Answer, Problem>> {
    Box::pin(async move { Ok(Answer::json(&document(call.edge.settings.version))) })
}

/// Every code a route may answer, by status.
pub fn answers_of(route: &Route) -> Vec<Code> {
    let mut codes: BTreeSet<Code> = route.codes.iter().copied().collect();
    codes.extend([Code::Overloaded, Code::Internal]);
    if route.status == 405 {
        codes.insert(Code::MethodNotAllowed);
    }
    if route.auth != Auth::Public {
        codes.insert(Code::StoreUnavailable);
    }
    if route.reads_fields() {
        codes.extend([Code::InvalidRequest, Code::CardNumberRefused]);
    }
    if route.auth.is_ours() {
        codes.extend([
            Code::Unauthenticated,
            Code::StripeKeyPresented,
            Code::InsufficientScope,
            Code::AddressNotAllowed,
            Code::RateLimited,
        ]);
    }
    if matches!(route.auth, Auth::Tenant(..) | Auth::PersonOf(_)) {
        codes.extend([Code::TenantRequired, Code::NotFound]);
    }
    if route.auth.is_ours() && route.verb != Verb::Get {
        codes.insert(Code::CsrfRefused);
    }
    if params_of(route.path).next().is_some() {
        codes.insert(Code::NotFound);
    }
    if route.params.iter().any(|param| param.name == "cursor") {
        codes.insert(Code::CursorInvalid);
    }
    if route.takes_body() {
        codes.extend([
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::RequestTimeout,
        ]);
    }
    if route.is_idempotent() {
        codes.extend([
            Code::IdempotencyKeyInvalid,
            Code::IdempotencyKeyReused,
            Code::IdempotencyInProgress,
        ]);
    }
    let mut sorted: Vec<Code> = codes.into_iter().collect();
    sorted.sort_by_key(|code| code.status());
    sorted
}

/// Who may call a route, in words.
pub fn security_words(route: &Route) -> String {
    match route.auth {
        Auth::Public => "anybody".to_owned(),
        Auth::Stripe => "Stripe, by its signature".to_owned(),
        Auth::Operator => "the operator".to_owned(),
        Auth::Scopes(scopes) => {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            format!("the operator, or a service key with {}", names.join(" or "))
        }
        Auth::Tenant(scopes, role) => {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            format!(
                "the operator, a service key with {}, or a person or API key of the tenant with the role {} or above",
                names.join(" or "),
                role.as_str()
            )
        }
        Auth::PersonOf(role) => format!(
            "the operator, or a person of the tenant with the role {} or above, but no key",
            role.as_str()
        ),
        Auth::Person => "a person, signed in".to_owned(),
        Auth::Console(_) => "whoever is signed in to the console".to_owned(),
    }
}

fn kind_schema(kind: Kind) -> Value {
    match kind {
        Kind::Text(most) | Kind::Lines(most) => json!({"type": "string", "maxLength": most}),
        Kind::Integer(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Kind::Email => json!({"type": "string", "maxLength": EMAIL_BYTES_MAX}),
        Kind::Secret => json!({"type": "string", "format": "password"}),
        Kind::Zone => json!({"type": "string"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Time => json!({"type": "string", "format": "date-time"}),
        Kind::Tenant => {
            json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"})
        }
        Kind::Id => json!({"type": "string", "minLength": 1, "maxLength": 255}),
        Kind::Choice(words) => json!({"type": "string", "enum": words}),
        Kind::Choices(words, most) => json!({
            "type": "array", "maxItems": most, "items": {"type": "string", "enum": words},
        }),
        Kind::Texts(most) => json!({
            "type": "array", "maxItems": most, "items": {"type": "string", "maxLength": 255},
        }),
        Kind::LineItems => json!({
            "type": "array", "minItems": 1, "maxItems": LINES_MAX,
            "items": {
                "type": "object", "additionalProperties": false,
                "required": ["name", "amount", "currency"],
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 250},
                    "amount": {"type": "integer", "minimum": 1, "maximum": 99_999_999},
                    "currency": {"type": "string", "pattern": "^[a-z]{3}$"},
                    "quantity": {"type": "integer", "minimum": 1, "maximum": 999_999, "default": 1},
                },
            },
        }),
        Kind::Metadata => json!({
            "type": "object", "maxProperties": 50,
            "additionalProperties": {"type": ["string", "null"], "maxLength": 500},
        }),
    }
}

fn described(param: &Param) -> String {
    format!("{} Must be {}.", param.help, rule(param.kind))
}

/// Whether a field may be promised for the query too: one of whole pages is longer than a request's head may be.
fn fits_an_address(kind: Kind) -> bool {
    !matches!(kind, Kind::Text(most) | Kind::Lines(most) if most > HEAD_BYTES_MAX / 4)
}

/// What `null` is in a JSON body: nothing given, or in a `PATCH` what clears the field. An amount that is not there is
/// not "all of it", so a number has no `null`, and what is required has none either.
fn takes_null(route: &Route, param: &Param) -> bool {
    route.verb == Verb::Patch || !(param.required || matches!(param.kind, Kind::Integer(..)))
}

fn or_null(mut schema: Value) -> Value {
    let kind = schema["type"].take();
    schema["type"] = json!([kind, "null"]);
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    }
    schema
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut shown: Vec<Value> = params_of(route.path)
        .map(|name| {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        })
        .collect();
    for param in route
        .params
        .iter()
        .filter(|p| !matches!(p.kind, Kind::Metadata | Kind::LineItems))
        // A secret in an address ends up in logs on the way; a link of ours is the one exception.
        .filter(|p| p.kind != Kind::Secret || route.verb == Verb::Get)
        .filter(|p| !route.takes_body() || fits_an_address(p.kind))
    {
        let mut value = json!({
            "name": param.name, "in": "query", "description": described(param),
            // Where there is a body, a field may come in either.
            "required": param.required && !route.takes_body(),
            "schema": kind_schema(param.kind),
        });
        if matches!(param.kind, Kind::Choices(..) | Kind::Texts(_)) {
            value["style"] = "form".into();
            value["explode"] = false.into();
        }
        shown.push(value);
    }
    let header = |name: &str, description: &str| {
        json!({
            "name": name, "in": "header", "description": description,
            "schema": {"type": "string"},
        })
    };
    if route.auth.is_of_tenants() {
        shown.push(header(
            "X-Tenant-Id",
            "Picks the tenant, as `tenantId` does; of a person's tenants, the one that is meant.",
        ));
    }
    if route.is_idempotent() {
        let words = "1 to 255 printable ASCII characters; a repeat gets the first final answer.";
        shown.push(header("Idempotency-Key", words));
    }
    match route.label {
        "tenants_get" => shown.push(header(
            "If-None-Match",
            "ETags; 304 while the tenant is one of them, or waits until it is not.",
        )),
        "tenants_patch" => shown.push(header(
            "If-Match",
            "ETags; 412 unless the tenant is one of them when the change is decided.",
        )),
        _ => {}
    }
    if route.auth == Auth::Stripe {
        shown.push(header(
            "Stripe-Signature",
            "Stripe's signature of the body.",
        ));
    }
    shown
}

/// `contract.reference` is a field of the object `contract`.
fn body_schema(route: &Route) -> Value {
    let mut properties = Map::new();
    let mut needed = Vec::new();
    for param in route.params {
        let mut schema = kind_schema(param.kind);
        if takes_null(route, param) {
            schema = or_null(schema);
        }
        schema["description"] = described(param).into();
        match param.name.split_once('.') {
            Some((group, name)) => {
                let object = properties.entry(group).or_insert_with(
                    || json!({"type": "object", "additionalProperties": false, "properties": {}}),
                );
                object["properties"][name] = schema;
            }
            None => {
                properties.insert(param.name.to_owned(), schema);
            }
        }
        if param.required {
            needed.push(param.name);
        }
    }
    let mut schema = json!({
        "type": "object", "additionalProperties": false, "properties": properties,
    });
    if !needed.is_empty() {
        schema["description"] =
            format!("Required here or in the query: {}.", needed.join(", ")).into();
    }
    schema
}

fn success(route: &Route) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let json_body = |schema: Value| json!({"application/json": {"schema": schema}});
    let content = match route.holds {
        Holds::One(name) => json_body(reference(name)),
        Holds::Page(name) => json_body(json!({
            "type": "object", "required": ["data", "hasMore", "nextCursor"],
            "properties": {
                "data": {"type": "array", "items": reference(name)},
                "hasMore": {"type": "boolean"},
                "nextCursor": {"type": ["string", "null"]},
            },
        })),
        Holds::Text(media) => json!({media: {"schema": {"type": "string"}}}),
        Holds::Nothing => return json!({"description": route.summary}),
    };
    json!({"description": route.summary, "content": content})
}

fn responses(route: &Route) -> Value {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in answers_of(route) {
        by_status.entry(code.status()).or_default().push(code);
    }
    let mut shown = Map::new();
    shown.insert(route.status.to_string(), success(route));
    // What a page of ours sends is answered by a page, whatever a program would get.
    let page = json!({"schema": {"type": "string"}});
    if route.takes_form {
        let answer = shown.entry("200");
        let answer = answer.or_insert_with(|| json!({"description": "To a form: a page."}));
        answer["content"]["text/html"] = page.clone();
    }
    // What is there already is answered, not made again.
    if matches!(route.label, "tenants_create" | "connect_account_open") {
        shown.insert("200".to_owned(), success(route));
    }
    if matches!(
        route.label,
        "tenants_create" | "tenants_get" | "tenants_patch"
    ) {
        for status in ["200", "201"] {
            if let Some(answer) = shown.get_mut(status) {
                answer["headers"] = json!({"ETag": {"schema": {"type": "string"}}});
            }
        }
    }
    if route.label == "tenants_get" {
        let words = json!({"description": "Not changed since the ETag in If-None-Match."});
        shown.insert("304".to_owned(), words);
    }
    if route.orders {
        let schema = json!({"$ref": "#/components/schemas/CommandPending"});
        let accepted = json!({
            "description": "Ordered, and nobody can know the outcome yet: ask for the command, or repeat under the \
                            same Idempotency-Key. Also with `Prefer: respond-async`, at once.",
            "headers": {"Location": {"schema": {"type": "string"}}},
            "content": {"application/json": {"schema": schema}},
        });
        shown.insert("202".to_owned(), accepted);
    }
    for (status, codes) in by_status {
        let words: Vec<String> = codes
            .iter()
            .map(|code| format!("`{}`: {}", code.as_str(), code.title()))
            .collect();
        let mut value = json!({
            "description": words.join("; "),
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
            }},
        });
        if status == 503 && matches!(route.label, "readyz" | "health") {
            value["content"] = success(route)["content"].clone();
        }
        if route.takes_form {
            value["content"]["text/html"] = page.clone();
        }
        if matches!(status, 429 | 503) {
            value["headers"] = json!({"Retry-After": {"schema": {"type": "integer"}}});
        }
        shown.insert(status.to_string(), value);
    }
    let heads = "The request's head is too long. Answered before it is read: without a body.";
    shown.insert("431".to_owned(), json!({"description": heads}));
    Value::Object(shown)
}

fn operation(route: &Route, path: &str) -> Value {
    let mut id = route.label.to_owned();
    if path != route.path {
        id = format!("{id}_at{}", path.replace(['/', '{', '}', '-'], "_"));
    }
    let mut shown = json!({
        "operationId": id, "tags": [route.tag], "summary": route.summary,
        "description": format!("{} Who: {}.", route.description, security_words(route)).trim(),
        "parameters": parameters(route), "responses": responses(route),
        "security": match route.auth {
            Auth::Public | Auth::Stripe => json!([]),
            Auth::Operator | Auth::Scopes(_) => json!([{"bearer": []}, {"apiKey": []}]),
            Auth::Tenant(..) => json!([
                {"bearer": []}, {"apiKey": []}, {"accessToken": []}, {"cookie": []}
            ]),
            Auth::PersonOf(_) => json!([{"bearer": []}, {"accessToken": []}, {"cookie": []}]),
            Auth::Person => json!([{"accessToken": []}, {"cookie": []}]),
            Auth::Console(_) => json!([{"cookie": []}]),
        },
    });
    if route.auth == Auth::Stripe {
        shown["requestBody"] = json!({
            "required": true, "description": "An event of Stripe's, as it was signed.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        });
    } else if route.takes_body() {
        shown["requestBody"] = json!({
            "required": false,
            "content": {"application/json": {"schema": body_schema(route)}},
        });
        if route.takes_form {
            let form = json!({"schema": body_schema(route)});
            shown["requestBody"]["content"]["application/x-www-form-urlencoded"] = form;
        }
    }
    shown
}

fn field_schema(field: &Field) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let mut schema = match field.shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Integer => json!({"type": "integer"}),
        Shape::Money => json!({"type": "integer", "format": "int64"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Time => json!({"type": "string", "format": "date-time"}),
        Shape::Word(words) => json!({"type": "string", "enum": words}),
        Shape::Is(name) => reference(name),
        Shape::Many(name) => json!({"type": "array", "items": reference(name)}),
        Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Object => json!({"type": "object"}),
        Shape::Any => json!({}),
    };
    if field.nullable && field.shape != Shape::Any {
        schema = json!({"anyOf": [schema, {"type": "null"}]});
    }
    if !field.help.is_empty() {
        schema["description"] = field.help.into();
    }
    schema
}

fn schemas() -> Value {
    let mut shown = Map::new();
    for schema in every_schema() {
        let properties: Map<String, Value> = schema
            .fields
            .iter()
            .map(|field| (field.name.to_owned(), field_schema(field)))
            .collect();
        let value = json!({"type": "object", "description": schema.help, "properties": properties});
        shown.insert(schema.name.to_owned(), value);
    }
    shown.insert("Problem".to_owned(), problem_schema());
    Value::Object(shown)
}

fn problem_schema() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let field_codes: Vec<&str> = FieldCode::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object", "description": "A refusal (RFC 9457).",
        "required": ["type", "title", "status", "detail", "code", "requestId", "docUrl"],
        "properties": {
            "type": {"type": "string"}, "title": {"type": "string"},
            "status": {"type": "integer"}, "detail": {"type": "string"},
            "code": {"type": "string", "enum": codes},
            "requestId": {"type": "string"}, "docUrl": {"type": "string"},
            "stripeCode": {"type": "string"}, "declineCode": {"type": "string"},
            "param": {"type": "string"}, "stripeRequestId": {"type": "string"},
            "commandId": {"type": "string"},
            "errors": {"type": "array", "items": {
                "type": "object", "required": ["field", "code", "detail"],
                "properties": {
                    "field": {"type": "string"},
                    "code": {"type": "string", "enum": field_codes},
                    "detail": {"type": "string"},
                },
            }},
        },
    })
}

/// The whole document.
pub fn document(version: &str) -> Value {
    let mut paths = Map::new();
    // An address that only says what else it is for supports no such method.
    for route in every_route().filter(|route| route.status != 405) {
        for path in std::iter::once(&route.path).chain(route.aliases) {
            let item = paths.entry(*path).or_insert_with(|| json!({}));
            item[route.verb.as_str().to_lowercase()] = operation(route, path);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bursar", "version": version,
            "description": "The payment back office between Stripe and your product. JSON, \
                camelCase; money is a whole number of Stripe's minor units beside its currency; \
                times are RFC 3339 in UTC, ends of periods are exclusive; lists are newest first, \
                timelines and the ledger oldest first. Every answer carries X-Request-Id.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer",
                    "description": "The operator's key, a service key or a tenant's API key (sk_bursar_…)."},
                "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "A person's access token, good for ten minutes. What the person may do is read \
                        at each request. X-Tenant-Id picks one of their tenants, else their default one holds."},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "bursar_session",
                    "description": "The console's session (`__Host-bursar_session` over https). POST, PATCH and \
                        DELETE also need the session's token in X-CSRF-Token, and an Origin or Sec-Fetch-Site that \
                        is this service's own."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key",
                    "description": "The same keys."},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    if let ("$ref", Some(text)) = (key.as_str(), value.as_str()) {
                        found.insert(text.to_owned());
                    }
                    references(value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document = document("0");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn what_makes_a_change_conditional_is_in_the_document() {
        let document = document("0");
        let tenant = &document["paths"]["/api/v1/tenants/{tenantId}"];
        for (verb, name) in [("get", "If-None-Match"), ("patch", "If-Match")] {
            let parameters = tenant[verb]["parameters"].as_array().unwrap();
            assert!(
                parameters
                    .iter()
                    .any(|p| p["name"] == name && p["in"] == "header")
            );
            assert!(!tenant[verb]["responses"]["200"]["headers"]["ETag"].is_null());
        }
    }

    #[test]
    fn the_document_says_what_a_form_a_null_and_a_long_text_are_answered_with() {
        let document = document("0");
        let accept = &document["paths"]["/invitations/accept"]["post"];
        for status in ["200", "422"] {
            let kinds = accept["responses"][status]["content"].as_object().unwrap();
            assert_eq!(kinds.len(), 2, "{status}: {kinds:?}");
            assert!(kinds.contains_key("text/html"), "{status}");
        }
        let body = |path: &str, verb: &str| {
            let operation = &document["paths"][path][verb];
            operation["requestBody"]["content"]["application/json"]["schema"]["properties"].clone()
        };
        let logout = body("/api/v1/logout", "post");
        assert_eq!(logout["refreshToken"]["type"], json!(["string", "null"]));
        let login = body("/api/v1/login", "post");
        assert_eq!(
            login["password"]["type"], "string",
            "what is required has no null"
        );
        let words = login["session"]["enum"].as_array().unwrap();
        assert!(words.contains(&Value::Null), "{words:?}");
        let evidence = &document["paths"]["/api/v1/disputes/{id}/evidence"]["post"];
        let in_query = evidence["parameters"].as_array().unwrap();
        let is_long = |p: &&Value| p["schema"]["maxLength"].as_u64() > Some(HEAD_BYTES_MAX as u64);
        assert_eq!(in_query.iter().find(is_long), None);
    }

    #[test]
    fn every_row_and_every_code_is_in_the_document() {
        let document = document("0");
        let mut ids = BTreeSet::new();
        for (_, item) in document["paths"].as_object().unwrap() {
            for (_, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{id} twice");
            }
        }
        for route in every_route() {
            let is_there = ids.contains(route.label);
            assert_eq!(is_there, route.status != 405, "{}", route.label);
        }
        let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
        assert_eq!(codes.as_array().unwrap().len(), Code::ALL.len());
        let page = crate::http::docs::page("0");
        for code in Code::ALL {
            assert!(page.contains(&format!("id=\"error-{}\"", code.as_str())));
        }
        assert!(
            !page.contains("<script") && !page.contains("http://") && !page.contains("https://")
        );
    }
}
