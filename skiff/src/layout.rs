//! Where everything of one cluster lies below its data folder.
//!
//! Several clusters live side by side when each has its own folder and namespaces. Pure: paths only, no files.

use std::path::{Path, PathBuf};

use crate::part::Part;

/// The data folder of a root-run cluster where none is named.
pub(crate) const DEFAULT_DATA_DIR: &str = "/var/lib/skiff";

/// Longest data folder: a socket's path may have 107 bytes, and the longest below it takes 30.
const DATA_DIR_BYTES_MAX: usize = 76;

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What a person must add to a command for this folder: nothing for the usual one.
    pub(crate) fn data_dir_flag(&self) -> String {
        match self.root == Path::new(DEFAULT_DATA_DIR) {
            true => String::new(),
            false => format!(" --data-dir {}", self.root.display()),
        }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    pub(crate) fn text(&self, below: &str) -> String {
        self.path(below).display().to_string()
    }

    /// Whether the sockets below the folder have room in a `sockaddr_un`.
    pub(crate) fn fits_sockets(&self) -> bool {
        self.root.as_os_str().len() <= DATA_DIR_BYTES_MAX
    }

    /// Where the kubelet keeps the certificates that it asked for, on a node that joined.
    pub(crate) fn kubelet_certificates(&self) -> PathBuf {
        self.path("pki/kubelet")
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.path("cluster.json")
    }

    pub(crate) fn admin_kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    pub(crate) fn kubeconfig(&self, part: Part) -> PathBuf {
        self.path(&format!("{}.kubeconfig", part.name()))
    }

    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.path(&format!("pki/{name}.crt"))
    }

    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.path(&format!("pki/{name}.key"))
    }

    /// What a machine joins with, until it has credentials of its own.
    pub(crate) fn bootstrap_kubeconfig(&self) -> PathBuf {
        self.path("bootstrap.kubeconfig")
    }

    /// The ServiceAccount token of a part, on a node that joined.
    pub(crate) fn token(&self, part: Part) -> PathBuf {
        self.path(&format!("tokens/{}", part.name()))
    }

    /// The command line of a part, an argument a line, as a person would pass it.
    pub(crate) fn flags(&self, part: Part) -> PathBuf {
        self.path(&format!("flags/{}", part.name()))
    }

    /// Locked for as long as the process with the parts lives; holds its process id.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path("skiff.pid")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path("skiff.log")
    }

    pub(crate) fn notify_socket(&self) -> PathBuf {
        self.path("notify.sock")
    }

    pub(crate) fn containerd_socket(&self) -> PathBuf {
        self.path("containerd/containerd.sock")
    }
}
