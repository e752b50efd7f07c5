//! A cluster in beds: a first machine with a registry, others that join, and kubectl as its administrator.
//!
//! Enter at [`Cluster::prepare`], or [`Cluster::up`]. What the cluster is made of is `skiff`'s affair.

use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Bed, Machine, Output, Registry, images};

/// For what takes a container runtime a moment on a busy machine of two cores.
pub const SOON: Duration = Duration::from_secs(90);

/// The parts of a cluster by the names of their programs, in the order in which they are started by hand.
pub const PARTS: [&str; 7] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "skiff-dns",
    "skiff-router",
];

/// What its first machine can do, a cluster can.
pub struct Cluster {
    machine: Machine,
    registry: Registry,
}

impl Deref for Cluster {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Cluster {
    /// All but the cluster itself, with nginx and busybox to be pulled; `None` where this user may not make namespaces.
    /// `skiff` is the program, with the others of this workspace beside it.
    ///
    /// # Errors
    /// Namespaces or a registry that cannot be made.
    pub fn prepare(name: &str, skiff: impl AsRef<Path>) -> Result<Option<Self>> {
        let Some(bed) = Bed::new(name)? else { return Ok(None) };
        let machine = Machine::new(bed, skiff.as_ref());
        machine.program("skiff")?;
        let registry = Registry::start(&machine.bed, 5000)?;
        let cluster = Self { machine, registry };
        cluster.push(&images::nginx("docker.io/library/nginx:latest")?, "nginx:latest")?;
        cluster.push(&images::busybox("docker.io/library/busybox:latest")?, "busybox:latest")?;
        cluster.can_pull(&cluster)?;
        Ok(Some(cluster))
    }

    /// A cluster whose node is Ready.
    ///
    /// # Errors
    /// As [`Cluster::prepare`], and a cluster that does not come up.
    pub fn up(name: &str, skiff: impl AsRef<Path>, options: &[&str]) -> Result<Option<Self>> {
        let Some(cluster) = Self::prepare(name, skiff)? else { return Ok(None) };
        cluster.skiff_up(options)?;
        Ok(Some(cluster))
    }

    pub fn skiff_up(&self, options: &[&str]) -> Result<String> {
        self.skiff(&[&["up", "--node-name=node"], options].concat())
    }

    /// Makes an image pullable.
    pub fn push(&self, archive: &[u8], tag: &str) -> Result<()> {
        self.registry.push(&self.bed, archive, tag)
    }

    /// Where a machine's runtime looks for images.
    fn can_pull(&self, machine: &Machine) -> Result<()> {
        self.registry.write_mirror(&machine.data().join("containerd/certs.d"))
    }

    /// A machine on this one's link that can pull the same images.
    pub fn neighbour(&self, name: &str) -> Result<Machine> {
        let machine = Machine::new(self.bed.neighbour(name)?, &self.machine.skiff);
        self.can_pull(&machine)?;
        Ok(machine)
    }

    /// Such a machine that joined as a node of that name.
    pub fn join(&self, name: &str) -> Result<Machine> {
        let (machine, command) = (self.neighbour(name)?, self.skiff(&["token", "create"])?);
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        machine.skiff(&[&words[..], &["--node-name", name]].concat())?;
        Ok(machine)
    }

    /// The administrator's environment for programs that speak to the cluster.
    pub fn environment(&self) -> [String; 2] {
        let kubeconfig = self.data().join("admin.kubeconfig");
        [format!("KUBECONFIG={}", kubeconfig.display()), format!("HOME={}", self.bed.folder().display())]
    }

    /// Runs kubectl as administrator, whatever its exit status.
    pub fn kubectl_output(&self, arguments: &[&str]) -> Result<Output> {
        let [kubeconfig, home] = self.environment();
        self.bed.output(&[&["env", &kubeconfig, &home, "kubectl"], arguments].concat())
    }

    /// Runs kubectl as administrator; it must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_output(arguments)?;
        if !output.success {
            bail!("kubectl {}: {}{}\n{}", arguments.join(" "), output.stdout, output.stderr, self.log());
        }
        Ok(output.stdout)
    }

    /// Creates objects written as text.
    pub fn create(&self, text: &str) -> Result<String> {
        self.with_objects("create", text)
    }

    /// Applies objects written as text.
    pub fn apply(&self, text: &str) -> Result<String> {
        self.with_objects("apply", text)
    }

    fn with_objects(&self, verb: &str, text: &str) -> Result<String> {
        let file = self.bed.folder().join("objects.yaml");
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        self.kubectl(&[verb, "--filename", &file.display().to_string()])
    }

    /// One value of an object, by kubectl's JSONPath.
    pub fn value(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// Names of the pods with a label.
    pub fn pods(&self, label: &str) -> Result<Vec<String>> {
        let list = self.kubectl(&["get", "pods", "-l", label, "-o", "jsonpath={.items[*].metadata.name}"])?;
        Ok(list.split_whitespace().map(String::from).collect())
    }

    pub fn rolled_out(&self, deployment: &str) -> Result<()> {
        let status = ["rollout", "status", &format!("deployment/{deployment}"), "--timeout=120s"];
        let done = self.kubectl(&status);
        done.map(drop).with_context(|| self.kubectl(&["describe", "pods"]).unwrap_or_default())
    }
}
