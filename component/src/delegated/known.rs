//! Certificate chains that were found good, with their users, so that not every request of a connection costs a
//! signature check: one is dearer than most requests.
//!
//! What makes a chain good is not known here; it says how long it is so.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{PoisonError, RwLock},
};

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::User;

/// More clients than a cluster has. Beyond that all is forgotten and checked anew.
const CHAINS_MAX: usize = 4096;

type Chain = Vec<CertificateDer<'static>>;

#[derive(Debug, Default)]
pub(super) struct Known(RwLock<HashMap<Chain, Entry>>);

#[derive(Debug)]
struct Entry {
    /// With the end of the first certificate.
    user: (User, i64),
    /// Seconds since the epoch.
    holds: RangeInclusive<i64>,
}

impl Known {
    pub(super) fn find(&self, chain: &[CertificateDer<'static>], now: Timestamp) -> Option<(User, i64)> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(chain).filter(|entry| entry.holds.contains(&now.as_second())).map(|entry| entry.user.clone())
    }

    /// `holds` in seconds since the epoch.
    pub(super) fn remember(&self, chain: &[CertificateDer<'static>], user: (User, i64), holds: RangeInclusive<i64>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CHAINS_MAX {
            known.clear();
        }
        known.insert(chain.to_vec(), Entry { user, holds });
    }
}
