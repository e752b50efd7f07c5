//! containerd's configuration file. Pure but for [`Host::look`].
//!
//! Version 2 of the file is read by containerd 1.6, 1.7 and 2. cgroups are made as files, also under systemd, which
//! leaves alone what it did not make: pod limits are the kubelet's, and a slice that systemd makes would reset them.

use crate::layout::Layout;

/// The sandbox image; the host name leads nowhere, so a missing image fails instead of being pulled.
pub(super) const PAUSE_IMAGE: &str = concat!("localhost/skiff/pause:", env!("CARGO_PKG_VERSION"));

/// What the file depends on.
pub(super) struct Host {
    /// Without CAP_SYS_RESOURCE no process may lower its OOM score, and runc would refuse to start a pod.
    pub(super) may_lower_oom_score: bool,
}

impl Host {
    pub(super) fn look() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self { may_lower_oom_score: has_sys_resource(&status) }
    }
}

/// Reads the effective set of `/proc/self/status`; capability numbers are bits (capabilities(7)).
fn has_sys_resource(status: &str) -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|bits| bits >> CAP_SYS_RESOURCE & 1 == 1)
}

pub(super) fn containerd(layout: &Layout, host: &Host) -> String {
    let path = |below: &str| layout.text(below);
    format!(
        r#"# Written by skiff up; changes are lost.
version = 2
root = "{root}"
state = "{state}"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = {restrict}
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin}"
    conf_dir = "{cni_conf}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{mirrors}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#,
        root = path("containerd/root"),
        state = path("containerd/state"),
        socket = layout.containerd_socket().display(),
        restrict = !host.may_lower_oom_score,
        cni_bin = path("cni/bin"),
        cni_conf = path("cni/net.d"),
        mirrors = path("containerd/certs.d"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_follow_the_host() {
        let layout = Layout::new("/data".into());
        let text = containerd(&layout, &Host { may_lower_oom_score: false });
        for line in ["restrict_oom_score_adj = true", "conf_dir = \"/data/cni/net.d\""] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        let text = containerd(&layout, &Host { may_lower_oom_score: true });
        assert!(text.contains("restrict_oom_score_adj = false"), "{text}");
    }

    #[test]
    fn the_capability_is_read_from_its_bit() {
        assert!(has_sys_resource("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!has_sys_resource("CapEff:\t000001fffeffffff\n"));
        assert!(!has_sys_resource(""));
    }
}
