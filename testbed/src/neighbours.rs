//! Several machines on one link: beds side by side, joined by a bridge that belongs to none of them.
//!
//! The bridge has a network namespace of its own, so that no machine's packet filter sees what others send each other. It
//! lies in the mounts of the first bed and goes with it. Its own address is the machines' default gateway: what leaves
//! the cluster ends there, and [`Bed::stranger`] runs programs there.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, ensure};

use crate::Bed;
use crate::bed::Output;

/// Where the first bed keeps the bridge's namespace.
const LINK: &str = "/run/link";

/// Takes the far end of the first machine's device into the bridge. A bridge that showed its packets to a packet filter
/// would cost time, and there is none.
const MAKE: &str = "
    touch /run/link
    unshare --net=/run/link true
    ip link set uplink netns /run/link
    nsenter --net=/run/link sh -ec '
        ip link set lo up
        ip link add link0 type bridge
        ! [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables
        ip address add 192.168.77.1/24 dev link0
        ip link set uplink name port0 master link0 up
        ip link set link0 up'
";

impl Bed {
    /// Another machine on this one's link, with the next address. It may live longer than this one, alone then.
    ///
    /// # Errors
    /// Namespaces that cannot be made; more than 100 neighbours.
    pub fn neighbour(&self, name: &str) -> Result<Bed> {
        let number = self.neighbours.fetch_add(1, Ordering::Relaxed) + 1;
        ensure!(number <= 100, "too many machines on one link");
        if number == 1 {
            self.run(&["sh", "-ec", MAKE]).context("make the link")?;
        }
        let [a, b, c, d] = self.address().octets();
        let other = Self::at(name, Ipv4Addr::new(a, b, c, d + number))?;
        let link = self.outside_path(LINK).display().to_string();
        // Two machines do not see each other's mounts or processes: the namespaces are named from outside.
        outside(&["nsenter", &format!("--net={}", other.network()), "ip", "link", "set", "uplink", "netns", &link])?;
        let port = format!("port{number}");
        let plug = ["ip", "link", "set", "uplink", "name", &port, "master", "link0", "up"];
        outside(&[&["nsenter", &format!("--net={link}")], &plug[..]].concat())?;
        Ok(other)
    }

    /// A command that runs `program` as one that is on the link, at the machines' default gateway, and no machine of the
    /// cluster. There must be a neighbour.
    pub fn stranger(&self, program: &str) -> Command {
        let mut command = self.command("nsenter");
        command.arg(format!("--net={LINK}")).arg(program);
        command
    }
}

/// Runs a command line of the machine's own, which must succeed.
fn outside(arguments: &[&str]) -> Result<String> {
    let (program, rest) = arguments.split_first().context("an empty command line")?;
    Output::of(Command::new(program).args(rest))?.stdout_of(arguments)
}
