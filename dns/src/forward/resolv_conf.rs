//! The node's resolv.conf(5): who to ask, and the search path that pods get after the cluster's. Pure.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;

/// What the C library heeds at most.
const RESOLVERS_MAX: usize = 3;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) resolvers: Vec<SocketAddr>,
    pub(crate) search: Vec<Name>,
}

impl ResolvConf {
    /// Of several `search` lines the last one counts. Addresses with a zone (`fe80::1%eth0`) cannot be asked.
    pub(crate) fn parse(text: &str, port: u16) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if conf.resolvers.len() < RESOLVERS_MAX => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    conf.resolvers.extend(address.map(|address| SocketAddr::new(address, port)));
                }
                Some("search" | "domain") => {
                    let names = words.filter(|word| *word != ".").filter_map(|word| Name::from_ascii(word).ok());
                    conf.search = names.map(|name| Name::from_labels(name.iter()).unwrap_or_default()).collect();
                }
                _ => {}
            }
        }
        conf
    }

    /// Without resolvers that are this server, which come second.
    pub(crate) fn without(mut self, own: &[IpAddr]) -> (ResolvConf, Vec<SocketAddr>) {
        let is_own = |resolver: &SocketAddr| own.contains(&resolver.ip());
        let left_out = self.resolvers.iter().filter(|resolver| is_own(resolver)).copied().collect();
        self.resolvers.retain(|resolver| !is_own(resolver));
        (self, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_the_c_library_does() {
        let text = "# comment\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n\
            nameserver 10.96.0.10\nnameserver 192.0.2.9\nsearch old\nsearch a.example . b.example.\noptions ndots:5\n";
        let (conf, left_out) = ResolvConf::parse(text, 53).without(&["10.96.0.10".parse().unwrap()]);
        let resolvers: Vec<String> = conf.resolvers.iter().map(ToString::to_string).collect();
        assert_eq!(resolvers, ["192.0.2.1:53", "[2001:db8::1]:53"]);
        assert_eq!(left_out, ["10.96.0.10:53".parse().unwrap()]);
        let search: Vec<String> = conf.search.iter().map(Name::to_ascii).collect();
        assert_eq!(search, ["a.example.", "b.example."]);
    }
}
