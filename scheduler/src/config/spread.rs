//! PodTopologySpread's arguments: the constraints of pods without their own.

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use machinery::field::{Error, ErrorList, Path};
use machinery::names;
use serde::Deserialize;

use super::{Problems, tell};
use crate::objects::SpreadConstraint;
use crate::plugins::pod_topology_spread::PodTopologySpread;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Raw {
    default_constraints: Vec<TopologySpreadConstraint>,
    defaulting_type: String,
}

pub(super) fn plugin(raw: Raw, path: &Path) -> Result<PodTopologySpread, Problems> {
    let errors = check(&raw, path);
    if !errors.is_empty() {
        return Err(tell(errors));
    }
    if raw.defaulting_type != "List" {
        return Ok(PodTopologySpread::default());
    }
    let constraints = raw.default_constraints.iter().filter_map(|c| SpreadConstraint::parse(c, None)).collect();
    Ok(PodTopologySpread { default_constraints: constraints, system_defaults: false })
}

fn check(raw: &Raw, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let type_path = path.child("defaultingType");
    match raw.defaulting_type.as_str() {
        "List" => {}
        "" | "System" if raw.default_constraints.is_empty() => {}
        "" | "System" => errors.push(Error::invalid(&type_path, "System", "when .defaultConstraints are not empty")),
        other => errors.push(Error::not_supported(&type_path, other, &["System", "List"])),
    }
    let path = path.child("defaultConstraints");
    for (index, constraint) in raw.default_constraints.iter().enumerate() {
        check_one(constraint, &path.index(index), &mut errors);
        let place = |c: &TopologySpreadConstraint| (c.topology_key.clone(), c.when_unsatisfiable.clone());
        if raw.default_constraints[..index].iter().any(|other| place(other) == place(constraint)) {
            let (key, when) = place(constraint);
            errors.push(Error::duplicate(&path.index(index), format!("{{{key}, {when}}}")));
        }
    }
    errors
}

fn check_one(constraint: &TopologySpreadConstraint, path: &Path, errors: &mut ErrorList) {
    const ACTIONS: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];
    if constraint.max_skew <= 0 {
        errors.push(Error::invalid(&path.child("maxSkew"), constraint.max_skew, "not in valid range (0, inf)"));
    }
    let (key, key_path) = (constraint.topology_key.as_str(), path.child("topologyKey"));
    if key.is_empty() {
        errors.push(Error::required(&key_path, "can not be empty"));
    } else {
        errors.extend(names::qualified_name(key).into_iter().map(|why| Error::invalid(&key_path, key, why)));
    }
    let (action, action_path) = (constraint.when_unsatisfiable.as_str(), path.child("whenUnsatisfiable"));
    if action.is_empty() {
        errors.push(Error::required(&action_path, "can not be empty"));
    } else if !ACTIONS.contains(&action) {
        errors.push(Error::not_supported(&action_path, action, &ACTIONS));
    }
    if constraint.label_selector.is_some() {
        let why = "constraint must not define a selector, as they deduced for each pod";
        errors.push(Error::forbidden(&path.child("labelSelector"), why));
    }
}
