//! What a claim asks for: requests of devices, constraints between them, and what their drivers are told.
//!
//! Enter at [`all`] and [`default_requests`].

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::{Map, Value};

use super::super::defaults::{each as each_object, set, set_number, within};
use super::super::validate;
use super::{
    CONFIGURATIONS_MAX, EFFECTS, REQUESTS_MAX, configuration, each, each_once, fully_qualified, label, name_of,
    selector,
};

const ALTERNATIVES_MAX: usize = 8;
const CONSTRAINTS_MAX: usize = 32;

/// `claim`: the fields of a claim's spec.
pub fn default_requests(claim: &mut Map<String, Value>) {
    let Some(devices) = within(claim, "devices") else { return };
    for request in each_object(devices, "requests") {
        if let Some(exact) = within(request, "exactly") {
            default_count(exact);
        }
        each_object(request, "firstAvailable").for_each(default_count);
    }
}

fn default_count(request: &mut Map<String, Value>) {
    set(request, "allocationMode", "ExactCount");
    if request["allocationMode"] == "ExactCount" {
        set_number(request, "count", 1);
    }
}

/// Rules of a claim's spec.
pub fn all(spec: &Value, path: &Path) -> ErrorList {
    let (devices, path) = (&spec["devices"], path.child("devices"));
    let names = Names(meta::list(devices, "requests"));
    let mut errors = each_once(names.0, REQUESTS_MAX, &path.child("requests"), name_of, validate_request);
    let constraints = meta::list(devices, "constraints");
    errors.extend(each(constraints, CONSTRAINTS_MAX, &path.child("constraints"), |item, at| {
        [names.references(item, at), constraint(item, at)].concat()
    }));
    errors.extend(each(meta::list(devices, "config"), CONFIGURATIONS_MAX, &path.child("config"), |item, at| {
        [names.references(item, at), configuration(item, false, at)].concat()
    }));
    errors
}

/// The requests of a claim, which other parts of it name.
pub struct Names<'a>(pub &'a [Value]);

impl Names<'_> {
    /// `request` or `request/alternative`.
    fn has(&self, name: &str) -> bool {
        let (first, second) = name.split_once('/').map_or((name, None), |(first, second)| (first, Some(second)));
        let mut requests = self.0.iter().filter(|request| meta::text(request, "name") == first);
        requests.any(|request| {
            let mut alternatives = meta::list(request, "firstAvailable").iter();
            second.is_none_or(|second| alternatives.any(|alternative| meta::text(alternative, "name") == second))
        })
    }

    pub fn reference(&self, name: &str, path: &Path) -> ErrorList {
        let unknown = || {
            let why =
                "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
            Error::invalid(path, name, why)
        };
        if name.matches('/').count() > 1 {
            return vec![unknown()];
        }
        let mut errors: ErrorList =
            name.split('/').flat_map(|part| validate::named(part, names::dns_label, path)).collect();
        errors.extend((!self.has(name)).then(unknown));
        errors
    }

    /// The `requests` of a constraint or a configuration.
    pub fn references(&self, object: &Value, path: &Path) -> ErrorList {
        let items = meta::list(object, "requests");
        each_once(items, REQUESTS_MAX, &path.child("requests"), Value::clone, |name, at| {
            self.reference(name.as_str().unwrap_or_default(), at)
        })
    }
}

fn validate_request(request: &Value, path: &Path) -> ErrorList {
    const ONE: &str = "exactly one of `exactly` or `firstAvailable` is required";
    let mut errors = label(request, "name", path);
    let alternatives = meta::list(request, "firstAvailable");
    match (request["exactly"].is_object(), alternatives.is_empty()) {
        (false, true) => errors.push(Error::required(path, ONE)),
        (true, false) => {
            let why = format!("{ONE}, but multiple fields are set");
            errors.push(Error::invalid(path, Value::Null, why));
        }
        (true, true) => errors.extend(devices(&request["exactly"], &path.child("exactly"))),
        (false, false) => {
            let at = path.child("firstAvailable");
            errors.extend(each_once(alternatives, ALTERNATIVES_MAX, &at, name_of, |item, at| {
                [label(item, "name", at), devices(item, at)].concat()
            }));
        }
    }
    errors
}

/// The devices of a class: which, and how many.
fn devices(request: &Value, path: &Path) -> ErrorList {
    let at = path.child("deviceClassName");
    let mut errors = match meta::text(request, "deviceClassName") {
        "" => vec![Error::required(&at, "")],
        name => validate::named(name, names::dns_subdomain, &at),
    };
    errors.extend(selector::all(request, path));
    let (mode, count) = (meta::text(request, "allocationMode"), request["count"].as_i64().unwrap_or(0));
    let at = path.child("count");
    match mode {
        "All" if count != 0 => {
            errors.push(Error::invalid(&at, count, "must not be specified when allocationMode is 'All'"));
        }
        "ExactCount" if count <= 0 => errors.push(Error::invalid(&at, count, "must be greater than zero")),
        "All" | "ExactCount" => {}
        other => errors.push(Error::not_supported(&path.child("allocationMode"), other, &["All", "ExactCount"])),
    }
    for (position, toleration) in meta::list(request, "tolerations").iter().enumerate() {
        errors.extend(self::toleration(toleration, &path.child("tolerations").index(position)));
    }
    errors
}

fn toleration(toleration: &Value, path: &Path) -> ErrorList {
    let text = |field: &str| meta::text(toleration, field);
    let (key, value, effect) = (text("key"), text("value"), text("effect"));
    let mut errors = ErrorList::new();
    if !key.is_empty() {
        errors.extend(validate::named(key, names::qualified_name, &path.child("key")));
    }
    match text("operator") {
        "Exists" if !value.is_empty() => {
            errors.push(Error::invalid(&path.child("value"), value, "must be empty for operator `Exists`"));
        }
        "Exists" => {}
        "Equal" => errors.extend(validate::named(value, names::label_value, &path.child("value"))),
        "" => errors.push(Error::required(&path.child("operator"), "")),
        other => errors.push(Error::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(Error::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
    errors
}

fn constraint(constraint: &Value, path: &Path) -> ErrorList {
    let attribute = ["matchAttribute", "distinctAttribute"]
        .into_iter()
        .find_map(|field| Some((field, constraint[field].as_str()?)));
    match attribute {
        Some((field, name)) => fully_qualified(name, &path.child(field)),
        None => {
            let why =
                "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            vec![Error::required(path, why)]
        }
    }
}
