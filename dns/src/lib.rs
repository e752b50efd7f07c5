//! skiff-dns: the cluster's names.
//!
//! Enter at [`run`]. `zone` is what the cluster's names are, `answer` turns a question into a reply or into the need to
//! ask others (both pure); `feed` keeps the zone as the API says, `forward` asks the node's resolvers, `serve` holds the
//! sockets. Knows Services, EndpointSlices and the names of Namespaces; no pods, no packet filter, no storage.

mod answer;
mod clients;
mod feed;
mod flags;
mod forward;
mod message;
mod metrics;
mod options;
mod run;
mod serve;
mod zone;

#[doc(hidden)]
pub mod bench;

pub use flags::flags;
pub use options::Options;
pub use run::{Error, Seams, run};
