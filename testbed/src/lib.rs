//! A machine of its own for each test: namespaces, test images, and a registry, all gone when the test ends.
//!
//! Enter at [`Bed::new`]. For a cluster of several nodes, [`Bed::neighbour`] is another machine on the first one's link,
//! with all namespaces and cgroups its own, and [`Bed::stranger`] runs a program that is on the link and on no machine.
//! [`images`] makes images from Debian packages and [`Registry`] serves them to the bed and its neighbours. It starts
//! programs and knows none of them: what Skiff is, the tests that use it know. Beside the bed lies what tests and benches
//! share: [`certificates`] for an API server that stands alone, and [`pages`], which tell kubectl's habits.

mod bed;
pub mod certificates;
pub mod images;
mod neighbours;
pub mod pages;
mod pattern;
mod registry;
mod wait;

pub use bed::{Bed, Output};
pub use pattern::fits;
pub use registry::Registry;
pub use wait::eventually;
