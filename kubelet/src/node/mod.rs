//! The node's object: registered, its status kept true, its Lease renewed.
//!
//! Enter at [`run`]. [`machine`] reads what the machine is, [`capacity`] what may be used of it, [`conditions`] how it
//! is; [`object`] puts it together (pure). Nothing here knows pods.

pub mod address;
pub mod capacity;
pub mod conditions;
mod lease;
pub mod machine;
mod network;
pub mod object;
pub mod own;
mod pod_range;
mod sync;
#[cfg(test)]
mod tests;
pub mod topology;

pub use network::watch as watch_network;
pub use pod_range::tell as tell_pod_range;
pub use sync::{Settings, run};
