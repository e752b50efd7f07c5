//! What a pod demands of its node, for components that must agree with the scheduler without being it: the DaemonSet
//! controller, taint eviction, the kubelet's own admission.
//!
//! Enter at [`node_affinity::matches`] and [`taints::tolerates`]. Pure; which node is best is the scheduler's business.

pub mod node_affinity;
pub mod taints;
