//! What a write takes of the node ports: bits of the bitmap, or, of a dry run, nothing.
//!
//! Enter at [`Ledger::fill_new`] and [`Ledger::fill_changed`]. Where the bitmap lies is [`super::ports`]' to know.

use machinery::field::{Error, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::ports::{Bitmap, PortRange};
use crate::api::Api;

const TAKEN: &str = "provided port is already allocated";
const FULL: &str = "range is full";
/// In a dry run ports are not chosen, but counted from here, as upstream has it: the object shows that there will be one.
const DRY_FIRST: i64 = 32769;

pub(super) struct Ledger<'a> {
    pub api: &'a Api,
    pub range: &'a PortRange,
    pub bitmap: Bitmap,
    /// What a dry run has taken. It may lie outside of the range.
    pub dry: Option<Vec<i64>>,
}

impl Ledger<'_> {
    fn bit(&self, port: i64) -> Option<u16> {
        let port = u16::try_from(port).ok().filter(|port| self.range.contains(*port))?;
        Some(port - self.range.first)
    }

    fn take(&mut self, port: i64) -> Result<(), String> {
        let bit = self.bit(port);
        if bit.is_some_and(|bit| self.bitmap.is_set(bit)) {
            return Err(TAKEN.to_owned());
        }
        if let Some(taken) = &mut self.dry {
            if taken.contains(&port) {
                return Err(TAKEN.to_owned());
            }
            taken.push(port);
            return Ok(());
        }
        let range = self.range;
        let outside = || format!("provided port is not in the valid range. The range of valid ports is {range}");
        self.bitmap.set(bit.ok_or_else(outside)?, true);
        Ok(())
    }

    fn take_free(&mut self) -> Result<i64, &'static str> {
        if let Some(taken) = &mut self.dry {
            let next = taken.iter().max().map_or(DRY_FIRST, |last| last + 1);
            taken.push(next);
            return Ok(next);
        }
        let bitmap = &self.bitmap;
        let bit = self.range.choose(self.api.random.u64(), |bit| !bitmap.is_set(bit)).ok_or(FULL)?;
        self.bitmap.set(bit, true);
        Ok(i64::from(self.range.first + bit))
    }

    /// Node ports of a new Service. Entries of one port number share one, whatever they were asked for.
    pub fn fill_new(&mut self, service: &mut Value, chooses: bool) -> Result<(), Status> {
        let asked: Vec<(i64, i64)> = meta::list(service, "spec.ports").iter().map(numbers).collect();
        let mut given: Vec<(i64, i64)> = Vec::new();
        for (position, (port, node_port)) in asked.iter().copied().enumerate() {
            if node_port == 0 && !chooses {
                continue;
            }
            let known = given.iter().find(|(known, _)| *known == port).map(|(_, node_port)| *node_port);
            let of_port = asked.iter().find(|(other, node_port)| *other == port && *node_port != 0);
            let own = match (known, of_port) {
                (Some(known), _) if node_port == 0 || node_port == known => known,
                (Some(_), _) => self.take_asked(service, position, node_port)?,
                (None, Some((_, asked))) => self.take_asked(service, position, *asked)?,
                (None, None) => self.take_free().map_err(none_left)?,
            };
            if known.is_none() {
                given.push((port, own));
            }
            service["spec"]["ports"][position]["nodePort"] = json!(own);
        }
        Ok(())
    }

    /// Node ports of a changed Service, which `held` some before: entries without one get one each.
    pub fn fill_changed(&mut self, service: &mut Value, held: &[u16], chooses: bool) -> Result<(), Status> {
        let asked: Vec<i64> = meta::list(service, "spec.ports").iter().map(|entry| numbers(entry).1).collect();
        for (position, node_port) in asked.iter().copied().enumerate() {
            let is_held = held.iter().any(|held| i64::from(*held) == node_port);
            if node_port == 0 && chooses {
                service["spec"]["ports"][position]["nodePort"] = json!(self.take_free().map_err(none_left)?);
            } else if node_port != 0 && !is_held && !asked[..position].contains(&node_port) {
                self.take_asked(service, position, node_port)?;
            }
        }
        Ok(())
    }

    fn take_asked(&mut self, service: &Value, position: usize, node_port: i64) -> Result<i64, Status> {
        let refused = |why| {
            let path = Path::new("spec").child("ports").index(position).child("nodePort");
            Status::invalid("", "Service", meta::name(service), &vec![Error::invalid(&path, node_port, why)])
        };
        self.take(node_port).map(|()| node_port).map_err(refused)
    }

    /// The port that tells whether a node has endpoints of the Service.
    pub fn fill_health(&mut self, service: &mut Value) -> Result<(), Status> {
        let asked = meta::at(service, "spec.healthCheckNodePort").as_i64().unwrap_or(0);
        if asked != 0 {
            return self.take(asked).map_err(|why| {
                Status::internal_error(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
            });
        }
        let none_left = |why| Status::internal_error(format!("failed to allocate a HealthCheck NodePort 0: {why}"));
        service["spec"]["healthCheckNodePort"] = json!(self.take_free().map_err(none_left)?);
        Ok(())
    }
}

fn none_left(why: &str) -> Status {
    Status::internal_error(format!("failed to allocate a nodePort: {why}"))
}

/// An entry's port and node port; 0 is none.
fn numbers(entry: &Value) -> (i64, i64) {
    let number = |name: &str| entry[name].as_i64().unwrap_or(0);
    (number("port"), number("nodePort"))
}
