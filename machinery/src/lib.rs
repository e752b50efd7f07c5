//! What all parts of Skiff share, pure: no sockets, no files, no async, no clock.
//!
//! Objects are [`serde_json::Value`] trees here. Start at [`catalogue`] for which resources exist, at `schema` for what
//! their fields are, and at [`status`] for how an error is told to a client.

pub mod apply;
pub mod catalogue;
pub mod channel;
pub mod cron;
pub mod diff;
pub mod duration;
pub mod escapes;
pub mod field;
pub mod gvk;
pub mod intstr;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod pod_references;
pub mod quantity;
pub mod quota;
pub mod resources;
pub mod schema;
pub mod selector;
pub mod spdy;
pub mod status;
pub mod sysctls;
pub mod wire;
