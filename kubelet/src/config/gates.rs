//! `featureGates`: which of upstream's features are there and which are not. None of them can be switched. Pure.

use std::collections::BTreeMap;

/// Features of upstream's kubelet that are there.
const ON: [&str; 32] = [
    "ContainerRestartRules",
    "CustomCPUCFSQuotaPeriod",
    "EnvFiles",
    "ExecProbeTimeout",
    "GracefulNodeShutdown",
    "GracefulNodeShutdownBasedOnPodPriority",
    "HostnameOverride",
    "ImageMaximumGCAge",
    "ImageVolume",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScaling",
    "KubeletCrashLoopBackOffMax",
    "KubeletEnsureSecretPulledImages",
    "KubeletFineGrainedAuthz",
    "NodeLogQuery",
    "PodLevelResources",
    "PodLifecycleSleepAction",
    "PodLifecycleSleepActionAllowZero",
    "PodLogsQuerySplitStreams",
    "PodObservedGenerationTracking",
    "PodReadyToStartContainersCondition",
    "ProcMountType",
    "RecursiveReadOnlyMounts",
    "RelaxedDNSSearchValidation",
    "RelaxedEnvironmentVariableValidation",
    "ReloadKubeletServerCertificateFile",
    "RestartAllContainersOnContainerExits",
    "RotateKubeletServerCertificate",
    "SeparateTaintEvictionController",
    "SidecarContainers",
    "SupplementalGroupsPolicy",
    "EventedPLEG",
];

/// Features that are not built.
const OFF: [&str; 41] = [
    "AllAlpha",
    "CPUManagerPolicyAlphaOptions",
    "CPUManagerPolicyBetaOptions",
    "CPUManagerPolicyOptions",
    "CRIListStreaming",
    "CSIVolumeHealth",
    "ClusterTrustBundle",
    "ClusterTrustBundleProjection",
    "ContainerCheckpoint",
    "ContainerStopSignals",
    "DRAConsumableCapacity",
    "DRAExtendedResource",
    "DynamicResourceAllocation",
    "ImageVolumeWithDigest",
    "InPlacePodVerticalScalingExclusiveCPUs",
    "InPlacePodVerticalScalingExclusiveMemory",
    "InPlacePodVerticalScalingInitContainers",
    "KubeletInUserNamespace",
    "KubeletPSI",
    "KubeletPodResourcesDynamicResources",
    "KubeletPodResourcesGet",
    "KubeletRegistrationGetOnExistsOnly",
    "KubeletServiceAccountTokenForCredentialProviders",
    "KubeletTracing",
    "LocalStorageCapacityIsolationFSQuotaMonitoring",
    "MemoryQoS",
    "NodeSwap",
    "PodAndContainerStatsFromCRI",
    "PodCertificateRequest",
    "PodLevelResourceManagers",
    "QOSReserved",
    "ReduceDefaultCrashLoopBackOffDecay",
    "ResourceHealthStatus",
    "RuntimeClassInImageCriAPI",
    "SELinuxMount",
    "SystemdWatchdog",
    "TopologyManagerPolicyAlphaOptions",
    "TopologyManagerPolicyBetaOptions",
    "TopologyManagerPolicyOptions",
    "UserNamespacesHostNetworkSupport",
    "UserNamespacesSupport",
];

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
            (false, _) => Some(format!("unrecognized feature gate: {name}")),
        }
    };
    gates.iter().filter_map(problem).collect()
}
