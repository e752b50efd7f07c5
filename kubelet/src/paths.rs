//! Where a kubelet keeps things: upstream's layout under `--root-dir` and the pod log root. Pure.

use std::path::{Path, PathBuf};

use crate::runtime::labels::Identity;

/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// The folders of one kubelet.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `/var/lib/kubelet`
    pub root: PathBuf,
    /// `/var/log/pods`
    pub pod_logs: PathBuf,
    /// `/var/log/containers`: a link to each container's log.
    pub container_logs: PathBuf,
}

impl Paths {
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    pub fn etc_hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// The socket that tells what resources pods have.
    pub fn pod_resources(&self) -> PathBuf {
        self.root.join("pod-resources/kubelet.sock")
    }

    /// Where `/checkpoint` has containers' states written.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub fn volumes(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volumes")
    }

    /// `plugin` is a plugin's name, as `kubernetes.io/configmap`.
    pub fn volume(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.volumes(uid).join(plugin.replace('/', "~")).join(name)
    }

    pub fn subpaths(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volume-subpaths")
    }

    pub fn container(&self, uid: &str, name: &str) -> PathBuf {
        self.pod(uid).join("containers").join(name)
    }

    /// The pod's log folder: `<namespace>_<name>_<uid>`.
    pub fn log_folder(&self, identity: &Identity) -> PathBuf {
        self.pod_logs.join(identity.log_folder())
    }

    /// The link to a container's log: `<pod>_<namespace>_<container>-<id>.log`; None for a path that is no such log. What
    /// is too long for a name loses its end, so that containers of one pod may come to the same one.
    pub fn log_link(&self, log_path: &Path, id: &str) -> Option<PathBuf> {
        let mut parts = log_path.strip_prefix(&self.pod_logs).ok()?.iter().map(|part| part.to_str());
        let (folder, container) = (parts.next()??, parts.next()??);
        let (namespace, pod) = folder.split_once('_')?;
        let (pod, _) = pod.split_once('_')?;
        let name = format!("{pod}_{namespace}_{container}-{id}");
        let name = &name[..name.floor_char_boundary(NAME_BYTES_MAX - ".log".len())];
        Some(self.container_logs.join(format!("{name}.log")))
    }

    /// The log file of a container, relative to the pod's log folder.
    pub fn log_file(container: &str, restart_count: i32) -> PathBuf {
        Path::new(container).join(format!("{restart_count}.log"))
    }
}

#[test]
fn links_to_logs_are_named_after_their_containers() {
    let paths = Paths { root: "/k".into(), pod_logs: "/logs".into(), container_logs: "/links".into() };
    let link = paths.log_link(Path::new("/logs/ns_web-0_1-2/nginx/0.log"), "abc");
    assert_eq!(link.as_deref(), Some(Path::new("/links/web-0_ns_nginx-abc.log")));
    assert_eq!(paths.log_link(Path::new(""), "abc"), None);
    let long = format!("/logs/ns_{}_1-2/nginx/0.log", "a".repeat(247));
    let link = paths.log_link(Path::new(&long), "abc").expect("a link");
    assert_eq!(link, Path::new("/links").join(format!("{}_ns_.log", "a".repeat(247))));
}
