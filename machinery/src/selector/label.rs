//! Requirements on labels, and selectors as conjunctions of them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::{Error, parse};
use crate::field::{self, Path};
use crate::names;

/// How a requirement relates a key to its values. The three equality operators differ only in how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    GreaterThan,
    LessThan,
    Exists,
    DoesNotExist,
}

impl Operator {
    /// The operator of a `LabelSelector`'s `matchExpressions`: `In`, `NotIn`, `Exists`, `DoesNotExist`.
    pub fn from_label_selector(name: &str) -> Option<Self> {
        match name {
            "In" => Some(Self::In),
            "NotIn" => Some(Self::NotIn),
            "Exists" => Some(Self::Exists),
            "DoesNotExist" => Some(Self::DoesNotExist),
            _ => None,
        }
    }

    /// The operator of a node selector term: those of a `LabelSelector`, and `Gt` and `Lt`.
    pub fn from_node_selector(name: &str) -> Option<Self> {
        match name {
            "Gt" => Some(Self::GreaterThan),
            "Lt" => Some(Self::LessThan),
            name => Self::from_label_selector(name),
        }
    }
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// Checks the key, the number of values and the values. `path` names the requirement in the message.
    pub fn new(key: &str, operator: Operator, values: Vec<String>, path: &Path) -> Result<Self, Error> {
        let errors = Self::check(key, operator, &values, path);
        if errors.is_empty() {
            Ok(Self { key: key.to_owned(), operator, values })
        } else {
            Err(Error(field::aggregate(&errors)))
        }
    }

    /// All that is wrong with a requirement.
    pub fn check(key: &str, operator: Operator, values: &[String], path: &Path) -> Vec<field::Error> {
        let mut errors = Vec::new();
        errors.extend(check_key(key, &path.child("key")));
        let values_path = path.child("values");
        if let Some(detail) = count_error(operator, values.len()) {
            errors.push(field::Error::invalid(&values_path, values.to_vec(), detail));
        }
        for (index, value) in values.iter().enumerate() {
            let at = values_path.index(index);
            if matches!(operator, Operator::GreaterThan | Operator::LessThan) && value.parse::<i64>().is_err() {
                let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(field::Error::invalid(&at, value.as_str(), detail));
            }
        }
        for (index, value) in values.iter().enumerate() {
            let problems = names::label_value(value);
            if !problems.is_empty() {
                let at = values_path.index(index).key(key);
                errors.push(field::Error::invalid(&at, value.as_str(), problems.join("; ")));
            }
        }
        errors
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether a label with this value, or its absence, meets the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.numbers(value).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.numbers(value).is_some_and(|(label, bound)| label < bound),
        }
    }

    fn numbers(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

pub(super) fn check_key(key: &str, path: &Path) -> Option<field::Error> {
    let problems = names::qualified_name(key);
    (!problems.is_empty()).then(|| field::Error::invalid(path, key, problems.join("; ")))
}

fn count_error(operator: Operator, count: usize) -> Option<&'static str> {
    match operator {
        Operator::In | Operator::NotIn if count == 0 => Some("for 'in', 'notin' operators, values set can't be empty"),
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if count != 1 => {
            Some("exact-match compatibility requires one single value")
        }
        Operator::Exists | Operator::DoesNotExist if count != 0 => {
            Some("values set must be empty for exists and does not exist")
        }
        Operator::GreaterThan | Operator::LessThan if count != 1 => {
            Some("for 'Gt', 'Lt' operators, exactly one value is required")
        }
        _ => None,
    }
}

/// What picks objects by labels: all of its requirements, sorted by key; or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
    selectable: bool,
}

impl Selector {
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), selectable: true }
    }

    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), selectable: false }
    }

    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, selectable: true }
    }

    /// Parses kubectl's syntax: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::requirements(text).map(Self::new)
    }

    /// Exactly these labels, unchecked: a Service's or ReplicationController's `spec.selector`.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let equals = |(key, value): (&str, &str)| Requirement {
            key: key.to_owned(),
            operator: Operator::Equals,
            values: vec![value.to_owned()],
        };
        Self::new(labels.into_iter().map(equals).collect())
    }

    /// From the parts of a `LabelSelector`: `matchLabels`, and `matchExpressions` as key, operator, values.
    pub fn from_parts<'a>(
        match_labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        match_expressions: impl IntoIterator<Item = (&'a str, &'a str, Vec<String>)>,
    ) -> Result<Self, Error> {
        let mut requirements = Vec::new();
        for (key, value) in match_labels {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.to_owned()], &Path::root())?);
        }
        for (key, operator, values) in match_expressions {
            let unknown = || Error(format!("{} is not a valid label selector operator", field::quote(operator)));
            let operator = Operator::from_label_selector(operator).ok_or_else(unknown)?;
            requirements.push(Requirement::new(key, operator, values, &Path::root())?);
        }
        Ok(Self::new(requirements))
    }

    /// From a `LabelSelector` as JSON. Absent or null selects nothing, an empty object everything.
    pub fn from_label_selector(selector: Option<&Value>) -> Result<Self, Error> {
        let Some(selector) = selector.filter(|s| !s.is_null()) else {
            return Ok(Self::nothing());
        };
        let labels = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
        let expressions = selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
        Self::from_parts(
            labels.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())),
            expressions.map(|expression| {
                let text = |name| expression.get(name).and_then(Value::as_str).unwrap_or_default();
                let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
                let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
                (text("key"), text("operator"), values)
            }),
        )
    }

    /// True when it restricts nothing.
    pub fn is_everything(&self) -> bool {
        self.selectable && self.requirements.is_empty()
    }

    /// True when it was made to pick no object, as an absent `LabelSelector` is.
    pub fn is_nothing(&self) -> bool {
        !self.selectable
    }

    /// The requirements, sorted by key. Empty for everything and for nothing.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Adds requirements; nothing stays nothing.
    pub fn and(mut self, requirements: impl IntoIterator<Item = Requirement>) -> Self {
        if self.selectable {
            self.requirements.extend(requirements);
            self.requirements.sort_by(|a, b| a.key.cmp(&b.key));
        }
        self
    }

    /// Whether an object with the labels that `lookup` gives is picked.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.selectable && self.requirements.iter().all(|r| r.matches(lookup(&r.key)))
    }

    /// [`Selector::matches`] over a typed object's labels.
    pub fn matches_labels(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches(|key| labels.and_then(|l| l.get(key)).map(String::as_str))
    }

    /// [`Selector::matches`] over an object's `metadata.labels` as JSON (or its absence).
    pub fn matches_value(&self, labels: Option<&Value>) -> bool {
        self.matches(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
    }

    /// The one value that the label must have, if the selector demands one.
    pub fn exact_match(&self, label: &str) -> Option<&str> {
        let requirement = self.requirements.iter().find(|r| r.key == label)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}
