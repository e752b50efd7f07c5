//! The Node object: as it is registered, and its status. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_cri::v1::{Image, RuntimeFeatures, RuntimeHandler};
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeFeatures, NodeRuntimeHandler,
        NodeRuntimeHandlerFeatures, NodeSpec, NodeStatus, NodeSwapStatus, NodeSystemInfo, Taint,
    },
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kube::api::ObjectMeta;
use serde_json::{Map, Value};

use super::{
    capacity::Amounts,
    conditions::{self, Health},
    machine::Machine,
};

/// The taint that an external cloud provider's controller takes off.
const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

/// What of the node does not change while the kubelet runs.
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: String,
    pub addresses: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub provider_id: String,
    pub external_cloud: bool,
    pub port: u16,
    pub machine: Machine,
    /// `containerd://1.6.20`
    pub runtime_version: String,
    pub capacity: Amounts,
    pub allocatable: Amounts,
    pub images_max: i64,
    pub runtime_handlers: Vec<RuntimeHandler>,
    pub runtime_features: Option<RuntimeFeatures>,
}

/// That volumes are attached by the controller manager, not by the kubelet.
pub const ATTACHES: [&str; 2] = ["volumes.kubernetes.io/controller-managed-attach-detach", "true"];

/// The object to create. `status` goes along: the scheduler then sees a node that it can judge.
pub fn initial(identity: &Identity, status: NodeStatus) -> Node {
    let mut taints = identity.taints.clone();
    if identity.external_cloud {
        taints.push(Taint {
            key: UNINITIALIZED.into(),
            value: Some("true".into()),
            effect: "NoSchedule".into(),
            time_added: None,
        });
    }
    Node {
        metadata: ObjectMeta {
            name: Some(identity.name.clone()),
            labels: Some(labels(identity)),
            annotations: Some(BTreeMap::from([ATTACHES.map(str::to_owned).into()])),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            taints: (!taints.is_empty()).then_some(taints),
            provider_id: Some(identity.provider_id.clone()).filter(|id| !id.is_empty()),
            ..NodeSpec::default()
        }),
        status: Some(status),
    }
}

/// The labels that a kubelet sets: host name, system and architecture, and those of `--node-labels`.
pub fn labels(identity: &Identity) -> BTreeMap<String, String> {
    let arch = component::version::ARCHITECTURE;
    let mut labels = BTreeMap::from([
        ("kubernetes.io/hostname".to_owned(), identity.name.clone()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("kubernetes.io/arch".to_owned(), arch.to_owned()),
        ("beta.kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("beta.kubernetes.io/arch".to_owned(), arch.to_owned()),
    ]);
    labels.extend(identity.labels.clone());
    labels
}

/// Those that are kept as the kubelet has them at each start. What else `--node-labels` gave is the API's from the
/// registration on: others may have changed it, or taken it away.
const KEPT_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// What a registered Node's labels must change in; null takes one away that is to be empty.
pub fn relabelled(identity: &Identity, has: &BTreeMap<String, String>) -> Map<String, Value> {
    let kept = labels(identity).into_iter().filter(|(key, _)| KEPT_LABELS.contains(&key.as_str()));
    let changed = kept.filter_map(|(key, value)| match (has.get(&key), value.is_empty()) {
        (None, true) => None,
        (Some(_), true) => Some((key, Value::Null)),
        (now, false) => (now != Some(&value)).then(|| (key, value.into())),
    });
    changed.collect()
}

/// What schedulers and API servers look for before they rely on it.
const DECLARED_FEATURES: [&str; 3] = [
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];

/// The status, over what is known: amounts and conditions of others are kept, and the images where the runtime did not tell
/// them now.
pub fn status(
    identity: &Identity,
    known: &NodeStatus,
    health: &Health,
    images: Option<&[Image]>,
    now: Timestamp,
) -> NodeStatus {
    let mut conditions: Vec<_> = known.conditions.clone().unwrap_or_default();
    for condition in conditions::all(health, known.conditions.as_deref().unwrap_or_default(), now) {
        match conditions.iter_mut().find(|it| it.type_ == condition.type_) {
            Some(slot) => *slot = condition,
            None => conditions.push(condition),
        }
    }
    NodeStatus {
        addresses: Some(addresses(identity)),
        capacity: Some(over(&known.capacity, &identity.capacity)),
        allocatable: Some(over(&known.allocatable, &identity.allocatable)),
        conditions: Some(conditions),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(identity.port) }),
        }),
        images: images.map_or(known.images.clone(), |images| Some(image_list(images, identity.images_max))),
        node_info: Some(info(identity)),
        declared_features: Some(DECLARED_FEATURES.map(str::to_owned).into()),
        runtime_handlers: handlers(&identity.runtime_handlers),
        features: identity
            .runtime_features
            .map(|it| NodeFeatures { supplemental_groups_policy: Some(it.supplemental_groups_policy) }),
        ..known.clone()
    }
}

/// The handlers that a RuntimeClass may name, as far as the runtime tells them.
fn handlers(told: &[RuntimeHandler]) -> Option<Vec<NodeRuntimeHandler>> {
    let one = |handler: &RuntimeHandler| NodeRuntimeHandler {
        name: Some(handler.name.clone()),
        features: handler.features.map(|it| NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(it.recursive_read_only_mounts),
            user_namespaces: Some(it.user_namespaces),
        }),
    };
    (!told.is_empty()).then(|| told.iter().map(one).collect())
}

fn addresses(identity: &Identity) -> Vec<NodeAddress> {
    let internal = identity.addresses.iter().map(|address| ("InternalIP", address));
    internal
        .chain([("Hostname", &identity.name)])
        .map(|(type_, address)| NodeAddress { type_: type_.into(), address: address.clone() })
        .collect()
}

/// Own amounts over foreign ones: extended resources that others set stay. Huge pages are of no other sizes than the
/// kernel's.
fn over(known: &Option<BTreeMap<String, ApiQuantity>>, own: &Amounts) -> BTreeMap<String, ApiQuantity> {
    let mut amounts = known.clone().unwrap_or_default();
    amounts.retain(|name, _| !name.starts_with("hugepages-"));
    amounts.extend(own.iter().map(|(name, quantity)| (name.clone(), ApiQuantity(quantity.to_string()))));
    amounts
}

fn info(identity: &Identity) -> NodeSystemInfo {
    let machine = &identity.machine;
    NodeSystemInfo {
        machine_id: machine.machine_id.clone(),
        system_uuid: machine.system_uuid.clone(),
        boot_id: machine.boot_id.clone(),
        kernel_version: machine.kernel_version.clone(),
        os_image: machine.os_image.clone(),
        container_runtime_version: identity.runtime_version.clone(),
        kubelet_version: component::version::GIT_VERSION.into(),
        kube_proxy_version: String::new(),
        operating_system: "linux".into(),
        architecture: component::version::ARCHITECTURE.into(),
        swap: (machine.swap_bytes > 0).then_some(NodeSwapStatus { capacity: Some(machine.swap_bytes) }),
    }
}

/// The largest images first, of each at most five names, as upstream tells them.
fn image_list(images: &[Image], max: i64) -> Vec<ContainerImage> {
    const NAMES_MAX: usize = 5;
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let one = |image: &Image| {
        let names = image.repo_digests.iter().chain(&image.repo_tags).take(NAMES_MAX).cloned().collect();
        ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size).ok() }
    };
    sorted.into_iter().take(max).map(one).collect()
}
