//! Where a kubelet keeps things: upstream's layout under `--root-dir` and the pod log root. Pure.

use std::path::{Path, PathBuf};

use crate::runtime::labels::Identity;

/// The folders of one kubelet.
#[derive(Debug, Clone)]
pub struct Paths {
    /// `/var/lib/kubelet`
    pub root: PathBuf,
    /// `/var/log/pods`
    pub pod_logs: PathBuf,
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

    /// The log file of a container, relative to the pod's log folder.
    pub fn log_file(container: &str, restart_count: i32) -> PathBuf {
        Path::new(container).join(format!("{restart_count}.log"))
    }
}
