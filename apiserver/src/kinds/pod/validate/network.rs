//! DNS, host names and host aliases.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names;
use serde_json::Value;

use crate::kinds::validate;

pub const POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_LENGTH_MAX: usize = 2048;

pub fn aliases(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (position, alias) in meta::list(spec, "hostAliases").iter().enumerate() {
        let at = path.index(position);
        errors.extend(validate::address(meta::text(alias, "ip"), &at.child("ip")));
        for (number, name) in meta::list(alias, "hostnames").iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            errors.extend(validate::named(name, names::dns_subdomain, &at.child("hostnames").index(number)));
        }
    }
    errors
}

pub fn config(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let config = &spec["dnsConfig"];
    let servers = meta::list(config, "nameservers");
    if spec["dnsPolicy"] == "None" {
        if config.is_null() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.push(Error::required(path, why));
            return errors;
        }
        if servers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(Error::required(&path.child("nameservers"), why));
            return errors;
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        let why = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(Error::invalid(&path.child("nameservers"), config["nameservers"].clone(), why));
    }
    for (position, server) in servers.iter().enumerate() {
        let server = server.as_str().unwrap_or_default();
        errors.extend(validate::address(server, &path.child("nameservers").index(position)));
    }
    errors.extend(searches(config, &path.child("searches")));
    for (position, option) in meta::list(config, "options").iter().enumerate() {
        if meta::text(option, "name").is_empty() {
            errors.push(Error::required(&path.child("options").index(position), "must not be empty"));
        }
    }
    errors
}

fn searches(config: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let listed: Vec<&str> = meta::list(config, "searches").iter().filter_map(Value::as_str).collect();
    if listed.len() > SEARCHES_MAX {
        let why = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(Error::invalid(path, config["searches"].clone(), why));
    }
    if listed.join(" ").len() > SEARCHES_LENGTH_MAX {
        let why =
            format!("must not have more than {SEARCHES_LENGTH_MAX} characters (including spaces) in the search list");
        errors.push(Error::invalid(path, config["searches"].clone(), why));
    }
    for (position, search) in listed.iter().enumerate() {
        // A dot at the end marks an absolute name; a dot alone is the root. Underscores occur in service names.
        let name = search.strip_suffix('.').unwrap_or(search);
        if *search != "." {
            let at = path.index(position);
            errors.extend(names::underscored_subdomain(name).into_iter().map(|words| Error::invalid(&at, name, words)));
        }
    }
    errors
}
