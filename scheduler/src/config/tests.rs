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
            "DynamicResources",
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

#[test]
fn arguments_are_read() {
    let read = |name: &str, args: &str| {
        profiles_of(&format!("profiles:\n- pluginConfig:\n  - name: {name}\n    args: {{{args}}}\n")).map(drop)
    };
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
    let bad = [
        ("NodeResourcesFit", "scoringStrategy: {type: Best}", "Unsupported value"),
        ("NodeResourcesFit", "scoringStrategy: {type: RequestedToCapacityRatio}", "at least one point"),
        ("NodeResourcesFit", "scoring: {}", "unknown field"),
        ("InterPodAffinity", "hardPodAffinityWeight: 101", "not in valid range"),
        (
            "PodTopologySpread",
            "defaultConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]",
            "List",
        ),
        ("Nonsense", "", "does not exist"),
    ];
    for (name, args, words) in bad {
        let error = read(name, args).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn files_that_are_wrong_are_refused() {
    let table = [
        ("percentageOfNodesToScoree: 1\n", "unknown field \"percentageOfNodesToScoree\""),
        ("percentageOfNodesToScore: 101\n", "not in valid range"),
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
