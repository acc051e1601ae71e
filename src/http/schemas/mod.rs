//! The shapes of answers, for the OpenAPI document and `/docs`.
//!
//! Invariants: every schema a route names is here; names of fields are the contract's (§4).

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// Minor units of the currency beside it.
    Money,
    /// `true` or `false`.
    Boolean,
    /// RFC 3339, UTC.
    Time,
    /// One of these.
    Word(&'static [&'static str]),
    /// Another schema.
    Is(&'static str),
    /// A list of another schema.
    Many(&'static str),
    /// A list of texts.
    Texts,
    /// An object of any shape.
    Object,
    /// Any JSON value.
    Any,
}

/// A field of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// It may be `null`.
    pub nullable: bool,
    /// In words, or nothing.
    pub help: &'static str,
}

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

impl Field {
    /// The field in words, for people.
    pub fn words(&self) -> String {
        let shape = match self.shape {
            Shape::Text => "text".to_owned(),
            Shape::Integer => "whole number".to_owned(),
            Shape::Money => "whole number of minor units".to_owned(),
            Shape::Boolean => "true or false".to_owned(),
            Shape::Time => "time".to_owned(),
            Shape::Word(words) => format!("one of {}", words.join(", ")),
            Shape::Is(name) => name.to_owned(),
            Shape::Many(name) => format!("list of {name}"),
            Shape::Texts => "list of texts".to_owned(),
            Shape::Object => "object".to_owned(),
            Shape::Any => "any value".to_owned(),
        };
        let null = if self.nullable { ", or null" } else { "" };
        if self.help.is_empty() {
            return format!("{shape}{null}");
        }
        format!("{shape}{null}. {}", self.help)
    }
}

mod notifications;
mod objects;
mod operations;
mod orders;
mod people;

const fn has(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        nullable: false,
        help: "",
    }
}
const fn may(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        nullable: true,
        help: "",
    }
}
const fn said(field: Field, help: &'static str) -> Field {
    Field { help, ..field }
}
const fn schema(name: &'static str, help: &'static str, fields: &'static [Field]) -> Schema {
    Schema { name, help, fields }
}

const DISPOSITIONS: &[&str] = &["applied", "stale", "duplicate", "ignored", "parked", "dead"];

/// Every schema.
pub fn every_schema() -> impl Iterator<Item = &'static Schema> {
    let (orders, people) = (orders::SCHEMAS, people::SCHEMAS);
    objects::SCHEMAS
        .iter()
        .chain(operations::SCHEMAS)
        .chain(notifications::SCHEMAS)
        .chain(orders)
        .chain(people)
}
