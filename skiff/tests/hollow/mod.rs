//! A cluster without machines: the parts of a control plane, and nodes that only say what a kubelet would.
//!
//! [`plane`] has the certificates and command lines of the parts, [`nodes`] the hollow nodes. Nothing here needs root, a
//! container runtime or more than loopback. How the parts are run, in this process or as programs, is the caller's choice.

pub mod nodes;
pub mod plane;
