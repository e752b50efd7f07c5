//! `portmap`'s nftables rules: upstream's table `cni_hostport` of each family, rules found again by the container id in
//! their comments.

use super::rules::Target;
use crate::packet_filter::nft;

const TABLE: &str = "cni_hostport";
const CHAINS: [&str; 3] = ["hostports", "hostip_hostports", "masquerading"];

fn family(target: &Target) -> &'static str {
    if target.address.addr().is_ipv4() { "ip" } else { "ip6" }
}

/// The deletion of what an earlier ADD of the same container left.
pub(super) fn stale(target: &Target) -> String {
    deletions(family(target), &target.conf.container_id)
}

/// The deletion of a container's rules in both families; empty when there are none.
pub(super) fn removal(container_id: &str) -> String {
    ["ip", "ip6"].map(|family| deletions(family, container_id)).concat()
}

fn deletions(family: &str, container_id: &str) -> String {
    let mut script = String::new();
    for chain in CHAINS {
        for rule in nft::list(family, TABLE, chain).iter().filter(|rule| rule.comment == container_id) {
            script.push_str(&format!("delete rule {family} {TABLE} {chain} handle {}\n", rule.handle));
        }
    }
    script
}

/// Whether as many rules are there as ADD makes.
pub(super) fn is_whole(target: &Target) -> bool {
    let rules = container_rules(target);
    ["hostports", "masquerading"].into_iter().all(|chain| {
        let wanted = rules.lines().filter(|line| line.contains(&format!(" {TABLE} {chain} "))).count();
        let found = nft::list(family(target), TABLE, chain);
        found.iter().filter(|rule| rule.comment == target.conf.container_id).count() >= wanted
    })
}

/// The whole script: what is shared, what is stale, what is new.
pub(super) fn script(target: &Target, stale: String) -> String {
    let family = family(target);
    let conditions = if family == "ip" { &target.conf.conditions_v4 } else { &target.conf.conditions_v6 };
    let conditions: String = conditions.iter().map(|word| format!("{word} ")).collect();
    let table = format!("{family} {TABLE}");
    let mut text = format!("add table {table}\n");
    for chain in ["hostports", "hostip_hostports", "hostports_all"] {
        text.push_str(&format!("add chain {table} {chain}\n"));
    }
    text.push_str(&format!(
        "flush chain {table} hostports_all\n\
         add rule {table} hostports_all jump hostip_hostports\n\
         add rule {table} hostports_all jump hostports\n"
    ));
    for hook in ["prerouting", "output"] {
        text.push_str(&format!(
            "add chain {table} {hook} {{ type nat hook {hook} priority -100; }}\n\
             flush chain {table} {hook}\n\
             add rule {table} {hook} {conditions}fib daddr type local jump hostports_all\n"
        ));
    }
    if target.conf.snat {
        text.push_str(&format!("add chain {table} masquerading {{ type nat hook postrouting priority 100; }}\n"));
    }
    text + &stale + &container_rules(target)
}

fn container_rules(target: &Target) -> String {
    let family = family(target);
    let (conf, ip) = (target.conf, target.address.addr());
    let comment = format!("comment \"{}\"", conf.container_id);
    let destination = if ip.is_ipv4() { ip.to_string() } else { format!("[{ip}]") };
    let mut text = String::new();
    for mapping in &conf.mappings {
        let mut to = String::new();
        if let Some(host) = mapping.host_address {
            if host.is_ipv4() != ip.is_ipv4() {
                continue;
            }
            if !host.is_unspecified() {
                to = format!("{family} daddr {host} ");
            }
        }
        text.push_str(&format!(
            "add rule {family} {TABLE} hostports {to}{} dport {} dnat to {destination}:{} {comment}\n",
            mapping.protocol, mapping.host_port, mapping.container_port
        ));
    }
    if conf.snat {
        let everyone = if ip.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let from = if conf.masq_all { everyone.to_string() } else { ip.to_string() };
        let mut sources = vec![from];
        if ip.is_ipv4() && !conf.masq_all {
            sources.push("127.0.0.1".to_string());
        }
        for from in sources {
            text.push_str(&format!(
                "add rule {family} {TABLE} masquerading {family} saddr {from} {family} daddr {ip} masquerade {comment}\n"
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::conf::test_conf;
    use super::*;

    #[test]
    fn rules_carry_the_container_in_their_comments() {
        let conf = test_conf(
            r#"{"name":"n","backend":"nftables","runtimeConfig":{"portMappings":[
                {"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"192.0.2.1"}]}}"#,
        )
        .unwrap();
        let target = Target { conf: &conf, address: "10.1.1.2/24".parse().unwrap() };
        assert_eq!(
            container_rules(&target),
            "add rule ip cni_hostport hostports ip daddr 192.0.2.1 tcp dport 8080 dnat to 10.1.1.2:80 comment \"abc\"\n\
             add rule ip cni_hostport masquerading ip saddr 10.1.1.2 ip daddr 10.1.1.2 masquerade comment \"abc\"\n\
             add rule ip cni_hostport masquerading ip saddr 127.0.0.1 ip daddr 10.1.1.2 masquerade comment \"abc\"\n"
        );
        assert!(
            script(&target, String::new())
                .contains("add rule ip cni_hostport output fib daddr type local jump hostports_all\n")
        );
    }
}
