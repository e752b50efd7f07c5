//! Gathers the rows of `/metrics/cadvisor`: which cgroups there are, whose they are, and what they use.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_cri::v1::{ContainerStats, PodSandboxState};

use super::{
    super::{
        look::{self, number},
        quoted::Quoted,
    },
    open::Open,
};
use crate::{
    cgroups::{Figures, figures::DeviceNames},
    net_usage::{self, Interface},
    node::machine::Space,
    pod::{node::Node, spec},
    runtime::{
        self,
        labels::{CONTAINER_NAME, Identity},
    },
    status::qos,
};

/// One cgroup.
pub(super) struct Row {
    pub(super) labels: String,
    pub(super) at_ms: i64,
    pub(super) figures: Figures,
    pub(super) layer: Option<Layer>,
    pub(super) open: Option<Open>,
}

/// What a container has written over its image, and the disk that it lies on.
pub(super) struct Layer {
    pub(super) used_bytes: Option<u64>,
    /// None where the disk is not known.
    pub(super) space: Option<Space>,
}

/// The interfaces of one network.
pub(super) struct Network {
    pub(super) labels: String,
    pub(super) at_ms: i64,
    pub(super) interfaces: Vec<Interface>,
}

/// What upstream says of each row, in the order of its labels' names.
#[derive(Default)]
struct Labels<'a> {
    container: &'a str,
    folder: PathBuf,
    image: &'a str,
    name: &'a str,
    namespace: &'a str,
    pod: &'a str,
}

impl Labels<'_> {
    fn text(&self) -> String {
        let id = format!("/{}", self.folder.display());
        let [container, id, image, name, namespace, pod] =
            [self.container, &id, self.image, self.name, self.namespace, self.pod].map(Quoted);
        format!("container={container},id={id},image={image},name={name},namespace={namespace},pod={pod}")
    }
}

/// What the runtime tells; the rest is read from the kernel.
struct Found {
    stats: Vec<ContainerStats>,
    /// Container → image.
    images: HashMap<String, String>,
    /// Sandboxes that are ready, with their pods.
    sandboxes: Vec<(String, Identity)>,
}

/// With the names of all devices, by their numbers.
pub(super) type Gathered = (Vec<Row>, Vec<Network>, HashMap<String, String>);

pub(super) async fn gather(node: &Arc<Node>) -> runtime::Result<Gathered> {
    let stats = node.runtime.list_container_stats().await?;
    let containers = node.runtime.list_containers(None).await?;
    let sandboxes = node.runtime.list_sandboxes(None).await?;
    let ready = sandboxes.into_iter().filter(|it| it.state == PodSandboxState::SandboxReady as i32);
    let found = Found {
        stats,
        images: containers.into_iter().map(|it| (it.id, it.image.map(|it| it.image).unwrap_or_default())).collect(),
        sandboxes: ready.filter_map(|it| Some((it.id, Identity::from_labels(&it.labels)?))).collect(),
    };
    let node = node.clone();
    // Some ten files a cgroup.
    Ok(tokio::task::spawn_blocking(move || read(&node, &found)).await.unwrap_or_default())
}

fn read(node: &Node, found: &Found) -> Gathered {
    let at_ms = node.clock.now().as_millisecond();
    let mut rows = of_node(node, at_ms);
    let mut networks = vec![Network { labels: Labels::default().text(), at_ms, interfaces: net_usage::of_node() }];
    for pod in node.running.list() {
        let Identity { uid, namespace, name } = spec::identity(&pod);
        let folder = node.facts.cgroups.pod(qos::of_pod(&pod), &uid).folder();
        let labels = Labels { namespace: &namespace, pod: &name, folder: folder.clone(), ..Labels::default() };
        rows.extend(row(node, &labels, &folder, at_ms));
    }
    for (id, identity) in &found.sandboxes {
        let Some(folder) = look::container_folder(node, identity, id) else { continue };
        let (namespace, pod) = (&identity.namespace, &identity.name);
        let labels = Labels { folder: folder.clone(), name: id, namespace, pod, ..Labels::default() };
        rows.extend(row(node, &labels, &folder, at_ms));
        let pod = node.running.get(&identity.uid);
        let interfaces = pod.and_then(|pod| net_usage::of_pod(node, &pod)).unwrap_or_default();
        networks.push(Network { labels: labels.text(), at_ms, interfaces });
    }
    rows.extend(found.stats.iter().filter_map(|stats| of_container(node, stats, found, at_ms)));
    let mut names = DeviceNames::default();
    rows.iter().flat_map(|row| &row.figures.disks).for_each(|disk| names.add(&disk.numbers));
    (rows, networks, names.all())
}

/// The topmost cgroup, the one above all pods, and those of the classes.
fn of_node(node: &Node, at_ms: i64) -> Vec<Row> {
    let naming = &node.facts.cgroups;
    let classes = [qos::BURSTABLE, qos::BEST_EFFORT].map(|class| naming.class(class).folder());
    let folders = [PathBuf::new(), naming.kubepods().folder()].into_iter().chain(classes);
    let rows = folders.filter_map(|folder| {
        let labels = Labels { folder: folder.clone(), ..Labels::default() };
        row(node, &labels, &folder, at_ms)
    });
    let mut rows: Vec<Row> = rows.collect();
    if let Some(top) = rows.first_mut().filter(|row| row.labels == Labels::default().text()) {
        let space = Space::of(&node.facts.paths.root);
        let used_bytes = u64::try_from(space.total_bytes - space.available_bytes).ok();
        top.layer = Some(Layer { used_bytes, space: Some(space) });
        if let Some(memory) = &mut top.figures.memory {
            memory.limit = u64::try_from(node.facts.memory_capacity_bytes).ok();
        }
    }
    rows
}

fn row(node: &Node, labels: &Labels, folder: &Path, at_ms: i64) -> Option<Row> {
    let figures = look::figures(node, folder)?;
    Some(Row { labels: labels.text(), at_ms, open: open(&figures), figures, layer: None })
}

fn of_container(node: &Node, stats: &ContainerStats, found: &Found, at_ms: i64) -> Option<Row> {
    let attributes = stats.attributes.as_ref()?;
    let identity = Identity::from_labels(&attributes.labels)?;
    let own = look::container_folder(node, &identity, &attributes.id);
    let kernels = own.as_ref().and_then(|folder| look::figures(node, folder));
    let labels = Labels {
        container: attributes.labels.get(CONTAINER_NAME)?,
        folder: own.unwrap_or_else(|| look::pod_folder(node, &identity).join(&attributes.id)),
        image: found.images.get(&attributes.id).map(String::as_str).unwrap_or_default(),
        name: &attributes.id,
        namespace: &identity.namespace,
        pod: &identity.name,
    };
    let told_at_ms = stats.cpu.as_ref().map_or(at_ms, |cpu| cpu.timestamp / 1_000_000);
    let at_ms = if kernels.is_some() { at_ms } else { told_at_ms };
    let layer = stats.writable_layer.as_ref().map(|layer| {
        let disk = layer.fs_id.as_ref().filter(|id| !id.mountpoint.is_empty());
        let space = disk.map(|id| Space::of(id.mountpoint.as_ref())).filter(|space| space.inodes > 0);
        Layer { used_bytes: number(&layer.used_bytes), space }
    });
    let figures = kernels.unwrap_or_else(|| look::of_runtime(stats));
    Some(Row { labels: labels.text(), at_ms, open: open(&figures), figures, layer })
}

fn open(figures: &Figures) -> Option<Open> {
    Some(Open::of(figures.processes.as_ref()?, Path::new("/proc")))
}
