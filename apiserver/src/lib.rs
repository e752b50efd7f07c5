//! (header to be written by the room's builder)

pub mod cache;
pub mod store;
