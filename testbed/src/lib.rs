//! A machine of its own for each test: namespaces, test images, and a registry, all gone when the test ends.
//!
//! Enter at [`Bed::new`]; [`images`] makes images from Debian packages and [`Registry`] serves them on the bed's
//! loopback. It starts programs and knows none of them: what Skiff is, the tests that use it know.

mod bed;
pub mod images;
mod registry;
mod wait;

pub use bed::{Bed, Output};
pub use registry::Registry;
pub use wait::eventually;
