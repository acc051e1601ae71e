//! The plan catalogue: read from TOML, or the built-in one.
//!
//! Invariants: plan ids and prices are unique, at most one plan is the free default, every paid plan
//! has a price and exactly one effect; the file's order is kept, because it ranks plans.
//! Not here: what a plan does to a tenant (`bursar_domain::plans` and the reducers).
//! Failure: problems, each with the file's line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bursar_domain::ids::PriceId;
use bursar_domain::plans::{
    Catalogue, GRACE_DAYS_DEFAULT, Limit, Plan, PlanEffect, RevokeOn, SubscriptionPlan,
};
use toml::de::{DeArray, DeTable, DeValue};

use crate::env::Env;
use crate::file;
use crate::gather;
use crate::keys;
use crate::problem::Problems;
use crate::validate::Checker;

/// More plans than this is a mistake; each is compared with each.
const PLANS_MAX: usize = 500;
const FEATURES_MAX: usize = 200;
/// Two years: longer than Stripe's own longest trial.
const DAYS_MAX: i64 = 730;
/// Stripe's largest quantity.
const QUANTITY_MAX: i64 = 999_999;
/// Far beyond a real grant, far below where sums over grants could overflow.
const CREDITS_MAX: i64 = 1_000_000_000_000;

const BUILT_IN: [(&str, &str, &str); 3] = [
    ("hobby", "Hobby", "PAYMENTS_HOBBY_SUBSCRIPTION_PLAN_ID"),
    ("pro", "Pro", "PAYMENTS_PRO_SUBSCRIPTION_PLAN_ID"),
    ("credits-10", "10 credits", "PAYMENTS_CREDITS_10_PLAN_ID"),
];

/// Reads the catalogue that the configuration names.
pub(crate) fn load(checker: &mut Checker<'_>, env: &dyn Env) -> Catalogue {
    let Some(name) = checker.text("plans_file") else {
        return built_in(env, checker.problems);
    };
    let folder = checker
        .raw("plans_file")
        .map(|raw| raw.folder.clone())
        .unwrap_or_default();
    let path = folder.join(name.trim());
    match file::read(&path) {
        Ok(text) => parse(&text.text, &path, env, checker.problems),
        Err(error) => {
            checker.problem("plans_file", format!("{} {error}", path.display()));
            Catalogue::default()
        }
    }
}

/// The built-in catalogue: each plan whose price variable is set.
pub(crate) fn built_in(env: &dyn Env, problems: &mut Problems) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (id, name, variable) in BUILT_IN {
        let Some(text) = gather::variable(variable, env, problems) else {
            continue;
        };
        let subject = format!("{variable} (environment)");
        let Some(price) = price(text.trim(), &subject, problems) else {
            continue;
        };
        if let Some(other) = catalogue.plan_id_by_price_id(&price) {
            problems.add(subject, format!("is the price of plan {other}, too"));
            continue;
        }
        let effect = if id == "credits-10" {
            PlanEffect::Credits(10)
        } else {
            PlanEffect::Subscription(SubscriptionPlan {
                trial_days: 0,
                grace_days: GRACE_DAYS_DEFAULT,
                features: BTreeSet::new(),
                limits: BTreeMap::new(),
                min_quantity: 1,
                max_quantity: None,
            })
        };
        catalogue.plans.push(Plan {
            id: id.to_owned(),
            name: name.to_owned(),
            price_ids: vec![price],
            effect,
            revoke_on: BTreeSet::new(),
        });
    }
    catalogue
}

/// Parses a catalogue file. Problems are added; the result then is not complete.
pub(crate) fn parse(text: &str, path: &Path, env: &dyn Env, problems: &mut Problems) -> Catalogue {
    let mut catalogue = Catalogue::default();
    let table = match file::parse(text) {
        Ok(table) => table,
        Err(errors) => {
            for (line, error) in errors {
                problems.add(format!("{}:{line}", path.display()), error);
            }
            return catalogue;
        }
    };
    let mut reader = PlanReader {
        text,
        path,
        env,
        problems,
    };
    let mut root = Fields::of("", &table);
    let Some(plans) = root.take(&mut reader, "plan", as_array) else {
        root.refuse_rest(&mut reader);
        let text = "holds no [[plan]]";
        reader.problems.add(path.display().to_string(), text);
        return catalogue;
    };
    root.refuse_rest(&mut reader);
    if plans.len() > PLANS_MAX {
        let text = format!("holds {} plans, {PLANS_MAX} at most", plans.len());
        reader.problems.add(path.display().to_string(), text);
        return catalogue;
    }
    let mut has_default = false;
    for (index, entry) in plans.iter().enumerate() {
        let place = format!("plan[{index}]");
        match entry.get_ref() {
            DeValue::Table(fields) => {
                let line = file::line_of(text, entry.span().start);
                if let Some(plan) = reader.plan(&place, line, fields) {
                    reader.admit(&place, line, plan, &mut has_default, &mut catalogue);
                }
            }
            other => {
                let subject = reader.subject(&place, entry.span().start);
                let text = format!("expected a table, found {}", file::kind_name(other));
                reader.problems.add(subject, text);
            }
        }
    }
    catalogue
}

struct PlanReader<'a> {
    text: &'a str,
    path: &'a Path,
    env: &'a dyn Env,
    problems: &'a mut Problems,
}

/// The fields of one table that were not taken yet.
struct Fields<'a, 'i> {
    place: String,
    rest: BTreeMap<String, (usize, &'a DeValue<'i>)>,
    known: Vec<&'static str>,
}

impl<'a, 'i> Fields<'a, 'i> {
    fn of(place: &str, table: &'a DeTable<'i>) -> Self {
        let rest = table.iter().map(|(name, value)| {
            (
                name.get_ref().to_string(),
                (name.span().start, value.get_ref()),
            )
        });
        Self {
            place: place.to_owned(),
            rest: rest.collect(),
            known: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> String {
        if self.place.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.place)
        }
    }

    fn take<T>(
        &mut self,
        reader: &mut PlanReader<'_>,
        name: &'static str,
        read: impl FnOnce(&'a DeValue<'i>) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(name);
        let (offset, value) = self.rest.remove(name)?;
        match read(value) {
            Ok(value) => Some(value),
            Err(error) => {
                let subject = reader.subject(&self.path(name), offset);
                reader.problems.add(subject, error);
                None
            }
        }
    }

    fn refuse_rest(&mut self, reader: &mut PlanReader<'_>) {
        for (name, (offset, _)) in std::mem::take(&mut self.rest) {
            let subject = reader.subject(&self.path(&name), offset);
            let text = match keys::nearest(&name, self.known.iter().copied()) {
                Some(near) => format!("unknown. Did you mean {near}?"),
                None => format!("unknown; known are {}", self.known.join(", ")),
            };
            reader.problems.add(subject, text);
        }
    }
}

impl PlanReader<'_> {
    fn subject(&self, place: &str, offset: usize) -> String {
        self.subject_in_line(place, file::line_of(self.text, offset))
    }

    fn subject_in_line(&self, place: &str, line: usize) -> String {
        format!("{place} ({}:{line})", self.path.display())
    }

    fn plan(&mut self, place: &str, line: usize, table: &DeTable<'_>) -> Option<(Plan, bool)> {
        let mut fields = Fields::of(place, table);
        let subject = self.subject_in_line(place, line);
        let problems_before = self.problems.0.len();
        let id = fields.take(self, "id", as_id);
        let name = fields.take(self, "name", as_name);
        let price_ids = self.prices(&mut fields, &subject);
        let default = fields.take(self, "default", as_switch).unwrap_or(false);
        let revoke_on = fields
            .take(self, "revoke_on", as_revoke_on)
            .unwrap_or_default();
        let credits = fields.take(self, "credits", |value| as_number(value, 1, CREDITS_MAX));
        let table = fields.take(self, "subscription", as_table);
        let terms = table.map(|table| self.subscription(&fields.path("subscription"), table));
        fields.refuse_rest(self);
        if id.is_none() && self.problems.0.len() == problems_before {
            self.problems.add(&subject, "has no id");
        }
        if self.problems.0.len() > problems_before {
            return None;
        }
        let id = id?;
        let effect = match effect(terms, credits, price_ids.is_empty(), default) {
            Ok(effect) => effect,
            Err(reason) => {
                self.problems.add(subject, format!("plan {id} {reason}"));
                return None;
            }
        };
        let name = name.unwrap_or_else(|| id.clone());
        Some((
            Plan {
                id,
                name,
                price_ids,
                effect,
                revoke_on,
            },
            default,
        ))
    }

    fn prices(&mut self, fields: &mut Fields<'_, '_>, subject: &str) -> Vec<PriceId> {
        let one = fields.take(self, "stripe_price_id", as_text);
        let many = fields.take(self, "stripe_price_ids", as_texts);
        let variable = fields.take(self, "stripe_price_id_env", as_text);
        let given = [one.is_some(), many.is_some(), variable.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            let text = "give one of stripe_price_id, stripe_price_ids and stripe_price_id_env";
            self.problems.add(subject, text);
            return Vec::new();
        }
        let from_variable = variable.and_then(|variable| {
            let value = gather::variable(&variable, self.env, self.problems);
            if value.is_none() {
                self.problems.add(
                    subject,
                    format!("stripe_price_id_env names {variable}, which is not set"),
                );
            }
            value.map(|value| value.trim().to_owned())
        });
        let texts = one
            .into_iter()
            .chain(many.into_iter().flatten())
            .chain(from_variable);
        texts
            .filter_map(|text| price(&text, subject, self.problems))
            .collect()
    }

    fn subscription(&mut self, place: &str, table: &DeTable<'_>) -> SubscriptionPlan {
        let mut fields = Fields::of(place, table);
        let days = |value: &DeValue<'_>| {
            as_number(value, 0, DAYS_MAX).map(|days| u32::try_from(days).unwrap_or(u32::MAX))
        };
        let quantity = |value: &DeValue<'_>| as_number(value, 1, QUANTITY_MAX);
        let trial_days = fields.take(self, "trial_days", days).unwrap_or(0);
        let grace_days = fields
            .take(self, "grace_days", days)
            .unwrap_or(GRACE_DAYS_DEFAULT);
        let features: BTreeSet<String> = fields
            .take(self, "features", as_features)
            .unwrap_or_default();
        let limits = fields.take(self, "limits", as_limits).unwrap_or_default();
        let min_quantity = fields.take(self, "min_quantity", quantity).unwrap_or(1);
        let max_quantity = fields.take(self, "max_quantity", quantity);
        let limits_known = limits.keys().all(|feature| features.contains(feature));
        let quantity_fits = max_quantity.is_none_or(|max| min_quantity <= max);
        for (fits, name, text) in [
            (
                limits_known,
                "limits",
                "limits a feature that is not among features",
            ),
            (quantity_fits, "max_quantity", "is below min_quantity"),
        ] {
            if !fits {
                let offset = table.iter().find(|(key, _)| key.get_ref() == name);
                let offset = offset.map_or(0, |(key, _)| key.span().start);
                let subject = self.subject(&fields.path(name), offset);
                self.problems.add(subject, text);
            }
        }
        fields.refuse_rest(self);
        SubscriptionPlan {
            trial_days,
            grace_days,
            features,
            limits,
            min_quantity,
            max_quantity,
        }
    }

    /// Adds a plan unless it repeats an id, a price or the default.
    fn admit(
        &mut self,
        place: &str,
        line: usize,
        (plan, default): (Plan, bool),
        has_default: &mut bool,
        catalogue: &mut Catalogue,
    ) {
        let subject = self.subject_in_line(place, line);
        if catalogue.plan(&plan.id).is_some() {
            self.problems
                .add(&subject, format!("the id {} is given twice", plan.id));
        }
        for (index, price) in plan.price_ids.iter().enumerate() {
            if let Some(other) = catalogue.plan_id_by_price_id(price) {
                self.problems.add(
                    &subject,
                    format!("{price} is the price of plan {other}, too"),
                );
            } else if plan.price_ids[..index].contains(price) {
                self.problems
                    .add(&subject, format!("{price} is given twice"));
            }
        }
        if default && std::mem::replace(has_default, true) {
            self.problems.add(&subject, "a second plan is the default");
        }
        catalogue.plans.push(plan);
    }
}

/// A plan's one effect, or why it has none.
fn effect(
    terms: Option<SubscriptionPlan>,
    credits: Option<u64>,
    is_unpriced: bool,
    is_default: bool,
) -> Result<PlanEffect, &'static str> {
    match (terms, credits) {
        (Some(_), Some(_)) => Err("has both [plan.subscription] and credits; one is its effect"),
        (_, Some(_)) if is_default => Err("is the default and sells credits; the default is free"),
        _ if is_default && !is_unpriced => {
            Err("is the default and has a price; the default is free")
        }
        (Some(terms), None) if is_default => {
            if terms.trial_days > 0 || terms.min_quantity > 1 || terms.max_quantity.is_some() {
                return Err("is free, so it has neither a trial nor quantities");
            }
            Ok(PlanEffect::Free {
                features: terms.features,
                limits: terms.limits,
            })
        }
        (None, None) if is_default => Ok(PlanEffect::Free {
            features: BTreeSet::new(),
            limits: BTreeMap::new(),
        }),
        _ if is_unpriced => {
            Err("has no price; give stripe_price_id, stripe_price_ids or stripe_price_id_env")
        }
        (Some(terms), None) => Ok(PlanEffect::Subscription(terms)),
        (None, Some(credits)) => Ok(PlanEffect::Credits(credits)),
        (None, None) => Err("has no effect; give [plan.subscription] or credits"),
    }
}

fn price(text: &str, subject: &str, problems: &mut Problems) -> Option<PriceId> {
    if text.starts_with("prod_") {
        problems.add(
            subject,
            format!("{text} is a product; a price (price_…) is needed"),
        );
        return None;
    }
    match PriceId::parse(text) {
        Ok(id) => Some(id),
        Err(error) => {
            problems.add(subject, format!("{text:?}: {error}"));
            None
        }
    }
}

fn expected<T>(what: &str, found: &DeValue<'_>) -> Result<T, String> {
    Err(format!("expected {what}, found {}", file::kind_name(found)))
}

fn as_array<'a, 'i>(value: &'a DeValue<'i>) -> Result<&'a DeArray<'i>, String> {
    value
        .as_array()
        .map_or_else(|| expected("[[plan]] tables", value), Ok)
}

fn as_table<'a, 'i>(value: &'a DeValue<'i>) -> Result<&'a DeTable<'i>, String> {
    value
        .as_table()
        .map_or_else(|| expected("a table", value), Ok)
}

fn as_text(value: &DeValue<'_>) -> Result<String, String> {
    match value.as_str() {
        Some(text) if text.trim().is_empty() => Err("is empty".to_owned()),
        Some(text) => Ok(text.to_owned()),
        None => expected("a string", value),
    }
}

fn as_texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value.as_array() {
        Some(items) if items.is_empty() => Err("is empty".to_owned()),
        Some(items) => items.iter().map(|item| as_text(item.get_ref())).collect(),
        None => expected("a list of strings", value),
    }
}

fn as_switch(value: &DeValue<'_>) -> Result<bool, String> {
    value
        .as_bool()
        .map_or_else(|| expected("true or false", value), Ok)
}

fn as_number(value: &DeValue<'_>, min: i64, max: i64) -> Result<u64, String> {
    let Some(number) = value.as_integer() else {
        return expected("a whole number", value);
    };
    let number = file::whole(number)?;
    u64::try_from(number)
        .ok()
        .filter(|_| (min..=max).contains(&number))
        .ok_or_else(|| format!("{number} is not between {min} and {max}"))
}

/// Ids of plans and features stand in URLs, metadata and metric labels.
fn as_id(value: &DeValue<'_>) -> Result<String, String> {
    let text = as_text(value)?;
    let fits = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits {
        Ok(text)
    } else {
        Err(format!(
            "{text:?} must be 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"
        ))
    }
}

fn as_name(value: &DeValue<'_>) -> Result<String, String> {
    let text = as_text(value)?;
    if text.chars().any(char::is_control) || text.chars().count() > 100 {
        return Err("must be one line of at most 100 characters".to_owned());
    }
    Ok(text)
}

fn as_features(value: &DeValue<'_>) -> Result<BTreeSet<String>, String> {
    let Some(items) = value.as_array() else {
        return expected("a list of strings", value);
    };
    if items.len() > FEATURES_MAX {
        return Err(format!(
            "lists {} features, {FEATURES_MAX} at most",
            items.len()
        ));
    }
    let mut features = BTreeSet::new();
    for item in items {
        let feature = as_id(item.get_ref())?;
        if !features.insert(feature.clone()) {
            return Err(format!("lists {feature} twice"));
        }
    }
    Ok(features)
}

fn as_limits(value: &DeValue<'_>) -> Result<BTreeMap<String, Limit>, String> {
    let mut limits = BTreeMap::new();
    for (feature, limit) in as_table(value)? {
        let limit = match limit.get_ref() {
            DeValue::String(text) if text == "quantity" => Limit::Quantity,
            other @ DeValue::Integer(_) => as_number(other, 0, CREDITS_MAX)
                .map(Limit::Fixed)
                .map_err(|error| format!("{}: {error}", feature.get_ref()))?,
            other => {
                let found = file::kind_name(other);
                return Err(format!(
                    "{}: expected a whole number or \"quantity\", found {found}",
                    feature.get_ref()
                ));
            }
        };
        limits.insert(feature.get_ref().to_string(), limit);
    }
    Ok(limits)
}

fn as_revoke_on(value: &DeValue<'_>) -> Result<BTreeSet<RevokeOn>, String> {
    let Some(items) = value.as_array() else {
        return expected("a list of strings", value);
    };
    items
        .iter()
        .map(|item| match item.get_ref().as_str() {
            Some("full_refund") => Ok(RevokeOn::FullRefund),
            Some("dispute_lost") => Ok(RevokeOn::DisputeLost),
            Some(other) => Err(format!("{other:?} is none of full_refund, dispute_lost")),
            None => expected("a list of strings", item.get_ref()),
        })
        .collect()
}
