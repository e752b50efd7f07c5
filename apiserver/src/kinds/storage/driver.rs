//! CSIDrivers and CSINodes: which storage drivers there are, and which of them run on a node.

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use machinery::names;
use serde_json::{Value, json};

use super::super::defaults::{set, spec};
use super::super::{Column, Hooks, MetadataRounds, validate};
use super::driver_name;
use crate::rest::table::{AGE, NAME, age};

const fn flag(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "boolean", priority: 0, description }
}

pub static DRIVER: Hooks = Hooks {
    // The scaling of volume limits is a gate that is off.
    prepare_create: |driver| {
        spec(driver).remove("preventPodSchedulingIfMissing");
    },
    prepare_update: |new, old| {
        if old["spec"]["preventPodSchedulingIfMissing"].is_null() {
            spec(new).remove("preventPodSchedulingIfMissing");
        }
    },
    default: |driver| {
        let fields = spec(driver);
        set(fields, "attachRequired", true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            set(fields, field, false);
        }
        if fields.get("fsGroupPolicy").is_none_or(Value::is_null) {
            fields.insert("fsGroupPolicy".into(), "ReadWriteOnceWithFSType".into());
        }
        if fields.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            fields.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
        }
    },
    validate: |driver| validate_driver(&driver["spec"], &Path::new("spec")),
    validate_update: |new, old| {
        let path = Path::new("spec");
        // Upstream's path of the first has a letter too many.
        let fields = [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")];
        let (new, old) = (&new["spec"], &old["spec"]);
        fields
            .iter()
            .filter_map(|(field, told)| validate::immutable(&new[field], &old[field], &path.child(told)))
            .collect()
    },
    warnings: |driver| {
        let lacks = !meta::list(driver, "spec.tokenRequests").is_empty()
            && meta::at(driver, "spec.serviceAccountTokenInSecrets").is_null();
        lacks.then(|| TOKENS_IN_SECRETS.to_owned()).into_iter().collect()
    },
    is_worth_warning: |new, old| new["spec"]["tokenRequests"] != old["spec"]["tokenRequests"],
    has_generation: true,
    // Upstream counts changes alone.
    first_generation: 0,
    updates_unconditionally: false,
    columns: &[
        NAME,
        flag("AttachRequired", "Whether volumes are attached before they are mounted."),
        flag("PodInfoOnMount", "Whether the driver is told of the pod."),
        flag("StorageCapacity", "Whether the driver tells how much it can hold."),
        Column {
            name: "TokenRequests",
            kind: "string",
            priority: 0,
            description: "Audiences of the tokens it is given.",
        },
        flag("RequiresRepublish", "Whether mounted volumes are published again and again."),
        Column { name: "Modes", kind: "string", priority: 0, description: "Which lives its volumes may have." },
        AGE,
    ],
    cells: driver_cells,
    ..Hooks::PLAIN
};

const TOKENS_IN_SECRETS: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes";

fn driver_cells(driver: &Value, now: i64) -> Vec<Value> {
    let is_set = |field: &str| Value::from(meta::is_true(&driver["spec"], field));
    let modes: Vec<&str> = meta::list(driver, "spec.volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
    let requests = meta::list(driver, "spec.tokenRequests");
    let audiences: Vec<&str> = requests.iter().map(|request| meta::text(request, "audience")).collect();
    vec![
        meta::name(driver).into(),
        driver["spec"]["attachRequired"].as_bool().unwrap_or(true).into(),
        is_set("podInfoOnMount"),
        is_set("storageCapacity"),
        if audiences.is_empty() { "<unset>".into() } else { audiences.join(",").into() },
        is_set("requiresRepublish"),
        if modes.is_empty() { "<none>".into() } else { modes.join(",").into() },
        age(driver, now).into(),
    ]
}

const UPDATE_PERIOD_SECONDS_MIN: i64 = 10;

fn validate_driver(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (policy, policies) = (meta::text(spec, "fsGroupPolicy"), ["File", "None", "ReadWriteOnceWithFSType"]);
    if !policies.contains(&policy) {
        errors.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, &policies));
    }
    errors.extend(token_requests(spec, &path.child("tokenRequests")));
    let modes = ["Persistent", "Ephemeral"];
    for mode in meta::list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        if !modes.contains(&mode) {
            errors.push(Error::not_supported(&path.child("volumeLifecycleModes"), mode, &modes));
        }
    }
    let period = spec["nodeAllocatableUpdatePeriodSeconds"].as_i64();
    if let Some(period) = period.filter(|period| *period < UPDATE_PERIOD_SECONDS_MIN) {
        let why = "must be greater than or equal to 10 seconds";
        errors.push(Error::invalid(&path.child("nodeAllocatableUpdatePeriodSeconds"), period, why));
    }
    let in_secrets = &spec["serviceAccountTokenInSecrets"];
    if !in_secrets.is_null() && meta::list(spec, "tokenRequests").is_empty() {
        let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        errors.push(Error::invalid(&path.child("serviceAccountTokenInSecrets"), in_secrets.clone(), why));
    }
    errors
}

fn token_requests(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known = Vec::new();
    for (position, request) in meta::list(spec, "tokenRequests").iter().enumerate() {
        let at = path.index(position);
        let audience = meta::text(request, "audience");
        if known.contains(&audience) {
            errors.push(Error::duplicate(&at.child("audience"), audience));
            continue;
        }
        known.push(audience);
        let why = match request["expirationSeconds"].as_i64() {
            Some(seconds) if seconds < 600 => "may not specify a duration less than 10 minutes",
            Some(seconds) if seconds > 1 << 32 => "may not specify a duration larger than 2^32 seconds",
            _ => continue,
        };
        errors.push(Error::invalid(&at.child("expirationSeconds"), request["expirationSeconds"].clone(), why));
    }
    errors
}

pub static NODE: Hooks = Hooks {
    metadata: MetadataRounds::WHOLE,
    validate: |node| {
        let path = validate::path(&["spec", "drivers"]);
        let mut errors = ErrorList::new();
        let mut known = Vec::new();
        for (position, driver) in meta::list(node, "spec.drivers").iter().enumerate() {
            let at = path.index(position);
            errors.extend(validate_node_driver(driver, &at));
            let name = meta::text(driver, "name");
            if known.contains(&name) {
                errors.push(Error::duplicate(&at.child("name"), name));
            }
            known.push(name);
        }
        errors
    },
    validate_update: validate_node_update,
    updates_unconditionally: false,
    columns: &[
        NAME,
        Column { name: "Drivers", kind: "integer", priority: 0, description: "How many drivers run on the node." },
        AGE,
    ],
    cells: |node, now| {
        vec![meta::name(node).into(), meta::list(node, "spec.drivers").len().into(), age(node, now).into()]
    },
    ..Hooks::PLAIN
};

const NODE_ID_BYTES_MAX: usize = 256;

fn validate_node_driver(driver: &Value, path: &Path) -> ErrorList {
    let mut errors = driver_name(meta::text(driver, "name"), &path.child("name"));
    let (id, at) = (meta::text(driver, "nodeID"), path.child("nodeID"));
    if id.is_empty() {
        errors.push(Error::required(&at, ""));
    }
    if id.len() > NODE_ID_BYTES_MAX {
        errors.push(Error::invalid(&at, id, format!("must be {NODE_ID_BYTES_MAX} characters or less")));
    }
    errors.extend(validate::not_negative(&driver["allocatable"]["count"], &path.child("allocatable").child("count")));
    let mut known = Vec::new();
    for key in meta::list(driver, "topologyKeys").iter().filter_map(Value::as_str) {
        if key.is_empty() {
            errors.push(Error::required(path, ""));
        }
        if known.contains(&key) {
            errors.push(Error::duplicate(path, key));
        }
        known.push(key);
        errors.extend(validate::named(key, names::qualified_name, path));
    }
    errors
}

/// A driver that is there stays as it is, but for how many volumes it can attach.
fn validate_node_update(new: &Value, old: &Value) -> ErrorList {
    let path = validate::path(&["spec", "drivers"]);
    let fields = ["name", "nodeID", "topologyKeys"];
    let mut errors = ErrorList::new();
    for before in meta::list(old, "spec.drivers") {
        let twins = meta::list(new, "spec.drivers").iter().filter(|driver| driver["name"] == before["name"]);
        for driver in twins.filter(|driver| fields.iter().any(|field| driver[field] != before[field])) {
            let (name, id) = (quote(meta::text(driver, "name")), quote(meta::text(driver, "nodeID")));
            let shown = format!(
                "{{\"Name\":{name},\"NodeID\":{id},\"TopologyKeys\":{},\"Allocatable\":null}}",
                driver["topologyKeys"]
            );
            errors.push(Error::invalid(&path, driver.clone(), "field is immutable").showing(shown));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(errors: ErrorList) -> Vec<String> {
        errors.iter().map(Error::to_string).collect()
    }

    #[test]
    fn a_field_behind_a_gate_stays_where_it_was_and_warnings_are_about_changes() {
        let driver = |spec: Value| json!({"spec": spec});
        let gated = driver(json!({"preventPodSchedulingIfMissing": true}));
        let (mut kept, mut dropped) = (gated.clone(), gated.clone());
        (DRIVER.prepare_update)(&mut kept, &gated);
        (DRIVER.prepare_update)(&mut dropped, &driver(json!({})));
        assert_eq!((kept, dropped), (gated, driver(json!({}))));
        let asking = driver(json!({"tokenRequests": [{"audience": "a"}]}));
        assert!((DRIVER.is_worth_warning)(&asking, &driver(json!({}))));
        assert!(!(DRIVER.is_worth_warning)(&asking, &asking));
    }

    #[test]
    fn drivers_good_and_bad() {
        let mut driver = json!({"spec": {}});
        (DRIVER.default)(&mut driver);
        assert_eq!(told((DRIVER.validate)(&driver)), [""; 0]);
        driver["spec"]["fsGroupPolicy"] = json!("x");
        driver["spec"]["tokenRequests"] = json!([{"audience": "a", "expirationSeconds": 5}, {"audience": "a"}, {"expirationSeconds": 5_000_000_000_i64}]);
        driver["spec"]["nodeAllocatableUpdatePeriodSeconds"] = json!(9);
        assert_eq!(
            told((DRIVER.validate)(&driver)),
            [
                "spec.fsGroupPolicy: Unsupported value: \"x\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                "spec.tokenRequests[2].expirationSeconds: Invalid value: 5000000000: may not specify a duration larger than 2^32 seconds",
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
            ]
        );
        let (old, mut new) = (driver.clone(), driver);
        new["spec"]["attachRequired"] = json!(false);
        let told = told((DRIVER.validate_update)(&new, &old));
        assert_eq!(told, ["spec.attachedRequired: Invalid value: false: field is immutable"]);
    }

    #[test]
    fn a_driver_of_a_node_changes_only_its_count() {
        let node = |id: &str, count: i64| json!({"spec": {"drivers": [{"name": "d", "nodeID": id, "topologyKeys": ["k"], "allocatable": {"count": count}}]}});
        assert_eq!(told((NODE.validate_update)(&node("n", 2), &node("n", 1))), [""; 0]);
        assert_eq!(
            told((NODE.validate_update)(&node("m", 1), &node("n", 1))),
            [
                "spec.drivers: Invalid value: {\"Name\":\"d\",\"NodeID\":\"m\",\"TopologyKeys\":[\"k\"],\"Allocatable\":null}: field is immutable"
            ]
        );
    }
}
