//! A machine of its own for each test: namespaces, test images, and a registry, all gone when the test ends.
//!
//! Enter at [`Bed::new`]. For a cluster of several nodes, [`Bed::neighbour`] is another machine on the first one's link,
//! with all namespaces and cgroups its own, and [`Bed::stranger`] runs a program that is on the link and on no machine.
//! [`images`] makes images from Debian packages and [`Registry`] serves them to the bed and its neighbours. [`Cluster`] is
//! a whole cluster in beds, and [`Apart`] its parts one by one: command lines, flags and kubectl are all that is known of
//! them. Beside that lies what tests and benches share: [`certificates`] for an API server that stands alone, and
//! [`pages`], which tell kubectl's habits.

mod apart;
mod bed;
pub mod certificates;
mod cluster;
pub mod images;
mod leftovers;
mod machine;
mod neighbours;
pub mod pages;
mod pattern;
mod registry;
mod wait;

pub use apart::Apart;
pub use bed::{Bed, Output};
pub use cluster::{Cluster, PARTS, SOON};
pub use machine::Machine;
pub use pattern::fits;
pub use registry::Registry;
pub use wait::eventually;
