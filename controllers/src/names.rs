//! Which controllers there are, and which of them `--controllers` asks for.
//!
//! Pure.

/// The controllers built here, by upstream's names, with the older names that still work.
pub(crate) const CONTROLLERS: [(&str, &str); 42] = [
    ("deployment-controller", "deployment"),
    ("replicaset-controller", "replicaset"),
    ("daemonset-controller", "daemonset"),
    ("statefulset-controller", "statefulset"),
    ("endpoints-controller", "endpoint"),
    ("endpointslice-controller", "endpointslice"),
    ("endpointslice-mirroring-controller", "endpointslicemirroring"),
    ("namespace-controller", "namespace"),
    ("serviceaccount-controller", "serviceaccount"),
    ("serviceaccount-token-controller", "serviceaccount-token"),
    ("root-ca-certificate-publisher-controller", "root-ca-cert-publisher"),
    ("garbage-collector-controller", "garbagecollector"),
    ("node-lifecycle-controller", "nodelifecycle"),
    ("taint-eviction-controller", "taint-eviction-controller"),
    ("node-ipam-controller", "nodeipam"),
    ("pod-garbage-collector-controller", "podgc"),
    ("clusterrole-aggregation-controller", "clusterrole-aggregation"),
    ("certificatesigningrequest-approving-controller", "csrapproving"),
    ("certificatesigningrequest-signing-controller", "csrsigning"),
    ("certificatesigningrequest-cleaner-controller", "csrcleaner"),
    ("persistentvolume-binder-controller", "persistentvolume-binder"),
    ("persistentvolume-attach-detach-controller", "attachdetach"),
    ("persistentvolume-expander-controller", "persistentvolume-expander"),
    ("persistentvolumeclaim-protection-controller", "pvc-protection"),
    ("persistentvolume-protection-controller", "pv-protection"),
    ("volumeattributesclass-protection-controller", ""),
    ("ephemeral-volume-controller", "ephemeral-volume"),
    ("job-controller", "job"),
    ("cronjob-controller", "cronjob"),
    ("replicationcontroller-controller", "replicationcontroller"),
    ("ttl-after-finished-controller", "ttl-after-finished"),
    ("disruption-controller", "disruption"),
    ("resourcequota-controller", "resourcequota"),
    ("horizontal-pod-autoscaler-controller", "horizontalpodautoscaling"),
    ("bootstrap-signer-controller", "bootstrapsigner"),
    ("token-cleaner-controller", "tokencleaner"),
    ("legacy-serviceaccount-token-cleaner-controller", "legacy-service-account-token-cleaner"),
    ("service-lb-controller", "service"),
    ("resourceclaim-controller", "resource-claim-controller"),
    ("device-taint-eviction-controller", ""),
    ("service-cidr-controller", ""),
    ("ttl-controller", "ttl"),
];

/// Upstream's controllers that are not built here, with their older names: naming one is no mistake.
const NOT_BUILT: [(&str, &str); 10] = [
    ("podcertificaterequest-cleaner-controller", ""),
    ("storageversion-garbage-collector-controller", "storage-version-gc"),
    ("validatingadmissionpolicy-status-controller", "validatingadmissionpolicy-status-controller"),
    ("storage-version-migrator-controller", "storage-version-migrator"),
    ("selinux-warning-controller", "selinux-warning-controller"),
    ("kube-apiserver-serving-clustertrustbundle-publisher-controller", ""),
    ("podgroup-protection-controller", ""),
    ("resourcepoolstatusrequest-controller", ""),
    ("node-route-controller", "route"),
    ("cloud-node-lifecycle-controller", "cloud-node-lifecycle"),
];

/// Upstream's three that only run when named.
const OFF_BY_DEFAULT: [&str; 3] =
    ["bootstrap-signer-controller", "token-cleaner-controller", "selinux-warning-controller"];

/// The value of `--controllers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    all: bool,
    /// Full names, with whether they are wanted; of several mentions the first counts.
    named: Vec<(&'static str, bool)>,
}

impl Selection {
    /// The error is upstream's sentence.
    pub(crate) fn parse(values: &[String]) -> Result<Self, String> {
        let mut selection = Selection { all: false, named: Vec::new() };
        for value in values {
            if value == "*" {
                selection.all = true;
                continue;
            }
            let (name, wanted) = value.strip_prefix('-').map_or((value.as_str(), true), |name| (name, false));
            let known = full_name(name).ok_or_else(|| format!("{name:?} is not in the list of known controllers"))?;
            selection.named.push((known, wanted));
        }
        Ok(selection)
    }

    /// Whether the controller of this full name is to run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        match self.named.iter().find(|(n, _)| *n == name) {
            Some((_, wanted)) => *wanted,
            None => self.all && !OFF_BY_DEFAULT.contains(&name),
        }
    }

    /// Controllers asked for by name that do not exist here.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> {
        let built = |name: &str| CONTROLLERS.iter().any(|(n, _)| *n == name);
        self.named.iter().filter(move |(name, wanted)| *wanted && !built(name)).map(|(name, _)| *name)
    }
}

fn full_name(name: &str) -> Option<&'static str> {
    let mut all = CONTROLLERS.iter().chain(&NOT_BUILT);
    all.find(|(full, alias)| *full == name || (!alias.is_empty() && *alias == name)).map(|(full, _)| *full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections() {
        let parse = |text: &str| Selection::parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        let rows = [
            ("*", "deployment-controller", true),
            ("*", "bootstrap-signer-controller", false),
            ("*,bootstrapsigner", "bootstrap-signer-controller", true),
            ("*,-deployment", "deployment-controller", false),
            ("*,-deployment-controller", "deployment-controller", false),
            ("deployment", "deployment-controller", true),
            ("deployment", "replicaset-controller", false),
            ("-deployment", "replicaset-controller", false),
        ];
        for (text, name, want) in rows {
            assert_eq!(parse(text).unwrap().wants(name), want, "{text} {name}");
        }
        assert_eq!(parse("nonsense").unwrap_err(), "\"nonsense\" is not in the list of known controllers");
        let selinux = parse("*,selinux-warning-controller").unwrap();
        assert_eq!(selinux.missing().collect::<Vec<_>>(), ["selinux-warning-controller"]);
    }
}
