//! The bed itself: it is separate from the machine and from other beds but for their link, and leaves nothing, also when
//! its test is killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{Bed, Output, Registry, eventually, images};

#[test]
fn is_a_machine_of_its_own_and_leaves_nothing() -> Result<()> {
    let Some(bed) = Bed::new("own")? else { return Ok(()) };
    let links = names_of_links(&bed.run(&["ip", "-br", "link"])?);
    let mut expected = names_of_links(&bed.run(&["unshare", "--net", "ip", "-br", "link"])?);
    expected.extend(["eth0", "uplink"].map(String::from));
    ensure!(links == expected, "what any network has, eth0, uplink, and no other: {links:?}");
    bed.run(&["sh", "-ec", "echo x >/etc/skiff-bed; echo x >/run/skiff-bed; echo x >/var/lib/kubelet/skiff-bed"])?;
    for path in ["/etc/skiff-bed", "/run/skiff-bed", "/var/lib/kubelet/skiff-bed"] {
        ensure!(!Path::new(path).exists(), "{path} is outside");
    }
    bed.run(&["mkdir", "/sys/fs/cgroup/memory/skiff-bed"])
        .or_else(|_| bed.run(&["mkdir", "/sys/fs/cgroup/skiff-bed"]))?;
    for path in ["/sys/fs/cgroup/memory/skiff-bed", "/sys/fs/cgroup/skiff-bed"] {
        ensure!(!Path::new(path).exists(), "{path} is outside");
    }
    let cgroups = cgroups_of(&bed)?;
    ensure!(!cgroups.is_empty(), "the bed's cgroups are outside below its name");
    let processes = bed.run(&["ps", "-e", "-o", "comm="])?;
    ensure!(processes.lines().count() <= 3, "only its own processes: {processes}");
    let mut stray = bed.start("stray", bed.command("sleep").arg("1000"))?;
    let folder = bed.folder().to_owned();
    drop(bed);
    ensure!(!stray.wait()?.success(), "a process inside ends with the bed");
    ensure!(!folder.exists(), "the folder is gone");
    let left: Vec<_> = cgroups.iter().filter(|path| Path::new(path).exists()).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Some kernels put tunnels that nobody asked for into every network.
fn names_of_links(listed: &str) -> BTreeSet<String> {
    listed.lines().filter_map(|line| Some(line.split([' ', '@']).next()?.to_owned())).collect()
}

fn cgroups_of(bed: &Bed) -> Result<Vec<String>> {
    let pattern = format!("*/{}*", bed.name());
    let output =
        std::process::Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", &pattern]).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().map(String::from).collect())
}

#[test]
fn a_registry_serves_what_was_pushed() -> Result<()> {
    let Some(bed) = Bed::new("registry")? else { return Ok(()) };
    let registry = Registry::start(&bed, 5000)?;
    registry.push(&bed, &images::busybox("docker.io/library/busybox:latest")?, "busybox:latest")?;
    let tags = eventually("the tag is listed", Duration::from_secs(5), || {
        bed.run(&["curl", "-sSf", "http://192.168.77.2:5000/v2/library/busybox/tags/list"])
    })?;
    ensure!(tags.contains("latest"), "{tags}");
    Ok(())
}

#[test]
fn neighbours_share_a_link_and_nothing_else() -> Result<()> {
    let Some(first) = Bed::new("first")? else { return Ok(()) };
    let (second, third) = (first.neighbour("second")?, first.neighbour("third")?);
    ensure!(third.address().to_string() == "192.168.77.4", "{}", third.address());
    let ping = |bed: &Bed, to: &Bed| bed.run(&["busybox", "ping", "-c1", "-W5", &to.address().to_string()]);
    for (from, to) in [(&first, &second), (&second, &first), (&second, &third), (&third, &second)] {
        ping(from, to)?;
    }
    let ping = Output::of(first.stranger("busybox").args(["ping", "-c1", "-W5", &second.address().to_string()]))?;
    ensure!(ping.success, "{ping:?}");
    let links = second.run(&["ip", "-br", "link"])?;
    ensure!(links.lines().count() == 2, "lo and eth0: {links}");
    // A machine that drops all it forwards is not between two others.
    first.run(&["iptables", "-P", "FORWARD", "DROP"])?;
    second.run(&["busybox", "ping", "-c1", "-W5", &third.address().to_string()])?;
    Ok(())
}
