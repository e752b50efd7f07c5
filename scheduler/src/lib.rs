//! (header to be written by the room's builder)
