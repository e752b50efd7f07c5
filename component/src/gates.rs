//! `--feature-gates`: which of upstream's features there are in v1.36, and what asking for one comes to.
//!
//! Enter at [`check`] where behaviour is that of upstream's defaults: what asks for that is taken, what asks for else is told
//! by name. A component that differs from them asks [`parse`] and [`known`], and says itself what it has. [`tell`] shows in
//! the metrics what is on.

mod stage;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prometheus::IntGaugeVec;

use crate::metrics;

/// On, and upstream can switch them off.
const ON: [&str; 96] = [
    "APIResponseCompression",
    "APIServerIdentity",
    "AllowParsingUserUIDFromCertAuth",
    "AllowServiceExternalIPs",
    "AtomicFIFO",
    "AuthorizePodWebsocketUpgradeCreatePermission",
    "CPUManagerPolicyBetaOptions",
    "CRDObservedGenerationTracking",
    "ClearingNominatedNodeNameAfterBinding",
    "ClientsAllowCARotation",
    "ClientsAllowTLSCacheGC",
    "ComponentFlagz",
    "ComponentStatusz",
    "ConstrainedImpersonation",
    "ContainerCheckpoint",
    "ContainerRestartRules",
    "ContextualLogging",
    "DRAConsumableCapacity",
    "DRADeviceBindingConditions",
    "DRADeviceTaints",
    "DRAExtendedResource",
    "DRAPartitionableDevices",
    "DRAPrioritizedList",
    "DRAResourceClaimDeviceStatus",
    "DRAResourceClaimGranularStatusAuthorization",
    "DRASchedulerFilterTimeout",
    "DeclarativeValidationBeta",
    "DeploymentReplicaSetTerminatingReplicas",
    "DetectCacheInconsistency",
    "DisableCPUQuotaWithExclusiveCPUs",
    "EnvFiles",
    "ExtendWebSocketsToKubelet",
    "GracefulNodeShutdown",
    "GracefulNodeShutdownBasedOnPodPriority",
    "HPAConfigurableTolerance",
    "HostnameOverride",
    "InOrderInformersBatchProcess",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "InformerResourceVersion",
    "KubeletCrashLoopBackOffMax",
    "KubeletEnsureSecretPulledImages",
    "KubeletPodResourcesListUseActivePods",
    "KubeletSeparateDiskGC",
    "KubeletServiceAccountTokenForCredentialProviders",
    "ListFromCacheSnapshot",
    "LoggingBetaOptions",
    "MatchLabelKeysInPodTopologySpread",
    "MatchLabelKeysInPodTopologySpreadSelectorMerge",
    "MutablePodResourcesForSuspendedJobs",
    "MutableSchedulingDirectivesForSuspendedJobs",
    "MutatingAdmissionPolicy",
    "NodeDeclaredFeatures",
    "NominatedNodeNameForExpectation",
    "OpenAPIEnums",
    "OpportunisticBatching",
    "PLEGOnDemandRelist",
    "PodDeletionCost",
    "PodLevelResources",
    "PodReadyToStartContainersCondition",
    "PodTopologyLabelsAdmission",
    "PortForwardWebsockets",
    "PreventStaticPodAPIReferences",
    "RelaxedServiceNameValidation",
    "ReloadKubeletClientCAFile",
    "ReloadKubeletServerCertificateFile",
    "RemoteRequestHeaderUID",
    "ResourceHealthStatus",
    "ResourceHealthStatusMessage",
    "RestartAllContainersOnContainerExits",
    "RotateKubeletServerCertificate",
    "SchedulerAsyncPreemption",
    "SchedulerPopFromBackoffQ",
    "ServiceAccountNodeAudienceRestriction",
    "ServiceCIDRStatusFieldWiping",
    "SizeBasedListCostEstimate",
    "StaleControllerConsistencyDaemonSet",
    "StaleControllerConsistencyJob",
    "StaleControllerConsistencyReplicaSet",
    "StaleControllerConsistencyStatefulSet",
    "StatefulSetSemanticRevisionComparison",
    "StorageNamespaceIndex",
    "StorageVersionHash",
    "StrictIPCIDRValidation",
    "StructuredAuthenticationConfigurationEgressSelector",
    "StructuredAuthenticationConfigurationJWKSMetrics",
    "TokenRequestServiceAccountUIDValidation",
    "TopologyManagerPolicyBetaOptions",
    "TranslateStreamCloseWebsocketRequests",
    "UnauthenticatedHTTP2DOSMitigation",
    "UnknownVersionInteroperabilityProxy",
    "UnlockWhileProcessingFIFO",
    "WatchCacheInitializationPostStartHook",
    "WatchList",
    "WatchListClient",
    "WindowsGracefulNodeShutdown",
];

/// Off, and upstream can switch them on.
const OFF: [&str; 70] = [
    "APIServingWithRoutine",
    "AllAlpha",
    "AllBeta",
    "AllowDNSOnlyNodeCSR",
    "AllowInsecureKubeletCertificateSigningRequests",
    "AllowUnsafeMalformedObjectDeletion",
    "CBORServingAndStorage",
    "CPUManagerPolicyAlphaOptions",
    "CRIListStreaming",
    "CSIVolumeHealth",
    "ChangeContainerStatusOnKubeletRestart",
    "ClientsAllowCBOR",
    "ClientsPreferCBOR",
    "CloudControllerManagerWatchBasedRoutesReconciliation",
    "CloudControllerManagerWebhook",
    "ClusterTrustBundle",
    "ClusterTrustBundleProjection",
    "ConcurrentWatchObjectDecode",
    "ContainerStopSignals",
    "ControllerManagerReleaseLeaderElectionLockOnExit",
    "CoordinatedLeaderElection",
    "CrossNamespaceVolumeDataSource",
    "CustomCPUCFSQuotaPeriod",
    "DRADeviceTaintRules",
    "DRAListTypeAttributes",
    "DRANodeAllocatableResources",
    "DRAResourcePoolStatus",
    "DRAWorkloadResourceClaims",
    "DeclarativeValidationTakeover",
    "EventedPLEG",
    "GangScheduling",
    "GenericWorkload",
    "HPAScaleToZero",
    "ImageVolumeWithDigest",
    "InPlacePodVerticalScalingExclusiveCPUs",
    "InPlacePodVerticalScalingExclusiveMemory",
    "KMSv1",
    "KubeletInUserNamespace",
    "KubeletRegistrationGetOnExistsOnly",
    "LocalStorageCapacityIsolationFSQuotaMonitoring",
    "LoggingAlphaOptions",
    "ManifestBasedAdmissionControlConfig",
    "MaxUnavailableStatefulSet",
    "MemoryQoS",
    "MutablePVNodeAffinity",
    "NativeHistograms",
    "PersistentVolumeClaimUnusedSinceTime",
    "PodAndContainerStatsFromCRI",
    "PodCertificateRequest",
    "PodLevelResourceManagers",
    "PodLogsQuerySplitStreams",
    "PodsAPI",
    "QOSReserved",
    "ReduceDefaultCrashLoopBackOffDecay",
    "RuntimeClassInImageCriApi",
    "SELinuxMount",
    "SchedulerAsyncAPICalls",
    "ShardedListAndWatch",
    "StorageCapacityScoring",
    "StorageVersionAPI",
    "StorageVersionMigrator",
    "TaintTolerationComparisonOperators",
    "TopologyAwareWorkloadScheduling",
    "TopologyManagerPolicyAlphaOptions",
    "UserNamespacesHostNetworkSupport",
    "VolumeLimitScaling",
    "WindowsCPUAndMemoryAffinity",
    "WindowsHostNetwork",
    "WorkloadAwarePreemption",
    "WorkloadWithJob",
];

/// On for good.
const ALWAYS_ON: [&str; 77] = [
    "APIServerTracing",
    "AggregatedDiscoveryRemoveBetaType",
    "AllowOverwriteTerminationGracePeriodSeconds",
    "AnonymousAuthConfigurableEndpoints",
    "AnyVolumeDataSource",
    "AuthorizeNodeWithSelectors",
    "AuthorizeWithSelectors",
    "BtreeWatchCache",
    "CPUManagerPolicyOptions",
    "CRDValidationRatcheting",
    "CSIServiceAccountTokenSecrets",
    "ConsistentListFromCache",
    "CustomResourceFieldSelectors",
    "DRAAdminAccess",
    "DeclarativeValidation",
    "DisableAllocatorDualWrite",
    "DisableNodeKubeProxyVersion",
    "DynamicResourceAllocation",
    "ExecProbeTimeout",
    "ExternalServiceAccountTokenSigner",
    "GitRepoVolumeDriver",
    "ImageMaximumGCAge",
    "ImageVolume",
    "InOrderInformers",
    "InPlacePodVerticalScaling",
    "JobBackoffLimitPerIndex",
    "JobManagedBy",
    "JobPodReplacementPolicy",
    "JobSuccessPolicy",
    "KubeletCgroupDriverFromCRI",
    "KubeletFineGrainedAuthz",
    "KubeletPSI",
    "KubeletPodResourcesDynamicResources",
    "KubeletPodResourcesGet",
    "KubeletTracing",
    "LogarithmicScaleDown",
    "LoggingStableOptions",
    "MatchLabelKeysInPodAffinity",
    "MultiCIDRServiceAllocator",
    "MutableCSINodeAllocatableCount",
    "NFTablesProxyMode",
    "NodeInclusionPolicyInPodTopologySpread",
    "NodeLogQuery",
    "NodeSwap",
    "OrderedNamespaceDeletion",
    "PodLifecycleSleepAction",
    "PodLifecycleSleepActionAllowZero",
    "PodObservedGenerationTracking",
    "PodSchedulingReadiness",
    "PreferSameTrafficDistribution",
    "ProcMountType",
    "RecoverVolumeExpansionFailure",
    "RecursiveReadOnlyMounts",
    "RelaxedDNSSearchValidation",
    "RelaxedEnvironmentVariableValidation",
    "ResilientWatchCacheInitialization",
    "RetryGenerateName",
    "SELinuxChangePolicy",
    "SELinuxMountReadWriteOncePod",
    "SchedulerQueueingHints",
    "SeparateCacheWatchRPC",
    "SeparateTaintEvictionController",
    "ServiceAccountTokenJTI",
    "ServiceAccountTokenNodeBinding",
    "ServiceAccountTokenNodeBindingValidation",
    "ServiceAccountTokenPodNodeInfo",
    "SidecarContainers",
    "StreamingCollectionEncodingToJSON",
    "StreamingCollectionEncodingToProtobuf",
    "StructuredAuthenticationConfiguration",
    "SupplementalGroupsPolicy",
    "SystemdWatchdog",
    "TopologyManagerPolicyOptions",
    "UserNamespacesSupport",
    "VolumeAttributesClass",
    "WinDSR",
    "WinOverlay",
];

/// What of the flag's value changes nothing, each in a sentence. The error is upstream's: names that nobody knows, and
/// features that cannot be switched any more.
pub fn check(gates: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let mut idle = Vec::new();
    for (name, wanted) in parse(gates)? {
        // The flag takes the component before the name, too.
        let name = name.strip_prefix("kube:").unwrap_or(&name);
        let FeatureSpec { is_on, is_locked } = known(name)?;
        if wanted == is_on {
            continue;
        }
        if is_locked {
            return Err(format!("cannot set feature gate {name} to {wanted}, feature is locked to {is_on}"));
        }
        let state = if is_on { "on" } else { "off" };
        idle.push(format!("--feature-gates: {name} cannot be switched here; it stays {state}, as upstream's default"));
    }
    Ok(idle)
}

/// The flag's value: what is wanted of each gate.
pub fn parse(gates: &BTreeMap<String, String>) -> Result<BTreeMap<String, bool>, String> {
    let one = |(name, text): (&String, &String)| match crate::flags::parse_bool(text) {
        Ok(wanted) => Ok((name.clone(), wanted)),
        Err(_) => Err(format!("invalid value of {name}={text}, err: not a bool")),
    };
    gates.iter().map(one).collect()
}

/// What a feature is by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureSpec {
    pub is_on: bool,
    /// For good.
    pub is_locked: bool,
}

/// Of a feature that upstream has; the error is upstream's for any other.
pub fn known(name: &str) -> Result<FeatureSpec, String> {
    let found = TABLES.into_iter().find(|(names, _)| names.contains(&name)).map(|(_, spec)| spec);
    found.ok_or_else(|| format!("unrecognized feature gate: {name}"))
}

const TABLES: [(&[&str], FeatureSpec); 3] = [
    (&ON, FeatureSpec { is_on: true, is_locked: false }),
    (&OFF, FeatureSpec { is_on: false, is_locked: false }),
    (&ALWAYS_ON, FeatureSpec { is_on: true, is_locked: true }),
];

/// A feature of upstream's.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    pub name: &'static str,
    pub is_on: bool,
    /// `ALPHA`, `BETA`, `DEPRECATED`, or empty.
    pub stage: &'static str,
}

/// Every feature with upstream's default.
pub fn all() -> impl Iterator<Item = Feature> {
    let of = |(names, spec): (&'static [&'static str], FeatureSpec)| {
        names.iter().map(move |name| Feature { name, is_on: spec.is_on, stage: stage::of(name) })
    };
    TABLES.into_iter().flat_map(of)
}

static ENABLED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "This metric records the data about the stage and enablement of a k8s feature.";
    metrics::int_gauge("kubernetes_feature_enabled", help, &["name", "stage"])
});

/// Tells in the metrics which features are on: those by default, but for what `switched` says.
pub fn tell(switched: &BTreeMap<&str, bool>) {
    for Feature { name, is_on, stage } in all() {
        let is_on = switched.get(name).copied().unwrap_or(is_on);
        ENABLED.with_label_values(&[name, stage]).set(i64::from(is_on));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asking_for_a_feature_comes_to() {
        let told = |text: &str| {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            check(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        };
        let error = |text: &str| told(text).unwrap_err();
        assert_eq!(error("MaxUnavailableStatefulSe=true"), "unrecognized feature gate: MaxUnavailableStatefulSe");
        let locked = "cannot set feature gate SidecarContainers to false, feature is locked to true";
        assert_eq!(error("SidecarContainers=false"), locked);
        assert_eq!(error("HPAScaleToZero=perhaps"), "invalid value of HPAScaleToZero=perhaps, err: not a bool");
        let as_it_is =
            "SidecarContainers=true,RotateKubeletServerCertificate=true,HPAScaleToZero=false,kube:AllAlpha=false";
        assert_eq!(told(as_it_is), Ok(Vec::new()));
        let idle = "--feature-gates: HPAScaleToZero cannot be switched here; it stays off, as upstream's default";
        assert_eq!(told("HPAScaleToZero=true"), Ok(vec![idle.to_owned()]));
    }

    #[test]
    fn a_feature_has_one_default() {
        let mut names: Vec<_> = [&ON[..], &OFF, &ALWAYS_ON].concat();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
