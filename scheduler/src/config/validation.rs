//! What the file must keep to beside the arguments of plugins, in upstream's words. Pure.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};

use super::Configuration;
use super::profile::RawProfile;

/// Plugins of former versions.
const GONE: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];

pub(super) fn check(configuration: &Configuration) -> ErrorList {
    let (mut errors, root) = (ErrorList::new(), Path::root());
    if configuration.parallelism <= 0 {
        let (path, why) = (root.child("parallelism"), "should be an integer value greater than zero");
        errors.push(Error::invalid(&path, configuration.parallelism, why));
    }
    let (profiles, path) = (&configuration.profiles, root.child("profiles"));
    for (index, profile) in profiles.iter().enumerate() {
        check_profile(profile, &path.index(index), profiles.len() > 1, &mut errors);
        let name = profile.scheduler_name.as_deref().unwrap_or_default();
        let same = |other: &RawProfile| other.scheduler_name.as_deref() == Some(name);
        if !name.is_empty() && profiles[..index].iter().any(same) {
            errors.push(Error::duplicate(&path.index(index).child("schedulerName"), name));
        }
    }
    check_percentage(configuration.percentage_of_nodes_to_score, &root, &mut errors);
    let (first, most) = (configuration.pod_initial_backoff_seconds, configuration.pod_max_backoff_seconds);
    if first <= 0 {
        errors.push(Error::invalid(&root.child("podInitialBackoffSeconds"), first, "must be greater than 0"));
    }
    if most < first {
        let why = "must be greater than or equal to PodInitialBackoffSeconds";
        errors.push(Error::invalid(&root.child("podMaxBackoffSeconds"), most, why));
    }
    errors
}

fn check_percentage(percentage: Option<i64>, path: &Path, errors: &mut ErrorList) {
    if let Some(percentage) = percentage.filter(|percentage| !(0..=100).contains(percentage)) {
        let path = path.child("percentageOfNodesToScore");
        errors.push(Error::invalid(&path, percentage, "not in valid range [0-100]"));
    }
}

/// A profile that is alone has the default name.
fn check_profile(profile: &RawProfile, path: &Path, needs_name: bool, errors: &mut ErrorList) {
    let is_nameless = match &profile.scheduler_name {
        None => needs_name,
        Some(name) => name.is_empty(),
    };
    if is_nameless {
        errors.push(Error::required(&path.child("schedulerName"), ""));
    }
    check_percentage(profile.percentage_of_nodes_to_score, path, errors);
    let gone = |name: &str, path: &Path| {
        let version = super::API_VERSIONS[0];
        let why = format!("was invalid in version {version:?} (KubeSchedulerConfiguration is version {version:?})");
        GONE.contains(&name).then(|| Error::invalid(path, name, why))
    };
    for (point, set) in profile.plugins.points() {
        let path = path.child("plugins").child(point).child("enabled");
        let enabled = set.enabled.iter().enumerate();
        errors.extend(enabled.filter_map(|(index, plugin)| gone(&plugin.name, &path.index(index))));
    }
    let (mut seen, path) = (BTreeSet::new(), path.child("pluginConfig"));
    for (index, config) in profile.plugin_config.iter().enumerate() {
        if !seen.insert(&config.name) {
            errors.push(Error::duplicate(&path.index(index), config.name.as_str()));
        }
        errors.extend(gone(&config.name, &path.index(index)));
    }
}
