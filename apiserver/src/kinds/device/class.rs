//! DeviceClasses: devices of a sort, chosen by selectors and set up in a way.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use super::super::{Hooks, MetadataRounds, validate};
use super::{CONFIGURATIONS_MAX, configuration, each, selector};

pub static HOOKS: Hooks = Hooks {
    metadata: MetadataRounds::BOTH,
    name: validate::long_name,
    takes_any_prefix: true,
    validate_against: validate_class,
    has_generation: true,
    ..Hooks::PLAIN
};

fn validate_class(class: &Value, old: Option<&Value>) -> ErrorList {
    let (path, spec) = (Path::new("spec"), &class["spec"]);
    let is_stored = old.is_some_and(|old| old["spec"]["config"] == spec["config"]);
    let mut errors = selector::all(spec, &path);
    errors.extend(each(meta::list(spec, "config"), CONFIGURATIONS_MAX, &path.child("config"), |item, at| {
        configuration(item, is_stored, at)
    }));
    if let Some(name) = spec["extendedResourceName"].as_str().filter(|name| !is_extended(name)) {
        let why = "must be a valid extended resource name";
        errors.push(Error::invalid(&path.child("extendedResourceName"), name, why));
    }
    errors
}

/// A name of a domain that is not Kubernetes's own, and that a quota can name.
fn is_extended(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}
