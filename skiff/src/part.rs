//! The parts by name: what `skiff` tells them apart by. How a part works inside is not known here.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
    KubeProxy,
    SkiffDns,
    SkiffRouter,
}

impl Part {
    pub(crate) const ALL: [Self; 7] = [
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::SkiffDns,
        Self::SkiffRouter,
    ];

    /// The parts of a node that joined another machine's cluster.
    pub(crate) const OF_NODES: [Self; 4] = [Self::Kubelet, Self::KubeProxy, Self::SkiffRouter, Self::SkiffDns];

    /// Upstream's name of the program, where upstream has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::SkiffDns => "skiff-dns",
            Self::SkiffRouter => "skiff-router",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}
