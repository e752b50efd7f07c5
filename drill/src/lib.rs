//! Ground to put whole clusters to the test on: a bed with a registry and `skiff` in it, and parts as processes of their own.
//!
//! Enter at [`Place`]; a [`Machine`] beside it is another node, and [`Apart`] starts, kills and pauses parts one by one. The program `skiff-drill` stands on it (faults
//! by a seed, parts swapped for others). What goes on inside a part is not known here:
//! programs, their command lines, kubectl and the API are all there is.

mod apart;
mod place;

pub use apart::Apart;
pub use place::{Machine, PARTS, Place, SOON, containers_of, data_of, program};
