//! `featureGates`: which of upstream's features are in this kubelet, and which are not; hardly any can be switched. Pure.
//!
//! What upstream knows is known by [`component::gates`]: gates that are named there only are other components' business, or
//! could not be told from outside this kubelet (the health of devices where there are no device plugins). A cluster's one
//! list of gates may name them.

use std::collections::BTreeMap;

/// Features of upstream's kubelet that are there.
const ON: [&str; 40] = [
    "ContainerCheckpoint",
    "ContainerRestartRules",
    "CustomCPUCFSQuotaPeriod",
    "DisableNodeKubeProxyVersion",
    "EnvFiles",
    "ExecProbeTimeout",
    "GracefulNodeShutdown",
    "HostnameOverride",
    "ImageMaximumGCAge",
    "ImageVolume",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "KubeletCgroupDriverFromCRI",
    "KubeletCrashLoopBackOffMax",
    "KubeletEnsureSecretPulledImages",
    "KubeletFineGrainedAuthz",
    "KubeletPodResourcesGet",
    "KubeletPodResourcesListUseActivePods",
    "KubeletServiceAccountTokenForCredentialProviders",
    "NodeDeclaredFeatures",
    "NodeLogQuery",
    "PodLevelResources",
    "PodLifecycleSleepAction",
    "PodLifecycleSleepActionAllowZero",
    "PodLogsQuerySplitStreams",
    "PodObservedGenerationTracking",
    "PodReadyToStartContainersCondition",
    "PreventStaticPodAPIReferences",
    "ProcMountType",
    "RecursiveReadOnlyMounts",
    "RelaxedDNSSearchValidation",
    "RelaxedEnvironmentVariableValidation",
    "ReloadKubeletClientCAFile",
    "ReloadKubeletServerCertificateFile",
    "RestartAllContainersOnContainerExits",
    "RotateKubeletServerCertificate",
    "SeparateTaintEvictionController",
    "SidecarContainers",
    "SupplementalGroupsPolicy",
];

/// A feature that may be off: all that is left then of what it does is to refuse its one field.
const SHUTDOWN_BY_PRIORITY: &str = "GracefulNodeShutdownBasedOnPodPriority";

/// Features that are not built.
const OFF: [&str; 46] = [
    "AllAlpha",
    "AllBeta",
    "AllowDNSOnlyNodeCSR",
    "CPUManagerPolicyAlphaOptions",
    "CPUManagerPolicyBetaOptions",
    "CPUManagerPolicyOptions",
    "CRIListStreaming",
    "CSIVolumeHealth",
    "ChangeContainerStatusOnKubeletRestart",
    "ClusterTrustBundle",
    "ClusterTrustBundleProjection",
    "ComponentFlagz",
    "ComponentStatusz",
    "ContainerStopSignals",
    "DRAConsumableCapacity",
    "DRAExtendedResource",
    "DRAWorkloadResourceClaims",
    "DynamicResourceAllocation",
    "GitRepoVolumeDriver",
    "ImageVolumeWithDigest",
    "InPlacePodVerticalScalingExclusiveCPUs",
    "InPlacePodVerticalScalingExclusiveMemory",
    "KubeletInUserNamespace",
    "KubeletPSI",
    "KubeletPodResourcesDynamicResources",
    "KubeletRegistrationGetOnExistsOnly",
    "KubeletTracing",
    "LocalStorageCapacityIsolationFSQuotaMonitoring",
    "MemoryQoS",
    "NativeHistograms",
    "NodeSwap",
    "PodAndContainerStatsFromCRI",
    "PodCertificateRequest",
    "PodLevelResourceManagers",
    "PodsAPI",
    "QOSReserved",
    "ReduceDefaultCrashLoopBackOffDecay",
    "RuntimeClassInImageCriApi",
    "SELinuxMount",
    "SystemdWatchdog",
    "TaintTolerationComparisonOperators",
    "TopologyManagerPolicyAlphaOptions",
    "TopologyManagerPolicyBetaOptions",
    "TopologyManagerPolicyOptions",
    "UserNamespacesHostNetworkSupport",
    "UserNamespacesSupport",
];

/// Whether nodes may go down by periods for each priority.
pub(super) fn has_shutdown_by_priority(gates: &BTreeMap<String, bool>) -> bool {
    gates.get(SHUTDOWN_BY_PRIORITY).is_none_or(|wanted| *wanted)
}

/// What cannot be as the gates want it.
pub(super) fn problems(gates: &BTreeMap<String, bool>) -> Vec<String> {
    let problem = |(name, wanted): (&String, &bool)| {
        let is_on = ON.contains(&name.as_str());
        match (is_on, wanted) {
            (true, true) => None,
            (true, false) => Some(format!("featureGates: {name} cannot be turned off in this kubelet")),
            (false, wanted) if OFF.contains(&name.as_str()) => {
                wanted.then(|| format!("featureGates: {name} is not supported by this kubelet"))
            }
            (false, _) => component::gates::known(name).err(),
        }
    };
    gates.iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_upstreams_and_each_is_there_or_not() {
        let mut names: Vec<_> = [&ON[..], &OFF, &[SHUTDOWN_BY_PRIORITY]].concat();
        assert!(names.iter().all(|name| component::gates::known(name).is_ok()));
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        let wanted = BTreeMap::from([("EnvFiles".to_owned(), false), ("EnvFile".to_owned(), true)]);
        let told =
            ["unrecognized feature gate: EnvFile", "featureGates: EnvFiles cannot be turned off in this kubelet"];
        assert_eq!(problems(&wanted), told);
    }
}
