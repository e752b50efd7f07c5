//! Executes commands with iproute2, whose batches are the kernel's requests, one a line.

use std::net::Ipv4Addr;
use std::process::Stdio;

use ipnet::IpNet;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{DEVICE, PROTOCOL, Plan, VXLAN_ID, VXLAN_PORT, command, tunnel_mac};

/// A command of iproute2 that could not run, or was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("failed to run {program}: {source}")]
    Spawn { program: &'static str, source: std::io::Error },
    #[error("{program} {arguments}: {stderr}")]
    Failed { program: &'static str, arguments: String, stderr: String },
}

/// Our routes as the kernel has them.
pub(super) async fn present() -> Result<Plan, ToolError> {
    let protocol = PROTOCOL.to_string();
    // Without the device there are none.
    let neighbours = run("ip", &["-json", "neigh", "show", "dev", DEVICE], "").await.unwrap_or_default();
    let ends = run("bridge", &["-json", "fdb", "show", "dev", DEVICE], "").await.unwrap_or_default();
    let mut plan = Plan::new();
    for family in ["-4", "-6"] {
        let json = run("ip", &[family, "-json", "route", "show", "proto", &protocol], "").await?;
        plan.extend(command::present(&json, &neighbours, &ends));
    }
    Ok(plan)
}

/// Makes the difference. Every line is tried: a node that cannot be reached must not cut off the others.
pub(super) async fn apply(wanted: &Plan, present: &Plan) -> Result<(), ToolError> {
    let mut result = Ok(());
    let batches = [("bridge", command::of_tunnel(wanted, present)), ("ip", command::of_routes(wanted, present))];
    for (program, lines) in batches.into_iter().filter(|(_, lines)| !lines.is_empty()) {
        let input = lines.join("\n") + "\n";
        if let Err(error) = run(program, &["-force", "-batch", "-"], &input).await {
            result = Err(error);
        }
    }
    result
}

/// The tunnel's device, with the end of the node at this address. One that is right is left alone, with its packets.
///
/// It has the first address of each of the node's ranges. What the node itself sends to other nodes' pods, or translates to
/// its own address, comes from there, and answers come back by the tunnel: from the node's own address they would have to
/// go around it, and the network between knows no pods.
pub(super) async fn ensure_device(node: Ipv4Addr, ranges: &[IpNet]) -> Result<(), ToolError> {
    let (id, port, mac, local) = (VXLAN_ID.to_string(), VXLAN_PORT.to_string(), tunnel_mac(node), node.to_string());
    let known = run("ip", &["-details", "-json", "link", "show", DEVICE], "").await.unwrap_or_default();
    if !(known.contains(&format!("\"{local}\"")) && known.contains(&mac)) {
        remove_device().await?;
        let kind = ["type", "vxlan", "id", &id, "local", &local, "dstport", &port, "nolearning"];
        run("ip", &[&["link", "add", DEVICE, "address", &mac][..], &kind].concat(), "").await?;
    }
    run("ip", &["link", "set", DEVICE, "up"], "").await?;
    let address = |range: &IpNet| format!("address replace {} dev {DEVICE}\n", IpNet::from(range.network()));
    let lines: String = ranges.iter().map(address).collect();
    run("ip", &["-batch", "-"], &lines).await.map(|_| ())
}

/// With what leads through it; fine when it is not there.
pub(super) async fn remove_device() -> Result<(), ToolError> {
    match run("ip", &["link", "delete", DEVICE], "").await {
        Err(ToolError::Failed { stderr, .. }) if stderr.contains("Cannot find device") => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<String, ToolError> {
    let spawn_error = |source| ToolError::Spawn { program, source };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(spawn_error)?;
    if let Some(mut stdin) = child.stdin.take() {
        // The tool's own words about why it stopped reading say more than "broken pipe".
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(spawn_error)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ToolError::Failed { program, arguments: arguments.join(" "), stderr })
}
