//! `/checkpoint`: a running container's state, written by the runtime to an archive in the kubelet's folder
//! (`ContainerCheckpoint`). What is in the archive is the runtime's business.

use std::time::Duration;

use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::{
    answers,
    body::{self, Body, text},
    query::Query,
    route::Target,
};
use crate::{
    paths::Paths,
    pod::{node::Node, spec},
};

pub(super) async fn checkpoint(node: &Node, target: &Target, query: &Query) -> Response<Body> {
    let pod = match answers::find(node, target) {
        Ok(pod) => pod,
        Err(answer) => return *answer,
    };
    if spec::find_container(&pod, &target.container).is_none() {
        return text(StatusCode::NOT_FOUND, format!("container {} does not exist", target.container));
    }
    // The last one counts; none is the runtime's own.
    let Ok(timeout) = query.all("timeout").last().map_or(Ok(0), |seconds| seconds.parse::<u32>()) else {
        return text(StatusCode::NOT_FOUND, "cannot parse value of timeout parameter");
    };
    let record = match answers::running_container(node, &pod, &target.container).await {
        Ok(record) => record,
        Err(answer) => return *answer,
    };
    // Memory of the container's, with whatever secrets are in it.
    let folder = node.facts.paths.checkpoints();
    if let Err(error) = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).await {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("make {}: {error}", folder.display()));
    }
    let location = location(&node.facts.paths, target, node.clock.now());
    match node.runtime.checkpoint_container(&record.id, &location, Duration::from_secs(timeout.into())).await {
        Ok(()) => body::json(&json!({"items": [location]})),
        Err(error) => {
            let Target { namespace, pod, container, .. } = target;
            let message = format!("checkpointing of {namespace}/{pod}/{container} failed ({})", error.rpc());
            text(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }
}

fn location(paths: &Paths, Target { namespace, pod, container, .. }: &Target, now: Timestamp) -> String {
    let name = format!("checkpoint-{pod}_{namespace}-{container}-{}.tar", crate::status::whole_second(now));
    paths.checkpoints().join(name).display().to_string()
}

#[test]
fn archives_are_named_after_what_is_in_them() {
    let paths = Paths { root: "/k".into(), pod_logs: "/logs".into(), container_logs: "/links".into() };
    let target = Target { namespace: "ns".into(), pod: "p".into(), container: "c".into(), ..Target::default() };
    let found = location(&paths, &target, Timestamp::from_second(0).expect("a time"));
    assert_eq!(found, "/k/checkpoints/checkpoint-p_ns-c-1970-01-01T00:00:00Z.tar");
}
