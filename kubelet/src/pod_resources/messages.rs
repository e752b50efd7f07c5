//! Messages of `v1.PodResourcesLister`, with the fields that this kubelet ever fills in.

use prost::Message;

/// Of `List` and `GetAllocatableResources`; and the answer to the second, where nothing can be handed out.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Empty {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ListPodResourcesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) pod_resources: Vec<PodResources>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetPodResourcesRequest {
    #[prost(string, tag = "1")]
    pub(super) pod_name: String,
    #[prost(string, tag = "2")]
    pub(super) pod_namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetPodResourcesResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) pod_resources: Option<PodResources>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodResources {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) containers: Vec<ContainerResources>,
}

/// Devices, cores, memory and dynamic resources follow in upstream's.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerResources {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}
