//! The CNI protocol: the request in the environment, versions, errors, results. No kernel, no plugin.

pub(crate) mod conf;
mod failure;
pub(crate) mod request;
pub(crate) mod result;
pub(crate) mod version;

pub(crate) use failure::Failure;
pub(crate) use request::{Command, Request};
pub(crate) use result::CniResult;
pub(crate) use version::Version;
