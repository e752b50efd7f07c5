//! Tests of this room's modules together: over the API server in memory, and over loopback sockets.

mod client;
mod delegated;
mod informer;
mod leader;
mod pipes;
mod queue;
mod recorder;
mod serve;
mod support;
