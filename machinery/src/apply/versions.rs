//! Versions that owners may be recorded at: those that upstream can read objects of a kind in, served or not.

use crate::gvk::split_api_version;

const VERSIONS: &[(&str, &[&str])] = &[
    ("", &["v1"]),
    ("admissionregistration.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("apiextensions.k8s.io", &["v1", "v1beta1"]),
    ("apiregistration.k8s.io", &["v1", "v1beta1"]),
    ("apps", &["v1", "v1beta2", "v1beta1"]),
    ("autoscaling", &["v1", "v2"]),
    ("batch", &["v1", "v1beta1"]),
    ("certificates.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("coordination.k8s.io", &["v1", "v1beta1", "v1alpha2"]),
    ("discovery.k8s.io", &["v1", "v1beta1"]),
    ("events.k8s.io", &["v1", "v1beta1"]),
    ("extensions", &["v1beta1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1", "v1beta1", "v1beta2", "v1beta3"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("node.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("policy", &["v1", "v1beta1"]),
    ("rbac.authorization.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("resource.k8s.io", &["v1", "v1beta2", "v1beta1", "v1alpha3"]),
    ("scheduling.k8s.io", &["v1", "v1beta1", "v1alpha2"]),
    ("storage.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
];

/// Groups that kinds of another one were in before.
const MOVED: &[(&str, &str)] =
    &[("apps", "extensions"), ("networking.k8s.io", "extensions"), ("events.k8s.io", ""), ("", "events.k8s.io")];

/// Whether an owner of an object of `own` version that was recorded at another one means anything.
pub(super) fn is_known(recorded: &str, own: &str) -> bool {
    if recorded == own {
        return true;
    }
    let (Some((group, version)), Some((own_group, _))) = (split_api_version(recorded), split_api_version(own)) else {
        return false;
    };
    (group == own_group || MOVED.contains(&(own_group, group)))
        && VERSIONS.iter().any(|(known, versions)| *known == group && versions.contains(&version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_by_kin() {
        for (recorded, own, known) in [
            ("v1", "v1", true),
            ("v9", "v1", false),
            ("apps/v1", "v1", false),
            ("apps/v1beta1", "apps/v1", true),
            ("extensions/v1beta1", "apps/v1", true),
            ("extensions/v1beta1", "batch/v1", false),
            ("autoscaling/v2", "autoscaling/v1", true),
            ("example.com/v1", "example.com/v1", true),
            ("a/b/c", "v1", false),
            ("", "v1", false),
        ] {
            assert_eq!(is_known(recorded, own), known, "{recorded} of {own}");
        }
    }
}
