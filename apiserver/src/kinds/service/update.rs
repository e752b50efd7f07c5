//! What of a Service may change.
//!
//! A client that sends back what it once wrote, without what was allocated since, changes nothing; what goes with its type
//! is in [`super::change`].

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::{Map, Value, json};

use super::change::{drop_what_the_old_type_had, has_addresses, has_health_port, is_balanced};
use crate::kinds::validate;

/// Fills in what was allocated, and takes out what the new type has no use for, where the client did not touch it.
pub fn prepare(new: &mut Value, old: &Value) {
    if has_addresses(old) && has_addresses(new) {
        keep(new, old, &["clusterIP", "clusterIPs"]);
    }
    if has_health_port(old) && has_health_port(new) {
        keep(new, old, &["healthCheckNodePort"]);
    }
    follow_address(new, old);
    drop_what_the_old_type_had(new, old);
}

fn is_unset(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(value) => value == "" || value == 0,
    }
}

fn keep(new: &mut Value, old: &Value, names: &[&str]) {
    let fields: &mut Map<String, Value> = meta::object_mut(new, "spec");
    for name in names.iter().filter(|name| !is_unset(old["spec"].get(**name))) {
        if is_unset(fields.get(*name)) {
            fields.insert((*name).to_owned(), old["spec"][*name].clone());
        }
    }
}

/// Older clients know one address only: where they change it, the list goes with it.
fn follow_address(new: &mut Value, old: &Value) {
    let (now, before) = (meta::text(new, "spec.clusterIP").to_owned(), meta::text(old, "spec.clusterIP"));
    if now == before || new["spec"]["clusterIPs"] != old["spec"]["clusterIPs"] {
        return;
    }
    let fields = meta::object_mut(new, "spec");
    match now.as_str() {
        "" => drop(fields.remove("clusterIPs")),
        now => drop(fields.insert("clusterIPs".into(), json!([now]))),
    }
}

const FIXED: &str = "may not change once set";

pub fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if has_addresses(new) && has_addresses(old) {
        errors.extend(addresses(new, old));
        errors.extend(families(new, old));
    }
    let class = |service: &Value| service["spec"]["loadBalancerClass"].clone();
    if is_balanced(new) && is_balanced(old) && class(new) != class(old) {
        let path = validate::path(&["spec", "loadBalancerClass"]);
        errors.push(Error::invalid(&path, class(new), FIXED));
    }
    let port = |service: &Value| service["spec"]["healthCheckNodePort"].as_i64().unwrap_or(0);
    if has_health_port(new) && has_health_port(old) && port(new) != port(old) {
        let path = validate::path(&["spec", "healthCheckNodePort"]);
        errors.push(Error::forbidden(&path, "field is immutable"));
    }
    errors
}

fn is_headless(service: &Value) -> bool {
    matches!(meta::list(service, "spec.clusterIPs"), [only] if only == "None")
}

/// Who releases a family must want one only: that was judged before ([`crate::services`]).
fn addresses(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (now, before) = (meta::list(new, "spec.clusterIPs"), meta::list(old, "spec.clusterIPs"));
    let path = validate::path(&["spec", "clusterIPs"]);
    let compared = if now.len() == before.len() { now.len() } else { 1 };
    let kept = now.iter().zip(before).take(compared).enumerate();
    for (position, _) in kept.filter(|(_, (now, before))| now != before) {
        errors.push(Error::invalid(&path.index(position), json!(now), FIXED));
    }
    errors
}

fn families(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if is_headless(new) || is_headless(old) {
        return errors;
    }
    let (now, before) = (meta::list(new, "spec.ipFamilies"), meta::list(old, "spec.ipFamilies"));
    // Upstream's path names the first, whichever it is.
    let path: Path = validate::path(&["spec", "ipFamilies"]).index(0);
    let compared = if now.len() == before.len() { now.len() } else { 1 };
    let changed = now.iter().zip(before).take(compared).filter(|(now, before)| now != before);
    errors.extend(changed.map(|_| Error::invalid(&path, json!(now), FIXED)));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(new: Value, old: Value) -> Value {
        let (mut new, old) = (json!({"spec": new}), json!({"spec": old}));
        prepare(&mut new, &old);
        new
    }

    #[test]
    fn what_was_allocated_is_kept() {
        let old = json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]});
        assert_eq!(prepared(json!({"type": "ClusterIP"}), old.clone())["spec"], old);
        let moved = json!({"type": "ClusterIP", "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"]});
        assert_eq!(prepared(moved, old)["spec"]["clusterIPs"], json!(["10.0.0.2"]));
    }
}
