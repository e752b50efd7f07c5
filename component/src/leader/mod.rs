//! Leader election by a `coordination/v1` Lease, as client-go's `tools/leaderelection`.
//!
//! [`run`] waits until the Lease is held, runs the component, and renews meanwhile. `decide` is the pure part. What the
//! leader does is not known here.
//!
//! **Taking one's own Lease back.** A part that was killed and started again would wait out its own Lease (15 s), with
//! nobody leading. So an identity has two halves: a stable one, and one made anew at each start. A Lease whose holder
//! has our stable half is taken at once. That is safe only while no two living processes share a stable half. It is made
//! of the machine's boot, the network namespace and the address of a listening socket that the process holds
//! ([`Identity::holding`]): the kernel gives that address to one process at a time, so whoever wrote the Lease is dead,
//! and its listener with it. Requests that it had sent may still land, as after any expired Lease: writers rely on
//! resource versions, not on leading. A process without a listener ([`Identity::unique`]) waits like everybody else.

mod decide;
mod elect;
mod identity;

use std::time::Duration;

pub use self::{elect::run, identity::Identity};
use crate::flags::Values;

/// How to elect. The defaults are upstream's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Without election the component runs at once.
    pub elect: bool,
    pub namespace: String,
    /// The Lease's name: the component's.
    pub name: String,
    pub identity: Identity,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

/// Why there was no leading, or no more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("leaderelection lost")]
    Lost,
    #[error("leader election settings: {0}")]
    Settings(String),
}

impl Settings {
    pub fn new(name: impl Into<String>, identity: Identity) -> Self {
        Self {
            elect: true,
            namespace: "kube-system".to_owned(),
            name: name.into(),
            identity,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// From the flags of [`crate::flags::leader_election`]; `name` is for a table without a default of its own.
    pub fn from_flags(values: &Values, name: &str, identity: Identity) -> Result<Self, Error> {
        let settings = Self {
            elect: values.bool("leader-elect"),
            namespace: values.str("leader-elect-resource-namespace").to_owned(),
            name: values.opt_str("leader-elect-resource-name").unwrap_or(name).to_owned(),
            identity,
            lease_duration: values.duration("leader-elect-lease-duration"),
            renew_deadline: values.duration("leader-elect-renew-deadline"),
            retry_period: values.duration("leader-elect-retry-period"),
        };
        if values.str("leader-elect-resource-lock") != "leases" {
            return Err(Error::Settings("leader-elect-resource-lock must be \"leases\"".to_owned()));
        }
        settings.validate().map(|()| settings)
    }

    fn validate(&self) -> Result<(), Error> {
        let wrong = |problem: &str| Err(Error::Settings(problem.to_owned()));
        if !self.elect {
            Ok(())
        } else if self.lease_duration <= self.renew_deadline {
            wrong("leaseDuration must be greater than renewDeadline")
        } else if self.renew_deadline <= self.retry_period.mul_f64(decide::JITTER) {
            wrong("renewDeadline must be greater than retryPeriod*JitterFactor")
        } else if self.retry_period.is_zero() || self.lease_duration.as_secs() == 0 {
            wrong("leaseDuration, renewDeadline and retryPeriod must be greater than zero")
        } else {
            Ok(())
        }
    }
}
