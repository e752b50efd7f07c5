//! `resolvConf`: name servers for the result from a resolv.conf(5) file.

use std::path::Path;

use crate::cni::Failure;
use crate::cni::result::Dns;

pub(super) fn read(path: &Path) -> Result<Dns, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::io(format!("failed to read {}: {error}", path.display())))?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace().map(str::to_string);
        let Some(key) = words.next() else { continue };
        match key.as_str() {
            "nameserver" => dns.nameservers.extend(words.next()),
            "domain" => dns.domain = words.next().unwrap_or(dns.domain),
            "search" => dns.search.extend(words),
            "options" => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_comments_left() {
        let dns = parse("# a\nnameserver 10.0.0.10\n; b\nsearch a.b  b\noptions ndots:5\nnameserver\ndomain x\n");
        assert_eq!(dns.nameservers, ["10.0.0.10"]);
        assert_eq!(dns.search, ["a.b", "b"]);
        assert_eq!((dns.domain.as_str(), dns.options.as_slice()), ("x", &["ndots:5".to_string()][..]));
    }
}
