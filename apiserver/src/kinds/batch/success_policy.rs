//! When an indexed Job is done before all of it is (Kubernetes concept: "Success policy").

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::failure_policy::too_many;
use super::indexes;
use crate::kinds::go_form::{Form, POINTER};
use crate::kinds::validate;

const RULE: Form = Form::Struct(&[("succeededIndexes", POINTER), ("succeededCount", POINTER)]);
pub const FORM: Form = Form::Struct(&[("rules", Form::List(&RULE))]);

const RULES_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;

/// `spec` is the Job's.
pub fn all(spec: &Value, path: &Path) -> ErrorList {
    let rules = meta::list(spec, "successPolicy.rules");
    let at = path.child("rules");
    let mut errors = ErrorList::new();
    if rules.is_empty() {
        errors.push(Error::required(&at, "at least one rules must be specified when the successPolicy is specified"));
    }
    errors.extend(too_many(rules.len(), RULES_MAX, &at));
    let completions = spec["completions"].as_i64().unwrap_or(0);
    for (position, rule) in rules.iter().enumerate() {
        errors.extend(one(rule, completions, &at.index(position)));
    }
    errors
}

fn one(rule: &Value, completions: i64, path: &Path) -> ErrorList {
    let (given, count) = (rule["succeededIndexes"].as_str(), rule["succeededCount"].as_i64());
    let mut errors = ErrorList::new();
    if given.is_none() && count.is_none() {
        errors.push(Error::required(path, "at least one of succeededCount or succeededIndexes must be specified"));
    }
    let mut total = 0;
    if let Some(given) = given {
        let at = path.child("succeededIndexes");
        if given.len() > INDEXES_BYTES_MAX {
            errors.push(Error::too_long(&at, INDEXES_BYTES_MAX));
        }
        match indexes::count(given, completions) {
            Ok(count) => total = count,
            Err(why) => errors.push(Error::invalid(&at, given, format!("error parsing succeededIndexes: {why}"))),
        }
    }
    if let Some(count) = count {
        let at = path.child("succeededCount");
        errors.extend(validate::not_negative(&rule["succeededCount"], &at));
        if count > completions {
            let why = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(Error::invalid(&at, count, why));
        }
        if given.is_some() && count > total {
            let why = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.push(Error::invalid(&at, count, why));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_can_be_met() {
        for (rule, want) in [
            (json!({"succeededIndexes": "0-1"}), vec![]),
            (json!({"succeededIndexes": "0-1", "succeededCount": 2}), vec![]),
            (json!({}), vec!["r"]),
            (json!({"succeededIndexes": "0-1", "succeededCount": 3}), vec!["r.succeededCount"]),
            (json!({"succeededCount": 4}), vec!["r.succeededCount"]),
            (json!({"succeededCount": -1}), vec!["r.succeededCount"]),
            (json!({"succeededIndexes": "3"}), vec!["r.succeededIndexes"]),
        ] {
            let fields: Vec<String> = one(&rule, 3, &Path::new("r")).into_iter().map(|error| error.field).collect();
            assert_eq!(fields, want, "{rule}");
        }
    }
}
