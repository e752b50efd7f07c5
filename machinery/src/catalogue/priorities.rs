//! The order in which group versions are told, and by which clients choose among them.
//!
//! Enter at [`of`]. The numbers are those of upstream's automatic APIServices; higher comes first.

/// Of a group among groups, and of a version within its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    pub group: i64,
    pub version: i64,
}

const GROUPS: [(&str, i64); 20] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
];

/// Versions that stand elsewhere than where most stable ones do.
const VERSIONS: [(&str, &str, i64); 4] = [
    ("", "v1", 1),
    ("autoscaling", "v2", 30),
    ("flowcontrol.apiserver.k8s.io", "v1", 21),
    ("resource.k8s.io", "v1", 21),
];
const STABLE: i64 = 15;

/// Of a built-in group version; `None` for the group of the APIServices themselves, which has none, and for others.
pub fn of(group: &str, version: &str) -> Option<Priority> {
    let (_, priority) = GROUPS.iter().find(|(name, _)| *name == group)?;
    let own = VERSIONS.iter().find(|(of, name, _)| *of == group && *name == version);
    Some(Priority { group: *priority, version: own.map_or(STABLE, |(_, _, priority)| *priority) })
}
