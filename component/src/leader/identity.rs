//! Who holds a Lease: `host_uuid`, as upstream's; the UUID's first half is stable where that is safe.

use std::{fs, io, net::SocketAddr};

use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::random::Random;

/// One process in one election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What a Lease says: `<host>_<stable half>-<random half>`.
    text: String,
    /// The part that a restarted process shares; empty for none.
    stable: String,
}

impl Identity {
    /// For a program on this machine, with its secure port where it has one.
    pub fn of_program(component: &str, listener: Option<&TcpListener>, random: &Random) -> io::Result<Self> {
        let host = read("/proc/sys/kernel/hostname");
        Ok(match listener {
            Some(listener) => Self::holding(&host, component, listener.local_addr()?, random),
            None => Self::unique(&host, random),
        })
    }

    /// For a process that holds a listener on `address` for as long as it takes part.
    pub fn holding(host: &str, component: &str, address: SocketAddr, random: &Random) -> Self {
        let place = [
            read("/proc/sys/kernel/random/boot_id"),
            fs::read_link("/proc/self/ns/net").map(|link| link.display().to_string()).unwrap_or_default(),
        ];
        if place.iter().any(String::is_empty) {
            return Self::unique(host, random);
        }
        let digest = Sha256::digest(format!("{component}\n{address}\n{}\n{}", place[0], place[1]));
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self::from_halves(host, u64::from_be_bytes(first), random.u64(), true)
    }

    /// For a process that cannot prove to be the only one.
    pub fn unique(host: &str, random: &Random) -> Self {
        Self::from_halves(host, random.u64(), random.u64(), false)
    }

    fn from_halves(host: &str, first: u64, second: u64, stable: bool) -> Self {
        let prefix = format!("{host}_{:08x}-{:04x}-{:04x}-", first >> 32, first >> 16 & 0xffff, first & 0xffff);
        let text = format!("{prefix}{:04x}-{:012x}", second >> 48, second & 0xffff_ffff_ffff);
        Self { text, stable: if stable { prefix } else { String::new() } }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `holder` is this process.
    pub(super) fn is(&self, holder: &str) -> bool {
        self.text == holder
    }

    /// Whether `holder` is an earlier, dead life of this process.
    pub(super) fn was(&self, holder: &str) -> bool {
        !self.stable.is_empty() && holder.starts_with(&self.stable) && !self.is(holder)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_process_knows_its_earlier_life() {
        let random = Random::seeded(1);
        let address = "0.0.0.0:10257".parse().unwrap();
        let (first, second) =
            (Identity::holding("h", "kcm", address, &random), Identity::holding("h", "kcm", address, &random));
        assert!(second.was(first.as_str()) && !second.is(first.as_str()) && !second.was(second.as_str()));
        let elsewhere = Identity::holding("h", "kcm", "0.0.0.0:10258".parse().unwrap(), &random);
        assert!(!elsewhere.was(first.as_str()));
        let (one, other) = (Identity::unique("h", &random), Identity::unique("h", &random));
        assert!(!one.was(other.as_str()));
        assert_eq!(one.as_str().len(), "h_".len() + 36);
    }
}
