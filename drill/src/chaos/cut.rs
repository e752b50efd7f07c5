//! The packets that are dropped while somebody is cut off: rules of the packet filter, each with the drill's mark.

use anyhow::Result;
use testbed::Bed;

use super::ground::group;
use super::plan::{Blow, Fault};

/// By which the drill's own rules are told from all others.
const MARK: &str = "-m comment --comment skiff-drill";
/// A shell's line that prints the drill's rules.
pub(super) const LOOK: &str = "iptables-save | grep -e '--comment skiff-drill'";

/// Pure: what is dropped while the blow lasts, each a table, a chain and a rule.
fn rules(blow: &Blow) -> Vec<String> {
    let both = |port: u16| {
        ["--sport", "--dport"].map(|end| format!("filter OUTPUT -p tcp {end} {port} {MARK} -j DROP")).to_vec()
    };
    match (blow.fault, blow.part) {
        // The first node is one end of all that passes between nodes, and the other is on its one device. In a table of
        // their own: what the proxy and the router have asked for is looked at in others.
        (Fault::Sever, _) => [("PREROUTING", "-i"), ("POSTROUTING", "-o")]
            .map(|(chain, end)| format!("mangle {chain} {end} eth0 {MARK} -j DROP"))
            .to_vec(),
        (_, "kube-apiserver") => both(6443),
        (_, "etcd") => both(2379),
        (_, part) => {
            vec![format!("filter OUTPUT -p tcp --dport 6443 -m owner --gid-owner {} {MARK} -j DROP", group(part))]
        }
    }
}

pub(super) fn begin(bed: &Bed, blow: &Blow) -> Result<()> {
    rules(blow).iter().try_for_each(|rule| script(bed, "iptables --wait -t $1 -I $2 $3", rule))
}

/// Takes away what there is of it, and tries each rule, whatever became of the ones before.
pub(super) fn end(bed: &Bed, blow: &Blow) -> Result<()> {
    let remove = "while iptables --wait -t $1 -C $2 $3 2>/dev/null; do iptables --wait -t $1 -D $2 $3 || exit; done";
    let removed: Vec<Result<()>> = rules(blow).iter().map(|rule| script(bed, remove, rule)).collect();
    removed.into_iter().collect()
}

/// Runs a script whose arguments are the rule's table, its chain and the rest, which are several words.
fn script(bed: &Bed, script: &str, rule: &str) -> Result<()> {
    let words: Vec<&str> = rule.splitn(3, ' ').collect();
    bed.run(&[&["sh", "-c", script, "cut"], &words[..]].concat()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_cut_off_is_told_by_port_owner_or_device() {
        let of = |fault, part| rules(&Blow { fault, part, hold: Duration::ZERO });
        let server = of(Fault::Cut, "kube-apiserver");
        assert_eq!(server.len(), 2);
        assert!(server[0].contains("--sport 6443") && server[1].contains("--dport 6443"));
        assert!(of(Fault::Cut, "etcd").iter().all(|rule| rule.contains("port 2379")));
        let (kubelet, proxy) = (of(Fault::Cut, "kubelet"), of(Fault::Cut, "kube-proxy"));
        assert!(kubelet[0].contains("--gid-owner") && kubelet != proxy);
        let severed = of(Fault::Sever, super::super::plan::SECOND);
        assert!(
            severed.len() == 2 && severed.iter().all(|rule| rule.starts_with("mangle ") && rule.contains(" eth0 "))
        );
    }

    #[test]
    fn half_a_cut_is_undone_and_none_is_found_afterwards() -> Result<()> {
        let Some(bed) = Bed::new("cut")? else { return Ok(()) };
        let found = || Ok::<_, anyhow::Error>(bed.run(&["sh", "-c", &format!("{LOOK} || true")])?.lines().count());
        for (fault, part) in [(Fault::Cut, "etcd"), (Fault::Sever, "second")] {
            let blow = Blow { fault, part, hold: Duration::ZERO };
            begin(&bed, &blow)?;
            assert_eq!(found()?, 2, "{blow}");
            script(&bed, "iptables --wait -t $1 -D $2 $3", &rules(&blow)[0])?;
            end(&bed, &blow)?;
            assert_eq!(found()?, 0, "{blow}");
            end(&bed, &blow)?;
        }
        Ok(())
    }

    #[test]
    fn every_rule_is_found_by_its_mark() {
        let all = [Fault::Cut, Fault::Sever].map(|fault| rules(&Blow { fault, part: "kubelet", hold: Duration::ZERO }));
        let mark = LOOK.rsplit_once("-e ").unwrap().1.trim_matches('\'');
        assert!(all.concat().iter().all(|rule| rule.contains(mark)));
    }
}
