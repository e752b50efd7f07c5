//! A pod's streams: the API's parameters in the kubelet's words.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, Request, StatusCode, Uri};
use machinery::channel::Protocol;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::kubelet::{self, Endpoint};
use super::{splice, translate, tunnel, websocket};
use crate::api::Api;
use crate::http_body::{Body, Response, empty};
use crate::request::Query;
use crate::rest::Call;
use crate::rest::params::unsigned;

/// Names the protocols inside SPDY that are offered, or chosen.
pub const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// Headers of an upgrade that both hops must agree on.
const STREAM_HEADERS: [&str; 7] = [
    "upgrade",
    "x-stream-protocol-version",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "origin",
];

/// What cannot be read of what is asked for is told before anything is looked for.
pub fn check_options(call: &Call) -> Result<(), Status> {
    let ports = call.query.all("ports").filter(|_| call.info.subresource == "portforward");
    for port in ports.flat_map(|ports| ports.split(',')) {
        let told = |why| Status::bad_request(format!("cannot convert to []int32: {why}"));
        unsigned::<u16>(port).map_err(told)?;
    }
    Ok(())
}

/// The text of a kubelet's refusal.
pub async fn refusal_text(answer: http::Response<hyper::body::Incoming>) -> String {
    use http_body_util::{BodyExt, Limited};
    const TEXT_BYTES_MAX: usize = 4096;
    let text = Limited::new(answer.into_body(), TEXT_BYTES_MAX).collect().await;
    text.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default()
}

/// exec, attach and port-forward. A client's WebSocket that can do what the runtime's cannot (end one channel, carry
/// SPDY) is translated; what the runtime speaks itself is passed on.
pub async fn stream(api: &Arc<Api>, mut call: Call, pod: &Value) -> Result<Response, Status> {
    let uri = stream_uri(&call, pod)?;
    let node = meta::text(pod, "spec.nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", call.name())));
    }
    let endpoint = api.kubelets.endpoint(api, call.served.row.group_resource(), node)?;
    let offered: Vec<String> = websocket::offered(&call.headers).into_iter().map(str::to_owned).collect();
    let names: Vec<&str> = offered.iter().map(String::as_str).collect();
    if call.info.subresource == "portforward" {
        let tunnelled = tunnel::offered(&names);
        if !tunnelled.is_empty() {
            return tunnel::start(api, &mut call, &endpoint, uri, &tunnelled).await;
        }
    } else if let Some(protocol) = names.iter().filter_map(|name| Protocol::of(name)).find(|one| one.half_close) {
        return translate::start(api, call, endpoint, uri, protocol);
    }
    pass_on_stream(api, call, &endpoint, uri).await
}

async fn pass_on_stream(api: &Api, mut call: Call, endpoint: &Endpoint, uri: Uri) -> Result<Response, Status> {
    let client = call.upgrade.take().ok_or_else(|| Status::bad_request("Upgrade request required"))?;
    let mut request = Request::builder().method(call.method.clone()).uri(uri).header(CONNECTION, "Upgrade");
    for name in STREAM_HEADERS {
        for value in call.headers.get_all(name) {
            request = request.header(HeaderName::from_static(name), value);
        }
    }
    let request = request.body(empty()).map_err(Status::internal_error)?;
    let answer = match send_upgrade(api, endpoint, request).await? {
        Answer::Switched(answer) => answer,
        Answer::Refused(response) => return Ok(response),
    };
    Ok(splice::join(client, answer, api.shutdown.clone()))
}

/// A request for SPDY/3.1 with some of the protocols inside it.
pub fn spdy_request(uri: Uri, protocols: &[&str]) -> Result<Request<Body>, Status> {
    let mut request = Request::post(uri).header(CONNECTION, "Upgrade").header(UPGRADE, "SPDY/3.1");
    for protocol in protocols {
        request = request.header(STREAM_PROTOCOL, *protocol);
    }
    request.body(empty()).map_err(Status::internal_error)
}

/// Sends such a request for a client that is answered already: a refusal is told as upstream's SPDY client tells it.
pub async fn send_spdy(
    api: &Api,
    endpoint: &Endpoint,
    request: Request<Body>,
) -> Result<http::Response<hyper::body::Incoming>, Status> {
    let answer = api.kubelets.send(endpoint, request).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    Err(Status::internal_error(format!("unable to upgrade connection: {}", refusal_text(answer).await)))
}

/// What the kubelet says to an upgrade. A refusal is the client's answer as it is, for its client knows those words.
pub enum Answer {
    Switched(http::Response<hyper::body::Incoming>),
    Refused(Response),
}

pub async fn send_upgrade(api: &Api, endpoint: &Endpoint, request: Request<Body>) -> Result<Answer, Status> {
    let answer = api.kubelets.send(endpoint, request).await?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => Ok(Answer::Switched(answer)),
        status if status.as_u16() < 400 => {
            Err(Status::internal_error(format!("invalid upgrade response: status code {}", status.as_u16())))
        }
        _ => Ok(Answer::Refused(kubelet::pass_on(answer))),
    }
}

fn stream_uri(call: &Call, pod: &Value) -> Result<Uri, Status> {
    let (namespace, name) = (call.info.namespace.as_str(), call.name());
    match call.info.subresource.as_str() {
        "portforward" => {
            let ports = call.query.all("ports").map(|port| ("port".to_owned(), port.to_owned()));
            kubelet::uri(&["portForward", namespace, name], &ports.collect::<Vec<_>>())
        }
        kind => {
            let container = choose_container(pod, call.query.text("container"))?;
            kubelet::uri(&[kind, namespace, name, &container], &stream_options(&call.query))
        }
    }
}

/// `stdin` is `input` to the kubelet, and true is `1`.
fn stream_options(query: &Query) -> Vec<(String, String)> {
    let flags = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    let flags =
        flags.iter().filter(|(name, _)| query.is_true(name)).map(|(_, own)| ((*own).to_owned(), "1".to_owned()));
    flags.chain(query.all("command").map(|part| ("command".to_owned(), part.to_owned()))).collect()
}

/// The container that was asked for, or the only one. A default that the pod names is for kubectl, which asks for it.
pub fn choose_container(pod: &Value, asked: Option<&str>) -> Result<String, Status> {
    const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
    let names = |list: &'static str| meta::list(&pod["spec"], list).iter().filter_map(|one| one["name"].as_str());
    let all: Vec<&str> = LISTS.into_iter().flat_map(names).collect();
    let pod_name = meta::name(pod);
    if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
        return match all.contains(&asked) {
            true => Ok(asked.to_owned()),
            false => Err(Status::bad_request(format!("container {asked} is not valid for pod {pod_name}"))),
        };
    }
    let which = format!("a container name must be specified for pod {pod_name}");
    match names("containers").collect::<Vec<_>>().as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Status::bad_request(which)),
        _ => Err(Status::bad_request(format!("{which}, choose one of: [{}]", all.join(" ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chooses_the_container() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(choose_container(&pod, Some("b")).unwrap(), "b");
        assert!(choose_container(&pod, Some("c")).is_err());
        assert_eq!(
            choose_container(&pod, None).unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
    }

    #[test]
    fn a_choice_names_containers_of_all_sorts_and_no_default() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}],
            "ephemeralContainers": [{"name": "e"}]}});
        pod["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "a"});
        let why = choose_container(&pod, Some("")).unwrap_err().message;
        assert_eq!(why, "a container name must be specified for pod p, choose one of: [i a b e]");
        assert_eq!(choose_container(&pod, Some("e")).unwrap(), "e");
    }

    #[test]
    fn options_are_translated() {
        let query = Query::parse("stdin=true&tty=0&command=ls&command=-l");
        let options = stream_options(&query);
        let shown: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["input=1", "command=ls", "command=-l"]);
    }
}
