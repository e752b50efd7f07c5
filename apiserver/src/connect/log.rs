//! A pod's log: what is asked of it is judged here, and told to the kubelet.
//!
//! Enter at [`read`]. Kubernetes reference: "read log of the specified Pod".

use std::borrow::Cow;
use std::sync::Arc;

use http::{Request, StatusCode};
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::schema::time;
use machinery::status::Status;

use super::pod::{choose_container, refusal_text};
use super::{kubelet, reader, websocket};
use crate::api::Api;
use crate::http_body::{Response, empty};
use crate::request::Query;
use crate::rest::Call;
use crate::rest::params::number;

pub async fn read(api: &Arc<Api>, call: &mut Call) -> Result<Response, Status> {
    let options = Options::of(&call.query, call.name())?;
    let found = api.read(&call.served, &call.info.namespace, call.name()).await?.ok_or_else(|| call.not_found())?;
    let container = choose_container(&found.object, call.query.text("container"))?;
    let node = meta::text(&found.object, "spec.nodeName");
    if node.is_empty() {
        // No node, no log.
        let mut nothing = Response::new(empty());
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let uri = kubelet::uri(&["containerLogs", &call.info.namespace, call.name(), &container], &options.told)?;
    let endpoint = api.kubelets.endpoint(api, call.served.row.group_resource(), node)?;
    let unreachable = format!("Get \"https://{}{uri}\"", endpoint.authority());
    let request = Request::get(uri).body(empty()).map_err(Status::internal_error)?;
    let answer = api.kubelets.try_send(&endpoint, request, options.is_insecure).await;
    let answer = answer.map_err(|why| Status::unexplained(format!("{unreachable}: {why}")))?;
    if !answer.status().is_success() {
        return Err(refused(answer).await);
    }
    let answer = kubelet::pass_on(answer);
    match websocket::is_asked_for(&call.headers) {
        true => reader::start(call, answer.into_body()),
        false => Ok(answer),
    }
}

/// The kubelet's refusal, with its text as the message.
async fn refused(answer: http::Response<hyper::body::Incoming>) -> Status {
    let code = answer.status().as_u16();
    let text = refusal_text(answer).await;
    match code {
        400 => Status::bad_request(text),
        404 => {
            let mut status = Status::unknown_path();
            status.message = if text.is_empty() { status.message } else { text };
            status
        }
        500 => Status::internal_error(text),
        _ => Status::internal_error(format!("kubelet answered {code}: {text}")),
    }
}

/// What is asked for.
struct Options {
    /// In the kubelet's words.
    told: Vec<(String, String)>,
    /// The kubelet's certificate is not looked at.
    is_insecure: bool,
}

impl Options {
    /// What cannot be read is told alone, in upstream's order.
    fn of(query: &Query, pod: &str) -> Result<Self, Status> {
        let since_seconds = number(query, "sinceSeconds")?;
        let since_time = query.get("sinceTime").map(instant).transpose()?;
        let (tail_lines, limit_bytes) = (number(query, "tailLines")?, number(query, "limitBytes")?);
        let mut errors = ErrorList::new();
        let mut at_least = |least: i64, name: &str, given: Option<i64>, why: &str| {
            if let Some(given) = given.filter(|given| *given < least) {
                errors.push(Error::invalid(&Path::new(name), given, why));
            }
        };
        at_least(0, "tailLines", tail_lines, "must be greater than or equal to 0");
        at_least(1, "limitBytes", limit_bytes, "must be greater than 0");
        if since_time.is_none() {
            at_least(1, "sinceSeconds", since_seconds, "must be greater than 0");
        } else if since_seconds.is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            // So upstream writes a field that has no name.
            errors.push(Error::forbidden(&Path::new("").key(""), why));
        }
        // Upstream's feature for it is off.
        if query.get("stream").is_some() {
            errors.push(Error::forbidden(&Path::new("stream"), "may not be specified"));
        }
        if !errors.is_empty() {
            return Err(Status::invalid("", "PodLogOptions", pod, &errors));
        }
        let flags = ["follow", "previous", "timestamps"].into_iter().filter(|name| query.is_true(name));
        let flags = flags.map(|name| (name.to_owned(), "true".to_owned()));
        let numbers = [("sinceSeconds", since_seconds), ("tailLines", tail_lines), ("limitBytes", limit_bytes)];
        let numbers = numbers.into_iter().filter_map(|(name, given)| Some((name.to_owned(), given?.to_string())));
        let time = since_time.map(|time| ("sinceTime".to_owned(), time));
        Ok(Self {
            told: flags.chain(numbers).chain(time).collect(),
            is_insecure: query.is_true("insecureSkipTLSVerifyBackend"),
        })
    }
}

fn instant(text: &str) -> Result<String, Status> {
    match text {
        "" | "null" => Ok("0001-01-01T00:00:00Z".to_owned()),
        text => time::seconds(Cow::Borrowed(text)).map_err(Status::bad_request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str) -> String {
        match Options::of(&Query::parse(query), "p") {
            Ok(options) => {
                let pairs = options.told.iter().map(|(name, value)| format!("{name}={value}"));
                pairs.chain(options.is_insecure.then(|| "insecure".to_owned())).collect::<Vec<_>>().join(" ")
            }
            Err(status) => format!("{}: {}", status.code, status.message),
        }
    }

    #[test]
    fn options_are_told_as_they_are_meant() {
        assert_eq!(told("follow&previous=false&timestamps=1&tailLines=0"), "follow=true timestamps=true tailLines=0");
        assert_eq!(told("sinceTime=2024-01-01T02:00:00.5%2B02:00"), "sinceTime=2024-01-01T00:00:00Z");
        assert_eq!(told("limitBytes=5&insecureSkipTLSVerifyBackend=true&pretty=true"), "limitBytes=5 insecure");
    }

    #[test]
    fn what_is_wrong_is_told_by_upstreams_words() {
        assert_eq!(told("tailLines=x&sinceSeconds="), "400: strconv.ParseInt: parsing \"\": invalid syntax");
        assert_eq!(
            told("tailLines=x&sinceTime=x"),
            "400: parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""
        );
        assert_eq!(
            told("sinceSeconds=0&sinceTime="),
            "422: PodLogOptions \"p\" is invalid: \
             []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"
        );
        assert_eq!(
            told("tailLines=-1&limitBytes=0&sinceSeconds=0&stream="),
            "422: PodLogOptions \"p\" is invalid: [tailLines: Invalid value: -1: must be greater than or equal to 0, \
             limitBytes: Invalid value: 0: must be greater than 0, \
             sinceSeconds: Invalid value: 0: must be greater than 0, stream: Forbidden: may not be specified]"
        );
    }
}
