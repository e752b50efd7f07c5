//! `/containerLogs`: a container's log files, read as the query asks.
//!
//! Enter at [`read::stream`]. [`options`] reads the query, [`format`] the lines. Rotated files are read by the newest
//! name only, as upstream does.

pub mod format;
pub mod options;
pub mod read;
