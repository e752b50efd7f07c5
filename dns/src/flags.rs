//! skiff-dns's flags.

use component::flags::{FlagSet, Kind::*, flag};

/// The table of skiff-dns's flags.
pub fn flags() -> FlagSet {
    FlagSet::new("skiff-dns", "Skiff's cluster DNS: answers for Services, and asks the node's resolvers for all else.")
        .group(
            "DNS flags",
            [
                flag("bind-address", Strings, "0.0.0.0", "The addresses to answer on, by UDP and TCP."),
                flag("port", Int, "53", "The port to answer on."),
                flag("cluster-domain", String, "cluster.local", "The domain of the cluster's names."),
                flag("cluster-dns", Strings, "", "The addresses that clients ask at: those of the DNS Service. A resolver among them would be this server itself and is left out."),
                flag("client-cidrs", Strings, "", "Ranges of clients that are answered, beside the cluster's nodes and this machine; all when empty."),
                flag("resolv-conf", String, "/etc/resolv.conf", "The file that names the resolvers for names outside the cluster; read again when it changes."),
                flag("ttl", Duration, "5s", "How long clients may keep the cluster's records, and that there are none."),
                flag("pod-records", Bool, "true", "Answer for pods' names that are made of their addresses, such as 10-1-0-7.default.pod.cluster.local."),
                flag("walk-search-path", Bool, "true", "Answer a name that a resolver made with its search path in one trip, with an alias for the name that was meant."),
                flag("cache-ttl", Duration, "30s", "The longest time that resolvers' answers are kept; 0 keeps none."),
                flag("cache-size", Int, "10000", "How many resolvers' answers are kept at most."),
                flag("forward-timeout", Duration, "2s", "How long to wait for one resolver before the next is asked."),
                flag("metrics-bind-address", String, "127.0.0.1:9153", "Where to serve /metrics, /healthz, /livez and /readyz; empty: nowhere."),
            ],
        )
        .with_common()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_flag_works_or_says_that_it_does_not() {
        component::flags::check_program(&super::flags(), |values| drop(crate::Options::from_flags(values)));
    }
}
