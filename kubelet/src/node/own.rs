//! The Node object that is this node's, as the API has it: labels, taints, amounts that others set.
//!
//! Enter at [`OwnNode::now`]. Until the API has told one, and without an API, it is what the kubelet would register.

use std::sync::Arc;

use component::informer::{Informer, Informers, Selection};
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::{Api, Client};

use super::object::{self, Identity};

/// See the module.
pub struct OwnNode {
    name: String,
    initial: Arc<Node>,
    informer: Option<Informer<Node>>,
    client: Option<Client>,
}

impl OwnNode {
    pub fn new(identity: &Identity, informers: Option<&Informers>, client: Option<Client>) -> Self {
        let name = identity.name.clone();
        let informer = informers.map(|informers| of_name(informers, &name));
        Self { initial: Arc::new(object::initial(identity, NodeStatus::default())), informer, client, name }
    }

    /// One that nobody changes.
    pub fn of(node: Node) -> Self {
        let name = node.metadata.name.clone().unwrap_or_default();
        Self { name, initial: Arc::new(node), informer: None, client: None }
    }

    /// As it was heard of last.
    pub fn now(&self) -> Arc<Node> {
        let known = self.informer.as_ref().and_then(|informer| informer.get("", &self.name));
        known.unwrap_or_else(|| self.initial.clone())
    }

    /// As it is, asked of the API; None where it does not answer.
    pub async fn asked(&self) -> Option<Arc<Node>> {
        let api: Api<Node> = Api::all(self.client.clone()?);
        api.get(&self.name).await.ok().map(Arc::new)
    }

    /// Waits until the API has told whether there is one.
    pub async fn synced(&self) {
        if let Some(informer) = &self.informer {
            informer.synced().await;
        }
    }
}

/// The informer of one Node.
pub(super) fn of_name(informers: &Informers, name: &str) -> Informer<Node> {
    informers.selected(Selection::fields(format!("metadata.name={name}")))
}
