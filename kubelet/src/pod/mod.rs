//! One pod on this node, from its spec to its containers.
//!
//! Enter at [`plan::decide`]: what the pod wants, what the runtime has and what the worker remembers go in, CRI actions
//! come out. [`worker`] is the task per pod that looks, decides, does and reports; [`configs`] writes the CRI messages.
//! Only `worker` and [`steps`] touch the world.

pub mod admission;
#[cfg(test)]
mod admit_tests;
pub mod allocation;
pub mod backoff;
pub mod configs;
pub mod fate;
mod held;
mod hooks;
mod image_volumes;
pub mod inbox;
mod look;
mod make_sandbox;
pub mod memory;
pub mod node;
pub mod plan;
mod plan_backoff;
mod plan_init;
pub mod plan_reset;
mod plan_stop;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod recovery_tests;
pub mod resize;
#[cfg(test)]
mod resize_tests;
pub mod spec;
mod steps;
mod termination;
pub mod turns;
pub mod wishes;
#[cfg(test)]
mod wishes_tests;
pub mod worker;
mod worker_admit;
mod worker_begin;
mod worker_end;
mod worker_news;
mod worker_resize;
#[cfg(test)]
pub(crate) mod worker_tests;
