//! ResourceSlices: the devices that a driver has, pool by pool.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Map, Value};

use super::super::go_form::{self, POINTER, TEXT};
use super::super::storage::driver_name;
use super::super::{Hooks, pod, text_column, validate};
use super::form;
use super::{
    DOMAIN_BYTES_MAX, EFFECTS, IDENTIFIER_BYTES_MAX, binding_conditions, each, each_once, label, name_of, pool_name,
    prepare::prepare, qualified,
};
use crate::rest::table::{AGE, NAME, age};

pub static HOOKS: Hooks = Hooks {
    prepare_create: |new| prepare(new, &Value::Null),
    prepare_update: prepare,
    validate_against: |new, old| validate_spec(&new["spec"], old.map(|old| &old["spec"]), &Path::new("spec")),
    warnings: |slice| {
        let driver = meta::text(slice, "spec.driver");
        let has_upper = driver != driver.to_lowercase();
        has_upper
            .then(|| {
                let shown = machinery::field::quote(driver);
                format!("spec.driver: driver names should be lowercase; {shown} contains uppercase characters")
            })
            .into_iter()
            .collect()
    },
    has_generation: true,
    fields: &[("spec.nodeName", "spec.nodeName"), ("spec.driver", "spec.driver")],
    columns: &[
        NAME,
        text_column("Node", "The node that has the devices."),
        text_column("Driver", "The driver that tells of them."),
        text_column("Pool", "The pool they are of."),
        AGE,
    ],
    cells: |slice, now| {
        let text = |path: &str| Value::from(meta::text(slice, path));
        vec![
            meta::name(slice).into(),
            text("spec.nodeName"),
            text("spec.driver"),
            text("spec.pool.name"),
            age(slice, now).into(),
        ]
    },
    ..Hooks::PLAIN
};

const DEVICES_MAX: usize = 128;
const DEVICES_WITH_MORE_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;

fn validate_spec(spec: &Value, old: Option<&Value>, path: &Path) -> ErrorList {
    let mut errors = driver_name(meta::text(spec, "driver"), &path.child("driver"));
    errors.extend(validate_pool(&spec["pool"], &path.child("pool")));
    if let Some(old) = old {
        let name = path.child("pool").child("name");
        errors.extend(validate::immutable_as(&TEXT, &spec["pool"]["name"], &old["pool"]["name"], &name));
        for (field, form) in [("driver", TEXT), ("nodeName", POINTER)] {
            errors.extend(validate::immutable_as(&form, &spec[field], &old[field], &path.child(field)));
        }
    }
    errors.extend(nodes(spec, path));
    let (devices, counters) = (meta::list(spec, "devices"), meta::list(spec, "sharedCounters"));
    if !devices.is_empty() && !counters.is_empty() {
        errors.push(Error::invalid(path, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let has_more =
        |device: &Value| ["taints", "consumesCounters"].iter().any(|list| !meta::list(device, list).is_empty());
    let devices_max = if devices.iter().any(has_more) { DEVICES_WITH_MORE_MAX } else { DEVICES_MAX };
    let by_device = meta::is_true(spec, "perDeviceNodeSelection");
    errors.extend(each_once(devices, devices_max, &path.child("devices"), name_of, |device, at| {
        let mut stored = old.map(|old| meta::list(old, "devices")).unwrap_or_default().iter();
        validate_device(device, stored.find(|twin| twin["name"] == device["name"]), by_device, at)
    }));
    errors.extend(each_once(counters, COUNTER_SETS_MAX, &path.child("sharedCounters"), name_of, |set, at| {
        counter_set(set, "name", at)
    }));
    errors
}

fn validate_pool(pool: &Value, path: &Path) -> ErrorList {
    let mut errors = pool_name(meta::text(pool, "name"), &path.child("name"));
    let number = |field: &str| pool[field].as_i64().unwrap_or(0);
    if number("resourceSliceCount") <= 0 {
        let why = "must be greater than zero";
        errors.push(Error::invalid(&path.child("resourceSliceCount"), number("resourceSliceCount"), why));
    }
    if number("generation") < 0 {
        let why = "must be greater than or equal to zero";
        errors.push(Error::invalid(&path.child("generation"), number("generation"), why));
    }
    errors
}

/// Which nodes can use the devices: told in exactly one way.
fn nodes(spec: &Value, path: &Path) -> ErrorList {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    let mut errors = ErrorList::new();
    let mut ways = Vec::new();
    match spec["nodeName"].as_str() {
        None => {}
        Some("") => {
            let why = "must be either unset or set to a non-empty string";
            errors.push(Error::invalid(&path.child("nodeName"), "", why));
        }
        Some(name) => {
            ways.push("`nodeName`");
            errors.extend(validate::named(name, names::dns_subdomain, &path.child("nodeName")));
        }
    }
    let selector = &spec["nodeSelector"];
    if selector.is_object() {
        ways.push("`nodeSelector`");
        let at = path.child("nodeSelector");
        errors.extend(pod::validate::node_selector(selector, &at));
        if meta::list(selector, "nodeSelectorTerms").len() != 1 {
            let why = "must have exactly one node selector term";
            let terms = &selector["nodeSelectorTerms"];
            let error = Error::invalid(&at.child("nodeSelectorTerms"), terms.clone(), why);
            let shown = go_form::write(terms, &pod::NODE_TERMS);
            errors.push(if terms.is_null() { error } else { error.showing(shown) });
        }
    }
    for (field, way) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        match spec[field].as_bool() {
            Some(true) => ways.push(way),
            Some(false) => {
                errors.push(Error::invalid(&path.child(field), false, "must be either unset or set to true"));
            }
            None => {}
        }
    }
    match ways.len() {
        0 => errors.push(Error::required(path, ONE)),
        1 => {}
        _ => {
            let why = format!("{ONE}, but multiple fields are set");
            errors.push(Error::invalid(path, format!("{{{}}}", ways.join(", ")), why));
        }
    }
    errors
}

/// As [`nodes`], for one device of a slice that leaves it to its devices.
fn device_nodes(device: &Value, by_device: bool, path: &Path) -> ErrorList {
    let is_told = |field: &&str| !device[*field].is_null();
    if !by_device {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        let told = ["nodeName", "nodeSelector", "allNodes"].iter().any(is_told);
        return told.then(|| Error::invalid(path, Value::Null, why)).into_iter().collect();
    }
    let mut errors = ErrorList::new();
    let mut ways = Vec::new();
    match device["nodeName"].as_str() {
        None => {}
        Some("") => errors.push(Error::invalid(&path.child("nodeName"), "", "must not be empty")),
        Some(name) => {
            ways.push("`nodeName`");
            errors.extend(validate::named(name, names::dns_subdomain, &path.child("nodeName")));
        }
    }
    if device["nodeSelector"].is_object() {
        ways.push("`nodeSelector`");
        errors.extend(pod::validate::node_selector(&device["nodeSelector"], &path.child("nodeSelector")));
    }
    match device["allNodes"].as_bool() {
        Some(true) => ways.push("`allNodes`"),
        Some(false) => {
            errors.push(Error::invalid(&path.child("allNodes"), false, "must be either unset or set to true"));
        }
        None => {}
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match ways.len() {
        0 => errors.push(Error::required(path, why)),
        1 => {}
        _ => errors.push(Error::invalid(path, format!("{{{}}}", ways.join(", ")), why)),
    }
    errors
}

const FACTS_MAX: usize = 32;
const TAINTS_MAX: usize = 16;
const CONSUMPTIONS_MAX: usize = 2;

fn validate_device(device: &Value, old: Option<&Value>, by_device: bool, path: &Path) -> ErrorList {
    let mut errors = label(device, "name", path);
    let (attributes, capacities) = (meta::map(device, "attributes"), meta::map(device, "capacity"));
    let facts = attributes.len() + capacities.len();
    if facts > FACTS_MAX {
        let why = format!("the total number of attributes and capacities must not exceed {FACTS_MAX}");
        errors.push(Error::invalid(path, facts, why));
    }
    errors.extend(facts_of(attributes, &path.child("attributes"), attribute));
    let is_shared = meta::is_true(device, "allowMultipleAllocations");
    errors.extend(facts_of(capacities, &path.child("capacity"), |fact, at| capacity(fact, is_shared, at)));
    if old.is_none_or(|old| old["taints"] != device["taints"]) {
        errors.extend(each(meta::list(device, "taints"), TAINTS_MAX, &path.child("taints"), taint));
    }
    let consumed = meta::list(device, "consumesCounters");
    let at = path.child("consumesCounters");
    errors.extend(each_once(
        consumed,
        CONSUMPTIONS_MAX,
        &at,
        |item| item["counterSet"].clone(),
        |item, at| counter_set(item, "counterSet", at),
    ));
    errors.extend(device_nodes(device, by_device, path));
    errors.extend(binding_conditions(device, path));
    errors
}

/// The members of a map whose keys are qualified names.
fn facts_of(facts: &Map<String, Value>, path: &Path, check: impl Fn(&Value, &Path) -> ErrorList) -> ErrorList {
    let key_bytes_max = DOMAIN_BYTES_MAX + 1 + IDENTIFIER_BYTES_MAX;
    let each = facts.iter();
    each.flat_map(|(key, fact)| [qualified(key, path), check(fact, &path.key(&shortened(key, key_bytes_max)))].concat())
        .collect()
}

/// A long key with its middle left out.
fn shortened(key: &str, bytes_max: usize) -> String {
    if key.len() <= bytes_max {
        return key.to_owned();
    }
    let kept = bytes_max - 3;
    let (head, tail) = (key.get(..kept.div_ceil(2)), key.get(key.len() - kept / 2..));
    format!("{}...{}", head.unwrap_or_default(), tail.unwrap_or_default())
}

const VALUE_BYTES_MAX: usize = 64;

fn attribute(attribute: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = ["bool", "int", "string", "version"].iter().filter(|kind| !attribute[**kind].is_null()).count();
    for kind in ["string", "version"] {
        let Some(text) = attribute[kind].as_str() else { continue };
        if kind == "version" && !is_semantic_version(text) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(Error::invalid(&path.child(kind), text, why));
        }
        if text.len() > VALUE_BYTES_MAX {
            errors.push(Error::too_long(&path.child(kind), VALUE_BYTES_MAX));
        }
    }
    if values != 1 {
        let why = "exactly one value must be specified";
        errors.push(match values {
            0 => Error::invalid(path, "", why),
            _ => Error::invalid(path, attribute.clone(), why).showing(go_form::write(attribute, &form::ATTRIBUTE)),
        });
    }
    errors
}

/// `1.2.3-alpha.1+build.5`, by semver.org's grammar.
fn is_semantic_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = |part: &str| is_digits(part) && (part == "0" || !part.starts_with('0'));
    let mut numbers = core.split('.');
    numbers.by_ref().take(3).filter(|part| is_number(part)).count() == 3
        && numbers.next().is_none()
        && pre.is_none_or(|pre| pre.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part))))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

fn capacity(capacity: &Value, is_shared: bool, path: &Path) -> ErrorList {
    let (policy, at) = (&capacity["requestPolicy"], path.child("requestPolicy"));
    match (policy.is_object(), is_shared) {
        (false, _) => ErrorList::new(),
        (true, false) => vec![Error::forbidden(&at, "allowMultipleAllocations must be true")],
        (true, true) => request_policy(policy, &quantity(&capacity["value"]), &at),
    }
}

fn quantity(value: &Value) -> Quantity {
    Quantity::from_value(value).unwrap_or_else(|_| Quantity::new(0, machinery::quantity::Format::DecimalSi))
}

/// How much of a shared capacity a request may ask for.
fn request_policy(policy: &Value, whole: &Quantity, path: &Path) -> ErrorList {
    let (values, range, default) = (meta::list(policy, "validValues"), &policy["validRange"], &policy["default"]);
    let default_at = path.child("default");
    match (values.is_empty(), range.is_object(), default.is_null()) {
        (false, true, _) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            vec![Error::forbidden(path, why)]
        }
        (false, false, true) => vec![Error::required(&default_at, "required when validValues is defined")],
        (true, true, true) => vec![Error::required(&default_at, "required when validRange is defined")],
        (false, false, false) => valid_values(values, &quantity(default), whole, &path.child("validValues")),
        (true, true, false) => valid_range(range, &quantity(default), whole, &path.child("validRange")),
        (true, false, _) => ErrorList::new(),
    }
}

const VALUES_MAX: usize = 10;

fn valid_values(values: &[Value], default: &Quantity, whole: &Quantity, path: &Path) -> ErrorList {
    let amounts: Vec<Quantity> = values.iter().map(quantity).collect();
    let mut errors = ErrorList::new();
    for (position, pair) in amounts.windows(2).enumerate().filter(|(_, pair)| pair[0] > pair[1]) {
        let why = "values must be sorted in ascending order";
        errors.push(Error::invalid(&path.index(position + 1), pair[1].to_string(), why));
    }
    let key = |value: &Value| quantity(value).value().to_string().into();
    errors.extend(each_once(values, VALUES_MAX, path, key, |value, at| {
        let amount = quantity(value);
        let why = format!("option is larger than capacity value: {whole}");
        (amount > *whole).then(|| Error::invalid(at, amount.to_string(), why)).into_iter().collect()
    }));
    if values.len() > VALUES_MAX || !amounts.contains(default) {
        let why = "default value is not valid according to the requestPolicy";
        errors.push(Error::invalid(path, default.to_string(), why));
    }
    errors
}

fn valid_range(range: &Value, default: &Quantity, whole: &Quantity, path: &Path) -> ErrorList {
    let at = |field: &str| path.child(field);
    if range["min"].is_null() {
        return vec![Error::required(&at("min"), "required when validRange is defined")];
    }
    let low = quantity(&range["min"]);
    let mut errors = ErrorList::new();
    let mut refuse = |wrong: bool, field: &str, value: &Quantity, why: String| {
        if wrong {
            errors.push(Error::invalid(&at(field), value.to_string(), why));
        }
    };
    refuse(low > *whole, "min", &low, format!("min is larger than capacity value: {whole}"));
    refuse(*default < low, "min", default, format!("default is less than min: {low}"));
    let high = (!range["max"].is_null()).then(|| quantity(&range["max"]));
    if let Some(high) = &high {
        refuse(low > *high, "max", &low, format!("min is larger than max: {high}"));
        refuse(high > whole, "max", high, format!("max is larger than capacity value: {whole}"));
        refuse(default > high, "max", default, format!("default is more than max: {high}"));
    }
    if !range["step"].is_null() {
        let step = quantity(&range["step"]);
        let mut first = low.clone();
        first.add(&step);
        refuse(first > *whole, "step", &step, format!("one step {first} is larger than capacity value: {whole}"));
        let is_off = |amount: &Quantity| (amount.value() - low.value()).checked_rem(step.value()).unwrap_or(1) != 0;
        for amount in std::iter::once(default).chain(&high) {
            let why = format!("value is not a multiple of a given step ({step}) from ({low})");
            refuse(is_off(amount), "step", amount, why);
        }
    }
    errors
}

fn taint(taint: &Value, path: &Path) -> ErrorList {
    let (value, effect) = (meta::text(taint, "value"), meta::text(taint, "effect"));
    let mut errors = validate::named(meta::text(taint, "key"), names::qualified_name, &path.child("key"));
    errors.extend(validate::named(value, names::label_value, &path.child("value")));
    if effect.is_empty() {
        errors.push(Error::required(&path.child("effect"), ""));
    } else if !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
    errors
}

/// Counters by name; `field` names the set itself.
fn counter_set(set: &Value, field: &str, path: &Path) -> ErrorList {
    let mut errors = match meta::text(set, field) {
        "" => vec![Error::required(&path.child(field), "")],
        name => validate::named(name, names::dns_label, &path.child(field)),
    };
    let (counters, at) = (meta::map(set, "counters"), path.child("counters"));
    if counters.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if counters.len() > COUNTERS_MAX {
        errors.push(Error::too_many(&at, counters.len(), COUNTERS_MAX));
    } else {
        errors.extend(counters.keys().flat_map(|name| validate::named(name, names::dns_label, &at)));
    }
    errors
}
