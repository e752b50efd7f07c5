//! StorageClasses and VolumeAttributesClasses.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::super::go_form::{Form, POINTER, TEXT};
use super::super::{Column, Hooks, MetadataRounds, node_labels, text_column, validate};
use crate::rest::table::{AGE, NAME, age};

pub static STORAGE: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    default: |class| {
        let Some(fields) = class.as_object_mut() else { return };
        if fields.get("reclaimPolicy").is_none_or(Value::is_null) {
            fields.insert("reclaimPolicy".into(), "Delete".into());
        }
        if fields.get("volumeBindingMode").is_none_or(Value::is_null) {
            fields.insert("volumeBindingMode".into(), "Immediate".into());
        }
    },
    validate: validate_storage,
    validate_update: |new, old| {
        let fields = [
            ("parameters", POINTER),
            ("provisioner", TEXT),
            ("reclaimPolicy", POINTER),
            ("volumeBindingMode", POINTER),
        ];
        let changed =
            |(field, form): (&str, Form)| validate::immutable_as(&form, &new[field], &old[field], &Path::new(field));
        fields.into_iter().filter_map(changed).collect()
    },
    warnings: storage_warnings,
    columns: &[
        NAME,
        text_column("Provisioner", "Who makes volumes of the class."),
        text_column("ReclaimPolicy", "What becomes of a volume when its claim goes."),
        text_column("VolumeBindingMode", "When a claim gets its volume."),
        Column { name: "AllowVolumeExpansion", kind: "string", priority: 0, description: "Whether claims may grow." },
        AGE,
    ],
    cells: storage_cells,
    ..Hooks::PLAIN
};

pub static ATTRIBUTES: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    validate: |class| {
        let mut errors = provisioner(meta::text(class, "driverName"), &Path::new("driverName"));
        errors.extend(parameters(class, &Path::new("parameters")));
        if meta::map(class, "parameters").is_empty() {
            errors.push(Error::required(&Path::new("parameters"), "must contain at least one key/value pair"));
        }
        errors
    },
    validate_update: |new, old| {
        let changed = ["driverName", "parameters"].into_iter().filter(|field| new[field] != old[field]);
        changed.map(|field| Error::forbidden(&Path::new(field), format!("updates to {field} are forbidden."))).collect()
    },
    columns: &[NAME, text_column("DriverName", "The driver that the class is for."), AGE],
    cells: |class, now| vec![meta::name(class).into(), meta::text(class, "driverName").into(), age(class, now).into()],
    ..Hooks::PLAIN
};

/// The annotations that make a class the one of claims that name none.
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

fn storage_cells(class: &Value, now: i64) -> Vec<Value> {
    let is_default = DEFAULT.iter().any(|key| meta::annotation(class, key) == Some("true"));
    let text = |field: &str, otherwise: &str| Value::from(class[field].as_str().unwrap_or(otherwise));
    vec![
        format!("{}{}", meta::name(class), if is_default { " (default)" } else { "" }).into(),
        text("provisioner", ""),
        text("reclaimPolicy", "Delete"),
        text("volumeBindingMode", "Immediate"),
        meta::is_true(class, "allowVolumeExpansion").into(),
        age(class, now).into(),
    ]
}

fn validate_storage(class: &Value) -> ErrorList {
    let mut errors = provisioner(meta::text(class, "provisioner"), &Path::new("provisioner"));
    errors.extend(parameters(class, &Path::new("parameters")));
    let (policy, policies) = (meta::text(class, "reclaimPolicy"), ["Delete", "Retain"]);
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.push(Error::not_supported(&Path::new("reclaimPolicy"), policy, &policies));
    }
    let (mode, modes) = (meta::text(class, "volumeBindingMode"), ["Immediate", "WaitForFirstConsumer"]);
    if !modes.contains(&mode) {
        errors.push(Error::not_supported(&Path::new("volumeBindingMode"), mode, &modes));
    }
    errors.extend(topologies(class, &Path::new("allowedTopologies")));
    errors
}

fn provisioner(name: &str, path: &Path) -> ErrorList {
    match name {
        "" => vec![Error::required(path, "")],
        // Upstream shows the lower-cased name.
        name => validate::named(&name.to_lowercase(), names::qualified_name, path),
    }
}

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

fn parameters(class: &Value, path: &Path) -> ErrorList {
    let parameters = meta::map(class, "parameters");
    if parameters.len() > PARAMETERS_MAX {
        return vec![Error::too_long(path, PARAMETERS_MAX)];
    }
    let mut errors = ErrorList::new();
    if parameters.contains_key("") {
        errors.push(Error::invalid(path, "", "field can not be empty."));
    }
    let bytes: usize = parameters.iter().map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len()).sum();
    if bytes > PARAMETERS_BYTES_MAX {
        errors.push(Error::too_long(path, PARAMETERS_BYTES_MAX));
    }
    errors
}

/// Labels of nodes that volumes may be made for: each term once, each key of a term once.
fn topologies(class: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known: Vec<Vec<(&str, Vec<&str>)>> = Vec::new();
    for (position, term) in meta::list(class, "allowedTopologies").iter().enumerate() {
        let at = path.index(position).child("matchLabelExpressions");
        let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
        for (position, expression) in meta::list(term, "matchLabelExpressions").iter().enumerate() {
            let (key, values, wrong) = topology(expression, &at.index(position));
            errors.extend(wrong);
            if let Some(twin) = found.iter_mut().find(|(other, _)| *other == key) {
                errors.push(Error::duplicate(&at.index(position).child("key"), key));
                twin.1 = values;
            } else {
                found.push((key, values));
            }
        }
        found.sort();
        // Upstream holds each term beside as many empty ones as there are terms, so that an empty one is its twin.
        let twins = known.iter().filter(|other| **other == found).count();
        let empty = if found.is_empty() { meta::list(class, "allowedTopologies").len() } else { 0 };
        errors.extend((0..twins + empty).map(|_| Error::duplicate(&at, "")));
        known.push(found);
    }
    errors
}

fn topology<'a>(expression: &'a Value, path: &Path) -> (&'a str, Vec<&'a str>, ErrorList) {
    let mut errors = ErrorList::new();
    let mut values: Vec<&str> = Vec::new();
    let at = path.child("values");
    for (position, value) in meta::list(expression, "values").iter().filter_map(Value::as_str).enumerate() {
        if values.contains(&value) {
            errors.push(Error::duplicate(&at.index(position), value));
        } else {
            values.push(value);
        }
    }
    if values.is_empty() {
        errors.push(Error::required(&at, ""));
    }
    let key = meta::text(expression, "key");
    errors.extend(validate::named(key, names::qualified_name, &path.child("key")));
    values.sort_unstable();
    (key, values, errors)
}

fn storage_warnings(class: &Value) -> Vec<String> {
    let path = Path::new("allowedTopologies");
    let terms = meta::list(class, "allowedTopologies").iter().enumerate();
    terms
        .flat_map(|(position, term)| {
            let at = path.index(position).child("matchLabelExpressions");
            let expressions = meta::list(term, "matchLabelExpressions").iter().enumerate();
            expressions.filter_map(move |(position, expression)| {
                let words = node_labels::deprecation(meta::text(expression, "key"))?;
                Some(format!("{}: {words}", at.index(position).child("key")))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(class: Value) -> Vec<String> {
        validate_storage(&class).iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn terms_and_their_keys_stand_once() {
        let class = |topologies: Value| json!({"provisioner": "a.b/c", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate", "allowedTopologies": topologies});
        let term = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]});
        assert_eq!(told(class(json!([term]))), [""; 0]);
        assert_eq!(
            told(class(json!([term, term]))),
            ["allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\""]
        );
        let doubled = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["a", "a"]}, {"key": "zone"}]}]);
        assert_eq!(
            told(class(doubled)),
            [
                "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
                "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
                "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"zone\"",
            ]
        );
    }

    #[test]
    fn what_a_class_makes_stays_the_same() {
        let old = json!({"parameters": {"a": "b"}, "provisioner": "x", "reclaimPolicy": "Delete"});
        let new = json!({"parameters": {"a": "c"}, "provisioner": "x", "reclaimPolicy": "Retain"});
        let told: Vec<String> = (STORAGE.validate_update)(&new, &old).iter().map(|error| error.field.clone()).collect();
        assert_eq!(told, ["parameters", "reclaimPolicy"]);
        let told = (ATTRIBUTES.validate_update)(&json!({"driverName": "b"}), &json!({"driverName": "a"}));
        assert_eq!(told[0].to_string(), "driverName: Forbidden: updates to driverName are forbidden.");
    }
}
