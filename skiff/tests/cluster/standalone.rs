//! A kubelet without an API server, in kubenet's way: its `--pod-cidr` becomes the runtime's CNI configuration.

use anyhow::{Result, ensure};
use testbed::{Bed, SOON, eventually};

use crate::support::SKIFF;

const TEMPLATE: &str = r#"{"name": "kubenet", "cniVersion": "1.0.0", "plugins": [{"type": "bridge", "bridge": "cbr0",
    "ipam": {"type": "host-local", "subnet": "{{.PodCIDR}}"}}]}"#;

#[test]
fn a_range_of_pods_becomes_a_cni_configuration() -> Result<()> {
    let Some(bed) = Bed::new("standalone")? else { return Ok(()) };
    let path = |name: &str| bed.folder().join(name).display().to_string();
    std::fs::write(path("template"), TEMPLATE)?;
    let config = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\n[grpc]\naddress = \"{}\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = \"{}\"\nconf_template = \"{}\"\n",
        path("root"),
        path("state"),
        path("containerd.sock"),
        path("net.d"),
        path("template")
    );
    std::fs::write(path("config.toml"), config)?;
    let mut containerd = bed.command("containerd");
    let _containerd = bed.start("containerd", containerd.args(["--config", &path("config.toml")]))?;
    eventually("containerd listens", SOON, || {
        bed.run(&["ctr", "--address", &path("containerd.sock"), "version"]).map(|_| ())
    })?;
    let mut kubelet = bed.command(SKIFF);
    let endpoint = format!("--container-runtime-endpoint=unix://{}", path("containerd.sock"));
    kubelet.args(["kubelet", &endpoint, "--pod-cidr=10.9.0.0/24", "--fail-swap-on=false"]);
    let _kubelet = bed.start("kubelet", &mut kubelet)?;
    eventually("the configuration is written", SOON, || {
        let written = std::fs::read_to_string(bed.folder().join("net.d/10-containerd-net.conflist"))?;
        ensure!(written.contains(r#""subnet": "10.9.0.0/24""#), "{written}");
        Ok(())
    })
}
