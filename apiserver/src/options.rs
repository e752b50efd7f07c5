//! What the server is told by its flags, checked: every mistake in one message.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use component::flags::Values;
use machinery::field::aggregate;

use crate::admission;
use crate::authz::Mode;
use crate::browsers::Browsers;
use crate::gates::Gates;
use crate::runtime_config::RuntimeConfig;
use crate::services::{AddressRange, PortRange, ServiceRanges};
use crate::stored::Media;
use crate::unbuilt;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OptionsError(pub String);

#[derive(Clone, Debug)]
pub enum StoreChoice {
    Embedded { folder: PathBuf },
    Etcd(crate::store::etcd::Options),
}

pub struct Options {
    pub values: Values,
    pub store: StoreChoice,
    pub modes: Vec<Mode>,
    pub anonymous: bool,
    pub issuers: Vec<String>,
    pub ranges: ServiceRanges,
    pub advertise: IpAddr,
    pub secure: SocketAddr,
    pub insecure: Option<SocketAddr>,
    pub storage_media: Media,
    pub browsers: Browsers,
    pub gates: Gates,
    pub runtime_config: RuntimeConfig,
}

impl Options {
    pub fn from_flags(values: &Values) -> Result<Self, OptionsError> {
        let mut wrong: Vec<String> = Vec::new();
        let store = store(values, &mut wrong);
        let issuers = values.strings("service-account-issuer");
        check_issuers(&issuers, &mut wrong);
        let modes = modes(values, &mut wrong);
        check_token_request(values, &issuers, &mut wrong);
        let ranges = ranges(values, &mut wrong);
        let plugins = ["enable-admission-plugins", "disable-admission-plugins"].map(|flag| values.strings(flag));
        wrong.extend(admission::plugins::check(&plugins[0], &plugins[1]));
        check_places(values, &mut wrong);
        unbuilt::check(values, &mut wrong);
        check_token_life(values, &mut wrong);
        let browsers = Browsers::from_flags(values, &mut wrong);
        let chance = values.float("goaway-chance");
        if !(0.0..=0.02).contains(&chance) {
            wrong.push("--goaway-chance can not be less than 0 or greater than 0.02".to_owned());
        }
        let gates = Gates::from_flags(values, &mut wrong);
        let runtime_config = runtime_config(values, &mut wrong);
        let insecure = insecure(values, &modes, &mut wrong);
        let storage_media = storage_media(values, &mut wrong);
        let secure = SocketAddr::new(
            values.ip("bind-address").unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            port(values, "secure-port", &mut wrong),
        );
        let (Some(store), Some(ranges), true) = (store, ranges, wrong.is_empty()) else {
            return Err(OptionsError(aggregate(&wrong)));
        };
        let allows_all = modes.contains(&Mode::AlwaysAllow);
        Ok(Self {
            anonymous: values.bool("anonymous-auth") && !allows_all,
            advertise: values.ip("advertise-address").unwrap_or_else(|| own_address(secure.ip())),
            values: values.clone(),
            store,
            modes,
            issuers,
            ranges,
            secure,
            insecure,
            storage_media,
            browsers,
            gates,
            runtime_config,
        })
    }
}

fn runtime_config(values: &Values, wrong: &mut Vec<String>) -> RuntimeConfig {
    RuntimeConfig::parse(&values.strings("runtime-config")).unwrap_or_else(|errors| {
        wrong.extend(errors);
        RuntimeConfig::default()
    })
}

fn check_issuers(issuers: &[String], wrong: &mut Vec<String>) {
    if issuers.is_empty() {
        wrong.push("service-account-issuer is a required flag".to_owned());
    }
    for (position, issuer) in issuers.iter().enumerate() {
        if issuer.is_empty() {
            wrong.push("service-account-issuer should not be an empty string".to_owned());
        } else if issuers[..position].contains(issuer) {
            wrong.push(format!("service-account-issuer {issuer:?} is already specified"));
        }
    }
}

/// Tokens are issued with a key and a name, or the server does not start.
fn check_token_request(values: &Values, issuers: &[String], wrong: &mut Vec<String>) {
    let has_key = values.opt_str("service-account-signing-key-file").is_some();
    let has_issuer = issuers.iter().any(|issuer| !issuer.is_empty());
    if has_key && has_issuer {
        return;
    }
    let none = !has_key && !has_issuer && values.strings("api-audiences").is_empty();
    wrong.push(match none {
        true => "--service-account-signing-key-file and --service-account-issuer are required flags".to_owned(),
        false => "--service-account-signing-key-file, --service-account-issuer, and --api-audiences should be specified together".to_owned(),
    });
}

fn check_token_life(values: &Values, wrong: &mut Vec<String>) {
    let longest = values.duration("service-account-max-token-expiration").as_secs();
    if longest != 0 && !(3600..=1 << 32).contains(&longest) {
        wrong.push("the service-account-max-token-expiration must be between 1 hour and 2^32 seconds".to_owned());
    }
}

fn check_places(values: &Values, wrong: &mut Vec<String>) {
    let flags = ["max-requests-inflight", "max-mutating-requests-inflight"];
    let [reads, writes] = flags.map(|flag| values.int(flag));
    for (flag, places) in flags.into_iter().zip([reads, writes]) {
        if places < 0 {
            wrong.push(format!("--{flag} can not be negative value"));
        }
    }
    if values.bool("enable-priority-and-fairness") && reads.saturating_add(writes) <= 0 {
        wrong.push(format!("invalid configuration: MaxRequestsInFlight={reads} and MaxMutatingRequestsInFlight={writes}; they must add up to something positive"));
    }
}

fn port(values: &Values, name: &str, wrong: &mut Vec<String>) -> u16 {
    let given = values.int(name);
    u16::try_from(given).unwrap_or_else(|_| {
        wrong.push(format!("--{name} {given} must be between 0 and 65535, inclusive"));
        0
    })
}

fn store(values: &Values, wrong: &mut Vec<String>) -> Option<StoreChoice> {
    match values.str("storage-backend") {
        "embedded" => match values.opt_str("data-dir") {
            Some(folder) => Some(StoreChoice::Embedded { folder: folder.into() }),
            None => {
                wrong.push("--data-dir must be specified for --storage-backend=embedded".to_owned());
                None
            }
        },
        "etcd3" | "" => {
            let servers = values.strings("etcd-servers");
            if servers.is_empty() {
                wrong.push("--etcd-servers must be specified".to_owned());
                return None;
            }
            let file = |name: &str| values.opt_str(name).map(PathBuf::from);
            let certificate = match (file("etcd-certfile"), file("etcd-keyfile")) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                _ => {
                    wrong.push("--etcd-certfile and --etcd-keyfile must be specified together".to_owned());
                    return None;
                }
            };
            Some(StoreChoice::Etcd(crate::store::etcd::Options {
                servers,
                ca_file: file("etcd-cafile"),
                certificate,
                timeout: std::time::Duration::from_secs(10),
            }))
        }
        other => {
            wrong.push(format!("--storage-backend invalid, allowed values: etcd3, embedded. If not specified, it will default to 'etcd3' (given: {other})"));
            None
        }
    }
}

/// The embedded store holds JSON unless told otherwise: nobody but this server reads it, and JSON is what is served, so
/// that neither a write nor the start has to translate it.
fn storage_media(values: &Values, wrong: &mut Vec<String>) -> Media {
    let name = values.str("storage-media-type");
    if values.str("storage-backend") == "embedded" && !values.is_given("storage-media-type") {
        return Media::Json;
    }
    Media::parse(name).unwrap_or_else(|| {
        wrong.push(format!(
            "--storage-media-type {name:?} invalid, allowed values: application/json, application/vnd.kubernetes.protobuf"
        ));
        Media::Json
    })
}

fn modes(values: &Values, wrong: &mut Vec<String>) -> Vec<Mode> {
    let given = values.strings("authorization-mode");
    if given.is_empty() {
        return vec![Mode::AlwaysAllow];
    }
    let parsed = given.iter().filter_map(|name| match Mode::parse(name) {
        Some(mode) => Some(mode),
        None => {
            wrong.push(match name.as_str() {
                "ABAC" | "Webhook" => {
                    format!("authorization-mode {name:?} cannot be honoured by this server: it is not built")
                }
                _ => format!("authorization-mode {name:?} is not a valid mode"),
            });
            None
        }
    });
    let parsed: Vec<Mode> = parsed.collect();
    if parsed.iter().enumerate().any(|(position, mode)| parsed[..position].contains(mode)) {
        wrong.push(format!("authorization-mode {given:?} has mode specified more than once"));
    }
    parsed
}

fn ranges(values: &Values, wrong: &mut Vec<String>) -> Option<ServiceRanges> {
    let mut addresses = Vec::new();
    for text in values.str("service-cluster-ip-range").split(',').filter(|text| !text.is_empty()) {
        match AddressRange::parse(text) {
            Ok(range) => addresses.push(range),
            Err(error) => wrong.push(format!("service-cluster-ip-range {text:?} is not a valid cidr: {error}")),
        }
    }
    let ports = PortRange::parse(values.str("service-node-port-range"));
    if ports.is_none() {
        wrong.push(format!(
            "--service-node-port-range {:?} is not a valid port range",
            values.str("service-node-port-range")
        ));
    }
    Some(ServiceRanges { addresses, ports: ports? })
}

fn insecure(values: &Values, modes: &[Mode], wrong: &mut Vec<String>) -> Option<SocketAddr> {
    let port = port(values, "insecure-port", wrong);
    if port == 0 {
        return None;
    }
    if modes != [Mode::AlwaysAllow] {
        wrong.push(
            "--insecure-port is only for --authorization-mode=AlwaysAllow: everyone who reaches it may do everything"
                .to_owned(),
        );
        return None;
    }
    let address = values.ip("insecure-bind-address").unwrap_or(Ipv4Addr::LOCALHOST.into());
    Some(SocketAddr::new(address, port))
}

/// The address to tell others when none is given: the one that is bound, or the one that the machine would send from.
fn own_address(bound: IpAddr) -> IpAddr {
    if !bound.is_unspecified() {
        return bound;
    }
    // Nothing is sent: connecting a datagram socket only makes the kernel choose a route.
    let chosen = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr()));
    chosen.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Options, OptionsError> {
        let values = crate::flags().parse(flags.iter().copied()).expect("flags of the table");
        Options::from_flags(&values)
    }

    #[test]
    fn names_all_that_is_missing() {
        let message = |flags: &[&str]| parse(flags).err().expect("something is missing").to_string();
        assert_eq!(
            message(&[]),
            "[--etcd-servers must be specified, service-account-issuer is a required flag, \
             --service-account-signing-key-file and --service-account-issuer are required flags]"
        );
        assert_eq!(
            message(&["--etcd-servers=http://127.0.0.1:1", "--service-account-issuer=x"]),
            "--service-account-signing-key-file, --service-account-issuer, and --api-audiences should be specified together"
        );
    }

    #[test]
    fn an_open_mode_takes_no_anonymous_requests() {
        let base =
            ["--etcd-servers=http://127.0.0.1:1", "--service-account-issuer=x", "--service-account-signing-key-file=k"];
        assert!(!parse(&base).unwrap().anonymous);
        let rbac = [&base[..], &["--authorization-mode=Node,RBAC"]].concat();
        assert!(parse(&rbac).unwrap().anonymous);
        let open = [&rbac[..], &["--insecure-port=8080"]].concat();
        assert!(parse(&open).is_err(), "an insecure port beside RBAC is refused");
    }
}
