//! Pods' way through the node and out of the cluster: forwarding switched on and let through, and masquerading of what
//! leaves. [`masquerading`] is the text of a table of its own, pure; [`Way`] keeps all of it there, and tells of what it
//! cannot do when that begins and when it ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::forwarding;
use crate::nft::tool;

const TABLE: &str = "inet skiff-router-nat";

/// Where the C library looks for programs without a `PATH`: what is found elsewhere would not be started.
const PROGRAMS: &str = "/bin:/usr/bin";

/// The folders in which a program is found that is started by its name, from the value of `PATH`.
pub(crate) fn programs(path: Option<OsString>) -> OsString {
    path.unwrap_or_else(|| PROGRAMS.into())
}

/// The way to have no such table.
pub(crate) fn removal() -> String {
    format!("table {TABLE}\ndelete table {TABLE}\n")
}

/// What leaves the cluster looks as if it came from the node; what stays in it is not translated.
pub(crate) fn masquerading(cluster: &[IpNet]) -> String {
    let rules = cluster.iter().map(|range| {
        let (family, multicast) = match range {
            IpNet::V4(_) => ("ip", "224.0.0.0/4"),
            IpNet::V6(_) => ("ip6", "ff00::/8"),
        };
        format!("    {family} saddr {range} {family} daddr != {{ {range}, {multicast} }} masquerade\n")
    });
    let rules: String = rules.collect();
    format!(
        "{}table {TABLE} {{\n  chain postrouting {{\n    type nat hook postrouting priority srcnat; policy accept;\n{rules}  }}\n}}\n",
        removal()
    )
}

/// What was done for pods' packets. What fails is told and left: the node may have been prepared by others.
pub(crate) struct Way {
    cluster: Vec<IpNet>,
    sysctl_root: PathBuf,
    /// The folders of programs, as `PATH` has them.
    programs: OsString,
    /// The table as it was when it was written.
    written: Option<String>,
    told: Told,
}

impl Way {
    /// Does nothing yet, and never does where no range is known.
    pub(crate) fn new(cluster: &[IpNet], sysctl_root: PathBuf, programs: OsString) -> Way {
        Way { cluster: cluster.to_vec(), sysctl_root, programs, written: None, told: Told::default() }
    }

    /// Opens the way, or opens it again where somebody closed it: programs that own a host's packet filter flush all of
    /// it when they are told to begin anew.
    pub(crate) async fn ensure(&mut self) {
        if self.cluster.is_empty() {
            return;
        }
        let switched = switch_forwarding_on(&self.sysctl_root, self.has_family(true));
        self.told.tell("forwarding cannot be switched on", switched.map_err(|error| error.to_string()));
        let masqueraded = self.ensure_masquerading().await;
        self.told.tell("what leaves the cluster is not masqueraded", masqueraded);
        for (is_v6, trouble) in [
            (false, "a host that forwards nothing by default will stop pods' packets"),
            (true, "a host that forwards nothing by default will stop pods' packets of IPv6"),
        ] {
            if self.has_family(is_v6) {
                let accepted = self.accept_forwarding(is_v6).await;
                self.told.tell(trouble, accepted);
            }
        }
    }

    fn has_family(&self, is_v6: bool) -> bool {
        self.cluster.iter().any(|range| range.addr().is_ipv6() == is_v6)
    }

    async fn ensure_masquerading(&mut self) -> Result<(), String> {
        self.is_installed("nft")?;
        let listing = || async { tool::listing(TABLE).await.map_err(|error| error.to_string()) };
        if self.written.is_some() && listing().await? == self.written {
            return Ok(());
        }
        tool::apply(&masquerading(&self.cluster)).await.map_err(|error| error.to_string())?;
        self.written = listing().await?;
        Ok(())
    }

    async fn accept_forwarding(&self, is_v6: bool) -> Result<(), String> {
        self.is_installed(forwarding::program(is_v6))?;
        let ours = self.cluster.iter().filter(|range| range.addr().is_ipv6() == is_v6);
        let ranges: Vec<IpNet> = ours.copied().collect();
        let accepted = tokio::task::spawn_blocking(move || forwarding::accept(is_v6, &ranges)).await;
        accepted.map_err(|error| error.to_string())?
    }

    /// What is not there is not started every time.
    fn is_installed(&self, program: &str) -> Result<(), String> {
        let is_there = std::env::split_paths(&self.programs).any(|folder| folder.join(program).is_file());
        if is_there { Ok(()) } else { Err(format!("this host has no {program}")) }
    }
}

/// The troubles that were told and last.
#[derive(Debug, Default)]
struct Told(BTreeMap<&'static str, String>);

impl Told {
    fn tell(&mut self, trouble: &'static str, outcome: Result<(), String>) {
        match (self.is_news(trouble, &outcome), outcome) {
            (false, _) => {}
            (true, Err(error)) => tracing::warn!(error, "{trouble}"),
            (true, Ok(())) => tracing::info!("this has ended: {trouble}"),
        }
    }

    /// Trouble that was not there or was another, or its end.
    fn is_news(&mut self, trouble: &'static str, outcome: &Result<(), String>) -> bool {
        match outcome {
            Ok(()) => self.0.remove(trouble).is_some(),
            Err(error) => self.0.insert(trouble, error.clone()).as_ref() != Some(error),
        }
    }
}

/// The kernel forwards packets. Failing is told by the caller, and left: a container may not be let to.
pub(crate) fn switch_forwarding_on(sysctl_root: &Path, has_v6: bool) -> std::io::Result<()> {
    let v6 = has_v6.then_some("net/ipv6/conf/all/forwarding");
    for name in ["net/ipv4/ip_forward"].into_iter().chain(v6) {
        let path = sysctl_root.join(name);
        if std::fs::read_to_string(&path)?.trim() == "0" {
            std::fs::write(&path, "1")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_the_cluster_is_masqueraded() {
        let text = masquerading(&["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()]);
        let rules: Vec<&str> = text.lines().filter(|line| line.contains("masquerade")).map(str::trim).collect();
        assert_eq!(
            rules,
            [
                "ip saddr 10.244.0.0/16 ip daddr != { 10.244.0.0/16, 224.0.0.0/4 } masquerade",
                "ip6 saddr fd00::/48 ip6 daddr != { fd00::/48, ff00::/8 } masquerade",
            ]
        );
    }

    #[test]
    fn forwarding_is_switched_on_where_it_is_off() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("net/ipv4/ip_forward");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "0\n").unwrap();
        switch_forwarding_on(root.path(), false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1");
        assert!(switch_forwarding_on(root.path(), true).is_err());
    }

    #[tokio::test]
    async fn what_this_host_has_not_is_told_once_and_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = ["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()];
        let mut way = Way::new(&cluster, folder.path().to_owned(), folder.path().into());
        way.ensure().await;
        let told: Vec<&str> = way.told.0.values().map(String::as_str).collect();
        assert!(
            told.contains(&"this host has no iptables") && told.contains(&"this host has no ip6tables"),
            "{told:?}"
        );
        assert!(told.contains(&"this host has no nft") && way.written.is_none(), "{told:?}");
        let before = way.told.0.clone();
        way.ensure().await;
        assert_eq!(way.told.0, before);
    }

    #[test]
    fn programs_are_looked_for_where_they_are_started_from() {
        let found = [None, Some(""), Some("/opt/bin")].map(|path| programs(path.map(OsString::from)));
        let library = std::process::Command::new("getconf").arg("PATH").output().unwrap().stdout;
        assert_eq!(found, [String::from_utf8(library).unwrap().trim(), "", "/opt/bin"]);
    }

    #[test]
    fn trouble_is_news_when_it_begins_changes_or_ends() {
        let mut told = Told::default();
        let mut is_news =
            |error: &str| told.is_news("trouble", &if error.is_empty() { Ok(()) } else { Err(error.to_owned()) });
        let seen = ["", "a", "a", "b", "b", "", "", "b"].map(&mut is_news);
        assert_eq!(seen, [false, true, false, true, false, true, false, true]);
    }
}
