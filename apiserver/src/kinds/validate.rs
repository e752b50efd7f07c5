//! Rules that several kinds share, in upstream's words. Each takes a value and the path at which it stands.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names::{self, NameCheck};
use serde_json::Value;

pub use crate::rest::system::validate_labels;

/// A path of several steps from the object's root.
pub fn path(steps: &[&str]) -> Path {
    steps.iter().fold(Path::root(), |path, step| path.child(step))
}

/// A text that a check of [`machinery::names`] judges.
pub fn named(value: &str, check: NameCheck, path: &Path) -> ErrorList {
    check(value).into_iter().map(|words| Error::invalid(path, value, words)).collect()
}

/// A number that may not be negative.
pub fn not_negative(value: &Value, path: &Path) -> Option<Error> {
    let number = value.as_i64().filter(|number| *number < 0)?;
    Some(Error::invalid(path, number, "must be greater than or equal to 0"))
}

/// A field that may not change once it is set.
pub fn immutable(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    (new != old).then(|| Error::invalid(path, new.clone(), "field is immutable"))
}

/// A LabelSelector; `null` is none.
pub fn label_selector(selector: &Value, path: &Path) -> ErrorList {
    let mut errors = validate_labels(&selector["matchLabels"], &path.child("matchLabels"));
    for (position, expression) in meta::list(selector, "matchExpressions").iter().enumerate() {
        errors.extend(requirement(expression, &path.child("matchExpressions").index(position)));
    }
    errors
}

fn requirement(expression: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = meta::list(expression, "values");
    let operator = meta::text(expression, "operator");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(Error::required(&path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(Error::forbidden(&path.child("values"), why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    errors.extend(named(meta::text(expression, "key"), names::qualified_name, &path.child("key")));
    for (position, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        errors.extend(named(value, names::label_value, &path.child("values").index(position)));
    }
    errors
}

/// A number of pods, or a share of them of at most 100 %.
pub fn count_or_percent(value: &Value, path: &Path) -> ErrorList {
    match value {
        Value::Null => ErrorList::new(),
        Value::String(text) => {
            let mut errors = named(text, names::percent, path);
            let share = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok());
            if errors.is_empty() && share.is_none_or(|share| share > 100) {
                errors.push(Error::invalid(path, text.as_str(), "must not be greater than 100%"));
            }
            errors
        }
        number => not_negative(number, path).into_iter().collect(),
    }
}
