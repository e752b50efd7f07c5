//! What an access review asks: whether it is asked rightly, whom it is about, and what authorization is asked for it.
//!
//! Enter at [`validate`], then [`subject`] and [`attributes`]. The answer is not known here.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::selector::{FieldSelector, FieldTerm, Selector};
use serde_json::Value;

use crate::authz::Attributes;
use crate::kinds::go_form::{self, Form, TEXT};
use crate::request::{RequestInfo, User};

const PATH: Form = Form::Struct(&[("path", TEXT), ("verb", TEXT)]);

/// All that is wrong with a review of the resource `plural`.
pub fn validate(plural: &str, review: &Value) -> ErrorList {
    let (spec, local) = (&review["spec"], plural == "localsubjectaccessreviews");
    let mut errors = ErrorList::new();
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let about_path = |at: &Path, why: &str| Error::invalid(at, path.clone(), why).showing(go_form::write(path, &PATH));
    let at = |field: &str| Path::new("spec").child(field);
    match (resource.is_null(), path.is_null()) {
        (false, false) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(about_path(&at("nonResourceAttributes"), why));
        }
        (true, true) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(about_path(&at("resourceAttributes"), why));
        }
        _ => {}
    }
    let nobody = meta::text(review, "spec.user").is_empty() && meta::list(review, "spec.groups").is_empty();
    if plural != "selfsubjectaccessreviews" && nobody {
        errors.push(Error::invalid(&at("user"), "", "at least one of user or group must be specified"));
    }
    let at_resource = at("resourceAttributes");
    errors.extend(validate_selector(&resource["fieldSelector"], &at_resource.child("fieldSelector"), false));
    errors.extend(validate_selector(&resource["labelSelector"], &at_resource.child("labelSelector"), true));
    errors.extend(validate_metadata(&review["metadata"], local));
    if !local {
        return errors;
    }
    let namespace = meta::text(resource, "namespace");
    if !resource.is_null() && namespace != meta::namespace(review) {
        errors.push(Error::invalid(&at_resource.child("namespace"), namespace, "must match metadata.namespace"));
    }
    if !path.is_null() {
        errors.push(about_path(&at("nonResourceAttributes"), "disallowed on this kind of request"));
    }
    errors
}

fn validate_metadata(metadata: &Value, local: bool) -> Option<Error> {
    let mut given = metadata.as_object().into_iter().flatten();
    let is_allowed = |name: &str| name == "managedFields" || (local && name == "namespace");
    let why = if local { "must be empty except for namespace" } else { "must be empty" };
    given
        .any(|(name, value)| !is_allowed(name) && !value.is_null())
        .then(|| Error::invalid(&Path::new("metadata"), metadata.clone(), why))
}

/// Operators that are not known are taken: a newer client may know them.
fn validate_selector(selector: &Value, path: &Path, of_labels: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    if selector.is_null() {
        return errors;
    }
    let (raw, requirements) = (meta::text(selector, "rawSelector"), meta::list(selector, "requirements"));
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => {
            let why = "may not specified at the same time as requirements";
            errors.push(Error::invalid(&path.child("rawSelector"), raw, why));
        }
        (true, true) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(Error::required(&path.child("requirements"), why));
        }
        _ => {}
    }
    for (position, requirement) in requirements.iter().enumerate() {
        errors.extend(validate_requirement(requirement, &path.child("requirements").index(position), of_labels));
    }
    errors
}

fn validate_requirement(requirement: &Value, path: &Path, of_labels: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let (key, values) = (meta::text(requirement, "key"), meta::list(requirement, "values"));
    if !of_labels && key.is_empty() {
        errors.push(Error::required(&path.child("key"), "must be specified"));
    }
    match meta::text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(Error::required(&path.child("values"), why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(Error::forbidden(&path.child("values"), why));
        }
        _ => {}
    }
    if of_labels {
        let named = |text: &str, check: fn(&str) -> Vec<String>, at: Path| -> ErrorList {
            check(text).into_iter().map(|words| Error::invalid(&at, text, words)).collect()
        };
        errors.extend(named(key, names::qualified_name, path.child("key")));
        for (position, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            errors.extend(named(value, names::label_value, path.child("values").index(position)));
        }
    }
    errors
}

/// Whom a review asks about.
pub fn subject(review: &Value) -> User {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = meta::map(review, "spec.extra");
    User {
        name: meta::text(review, "spec.user").to_owned(),
        uid: meta::text(review, "spec.uid").to_owned(),
        groups: strings(&review["spec"]["groups"]),
        extra: extra.iter().map(|(key, values)| (key.to_lowercase(), strings(values))).collect(),
    }
}

/// What is asked for, and a remark about what of it was not understood and left out: that asks for more, never for less.
pub fn attributes(spec: &Value) -> (Attributes, String) {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    if resource.is_null() {
        let info = RequestInfo { verb: text(path, "verb"), path: text(path, "path"), ..RequestInfo::default() };
        return (Attributes { info, ..Attributes::default() }, String::new());
    }
    let info = RequestInfo {
        verb: text(resource, "verb"),
        is_resource: true,
        group: text(resource, "group"),
        version: text(resource, "version"),
        namespace: text(resource, "namespace"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        name: text(resource, "name"),
        ..RequestInfo::default()
    };
    let (fields, ignored) = fields_of(&resource["fieldSelector"]);
    let remarks = [("fieldSelector", ignored), ("labelSelector", labels_ignored(&resource["labelSelector"]))];
    let remarks = remarks.into_iter().filter_map(|(name, ignored)| {
        let how = match ignored {
            Ignored::Nothing => return None,
            Ignored::Part => "partially ignored",
            Ignored::All => "ignored",
        };
        Some(format!("spec.resourceAttributes.{name} {how} due to parse error"))
    });
    let remark = remarks.collect::<Vec<_>>().join("; ");
    (Attributes { info, fields }, remark)
}

/// How much of a selector was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ignored {
    Nothing,
    Part,
    All,
}

impl Ignored {
    fn of(understood: usize, given: usize) -> Self {
        match understood {
            all if all == given => Self::Nothing,
            0 => Self::All,
            _ => Self::Part,
        }
    }
}

fn fields_of(selector: &Value) -> (FieldSelector, Ignored) {
    if let Some(raw) = selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        return match FieldSelector::parse(raw) {
            Ok(parsed) => (parsed, Ignored::Nothing),
            Err(_) => (FieldSelector::everything(), Ignored::All),
        };
    }
    let requirements = meta::list(selector, "requirements");
    let terms = requirements.iter().filter_map(|requirement| {
        let [value] = meta::list(requirement, "values") else { return None };
        let equal = match meta::text(requirement, "operator") {
            "In" => true,
            "NotIn" => false,
            _ => return None,
        };
        let field = meta::text(requirement, "key").to_owned();
        Some(FieldTerm { field, equal, value: value.as_str().unwrap_or_default().to_owned() })
    });
    let terms: Vec<FieldTerm> = terms.collect();
    let ignored = Ignored::of(terms.len(), requirements.len());
    (FieldSelector::new(terms), ignored)
}

/// No mode here looks at labels: they are read only to tell what was not understood.
fn labels_ignored(selector: &Value) -> Ignored {
    if let Some(raw) = selector["rawSelector"].as_str().filter(|raw| !raw.is_empty()) {
        return if Selector::parse(raw).is_ok() { Ignored::Nothing } else { Ignored::All };
    }
    let requirements = meta::list(selector, "requirements");
    let is_known = |requirement: &&Value| {
        matches!(meta::text(requirement, "operator"), "In" | "NotIn" | "Exists" | "DoesNotExist")
    };
    Ignored::of(requirements.iter().filter(is_known).count(), requirements.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(plural: &str, review: Value) -> Vec<String> {
        validate(plural, &review).iter().map(Error::to_string).collect()
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let both = json!({"metadata": {"name": "a"}, "spec": {"resourceAttributes": {}, "nonResourceAttributes": {"path": "/"}}});
        assert_eq!(
            told("subjectaccessreviews", both.clone()),
            [
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/\",\"Verb\":\"\"}: cannot be specified in combination with resourceAttributes",
                "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                "metadata: Invalid value: {\"name\":\"a\"}: must be empty",
            ]
        );
        assert_eq!(told("selfsubjectaccessreviews", both).len(), 2);
        let local = json!({"metadata": {"namespace": "n"}, "spec": {"user": "u", "nonResourceAttributes": {}}});
        assert_eq!(
            told("localsubjectaccessreviews", local),
            [
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"\",\"Verb\":\"\"}: disallowed on this kind of request"
            ]
        );
        let elsewhere =
            json!({"metadata": {"namespace": "n"}, "spec": {"user": "u", "resourceAttributes": {"namespace": "m"}}});
        assert_eq!(
            told("localsubjectaccessreviews", elsewhere),
            ["spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace"]
        );
    }

    #[test]
    fn selectors_are_judged() {
        let of = |selector: Value| {
            told("selfsubjectaccessreviews", json!({"spec": {"resourceAttributes": {"fieldSelector": selector}}}))
        };
        let at = "spec.resourceAttributes.fieldSelector";
        assert_eq!(
            of(json!({})),
            [format!(
                "{at}.requirements: Required value: when {at} is specified, requirements or rawSelector is required"
            )]
        );
        let both = json!({"rawSelector": "a=b", "requirements": [{"operator": "In"}]});
        assert_eq!(
            of(both),
            [
                format!("{at}.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements"),
                format!("{at}.requirements[0].key: Required value: must be specified"),
                format!(
                    "{at}.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
                ),
            ]
        );
        assert!(of(json!({"requirements": [{"key": "a", "operator": "Like", "values": ["b"]}]})).is_empty());
    }

    #[test]
    fn what_is_not_understood_is_told_and_left_out() {
        let requirement = |operator: &str| json!({"key": "a", "operator": operator, "values": ["b"]});
        let of = |fields: Value, labels: Value| {
            attributes(&json!({"resourceAttributes": {"fieldSelector": fields, "labelSelector": labels}}))
        };
        let (asked, remark) = of(json!({"requirements": [requirement("In"), requirement("NotIn")]}), Value::Null);
        assert_eq!((asked.fields.terms().len(), remark.as_str()), (2, ""));
        let (asked, remark) =
            of(json!({"requirements": [requirement("In"), requirement("Like")]}), json!({"rawSelector": "!!"}));
        assert_eq!(asked.fields.terms().len(), 1);
        assert_eq!(
            remark,
            "spec.resourceAttributes.fieldSelector partially ignored due to parse error; \
             spec.resourceAttributes.labelSelector ignored due to parse error"
        );
    }
}
