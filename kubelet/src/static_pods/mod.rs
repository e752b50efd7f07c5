//! Static pods.
use crate::{Options, dispatch::Dispatcher, pod::node::Node};
use component::{informer::Informers, shutdown::Shutdown};
use std::sync::Arc;

pub async fn follow(
    _options: &Options,
    _node: &Arc<Node>,
    _informers: &Option<Informers>,
    _dispatch: &Dispatcher,
    shutdown: Shutdown,
) -> tokio::task::AbortHandle {
    tokio::spawn(async move { shutdown.cancelled().await }).abort_handle()
}
