//! The IPAM plugin `host-local`: addresses from ranges, remembered as files on this host.
//!
//! `conf` reads and checks the configuration, `range` and `allocate` choose (pure), `store` keeps the files. Its files
//! are upstream's, so either plugin can take over from the other.

mod allocate;
mod conf;
mod range;
mod resolv;
mod store;

use std::collections::HashSet;
use std::path::Path;

use crate::cni::conf::Base;
use crate::cni::result::{CniResult, IpConfig};
use crate::cni::{Command, Failure, Request};
use allocate::choose;
use conf::IpamConf;
use store::{Reservation, Store};

pub(crate) fn call(request: &Request) -> Result<Option<CniResult>, Failure> {
    let conf = IpamConf::load(request)?;
    let key = Reservation { container_id: request.container_id.trim().to_string(), ifname: request.ifname.clone() };
    match request.command {
        Command::Add => add(&conf, &key).map(Some),
        Command::Del => Store::open(&conf.data_dir, &conf.network)?.release(&key).map(|()| None),
        Command::Check => check(&conf, &key).map(|()| None),
        Command::Gc => gc(&conf, &Base::parse(&request.stdin)?).map(|()| None),
        Command::Status => status(&conf).map(|()| None),
        Command::Version => Ok(None),
    }
}

/// One address from each range set, under the store's lock from the first look to the last write.
fn add(conf: &IpamConf, key: &Reservation) -> Result<CniResult, Failure> {
    let dns = match &conf.resolv_conf {
        Some(path) => resolv::read(Path::new(path))?,
        None => Default::default(),
    };
    let store = Store::open(&conf.data_dir, &conf.network)?;
    let mut chosen = Vec::new();
    let mut requested = conf.requested.clone();
    let taken = store.taken()?;
    for (index, set) in conf.ranges.iter().enumerate() {
        let wanted = requested.iter().position(|ip| set.contains(*ip)).map(|at| requested.remove(at));
        let held: Vec<_> = taken.iter().filter(|(_, owner)| owner.is(key)).map(|(ip, _)| *ip).collect();
        let used: HashSet<_> = taken.iter().map(|(ip, _)| *ip).collect();
        let pick = choose(set, wanted, &held, &used, store.last_reserved(index), &key.container_id)
            .map_err(|msg| Failure::internal(format!("failed to allocate for range {index}: {msg}")))?;
        chosen.push((index, pick));
    }
    if !requested.is_empty() {
        let list: Vec<String> = requested.iter().map(ToString::to_string).collect();
        return Err(Failure::internal(format!("failed to allocate all requested IPs: {}", list.join(" "))));
    }
    let mut result = CniResult { routes: conf.routes.clone(), dns, ..CniResult::default() };
    for (index, pick) in chosen {
        if let Err(failure) = store.reserve(pick.address.addr(), key, index) {
            // Reservations are all or nothing: what the first ranges gave goes back.
            return Failure::all(vec![failure].into_iter().chain(store.release(key).err()).collect()).map(|()| result);
        }
        result.ips.push(IpConfig { interface: None, address: pick.address, gateway: Some(pick.gateway) });
    }
    Ok(result)
}

fn check(conf: &IpamConf, key: &Reservation) -> Result<(), Failure> {
    let store = Store::open(&conf.data_dir, &conf.network)?;
    if store.taken()?.iter().any(|(_, owner)| owner.is(key)) {
        return Ok(());
    }
    Err(Failure::internal(format!("host-local: Failed to find address added by container {}", key.container_id)))
}

fn gc(conf: &IpamConf, base: &Base) -> Result<(), Failure> {
    let valid: Vec<Reservation> = base
        .valid_attachments()?
        .iter()
        .map(|attachment| Reservation {
            container_id: attachment.container_id.trim().to_string(),
            ifname: attachment.ifname.clone(),
        })
        .collect();
    Store::open(&conf.data_dir, &conf.network)?.retain(|owner| valid.iter().any(|key| owner.is(key)))
}

fn status(conf: &IpamConf) -> Result<(), Failure> {
    Store::open(&conf.data_dir, &conf.network)
        .map(|_| ())
        .map_err(|failure| Failure::not_available(format!("host-local cannot keep addresses: {}", failure.msg)))
}
