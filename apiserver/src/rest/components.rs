//! ComponentStatus: the control plane's parts, asked how they are whenever somebody reads it, and never stored.
//!
//! Enter at [`read`]. As upstream, it asks at the default ports of this machine; so the parts of a control plane that is
//! spread over machines, or listens elsewhere, are called unhealthy. That is why it is deprecated since v1.19.

use std::io::ErrorKind;
use std::time::Duration;

use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Limited};
use machinery::meta;
use machinery::status::{GroupResource, Status};
use serde_json::{Value, json};

use super::{Call, list, respond};
use crate::api::Api;
use crate::connect::kubelet::{Endpoint, send_over};
use crate::connect::proxy::anyone;
use crate::http_body::{BoxError, Response, empty};

/// The parts with a port of their own, and that port.
const PARTS: [(&str, u16); 2] = [("controller-manager", 10257), ("scheduler", 10259)];
/// The store's name here, whichever it is: it stands where upstream has its etcd.
const STORE: &str = "etcd-0";
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that is read of an answer, in bytes.
const ANSWER_MAX: usize = 10 * 1024;

/// How a part is; the words are for people.
#[derive(Debug, PartialEq, Eq)]
enum Health {
    Well(String),
    /// It answered, or could not be reached.
    Ill(String),
    /// The store's own error.
    Broken(String),
}

pub async fn read(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    if call.info.verb == "get" {
        list::refuse_export(&call.query)?;
        let status = status_of(api, call.name()).await;
        // Upstream's word for the collection, here alone in the singular.
        let resource = GroupResource { group: "", resource: "componentstatus" };
        let status = status.ok_or_else(|| Status::not_found(resource, call.name()))?;
        return respond::object(call, accept, 200, &status, api.clock.now().as_second());
    }
    let options = list::options(call)?;
    list::check_fields(&options.fields, &call.served)?;
    let names = PARTS.iter().map(|(name, _)| *name).chain([STORE]);
    let mut statuses: Vec<Value> =
        join_all(names.map(|name| status_of(api, name))).await.into_iter().flatten().collect();
    statuses.retain(|status| {
        // They have no labels and no namespace.
        options.labels.matches(|_| None)
            && options.fields.matches(|field| match field {
                "metadata.name" => Some(meta::name(status)),
                "metadata.namespace" => Some(""),
                _ => None,
            })
    });
    list::respond_objects(api, call, accept, json!({}), statuses)
}

async fn status_of(api: &Api, name: &str) -> Option<Value> {
    let health = match PARTS.iter().find(|(part, _)| *part == name) {
        Some((_, port)) => ask_part(*port).await,
        None if name == STORE => ask_store(api).await,
        None => return None,
    };
    Some(json!({
        "apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name}, "conditions": [condition(health)],
    }))
}

fn condition(health: Health) -> Value {
    let (status, field, words) = match health {
        Health::Well(words) => ("True", "message", words),
        Health::Ill(words) => ("False", "message", words),
        Health::Broken(words) => ("False", "error", words),
    };
    let mut condition = json!({"type": "Healthy", "status": status});
    if !words.is_empty() {
        condition[field] = words.into();
    }
    condition
}

async fn ask_store(api: &Api) -> Health {
    match tokio::time::timeout(PATIENCE, api.store.revision()).await {
        Ok(Ok(_)) => Health::Well("ok".to_owned()),
        Ok(Err(error)) => Health::Broken(error.to_string()),
        Err(_) => Health::Broken("context deadline exceeded".to_owned()),
    }
}

async fn ask_part(port: u16) -> Health {
    let url = format!("https://127.0.0.1:{port}/healthz");
    match tokio::time::timeout(PATIENCE, fetch(port)).await {
        Ok(Ok((200..400, body))) => Health::Well(body),
        Ok(Ok((code, _))) => Health::Ill(format!("HTTP probe failed with statuscode: {code}")),
        Ok(Err(error)) => Health::Ill(format!("Get {url:?}: {}", unreachable(port, &error))),
        Err(_) => Health::Ill(format!("Get {url:?}: context deadline exceeded")),
    }
}

/// Upstream's words where nobody listens, which is what people see most.
fn unreachable(port: u16, error: &BoxError) -> String {
    let refused = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
    match error.downcast_ref::<std::io::Error>().is_some_and(refused) {
        true => format!("dial tcp 127.0.0.1:{port}: connect: connection refused"),
        false => error.to_string(),
    }
}

/// Code and body of a part's answer about its health.
async fn fetch(port: u16) -> Result<(u16, String), BoxError> {
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port };
    let request = Request::get("/healthz").header(http::header::HOST, endpoint.authority()).body(empty())?;
    let answer = send_over(Some(anyone()?), &endpoint, request).await?;
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await?.to_bytes();
    Ok((code, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_tells_what_was_heard() {
        for (health, wanted) in [
            (Health::Well("ok".into()), json!({"type": "Healthy", "status": "True", "message": "ok"})),
            (Health::Ill("no".into()), json!({"type": "Healthy", "status": "False", "message": "no"})),
            (Health::Broken("gone".into()), json!({"type": "Healthy", "status": "False", "error": "gone"})),
            (Health::Well(String::new()), json!({"type": "Healthy", "status": "True"})),
        ] {
            assert_eq!(condition(health), wanted);
        }
    }

    #[tokio::test]
    async fn nobody_there_is_told_in_upstreams_words() {
        // Nobody is given this number, and nobody has it.
        let port = 1;
        let words =
            format!("Get \"https://127.0.0.1:{port}/healthz\": dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(ask_part(port).await, Health::Ill(words));
    }
}
