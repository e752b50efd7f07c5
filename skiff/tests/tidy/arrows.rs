//! Who may depend on whom: see ARCHITECTURE.md, "Arrows".

use std::collections::{BTreeMap, BTreeSet};

use super::{metadata, packages, text};

/// The components: libraries that meet only through the Kubernetes API.
const COMPONENTS: [&str; 7] = ["apiserver", "controllers", "dns", "kubelet", "proxy", "router", "scheduler"];

/// Crates of this workspace that each of its crates depends on, tests aside.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let ours: BTreeSet<String> = packages(&metadata).iter().map(|package| text(package, "name").to_owned()).collect();
    let of = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        let shipped = all.filter(|dependency| dependency["kind"] != "dev");
        shipped.map(|dependency| text(dependency, "name").to_owned()).filter(|name| ours.contains(name)).collect()
    };
    packages(&metadata).iter().map(|package| (text(package, "name").to_owned(), of(package))).collect()
}

fn allowed(name: &str) -> Vec<&'static str> {
    match name {
        "skiff" => [&COMPONENTS[..], &["component", "machinery", "oci-archive", "pause"]].concat(),
        "component" | "conformance" | "expressions" => vec!["machinery"],
        "testbed" => vec!["oci-archive"],
        "drill" => vec!["component", "testbed"],
        // Both read selectors of devices: one checks them, one runs them.
        "apiserver" | "scheduler" => vec!["component", "expressions", "machinery"],
        name if COMPONENTS.contains(&name) => vec!["component", "machinery"],
        _ => vec![],
    }
}

#[test]
fn arrows_between_crates_run_one_way() {
    let dependencies = dependencies();
    for component in COMPONENTS {
        assert!(dependencies.contains_key(component), "{component} is a crate of the workspace");
    }
    for (name, used) in dependencies {
        let allowed: BTreeSet<String> = allowed(&name).into_iter().map(String::from).collect();
        let wrong: Vec<_> = used.difference(&allowed).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}: see ARCHITECTURE.md");
    }
}
