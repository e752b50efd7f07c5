//! Configuration files: what is read, defaulted and refused.

use super::*;
use crate::framework::Profile;

fn file(rest: &str) -> Result<Configuration, String> {
    let head = format!("apiVersion: {}\nkind: KubeSchedulerConfiguration\n", API_VERSIONS[0]);
    component::config::parse(&format!("{head}{rest}"), "KubeSchedulerConfiguration", &API_VERSIONS)
}

fn profiles_of(rest: &str) -> Result<Vec<Profile>, String> {
    let file = file(rest)?;
    let (_, ignored) = extenders(&file.extenders)?;
    profiles(&file, &ignored)
}

/// `name` or `name*weight` of each plugin, with `-` before those that do not filter.
fn plugins(profile: &Profile) -> Vec<String> {
    let shown = |enabled: &crate::framework::Enabled| {
        let sign = if enabled.filters { "" } else { "-" };
        let weight = if enabled.weight == 0 { String::new() } else { format!("*{}", enabled.weight) };
        format!("{sign}{}{weight}", enabled.plugin.name())
    };
    profile.plugins.iter().map(shown).collect()
}

#[test]
fn an_empty_file_means_upstreams_defaults() {
    let profiles = profiles_of("").unwrap();
    assert_eq!((profiles.len(), &*profiles[0].scheduler_name, profiles[0].preempts), (1, "default-scheduler", true));
    assert_eq!(
        plugins(&profiles[0]),
        [
            "SchedulingGates",
            "NodeUnschedulable",
            "NodeName",
            "TaintToleration*3",
            "NodeAffinity*2",
            "NodePorts",
            "NodeResourcesFit*1",
            "VolumeRestrictions",
            "NodeVolumeLimits",
            "VolumeBinding",
            "VolumeZone",
            "PodTopologySpread*2",
            "InterPodAffinity*2",
            "DynamicResources*2",
            "-NodeResourcesBalancedAllocation*1",
            "-ImageLocality*1",
            "NodeDeclaredFeatures",
        ]
    );
}

#[test]
fn the_file_that_people_start_with_is_taken() {
    let file =
        file("clientConnection:\n  kubeconfig: /etc/scheduler.kubeconfig\nleaderElection:\n  leaderElect: true\n");
    let mut client = ClientConfig::default();
    file.unwrap().client_connection.apply(&mut client);
    assert_eq!(client.kubeconfig.as_deref(), Some(std::path::Path::new("/etc/scheduler.kubeconfig")));
}

#[test]
fn what_is_written_reads_back() {
    let written = Configuration::default().to_yaml();
    let read: Configuration =
        component::config::parse(&written, "KubeSchedulerConfiguration", &API_VERSIONS).expect("our own file");
    assert_eq!(read.to_yaml(), written);
}

#[test]
fn what_is_written_names_all_plugins_and_means_the_same() {
    let given = "profiles:
- schedulerName: one
  plugins:
    multiPoint: {disabled: [{name: ImageLocality}], enabled: [{name: NodeAffinity, weight: 7}]}
  pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 5}}]
";
    for given in ["", given] {
        let whole = file(given).unwrap().whole();
        assert_eq!(whole.profiles.len(), 1);
        assert_eq!(whole.profiles[0].plugin_config.len(), 8);
        let (before, after) = (profiles_of(given).unwrap(), profiles(&whole, &[]).unwrap());
        assert_eq!(plugins(&before[0]), plugins(&after[0]));
        assert_eq!(whole.whole().to_yaml(), whole.to_yaml());
    }
    assert!(file(given).unwrap().to_yaml().contains("hardPodAffinityWeight: 5"));
}

#[test]
fn a_profile_that_can_neither_order_nor_bind_is_refused() {
    let profile = |plugins: &str| profiles_of(&format!("profiles: [{{plugins: {plugins}}}]")).map(|_| ());
    let refused =
        |why: &str| Err(format!("initializing profiles: creating profile for scheduler name default-scheduler: {why}"));
    let no_bind = "at least one bind plugin is needed for profile with scheduler name \"default-scheduler\"";
    let no_sort =
        "only one queue sort plugin required for profile with scheduler name \"default-scheduler\", but got 0";
    assert_eq!(profile("{bind: {disabled: [{name: DefaultBinder}]}}"), refused(no_bind));
    assert_eq!(profile("{queueSort: {disabled: [{name: '*'}]}}"), refused(no_sort));
    assert_eq!(profile("{multiPoint: {disabled: [{name: '*'}]}}"), refused(no_sort));
    assert_eq!(
        profile("{multiPoint: {disabled: [{name: '*'}], enabled: [{name: PrioritySort}, {name: DefaultBinder}]}}"),
        Ok(())
    );
    assert_eq!(profile("{bind: {disabled: [{name: '*'}], enabled: [{name: DefaultBinder}]}}"), Ok(()));
}

#[test]
fn what_has_no_effect_is_told_by_name() {
    let told = |rest: &str| file(rest).unwrap().without_effect();
    assert_eq!(
        told("enableProfiling: false\nclientConnection: {contentType: application/json}\n"),
        Vec::<String>::new()
    );
    let all = "parallelism: 4\ndelayCacheUntilActive: true\nclientConnection: {contentType: application/vnd.kubernetes.protobuf}\n\
        profiles: [{plugins: {preEnqueue: {disabled: [{name: SchedulingGates}]}}}]\n";
    let names: Vec<String> = told(all)
        .iter()
        .filter_map(|text| Some(text.strip_prefix("--config: ")?.split_once(" has")?.0.to_owned()))
        .collect();
    let wanted = [
        "parallelism",
        "delayCacheUntilActive",
        "clientConnection.contentType",
        "profiles[0].plugins.preEnqueue.disabled: SchedulingGates",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn profiles_switch_and_weigh_plugins() {
    let profiles = profiles_of(
        "profiles:
- schedulerName: one
  plugins:
    score:
      disabled: [{name: '*'}]
      enabled: [{name: NodeResourcesFit, weight: 5}]
    filter:
      disabled: [{name: NodePorts}]
- schedulerName: two
  percentageOfNodesToScore: 30
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}, {name: DefaultPreemption}]
      enabled: [{name: TaintToleration, weight: 9}, {name: VolumeBinding}]
",
    )
    .unwrap();
    let (one, two) = (plugins(&profiles[0]), plugins(&profiles[1]));
    let scoring: Vec<_> = one.iter().filter(|plugin| plugin.contains('*')).collect();
    assert_eq!(scoring, ["NodeResourcesFit*5"]);
    assert!(one.contains(&"-NodePorts".to_owned()) && profiles[0].preempts);
    assert!(two.contains(&"TaintToleration*9".to_owned()) && two.contains(&"-ImageLocality".to_owned()));
    assert_eq!((profiles[1].preempts, profiles[1].percentage_of_nodes_to_score), (false, 30));
}

fn read(name: &str, args: &str) -> Result<(), String> {
    profiles_of(&format!("profiles:\n- pluginConfig:\n  - name: {name}\n    args: {{{args}}}\n")).map(drop)
}

/// Plugin, arguments, and what is said of them.
fn check_refused(rows: &[(&str, &str, &str)]) {
    for (name, args, words) in rows {
        let error = read(name, args).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn arguments_are_read() {
    let good = [
        ("NodeResourcesFit", "scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 2}]}"),
        (
            "NodeResourcesFit",
            "scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, \
             {utilization: 100, score: 10}]}}",
        ),
        ("NodeResourcesFit", "kind: NodeResourcesFitArgs, ignoredResources: [example.com/gpu]"),
        ("NodeResourcesBalancedAllocation", "resources: [{name: memory}]"),
        (
            "PodTopologySpread",
            "defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]",
        ),
        ("InterPodAffinity", "hardPodAffinityWeight: 5"),
        ("NodeAffinity", "addedAffinity: {}"),
        ("DefaultPreemption", "minCandidateNodesPercentage: 10"),
    ];
    for (name, args) in good {
        assert_eq!(read(name, args), Ok(()), "{name} {args}");
    }
}

#[test]
fn resources_to_score_by_are_checked() {
    check_refused(&[
        (
            "NodeResourcesFit",
            "scoringStrategy: {type: Best}",
            "scoringStrategy.type: Unsupported value: \"Best\": supported values: \"LeastAllocated\", \"MostAllocated\", \
             \"RequestedToCapacityRatio\"",
        ),
        (
            "NodeResourcesFit",
            "scoringStrategy: {type: RequestedToCapacityRatio}",
            "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio",
        ),
        (
            "NodeResourcesFit",
            "scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5, score: 11}, \
             {utilization: 5, score: 0}]}}",
            "[profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 5: \
             values must be sorted in increasing order, \
             profiles[0].pluginConfig[0].args.scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in \
             valid range [0, 10]]",
        ),
        (
            "NodeResourcesFit",
            "scoringStrategy: {type: MostAllocated, requestedToCapacityRatio: {shape: []}}",
            "scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio",
        ),
        (
            "NodeResourcesFit",
            "scoringStrategy: {resources: [{name: cpu, weight: 101}]}",
            "scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]",
        ),
        (
            "NodeResourcesFit",
            "ignoredResourceGroups: [a.b/c]",
            "ignoredResourceGroups[0]: Invalid value: \"a.b/c\": resource group name can't contain '/'",
        ),
        ("NodeResourcesFit", "scoring: {}", "unknown field"),
        ("NodeResourcesBalancedAllocation", "resources: [{name: cpu, weight: 2}]", "Invalid value: 2: must be 1"),
        (
            "NodeResourcesBalancedAllocation",
            "resources: [{name: cpu}, {name: cpu}]",
            "args.resources[1].name: Duplicate value: \"cpu\"",
        ),
    ]);
}

#[test]
fn arguments_are_checked() {
    check_refused(&[
        (
            "InterPodAffinity",
            "hardPodAffinityWeight: 101",
            "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            "PodTopologySpread",
            "defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]",
            "args.defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty",
        ),
        (
            "PodTopologySpread",
            "defaultingType: List, defaultConstraints: [{maxSkew: 0, topologyKey: '', whenUnsatisfiable: Never}]",
            "[profiles[0].pluginConfig[0].args.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf), \
             profiles[0].pluginConfig[0].args.defaultConstraints[0].topologyKey: Required value: can not be empty, \
             profiles[0].pluginConfig[0].args.defaultConstraints[0].whenUnsatisfiable: Unsupported value: \"Never\": supported \
             values: \"DoNotSchedule\", \"ScheduleAnyway\"]",
        ),
        (
            "PodTopologySpread",
            "defaultingType: List, defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}, \
             {maxSkew: 2, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]",
            "args.defaultConstraints[1]: Duplicate value: \"{z, ScheduleAnyway}\"",
        ),
        (
            "DefaultPreemption",
            "minCandidateNodesPercentage: 101, minCandidateNodesAbsolute: -1",
            "[profiles[0].pluginConfig[0].args.minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100], \
             profiles[0].pluginConfig[0].args.minCandidateNodesAbsolute: Invalid value: -1: not in valid range [0, inf)]",
        ),
        (
            "DefaultPreemption",
            "minCandidateNodesPercentage: 0, minCandidateNodesAbsolute: 0",
            "cannot be zero at the same time as minCandidateNodesAbsolute",
        ),
        (
            "VolumeBinding",
            "bindTimeoutSeconds: -1",
            "args.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
        ),
        ("VolumeBinding", "shape: []", "unexpected field `shape`, remove it or turn on the feature gate"),
        (
            "DynamicResources",
            "bindingTimeout: 10ms",
            "args.bindingTimeout: Invalid value: \"10ms\": must be at least 1 second",
        ),
        ("EBSLimits", "", "was invalid in version \"kubescheduler.config.k8s.io/v1\""),
        ("Nonsense", "", "does not exist"),
    ]);
}

#[test]
fn node_selectors_are_checked() {
    check_refused(&[(
        "NodeAffinity",
        "addedAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}, {matchExpressions: \
             [{key: -a, operator: In, values: [b]}, {key: b, operator: Likes}, {key: c, operator: Gt, values: [x]}]}]}, \
             preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {matchFields: [{key: f, operator: Gt}]}}, \
             {weight: 1, preference: {matchFields: [{key: f, operator: In, values: [b, c]}, {key: f, operator: Exists}]}}]}",
        "[profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1]\
             .matchExpressions[0].key: Invalid value: \"-a\": name part must consist of alphanumeric characters, '-', '_' or '.', \
             and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
             validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), \
             profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1]\
             .matchExpressions[1].operator: Unsupported value: \"Likes\": supported values: \"In\", \"NotIn\", \"Exists\", \
             \"DoesNotExist\", \"Gt\", \"Lt\", \
             profiles[0].pluginConfig[0].args.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[1]\
             .matchExpressions[2].values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer, \
             profiles[0].pluginConfig[0].args.addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[1].matchFields[0]\
             .values: Invalid value: [\"b\",\"c\"]: must have one element, \
             profiles[0].pluginConfig[0].args.addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[1].matchFields[1]\
             .operator: Unsupported value: \"Exists\": supported values: \"In\", \"NotIn\"]",
    )]);
}

#[test]
fn arguments_have_their_effect() {
    let yaml = "profiles:\n- pluginConfig:\n  - name: DefaultPreemption\n    args: {minCandidateNodesPercentage: 25}\n  \
                - name: DynamicResources\n    args: {bindingTimeout: 2s, filterTimeout: 0s}\n  \
                - name: VolumeBinding\n    args: {bindTimeoutSeconds: 7}\n";
    let profile = profiles_of(yaml).unwrap().remove(0);
    assert_eq!((profile.preemption.percentage, profile.preemption.absolute), (25, 100));
    let seconds = [profile.device_bind_timeout, profile.volume_bind_timeout].map(|timeout| timeout.as_secs());
    assert_eq!(seconds, [2, 7]);
}

#[test]
fn files_that_are_wrong_are_refused() {
    let table = [
        ("percentageOfNodesToScoree: 1\n", "unknown field \"percentageOfNodesToScoree\""),
        ("percentageOfNodesToScore: 101\n", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
        ("percentageOfNodesToScore: -1\n", "percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100]"),
        ("profiles: [{percentageOfNodesToScore: 101}]\n", "profiles[0].percentageOfNodesToScore: Invalid value: 101"),
        ("parallelism: 0\n", "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        ("podInitialBackoffSeconds: 0\n", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        (
            "podInitialBackoffSeconds: 20\n",
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            "profiles: [{pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]}]\n",
            "profiles[0].pluginConfig[1]: Duplicate value: \"NodeAffinity\"",
        ),
        ("profiles: [{schedulerName: a}, {schedulerName: a}]\n", "Duplicate value"),
        ("profiles: [{}, {schedulerName: a}]\n", "Required value"),
        ("profiles: [{plugins: {score: {enabled: [{name: Nonsense}]}}}]\n", "does not exist"),
        ("extenders: [{urlPrefix: 'http://h', prioritizeVerb: p}]\n", "must have a positive weight applied to it"),
        ("extenders: [{bindVerb: b}, {bindVerb: b}]\n", "only one extender can implement bind"),
        ("extenders: [{managedResources: [{name: cpu}]}]\n", "is an invalid extended resource name"),
        ("extenders: [{managedResources: [{name: a.b/c}, {name: a.b/c}]}]\n", "duplicate extender managed resource"),
        ("extenders: [{httpTimeout: soon}]\n", "soon"),
        ("extenders: [{tlsConfig: {certFile: /c}}]\n", "a certificate needs its key"),
    ];
    for (rest, words) in table {
        let error = profiles_of(rest).map(drop).unwrap_err();
        assert!(error.contains(words), "{rest}: {error}");
    }
}

#[test]
fn extenders_that_may_fail_come_last_and_count_what_they_manage() {
    let yaml = "extenders:\n- {urlPrefix: 'http://a', ignorable: true, httpTimeout: 2s}\n\
                - {urlPrefix: 'https://b/', enableHTTPS: true, filterVerb: f, \
                   managedResources: [{name: example.com/gpu, ignoredByScheduler: true}, {name: example.com/fpga}]}\n";
    let (extenders, ignored) = extenders(&file(yaml).unwrap().extenders).unwrap();
    let shown: Vec<_> = extenders.iter().map(|e| (&*e.endpoint.server, e.timeout.as_secs())).collect();
    assert_eq!(shown, [("https://b/", 5), ("http://a", 2)]);
    assert!(extenders[0].endpoint.insecure_skip_tls_verify && !extenders[1].endpoint.insecure_skip_tls_verify);
    assert_eq!(ignored, ["example.com/gpu"]);
}
