//! What the scheduler reads of a Pod.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use component::informer::Alike;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Affinity, PodCondition, PodResourceClaim, PodResourceClaimStatus, ResourceRequirements,
    Toleration as ApiToleration, TopologySpreadConstraint, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use machinery::field::Path;
use machinery::selector::{Operator, Requirement, Selector};
use serde::Deserialize;

use super::affinity::{PodAffinity, selector};
use super::devices::{DeviceClaim, ExtendedRequest, device_claims, extended_requests};
use super::node_selector::{NodeTerm, RequiredNodeAffinity, WeightedNodeTerm};
use super::requests::{ContainerAmounts, ContainerRequests, PodAmounts, RequestSources};
use super::resources::{Resources, ScoredRequests};
use super::taints::Toleration;
use super::volumes::PodVolume;
use super::{api_resource, lean_metadata};

static DEMANDS: LazyLock<Alike<Demands>> = LazyLock::new(Alike::default);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Raw")]
pub struct Pod {
    pub metadata: ObjectMeta,
    /// The object that manages the pod.
    pub controller: Option<Controller>,
    /// Empty until bound.
    pub node_name: Box<str>,
    pub nominated_node_name: Box<str>,
    /// Those that matter for where it can go.
    pub volumes: Box<[PodVolume]>,
    pub device_claims: Box<[DeviceClaim]>,
    pub start_time: Option<Timestamp>,
    pub scheduled: Option<ScheduledCondition>,
    /// A scheduler has already asked for its end, to make room.
    pub preempted: bool,
    pub demands: Arc<Demands>,
}

/// What a pod demands by its template. Pods of one owner share it where it is the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demands {
    pub scheduler_name: Box<str>,
    pub priority: i32,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    pub gates: Vec<Box<str>>,
    pub requests: Resources,
    pub scored_requests: ScoredRequests,
    /// Of resources behind which devices may stand.
    pub extended: Box<[ExtendedRequest]>,
    pub host_ports: Vec<HostPort>,
    /// With tags, one per container and image volume.
    pub images: Vec<Box<str>>,
    /// How many containers and init containers there are.
    pub container_count: usize,
    pub tolerations: Vec<Toleration>,
    pub required_node_affinity: RequiredNodeAffinity,
    pub preferred_node_affinity: Vec<WeightedNodeTerm>,
    pub affinity: Option<Box<PodAffinity>>,
    pub spread: Vec<SpreadConstraint>,
    /// Features that its kubelet must have.
    pub needed_features: Box<[&'static str]>,
}

impl Deref for Pod {
    type Target = Demands;

    fn deref(&self) -> &Demands {
        &self.demands
    }
}

api_resource!(NamespaceResourceScope Pod, "", "v1", "Pod", "pods");

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Controller {
    pub kind: Box<str>,
    pub name: Box<str>,
}

/// A port of the node that a container takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// `0.0.0.0` for all of the node's addresses.
    pub ip: Box<str>,
    pub protocol: Box<str>,
    pub port: i32,
}

/// The `PodScheduled` condition as last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledCondition {
    pub status: Box<str>,
    pub reason: Box<str>,
    pub message: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenUnsatisfiable {
    DoNotSchedule,
    ScheduleAnyway,
}

/// A topology spread constraint (Kubernetes concept: pod topology spread constraints).
#[derive(Clone, Debug, PartialEq)]
pub struct SpreadConstraint {
    pub max_skew: i64,
    pub topology_key: Box<str>,
    pub when_unsatisfiable: WhenUnsatisfiable,
    pub selector: Selector,
    pub min_domains: i64,
    /// Nodes that the pod's node affinity rules out do not count.
    pub honor_affinity: bool,
    /// Nodes with taints that the pod does not tolerate do not count.
    pub honor_taints: bool,
}

impl Pod {
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub fn is_assigned(&self) -> bool {
        !self.node_name.is_empty()
    }

    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

impl SpreadConstraint {
    /// `labels` are the pod's own: `matchLabelKeys` narrows the selector to the pod's values of those keys.
    pub fn parse(raw: &TopologySpreadConstraint, labels: Option<&BTreeMap<String, String>>) -> Option<Self> {
        let own = raw.match_label_keys.iter().flatten().filter_map(|key| {
            let value = labels?.get(key)?;
            Requirement::new(key, Operator::Equals, vec![value.clone()], &Path::root()).ok()
        });
        Some(Self {
            max_skew: i64::from(raw.max_skew),
            topology_key: raw.topology_key.as_str().into(),
            when_unsatisfiable: match raw.when_unsatisfiable.as_str() {
                "ScheduleAnyway" => WhenUnsatisfiable::ScheduleAnyway,
                _ => WhenUnsatisfiable::DoNotSchedule,
            },
            selector: selector(raw.label_selector.as_ref())?.and(own),
            min_domains: i64::from(raw.min_domains.unwrap_or(1)),
            honor_affinity: raw.node_affinity_policy.as_deref().unwrap_or("Honor") == "Honor",
            honor_taints: raw.node_taints_policy.as_deref().unwrap_or("Ignore") == "Honor",
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    metadata: ObjectMeta,
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    node_name: Option<String>,
    scheduler_name: Option<String>,
    priority: Option<i32>,
    preemption_policy: Option<String>,
    scheduling_gates: Option<Vec<RawNamed>>,
    init_containers: Option<Vec<RawContainer>>,
    containers: Option<Vec<RawContainer>>,
    resources: Option<ResourceRequirements>,
    overhead: Option<BTreeMap<String, Quantity>>,
    host_network: Option<bool>,
    host_users: Option<bool>,
    node_selector: Option<BTreeMap<String, String>>,
    affinity: Option<Affinity>,
    tolerations: Option<Vec<ApiToleration>>,
    topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    volumes: Option<Vec<Volume>>,
    resource_claims: Option<Vec<PodResourceClaim>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawNamed {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    name: String,
    image: Option<String>,
    ports: Option<Vec<RawPort>>,
    resources: Option<ResourceRequirements>,
    restart_policy: Option<String>,
    restart_policy_rules: Option<Vec<RawRule>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawRule {
    action: String,
}

impl RawContainer {
    fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }

    fn requests(&self) -> ContainerRequests<'_> {
        let requests = self.resources.as_ref().and_then(|r| r.requests.as_ref());
        ContainerRequests { name: &self.name, requests, is_sidecar: self.is_sidecar() }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPort {
    host_port: Option<i32>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    protocol: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    nominated_node_name: Option<String>,
    start_time: Option<Time>,
    conditions: Option<Vec<PodCondition>>,
    resource_claim_statuses: Option<Vec<PodResourceClaimStatus>>,
    container_statuses: Option<Vec<ContainerAmounts>>,
    init_container_statuses: Option<Vec<ContainerAmounts>>,
    resources: Option<ResourceRequirements>,
    allocated_resources: Option<BTreeMap<String, Quantity>>,
}

impl From<Raw> for Pod {
    fn from(raw: Raw) -> Self {
        let Raw { metadata, spec, status } = raw;
        let owner = metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        // Those that nobody controls are often made by the dozen, too.
        let alike = owner.map(|owner| owner.uid.as_str()).or(metadata.namespace.as_deref());
        let demands = DEMANDS.share(alike, demands(&metadata, &spec, &status));
        let controller =
            owner.map(|owner| Controller { kind: owner.kind.as_str().into(), name: owner.name.as_str().into() });
        let condition = |kind: &str| status.conditions.iter().flatten().find(|c| c.type_ == kind);
        Self {
            controller,
            node_name: spec.node_name.as_deref().unwrap_or_default().into(),
            nominated_node_name: status.nominated_node_name.as_deref().unwrap_or_default().into(),
            volumes: volumes(&spec, metadata.name.as_deref().unwrap_or_default()),
            device_claims: device_claims(spec.resource_claims.as_deref(), status.resource_claim_statuses.as_deref()),
            start_time: status.start_time.as_ref().map(|time| time.0),
            scheduled: condition("PodScheduled").map(|c| ScheduledCondition {
                status: c.status.as_str().into(),
                reason: c.reason.as_deref().unwrap_or_default().into(),
                message: c.message.as_deref().unwrap_or_default().into(),
            }),
            preempted: condition("DisruptionTarget")
                .is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some("PreemptionByScheduler")),
            metadata: lean_metadata(metadata),
            demands,
        }
    }
}

fn demands(metadata: &ObjectMeta, spec: &RawSpec, status: &RawStatus) -> Demands {
    let requests = request_sources(spec, status);
    let affinity = spec.affinity.as_ref();
    let node_affinity = affinity.and_then(|a| a.node_affinity.as_ref());
    let required = node_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let preferred = node_affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let preferred = preferred.into_iter().flatten().filter(|p| p.weight != 0);
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let spread = spec.topology_spread_constraints.iter().flatten();
    Demands {
        scheduler_name: spec.scheduler_name.as_deref().unwrap_or("default-scheduler").into(),
        priority: spec.priority.unwrap_or(0),
        never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
        gates: spec.scheduling_gates.iter().flatten().map(|gate| gate.name.as_str().into()).collect(),
        requests: requests.resources(),
        scored_requests: requests.scored(),
        extended: extended(spec),
        host_ports: running_containers(spec).flat_map(host_ports).collect(),
        images: images(spec),
        container_count: containers(spec).count(),
        tolerations: spec.tolerations.iter().flatten().cloned().map(Toleration::from).collect(),
        required_node_affinity: RequiredNodeAffinity::new(spec.node_selector.clone().unwrap_or_default(), required),
        preferred_node_affinity: preferred
            .filter_map(|p| {
                let term = NodeTerm::parse(&p.preference)?;
                Some(WeightedNodeTerm { term, weight: i64::from(p.weight) })
            })
            .collect(),
        affinity: affinity.and_then(|a| PodAffinity::parse(a, namespace)).map(Box::new),
        spread: spread.filter_map(|s| SpreadConstraint::parse(s, metadata.labels.as_ref())).collect(),
        needed_features: needed_features(spec),
    }
}

fn containers(spec: &RawSpec) -> impl Iterator<Item = &RawContainer> {
    spec.init_containers.iter().chain(&spec.containers).flatten()
}

fn needed_features(spec: &RawSpec) -> Box<[&'static str]> {
    let mut rules = containers(spec).flat_map(|container| container.restart_policy_rules.iter().flatten());
    let restarts_all = rules.any(|rule| rule.action == "RestartAllContainers");
    let has_own_users_on_host = spec.host_network == Some(true) && spec.host_users == Some(false);
    let all = [
        restarts_all.then_some("RestartAllContainersOnContainerExits"),
        has_own_users_on_host.then_some("UserNamespacesHostNetworkSupport"),
    ];
    all.into_iter().flatten().collect()
}

fn extended(spec: &RawSpec) -> Box<[ExtendedRequest]> {
    let init_count = spec.init_containers.as_ref().map_or(0, Vec::len);
    let of_container = |(place, container): (usize, &RawContainer)| {
        let is_short_lived = place < init_count && !container.is_sidecar();
        extended_requests((&container.name, place, is_short_lived), container.requests().requests)
    };
    containers(spec).enumerate().flat_map(of_container).collect()
}

/// Those whose ports are taken while the pod runs.
fn running_containers(spec: &RawSpec) -> impl Iterator<Item = &RawContainer> {
    let sidecars = spec.init_containers.iter().flatten().filter(|container| container.is_sidecar());
    spec.containers.iter().flatten().chain(sidecars)
}

fn request_sources<'a>(spec: &'a RawSpec, status: &'a RawStatus) -> RequestSources<'a> {
    let pending_resize = status.conditions.iter().flatten().find(|c| c.type_ == "PodResizePending");
    RequestSources {
        init_containers: spec.init_containers.iter().flatten().map(RawContainer::requests).collect(),
        containers: spec.containers.iter().flatten().map(RawContainer::requests).collect(),
        pod_level: spec.resources.as_ref(),
        overhead: spec.overhead.as_ref(),
        statuses: status.container_statuses.iter().chain(&status.init_container_statuses).flatten().collect(),
        pod_status: status.resources.as_ref().map(|resources| PodAmounts {
            has: resources.requests.as_ref(),
            promised: status.allocated_resources.as_ref(),
        }),
        resize_infeasible: pending_resize.is_some_and(|c| c.reason.as_deref() == Some("Infeasible")),
    }
}

fn host_ports(container: &RawContainer) -> impl Iterator<Item = HostPort> {
    let taken = container.ports.iter().flatten().filter(|port| port.host_port.is_some_and(|p| p > 0));
    taken.map(|port| HostPort {
        ip: port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0").into(),
        protocol: port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP").into(),
        port: port.host_port.unwrap_or_default(),
    })
}

fn volumes(spec: &RawSpec, pod: &str) -> Box<[PodVolume]> {
    spec.volumes.iter().flatten().filter_map(|volume| PodVolume::parse(pod, volume)).collect()
}

fn images(spec: &RawSpec) -> Vec<Box<str>> {
    let of_containers = containers(spec).filter_map(|container| container.image.as_deref());
    let of_volumes = spec.volumes.iter().flatten().filter_map(|v| v.image.as_ref()?.reference.as_deref());
    of_containers.chain(of_volumes).map(with_tag).collect()
}

/// Nodes report images with a tag or digest; `nginx` is `nginx:latest`.
fn with_tag(image: &str) -> Box<str> {
    let has_tag = match (image.rfind(':'), image.rfind('/')) {
        (Some(colon), Some(slash)) => colon > slash,
        (colon, _) => colon.is_some(),
    };
    if has_tag { image.into() } else { format!("{image}:latest").into() }
}
