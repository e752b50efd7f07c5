//! A cluster in a bed, and what tests do with it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use testbed::{Bed, Output, Registry, eventually, images};

/// For what takes a container runtime a moment on a busy machine of two cores.
pub(crate) const SOON: Duration = Duration::from_secs(90);

pub(crate) const PARTS: [&str; 7] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "skiff-dns",
    "skiff-router",
];

/// The program under test.
pub(crate) const SKIFF: &str = env!("CARGO_BIN_EXE_skiff");

pub(crate) struct Cluster {
    pub(crate) bed: Bed,
    _registry: Registry,
}

/// Another machine, which joined a cluster as a node.
pub(crate) struct Machine {
    pub(crate) bed: Bed,
}

impl Machine {
    /// Runs `skiff` with the data folder; it must succeed.
    pub(crate) fn skiff(&self, arguments: &[&str]) -> Result<String> {
        skiff_in(&self.bed, arguments)
    }

    /// The same of one that must fail; returns what it says.
    pub(crate) fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.bed.output(&line(&self.bed, arguments).iter().map(String::as_str).collect::<Vec<_>>())?;
        ensure!(!output.success, "{arguments:?} should have failed: {}", output.stdout);
        Ok(output.stderr)
    }

    pub(crate) fn data(&self) -> PathBuf {
        data_of(&self.bed)
    }

    pub(crate) fn curl(&self, url: &str) -> Result<String> {
        curl_in(&self.bed, url)
    }
}

fn data_of(bed: &Bed) -> PathBuf {
    bed.folder().join("data")
}

fn line(bed: &Bed, arguments: &[&str]) -> Vec<String> {
    let data = data_of(bed).display().to_string();
    let words = [&[SKIFF], arguments, &["--data-dir", &data]].concat();
    words.into_iter().map(String::from).collect()
}

fn skiff_in(bed: &Bed, arguments: &[&str]) -> Result<String> {
    let line = line(bed, arguments);
    bed.run(&line.iter().map(String::as_str).collect::<Vec<_>>()).with_context(|| log_of(bed))
}

fn log_of(bed: &Bed) -> String {
    let text = std::fs::read_to_string(data_of(bed).join("skiff.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn curl_in(bed: &Bed, url: &str) -> Result<String> {
    bed.run(&["curl", "--silent", "--show-error", "--fail", "--max-time", "5", url])
}

impl Cluster {
    /// A cluster whose node is Ready, with nginx and busybox to be pulled; `None` where tests cannot make one.
    pub(crate) fn up(name: &str, options: &[&str]) -> Result<Option<Self>> {
        let Some(cluster) = Self::prepare(name)? else { return Ok(None) };
        cluster.skiff_up(options)?;
        Ok(Some(cluster))
    }

    /// Everything but the cluster itself.
    pub(crate) fn prepare(name: &str) -> Result<Option<Self>> {
        let Some(bed) = Bed::new(name)? else { return Ok(None) };
        let registry = Registry::start(&bed, 5000)?;
        registry.push(&bed, &images::nginx("docker.io/library/nginx:latest")?, "nginx:latest")?;
        registry.push(&bed, &images::busybox("docker.io/library/busybox:latest")?, "busybox:latest")?;
        let cluster = Self { bed, _registry: registry };
        cluster._registry.write_mirror(&cluster.data().join("containerd/certs.d"))?;
        Ok(Some(cluster))
    }

    /// Makes an image pullable.
    pub(crate) fn push(&self, archive: &[u8], tag: &str) -> Result<()> {
        self._registry.push(&self.bed, archive, tag)
    }

    /// Creates objects from JSON.
    pub(crate) fn create(&self, objects: &str) -> Result<()> {
        let path = self.bed.folder().join("objects.json");
        std::fs::write(&path, objects)?;
        self.kubectl(&["create", "-f", &path.display().to_string()]).map(|_| ())
    }

    pub(crate) fn data(&self) -> PathBuf {
        data_of(&self.bed)
    }

    pub(crate) fn skiff_up(&self, options: &[&str]) -> Result<String> {
        self.skiff(&[&["up", "--node-name=node"], options].concat())
    }

    /// Runs `skiff` with the data folder; it must succeed.
    pub(crate) fn skiff(&self, arguments: &[&str]) -> Result<String> {
        skiff_in(&self.bed, arguments)
    }

    /// A machine beside this one that can pull the same images.
    pub(crate) fn machine(&self, name: &str) -> Result<Machine> {
        let machine = Machine { bed: self.bed.neighbour(name)? };
        self._registry.write_mirror(&data_of(&machine.bed).join("containerd/certs.d"))?;
        Ok(machine)
    }

    /// A machine that joined as a node of that name.
    pub(crate) fn join(&self, name: &str) -> Result<Machine> {
        let (machine, command) = (self.machine(name)?, self.skiff(&["token", "create"])?);
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        machine.skiff(&[&words[..], &["--node-name", name]].concat())?;
        Ok(machine)
    }

    /// A program of this workspace that is built beside `skiff`.
    pub(crate) fn program(name: &str) -> Result<String> {
        let path = std::path::Path::new(SKIFF).with_file_name(name);
        ensure!(path.exists(), "{} is not built: cargo build --workspace --bins", path.display());
        Ok(path.display().to_string())
    }

    /// The end of the parts' log.
    pub(crate) fn log(&self) -> String {
        log_of(&self.bed)
    }

    /// Runs kubectl as administrator, whatever its exit status.
    pub(crate) fn kubectl_output(&self, arguments: &[&str]) -> Result<Output> {
        let kubeconfig = format!("KUBECONFIG={}", self.data().join("admin.kubeconfig").display());
        let home = format!("HOME={}", self.bed.folder().display());
        self.bed.output(&[&["env", &kubeconfig, &home, "kubectl"], arguments].concat())
    }

    /// Runs kubectl as administrator; it must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.kubectl_output(arguments)?;
        if !output.success {
            bail!("kubectl {}: {}{}\n{}", arguments.join(" "), output.stdout, output.stderr, self.log());
        }
        Ok(output.stdout)
    }

    /// Applies objects written as text.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        let file = self.bed.folder().join("objects.yaml");
        std::fs::write(&file, text)?;
        self.kubectl(&["apply", "--filename", &file.display().to_string()])
    }

    pub(crate) fn curl(&self, url: &str) -> Result<String> {
        curl_in(&self.bed, url)
    }

    /// One value of an object, by kubectl's JSONPath.
    pub(crate) fn value(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// Names of the pods with a label.
    pub(crate) fn pods(&self, label: &str) -> Result<Vec<String>> {
        let list = self.kubectl(&["get", "pods", "-l", label, "-o", "jsonpath={.items[*].metadata.name}"])?;
        Ok(list.split_whitespace().map(String::from).collect())
    }

    pub(crate) fn rolled_out(&self, deployment: &str) -> Result<()> {
        let status = ["rollout", "status", &format!("deployment/{deployment}"), "--timeout=120s"];
        let done = self.kubectl(&status);
        done.map(|_| ()).with_context(|| self.kubectl(&["describe", "pods"]).unwrap_or_default())
    }

    /// The README's flow: create, scale, expose. Returns the Service's address.
    pub(crate) fn web(&self) -> Result<String> {
        self.kubectl(&["create", "deployment", "web", "--image=nginx"])?;
        self.kubectl(&["scale", "deployment", "web", "--replicas=3"])?;
        self.kubectl(&["expose", "deployment", "web", "--port=80"])?;
        self.rolled_out("web")?;
        self.value("service/web", ".spec.clusterIP")
    }

    /// Until the Service answers with nginx's page, and each of its pods has answered a request.
    pub(crate) fn all_answer(&self, address: &str, label: &str) -> Result<()> {
        eventually("every pod answers", SOON, || {
            for _ in 0..10 {
                let page = self.curl(&format!("http://{address}"))?;
                ensure!(page.contains("Welcome to nginx"), "nginx's page: {page}");
            }
            for pod in self.pods(label)? {
                ensure!(self.kubectl(&["logs", &pod])?.contains("GET / "), "{pod} has answered");
            }
            Ok(())
        })
    }
}
