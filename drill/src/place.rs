//! A bed with a registry, and `skiff`, kubectl and curl to be run in it; and machines beside it that join its cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use testbed::{Bed, Output, Registry, images};

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

/// A machine of its own for one cluster.
pub struct Place {
    pub bed: Bed,
    registry: Registry,
    skiff: String,
}

/// A program of this workspace: they are built into one folder, and tests into one below it.
pub fn program(name: &str) -> Result<String> {
    let own = std::env::current_exe().context("find this program's own file")?;
    let mut folder = own.parent().context("a program lies in a folder")?;
    if folder.ends_with("deps") {
        folder = folder.parent().context("a folder of tests lies in one of programs")?;
    }
    let path = folder.join(name);
    ensure!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
    Ok(path.display().to_string())
}

impl Place {
    /// With nginx and busybox to be pulled, and no cluster yet; `None` where this user may not make namespaces.
    pub fn prepare(name: &str) -> Result<Option<Self>> {
        let skiff = program("skiff")?;
        let Some(bed) = Bed::new(name)? else { return Ok(None) };
        let registry = Registry::start(&bed, 5000)?;
        registry.push(&bed, &images::nginx("docker.io/library/nginx:latest")?, "nginx:latest")?;
        registry.push(&bed, &images::busybox("docker.io/library/busybox:latest")?, "busybox:latest")?;
        let place = Self { bed, registry, skiff };
        place.registry.write_mirror(&place.data().join("containerd/certs.d"))?;
        Ok(Some(place))
    }

    /// Makes an image pullable.
    pub fn push(&self, archive: &[u8], tag: &str) -> Result<()> {
        self.registry.push(&self.bed, archive, tag)
    }

    /// Another machine on this one's link, which joined its cluster as a node of that name and can pull what it can.
    pub fn join(&self, name: &str) -> Result<Machine> {
        let machine = Machine { bed: self.bed.neighbour(name)?, skiff: self.skiff.clone() };
        self.registry.write_mirror(&data_of(&machine.bed).join("containerd/certs.d"))?;
        let command = self.skiff(&["token", "create"])?;
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        machine.skiff(&[&words[..], &["--node-name", name]].concat())?;
        Ok(machine)
    }

    /// The cluster's data folder.
    pub fn data(&self) -> PathBuf {
        data_of(&self.bed)
    }

    pub fn skiff_up(&self, options: &[&str]) -> Result<String> {
        self.skiff(&[&["up", "--node-name=node"], options].concat())
    }

    /// Runs `skiff` with the data folder; it must succeed.
    pub fn skiff(&self, arguments: &[&str]) -> Result<String> {
        run_skiff(&self.bed, &self.skiff, arguments)
    }

    /// The end of the log of the parts that run in one process.
    pub fn log(&self) -> String {
        log_of(&self.bed)
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

    /// Applies objects written as text.
    pub fn apply(&self, text: &str) -> Result<String> {
        let file = self.bed.folder().join("objects.yaml");
        std::fs::write(&file, text)?;
        self.kubectl(&["apply", "--filename", &file.display().to_string()])
    }

    pub fn curl(&self, url: &str) -> Result<String> {
        self.bed.run(&["curl", "--silent", "--show-error", "--fail", "--max-time", "5", url])
    }

    /// One value of an object, by kubectl's JSONPath.
    pub fn value(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// The running containers, pause ones too, by the runtime's own account.
    pub fn containers(&self) -> Result<Vec<String>> {
        containers_of(&self.bed)
    }
}

/// A node beside the first.
pub struct Machine {
    pub bed: Bed,
    skiff: String,
}

impl Machine {
    /// Runs `skiff` with the machine's data folder; it must succeed.
    pub fn skiff(&self, arguments: &[&str]) -> Result<String> {
        run_skiff(&self.bed, &self.skiff, arguments)
    }
}

/// The data folder of a machine's `skiff`.
pub fn data_of(bed: &Bed) -> PathBuf {
    bed.folder().join("data")
}

fn run_skiff(bed: &Bed, skiff: &str, arguments: &[&str]) -> Result<String> {
    let data = data_of(bed).display().to_string();
    let line = [&[skiff], arguments, &["--data-dir", &data]].concat();
    bed.run(&line).with_context(|| log_of(bed))
}

fn log_of(bed: &Bed) -> String {
    let text = std::fs::read_to_string(data_of(bed).join("skiff.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The running containers of a machine's cluster, pause ones too, by the runtime's own account.
pub fn containers_of(bed: &Bed) -> Result<Vec<String>> {
    let socket = data_of(bed).join("containerd/containerd.sock").display().to_string();
    let list = bed.run(&["ctr", "--address", &socket, "--namespace", "k8s.io", "tasks", "list", "--quiet"])?;
    Ok(list.lines().map(String::from).collect())
}
