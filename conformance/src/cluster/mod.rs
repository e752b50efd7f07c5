//! The cluster under test, as cases see it: HTTP by [`Call`], kinds by [`Resource`], events by [`Watch`], programs in it
//! by [`Scope`]'s pods, and a person's kubectl.
//!
//! [`Cluster::connect`] is the way in. It knows nothing of who serves.

mod call;
mod connect;
mod kubectl;
mod pods;
mod resource;
mod scope;
mod socket;
mod watch;

pub(crate) use call::{Answer, ApiError, Call};
pub(crate) use connect::{Cluster, Images};
pub(crate) use kubectl::Kubectl;
pub(crate) use pods::{condition, container, is_ready, pod};
pub(crate) use resource::{Patch, Resource};
pub(crate) use scope::Scope;
pub(crate) use watch::Watch;

use std::time::Duration;

/// For what an idle cluster does in a second or two, so that only a broken or a very busy one takes longer.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// For what takes pods' starts one after another.
pub(crate) const LATER: Duration = Duration::from_secs(150);
